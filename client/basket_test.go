package client

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usher-seats/usher/wire"
)

// If one wish of a basket is refused, the seats of all others are free again and
// the basket stays refused.
func TestBasketGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		if _, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{10}}); err != nil {
			t.Fatal(err)
		}
		var b Basket
		b.Add(ev, HoldRequest{Seats: []wire.SeatID{1}})
		b.AddBest(ev, BestRequest{Count: 1})
		b.Add(ev, HoldRequest{Seats: []wire.SeatID{10}})
		err := b.Hold(t.Context())
		if StatusOf(err) != wire.StatusTaken || len(b.Holds()) != 0 {
			t.Fatalf("error is %v, holds %v", err, b.Holds())
		}
		if len(c.hall.owner) != 1 {
			t.Errorf("%d seats are still held, want the one that was", len(c.hall.owner))
		}
		if again := b.Hold(t.Context()); again != b.failed {
			t.Errorf("tried again: %v", again)
		}
		if err := b.Confirm(t.Context()); err == nil {
			t.Error("confirmed nothing")
		}
	})
}

// Every step of a basket may be repeated after its answers were lost, and does
// its work once.
func TestBasketStepsRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		var deaf atomic.Uint32
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if uint32(h.Kind) == deaf.Load() {
				s.apply(h, body)
				return true
			}
			return false
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		var b Basket
		b.Add(ev, HoldRequest{Seats: []wire.SeatID{1}})
		b.AddArea(ev, AreaRequest{Area: "Floor", Count: 2})
		step := func(kind wire.Kind, f func(context.Context) error) {
			t.Helper()
			deaf.Store(uint32(kind))
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			var e *Error
			if err := f(ctx); !errors.As(err, &e) || e.Applied != AppliedUnknown {
				t.Fatalf("answers were lost: %v", err)
			}
			deaf.Store(0)
			if err := f(t.Context()); err != nil {
				t.Fatalf("repeated: %v", err)
			}
		}
		step(wire.KindHold, b.Hold)
		step(wire.KindPay, b.Pay)
		step(wire.KindConfirm, b.Confirm)
		if len(c.hall.holds) != 2 || len(b.Holds()) != 2 {
			t.Errorf("the shard made %d holds, the basket has %d", len(c.hall.holds), len(b.Holds()))
		}
		for id, k := range c.hall.holds {
			if k.info.State != wire.StateBooked {
				t.Errorf("hold %v is %v", id, k.info.State)
			}
		}
	})
}

// Releasing a basket also gives back a hold whose grant never reached the client,
// and afterwards the basket can be held anew.
func TestBasketReleasesWhatItDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		var deaf atomic.Bool
		deaf.Store(true)
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind == wire.KindHold && deaf.Load() {
				s.apply(h, body)
				return true
			}
			return false
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		var b Basket
		b.AddBest(ev, BestRequest{Count: 1})
		b.Add(ev, HoldRequest{Seats: []wire.SeatID{1}})
		b.Add(ev, HoldRequest{Seats: []wire.SeatID{2}}) // never asked for
		if err := b.Hold(t.Context()); err == nil {
			t.Fatal("held although an answer was lost")
		}
		if len(c.hall.owner) != 2 {
			t.Fatalf("%d seats held: the test does not do what it says", len(c.hall.owner))
		}
		if err := b.Release(t.Context()); err != nil || len(c.hall.owner) != 0 {
			t.Fatalf("released: %v, %d seats still held", err, len(c.hall.owner))
		}
		deaf.Store(false)
		if err := b.Hold(t.Context()); err != nil || len(c.hall.owner) != 3 {
			t.Errorf("held anew: %v, %d seats", err, len(c.hall.owner))
		}
	})
}

// A basket goes on in another process with the ids and fences of its holds.
func TestBasketResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		var b Basket
		b.Add(ev, HoldRequest{Seats: []wire.SeatID{1}})
		b.Add(ev, HoldRequest{Seats: []wire.SeatID{2}})
		if err := b.Hold(t.Context()); err != nil {
			t.Fatal(err)
		}
		var resumed []*Hold
		for _, h := range b.Holds() {
			resumed = append(resumed, ev.ResumeHold(h.ID(), h.Fence()))
		}
		if err := BasketOf(resumed...).Confirm(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, k := range c.hall.holds {
			if k.info.State != wire.StateBooked {
				t.Errorf("hold %v is %v", id, k.info.State)
			}
		}
	})
}
