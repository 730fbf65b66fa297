package client

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usher-seats/usher/wire"
)

// chaos does something bad to one request in three.
type chaos struct {
	mu   sync.Mutex
	rand *rand.Rand
	on   bool
}

func (c *chaos) roll(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return n
	}
	return c.rand.IntN(n)
}

func (c *chaos) calm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
}

func (c *chaos) meddle(s *session, h wire.Header, body []byte) bool {
	hall := s.cluster.hall
	b := bytes.Clone(body)
	later := func(most int) {
		time.AfterFunc(time.Duration(c.roll(most))*time.Millisecond, func() { s.usual(h, b) })
	}
	switch c.roll(40) {
	case 0: // lost before it was read
		s.nc.Close()
	case 1: // lost after it was done
		s.apply(h, b)
		s.nc.Close()
	case 2: // done, and the answer lost without the connection
		s.apply(h, b)
	case 3: // slow
		later(100)
	case 4: // arrives long after it was given up
		later(6000)
	case 5:
		s.reply(h, wire.StatusOverloaded, nil)
	case 6:
		s.reply(h, wire.StatusUnavailable, nil)
	case 7:
		s.apply(h, b)
		s.reply(h, wire.StatusUnknown, nil)
	case 8:
		s.reply(h, wire.StatusUnknown, nil)
	case 9: // twice on the way there
		s.apply(h, b)
		s.usual(h, b)
	case 10: // twice on the way back
		s.usual(h, b)
		s.usual(h, b)
	case 11:
		s.reply(h, wire.StatusMoved, []byte([]string{"", "a", "b", "c", "x"}[c.roll(5)]))
	case 12:
		hall.stall(time.Duration(c.roll(3000)) * time.Millisecond)
		return false
	case 13:
		hall.forget(wire.Millis(c.roll(2000)))
		return false
	case 14:
		s.raw(bytes.Repeat([]byte{byte(c.roll(256))}, 1+c.roll(40)))
		s.nc.Close()
	default:
		return false
	}
	return true
}

// A director has nodes die, come back, lead, be wrong about who leads, and the
// event move, until it is told to stop.
type director struct {
	c     *cluster
	rand  *rand.Rand
	lists uint64 // versions of the list of nodes
	stop  chan struct{}
	over  chan struct{}
}

func (d *director) run() {
	defer close(d.over)
	for {
		select {
		case <-d.stop:
			return
		case <-time.After(time.Duration(d.rand.IntN(400)) * time.Millisecond):
		}
		d.act()
	}
}

func (d *director) act() {
	up := d.c.up()
	one := []string{"a", "b", "c"}[d.rand.IntN(3)]
	switch d.rand.IntN(7) {
	case 0, 1: // a node dies; if it led, the others take a while to find out
		d.c.stop(one)
		d.c.hall.mu.Lock()
		led := d.c.hall.leader == one
		d.c.hall.mu.Unlock()
		if led {
			d.c.hall.lead("")
			time.Sleep(time.Duration(d.rand.IntN(1500)) * time.Millisecond)
			d.elect()
		}
	case 2, 3: // all come back
		for _, addr := range []string{"a", "b", "c"} {
			d.c.start(addr)
		}
		d.elect()
	case 4: // the event moves
		d.c.hall.freeze()
		time.Sleep(time.Duration(d.rand.IntN(60)) * time.Millisecond)
		d.c.hall.move("")
		d.elect()
	case 5: // a node is wrong about who leads
		d.c.hall.believe(one, []string{"", "a", "b", "c", "x"}[d.rand.IntN(5)])
	case 6:
		d.c.hall.know(one)
		d.lists++
		d.c.enlist(d.lists, append(up, "x")...)
	}
}

// elect has a node that is up lead, if there is one.
func (d *director) elect() {
	if up := d.c.up(); len(up) > 0 {
		d.c.hall.lead(up[d.rand.IntN(len(up))])
	}
}

// calm ends the play: all nodes are up and agree.
func (d *director) calm() {
	close(d.stop)
	<-d.over
	for _, addr := range []string{"a", "b", "c"} {
		d.c.start(addr)
		d.c.hall.know(addr)
	}
	d.c.hall.lead("a")
	d.c.enlist(d.lists+1, "a", "b", "c")
}

// Under any faults, what the client says is true: a granted hold took effect
// exactly once, one that is "not applied" never does, not even by an attempt that
// arrives long after, and one that is unknown can be settled with its id. A call
// that has the time gets a decision.
func TestWhatTheClientSaysIsTrue(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("rerun with SEED=%d go test -run %s ./client", seed, t.Name())
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	said := map[string]int{}
	for i := range rounds {
		synctest.Test(t, func(t *testing.T) { playChaos(t, seed+uint64(i), said) })
	}
	t.Logf("holds: %v", said)
	for _, outcome := range []string{"granted", "refused", "not applied", "unknown", "patient"} {
		if said[outcome] == 0 {
			t.Errorf("no hold was ever %s: the test does not do what it says; there were %v", outcome, said)
		}
	}
}

func playChaos(t *testing.T, seed uint64, said map[string]int) {
	c := newCluster("a", "b", "c")
	x := &chaos{rand: rand.New(rand.NewPCG(seed, 1))}
	cl, err := Dial(t.Context(), []string{"a"}, c.options()) // it learns the others
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ev, err := cl.Event(t.Context(), c.hall.key)
	if err != nil {
		t.Fatal(err)
	}
	c.meddle(x.meddle)
	x.mu.Lock()
	x.on = true
	x.mu.Unlock()
	d := &director{c: c, rand: rand.New(rand.NewPCG(seed, 99)), stop: make(chan struct{}), over: make(chan struct{})}
	go d.run()

	var mu sync.Mutex
	granted, refused, unsettled := map[wire.ID]*Hold{}, map[wire.ID]error{}, map[wire.ID]HoldRequest{}
	var all sync.WaitGroup
	for worker := range 10 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(worker)+2))
			for range 20 {
				ask := HoldRequest{Seats: []wire.SeatID{wire.SeatID(r.IntN(150))}}
				limit := time.Duration(10+r.IntN(1500)) * time.Millisecond
				patient := r.IntN(10) == 0
				if patient {
					limit = 5 * time.Minute
				}
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				h, err := ev.Hold(ctx, ask)
				cancel()
				var e *Error
				mu.Lock()
				if patient {
					said["patient"]++
				}
				switch {
				case patient && err != nil && !StatusOf(err).Decided():
					t.Errorf("a call that had the time: %v", err)
				case err == nil:
					granted[h.ID()] = h
					said["granted"]++
				case !errors.As(err, &e):
					t.Errorf("an error of another kind: %v", err)
				case e.Applied == AppliedUnknown:
					ask.ID = e.ID
					unsettled[e.ID] = ask
					said["unknown"]++
				default:
					refused[e.ID] = err
					if e.Status.Decided() {
						said["refused"]++
					} else {
						said["not applied"]++
					}
				}
				mu.Unlock()
				if err == nil && r.IntN(2) == 0 {
					h.Release(t.Context()) // whatever comes of it: seats for the others
				}
			}
		})
	}
	all.Wait()
	x.calm()
	d.calm()
	time.Sleep(time.Minute) // virtual: all that is on its way arrives
	for id, ask := range unsettled {
		before := c.hall.effects(id)
		h, err := ev.Hold(t.Context(), ask)
		switch {
		case err == nil:
			granted[id] = h
		case StatusOf(err) == wire.StatusTooOld && before > 0:
			t.Errorf("hold %v took effect and is forgotten", id)
		default:
			refused[id] = err
		}
	}
	for id := range granted {
		k := c.hall.holds[id]
		if k == nil {
			t.Errorf("hold %v was granted and never made", id)
			continue
		}
		if k.made != 1 {
			t.Errorf("hold %v was made %d times", id, k.made)
		}
	}
	for id, err := range refused {
		if k := c.hall.holds[id]; k != nil {
			t.Errorf("hold %v was made although: %v", id, err)
		}
	}
}
