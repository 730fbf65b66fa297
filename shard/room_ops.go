package shard

import (
	"bytes"

	"github.com/usher-seats/usher/wire"
)

// setRoom makes a waiting room, or changes the one there is.
func (s *Shard) setRoom(q *request) (wire.Status, []byte) {
	var o wire.SetRoom
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if err := o.Config.Validate(); err != nil {
		return s.malformed(err)
	}
	if status, body, done := s.admit(q); done {
		return status, body
	}
	e := q.event
	switch r := e.room; {
	case r == nil && o.Seed == [wire.SeedSize]byte{}:
		return s.text(wire.StatusBadRequest, "the room has no seed: a node that passes the request on chooses one")
	case r == nil:
		s.makeRoom(e, q.ID, &o)
	default:
		if why := r.fixed(&o.Config); why != "" {
			return s.text(wire.StatusBadRequest, "%s", why)
		}
		r.earn(s.now)
		r.setConfig(&o.Config)
		r.credit = min(r.credit, r.mostCredit())
		s.roomClock(e)
	}
	s.roomChanged(e)
	return s.conclude(q, wire.StatusOK)
}

// fixed says what in a configuration can no longer be changed; empty if nothing.
func (r *room) fixed(c *wire.RoomConfig) string {
	switch {
	case !bytes.Equal(c.Source, r.config.Source):
		return "entropy_source is part of the commitment: switch the room off and make another"
	case c.OnePerVisitor != r.config.OnePerVisitor && r.next > 0:
		return "one_per_visitor cannot change once numbers have been issued"
	case r.is(entriesClosed) && c.Entries() != r.config.Entries() && !(r.opened() && c.OpensAt == r.config.OpensAt):
		return "entries have closed: entries_until cannot change any more"
	case r.is(roomDue) && c.OpensAt != r.config.OpensAt:
		return "the room has opened: opens_at cannot change any more"
	}
	return ""
}

// directRoom does what the operator wants done with the room.
func (s *Shard) directRoom(q *request) (wire.Status, []byte) {
	var o wire.DirectRoom
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	switch n := len(o.Entropy); {
	case o.Action < wire.RoomPause || o.Action > wire.RoomDraw:
		return s.text(wire.StatusBadRequest, "%d is no action of a room", o.Action)
	case o.Action == wire.RoomDraw && (n == 0 || n > wire.MaxEntropy):
		return s.text(wire.StatusBadRequest, "a draw wants 1 to %d bytes of entropy and not %d", wire.MaxEntropy, n)
	case o.Action != wire.RoomDraw && n > 0:
		return s.text(wire.StatusBadRequest, "only a draw takes entropy")
	}
	if status, body, done := s.admit(q); done {
		return status, body
	}
	e := q.event
	r := e.room
	if r == nil {
		return wire.StatusNoRoom, nil
	}
	switch o.Action {
	case wire.RoomPause:
		r.flags |= roomPaused
	case wire.RoomResume:
		if r.is(roomPaused) {
			r.restartCredit(s.now)
		}
		r.flags &^= roomPaused | roomDraining
	case wire.RoomDrain:
		r.flags |= roomDraining
	case wire.RoomOpen:
		if !r.is(entriesClosed) {
			s.closeEntries(r)
		}
		if !r.is(roomDue) {
			s.openRoom(r)
		}
	case wire.RoomOff:
		s.endRoom(e)
	case wire.RoomDraw:
		if status, body, refused := s.drawRefused(r, o.Entropy); refused {
			return status, body
		}
		if !r.is(roomDrawn) {
			s.makeDraw(r, o.Entropy)
		}
	}
	s.roomChanged(e)
	return s.conclude(q, wire.StatusOK)
}

// drawRefused checks whether entropy may decide the draw. The same once more is
// fine.
func (s *Shard) drawRefused(r *room, entropy []byte) (status wire.Status, body []byte, refused bool) {
	switch {
	case len(r.config.Source) == 0:
		status, body = s.text(wire.StatusBadRequest, "the room has named no entropy_source, so its draw takes none")
	case !r.is(entriesClosed):
		status, body = s.text(wire.StatusBadRequest, "entries are still open; the draw is after they have closed")
	case r.is(roomDrawn) && !bytes.Equal(r.entropy, entropy):
		status, body = s.text(wire.StatusBadRequest, "the draw has been made")
	default:
		return 0, nil, false
	}
	return status, body, true
}

// issue takes the next numbers. Refusals are not remembered.
func (s *Shard) issue(q *request) (wire.Status, []byte) {
	var o wire.Issue
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	n := int(o.Count)
	switch {
	case n < 1:
		return s.text(wire.StatusBadRequest, "the request asks for no numbers; it must ask for 1 to %d", wire.MaxIssue)
	case len(o.Visitors) != 0 && n > wire.MaxJoins:
		return s.text(wire.StatusBadRequest, "the request names %d visitors; it may name %d", n, wire.MaxJoins)
	case len(o.Visitors) != 0 && len(o.Visitors) != n*wire.VisitorSize:
		return s.text(wire.StatusBadRequest, "%d numbers for visitors of %d bytes; each has %d", n, len(o.Visitors), wire.VisitorSize)
	}
	if status, body, done := s.admit(q); done {
		return status, body
	}
	e := q.event
	r := e.room
	switch {
	case r == nil:
		return wire.StatusNoRoom, nil
	case r.is(roomDraining) || e.queueState() == wire.QueueSoldOut || r.next+uint64(n) > r.mostNumbers():
		return wire.StatusRoomClosed, nil
	case r.config.OnePerVisitor && len(o.Visitors) == 0:
		return s.text(wire.StatusBadRequest, "the room gives one number to each visitor: name the visitor")
	}
	m := s.remember(q, wire.StatusOK)
	m.mask = r.issueTag()
	if r.config.OnePerVisitor {
		r.issueTo(o.Visitors, s.index)
	} else {
		r.next += uint64(n)
	}
	if !r.is(entriesClosed) {
		r.entries = r.next
	}
	s.roomChanged(e)
	return s.issued(r, m.mask, m.now, &o)
}

// mostNumbers is how many numbers the room can give out.
func (r *room) mostNumbers() uint64 {
	if r.config.OnePerVisitor {
		return maxPages * pageVisitors
	}
	return wire.MaxNumbers
}

// issueTo gives the next numbers to those visitors who have none.
func (r *room) issueTo(prints []byte, entry uint64) {
	for ; len(prints) > 0; prints = prints[wire.VisitorSize:] {
		print := prints[:wire.VisitorSize]
		if _, has := r.visitors.find(print); !has {
			r.visitors.add(r.id, print, entry)
		}
	}
	r.next = r.visitors.count
}

// The memo of an Issue has in its mask the first number, the low bits of the room's
// id, and whether entries were open.
const (
	tagNumber  = 1<<40 - 1
	tagRoom    = 1<<23 - 1
	tagRoomAt  = 40
	tagEntries = 1 << 63
)

func (r *room) issueTag() uint64 {
	tag := r.next | uint64(r.id)&tagRoom<<tagRoomAt
	if !r.is(entriesClosed) {
		tag |= tagEntries
	}
	return tag
}

// issuedAgain repeats the answer to an Issue. Of a room that is over nothing is
// known any more.
func (s *Shard) issuedAgain(q *request, m *memo) (wire.Status, []byte) {
	r := q.event.room
	if r == nil || m.mask>>tagRoomAt&tagRoom != uint64(r.id)&tagRoom {
		return wire.StatusNoRoom, nil
	}
	var o wire.Issue
	must(o.Decode(q.body))
	return s.issued(r, m.mask, m.now, &o)
}

func (s *Shard) issued(r *room, tag uint64, now wire.Millis, o *wire.Issue) (wire.Status, []byte) {
	a := wire.Issued{Room: r.id, Now: now, Entries: r.entries, First: tag & tagNumber, Count: o.Count}
	if tag&tagEntries != 0 {
		a.Entries = wire.MaxNumbers
	}
	if !r.config.OnePerVisitor {
		return s.reply(wire.StatusOK, a.Append(s.buf[:0]))
	}
	a.First = 0
	body := a.Append(s.buf[:0])
	body = appendU16(body[:len(body)-2], 8*int(o.Count))
	for prints := o.Visitors; len(prints) > 0; prints = prints[wire.VisitorSize:] {
		number, _ := r.visitors.find(prints[:wire.VisitorSize])
		body = appendU64(body, number)
	}
	return s.reply(wire.StatusOK, body)
}

// numberOf finds the room and the queue number that a request speaks of. ok says
// that all is well; otherwise status and body are the answer.
func (s *Shard) numberOf(e *Event, id wire.RoomID, issued uint64) (number uint64, entry bool, status wire.Status, body []byte, ok bool) {
	switch {
	case e == nil:
		return 0, false, wire.StatusUnknownEvent, nil, false
	case e.room == nil || e.room.id != id:
		return 0, false, wire.StatusNoRoom, nil, false
	case issued >= e.room.next:
		status, body = s.text(wire.StatusBadRequest, "number %d has not been issued; the next is %d", issued, e.room.next)
		return 0, false, status, body, false
	}
	number, entry = e.room.queueNumber(issued)
	return number, entry, 0, nil, true
}

// redeem lets a visitor in whose number is called. It is decided once for each
// number; whoever asks again gets the same pass.
func (s *Shard) redeem(q *request) (wire.Status, []byte) {
	var o wire.Redeem
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	switch {
	case !q.ID.Valid():
		return s.invalidID()
	case o.Pass == 0:
		return s.text(wire.StatusBadRequest, "a pass cannot have the id 0")
	}
	e := q.event
	number, _, status, body, ok := s.numberOf(e, o.Room, o.Number)
	if !ok {
		return status, body
	}
	r := e.room
	p := s.placeOf(e, o.Number)
	switch {
	case p.State == wire.PlaceInside:
		_, k := r.passes.of(number)
		return s.admitted(e, k)
	case p.State == wire.PlaceWaiting:
		return s.reply(wire.StatusNotCalled, p.Append(s.buf[:0]))
	case p.State == wire.PlaceLapsed:
		return wire.StatusLapsed, nil
	case p.State == wire.PlaceLeft:
		return wire.StatusLeft, nil
	case p.State == wire.PlaceEnded:
		return wire.StatusPassEnded, nil
	case s.late(q):
		return s.clock(wire.StatusLate)
	}
	if _, other := r.passes.find(o.Pass); other != nil {
		return s.text(wire.StatusBadRequest, "the pass is that of number %d", other.number)
	}
	k := r.passes.add(o.Pass, number, s.now+wire.Millis(r.config.PassTTL))
	r.window.setCame(number)
	r.outstanding--
	r.redeemed++
	s.roomChanged(e)
	return s.admitted(e, k)
}

func (s *Shard) admitted(e *Event, k *pass) (wire.Status, []byte) {
	a := wire.Admitted{
		Room: e.room.id, Pass: k.id, Number: k.number, Deadline: k.deadline, Now: s.now, Seats: uint8(e.seatsPerPass()),
	}
	return s.reply(wire.StatusOK, a.Append(s.buf[:0]))
}

// placeOf is where a number that was issued is.
func (s *Shard) placeOf(e *Event, issued uint64) wire.QueuePlace {
	r := e.room
	number, entry := r.queueNumber(issued)
	p := wire.QueuePlace{Entry: entry, Number: number, Now: s.now, State: wire.PlaceLapsed}
	_, k := r.passes.of(number)
	switch {
	case entry:
		p.State, p.Ahead = wire.PlaceWaiting, r.entries
	case k != nil:
		p.State, p.Deadline = wire.PlaceInside, k.deadline
	case number >= r.serving && r.left.has(number):
		p.State = wire.PlaceLeft
	case number >= r.serving:
		p.State, p.Ahead = wire.PlaceWaiting, number-r.serving
	case number < r.lapsedTo:
	case r.window.leftBy(number):
		p.State = wire.PlaceLeft
	case r.window.cameBy(number):
		p.State = wire.PlaceEnded
	default:
		p.State, p.Deadline = wire.PlaceCalled, r.lapseOf(number)
	}
	return p
}

// lapseOf is when a number that is in the window lapses.
func (r *room) lapseOf(number uint64) wire.Millis {
	from, to := 0, len(r.steps)
	for from < to {
		if mid := (from + to) / 2; r.steps[mid].upTo > number {
			to = mid
		} else {
			from = mid + 1
		}
	}
	return r.steps[from].lapse
}

// leave gives a number or a pass back. What is over already stays as it is.
func (s *Shard) leave(q *request) (wire.Status, []byte) {
	var o wire.Leave
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if !q.ID.Valid() {
		return s.invalidID()
	}
	e := q.event
	issued := o.Number
	if o.Pass != 0 && e != nil && e.room != nil && e.room.id == o.Room {
		_, k := e.room.passes.find(o.Pass)
		if k == nil {
			return wire.StatusOK, nil
		}
		return s.leaveAs(q, wire.PlaceInside, k.number)
	}
	number, entry, status, body, ok := s.numberOf(e, o.Room, issued)
	switch {
	case !ok:
		return status, body
	case entry:
		return wire.StatusOK, nil // nobody knows yet when he would be called
	}
	return s.leaveAs(q, s.placeOf(e, issued).State, number)
}

// leaveAs gives a queue number back from where it is.
func (s *Shard) leaveAs(q *request, from wire.PlaceState, number uint64) (wire.Status, []byte) {
	r := q.event.room
	switch {
	case from != wire.PlaceInside && from != wire.PlaceWaiting && from != wire.PlaceCalled:
		return wire.StatusOK, nil
	case s.late(q):
		return s.clock(wire.StatusLate)
	case from == wire.PlaceInside:
		i, _ := r.passes.of(number)
		r.passes.remove(i)
	case from == wire.PlaceCalled:
		r.window.setLeft(number)
		r.outstanding--
	case !r.left.add(number):
		return wire.StatusOK, nil // he will be called in vain
	}
	s.roomChanged(q.event)
	return wire.StatusOK, nil
}
