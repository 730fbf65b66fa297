package shard

import (
	"github.com/usher-seats/usher/wire"
)

// holdOf finds the hold that a request on a hold names and checks its fence. found
// says that h is it; otherwise status and body are the answer.
func (s *Shard) holdOf(q *request, fence wire.Fence) (i uint32, h *hold, status wire.Status, body []byte, found bool) {
	if !q.ID.Valid() {
		status, body = s.invalidID()
		return 0, nil, status, body, false
	}
	if q.event == nil {
		return 0, nil, wire.StatusUnknownEvent, nil, false
	}
	i, h = q.event.holdByID(&q.ID)
	if h == nil {
		status, body = s.unknownHold(q.event, &q.ID)
		return 0, nil, status, body, false
	}
	if h.fence != fence {
		return 0, nil, wire.StatusFenceMismatch, nil, false
	}
	return i, h, 0, nil, true
}

// holdByID is the hold with the id, or nil.
func (e *Event) holdByID(id *wire.ID) (uint32, *hold) {
	r := e.lookup(id, fingerprint(id))
	if r == none || r&memoRef != 0 {
		return 0, nil
	}
	return r, e.holds.at(r)
}

// unknownHold answers who asks for a hold that is not there: it may have been
// forgotten.
func (s *Shard) unknownHold(e *Event, id *wire.ID) (wire.Status, []byte) {
	if t, timed := id.Time(); timed && t <= wire.Millis(e.floor.Load()) {
		return s.clock(wire.StatusTooOld)
	}
	return wire.StatusUnknownHold, nil
}

// over answers a request on a hold whose life is over, or who has gone beyond
// what the request could still change.
func (s *Shard) over(e *Event, h *hold) (wire.Status, []byte) {
	switch h.state {
	case wire.StateBooked:
		return wire.StatusBooked, nil
	case wire.StateReleased:
		return wire.StatusReleased, nil
	case wire.StateExpired:
		return wire.StatusExpired, nil
	case wire.StateCancelled:
		return wire.StatusCancelled, nil
	default:
		return s.lost(e, h)
	}
}

// extend gives a hold more time, never less.
func (s *Shard) extend(q *request) (wire.Status, []byte) {
	var x wire.Extend
	if err := x.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	i, h, status, body, found := s.holdOf(q, x.Fence)
	if !found {
		return status, body
	}
	rule := &q.event.rule
	ttl := x.TTL
	if ttl == 0 {
		ttl = rule.HoldTTL
	}
	switch {
	case !h.live():
		return s.over(q.event, h)
	case x.Nth != 0 && x.Nth <= h.extensions:
		return s.timing(h) // it is done
	case s.late(q):
		return s.clock(wire.StatusLate)
	case h.state == wire.StatePaying || h.extensions >= rule.Extensions:
		return wire.StatusNoExtension, nil
	case x.Nth > h.extensions+1:
		return s.text(wire.StatusBadRequest, "extension %d cannot follow extension %d", x.Nth, h.extensions)
	case ttl > rule.MaxTTL:
		return s.text(wire.StatusBadRequest, "the hold is to live %d ms more; the event allows %d", ttl, rule.MaxTTL)
	}
	h.extensions++
	s.postpone(q.event, i, h, s.now+wire.Millis(ttl))
	return s.timing(h)
}

// pay stops a hold's clock while its buyer pays; at the cap it expires after all.
func (s *Shard) pay(q *request) (wire.Status, []byte) {
	var p wire.Pay
	if err := p.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	i, h, status, body, found := s.holdOf(q, p.Fence)
	if !found {
		return status, body
	}
	switch {
	case !h.live():
		return s.over(q.event, h)
	case h.state == wire.StatePaying:
		return s.timing(h) // it is done
	case s.late(q):
		return s.clock(wire.StatusLate)
	}
	h.state = wire.StatePaying
	s.postpone(q.event, i, h, s.now+wire.Millis(q.event.rule.PayCap))
	return s.timing(h)
}

// postpone moves a live hold's deadline to at, unless it is there or later.
func (s *Shard) postpone(e *Event, i uint32, h *hold, at wire.Millis) {
	h.timed = s.now
	e.changed = s.index
	if at <= h.deadline {
		return
	}
	e.wheel.remove(&e.holds, i)
	h.deadline = at
	e.wheel.insert(&e.holds, i, s.now)
}

// timing answers extend and pay: as it did when they were decided.
func (s *Shard) timing(h *hold) (wire.Status, []byte) {
	t := wire.Timing{Deadline: h.deadline, Now: h.timed}
	return s.reply(wire.StatusOK, t.Append(s.buf[:0]))
}

// expire ends the holds that are due, in the order (deadline, fence).
func (s *Shard) expire(e *Event) {
	if e.wheel == nil {
		return
	}
	for range maxExpiries {
		i := e.wheel.due(&e.holds, s.now, &s.order)
		if i == none {
			return
		}
		s.expireHold(e, i)
	}
}

// expireHold frees what the hold still held. Those seats stay in held, for a late
// confirm.
func (s *Shard) expireHold(e *Event, i uint32) {
	h := e.holds.at(i)
	e.wheel.remove(&e.holds, i)
	n := seatsIn(h.held)
	s.spots = e.spotsOf(h, h.held, s.spots[:0])
	e.begin(n)
	e.move(s.spots, wire.SeatHeld, wire.SeatFree)
	e.end()
	e.buyers.sub(h.buyer, n)
	s.passMoved(e, i, -n, 0)
	e.changed = s.index
	h.flags &^= holdGaveBack
	if h.booked != 0 {
		h.state = wire.StateBooked
		return
	}
	h.state = wire.StateExpired
	h.touched = s.now
	e.rememberHold(i, h)
}
