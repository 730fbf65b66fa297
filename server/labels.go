package server

import (
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// maxNamedLabels bounds the labels that a problem repeats.
const maxNamedLabels = 64

// labelsOf gives the labels of seats, in their order.
func labelsOf(p *wire.Places, seats wire.SeatList) []string {
	labels := make([]string, seats.Len())
	for i := range labels {
		labels[i] = p.Label(seats.At(i))
	}
	return labels
}

// seatsNamed gives the seats of labels, in their order. Labels that are no seats
// come back in a problem all at once, so that one attempt is enough to see them.
func seatsNamed(p *wire.Places, field string, labels []string) ([]wire.SeatID, *problem) {
	seats := make([]wire.SeatID, 0, len(labels))
	seen := make(map[wire.SeatID]struct{}, len(labels))
	var unknown []string
	for _, label := range labels {
		seat, ok := p.Seat(label)
		if !ok {
			if len(unknown) < maxNamedLabels {
				unknown = append(unknown, label)
			}
			continue
		}
		if _, twice := seen[seat]; twice {
			return nil, badRequest(field, fmt.Sprintf("Seat %q is named twice. Name each seat once.", label))
		}
		seen[seat] = struct{}{}
		seats = append(seats, seat)
	}
	if unknown != nil {
		return nil, statusProblem(wire.StatusUnknownSeat).with("field", field).with("seats", unknown)
	}
	return seats, nil
}

// A stretch is a row or an area of a manifest: places whose ids follow each
// other.
type stretch struct {
	section int // index in the manifest; -1 for an area
	row     int // index in the section; of the area if section is -1
	first   wire.SeatID
	places  int
}

// stretches yields all rows, then all areas, as ids are given out.
func stretches(m *wire.Manifest) func(yield func(stretch) bool) {
	return func(yield func(stretch) bool) {
		next := wire.SeatID(0)
		for i := range m.Sections {
			for j := range m.Sections[i].Rows {
				n := len(m.Sections[i].Rows[j].Seats)
				if !yield(stretch{i, j, next, n}) {
					return
				}
				next += wire.SeatID((n + 63) / 64 * 64)
			}
		}
		for i := range m.Areas {
			n := int(m.Areas[i].Capacity)
			if !yield(stretch{-1, i, next, n}) {
				return
			}
			next += wire.SeatID((n + 63) / 64 * 64)
		}
	}
}

// seatsOf appends the seats of the stretches that want accepts.
func seatsOf(m *wire.Manifest, seats []wire.SeatID, want func(stretch) bool) []wire.SeatID {
	for s := range stretches(m) {
		if !want(s) {
			continue
		}
		for i := range s.places {
			seats = append(seats, s.first+wire.SeatID(i))
		}
	}
	return seats
}
