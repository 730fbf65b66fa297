package server

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A stand is a source of maps that a test changes: a replica that follows a leader.
// The time is a synctest bubble's.
type stand struct {
	t      *testing.T
	cache  *mapCache
	local  bool          // the node has a replica
	lag    time.Duration // that what the replica has is behind the leader
	slow   time.Duration // that reading takes
	broken *problem      // what reading ends with
	reads  atomic.Int32

	mu      sync.Mutex
	history []time.Time // when version i+1 came to be, at the leader
}

func newStand(t *testing.T) *stand {
	s := &stand{t: t, local: true}
	s.cache = &mapCache{bodies: newBodyCache(1 << 20), began: time.Now(), latest: s.latest, read: s.read, pack: func(_ string, b []byte) []byte { return b }}
	s.change()
	return s
}

// change makes a version.
func (s *stand) change() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, time.Now())
}

// at is the version as of a moment.
func (s *stand) at(when time.Time) wire.Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := 1
	for v < len(s.history) && !s.history[v].After(when) {
		v++
	}
	return wire.Version(v)
}

func (s *stand) latest(wire.EventID) (wire.Version, time.Duration, bool) {
	return s.at(time.Now().Add(-s.lag)), s.lag, s.local
}

func (s *stand) read(ctx context.Context, _ wire.EventID, consistent bool) (*wire.SeatMap, *problem) {
	s.reads.Add(1)
	lag := s.lag
	if consistent {
		lag = 0
	}
	v := s.at(time.Now().Add(-lag))
	if s.slow > 0 {
		select {
		case <-time.After(s.slow):
		case <-ctx.Done():
			return nil, statusProblem(wire.StatusLate)
		}
	}
	if s.broken != nil {
		return nil, s.broken
	}
	return &wire.SeatMap{Version: v, Age: uint32(lag.Milliseconds()), Planes: []byte{byte(v)}}, nil
}

// look reads a map and proves that it is no older than it says: at some moment within
// its age its version was the leader's latest.
func (s *stand) look(consistent bool) *mapMark {
	s.t.Helper()
	b, p := s.cache.planes(s.t.Context(), 1, consistent)
	if p != nil {
		s.t.Fatalf("%+v", p)
	}
	if len(b.bytes) != 1 || b.bytes[0] != byte(b.of.version) {
		s.t.Fatalf("version %d has the bytes %v", b.of.version, b.bytes)
	}
	age := s.cache.age(b.of)
	// A change at the very moment of the reading may have come after it.
	if least := s.at(time.Now().Add(-age - 1)); b.of.version < least {
		s.t.Fatalf("a map that is said to be %v old has version %d, but then it was %d already", age, b.of.version, least)
	}
	return b.of
}

// TestMapsAreReadSeldom proves that an event that changes all the time is read ten
// times a second, whoever asks, and one that stands still only once.
func TestMapsAreReadSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		for range 2_000 {
			s.look(false)
			time.Sleep(time.Millisecond)
		}
		if n := s.reads.Load(); n != 1 {
			t.Errorf("a map that did not change was read %d times", n)
		}
		s.change()
		if got := s.look(false); got.version != 2 || s.cache.age(got) != 0 {
			t.Errorf("after a long rest a change is not seen at once: version %d, %v old", got.version, s.cache.age(got))
		}
		s.reads.Store(0)
		for range 2_000 {
			s.change()
			if got := s.look(false); s.cache.age(got) > mapRest {
				t.Fatalf("a map of %v was given out", s.cache.age(got))
			}
			time.Sleep(time.Millisecond)
		}
		if n := s.reads.Load(); n < 18 || n > 21 {
			t.Errorf("a map that changed 2,000 times in 2 s was read %d times", n)
		}
	})
}

// TestMapsAreNoOlderThanTheySay proves it under random changes, on a leader, on a
// follower whose lag comes and goes, and on a node without a replica whose reads take
// time. Latest maps are the latest.
func TestMapsAreNoOlderThanTheySay(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, local := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			s := newStand(t)
			s.local = local
			for range 4_000 {
				switch r.IntN(20) {
				case 0:
					s.lag = time.Duration(r.IntN(3)) * time.Duration(r.IntN(2000)) * time.Millisecond
				case 1:
					s.slow = time.Duration(r.IntN(2)) * time.Duration(r.IntN(300)) * time.Millisecond
				case 2, 3, 4, 5, 6, 7:
					s.change()
				case 8:
					before := s.at(time.Now())
					if got := s.look(true); got.version < before {
						t.Fatalf("the latest map is version %d, but %d was there before", got.version, before)
					}
				default:
					s.look(false)
				}
				time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
			}
		})
	}
}

// TestMapsOfMany proves that those who ask at the same time wait for one reading, each
// within his own time; that a failure is everybody's and is not kept; and that he who
// had no time leaves the next one to try.
func TestMapsOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		s.slow = time.Second
		ask := func(n int, budget time.Duration) (failed int32) {
			var bad atomic.Int32
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), budget)
					defer cancel()
					if _, p := s.cache.planes(ctx, 1, false); p != nil {
						p.with("request_id", n) // as each does with his own
						bad.Add(1)
					}
				})
			}
			wg.Wait()
			return bad.Load()
		}
		if bad := ask(1000, time.Minute); bad != 0 || s.reads.Swap(0) != 1 {
			t.Errorf("1000 readers: %d failed, and the map was not read once", bad)
		}
		s.change()
		time.Sleep(mapRest)
		s.broken = statusProblem(wire.StatusUnavailable).with("seats", 1)
		if bad := ask(1000, time.Minute); bad != 1000 || s.reads.Swap(0) != 1 {
			t.Errorf("1000 readers of a map that cannot be had: %d failed", bad)
		}
		s.broken = nil
		began := time.Now()
		if bad := ask(10, 100*time.Millisecond); bad != 10 || time.Since(began) != 100*time.Millisecond {
			t.Errorf("with 100 ms for a second's work %d failed, after %v", bad, time.Since(began))
		}
		s.reads.Store(0)
		var wg sync.WaitGroup
		wg.Go(func() { ask(1, 100*time.Millisecond) })
		synctest.Wait()
		if bad := ask(100, time.Minute); bad != 0 || s.reads.Load() != 2 {
			t.Errorf("after one who had no time %d of 100 failed; the map was read %d times", bad, s.reads.Load())
		}
		wg.Wait()
	})
}

// TestMapForms proves that a form is made once for all readers of a version, that none
// gets an earlier one than he asks for, and that a form that panics holds up nobody.
func TestMapForms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		var made atomic.Int32
		form := func(of *body) *body {
			b, p := s.cache.form(t.Context(), 1, of, jsonMedia, codingZstd, func() ([]byte, *problem) {
				made.Add(1)
				time.Sleep(10 * time.Millisecond)
				return []byte{of.bytes[0], 'j'}, nil
			})
			if p != nil || b.of.version < of.of.version || b.bytes[0] != byte(b.of.version) {
				t.Errorf("asked for version %d, got %v, %v", of.of.version, b, p)
			}
			return b
		}
		planes := func() *body {
			b, p := s.cache.planes(t.Context(), 1, true)
			if p != nil {
				t.Fatal(p)
			}
			return b
		}
		first := planes()
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { form(first) })
		}
		synctest.Wait() // all wait for the one who makes it
		s.change()
		second := planes()
		for range 1000 {
			wg.Go(func() { form(second) })
		}
		wg.Wait()
		if n := made.Load(); n != 2 {
			t.Errorf("two versions were encoded %d times for 2000 readers", n)
		}
		if got := form(first); got.of.version != second.of.version {
			t.Errorf("who came late got version %d", got.of.version)
		}

		s.change()
		third := planes()
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic got lost")
				}
			}()
			_, _ = s.cache.form(t.Context(), 1, third, jsonMedia, codingZstd, func() ([]byte, *problem) { panic("a bug") })
		}()
		form(third)
	})
}

// TestMapsOfManyEvents proves that the maps of more events than fit take no more
// memory than they may, and that those read last stay.
func TestMapsOfManyEvents(t *testing.T) {
	const most, each = 1 << 20, 16_000
	c := &mapCache{bodies: newBodyCache(most), began: time.Now()}
	reads := make(map[wire.EventID]int)
	c.latest = func(wire.EventID) (wire.Version, time.Duration, bool) { return 1, 0, true }
	c.read = func(_ context.Context, id wire.EventID, _ bool) (*wire.SeatMap, *problem) {
		reads[id]++
		return &wire.SeatMap{Version: 1, Planes: make([]byte, each)}, nil
	}
	c.pack = func(_ string, b []byte) []byte { return b }
	for id := range wire.EventID(5000) {
		for _, e := range []wire.EventID{0, id} { // event 0 is read all the time
			planes, p := c.planes(t.Context(), e, false)
			if p != nil {
				t.Fatal(p)
			}
			if _, p := c.form(t.Context(), e, planes, jsonMedia, codingGzip, func() ([]byte, *problem) { return make([]byte, each/2), nil }); p != nil {
				t.Fatal(p)
			}
			if size := c.bodies.size(); size > most {
				t.Fatalf("%d bytes are kept, the most is %d", size, most)
			}
		}
	}
	if reads[0] != 1 || c.bodies.size() < most/2 {
		t.Errorf("an event that was read all the time was forgotten: read %d times, %d bytes kept", reads[0], c.bodies.size())
	}
	if len(c.bodies.flights) != 0 {
		t.Errorf("%d flights have not landed", len(c.bodies.flights))
	}
}
