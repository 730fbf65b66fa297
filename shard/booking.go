package shard

import (
	"math/bits"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// booking finds the booking that a request with an id of its own is about. found
// says that it is b; otherwise status and body are the answer, and remembered.
func (s *Shard) booking(q *request, id *wire.ID) (i uint32, b *hold, status wire.Status, body []byte, found bool) {
	i, b = q.event.holdByID(id)
	switch {
	case b == nil:
		status = wire.StatusUnknownHold
	case b.booked != 0:
		return i, b, 0, nil, true
	case b.state == wire.StateCancelled:
		status = wire.StatusCancelled
	default:
		status = wire.StatusNotBooked
	}
	status, body = s.conclude(q, status)
	return 0, nil, status, body, false
}

// cancel gives booked seats back: those named, or all.
func (s *Shard) cancel(q *request) (wire.Status, []byte) {
	var c wire.Cancel
	if err := c.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if status, body, bad := s.gather(c.Seats, 0, wire.MaxHoldSeats); bad {
		return status, body
	}
	if status, body, done := s.admit(q); done {
		return status, body
	}
	e := q.event
	i, b, status, body, found := s.booking(q, &c.Booking)
	if !found {
		return status, body
	}
	want, unknown := e.maskOf(b, c.Seats)
	if unknown != 0 {
		return s.concludeNaming(q, wire.StatusUnknownSeat, c.Seats, unknown)
	}
	if want == 0 {
		want = b.booked
	}
	if want&^b.booked != 0 {
		return s.conclude(q, wire.StatusNotBooked)
	}
	freed := e.idsOf(b, want, s.seats[:0])
	s.seats = freed
	s.unbook(e, i, b, want)
	return s.concludeListing(q, wire.StatusOK, freed)
}

// idsOf appends the seats of a hold that a mask names.
func (e *Event) idsOf(h *hold, mask uint64, dst []wire.SeatID) []wire.SeatID {
	seats := e.seatsOf(h)
	for ; mask != 0; mask &= mask - 1 {
		dst = append(dst, wire.SeatID(seats[bits.TrailingZeros64(mask)]))
	}
	return dst
}

// unbook frees booked seats.
func (s *Shard) unbook(e *Event, i uint32, b *hold, mask uint64) {
	s.spots = e.spotsOf(b, mask, s.spots[:0])
	e.begin(seatsIn(mask))
	e.move(s.spots, wire.SeatBooked, wire.SeatFree)
	e.end()
	e.buyers.sub(b.buyer, seatsIn(mask))
	s.passMoved(e, i, 0, -seatsIn(mask))
	e.changed = s.index
	b.booked &^= mask
	if b.booked == 0 && !b.live() {
		b.state = wire.StateCancelled
		b.touched = s.now
		e.rememberHold(i, b)
	}
}

// exchange swaps seats of a booking for free ones, all or nothing.
func (s *Shard) exchange(q *request) (wire.Status, []byte) {
	var x wire.Exchange
	if err := x.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if status, body, bad := s.gather(x.Give, 1, wire.MaxHoldSeats); bad {
		return status, body
	}
	s.spots, s.more = s.more, s.spots
	if status, body, bad := s.gather(x.Take, 1, wire.MaxHoldSeats); bad {
		return status, body
	}
	if overlap(s.spots, s.more) {
		return s.text(wire.StatusBadRequest, "the request names a seat both to give and to take")
	}
	if status, body, done := s.admit(q); done {
		return status, body
	}
	e := q.event
	i, b, status, body, found := s.booking(q, &x.Booking)
	if !found {
		return status, body
	}
	give, unknown := e.maskOf(b, x.Give)
	if unknown != 0 {
		s.seats = s.seats[:0]
		for ; unknown != 0; unknown &= unknown - 1 {
			s.seats = append(s.seats, x.Give.At(bits.TrailingZeros64(unknown)))
		}
		return s.concludeListing(q, wire.StatusUnknownSeat, s.seats)
	}
	if give&^b.booked != 0 {
		return s.conclude(q, wire.StatusNotBooked)
	}
	if status, body, refused := s.exchangeRefused(q, &x, b); refused {
		return status, body
	}
	s.swap(e, b, give, x.Take)
	s.passMoved(e, i, 0, x.Take.Len()-seatsIn(give))
	s.seats = e.idsOf(b, b.booked, s.seats[:0])
	return s.concludeListing(q, wire.StatusOK, s.seats)
}

func overlap(a, b []spot) bool {
	for _, p := range a {
		for _, o := range b {
			if p.word == o.word && p.mask&o.mask != 0 {
				return true
			}
		}
	}
	return false
}

// exchangeRefused checks the seats that an exchange is to take. What they are is
// in s.spots.
func (s *Shard) exchangeRefused(q *request, x *wire.Exchange, b *hold) (status wire.Status, body []byte, refused bool) {
	e := q.event
	gain := x.Take.Len() - x.Give.Len()
	switch limit := int(e.rule.SeatsPerBuyer); {
	case gain > 0 && seatsIn(b.owned())+gain > int(e.rule.SeatsPerHold):
		status, body = s.conclude(q, wire.StatusHoldLimit)
	case gain > 0 && limit > 0 && b.buyer != 0 && e.buyers.seats(b.buyer)+gain > limit:
		status, body = s.conclude(q, wire.StatusBuyerLimit)
	case !e.allFree(s.spots):
		status, body = s.takeRefused(q, x.Take)
	case len(e.channels.list) > 0 && e.channels.bar(s.spots, x.Channel):
		status, body = s.concludeNaming(q, wire.StatusChannelRequired, x.Take, e.barredSeats(x.Take, x.Channel))
	default:
		return 0, nil, false
	}
	return status, body, true
}

// takeRefused says why seats cannot be taken: they do not exist, or are not free.
func (s *Shard) takeRefused(q *request, list wire.SeatList) (wire.Status, []byte) {
	unknown, taken := q.event.notFree(list)
	if unknown != 0 {
		return s.concludeNaming(q, wire.StatusUnknownSeat, list, unknown)
	}
	return s.concludeNaming(q, wire.StatusTaken, list, taken)
}

// swap frees the given seats and books those in s.spots, in one change.
func (s *Shard) swap(e *Event, b *hold, give uint64, take wire.SeatList) {
	s.more = e.spotsOf(b, give, s.more[:0])
	e.begin(seatsIn(give) + take.Len())
	e.trade(s.more, s.spots)
	e.end()
	e.buyers.sub(b.buyer, seatsIn(give))
	e.buyers.add(b.buyer, take.Len())
	b.booked &^= give
	e.keepOrigin(b)
	for i := range take.Len() {
		at := e.seatPlace(b, uint32(take.At(i)))
		b.booked |= 1 << at
		b.held &^= 1 << at
		b.last &^= 1 << at
	}
	e.changed = s.index
}

// keepOrigin stores the seats that the shard chose at first before others replace
// them: a repeated request is answered with those.
func (e *Event) keepOrigin(h *hold) {
	if h.flags&holdPicked == 0 || h.flags&holdMoved != 0 {
		return
	}
	seats := slices.Clone(e.seatsOf(h))
	origin, list := e.lists.take(len(seats))
	copy(list, seats)
	if h.inline() {
		var list []uint32
		h.seats[0], list = e.lists.take(len(seats))
		copy(list, seats)
	}
	h.seats[1], h.seats[2] = origin, uint32(len(seats))
	h.flags |= holdMoved
}

// seatPlace is the number of a seat in a hold that is to get it: the one it had,
// a new one, or, when there are 64, that of a seat which the hold has not any
// more.
func (e *Event) seatPlace(h *hold, seat uint32) int {
	seats := e.seatsOf(h)
	if at := position(seats, seat); at >= 0 {
		return at
	}
	if n := int(h.n); n < wire.MaxHoldSeats {
		e.resizeSeats(h, n+1)
		e.seatsOf(h)[n] = seat
		return n
	}
	at := bits.TrailingZeros64(^(h.held | h.booked))
	if at == wire.MaxHoldSeats { // the rest has expired
		at = bits.TrailingZeros64(^h.booked)
	}
	seats[at] = seat
	return at
}

// resizeSeats makes room for n seats, more than there are.
func (e *Event) resizeSeats(h *hold, n int) {
	old := int(h.n)
	switch {
	case h.inline() && n <= inlineSeats:
	case !h.inline() && classOf(n) == classOf(old):
	default:
		seats := slices.Clone(e.seatsOf(h))
		if !h.inline() {
			e.lists.put(h.seats[0], old)
		}
		ref, list := e.lists.take(n)
		copy(list, seats)
		h.seats[0] = ref
	}
	h.n = uint8(n)
}
