package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/wire"
)

// An Event is a handle to an event: where it lives, what time it has, and its
// manifest once that was needed. It stands for one event, not for its key: when the event is
// deleted and another is created under the key, the handle's calls say that
// there is no such event. Safe for all goroutines.
type Event struct {
	client *Client
	key    string
	id     wire.EventID // set by the first find, immutable then
	clock  clock
	route  atomic.Pointer[route]
	// finding is a mutex that waits no longer than a context. It guards the
	// changes of route.
	finding chan struct{}

	plan    atomic.Pointer[plan]
	reading chan struct{} // likewise, guards the setting of plan
}

// A plan is an event's manifest with its index, which is made when it is first
// needed. Immutable.
type plan struct {
	manifest *wire.Manifest
	places   func() *wire.Places
}

func newPlan(m *wire.Manifest) *plan { return &plan{m, sync.OnceValue(m.Places)} }

func newEvent(c *Client, key string) *Event {
	return &Event{
		client:  c,
		key:     key,
		clock:   clock{base: c.base},
		finding: make(chan struct{}, 1),
		reading: make(chan struct{}, 1),
	}
}

// Key is the event's name as its owner chose it.
func (e *Event) Key() string { return e.key }

// ID is the event's number.
func (e *Event) ID() wire.EventID { return e.id }

// Now is the event's time as far as the client knows: never ahead of it unless it
// stands still, and behind by less than a round trip.
func (e *Event) Now() wire.Millis { return e.clock.at(time.Now()) }

// Info reads the event's rules and its counts, which are consistent in
// themselves and contain all that was acknowledged before the call. Sections and
// categories are counted in the order of the manifest.
func (e *Event) Info(ctx context.Context) (*wire.EventInfo, error) {
	info := new(wire.EventInfo)
	q := e.read("read event", wire.KindEvent, (&wire.EventRef{Event: e.id}).Append)
	q.consistent = true
	if err := e.client.ask(ctx, q, info); err != nil {
		return nil, err
	}
	return info, nil
}

// Freshness says how new an answer must be.
type Freshness bool

const (
	// Latest is what the node that answers has: consistent in itself, and behind
	// by no more than replication. That is the leader's, as long as it can be
	// reached, and then another replica's.
	Latest Freshness = false
	// Consistent has all that was acknowledged before the call.
	Consistent Freshness = true
)

// A SeatMap is the state of every seat of an event.
type SeatMap struct {
	wire.SeatMap

	// Age is how long the replica that answered had not heard of its leader by
	// then: what was decided since may be missing. 0: it was the leader.
	Age time.Duration
}

// Map reads the state of every seat.
func (e *Event) Map(ctx context.Context, f Freshness) (*SeatMap, error) {
	m := new(SeatMap)
	q := e.read("read map", wire.KindMap, (&wire.EventRef{Event: e.id}).Append)
	q.consistent = bool(f)
	if err := e.client.ask(ctx, q, &m.SeatMap); err != nil {
		return nil, err
	}
	m.Age = time.Duration(m.SeatMap.Age) * time.Millisecond
	return m, nil
}

// Changes reads what happened to seats after the version since, or says that the
// event no longer remembers it and the map must be read. It is as new as Latest.
func (e *Event) Changes(ctx context.Context, since wire.Version) (*wire.Changes, error) {
	changes := new(wire.Changes)
	query := wire.ChangesQuery{Event: e.id, Since: since}
	if err := e.client.ask(ctx, e.read("read changes", wire.KindChanges, query.Append), changes); err != nil {
		return nil, err
	}
	return changes, nil
}

func (e *Event) read(op string, kind wire.Kind, body func([]byte) []byte) *request {
	return &request{op: op, kind: kind, event: e, plain: body}
}

// change is an operation with an id of its own, which the caller may have given.
func (e *Event) change(op string, kind wire.Kind, id wire.ID, body func([]byte, wire.Mutation) []byte) *request {
	return &request{op: op, kind: kind, event: e, id: id, given: id != wire.ID{}, mutate: body}
}

// Manifest is all that the event sells. It is read once.
func (e *Event) Manifest(ctx context.Context) (*wire.Manifest, error) {
	p, err := e.load(ctx)
	if err != nil {
		return nil, err
	}
	return p.manifest, nil
}

// Places translates between labels, such as A-1-12, and seat ids.
func (e *Event) Places(ctx context.Context) (*wire.Places, error) {
	p, err := e.load(ctx)
	if err != nil {
		return nil, err
	}
	return p.places(), nil
}

func (e *Event) load(ctx context.Context) (*plan, error) {
	if p := e.plan.Load(); p != nil {
		return p, nil
	}
	if err := lock(ctx, e.reading); err != nil {
		return nil, &Error{Op: "read manifest", Event: e.key, Status: wire.StatusUnavailable, Err: err}
	}
	defer unlock(e.reading)
	if p := e.plan.Load(); p != nil {
		return p, nil
	}
	var m encodedManifest
	q := e.read("read manifest", wire.KindManifest, (&wire.EventRef{Event: e.id}).Append)
	if err := e.client.ask(ctx, q, &m); err != nil {
		return nil, err
	}
	p := newPlan(m.Manifest)
	e.plan.Store(p)
	return p, nil
}

// encodedManifest makes a body out of the manifest's decoder.
type encodedManifest struct{ *wire.Manifest }

func (m *encodedManifest) Decode(body []byte) (err error) {
	m.Manifest, err = wire.DecodeManifest(body)
	return err
}

// Labels names seats the way tickets do.
func (e *Event) Labels(ctx context.Context, seats ...wire.SeatID) ([]string, error) {
	if _, err := e.load(ctx); err != nil {
		return nil, err
	}
	return e.knownLabels(seats), nil
}

// knownLabels names seats if the manifest is here; nil if not.
func (e *Event) knownLabels(seats []wire.SeatID) []string {
	p := e.plan.Load()
	if p == nil {
		return nil
	}
	places := p.places()
	labels := make([]string, len(seats))
	for i, s := range seats {
		labels[i] = places.Label(s)
	}
	return labels
}

// seats joins ids and the seats of labels into a list of at most most.
func (e *Event) seats(ctx context.Context, op string, ids []wire.SeatID, labels []string, most int) (wire.SeatList, error) {
	if n := len(ids) + len(labels); n > most {
		return nil, e.misuse(op, wire.StatusTooLarge, fmt.Sprintf("%d seats, at most %d can be named at once", n, most))
	}
	list := wire.MakeSeatList(ids...)
	if len(labels) == 0 {
		return list, nil
	}
	places, err := e.Places(ctx)
	if err != nil {
		return nil, err
	}
	for _, label := range labels {
		seat, ok := places.Seat(label)
		if !ok {
			return nil, e.misuse(op, wire.StatusUnknownSeat, fmt.Sprintf("the event has no seat labelled %q", label))
		}
		list = list.Append(seat)
	}
	return list, nil
}

// misuse refuses a request that cannot be made.
func (e *Event) misuse(op string, s wire.Status, text string) *Error {
	return &Error{Op: op, Event: e.key, Status: s, Text: text}
}
