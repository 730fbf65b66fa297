package shard

import (
	"encoding/binary"
	"math/bits"

	"github.com/usher-seats/usher/wire"
)

// hold gives every seat that the request names to its hold, or none. Cost:
// O(seats), no allocation.
func (s *Shard) hold(q *request) (wire.Status, []byte) {
	var h wire.Hold
	if err := h.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if status, body, bad := s.gather(h.Seats, 1, wire.MaxHoldSeats); bad {
		return status, body
	}
	if status, body, done := s.admit(q); done {
		return status, body
	}
	e := q.event
	ttl, status, body, refused := s.allowed(q, wish{h.Seats.Len(), h.TTL, h.Buyer, h.Channel, h.Pass})
	if refused {
		return status, body
	}
	if !e.allFree(s.spots) {
		return s.holdRefused(q, &h)
	}
	if len(e.channels.list) > 0 && e.channels.bar(s.spots, h.Channel) {
		return s.concludeNaming(q, wire.StatusChannelRequired, h.Seats, e.barredSeats(h.Seats, h.Channel))
	}
	if e.rule.RefuseOrphans {
		s.seats = appendIDs(s.seats[:0], h.Seats)
		s.orphans = e.lay.orphansLeft(e.taken, s.seats, s.orphans[:0])
		if len(s.orphans) > 0 {
			return s.concludeListing(q, wire.StatusOrphan, s.orphans)
		}
	}
	i := s.grant(q, h.Buyer, ttl, h.Seats.Len(), 0)
	e.usePass(i, h.Pass, h.Channel)
	rec := e.holds.at(i)
	seats := e.seatsOf(rec)
	for k := range seats {
		seats[k] = uint32(h.Seats.At(k))
	}
	s.takeSeats(e, i, rec)
	return s.granted(q, rec)
}

// gather groups the seats of a list by word, into s.spots, and refuses lists that
// name a seat twice or that are too short or too long.
func (s *Shard) gather(list wire.SeatList, least, most int) (status wire.Status, body []byte, bad bool) {
	s.spots = s.spots[:0]
	if n := list.Len(); n < least || n > most {
		status, body = s.text(wire.StatusBadRequest, "the request names %d seats; it must name %d to %d", n, least, most)
		return status, body, true
	}
	var twice wire.SeatID
	var found bool
	if list.Len() <= wire.MaxHoldSeats {
		s.spots, twice, found = addSeats(s.spots, list)
	} else {
		s.spots, twice, found = s.addManySeats(s.spots, list)
	}
	if found {
		status, body = s.text(wire.StatusBadRequest, "the request names seat %d twice", twice)
		return status, body, true
	}
	return 0, nil, false
}

func addSeats(spots []spot, list wire.SeatList) (_ []spot, twice wire.SeatID, found bool) {
	for i := range list.Len() {
		seat := list.At(i)
		if spots, found = addSeat(spots, uint32(seat)); found {
			return spots, seat, true
		}
	}
	return spots, 0, false
}

// allFree reports whether all seats are places of the event and free.
func (e *Event) allFree(spots []spot) bool {
	for _, p := range spots {
		// Padding is taken, so what is free and within the event is a place.
		if int(p.word) >= len(e.taken) || e.taken[p.word].Load()&p.mask != 0 {
			return false
		}
	}
	return true
}

// A wish is what holds of all kinds ask for.
type wish struct {
	seats   int
	ttl     uint32 // milliseconds; 0: the event's
	buyer   wire.BuyerID
	channel wire.ChannelKey
	pass    wire.PassID
}

// allowed checks what the event's rules say about holds as such, and gives the
// time the hold gets. refused says that status and body are the answer.
func (s *Shard) allowed(q *request, w wish) (_ uint32, status wire.Status, body []byte, refused bool) {
	rule := &q.event.rule
	ttl := w.ttl
	if ttl == 0 {
		ttl = rule.HoldTTL
	}
	pass, noPass := q.event.passRefused(w.pass, w.channel, w.seats)
	switch {
	case q.event.Sale() != wire.SaleOpen:
		status, body = s.conclude(q, wire.StatusNotOpen)
	case noPass:
		status, body = s.conclude(q, pass)
	case w.seats > int(rule.SeatsPerHold):
		status, body = s.conclude(q, wire.StatusHoldLimit)
	case ttl > rule.MaxTTL:
		status, body = s.text(wire.StatusBadRequest, "the hold is to live %d ms; the event allows %d", ttl, rule.MaxTTL)
	case rule.SeatsPerBuyer > 0 && w.buyer != 0 && q.event.buyers.seats(w.buyer)+w.seats > int(rule.SeatsPerBuyer):
		status, body = s.conclude(q, wire.StatusBuyerLimit)
	default:
		return ttl, 0, nil, false
	}
	return 0, status, body, true
}

// holdRefused says why seats cannot be held: they do not exist, or are taken.
func (s *Shard) holdRefused(q *request, h *wire.Hold) (wire.Status, []byte) {
	e := q.event
	unknown, taken := e.notFree(h.Seats)
	if unknown != 0 {
		return s.concludeNaming(q, wire.StatusUnknownSeat, h.Seats, unknown)
	}
	if h.Flags&wire.HoldAlternative != 0 {
		offer := bestQuery{Count: h.Seats.Len(), Section: wire.Any, NoOrphan: e.rule.RefuseOrphans}
		if seats, ok := e.pick(offer, h.Channel, s.seats[:0]); ok {
			s.seats = seats
			return s.concludeOffering(q, h.Seats, taken, seats)
		}
	}
	return s.concludeNaming(q, wire.StatusTaken, h.Seats, taken)
}

// grant makes the record of a hold of n seats, which the caller fills in before
// takeSeats.
func (s *Shard) grant(q *request, buyer wire.BuyerID, ttl uint32, n int, flags holdFlags) uint32 {
	e := q.event
	i, h := e.holds.take()
	*h = hold{
		id: q.ID, digest: q.digest, buyer: buyer,
		granted: s.now, deadline: s.now + wire.Millis(ttl), ttl: ttl,
		n: uint8(n), state: wire.StateHeld, flags: flags,
	}
	h.held = h.all()
	h.fence = e.version(e.counter + 1)
	if !h.inline() {
		h.seats[0], _ = e.lists.take(n)
	}
	if e.wheel == nil {
		e.wheel = new(wheel)
	}
	e.wheel.insert(&e.holds, i, s.now)
	e.enter(q.fp, i)
	e.changed = s.index
	return i
}

// takeSeats takes the seats in s.spots for a hold that has just been granted.
func (s *Shard) takeSeats(e *Event, i uint32, h *hold) {
	e.begin(int(h.n))
	e.move(s.spots, wire.SeatFree, wire.SeatHeld)
	e.end()
	e.buyers.add(h.buyer, int(h.n))
	s.passMoved(e, i, int(h.n), 0)
}

// granted answers a hold: the seats as the request names them, or those that the
// shard chose, with the times of the grant.
func (s *Shard) granted(q *request, h *hold) (wire.Status, []byte) {
	g := wire.Granted{Fence: h.fence, Deadline: h.granted + wire.Millis(h.ttl), Now: h.granted}
	if q.kind == wire.KindHold {
		g.Seats = wire.SeatList(q.body[bodySeats:])
		return s.reply(wire.StatusOK, g.Append(s.buf[:0]))
	}
	seats := q.event.seatsOf(h)
	if h.flags&holdMoved != 0 {
		seats = q.event.lists.at(h.seats[1], int(h.seats[2]))
	}
	body := g.Append(s.buf[:0])
	binary.LittleEndian.PutUint16(body[len(body)-2:], uint16(len(seats)))
	return s.reply(wire.StatusOK, appendSeatIDs(body, seats))
}

// holdBest gives the best seats there are to a hold.
func (s *Shard) holdBest(q *request) (wire.Status, []byte) {
	var h wire.HoldBest
	if err := h.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if h.Count < 1 || h.Count > wire.MaxHoldSeats {
		return s.text(wire.StatusBadRequest, "the request asks for %d seats; it must ask for 1 to %d", h.Count, wire.MaxHoldSeats)
	}
	if status, body, done := s.admit(q); done {
		return status, body
	}
	e := q.event
	w := wish{int(h.Count), h.TTL, h.Buyer, h.Channel, h.Pass}
	ttl, status, body, refused := s.allowed(q, w)
	if refused {
		return status, body
	}
	if e.placeMissing(q) != "" {
		return s.conclude(q, wire.StatusUnknownPlace)
	}
	best := bestQuery{
		Count: int(h.Count), Section: h.Section, Categories: h.Categories, Access: h.Access,
		Split:    h.Flags&wire.HoldSplit != 0,
		NoOrphan: h.Flags&wire.HoldNoOrphan != 0 || e.rule.RefuseOrphans,
	}
	seats, ok := e.pick(best, h.Channel, s.seats[:0])
	if !ok {
		return s.conclude(q, wire.StatusNotEnough)
	}
	s.seats = seats
	return s.holdPicked(q, w, ttl)
}

// holdArea gives places of an area to a hold.
func (s *Shard) holdArea(q *request) (wire.Status, []byte) {
	var h wire.HoldArea
	if err := h.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if h.Count < 1 || h.Count > wire.MaxHoldSeats {
		return s.text(wire.StatusBadRequest, "the request asks for %d places; it must ask for 1 to %d", h.Count, wire.MaxHoldSeats)
	}
	if status, body, done := s.admit(q); done {
		return status, body
	}
	e := q.event
	w := wish{int(h.Count), h.TTL, h.Buyer, h.Channel, h.Pass}
	ttl, status, body, refused := s.allowed(q, w)
	if refused {
		return status, body
	}
	if e.placeMissing(q) != "" {
		return s.conclude(q, wire.StatusUnknownPlace)
	}
	barred, _ := e.channels.barredFor(h.Channel)
	seats, ok := e.bestIndex().areaPick(int(h.Area), int(h.Count), e.taken, barred, s.seats[:0])
	if !ok {
		return s.conclude(q, wire.StatusNotEnough)
	}
	s.seats = seats
	return s.holdPicked(q, w, ttl)
}

// holdPicked grants the seats in s.seats, which the shard has chosen.
func (s *Shard) holdPicked(q *request, w wish, ttl uint32) (wire.Status, []byte) {
	e := q.event
	i := s.grant(q, w.buyer, ttl, len(s.seats), holdPicked)
	e.usePass(i, w.pass, w.channel)
	rec := e.holds.at(i)
	seats := e.seatsOf(rec)
	s.spots = s.spots[:0]
	for k, seat := range s.seats {
		seats[k] = uint32(seat)
		s.spots, _ = addSeat(s.spots, uint32(seat))
	}
	s.takeSeats(e, i, rec)
	return s.granted(q, rec)
}

// pick finds the best seats that a channel's key opens.
func (e *Event) pick(best bestQuery, key wire.ChannelKey, dst []wire.SeatID) ([]wire.SeatID, bool) {
	var barred []uint64
	barred, best.Bars = e.channels.barredFor(key)
	return e.bestIndex().best(best, e.taken, barred, dst)
}

// bestIndex makes the index when it is first wanted: events that are sold by
// seat need none.
func (e *Event) bestIndex() *bestIndex {
	if e.best == nil {
		e.best = newBestIndex(e.lay)
	}
	return e.best
}

func appendIDs(dst []wire.SeatID, list wire.SeatList) []wire.SeatID {
	for i := range list.Len() {
		dst = append(dst, list.At(i))
	}
	return dst
}

func appendSeatIDs(b []byte, seats []uint32) []byte {
	for _, s := range seats {
		b = appendU32(b, s)
	}
	return b
}

// appendMasked appends the seats of a list that a mask names, with their count.
func appendMasked(b []byte, list wire.SeatList, mask uint64) []byte {
	b = appendU16(b, seatsIn(mask))
	for ; mask != 0; mask &= mask - 1 {
		b = appendU32(b, uint32(list.At(bits.TrailingZeros64(mask))))
	}
	return b
}

func appendU16(b []byte, v int) []byte    { return binary.LittleEndian.AppendUint16(b, uint16(v)) }
func appendU32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func appendU64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }
