package shard

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// clashing gives ids of which many have fingerprints that are near or equal.
func clashing(rnd *rand.Rand) uint32 {
	fp := rnd.Uint32() &^ (1<<20 - 1) // few homes
	return fp | uint32(rnd.IntN(4))
}

// TestIDTableMatchesMap inserts and removes at random, growing and shrinking, and
// compares with a map.
func TestIDTableMatchesMap(t *testing.T) {
	rnd := newRandom(t)
	e := new(Event)
	e.setTable(newIDTable(0))
	fps := map[ref]uint32{}
	var refs []ref
	next := ref(0)
	for step := range 60_000 {
		grow := step/6_000%2 == 0
		if len(refs) == 0 || rnd.IntN(10) < 5 == grow || grow && rnd.IntN(3) == 0 {
			next++
			fps[next] = clashing(rnd)
			refs = append(refs, next)
			e.enter(fps[next], next)
		} else {
			k := rnd.IntN(len(refs))
			r := refs[k]
			refs[k] = refs[len(refs)-1]
			refs = refs[:len(refs)-1]
			e.leave(fps[r], r)
			delete(fps, r)
		}
		if step%499 == 0 {
			compareTable(t, e.table, fps)
		}
	}
	compareTable(t, e.table, fps)
}

func compareTable(t *testing.T, table *idTable, fps map[ref]uint32) {
	t.Helper()
	found := map[ref]uint32{}
	for i := range table.slots {
		if v := table.slots[i].Load(); v != 0 {
			found[ref(v)] = uint32(v >> 32)
		}
	}
	if len(found) != len(fps) || table.count != len(fps) {
		t.Fatalf("table has %d entries and counts %d, want %d", len(found), table.count, len(fps))
	}
	for r, fp := range fps {
		if found[r] != fp || !table.seen(fp) {
			t.Fatalf("entry %d with fingerprint %#x is lost", r, fp)
		}
	}
}

// TestIDTableReadersNeverMiss lets readers look for ids that are in the table all
// the time, while others come and go around them and the table grows and shrinks.
func TestIDTableReadersNeverMiss(t *testing.T) {
	rnd := newRandom(t)
	e := new(Event)
	e.setTable(newIDTable(0))
	var steady []uint32
	for r := range ref(500) {
		fp := clashing(rnd)
		steady = append(steady, fp)
		e.enter(fp, r+1)
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for !stop.Load() {
				for _, fp := range steady {
					if !e.ids.Load().seen(fp) {
						t.Errorf("fingerprint %#x was not seen", fp)
						return
					}
				}
			}
		})
	}
	guests := map[ref]uint32{}
	next := ref(1000)
	for round := range 200 {
		if round%2 == 0 {
			for range 2000 {
				next++
				guests[next] = clashing(rnd)
				e.enter(guests[next], next)
			}
		} else {
			for r, fp := range guests {
				e.leave(fp, r)
				delete(guests, r)
			}
		}
		runtime.Gosched()
	}
	stop.Store(true)
	readers.Wait()
}

// TestLookNeverRefusesTheWinner: while requests are granted, held, given back and
// forgotten, readers look at the same requests, as retries of them would. Nobody
// else wants their seats, so no look may say that they are taken.
func TestLookNeverRefusesTheWinner(t *testing.T) {
	d := newDriver(Config{Remembered: 200})
	d.create(t, 1, benchManifest())
	const requests = 2000
	var records [requests]atomic.Pointer[wire.Record]
	make1 := func(n int) *wire.Record {
		h := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seats: pair(n)}
		return &wire.Record{Kind: wire.KindHold, Body: h.Append(nil)}
	}
	for n := range requests {
		records[n].Store(make1(n))
	}
	var stop atomic.Bool
	var looked atomic.Int64
	var readers sync.WaitGroup
	for seed := range uint64(3) {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 7))
			var dst [256]byte
			for !stop.Load() {
				n := rnd.IntN(requests)
				r := records[n].Load()
				_, _, decided := d.s.Look(*r, d0, dst[:0])
				// The slot may have been given to another request meanwhile, whose seats
				// they are now.
				if decided && records[n].Load() == r {
					t.Errorf("request %d was told that its own seats are taken", n)
					return
				}
				looked.Add(1)
			}
		})
	}
	rnd := newRandom(t)
	for looked.Load() < 20_000 {
		d.now++
		n := rnd.IntN(requests)
		r := records[n].Load()
		d.ops = r.Append(d.ops[:0])
		var g wire.Granted
		d.apply(d.ops, func(_ int, s wire.Status, body []byte) {
			if s == wire.StatusOK {
				_ = g.Decode(append([]byte(nil), body...))
			}
		})
		if g.Fence != 0 && rnd.IntN(3) == 0 {
			// The next request for these seats gets its place before they are free.
			records[n].Store(make1(n))
			o := wire.OnHold{Mutation: wire.Mutation{Event: 1, ID: wire.ID(r.Body[8:24])}, Fence: g.Fence}
			d.ops = wire.Record{Kind: wire.KindRelease, Body: o.Append(nil)}.Append(d.ops[:0])
			d.apply(d.ops, nil)
		}
		runtime.Gosched()
	}
	stop.Store(true)
	readers.Wait()
}

// d0 is a shard time that is never too late for the ids of a driver.
const d0 = 1_000_000

func BenchmarkSeen(b *testing.B) {
	t := newIDTable(1 << 20)
	rnd := rand.New(rand.NewPCG(1, 2))
	for r := range ref(1 << 20) {
		t.insert(rnd.Uint32(), r+1)
	}
	var id wire.ID
	for i := range b.N {
		binary.LittleEndian.PutUint64(id[:], uint64(i))
		t.seen(fingerprint(&id))
	}
}
