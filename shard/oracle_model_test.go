package shard_test

import (
	"slices"

	"github.com/usher-seats/usher/wire"
)

// The model is written from the promises and not from the code: maps and loops,
// no bits, no wheel, nothing reused. It does not foresee which of several
// reasons a request is refused for; it knows all that apply, and takes over the
// one that was given, because a repeat must give it again. Nor does it choose
// the best seats: it checks that what was chosen could be chosen.
type model struct {
	now    wire.Millis
	events map[wire.EventID]*modelEvent
}

type modelEvent struct {
	manifest *wire.Manifest
	rules    wire.Rules
	sale     wire.SaleState
	state    map[wire.SeatID]wire.SeatState // of every place there is
	channel  map[wire.SeatID]int            // index in keys, of seats that have one
	names    []string
	keys     []wire.ChannelKey
	fence    wire.Fence // the last one granted
	room     *modelRoom // nil: there is none
	wall     int64
	holds    map[wire.ID]*modelHold
	answers  map[wire.ID]*modelAnswer // of every id that was decided, holds included
}

// A modelHold is a granted hold, for as long as there is an event.
type modelHold struct {
	id         wire.ID
	state      wire.HoldState
	fence      wire.Fence
	buyer      wire.BuyerID
	pass       wire.PassID // 0: none, or of a room that is over
	deadline   wire.Millis
	extensions uint8
	reacquired bool
	lost       bool // confirmed too late: seats had moved on
	ended      wire.Millis
	seats      []wire.SeatID // as granted, or since the last exchange
	per        map[wire.SeatID]wire.HoldState
}

// A modelAnswer is the first answer to an id.
type modelAnswer struct {
	kind   wire.Kind
	body   string // of the request, after its Mutation
	status wire.Status
	answer string
	ended  wire.Millis // when it was given, or the hold ended; Never while it lives
	room   wire.RoomID // of an Issue
}

const (
	modelWindow = 5 * 60_000 // milliseconds for which an id is remembered at the least
	modelAhead  = 60_000     // milliseconds that an id may be ahead
)

func (h *modelHold) in(s wire.HoldState) []wire.SeatID {
	var list []wire.SeatID
	for _, seat := range h.seats {
		if h.per[seat] == s {
			list = append(list, seat)
		}
	}
	return list
}

func (h *modelHold) live() bool { return h.state == wire.StateHeld || h.state == wire.StatePaying }

// settle moves the hold to where its seats are.
func (h *modelHold) settle(e *modelEvent, now wire.Millis) {
	if len(h.in(wire.StateHeld)) > 0 {
		return
	}
	was := h.state
	switch {
	case len(h.in(wire.StateBooked)) > 0:
		h.state = wire.StateBooked
		e.answers[h.id].ended = wire.Never
		return
	case len(h.in(wire.StateCancelled)) > 0:
		h.state = wire.StateCancelled
	default:
		h.state = wire.StateReleased
	}
	if h.state != was {
		h.ended = now
		e.answers[h.id].ended = now
	}
}

// advance lets time pass and ends what is due.
func (m *model) advance(stamp wire.Millis) {
	m.now = max(m.now, stamp)
	for _, e := range m.events {
		var due []*modelHold
		for _, h := range e.holds {
			if h.live() && h.deadline <= m.now {
				due = append(due, h)
			}
		}
		slices.SortFunc(due, func(a, b *modelHold) int {
			if a.deadline != b.deadline {
				return int(a.deadline - b.deadline)
			}
			return int(int64(a.fence) - int64(b.fence))
		})
		for _, h := range due {
			h.state, h.ended = wire.StateExpired, m.now
			e.answers[h.id].ended = m.now
			for _, s := range h.in(wire.StateHeld) {
				e.state[s], h.per[s] = wire.SeatFree, wire.StateExpired
			}
			// A hold of which some seats were booked before stays a booking.
			if len(h.in(wire.StateBooked)) > 0 {
				h.state = wire.StateBooked
				e.answers[h.id].ended = wire.Never
			}
		}
		e.advanceRoom(m.now)
	}
}

// nextDue is when the next hold expires, or a room has something to do.
func (m *model) nextDue() wire.Millis {
	due := wire.Never
	for _, e := range m.events {
		for _, h := range e.holds {
			if h.live() {
				due = min(due, h.deadline)
			}
		}
		due = min(due, e.roomDue())
	}
	return due
}

func (e *modelEvent) buyerSeats(b wire.BuyerID) (n int) {
	for _, h := range e.holds {
		if h.buyer == b {
			n += len(h.in(wire.StateHeld)) + len(h.in(wire.StateBooked))
		}
	}
	return n
}

// closed gives the seats that want another key than the one given.
func (e *modelEvent) closed(seats []wire.SeatID, key wire.ChannelKey) (list []wire.SeatID) {
	for _, s := range seats {
		if c, has := e.channel[s]; has && (key == 0 || e.keys[c] != key) {
			list = append(list, s)
		}
	}
	return list
}

func (e *modelEvent) notFree(seats []wire.SeatID) (list []wire.SeatID) {
	for _, s := range seats {
		if e.state[s] != wire.SeatFree {
			list = append(list, s)
		}
	}
	return list
}

func (e *modelEvent) unknown(seats []wire.SeatID) (list []wire.SeatID) {
	for _, s := range seats {
		if _, ok := e.state[s]; !ok {
			list = append(list, s)
		}
	}
	return list
}

// single reports whether a seat of a row is free between two that are not. Row
// ends count as taken; places of areas have no neighbours.
func (e *modelEvent) single(s wire.SeatID, taken func(wire.SeatID) bool) bool {
	row, i := e.rowOf(s)
	if row == nil {
		return false
	}
	return !taken(s) && (i == 0 || taken(s-1)) && (i == len(row.Seats)-1 || taken(s+1))
}

// rowOf finds the row of a seat and the seat's place in it.
func (e *modelEvent) rowOf(s wire.SeatID) (*wire.Row, int) {
	word := wire.SeatID(0)
	for _, section := range e.manifest.Sections {
		for r := range section.Rows {
			row := &section.Rows[r]
			words := wire.SeatID((len(row.Seats) + 63) / 64)
			if i := int(s) - int(word*64); i >= 0 && i < len(row.Seats) {
				return row, i
			}
			word += words
		}
	}
	return nil, 0
}

// orphans gives the single seats that taking seats would newly leave.
func (e *modelEvent) orphans(seats []wire.SeatID) (list []wire.SeatID) {
	before := func(s wire.SeatID) bool { return e.state[s] != wire.SeatFree }
	after := func(s wire.SeatID) bool { return before(s) || slices.Contains(seats, s) }
	for s := range e.state {
		if e.single(s, after) && !e.single(s, before) {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list
}

// together reports whether some row has count selectable seats side by side.
func (e *modelEvent) together(count int, ok func(wire.SeatID) bool) bool {
	run := 0
	for s := wire.SeatID(0); s < e.end(); s++ {
		row, i := e.rowOf(s)
		if row == nil || i == 0 {
			run = 0
		}
		if row == nil || !ok(s) {
			run = 0
			continue
		}
		if run++; run == count {
			return true
		}
	}
	return false
}

func (e *modelEvent) end() wire.SeatID { return wire.SeatID(e.manifest.Words() * 64) }

// area gives the ids of an area's places.
func (e *modelEvent) area(index int) []wire.SeatID {
	words := 0
	for _, s := range e.manifest.Sections {
		for _, r := range s.Rows {
			words += (len(r.Seats) + 63) / 64
		}
	}
	for i, a := range e.manifest.Areas {
		if i == index {
			list := make([]wire.SeatID, a.Capacity)
			for k := range list {
				list[k] = wire.SeatID(words*64 + k)
			}
			return list
		}
		words += (int(a.Capacity) + 63) / 64
	}
	return nil
}

func newModelEvent(m *wire.Manifest) *modelEvent {
	e := &modelEvent{
		manifest: m, rules: m.Rules,
		state:   make(map[wire.SeatID]wire.SeatState),
		channel: make(map[wire.SeatID]int),
		holds:   make(map[wire.ID]*modelHold),
		answers: make(map[wire.ID]*modelAnswer),
		sale:    wire.SaleOpen,
	}
	word := 0
	for _, s := range m.Sections {
		for _, r := range s.Rows {
			for i := range r.Seats {
				e.state[wire.SeatID(word*64+i)] = wire.SeatFree
			}
			word += (len(r.Seats) + 63) / 64
		}
	}
	for i := range m.Areas {
		for _, s := range e.area(i) {
			e.state[s] = wire.SeatFree
		}
	}
	return e
}
