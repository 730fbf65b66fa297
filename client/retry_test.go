package client

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usher-seats/usher/wire"
)

var twoSeats = HoldRequest{Seats: []wire.SeatID{3, 4}}

// once makes a meddler that acts on the first request of a kind.
func once(kind wire.Kind, act func(s *session, h wire.Header, body []byte)) func(*session, wire.Header, []byte) bool {
	var n atomic.Int32
	return func(s *session, h wire.Header, body []byte) bool {
		if h.Kind != kind || n.Add(1) > 1 {
			return false
		}
		act(s, h, body)
		return true
	}
}

// A hold whose answer is lost with the connection is repeated with the same id,
// marked as a repetition, and takes effect once. Its time counts from the first
// attempt.
func TestLostAnswerIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		var flags []wire.Flags
		cut := once(wire.KindHold, func(s *session, h wire.Header, body []byte) {
			s.apply(h, body)
			time.Sleep(700 * time.Millisecond) // virtual: the node is slow, then gone
			s.nc.Close()
		})
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind == wire.KindHold {
				flags = append(flags, h.Flags)
			}
			return cut(s, h, body)
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		start := time.Now()
		h, err := ev.Hold(t.Context(), HoldRequest{Seats: twoSeats.Seats, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if n := c.hall.effects(h.ID()); n != 1 {
			t.Errorf("the hold took effect %d times", n)
		}
		if want := []wire.Flags{0, wire.FlagRepeat}; !slices.Equal(flags, want) {
			t.Errorf("flags of the attempts are %v, want %v", flags, want)
		}
		if took := time.Since(start); took < 700*time.Millisecond {
			t.Fatalf("took %v: the test did not do what it says", took)
		}
		if late := h.ExpiresAt().Sub(start) - time.Minute; late > 0 || late < -2*time.Millisecond {
			t.Errorf("the hold expires %v after its time, counted from the first attempt", late)
		}
	})
}

// A request that never arrived is sent again.
func TestLostRequestIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.meddle(once(wire.KindHold, func(s *session, h wire.Header, body []byte) { s.nc.Close() }))
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		h, err := ev.Hold(t.Context(), twoSeats)
		if err != nil {
			t.Fatal(err)
		}
		if n := c.hall.effects(h.ID()); n != 1 {
			t.Errorf("the hold took effect %d times", n)
		}
	})
}

// Each status that says "not now" is retried until it is over.
func TestNotNowIsTriedAgain(t *testing.T) {
	for _, status := range []wire.Status{wire.StatusOverloaded, wire.StatusUnavailable, wire.StatusStopping, wire.StatusUnknown} {
		t.Run(status.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a")
				refusals := 0
				c.meddle(func(s *session, h wire.Header, body []byte) bool {
					if h.Kind != wire.KindHold || refusals == 5 {
						return false
					}
					refusals++
					s.reply(h, status, nil)
					return true
				})
				cl, ev := dialFake(t, c, nil)
				defer cl.Close()
				h, err := ev.Hold(t.Context(), twoSeats)
				if err != nil {
					t.Fatal(err)
				}
				if n := c.hall.effects(h.ID()); n != 1 || refusals != 5 {
					t.Errorf("the hold took effect %d times after %d refusals", n, refusals)
				}
			})
		})
	}
}

// When the time is over, the error tells what certainly was not applied from what
// may have been.
func TestGivingUpSaysWhatMayHaveHappened(t *testing.T) {
	cases := []struct {
		name    string
		meddle  func(s *session, h wire.Header, body []byte)
		status  wire.Status
		applied Applied
	}{
		{"overloaded", func(s *session, h wire.Header, body []byte) { s.reply(h, wire.StatusOverloaded, nil) }, wire.StatusOverloaded, AppliedNo},
		{"no leader", func(s *session, h wire.Header, body []byte) { s.reply(h, wire.StatusUnavailable, nil) }, wire.StatusUnavailable, AppliedNo},
		{"unknown", func(s *session, h wire.Header, body []byte) { s.reply(h, wire.StatusUnknown, nil) }, wire.StatusUnknown, AppliedUnknown},
		{"silence", func(s *session, h wire.Header, body []byte) {}, wire.StatusUnknown, AppliedUnknown},
		{"cut off", func(s *session, h wire.Header, body []byte) { s.nc.Close() }, wire.StatusUnknown, AppliedUnknown},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a")
				c.meddle(func(s *session, h wire.Header, body []byte) bool {
					if h.Kind != wire.KindHold {
						return false
					}
					tc.meddle(s, h, body)
					return true
				})
				cl, ev := dialFake(t, c, nil)
				defer cl.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 800*time.Millisecond)
				defer cancel()
				start := time.Now()
				_, err := ev.Hold(ctx, twoSeats)
				if took := time.Since(start); took != 800*time.Millisecond {
					t.Errorf("gave up after %v", took)
				}
				var e *Error
				if !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("error is %v", err)
				}
				if e.Status != tc.status || e.Applied != tc.applied || e.ID == (wire.ID{}) {
					t.Errorf("%v, %v, id %v; want %v, %v and an id", e.Status, e.Applied, e.ID, tc.status, tc.applied)
				}
			})
		})
	}
}

// An id from an Error answers what became of the request, also to another client.
func TestRepeatingAnUnknownRequest(t *testing.T) {
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
		sent := time.Now()
		_, err := ev.Hold(t.Context(), twoSeats)
		var e *Error
		if !errors.As(err, &e) || e.Applied != AppliedUnknown {
			t.Fatalf("error is %v", err)
		}
		deaf.Store(false)
		time.Sleep(time.Minute)
		other, ev2 := dialFake(t, c, nil)
		defer other.Close()
		again := twoSeats
		again.ID = e.ID
		h, err := ev2.Hold(t.Context(), again)
		if err != nil {
			t.Fatal(err)
		}
		if n := c.hall.effects(e.ID); n != 1 || h.ID() != e.ID {
			t.Errorf("hold %v took effect %d times", h.ID(), n)
		}
		// The answer is a minute old: the hold has so much less time left.
		if late := h.ExpiresAt().Sub(sent) - 15*time.Minute; late > 0 || late < -5*time.Millisecond {
			t.Errorf("the hold expires %v after its time", late)
		}
		if behind := c.hall.now() - ev2.Now(); behind > 100 {
			t.Errorf("the old answer put the client's idea of shard time %d ms back", behind)
		}
	})
}

// A call with the id of an earlier one is a repetition from its first attempt on.
// A node may turn others away by a look at the seats, which it does not remember,
// and the attempt of the earlier call, still on its way, would be granted after
// that.
func TestGivenIDIsARepetition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		other, err := ev.Hold(t.Context(), twoSeats)
		if err != nil {
			t.Fatal(err)
		}
		slow := once(wire.KindHold, func(s *session, h wire.Header, body []byte) {
			time.AfterFunc(time.Second, func() { s.usual(h, body) })
		})
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			switch {
			case slow(s, h, body):
			case h.Kind == wire.KindHold && h.Flags&wire.FlagRepeat == 0:
				s.reply(h, wire.StatusTaken, (&wire.SeatsLost{Now: c.hall.now(), Seats: wire.MakeSeatList(3)}).Append(nil))
			default:
				return false
			}
			return true
		})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		_, err = ev.Hold(ctx, twoSeats)
		var e *Error
		if !errors.As(err, &e) || e.Applied != AppliedUnknown {
			t.Fatalf("error is %v", err)
		}
		again := twoSeats
		again.ID = e.ID
		if _, err = ev.Hold(t.Context(), again); !errors.As(err, &e) || e.Status != wire.StatusTaken || e.Applied != AppliedNo {
			t.Fatalf("error is %v", err)
		}
		if err := other.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // virtual: the first attempt arrives
		if n := c.hall.effects(e.ID); n != 0 {
			t.Errorf("the hold is \"not applied\", and took effect %d times", n)
		}
	})
}

// What a call with a given id cannot find out remains unknown, whatever became of
// its own attempts: nothing is known of those of the call before.
func TestGivenIDRemainsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind != wire.KindHold {
				return false
			}
			s.reply(h, wire.StatusOverloaded, nil)
			return true
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		again := twoSeats
		again.ID = wire.KeyID("form 4711")
		_, err := ev.Hold(t.Context(), again)
		var e *Error
		if !errors.As(err, &e) || e.Status != wire.StatusOverloaded || e.Applied != AppliedUnknown {
			t.Errorf("error is %v", err)
		}
	})
}

// A call whose context has no deadline is bounded all the same.
func TestDefaultTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.meddle(func(s *session, h wire.Header, body []byte) bool { return h.Kind == wire.KindEvent })
		o := c.options()
		o.RequestTimeout = 1234 * time.Millisecond
		cl, ev := dialFake(t, c, o)
		defer cl.Close()
		start := time.Now()
		_, err := ev.Info(t.Context())
		if took := time.Since(start); took != o.RequestTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// The deadline in a request is over, in shard time, when the caller gives up: no
// later, so that it cannot strike afterwards.
func TestDeadlineIsTheCallersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		var deadline, arrived wire.Millis
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if m, err := wire.ParseMutation(body); err == nil && h.Kind == wire.KindHold {
				deadline, arrived = m.Deadline, c.hall.now()
			}
			return false
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := ev.Hold(ctx, twoSeats); err != nil {
			t.Fatal(err)
		}
		if left := deadline - arrived; left > 2000 || left < 1990 {
			t.Errorf("the request may be decided for %d ms after it arrived, its caller waits 2000", left)
		}
	})
}

// A shard whose time has jumped past the client's idea of it refuses a request as
// late; the client learns and the call succeeds.
func TestLearnsThatShardTimeJumped(t *testing.T) {
	for _, by := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a")
				cl, ev := dialFake(t, c, nil)
				defer cl.Close()
				c.hall.jump(by)
				h, err := ev.Hold(t.Context(), twoSeats)
				if err != nil {
					t.Fatal(err)
				}
				at, timed := h.ID().Time()
				if off := at - c.hall.now(); !timed || off > 60_000 || by < 0 && off < -1000 {
					t.Errorf("the id is %d ms ahead of the shard", off)
				}
			})
		})
	}
}

// An id that the shard has forgotten is replaced if no attempt can have been
// applied, and is the end of the request if one may have been.
func TestForgottenID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		c.hall.forget(0)
		time.Sleep(time.Millisecond)
		if _, err := ev.Hold(t.Context(), twoSeats); err != nil {
			t.Errorf("a request that was never sent before: %v", err)
		}
		c.meddle(once(wire.KindHold, func(s *session, h wire.Header, body []byte) {
			c.hall.jump(time.Second)
			c.hall.forget(0)
			s.nc.Close()
		}))
		_, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{9}})
		var e *Error
		if !errors.As(err, &e) || e.Status != wire.StatusTooOld || e.Applied != AppliedUnknown {
			t.Errorf("a request that may have been applied: %v", err)
		}
	})
}

// Late says of an id that it was never seen, so what was unknown is not applied,
// if no earlier attempt may be decided later than this one.
func TestLateProvesThatNothingHappened(t *testing.T) {
	q := &request{mutate: func(b []byte, _ wire.Mutation) []byte { return b }}
	q.deadline = 1000
	q.mayBeApplied()
	q.deadline = 900
	if q.tooLate(); !q.maybe {
		t.Error("an attempt that may be decided until 1000 was refused at 900, and taken for settled")
	}
	q.deadline = 1000
	if q.tooLate(); q.maybe {
		t.Error("an attempt with the last deadline was refused for it, and taken for unknown")
	}
}

// When the shard's leader moves, the client follows, and afterwards asks the new
// one at once.
func TestFollowsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		asked := map[string]int{}
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind == wire.KindHold {
				asked[s.addr]++
			}
			return false
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		c.hall.lead("b")
		for i := range 3 {
			if _, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{wire.SeatID(i)}}); err != nil {
				t.Fatal(err)
			}
		}
		if asked["a"] != 1 || asked["b"] != 3 {
			t.Errorf("holds were asked of %v, want a once and b three times", asked)
		}
		// The follower's Now was ten seconds old. An id made from it would be, too.
		if now := ev.Now(); c.hall.now()-now > 100 {
			t.Errorf("shard time is %d, the client believes %d", c.hall.now(), now)
		}
	})
}

// When the leader dies, the client finds the next one through the other nodes.
func TestNodeDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		time.AfterFunc(1500*time.Millisecond, func() { c.hall.lead("c") })
		c.stop("a")
		start := time.Now()
		h, err := ev.Hold(t.Context(), twoSeats)
		if err != nil {
			t.Fatal(err)
		}
		if n := c.hall.effects(h.ID()); n != 1 {
			t.Errorf("the hold took effect %d times", n)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("took %v although there was a leader after 1.5 s", took)
		}
	})
}

// Many callers that meet a wrong route together cause one search.
func TestOneSearchForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		var searches atomic.Int32
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind == wire.KindLocate {
				searches.Add(1)
			}
			return false
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		c.hall.lead("b")
		searches.Store(0)
		errs := make(chan error)
		for i := range 100 {
			go func() {
				_, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{wire.SeatID(i)}})
				errs <- err
			}()
		}
		for range 100 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := searches.Load(); n != 1 {
			t.Errorf("%d searches", n)
		}
	})
}

// An event that was deleted and made anew under its key is not the same event.
func TestEventOfAnotherLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		c.hall.event = 8
		if _, err := ev.Hold(t.Context(), twoSeats); StatusOf(err) != wire.StatusUnknownEvent {
			t.Errorf("the old handle: %v", err)
		}
		c.hall.lead("b")
		if _, err := ev.Hold(t.Context(), twoSeats); StatusOf(err) != wire.StatusUnknownEvent {
			t.Errorf("the old handle after a move: %v", err)
		}
		if again, err := cl.Event(t.Context(), "gala"); err != nil || again.ID() != 8 {
			t.Errorf("the new handle: %v", err)
		}
	})
}
