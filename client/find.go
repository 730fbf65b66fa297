package client

import (
	"context"

	"github.com/usher-seats/usher/wire"
)

// A route is where an event is decided. Immutable; a new one each time the event
// was found, though it be the same node.
type route struct{ node *node }

// maxHops bounds how often one node may name another before a pause.
const maxHops = 4

// find asks where the event is until a node says that it leads its shard and
// what time the event has. at is whom to ask first, nil for anybody.
//
// Nodes may name a leader that is dead or deposed, each other, or nobody, as
// long as there is no new one. Then others are asked in turn, with pauses.
func (e *Event) find(ctx context.Context, op string, at *node) error {
	c := e.client
	name := wire.Key{Key: []byte(e.key)}
	q := &request{op: op, key: e.key, kind: wire.KindLocate, plain: name.Append, at: at}
	var l wire.Location
	hops := 0
	q.accept = func() verdict {
		q.consistent = false // only the directory's leader answers that, who may lead nothing else
		led := c.named(l.Leader)
		self := led == nil || led == q.at
		switch {
		case self && l.Now != 0:
			return over
		case self:
			q.lastText = "no node knows who leads the event's shard"
		case hops < maxHops:
			hops++
			// Only the directory's leader answers consistently, and it has: the shard's
			// leader is asked for the event's time.
			q.consistent = false
			q.at = led
			return onward
		case q.lastText == "": // each could be reached
			q.lastText = "the nodes do not agree who leads the event's shard"
		}
		hops = 0
		q.lastStatus = wire.StatusUnavailable
		return find
	}
	if err := c.ask(ctx, q, &l); err != nil {
		return err
	}
	if e.id == 0 {
		e.id = l.Event
	}
	if e.id != l.Event {
		return &Error{Op: op, Event: e.key, Status: wire.StatusUnknownEvent, Text: "its key belongs to another event now"}
	}
	e.clock.learn(l.Now, q.sent, q.got)
	e.route.Store(&route{q.at})
	return nil
}

// refind replaces a route that has turned out to be wrong. Of many callers that
// find it out at once, one asks.
func (e *Event) refind(ctx context.Context, wrong *route, at *node) error {
	if err := lock(ctx, e.finding); err != nil {
		return err
	}
	defer unlock(e.finding)
	if e.route.Load() != wrong {
		return nil
	}
	return e.find(ctx, "find event", at)
}

func lock(ctx context.Context, mutex chan struct{}) error {
	select {
	case mutex <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func unlock(mutex chan struct{}) { <-mutex }
