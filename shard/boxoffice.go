package shard

import (
	"slices"

	"github.com/usher-seats/usher/wire"
)

// block takes seats off sale, or puts them back, all or none. After it they are
// blocked, or none of them is; seats that were so before do not matter. Only a
// seat that somebody holds or has booked cannot be blocked.
func (s *Shard) block(q *request) (wire.Status, []byte) {
	var o wire.SeatsOp
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if status, body, bad := s.gather(o.Seats, 1, wire.MaxOpSeats); bad {
		return status, body
	}
	if status, body, done := s.admit(q); done {
		return status, body
	}
	e := q.event
	if !e.allPlaces(s.spots) {
		return s.concludeMany(q, wire.StatusUnknownSeat, o.Seats, func(seat wire.SeatID) bool { return !e.lay.valid(seat) })
	}
	from, to := wire.SeatFree, wire.SeatBlocked
	if q.kind == wire.KindUnblock {
		from, to = to, from
	} else if e.anySold(s.spots) {
		return s.concludeMany(q, wire.StatusTaken, o.Seats, e.sold)
	}
	s.more = e.spotsIn(from, s.spots, s.more[:0])
	if len(s.more) > 0 {
		e.begin(seatCount(s.more))
		e.move(s.more, from, to)
		e.end()
	}
	return s.conclude(q, wire.StatusOK)
}

// addManySeats is addSeats for long lists. It sorts, so that it costs no more
// than O(n log n) whatever the list.
func (s *Shard) addManySeats(spots []spot, list wire.SeatList) (_ []spot, twice wire.SeatID, found bool) {
	s.order = s.order[:0]
	for i := range list.Len() {
		s.order = append(s.order, uint32(list.At(i)))
	}
	slices.Sort(s.order)
	for i, seat := range s.order {
		if i > 0 && s.order[i-1] == seat {
			return spots, wire.SeatID(seat), true
		}
		word, bit := seat/wordBits, uint64(1)<<(seat%wordBits)
		if n := len(spots); n > 0 && spots[n-1].word == word {
			spots[n-1].mask |= bit
			continue
		}
		spots = append(spots, spot{word, bit})
	}
	return spots, 0, false
}

// allPlaces reports whether all seats are places of the event.
func (e *Event) allPlaces(spots []spot) bool {
	for _, p := range spots {
		if int(p.word) >= e.lay.words || e.lay.pad(int(p.word))&p.mask != 0 {
			return false
		}
	}
	return true
}

// sold reports whether somebody holds or has booked the seat.
func (e *Event) sold(seat wire.SeatID) bool {
	return e.soldIn(uint32(seat/wordBits))>>(seat%wordBits)&1 != 0
}

func (e *Event) soldIn(word uint32) uint64 {
	return e.taken[word].Load() &^ e.blocked[word].Load()
}

func (e *Event) anySold(spots []spot) bool {
	for _, p := range spots {
		if e.soldIn(p.word)&p.mask != 0 {
			return true
		}
	}
	return false
}

// spotsIn appends to dst what of spots is free, or is blocked.
func (e *Event) spotsIn(state wire.SeatState, spots, dst []spot) []spot {
	for _, p := range spots {
		in := e.blocked[p.word].Load()
		if state == wire.SeatFree {
			in = ^e.taken[p.word].Load()
		}
		if mask := p.mask & in; mask != 0 {
			dst = append(dst, spot{p.word, mask})
		}
	}
	return dst
}

// notFree has a bit for each seat of a list that is no place of the event, and
// for each that is taken.
func (e *Event) notFree(list wire.SeatList) (unknown, taken uint64) {
	for i := range list.Len() {
		if seat := list.At(i); !e.lay.valid(seat) {
			unknown |= 1 << i
		} else if isTaken(e.taken, seat) {
			taken |= 1 << i
		}
	}
	return unknown, taken
}

// setRules replaces the event's rules.
func (s *Shard) setRules(q *request) (wire.Status, []byte) {
	var r wire.SetRules
	if err := r.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if err := r.Rules.Validate(); err != nil {
		return s.malformed(err)
	}
	if status, body, done := s.admit(q); done {
		return status, body
	}
	q.event.setRules(r.Rules)
	return s.conclude(q, wire.StatusOK)
}

func (e *Event) setRules(r wire.Rules) {
	e.rule = r
	e.rules.Store(&r)
	e.countBuyers(r.SeatsPerBuyer > 0)
	e.setSale()
}

// wallClock tells the event what time people have. Leaders propose it; it has no
// id, and telling the same time twice changes nothing.
func (s *Shard) wallClock(q *request) (wire.Status, []byte) {
	var w wire.WallClock
	if err := w.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if q.event == nil {
		return wire.StatusUnknownEvent, nil
	}
	q.event.wall = w.Wall
	q.event.setSale()
	s.roomClock(q.event)
	s.roomChanged(q.event)
	return wire.StatusOK, nil
}

// setSale compares the sale window with the wall clock.
func (e *Event) setSale() {
	if sale := uint32(saleAt(&e.rule, e.wall)); e.sale.Load() != sale {
		e.sale.Store(sale)
	}
}

// saleAt is where an event is in its sale window. An event that was told no time
// yet, 0, has not opened if it opens at a time.
func saleAt(r *wire.Rules, wall int64) wire.SaleState {
	switch {
	case r.ClosesAt != 0 && wall >= r.ClosesAt:
		return wire.SaleClosed
	case wall < r.OpensAt:
		return wire.SaleBefore
	default:
		return wire.SaleOpen
	}
}

// SaleDue reports whether the event's sale opens or closes at this wall clock, in
// Unix milliseconds, or its waiting room closes entries or opens, and has not been
// told. Any goroutine. The shard's leader then proposes a wire.WallClock.
func (e *Event) SaleDue(wall int64) bool {
	return saleAt(e.rules.Load(), wall) != e.Sale() || e.roomWall(0) <= wall
}

// SaleNext is the first time after a wall clock at which SaleDue becomes true, as
// things stand: Unix milliseconds, wire.Never if there is none. Any goroutine.
func (e *Event) SaleNext(wall int64) int64 {
	next := e.roomWall(wall)
	rules := e.rules.Load()
	for _, at := range []int64{rules.OpensAt, rules.ClosesAt} {
		if at > wall {
			next = min(next, at)
		}
	}
	return next
}
