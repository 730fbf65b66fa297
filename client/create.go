package client

import (
	"context"
	"crypto/sha256"

	"github.com/usher-seats/usher/wire"
)

// CreateEvent makes an event of a manifest, which must not change any more. Rules
// that are all zero are wire.DefaultRules. It may be repeated: the same manifest
// gives the same event, another under the same key is wire.StatusExists. When it
// ended with AppliedUnknown or its process died, repeating it goes on where it
// stopped.
func (c *Client) CreateEvent(ctx context.Context, m *wire.Manifest) (*Event, error) {
	const op = "create event"
	if m.Rules == (wire.Rules{}) {
		filled := *m
		filled.Rules = wire.DefaultRules()
		m = &filled
	}
	if err := m.Validate(); err != nil {
		return nil, &Error{Op: op, Event: m.Key, Status: wire.StatusBadRequest, Err: err}
	}
	encoded := m.Encode()
	digest := sha256.Sum256(encoded)
	assign := wire.Assign{Key: []byte(m.Key), Digest: digest}
	var l wire.Location
	q := &request{op: op, key: m.Key, kind: wire.KindAssign, mutate: func(b []byte, mu wire.Mutation) []byte {
		assign.Mutation = mu
		return assign.Append(b)
	}}
	if err := c.ask(ctx, q, &l); err != nil {
		return nil, err
	}
	e := newEvent(c, m.Key)
	if err := e.find(ctx, op, q.at); err != nil { // who has assigned it knows it
		return nil, err
	}
	for at := 0; at < len(encoded); at += wire.MaxChunk {
		chunk := encoded[at:min(at+wire.MaxChunk, len(encoded))]
		create := wire.Create{Offset: uint32(at), Total: uint32(len(encoded)), Digest: digest, Chunk: chunk}
		q := e.change(op, wire.KindCreate, wire.ID{}, func(b []byte, mu wire.Mutation) []byte {
			create.Mutation = mu
			return create.Append(b)
		})
		if err := c.ask(ctx, q, nil); err != nil {
			return nil, err
		}
	}
	e.plan.Store(newPlan(m))
	return e, nil
}

// DeleteEvent ends an event with all its holds and bookings. It may be repeated:
// an event that is gone is wire.StatusUnknownEvent.
func (c *Client) DeleteEvent(ctx context.Context, key string) error {
	const op = "delete event"
	e := newEvent(c, key)
	if err := e.find(ctx, op, nil); err != nil {
		return err
	}
	var body wire.EventOp
	mutate := func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		body.Event = e.id
		return body.Append(b)
	}
	// The shard first: as long as the directory knows the key, a deletion that
	// stopped halfway can be repeated, and finds the shard without the event.
	err := c.ask(ctx, e.change(op, wire.KindDelete, wire.ID{}, mutate), nil)
	if err != nil && StatusOf(err) != wire.StatusUnknownEvent {
		return err
	}
	q := &request{op: op, key: key, kind: wire.KindUnassign, mutate: mutate}
	return c.ask(ctx, q, nil)
}
