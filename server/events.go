package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"

	"github.com/usher-seats/usher/wire"
)

// locate finds an event by the key its owner gave it.
func (n *Node) locate(key string) (wire.Location, bool) {
	e := n.table().Find(key)
	if e == nil {
		return wire.Location{}, false
	}
	return wire.Location{Event: e.ID, Shard: e.Shard, Now: n.eventNow(e)}, true
}

// now is the time of an event; 0 if there is no such event, or no replica of it
// here.
func (n *Node) now(event wire.EventID) wire.Millis {
	e := n.table().Event(event)
	if e == nil {
		return 0
	}
	return n.eventNow(e)
}

// createEvent makes an event of a manifest: a place in the directory first, then
// the manifest in chunks to the shard. Each step can be repeated, so whoever got
// no answer calls it again with the same manifest. text says what is wrong.
func (n *Node) createEvent(ctx context.Context, m *wire.Manifest) (loc wire.Location, s wire.Status, text string) {
	encoded := m.Encode()
	digest := sha256.Sum256(encoded)
	assign := wire.Assign{
		Mutation: n.begin(0),
		Key:      []byte(m.Key),
		Digest:   digest,
	}
	s, body := n.do(ctx, wire.Record{Kind: wire.KindAssign, Body: assign.Append(nil)})
	if s != wire.StatusOK {
		return loc, s, string(body)
	}
	if err := loc.Decode(body); err != nil {
		return loc, wire.StatusUnknown, "the directory's answer cannot be read: " + err.Error()
	}
	for offset := 0; offset < len(encoded); offset += wire.MaxChunk {
		create := wire.Create{
			Mutation: n.begin(loc.Event),
			Offset:   uint32(offset),
			Total:    uint32(len(encoded)),
			Digest:   digest,
			Chunk:    encoded[offset:min(offset+wire.MaxChunk, len(encoded))],
		}
		if s, body = n.do(ctx, wire.Record{Kind: wire.KindCreate, Body: create.Append(nil)}); s != wire.StatusOK {
			return loc, s, string(body)
		}
	}
	return loc, wire.StatusOK, ""
}

// deleteEvent ends an event: in its shard first, so that it can still be found
// and deleted again if the second step fails.
func (n *Node) deleteEvent(ctx context.Context, key string) (s wire.Status, text string) {
	e := n.table().Find(key)
	if e == nil {
		return wire.StatusUnknownEvent, ""
	}
	op := wire.EventOp{Mutation: n.begin(e.ID)}
	s, body := n.do(ctx, wire.Record{Kind: wire.KindDelete, Body: op.Append(nil)})
	if s != wire.StatusOK && s != wire.StatusUnknownEvent {
		return s, string(body)
	}
	op.Mutation = n.begin(e.ID)
	s, body = n.do(ctx, wire.Record{Kind: wire.KindUnassign, Body: op.Append(nil)})
	return s, string(body)
}

// begin begins an operation with a new id. Whoever leads the event's shard gives it
// its deadline.
func (n *Node) begin(event wire.EventID) wire.Mutation {
	return wire.Mutation{Event: event, ID: n.freshID(event)}
}

// freshID makes an id for an operation on an event, or on the directory. It begins
// with the event's time where that is known to the millisecond, which is where the
// shard is led; other ids have no time.
func (n *Node) freshID(event wire.EventID) wire.ID {
	if e := n.table().Event(event); e != nil {
		if g := n.local(e.Shard); g != nil && g.log.Leading() {
			return n.newID(g.eventNow(event))
		}
	}
	return wire.KeyID(rand.Text())
}

// manifest is an event's manifest and its index of labels. Both are immutable
// and shared.
func (n *Node) manifest(ctx context.Context, id wire.EventID) (*wire.Manifest, *wire.Places, wire.Status) {
	if n.table().Event(id) == nil {
		n.manifests.drop(id)
		return nil, nil, wire.StatusUnknownEvent
	}
	if e := n.manifests.get(id); e != nil {
		return e.manifest, e.places, wire.StatusOK
	}
	s, body := n.do(ctx, wire.Record{Kind: wire.KindManifest, Body: (&wire.EventRef{Event: id}).Append(nil)})
	if s != wire.StatusOK {
		return nil, nil, s
	}
	m, err := wire.DecodeManifest(body)
	if err != nil {
		// The shard checked the same bytes when it took them.
		n.log.Error("the manifest of an event cannot be read", "event", id, "error", err)
		return nil, nil, wire.StatusUnavailable
	}
	e := n.manifests.put(id, m, m.Places(), len(body))
	return e.manifest, e.places, wire.StatusOK
}
