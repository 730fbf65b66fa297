package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usher-seats/usher/wire"
)

func addrs(cl *Client) (list []string) {
	for _, n := range cl.everyNode() {
		list = append(list, n.addr)
	}
	return list
}

// A client outlives all nodes that it was given.
func TestOutlivesTheNodesItWasGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		c.enlist(3, "a", "b", "c")
		cl, err := Dial(t.Context(), []string{"a"}, c.options())
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		ev, err := cl.Event(t.Context(), "gala")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.stop("a")
		c.hall.lead("c")
		if _, err := ev.Hold(t.Context(), twoSeats); err != nil {
			t.Fatal(err)
		}
		c.start("d")
		c.enlist(4, "d")
		if _, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{9}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * learnEvery) // virtual: there was traffic, so the list is read
		c.stop("b")
		c.stop("c")
		c.hall.lead("d")
		if _, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{10}}); err != nil {
			t.Error(err)
		}
		if _, err := cl.Event(t.Context(), "gala"); err != nil {
			t.Error(err)
		}
	})
}

// Nodes that have left are forgotten with their connections, what is under way
// there is asked elsewhere, and no list counts that is older than another.
func TestForgetsNodesThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		c.enlist(5, "a", "b", "c")
		cl, err := Dial(t.Context(), []string{"a"}, c.options())
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		c.hall.lead("b")
		ev, err := cl.Event(t.Context(), "gala")
		if err != nil {
			t.Fatal(err)
		}
		b := ev.route.Load().node
		c.meddle(func(s *session, h wire.Header, body []byte) bool { return s.addr == "b" && h.Kind == wire.KindHold })
		granted := make(chan error)
		go func() {
			_, err := ev.Hold(t.Context(), twoSeats)
			granted <- err
		}()
		synctest.Wait() // b keeps the answer to itself
		c.enlist(6, "c", "d")
		c.hall.lead("c")
		nodes, version, err := cl.Nodes(t.Context())
		if want := []Node{{"node c", "c"}, {"node d", "d"}}; err != nil || version != 6 || !slices.Equal(nodes, want) {
			t.Errorf("nodes %v of version %d, %v", nodes, version, err)
		}
		if err := <-granted; err != nil {
			t.Error(err)
		}
		if got := addrs(cl); !slices.Equal(got, []string{"a", "c", "d"}) {
			t.Errorf("the client knows %v", got)
		}
		if b.live() {
			t.Error("a connection to a node that left still stands")
		}
		if _, err := b.conn(t.Context()); !errors.Is(err, errForgotten) {
			t.Errorf("dialed again: %v", err)
		}
		c.enlist(5, "x")
		if _, version, err = cl.Nodes(t.Context()); version != 5 || err != nil {
			t.Errorf("version %d, %v", version, err)
		}
		c.enlist(9) // no node at all cannot be true
		cl.Nodes(t.Context())
		if got := addrs(cl); !slices.Equal(got, []string{"a", "c", "d"}) {
			t.Errorf("the client knows %v", got)
		}
	})
}

// A node may leave while a dial to it is under way.
func TestForgottenWhileDialing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.enlist(1, "a", "b")
		cl, err := Dial(t.Context(), []string{"a"}, c.options())
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		synctest.Wait()
		release := make(chan struct{})
		c.welcome(func(s *session, h wire.Header, body []byte) {
			<-release
			w := wire.Welcome{Version: 1, MaxInFlight: 100, Cluster: c.id}
			s.reply(h, wire.StatusOK, w.Append(nil))
		})
		b := cl.node("b")
		failed := make(chan error)
		go func() {
			_, err := b.conn(t.Context())
			failed <- err
		}()
		synctest.Wait()
		c.enlist(2, "a")
		cl.Nodes(t.Context())
		close(release)
		if err := <-failed; !errors.Is(err, errForgotten) || b.live() {
			t.Errorf("error is %v, connected: %v", err, b.live())
		}
	})
}

// The list is read every few seconds while there is traffic, once after a node
// failed, and not at all without either.
func TestListIsReadAsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.enlist(1, "a", "b")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		reads := func(d time.Duration) int {
			before := c.count(wire.KindNodes)
			time.Sleep(d)
			return c.count(wire.KindNodes) - before
		}
		synctest.Wait()
		if n := c.count(wire.KindNodes); n != 1 {
			t.Errorf("%d times after Dial", n)
		}
		time.Sleep(2 * learnEvery) // finding the event was traffic
		if n := reads(time.Hour); n != 0 {
			t.Errorf("%d times without traffic", n)
		}
		for range 60 {
			ev.Info(t.Context())
			time.Sleep(time.Second)
		}
		if n := reads(learnEvery); n > 1 {
			t.Errorf("%d times after the traffic", n)
		}
		if n := c.count(wire.KindNodes); n < 10 || n > 15 {
			t.Errorf("%d times, with a minute of traffic", n)
		}
		time.Sleep(2 * learnEvery)
		c.stop("b") // who leads the encore
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := cl.Event(short, "encore"); err == nil {
			t.Error("a dead node answers")
		}
		if n := reads(time.Hour); n != 1 {
			t.Errorf("%d times after a node failed", n)
		}
	})
}

// A node that does not know the kind is a node all the same.
func TestNodesOfAnOldServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind == wire.KindNodes {
				s.reply(h, wire.StatusUnknownKind, []byte("kind 15"))
			}
			return h.Kind == wire.KindNodes
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		for i := range 30 {
			if _, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{wire.SeatID(i)}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if _, _, err := cl.Nodes(t.Context()); StatusOf(err) != wire.StatusUnknownKind {
			t.Errorf("error is %v", err)
		}
		if got := addrs(cl); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("the client knows %v", got)
		}
	})
}

// A key that was just stored is not known to every node yet: others take it, and
// those that must are asked again for a while.
func TestKeyIsNotKnownEverywhereYet(t *testing.T) {
	for _, status := range []wire.Status{wire.StatusUnauthorized, wire.StatusBadVersion, wire.StatusStopping, wire.StatusOverloaded} {
		t.Run(status.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a", "b", "c")
				c.welcome(func(s *session, h wire.Header, body []byte) {
					if s.addr == "a" || s.addr == "b" {
						s.reply(h, status, nil)
						return
					}
					w := wire.Welcome{Version: 1, MaxInFlight: 100, Cluster: c.id}
					s.reply(h, wire.StatusOK, w.Append(nil))
				})
				c.hall.lead("b")
				cl, err := Dial(t.Context(), []string{"a", "b", "c"}, c.options())
				if err != nil {
					t.Fatal(err)
				}
				defer cl.Close()
				time.AfterFunc(700*time.Millisecond, func() { c.welcome(nil) })
				ev, err := cl.Event(t.Context(), "gala")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := ev.Hold(t.Context(), twoSeats); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What a node forbids is forbidden when it says so for long.
func TestForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		forbid := func(s *session, h wire.Header, body []byte) bool {
			if h.Kind == wire.KindHold {
				s.reply(h, wire.StatusForbidden, []byte("yours may only read"))
			}
			return h.Kind == wire.KindHold
		}
		c.meddle(forbid)
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		start := time.Now()
		_, err := ev.Hold(t.Context(), twoSeats)
		var e *Error
		if !errors.As(err, &e) || e.Status != wire.StatusForbidden || e.Applied != AppliedNo || e.Text != "yours may only read" {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(start); took < denialPatience || took > denialPatience+backoffMost {
			t.Errorf("told after %v", took)
		}
		time.AfterFunc(300*time.Millisecond, func() { c.meddle(nil) })
		if _, err := ev.Hold(t.Context(), twoSeats); err != nil {
			t.Errorf("allowed a moment later: %v", err)
		}
	})
}

// Dial does not wait for machines that are off longer than it must.
func TestDialPassesMachinesThatAreOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		c.power("a", false)
		c.power("b", false)
		start := time.Now()
		cl, err := Dial(t.Context(), []string{"a", "b", "c"}, c.options())
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if took := time.Since(start); took > 2*dialPatience {
			t.Errorf("took %v", took)
		}
	})
}

// A node in doubt is asked last, and one without a connection after those that
// have one if that is wanted.
func TestWhoIsAskedNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b", "c")
		cl, _ := dialFake(t, c, nil)
		defer cl.Close()
		a, b, d := cl.node("a"), cl.node("b"), cl.node("c")
		next := func(n *node, live bool, want *node) {
			t.Helper()
			if got := cl.nodeAfter(n, live); got != want {
				t.Errorf("after %s comes %s, want %s", n.addr, got.addr, want.addr)
			}
		}
		next(a, false, b)
		next(b, true, a) // the only one with a connection
		next(a, true, b)
		b.doubt()
		next(a, false, d)
		if a.doubt(); cl.anyNode() != d {
			t.Errorf("any node is %s, which failed", cl.anyNode().addr)
		}
		d.doubt()
		next(a, false, b)
		time.Sleep(doubtFor)
		next(d, false, a)
		if cl.anyNode() != a {
			t.Errorf("any node is %s", cl.anyNode().addr)
		}
	})
}

// Servers cannot make the client remember without bound.
func TestAddressesAreBounded(t *testing.T) {
	cl := &Client{o: Options{Conns: 1}}
	first := cl.node("first")
	if cl.named(nil) != nil || cl.named(bytes.Repeat([]byte("x"), maxAddr+1)) != nil {
		t.Error("no address, or a monstrous one, names a node")
	}
	for i := range 2 * maxNodes {
		cl.node(fmt.Sprint(i))
	}
	if n := len(cl.everyNode()); n != maxNodes {
		t.Errorf("%d nodes, want %d", n, maxNodes)
	}
	if cl.node("one more") != first {
		t.Error("a node beyond the bound is not taken for the first")
	}
}
