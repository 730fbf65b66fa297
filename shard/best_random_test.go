package shard

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

var (
	bestSeed    = flag.Uint64("best.seed", 0, "seed of the random tests of best available; 0: a new one")
	bestQueries = flag.Int("best.queries", 400_000, "queries of the random test of best available")
)

// newRandom gives a generator and says how to get the same one again.
func newRandom(t *testing.T) *rand.Rand {
	seed := *bestSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("rerun: go test ./shard -run '^%s$' -best.seed=%d", t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// A hall is one random map, held three times: in words with an index that has
// been used, in words with an index made for each query, and in a twin.
type hall struct {
	rnd    *rand.Rand
	m      *wire.Manifest
	l      *layout
	taken  []atomic.Uint64
	warm   *bestIndex
	twin   *twin
	barred []bars
	names  uint32
	seats  []wire.SeatID // all of them
}

// bars is a mask and what the index knows it by.
type bars struct {
	mask []uint64
	name uint32
}

func newHall(rnd *rand.Rand, longest int) *hall {
	h := &hall{rnd: rnd, m: randomManifest(rnd, longest)}
	h.l = newLayout(h.m)
	h.taken = emptyMap(h.l)
	h.warm = newBestIndex(h.l)
	h.twin = newTwin(h.m)
	for i := range h.twin.rows {
		for j := range h.twin.rows[i].seats {
			h.seats = append(h.seats, h.twin.rows[i].first+wire.SeatID(j))
		}
	}
	h.barred = make([]bars, 3) // the first stays nil
	full := rnd.Float64()
	if rnd.IntN(4) == 0 {
		full /= 50
	}
	for _, s := range h.seats {
		if rnd.Float64() < full {
			h.set(s, true)
		}
	}
	return h
}

func emptyMap(l *layout) []atomic.Uint64 {
	taken := make([]atomic.Uint64, l.words)
	for i := range taken {
		taken[i].Store(l.pad(i))
	}
	return taken
}

func randomManifest(rnd *rand.Rand, longest int) *wire.Manifest {
	m := &wire.Manifest{Key: "hall"}
	categories := 1 + rnd.IntN(4)
	if rnd.IntN(20) == 0 {
		categories = wire.MaxCategories
	}
	for i := range categories {
		m.Categories = append(m.Categories, fmt.Sprint("category ", i))
	}
	mixed, flagged := rnd.Float64()*rnd.Float64(), rnd.Float64()*rnd.Float64()
	for i := range 1 + rnd.IntN(3) {
		s := wire.Section{Name: fmt.Sprint("section ", i)}
		for j := range 1 + rnd.IntN(4) {
			s.Rows = append(s.Rows, randomRow(rnd, fmt.Sprint(j), 1+rnd.IntN(longest), categories, mixed, flagged))
		}
		m.Sections = append(m.Sections, s)
	}
	return m
}

func randomRow(rnd *rand.Rand, name string, seats, categories int, mixed, flagged float64) wire.Row {
	if seats > wordBits/2 && rnd.IntN(2) == 0 { // ends near the border of a word
		seats = min(seats/wordBits*wordBits+wordBits-2+rnd.IntN(5), wire.MaxRowSeats)
	}
	r := wire.Row{Name: name, Focal: uint16(seats - 1)}
	if rnd.IntN(3) == 0 {
		r.Focal = uint16(rnd.IntN(2*seats + 2))
	}
	category := rnd.IntN(categories)
	for i := range seats {
		s := wire.Seat{Label: fmt.Sprint(i), Category: uint16(category)}
		if rnd.Float64() < mixed/4 {
			category = rnd.IntN(categories)
		}
		if rnd.Float64() < flagged {
			s.Access = wire.Access(1 + rnd.IntN(7))
		}
		r.Seats = append(r.Seats, s)
	}
	return r
}

func (h *hall) set(s wire.SeatID, taken bool) {
	h.twin.seat(s).taken = taken
	w := &h.taken[s/64]
	if bit := uint64(1) << (s % 64); taken {
		w.Store(w.Load() | bit)
	} else {
		w.Store(w.Load() &^ bit)
	}
	h.warm.changed(int(s / 64))
}

// rebar gives one of the masks a new content and a new name.
func (h *hall) rebar() {
	b := &h.barred[1+h.rnd.IntN(len(h.barred)-1)]
	part := h.rnd.Float64()
	b.mask = make([]uint64, h.l.words)
	for _, s := range h.seats {
		if h.rnd.Float64() < part {
			b.mask[s/64] |= 1 << (s % 64)
		}
	}
	h.names++
	b.name = h.names
}

func (h *hall) randomQuery() (bestQuery, []uint64) {
	rnd := h.rnd
	q := bestQuery{Count: 1 + rnd.IntN(8), Section: wire.Any, Split: rnd.IntN(3) == 0, NoOrphan: rnd.IntN(3) == 0}
	if rnd.IntN(8) == 0 {
		q.Count = min(1+rnd.IntN(wire.MaxHoldSeats+20), wire.MaxHoldSeats)
	}
	if rnd.IntN(4) == 0 {
		q.Section = uint16(rnd.IntN(len(h.m.Sections) + 1))
	}
	if rnd.IntN(4) == 0 {
		q.Categories = rnd.Uint64()
	}
	if rnd.IntN(4) == 0 {
		q.Access = wire.Access(1 << rnd.IntN(3))
	}
	b := h.barred[rnd.IntN(len(h.barred))]
	if rnd.IntN(2) == 0 {
		q.Bars = b.name
	}
	h.bar(b.mask)
	return q, b.mask
}

// bar tells the twin which seats are barred.
func (h *hall) bar(mask []uint64) {
	for _, s := range h.seats {
		h.twin.seat(s).barred = mask != nil && mask[s/64]>>(s%64)&1 != 0
	}
}

// ask compares three answers to one query.
func (h *hall) ask(t *testing.T) []wire.SeatID {
	t.Helper()
	q, barred := h.randomQuery()
	want, wantOK := h.twin.best(q)
	warm, warmOK := h.warm.best(q, h.taken, barred, nil)
	cold, coldOK := newBestIndex(h.l).best(q, h.taken, barred, nil)
	if warmOK != wantOK || !slices.Equal(warm, want) {
		t.Fatalf("query %+v: index says %v %v, brute force %v %v\n%s", q, warm, warmOK, want, wantOK, h.draw())
	}
	if coldOK != warmOK || !slices.Equal(cold, warm) {
		t.Fatalf("query %+v: warm index says %v %v, cold %v %v\n%s", q, warm, warmOK, cold, coldOK, h.draw())
	}
	return want
}

// check recomputes what the index remembers: where it knows anything, it knows
// neither of groups that do not fit nor misses one that does.
func (h *hall) check(t *testing.T) {
	t.Helper()
	for i := range h.warm.views {
		v := &h.warm.views[i]
		mask, ok := h.maskNamed(v.key.bars)
		if !ok {
			continue // its mask is gone, so it is never used again
		}
		h.bar(mask)
		for e, entry := range h.l.order.entries {
			if v.isStale(e) {
				continue
			}
			q := bestQuery{Section: wire.Any, Categories: 2<<entry.category - 1, Access: v.key.access}
			for size := 1; size <= h.warm.largest; size++ {
				fits, clean := h.twin.fits(&q, int(entry.row), size)
				if v.mayFit(e, plane(size, true)) != fits || v.mayFit(e, plane(size, false)) != clean {
					t.Fatalf("%d seats fit entry %+v of view %+v: %v, without orphan: %v, remembered otherwise\n%s",
						size, entry, v.key, fits, clean, h.draw())
				}
			}
		}
	}
}

// maskNamed is the mask that has the name now.
func (h *hall) maskNamed(name uint32) (mask []uint64, ok bool) {
	if name == 0 {
		return nil, true
	}
	for _, b := range h.barred {
		if b.name == name {
			return b.mask, true
		}
	}
	return nil, false
}

func (h *hall) draw() (s string) {
	for _, r := range h.twin.rows {
		s += fmt.Sprintf("section %d focal %3d first %4d ", r.section, r.focal, r.first)
		for _, seat := range r.seats {
			s += string(drawSeat(seat))
		}
		s += "\n"
	}
	return s
}

func drawSeat(s twinSeat) byte {
	switch {
	case s.taken:
		return '#'
	case s.barred:
		return '_'
	default:
		return '.'
	}
}

// step changes the map a little, by what was found or by chance.
func (h *hall) step(found []wire.SeatID) {
	switch h.rnd.IntN(4) {
	case 0, 1:
		for _, s := range found {
			h.set(s, true)
		}
	case 2:
		for range 1 + h.rnd.IntN(6) {
			h.set(h.seats[h.rnd.IntN(len(h.seats))], h.rnd.IntN(3) == 0)
		}
	}
	if h.rnd.IntN(30) == 0 {
		h.rebar()
	}
}

// TestBestMatchesBruteForce proves that the index gives the seats that the rules
// give, with every filter, over word borders, for any history of the map; and
// that what it remembers changes no answer.
func TestBestMatchesBruteForce(t *testing.T) {
	rnd := newRandom(t)
	queries := *bestQueries
	if testing.Short() {
		queries /= 10
	}
	found := 0
	for asked := 0; asked < queries; {
		longest := 20
		if rnd.IntN(5) == 0 {
			longest = 200
		}
		h := newHall(rnd, longest)
		for range 40 {
			seats := h.ask(t)
			if asked++; len(seats) > 0 {
				found++
			}
			h.step(seats)
		}
		if rnd.IntN(10) == 0 {
			h.check(t)
		}
	}
	t.Logf("%d queries, %d of them found seats", queries, found)
	if found < queries/10 || found > queries*9/10 {
		t.Errorf("%d of %d queries found seats: the maps are too full or too empty to prove much", found, queries)
	}
}

// TestBestInLongRows proves the same for rows of up to the most seats there may
// be.
func TestBestInLongRows(t *testing.T) {
	rnd := newRandom(t)
	for range 10 {
		h := newHall(rnd, wire.MaxRowSeats)
		for range 30 {
			h.step(h.ask(t))
		}
	}
}

// TestOrphansLeftMatchesBruteForce proves that exactly the orphans are named that
// were none before, each once, for any request.
func TestOrphansLeftMatchesBruteForce(t *testing.T) {
	rnd := newRandom(t)
	queries, left := *bestQueries/4, 0
	for range queries / 20 {
		h := newHall(rnd, 1+rnd.IntN(150))
		for range 20 {
			seats := h.randomRequest()
			want := h.twin.orphansLeft(seats)
			got := h.l.orphansLeft(h.taken, seats, nil)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("orphans of %v: %v, want %v\n%s", seats, got, want, h.draw())
			}
			left += len(want)
		}
	}
	if left == 0 {
		t.Error("no request left an orphan: this proves nothing")
	}
}

// randomRequest names seats that are near each other, taken ones too.
func (h *hall) randomRequest() []wire.SeatID {
	var seats []wire.SeatID
	at := h.rnd.IntN(len(h.seats))
	for range 1 + h.rnd.IntN(10) {
		if s := h.seats[at%len(h.seats)]; !slices.Contains(seats, s) {
			seats = append(seats, s)
		}
		at += 1 + h.rnd.IntN(3)
	}
	h.rnd.Shuffle(len(seats), func(i, j int) { seats[i], seats[j] = seats[j], seats[i] })
	return seats
}
