package shard

import (
	"math/bits"

	"github.com/usher-seats/usher/wire"
)

// onHold decodes a confirm or release and finds its hold. named is the mask of
// the seats that it names: 0 if it names none. ok says that all is well;
// otherwise status and body are the answer.
func (s *Shard) onHold(q *request) (i uint32, h *hold, named uint64, status wire.Status, body []byte, ok bool) {
	var o wire.OnHold
	if err := o.Decode(q.body); err != nil {
		status, body = s.malformed(err)
		return
	}
	var bad, found bool
	if status, body, bad = s.gather(o.Seats, 0, wire.MaxHoldSeats); bad {
		return
	}
	if i, h, status, body, found = s.holdOf(q, o.Fence); !found {
		return
	}
	named, unknown := q.event.maskOf(h, o.Seats)
	if unknown != 0 {
		status, body = s.names(wire.StatusUnknownSeat, s.now, o.Seats, unknown)
		return
	}
	return i, h, named, 0, nil, true
}

// maskOf turns seats into bits of the hold; unknown are those of the list that
// are not the hold's.
func (e *Event) maskOf(h *hold, list wire.SeatList) (mask, unknown uint64) {
	seats := e.seatsOf(h)
	for i := range list.Len() {
		at := position(seats, uint32(list.At(i)))
		if at < 0 {
			unknown |= 1 << i
			continue
		}
		mask |= 1 << at
	}
	return mask, unknown
}

func position(seats []uint32, seat uint32) int {
	for i, s := range seats {
		if s == seat {
			return i
		}
	}
	return -1
}

// names is an answer that names seats of a request's list.
func (s *Shard) names(status wire.Status, now wire.Millis, list wire.SeatList, mask uint64) (wire.Status, []byte) {
	l := wire.SeatsLost{Now: now}
	body := l.Append(s.buf[:0])
	return s.reply(status, append(appendMasked(body[:len(body)-4], list, mask), 0, 0))
}

// confirm books seats of a hold: those named, or all that are still held. It is
// decided once for each seat: what is booked is booked again.
func (s *Shard) confirm(q *request) (wire.Status, []byte) {
	i, h, named, status, body, ok := s.onHold(q)
	if !ok {
		return status, body
	}
	e := q.event
	want := named
	if want == 0 {
		want = confirmable(h)
	}
	switch rest := want & h.held; {
	case want&^(h.held|h.booked) != 0:
		if h.state == wire.StateCancelled {
			return wire.StatusCancelled, nil
		}
		return wire.StatusReleased, nil
	case rest == 0: // it is done
	case !h.live() && h.flags&holdLost != 0:
		return s.lost(e, h)
	case s.late(q):
		return s.clock(wire.StatusLate)
	case h.live():
		s.book(e, i, h, rest)
		h.last = want
	case !s.reacquire(e, i, h, rest):
		return s.lost(e, h)
	default:
		h.last = want
	}
	return s.confirmed(e, h, want)
}

// confirmable are the seats that a confirm without names means: all that are
// held, or were when the hold expired. If there are none it repeats the latest
// confirm, or says what is booked.
func confirmable(h *hold) uint64 {
	switch {
	case h.live(), h.held != 0 && h.flags&holdLost == 0:
		return h.held
	case h.last != 0 && (h.last&^h.booked == 0 || h.flags&holdLost != 0):
		return h.last
	case h.booked != 0:
		return h.booked
	default:
		return h.all()
	}
}

// book turns held seats of a live hold into booked ones.
func (s *Shard) book(e *Event, i uint32, h *hold, mask uint64) {
	s.spots = e.spotsOf(h, mask, s.spots[:0])
	e.begin(seatsIn(mask))
	e.move(s.spots, wire.SeatHeld, wire.SeatBooked)
	e.end()
	if h.held == mask {
		e.wheel.remove(&e.holds, i)
		h.state = wire.StateBooked
	}
	h.held &^= mask
	h.booked |= mask
	h.flags &^= holdGaveBack
	h.touched = s.now
	e.changed = s.index
	s.passMoved(e, i, -seatsIn(mask), seatsIn(mask))
}

// reacquire books seats of a hold that has expired, if they all are free. If not,
// they are lost for ever, so that the buyer gets his money back.
func (s *Shard) reacquire(e *Event, i uint32, h *hold, mask uint64) bool {
	seats := e.seatsOf(h)
	var taken uint64
	for rest := mask; rest != 0; rest &= rest - 1 {
		at := bits.TrailingZeros64(rest)
		if isTaken(e.taken, wire.SeatID(seats[at])) {
			taken |= 1 << at
		}
	}
	e.changed = s.index
	h.touched = s.now
	h.flags &^= holdGaveBack
	if h.booked == 0 {
		e.recallHold(h)
	}
	if taken != 0 {
		h.flags |= holdLost
		h.last = taken
		if h.booked == 0 {
			h.state = wire.StateLost
			e.rememberHold(i, h)
		}
		return false
	}
	s.spots = e.spotsOf(h, mask, s.spots[:0])
	e.begin(seatsIn(mask))
	e.move(s.spots, wire.SeatFree, wire.SeatBooked)
	e.end()
	e.buyers.add(h.buyer, seatsIn(mask))
	h.state = wire.StateBooked
	h.flags |= holdReacquired
	h.held &^= mask
	h.booked |= mask
	s.passMoved(e, i, 0, seatsIn(mask))
	return true
}

// confirmed answers a confirm, now or again.
func (s *Shard) confirmed(e *Event, h *hold, mask uint64) (wire.Status, []byte) {
	c := wire.Confirmed{Reacquired: h.flags&holdReacquired != 0, Now: h.touched}
	body := c.Append(s.buf[:0])
	return s.reply(wire.StatusOK, e.appendSeatsOf(body[:len(body)-2], h, mask))
}

// lost answers a late confirm whose seats had moved on, now or again.
func (s *Shard) lost(e *Event, h *hold) (wire.Status, []byte) {
	return s.seatsAnswer(wire.StatusLost, e, h, h.last)
}

// seatsAnswer is an answer that names seats of a hold, as of the latest call.
func (s *Shard) seatsAnswer(status wire.Status, e *Event, h *hold, mask uint64) (wire.Status, []byte) {
	l := wire.SeatsLost{Now: h.touched}
	body := l.Append(s.buf[:0])
	return s.reply(status, append(e.appendSeatsOf(body[:len(body)-4], h, mask), 0, 0))
}

// appendSeatsOf appends seats of a hold, with their count.
func (e *Event) appendSeatsOf(b []byte, h *hold, mask uint64) []byte {
	b = appendU16(b, seatsIn(mask))
	seats := e.seatsOf(h)
	for ; mask != 0; mask &= mask - 1 {
		b = appendU32(b, seats[bits.TrailingZeros64(mask)])
	}
	return b
}

// release gives seats of a hold back: those named, or all that are still held.
func (s *Shard) release(q *request) (wire.Status, []byte) {
	i, h, named, status, body, ok := s.onHold(q)
	if !ok {
		return status, body
	}
	e := q.event
	want := named
	if want == 0 {
		want = h.held
		if !h.live() {
			if h.flags&holdGaveBack == 0 {
				return s.over(e, h)
			}
			want = h.last
		}
	}
	switch rest := want & h.held; {
	case want&h.booked != 0:
		return wire.StatusBooked, nil
	case h.state == wire.StateCancelled:
		return wire.StatusCancelled, nil
	case rest == 0: // it is done
	case !h.live() && h.flags&holdLost != 0:
		return s.lost(e, h)
	case !h.live():
		return wire.StatusExpired, nil
	case s.late(q):
		return s.clock(wire.StatusLate)
	default:
		s.giveBack(e, i, h, rest)
		h.last = want
	}
	return s.seatsAnswer(wire.StatusOK, e, h, want)
}

// giveBack frees held seats of a live hold.
func (s *Shard) giveBack(e *Event, i uint32, h *hold, mask uint64) {
	s.spots = e.spotsOf(h, mask, s.spots[:0])
	e.begin(seatsIn(mask))
	e.move(s.spots, wire.SeatHeld, wire.SeatFree)
	e.end()
	e.buyers.sub(h.buyer, seatsIn(mask))
	s.passMoved(e, i, -seatsIn(mask), 0)
	e.changed = s.index
	h.flags |= holdGaveBack
	h.touched = s.now
	all := h.held == mask
	if all {
		e.wheel.remove(&e.holds, i)
	}
	h.held &^= mask
	switch {
	case !all:
	case h.booked != 0:
		h.state = wire.StateBooked
	default:
		h.state = wire.StateReleased
		e.rememberHold(i, h)
	}
}
