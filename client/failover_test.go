package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usher-seats/usher/wire"
)

// An event takes its time along when it moves. A hold that was made just before,
// whose answer was lost, is found where the event is then: with the same id,
// marked as a repetition, until its caller's time is over and no longer, and it
// took effect once.
func TestEventMovesUnderAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		time.Sleep(time.Hour) // virtual
		var ids []wire.ID
		var flags []wire.Flags
		var deadline wire.Millis
		lose := once(wire.KindHold, func(s *session, h wire.Header, body []byte) {
			s.apply(h, body)
			s.nc.Close()
		})
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind == wire.KindHold {
				m, err := wire.ParseMutation(body)
				if err != nil {
					t.Error(err)
				}
				ids, flags, deadline = append(ids, m.ID), append(flags, h.Flags), m.Deadline
				if len(ids) == 2 {
					c.hall.freeze()
					time.AfterFunc(700*time.Millisecond, func() { c.hall.move("c") })
				}
			}
			return lose(s, h, body)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		h, err := ev.Hold(ctx, twoSeats)
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) < 3 || c.hall.leader != "c" {
			t.Fatalf("%d attempts: the test does not do what it says", len(ids))
		}
		for i, id := range ids {
			if id != h.ID() || (flags[i] == wire.FlagRepeat) != (i > 0) {
				t.Errorf("attempt %d had id %v and flags %d, the hold is %v", i, id, flags[i], h.ID())
			}
		}
		if n := c.hall.effects(h.ID()); n != 1 {
			t.Errorf("the hold took effect %d times", n)
		}
		end, _ := ctx.Deadline()
		over := c.hall.now() + wire.Millis(time.Until(end)/time.Millisecond)
		if early := over - deadline; early < 0 || early > 10 {
			t.Errorf("the last attempt could be decided until %d ms before its caller gave up", early)
		}
		// Time stood still meanwhile, which the client cannot tell before the event
		// is found.
		if ahead := ev.Now() - c.hall.now(); ahead > 0 || ahead < -10 {
			t.Errorf("the client's idea of the event's time is %d ms ahead", ahead)
		}
		if early := time.Until(h.ExpiresAt()) - 15*time.Minute; early > 0 || early < -2*time.Second {
			t.Errorf("the hold expires %v after its time", early)
		}
	})
}

// While an event moves there is no storm, and afterwards no delay that a caller
// would notice, however many wait.
func TestManyWaitForAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		c.hall.freeze()
		time.AfterFunc(40*time.Millisecond, func() { c.hall.move("b") })
		start := time.Now()
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				if _, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{wire.SeatID(i)}}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(start); took > 150*time.Millisecond {
			t.Errorf("took %v, the move 40 ms", took)
		}
		if holds, searches := c.count(wire.KindHold), c.count(wire.KindLocate); holds > 300 || searches > 20 {
			t.Errorf("100 holds took %d attempts and %d searches", holds, searches)
		}
	})
}

// Nodes that send a client to and fro end in pauses, and in an error when the
// time is over.
func TestMovedInCircles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind != wire.KindHold {
				return false
			}
			to := map[string]string{"a": "b", "b": "a"}[s.addr]
			c.hall.lead(to)
			s.reply(h, wire.StatusMoved, []byte(to))
			return true
		})
		_, err := ev.Hold(t.Context(), twoSeats)
		var e *Error
		if !errors.As(err, &e) || e.Status != wire.StatusMoved || e.Applied != AppliedNo {
			t.Errorf("error is %v", err)
		}
		if n := c.count(wire.KindHold); n < 10 || n > 60 {
			t.Errorf("%d attempts in 5 s", n)
		}
		c.meddle(nil)
		c.hall.believe("a", "b")
		c.hall.believe("b", "a")
		before := c.count(wire.KindLocate)
		if _, err := ev.Hold(t.Context(), twoSeats); err != nil { // c knows
			c.hall.lead("c")
		}
		if n := c.count(wire.KindLocate) - before; n > 250 {
			t.Errorf("%d searches in 5 s", n)
		}
	})
}

// An outage costs each node few requests and dials, however many callers wait,
// and a client that asks for nothing leaves dead nodes alone.
func TestOutageIsNoStorm(t *testing.T) {
	cases := []struct {
		name string
		out  func(c *cluster)
		back func(c *cluster)
	}{
		{"no leader", func(c *cluster) { c.hall.lead("") }, func(c *cluster) { c.hall.lead("b") }},
		{"a dead leader is named", func(c *cluster) {
			c.stop("a")
		}, func(c *cluster) { c.hall.lead("c") }},
		{"all refuse", func(c *cluster) {
			for _, addr := range c.up() {
				c.stop(addr)
			}
		}, func(c *cluster) {
			for _, addr := range []string{"a", "b", "c"} {
				c.start(addr)
			}
		}},
		{"all are off", func(c *cluster) {
			for _, addr := range c.up() {
				c.stop(addr)
				c.power(addr, false)
			}
		}, func(c *cluster) {
			c.power("a", true)
			c.start("a")
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const callers, outage = 200, 20 * time.Second
				c := newCluster("a", "b", "c")
				cl, ev := dialFake(t, c, nil)
				defer cl.Close()
				dials := c.dialed()
				tc.out(c)
				time.AfterFunc(outage, func() { tc.back(c) })
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start := time.Now()
				var all sync.WaitGroup
				for i := range callers {
					all.Go(func() {
						if _, err := ev.Hold(ctx, HoldRequest{Seats: []wire.SeatID{wire.SeatID(i)}}); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				if late := time.Since(start) - outage; late > 2*dialTimeout {
					t.Errorf("all were done %v after the outage", late)
				}
				if n := c.count(wire.KindLocate); n > 300 {
					t.Errorf("%d searches in 20 s", n)
				}
				if n := c.count(wire.KindHold); n > 3*callers {
					t.Errorf("%d attempts of %d holds", n, callers)
				}
				if n := c.dialed() - dials; n > 300 {
					t.Errorf("%d dials in 20 s", n)
				}
				if n := c.count(wire.KindNodes); n > 25 {
					t.Errorf("the nodes were asked for %d times", n)
				}

				for _, addr := range c.up() {
					c.stop(addr)
				}
				short, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := ev.Info(short); err == nil {
					t.Error("dead nodes answer")
				}
				time.Sleep(time.Minute)
				before := c.dialed()
				if time.Sleep(time.Hour); c.dialed() != before {
					t.Errorf("an idle client dialed dead nodes %d times in an hour", c.dialed()-before)
				}
			})
		})
	}
}

// When a shard's leader dies, the events of other shards go on as if nothing had
// happened.
func TestOtherShardsAreNotDelayed(t *testing.T) {
	for _, off := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster("a", "b", "c")
			cl, ev := dialFake(t, c, nil)
			defer cl.Close()
			encore, err := cl.Event(t.Context(), "encore") // c leads it
			if err != nil {
				t.Fatal(err)
			}
			if c.power("a", !off); !off {
				c.stop("a")
			}
			c.hall.lead("")
			time.AfterFunc(4*time.Second, func() { c.hall.lead("b") })
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() { ev.Hold(t.Context(), twoSeats) })
			}
			for i := range 100 {
				start := time.Now()
				if _, err := encore.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{wire.SeatID(i)}}); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took > 0 {
					t.Errorf("took %v while another shard had no leader", took)
				}
				time.Sleep(50 * time.Millisecond)
			}
			all.Wait()
		})
	}
}

// The machine of the leader is switched off: its connections are silent, dials to
// it hang. That costs the calls under way the time to find out, and none after
// them more than a dialPatience.
func TestLeadersMachineIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		o := c.options()
		o.Conns = 2
		cl, ev := dialFake(t, c, o)
		defer cl.Close()
		for i := range 2 { // both connections are there
			if _, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{wire.SeatID(i)}}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait() // or the second is still being made, by a machine that is off
		c.meddle(func(s *session, h wire.Header, body []byte) bool { return s.addr == "a" })
		c.power("a", false)
		c.hall.lead("b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i, most := range []time.Duration{deadAfter + pingAfter, 0, 0} {
			start := time.Now()
			if _, err := ev.Hold(ctx, HoldRequest{Seats: []wire.SeatID{wire.SeatID(i + 10)}}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > most {
				t.Errorf("hold %d took %v, want at most %v", i, took, most)
			}
		}
		c.hall.believe("b", "a") // who is off
		c.hall.lead("c")
		start := time.Now()
		if _, err := ev.Hold(ctx, HoldRequest{Seats: []wire.SeatID{20}}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 2*dialPatience {
			t.Errorf("took %v although c led", took)
		}
	})
}

// A node that is not the leader any more and does not know it does not keep a
// client from the one that is.
func TestDeposedLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		c.hall.believe("a", "a")
		c.hall.believe("b", "a")
		c.hall.lead("c")
		start := time.Now()
		if _, err := ev.Hold(t.Context(), twoSeats); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// Without a leader a read that may be old is answered by another replica, and
// says how old it is. One that may not be waits.
func TestReadsWithoutLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		m, err := ev.Map(t.Context(), Latest)
		if err != nil || m.Age != 0 {
			t.Fatalf("from the leader: %+v, %v", m, err)
		}
		// b is no replica: it sends to the leader, or says it has no such event.
		var status atomic.Uint32
		status.Store(uint32(wire.StatusMoved))
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if s.addr != "b" || h.Kind != wire.KindMap && h.Kind != wire.KindChanges {
				return false
			}
			s.reply(h, wire.Status(status.Load()), []byte("a"))
			return true
		})
		c.stop("a")
		for _, s := range []wire.Status{wire.StatusMoved, wire.StatusUnknownEvent} {
			status.Store(uint32(s))
			start := time.Now()
			if m, err = ev.Map(t.Context(), Latest); err != nil || m.Age != 1500*time.Millisecond {
				t.Errorf("map from a replica: %+v, %v", m, err)
			}
			if _, err = ev.Changes(t.Context(), 1); err != nil {
				t.Errorf("changes from a replica: %v", err)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %v", took)
			}
		}
		if _, err = ev.Map(t.Context(), Consistent); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("consistent map: %v", err)
		}
		if _, err = ev.Info(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("info: %v", err)
		}
		c.hall.lead("c")
		if m, err = ev.Map(t.Context(), Latest); err != nil || m.Age != 0 {
			t.Errorf("from the new leader: %+v, %v", m, err)
		}
	})
}

// A node that has not heard of an event is asked to find out.
func TestEventIsNotKnownEverywhereYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind != wire.KindLocate || h.Flags&wire.FlagConsistent != 0 {
				return false
			}
			s.reply(h, wire.StatusUnknownEvent, nil)
			return true
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		if _, err := ev.Hold(t.Context(), twoSeats); err != nil {
			t.Error(err)
		}
		before := c.count(wire.KindLocate)
		if _, err := cl.Event(t.Context(), "no such"); StatusOf(err) != wire.StatusUnknownEvent {
			t.Errorf("error is %v", err)
		}
		if n := c.count(wire.KindLocate) - before; n != 2 {
			t.Errorf("%d requests to learn that there is no event", n)
		}
	})
}

// The leader of an event's shard may be the last to hear of the event, and sends
// those who insist to the directory's leader, who sends them back.
func TestLeaderHasNotHeardOfTheEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.hall.lead("b")
		heard := time.Now().Add(50 * time.Millisecond)
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			switch {
			case h.Kind != wire.KindLocate || s.addr == "a":
				return false
			case h.Flags&wire.FlagConsistent != 0:
				s.reply(h, wire.StatusMoved, []byte("a"))
			case time.Now().Before(heard):
				s.reply(h, wire.StatusUnknownEvent, nil)
			default:
				return false
			}
			return true
		})
		begun := time.Now()
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		if _, err := ev.Hold(t.Context(), twoSeats); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 400*time.Millisecond {
			t.Errorf("it took %v to find an event that was known to its leader after 50 ms", took)
		}
	})
}

// Each node restarts, one after the other, under load: no call fails, and none
// has to wait for longer than its shard has no leader.
func TestRollingRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		stopping := ""
		c.welcome(func(s *session, h wire.Header, body []byte) {
			c.mu.Lock()
			leaving := s.addr == stopping
			c.mu.Unlock()
			if leaving {
				s.reply(h, wire.StatusStopping, nil)
				s.nc.Close()
				return
			}
			w := wire.Welcome{Version: 1, MaxInFlight: 100, Cluster: c.id}
			s.reply(h, wire.StatusOK, w.Append(nil))
		})
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			c.mu.Lock()
			leaving := s.addr == stopping
			c.mu.Unlock()
			if leaving {
				s.reply(h, wire.StatusStopping, nil)
			}
			return leaving
		})
		var done atomic.Bool
		var all sync.WaitGroup
		for w := range 20 {
			all.Go(func() {
				for i := 0; !done.Load(); i++ {
					start := time.Now()
					seat := wire.SeatID(w*10_000 + i)
					if _, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{seat}}); err != nil {
						t.Error(err)
					}
					if took := time.Since(start); took > 500*time.Millisecond {
						t.Errorf("a hold took %v", took)
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		for i, addr := range []string{"a", "b", "c", "a", "b", "c"} {
			c.mu.Lock()
			stopping = addr
			c.mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			c.hall.lead([]string{"b", "c", "a"}[i%3])
			time.Sleep(time.Second)
			c.stop(addr)
			time.Sleep(time.Second)
			c.mu.Lock()
			stopping = ""
			c.mu.Unlock()
			c.start(addr)
			time.Sleep(time.Second)
		}
		done.Store(true)
		all.Wait()
	})
}
