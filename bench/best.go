package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

const (
	bestTogether = 4
	bestPercent  = 60 // of the seats are taken, at random
	bestSpread   = 8  // events that buyers choose from
)

// bestShow is some events 60 % full at random, from which everybody wants the
// best four together. A slot gives its seats back with its next request, so
// that the maps stay as full as they are; only the holds count as operations.
type bestShow struct {
	stage  *stage
	events []*bestEvent
}

type bestEvent struct {
	event *client.Event
	taken []atomic.Uint64 // bit per seat index: taken at the beginning, or held by a slot now
}

func newBestShow(s *stage) (show, error) {
	b := &bestShow{stage: s}
	for i := range bestSpread {
		ev, err := s.event(i)
		if err != nil {
			return nil, err
		}
		ids := shuffled(newRand(s.o, -1-i), s.o.Seats)
		ids = ids[:len(ids)*bestPercent/100]
		if err := s.fill(ev, ids); err != nil {
			return nil, err
		}
		e := &bestEvent{event: ev, taken: make([]atomic.Uint64, (s.o.Seats+63)/64)}
		for _, id := range ids {
			note(e.taken, seatIndex(id))
		}
		b.events = append(b.events, e)
	}
	return b, nil
}

func (b *bestShow) script(conn int) script {
	e := b.events[conn%len(b.events)]
	return &bestScript{
		event: e,
		rand:  newRand(b.stage.o, conn),
		clock: newClock(e.event),
		slots: make([]bestSlot, b.stage.o.Depth),
	}
}

// audit checks that just those seats are taken that were at the beginning or
// that a slot still has.
func (b *bestShow) audit(ctx context.Context) error {
	var errs []error
	for n, e := range b.events {
		m, err := e.event.Map(ctx, client.Consistent)
		if err != nil {
			return err
		}
		for i := range b.stage.o.Seats {
			if got := m.State(seatID(i)) != wire.SeatFree; got != noted(e.taken, i) {
				errs = append(errs, fmt.Errorf("event %d: seat %d taken is %v, acknowledged was %v", n, seatID(i), got, !got))
				break
			}
		}
	}
	return errors.Join(errs...)
}

type bestSlot struct {
	id    wire.ID
	fence wire.Fence // not zero: seats are held and go back next
	seats [bestTogether]wire.SeatID
}

type bestScript struct {
	event *bestEvent
	rand  *rand.Rand
	clock clockFor
	slots []bestSlot
}

func (b *bestScript) next(slot int, now time.Time, body []byte) (wire.Kind, []byte) {
	s := &b.slots[slot]
	if s.fence != 0 {
		// From here on another slot may be granted these seats.
		for _, seat := range s.seats {
			i := seatIndex(seat)
			b.event.taken[i/64].And(^(uint64(1) << (i % 64)))
		}
		release := wire.OnHold{Mutation: wire.Mutation{Event: b.event.event.ID(), ID: s.id}, Fence: s.fence}
		return wire.KindRelease, release.Append(body)
	}
	s.id = b.clock.id(now, b.rand)
	best := wire.HoldBest{
		Mutation: wire.Mutation{Event: b.event.event.ID(), ID: s.id},
		Count:    bestTogether,
		Section:  wire.Any,
	}
	return wire.KindHoldBest, best.Append(body)
}

func (b *bestScript) done(slot int, h wire.Header, body []byte) (int, error) {
	s := &b.slots[slot]
	if h.Status != wire.StatusOK {
		return 0, fmt.Errorf("kind %d answered %v", h.Kind, h.Status)
	}
	if h.Kind == wire.KindRelease {
		s.fence = 0
		return 0, nil
	}
	var g wire.Granted
	if err := g.Decode(body); err != nil {
		return 0, fmt.Errorf("answer to best available: %w", err)
	}
	if g.Seats.Len() != bestTogether {
		return 0, fmt.Errorf("%d seats instead of %d", g.Seats.Len(), bestTogether)
	}
	s.fence = g.Fence
	for i := range s.seats {
		s.seats[i] = g.Seats.At(i)
		if i > 0 && s.seats[i] != s.seats[i-1]+1 {
			return 0, fmt.Errorf("seats %v are not together", g.Seats.IDs())
		}
		if !note(b.event.taken, seatIndex(s.seats[i])) {
			return 0, fmt.Errorf("seat %d was granted though somebody has it", s.seats[i])
		}
	}
	return 1, nil
}
