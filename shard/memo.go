package shard

import (
	"fmt"
	"math/bits"

	"github.com/usher-seats/usher/wire"
)

// remember makes a memo of how the request was decided. The caller adds the
// seats that the answer names.
func (s *Shard) remember(q *request, status wire.Status) *memo {
	e := q.event
	i, m := e.memos.take()
	*m = memo{id: q.ID, digest: q.digest, now: s.now, status: uint8(status), kind: q.kind}
	e.enter(q.fp, i|memoRef)
	e.rememberMemo(i, m)
	e.changed = s.index
	return m
}

// conclude remembers a decision that names no seats.
func (s *Shard) conclude(q *request, status wire.Status) (wire.Status, []byte) {
	return s.memoAnswer(q, s.remember(q, status))
}

// concludeNaming remembers a decision that names seats of the request's own list,
// which has at most wire.MaxHoldSeats.
func (s *Shard) concludeNaming(q *request, status wire.Status, list wire.SeatList, mask uint64) (wire.Status, []byte) {
	m := s.remember(q, status)
	m.form, m.mask = namesMask, mask
	l := wire.SeatsLost{Now: m.now}
	body := l.Append(s.buf[:0])
	body = appendMasked(body[:len(body)-4], list, mask)
	return s.reply(status, append(body, 0, 0))
}

// concludeOffering is concludeNaming for seats that are taken, with others offered
// instead.
func (s *Shard) concludeOffering(q *request, list wire.SeatList, mask uint64, offer []wire.SeatID) (wire.Status, []byte) {
	m := s.remember(q, wire.StatusTaken)
	m.form, m.mask = namesMaskOffer, mask
	q.event.keepList(m, offer)
	return s.memoAnswer(q, m)
}

// concludeListing remembers a decision that names seats which may not be in the
// request: at most maxList.
func (s *Shard) concludeListing(q *request, status wire.Status, seats []wire.SeatID) (wire.Status, []byte) {
	m := s.remember(q, status)
	m.form = namesList
	q.event.keepList(m, seats)
	return s.memoAnswer(q, m)
}

// concludeMany is concludeNaming for requests of up to wire.MaxOpSeats. named says
// which seats of the list are meant.
func (s *Shard) concludeMany(q *request, status wire.Status, list wire.SeatList, named func(wire.SeatID) bool) (wire.Status, []byte) {
	m := s.remember(q, status)
	n := (list.Len() + 31) / 32
	ref, bitmap := q.event.lists.take(n)
	clear(bitmap)
	for i := range list.Len() {
		if named(list.At(i)) {
			bitmap[i/32] |= 1 << (i % 32)
		}
	}
	m.form, m.list, m.n = namesBits, ref, uint16(n)
	return s.memoAnswer(q, m)
}

// keepList stores seats beside a memo.
func (e *Event) keepList(m *memo, seats []wire.SeatID) {
	if len(seats) == 0 {
		return
	}
	ref, list := e.lists.take(len(seats))
	for i, seat := range seats {
		list[i] = uint32(seat)
	}
	m.list, m.n = ref, uint16(len(seats))
}

// memoAnswer is the answer that the memo remembers, to the request that it is of
// or to a repetition.
func (s *Shard) memoAnswer(q *request, m *memo) (wire.Status, []byte) {
	status := wire.Status(m.status)
	switch {
	case q.kind == wire.KindIssue:
		return s.issuedAgain(q, m)
	case status == wire.StatusUnknownPlace:
		return s.text(status, "%s", q.event.placeMissing(q))
	case status == wire.StatusOK && q.kind == wire.KindExchange:
		c := wire.Confirmed{Now: m.now}
		body := c.Append(s.buf[:0])
		return s.reply(status, q.event.appendList(body[:len(body)-2], m))
	case status == wire.StatusOK && q.kind != wire.KindCancel, m.form == namesNone:
		return status, nil
	}
	l := wire.SeatsLost{Now: m.now}
	body := l.Append(s.buf[:0])
	body = body[:len(body)-4] // without the counts of its two lists
	switch m.form {
	case namesMask:
		body = append(appendMasked(body, namedBy(q), m.mask), 0, 0)
	case namesMaskOffer:
		body = q.event.appendList(appendMasked(body, namedBy(q), m.mask), m)
	case namesBits:
		body = append(q.event.appendBits(body, namedBy(q), m), 0, 0)
	default:
		body = append(q.event.appendList(body, m), 0, 0)
	}
	return s.reply(status, body)
}

// appendList appends the seats stored beside the memo, with their count.
func (e *Event) appendList(b []byte, m *memo) []byte {
	b = appendU16(b, int(m.n))
	if m.n == 0 {
		return b
	}
	return appendSeatIDs(b, e.lists.at(m.list, int(m.n)))
}

// appendBits appends the seats of a request's list that the memo's bitmap names,
// with their count.
func (e *Event) appendBits(b []byte, list wire.SeatList, m *memo) []byte {
	bitmap := e.lists.at(m.list, int(m.n))
	n := 0
	for _, w := range bitmap {
		n += bits.OnesCount32(w)
	}
	b = appendU16(b, n)
	for i := range list.Len() {
		if bitmap[i/32]>>(i%32)&1 != 0 {
			b = appendU32(b, uint32(list.At(i)))
		}
	}
	return b
}

// namedBy is the list of a well-formed request that a mask in its memo counts.
func namedBy(q *request) wire.SeatList {
	switch q.kind {
	case wire.KindHold:
		var h wire.Hold
		must(h.Decode(q.body))
		return h.Seats
	case wire.KindCancel:
		var c wire.Cancel
		must(c.Decode(q.body))
		return c.Seats
	case wire.KindExchange:
		var x wire.Exchange
		must(x.Decode(q.body))
		return x.Take
	case wire.KindSetChannel:
		var c wire.SetChannel
		must(c.Decode(q.body))
		return c.Seats
	default:
		var o wire.SeatsOp
		must(o.Decode(q.body))
		return o.Seats
	}
}

// must is for bodies that were decoded before.
func must(err error) {
	if err != nil {
		panic("shard: a body that was well formed no longer is: " + err.Error())
	}
}

// placeMissing says which section, category or area of the request the event
// does not have; empty if it has all.
func (e *Event) placeMissing(q *request) string {
	switch q.kind {
	case wire.KindHoldBest:
		var h wire.HoldBest
		must(h.Decode(q.body))
		if n := len(e.lay.sections); h.Section != wire.Any && int(h.Section) >= n {
			return fmt.Sprintf("there is no section %d; the event has %d, counted from 0", h.Section, n)
		}
		if n := e.lay.categories; n < wire.MaxCategories && h.Categories>>n != 0 {
			return fmt.Sprintf("there is no category %d; the event has %d, counted from 0", bits.Len64(h.Categories)-1, n)
		}
	case wire.KindHoldArea:
		var h wire.HoldArea
		must(h.Decode(q.body))
		if n := len(e.lay.areas); int(h.Area) >= n {
			return fmt.Sprintf("there is no area %d; the event has %d, counted from 0", h.Area, n)
		}
	}
	return ""
}
