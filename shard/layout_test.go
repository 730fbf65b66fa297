package shard

import (
	"reflect"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// randomVenue is a hall with areas.
func randomVenue(h *hall) *wire.Manifest {
	m := h.m
	for range h.rnd.IntN(3) {
		m.Areas = append(m.Areas, wire.Area{
			Name:     string(rune('a' + len(m.Areas))),
			Category: uint16(h.rnd.IntN(len(m.Categories))),
			Capacity: 1 + h.rnd.Uint32N(300),
		})
	}
	return m
}

// places calls fn with what the manifest says of each seat id, in order: the
// row or the area it belongs to (the other is -1), and whether it is a place.
func places(m *wire.Manifest, fn func(s wire.SeatID, row, area int, place bool)) {
	s, row := wire.SeatID(0), 0
	words := func(n, row, area int) {
		for i := range (n + 63) / 64 * 64 {
			fn(s, row, area, i < n)
			s++
		}
	}
	for i := range m.Sections {
		for j := range m.Sections[i].Rows {
			words(len(m.Sections[i].Rows[j].Seats), row, -1)
			row++
		}
	}
	for i := range m.Areas {
		words(int(m.Areas[i].Capacity), -1, i)
	}
}

// TestLayoutPlaces proves that every seat id is a place, or not, as the manifest
// says, that rows and areas begin on words, and that the layout agrees with the
// labels that people see.
func TestLayoutPlaces(t *testing.T) {
	rnd := newRandom(t)
	for range 200 {
		m := randomVenue(newHall(rnd, 1+rnd.IntN(200)))
		l, labels := newLayout(m), m.Places()
		ids, seats := wire.SeatID(0), 0
		places(m, func(s wire.SeatID, row, area int, place bool) {
			word := int(s / 64)
			if l.valid(s) != place || l.pad(word)>>(s%64)&1 != 0 == place {
				t.Fatalf("seat %d: valid %v, padding %x, want a place: %v", s, l.valid(s), l.pad(word), place)
			}
			if l.rowOf(word) != row || l.areaOf(word) != area {
				t.Fatalf("word %d is of row %d, area %d, want %d, %d", word, l.rowOf(word), l.areaOf(word), row, area)
			}
			if (labels.Label(s) != "") != place {
				t.Fatalf("seat %d is called %q, want a place: %v", s, labels.Label(s), place)
			}
			ids++
			if place {
				seats++
			}
		})
		if l.words != int(ids/64) || l.words != m.Words() || l.seats != seats || l.seats != m.Seats() {
			t.Fatalf("%d words and %d seats, want %d and %d", l.words, l.seats, ids/64, seats)
		}
		if l.valid(ids) {
			t.Fatalf("seat %d is past the last word and valid", ids)
		}
	}
}

// TestLayoutCounts proves that every place is counted once in the total, in its
// section and in its category, by its state.
func TestLayoutCounts(t *testing.T) {
	rnd := newRandom(t)
	var got wire.EventInfo
	for range 300 {
		h := newHall(rnd, 1+rnd.IntN(100))
		m := randomVenue(h)
		l := newLayout(m)
		taken, booked, blocked := make([]uint64, l.words), make([]uint64, l.words), make([]uint64, l.words)
		want := wire.EventInfo{
			Sections:   make([]wire.Counts, len(m.Sections)+len(m.Areas)),
			Categories: make([]wire.Counts, len(m.Categories)),
		}
		places(m, func(s wire.SeatID, row, area int, place bool) {
			if !place {
				setBit(taken, int(s))
				setBit(blocked, int(s))
				return
			}
			state := wire.SeatState(rnd.IntN(4))
			if state != wire.SeatFree {
				setBit(taken, int(s))
			}
			switch state {
			case wire.SeatBooked:
				setBit(booked, int(s))
			case wire.SeatBlocked:
				setBit(blocked, int(s))
			}
			section, category := placeOf(m, l, s, row, area)
			want.Total.Add(state, 1)
			want.Sections[section].Add(state, 1)
			want.Categories[category].Add(state, 1)
		})
		l.counts(taken, booked, blocked, &got)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("counts %+v\nwant %+v", got, want)
		}
	}
}

func placeOf(m *wire.Manifest, l *layout, s wire.SeatID, row, area int) (section int, category uint16) {
	if area >= 0 {
		return len(m.Sections) + area, m.Areas[area].Category
	}
	for i := range m.Sections {
		if row < len(m.Sections[i].Rows) {
			first := 64 * wire.SeatID(l.rows[l.rowOf(int(s/64))].word)
			return i, m.Sections[i].Rows[row].Seats[s-first].Category
		}
		row -= len(m.Sections[i].Rows)
	}
	panic("no such row")
}
