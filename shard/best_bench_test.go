package shard

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// An arena is a map of 1,000 rows of 50 in 20 sections that is being sold:
// the best seats go, and holds anywhere in the map are given back.
type arena struct {
	rnd   *rand.Rand
	l     *layout
	x     *bestIndex
	taken []atomic.Uint64
	holds [][]wire.SeatID // all with room for as many seats, as slices are used again
	mine  []wire.SeatID   // taken one by one
}

const (
	arenaSections = 20
	arenaRows     = 50
	arenaSeats    = 50
	// Every 20th row has wheelchair places, each section's last 25 rows are of
	// the second category.
	wheelchairRows = 20
)

func arenaManifest() *wire.Manifest {
	m := &wire.Manifest{Key: "arena", Categories: []string{"a", "b"}}
	for i := range arenaSections {
		s := wire.Section{Name: fmt.Sprint(i)}
		for j := range arenaRows {
			r := wire.Row{Name: fmt.Sprint(j), Focal: arenaSeats - 1}
			for k := range arenaSeats {
				seat := wire.Seat{Label: fmt.Sprint(k), Category: uint16(2 * j / arenaRows)}
				if j%wheelchairRows == 0 && k < 10 {
					seat.Access = wire.AccessWheelchair
				}
				r.Seats = append(r.Seats, seat)
			}
			s.Rows = append(s.Rows, r)
		}
		m.Sections = append(m.Sections, s)
	}
	return m
}

// newArena fills a part of the map at random.
func newArena(full float64) *arena {
	a := &arena{rnd: rand.New(rand.NewPCG(1, 2)), l: newLayout(arenaManifest())}
	a.x = newBestIndex(a.l)
	a.taken = emptyMap(a.l)
	for w := range a.taken {
		for b := range wordBits {
			if a.rnd.Float64() < full {
				a.taken[w].Store(a.taken[w].Load() | 1<<b)
			}
		}
	}
	return a
}

func (a *arena) set(seats []wire.SeatID, taken bool) {
	for _, s := range seats {
		w := &a.taken[s/wordBits]
		if taken {
			w.Store(w.Load() | 1<<(s%wordBits))
		} else {
			w.Store(w.Load() &^ (1 << (s % wordBits)))
		}
		a.x.changed(int(s / wordBits))
	}
}

// hold takes the best seats for a query, if there are any.
func (a *arena) hold(q bestQuery, barred []uint64, dst []wire.SeatID) bool {
	dst, ok := a.x.best(q, a.taken, barred, dst[:0])
	if ok {
		a.set(dst, true)
		a.holds = append(a.holds, dst)
	}
	return ok
}

// release gives back a hold at random, whose slice may be used again.
func (a *arena) release() []wire.SeatID {
	i, last := a.rnd.IntN(len(a.holds)), len(a.holds)-1
	seats := a.holds[i]
	a.holds[i] = a.holds[last]
	a.holds = a.holds[:last]
	a.set(seats, false)
	return seats
}

// elsewhere changes two seats anywhere, as buyers who pick their seats do: about
// as many seats are free after it as before.
func (a *arena) elsewhere() {
	s := wire.SeatID(a.rnd.Uint32N(uint32(a.l.words))*wordBits + a.rnd.Uint32N(arenaSeats))
	if !isTaken(a.taken, s) {
		a.set([]wire.SeatID{s}, true)
		a.mine = append(a.mine, s)
	}
	if len(a.mine) > 100 {
		i, last := a.rnd.IntN(len(a.mine)), len(a.mine)-1
		a.set(a.mine[i:i+1], false)
		a.mine[i] = a.mine[last]
		a.mine = a.mine[:last]
	}
}

// fill holds the best seats until there are none or enough holds are out.
func (a *arena) fill(q bestQuery, barred []uint64, out int) {
	for range out {
		if !a.hold(q, barred, make([]wire.SeatID, 0, q.Count)) {
			return
		}
	}
}

// A bestCase is a map in a state, and what is asked for in it.
type bestCase struct {
	name   string
	q      bestQuery
	full   float64 // part of the map that is taken for good
	out    int     // holds of the best seats that are out; enough: until there are none left
	barred bool
}

const enough = 1 << 20

func bestCases() []bestCase {
	four := bestQuery{Count: 4, Section: wire.Any}
	with := func(change func(q *bestQuery)) bestQuery {
		q := four
		change(&q)
		return q
	}
	return []bestCase{
		{"empty", four, 0, 1, false},
		{"60%/fresh", four, 0.6, 1, false},
		{"60%/2000-out", four, 0.6, 2000, false},
		{"60%/sold-out", four, 0.6, enough, false},
		{"85%/sold-out", four, 0.85, enough, false},
		{"60%/pairs", with(func(q *bestQuery) { q.Count = 2 }), 0.6, 2000, false},
		{"30%/tens", with(func(q *bestQuery) { q.Count = 10 }), 0.3, 500, false},
		{"5%/twenties", with(func(q *bestQuery) { q.Count = 20 }), 0.05, 500, false},
		{"60%/no-orphan", with(func(q *bestQuery) { q.NoOrphan = true }), 0.6, enough, false},
		{"60%/split", with(func(q *bestQuery) { q.Split = true; q.Count = 10 }), 0.6, 1000, false},
		{"60%/split-no-orphan", with(func(q *bestQuery) { q.Split, q.NoOrphan = true, true; q.Count = 10 }), 0.6, 1000, false},
		{"60%/category", with(func(q *bestQuery) { q.Categories = 2 }), 0.6, 1000, false},
		{"60%/section", with(func(q *bestQuery) { q.Section = 15 }), 0.6, 30, false},
		{"60%/wheelchair", with(func(q *bestQuery) { q.Access = wire.AccessWheelchair }), 0.6, enough, false},
		{"60%/channels", with(func(q *bestQuery) { q.Bars = 1 }), 0.6, 1000, true},
		{"60%/channels-unnamed", four, 0.6, 1000, true},
	}
}

// prepare brings an arena into the case's state.
func (c *bestCase) prepare(b *testing.B) (*arena, []uint64) {
	a := newArena(c.full)
	var barred []uint64
	if c.barred {
		barred = make([]uint64, a.l.words)
		for i := range barred {
			barred[i] = a.rnd.Uint64() & a.rnd.Uint64()
			if i < 300 { // the best rows, and a quarter of the others
				barred[i] = ^uint64(0)
			}
		}
	}
	a.fill(c.q, barred, c.out)
	if len(a.holds) == 0 {
		b.Fatal("nothing to sell")
	}
	return a, barred
}

// BenchmarkBest is a hold of the best seats, the end of another such hold, and
// one seat taken and one given back anywhere in the map.
func BenchmarkBest(b *testing.B) {
	for _, c := range bestCases() {
		b.Run(c.name, func(b *testing.B) {
			a, barred := c.prepare(b)
			failed := 0
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				a.elsewhere()
				seats := a.release()
				if !a.hold(c.q, barred, seats) {
					failed++
					a.hold(bestQuery{Count: 1, Section: wire.Any}, nil, seats)
				}
			}
			b.ReportMetric(100*float64(failed)/float64(b.N), "%failed")
		})
	}
}

// BenchmarkBestNone asks for what is not there any more, while the map changes.
func BenchmarkBestNone(b *testing.B) {
	for _, c := range bestCases() {
		b.Run(c.name, func(b *testing.B) {
			c.out = enough
			a, barred := c.prepare(b)
			dst := make([]wire.SeatID, 0, wire.MaxHoldSeats)
			failed := 0
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				a.elsewhere()
				if _, ok := a.x.best(c.q, a.taken, barred, dst); !ok {
					failed++
				}
			}
			b.ReportMetric(100*float64(failed)/float64(b.N), "%failed")
		})
	}
}

// BenchmarkBestWorstSplit asks for seats each of which is alone and far from the
// others: as many groups as there can be are chosen, and many rows are looked at
// for each. With one seat less than asked for nothing is chosen.
func BenchmarkBestWorstSplit(b *testing.B) {
	for _, count := range []int{10, wire.MaxHoldSeats} {
		worstSplit(b, count, count)
		worstSplit(b, count, count-1)
	}
}

func worstSplit(b *testing.B, count, free int) {
	b.Run(fmt.Sprint(count, "-of-", free), func(b *testing.B) {
		a := newArena(1)
		for i := range free {
			row := i * a.l.words / free
			a.set([]wire.SeatID{wire.SeatID(row*wordBits + 20)}, false)
		}
		q := bestQuery{Count: count, Section: wire.Any, Split: true, NoOrphan: true}
		dst := make([]wire.SeatID, 0, count)
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			if _, ok := a.x.best(q, a.taken, nil, dst); ok != (free == count) {
				b.Fatalf("%d seats of %d: %v", count, free, ok)
			}
		}
	})
}

// BenchmarkBestCold is the first query of an index.
func BenchmarkBestCold(b *testing.B) {
	c := bestCases()[3]
	a, _ := c.prepare(b)
	dst := make([]wire.SeatID, 0, wire.MaxHoldSeats)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		newBestIndex(a.l).best(c.q, a.taken, nil, dst)
	}
}

// BenchmarkChanged is what a change of one word costs, with as many views as
// there can be.
func BenchmarkChanged(b *testing.B) {
	for _, views := range []int{1, maxViews} {
		b.Run(fmt.Sprint("views=", views), func(b *testing.B) {
			a := newArena(0.6)
			for i := range views {
				a.x.best(bestQuery{Count: 4, Section: wire.Any, Access: wire.Access(i)}, a.taken, nil, nil)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				a.x.changed(i * 7 % a.l.words)
			}
		})
	}
}

// BenchmarkOrphansLeft checks four seats that are picked side by side.
func BenchmarkOrphansLeft(b *testing.B) {
	a := newArena(0.6)
	seats := []wire.SeatID{0, 1, 2, 3}
	var dst []wire.SeatID
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		for j := range seats {
			seats[j] = wire.SeatID(i%a.l.words*wordBits + 20 + j)
		}
		dst = a.l.orphansLeft(a.taken, seats, dst[:0])
	}
}
