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
		hall.lead([]string{"a", "b", "c"}[c.roll(3)%3])
		return false
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

// Under any faults, what the client says is true: a granted hold took effect
// exactly once, one that is "not applied" never does, not even by an attempt that
// arrives long after, and one that is unknown can be settled with its id.
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
	for _, outcome := range []string{"granted", "refused", "not applied", "unknown"} {
		if said[outcome] == 0 {
			t.Errorf("no hold was ever %s: the test does not do what it says; there were %v", outcome, said)
		}
	}
}

func playChaos(t *testing.T, seed uint64, said map[string]int) {
	c := newCluster("a", "b", "c")
	x := &chaos{rand: rand.New(rand.NewPCG(seed, 1))}
	cl, ev := dialFake(t, c, nil)
	defer cl.Close()
	c.meddle(x.meddle)
	x.mu.Lock()
	x.on = true
	x.mu.Unlock()

	var mu sync.Mutex
	granted, refused, unsettled := map[wire.ID]*Hold{}, map[wire.ID]error{}, map[wire.ID]HoldRequest{}
	var all sync.WaitGroup
	for worker := range 10 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(worker)+2))
			for range 20 {
				ask := HoldRequest{Seats: []wire.SeatID{wire.SeatID(r.IntN(150))}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(10+r.IntN(1500))*time.Millisecond)
				h, err := ev.Hold(ctx, ask)
				cancel()
				var e *Error
				mu.Lock()
				switch {
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
