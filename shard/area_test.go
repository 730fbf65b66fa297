package shard

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// lowestFree is what areaPick promises, place by place.
func lowestFree(l *layout, area, count int, taken []atomic.Uint64, barred []uint64) (seats []wire.SeatID) {
	a := l.areas[area]
	for i := range a.places {
		s := wire.SeatID(64*a.word + i)
		if !isTaken(taken, s) && (barred == nil || barred[s/64]>>(s%64)&1 == 0) && len(seats) < count {
			seats = append(seats, s)
		}
	}
	return seats
}

// TestAreaPick proves that an area gives its lowest free places or none, whatever
// happened to it before, and that only places of the area are given.
func TestAreaPick(t *testing.T) {
	rnd := newRandom(t)
	m := &wire.Manifest{
		Categories: []string{"a"},
		Sections:   []wire.Section{{Rows: []wire.Row{{Seats: make([]wire.Seat, 70)}}}},
		Areas:      []wire.Area{{Capacity: 5}, {Capacity: 64 * 70}, {Capacity: 64*3 + 1}},
	}
	l := newLayout(m)
	taken, x := emptyMap(l), newBestIndex(l)
	barred := make([]uint64, l.words)
	for i := range barred {
		barred[i] = rnd.Uint64() & rnd.Uint64()
	}
	set := func(s wire.SeatID, to bool) {
		w := &taken[s/64]
		if w.Store(w.Load() | 1<<(s%64)); !to {
			w.Store(w.Load() &^ (1 << (s % 64)))
		}
		x.changed(int(s / 64))
	}
	full := 0
	for range 20_000 {
		area, count := rnd.IntN(len(m.Areas)), 1+rnd.IntN(64)
		mask := barred
		if rnd.IntN(2) == 0 {
			mask = nil
		}
		want := lowestFree(l, area, count, taken, mask)
		got, ok := x.areaPick(area, count, taken, mask, []wire.SeatID{7})
		if ok != (len(want) == count) || got[0] != 7 || ok && !slices.Equal(got[1:], want) || !ok && len(got) != 1 {
			t.Fatalf("%d places of area %d: %v %v, want %v", count, area, got, ok, want)
		}
		if !ok {
			full++
		}
		for _, s := range got[1:] {
			set(s, true)
		}
		for range rnd.IntN(40) {
			a := l.areas[rnd.IntN(len(l.areas))]
			set(wire.SeatID(64*a.word+rnd.Int32N(a.places)), false)
		}
	}
	if full == 0 {
		t.Error("no area was ever full: this proves little")
	}
}

// BenchmarkAreaPick takes and gives back places of an area of 100,000 that is
// full but for those.
func BenchmarkAreaPick(b *testing.B) {
	l := newLayout(&wire.Manifest{Categories: []string{"a"}, Areas: []wire.Area{{Capacity: 100_000}}})
	taken, x := emptyMap(l), newBestIndex(l)
	for i := range taken {
		taken[i].Store(^uint64(0))
	}
	dst := make([]wire.SeatID, 0, 4)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		word := i * 7919 % l.words
		taken[word].Store(^uint64(0xf << 10))
		x.changed(word)
		seats, ok := x.areaPick(0, 4, taken, nil, dst)
		if !ok {
			b.Fatal("four places are free")
		}
		taken[seats[0]/64].Store(^uint64(0))
		x.changed(word)
	}
}
