package shard

import (
	"math"

	"github.com/usher-seats/usher/wire"
)

// departureWindows is for how many retry windows a shard remembers that an event
// has left. A step of the move, or of one before it, that comes later than that is
// not refused here any more: the directory knows that the move is over, and a node
// asks it before it proposes a step or sends anybody to the event.
const departureWindows = 4

// A journey is what an event knows of the moves it has been through. The directory
// numbers them. Owned by the applier.
type journey struct {
	least   uint64 // moves below this number are over
	adopted uint64 // the move that has brought the event here; 0: none has
	origin  uint64 // hash of the event when it was adopted; 0 if it never was
	frozen  uint64 // the move by which it is about to leave; 0: it is not. Invariant: 0 or least
	index   uint64 // entry that froze it
	hash    uint64 // of the event since then
}

// life is what readers are told about an event on such a journey.
func (j *journey) life() uint32 {
	if j.frozen != 0 {
		return lifeFrozen
	}
	return lifeOn
}

// over reports whether nothing that belongs to a move may change the event any
// more, except to thaw or drop it.
func (j *journey) over(number uint64) bool { return number < j.least || number == j.frozen }

// A departure is an event that has left. While it is remembered, its operations are
// answered StatusMoved: whoever sent them here did not know yet. And no step of the
// move by which it left, or of one before, brings it back. Owned by the applier.
type departure struct {
	number  uint64      // of the move
	digest  [32]byte    // of the event's manifest
	at      wire.Millis // shard time when it left
	changed uint64      // entry, as of an Event
}

// ofMove reports whether the kind is a step of a move.
func ofMove(k wire.Kind) bool { return k >= wire.KindFreeze && k <= wire.KindDrop }

// EventOf is the event that a record is about as far as a Replay is concerned: a
// stage that is given all entries of the old shard, and of each the records of its
// event in their order, goes the way that the event has gone. ok is false for
// what is about no event or changes none.
func EventOf(r wire.Record) (id wire.EventID, ok bool) {
	var q request
	if !q.read(r) || arrives(r.Kind) {
		return 0, false
	}
	return q.Event, true
}

// away reports whether the event with this id, which e is if it is here, is about
// to leave or has left.
func (s *Shard) away(id wire.EventID, e *Event) bool {
	if e != nil {
		return e.journey.frozen != 0
	}
	return s.departures[id] != nil
}

// decideMove decides a step of a move. The ids and deadlines of steps are not
// looked at: their numbers say what they may still do.
func (s *Shard) decideMove(q *request) (wire.Status, []byte) {
	switch {
	case arrives(q.kind):
		return s.decideArrival(q)
	case s.contained(q.Event):
		return wire.StatusUnknown, nil // nobody waits for it
	case q.kind == wire.KindFreeze:
		return s.freeze(q)
	}
	var o wire.Numbered
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	switch {
	case !numbered(o.Number):
		return s.noNumber(o.Number)
	case q.event == nil:
		return wire.StatusUnknownEvent, nil
	case q.kind == wire.KindThaw:
		return s.thaw(q.event, o.Number)
	default:
		return s.drop(q.event, o.Number)
	}
}

// numbered reports whether a move can have this number.
func numbered(n uint64) bool { return n > 0 && n < math.MaxUint64 }

func (s *Shard) noNumber(n uint64) (wire.Status, []byte) {
	return s.text(wire.StatusBadRequest, "%d is no number of a move", n)
}

func (s *Shard) moveOver(number uint64) (wire.Status, []byte) {
	return s.text(wire.StatusExists, "move %d of this event is over", number)
}

// freeze stops an event for a move. One that is frozen for an earlier move, which
// nobody went on with, stays as it is and belongs to this one.
func (s *Shard) freeze(q *request) (wire.Status, []byte) {
	var f wire.Freeze
	if err := f.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	e := q.event
	switch {
	case !numbered(f.Number):
		return s.noNumber(f.Number)
	case e == nil:
		return wire.StatusUnknownEvent, nil
	case f.Number < e.journey.least:
		return s.moveOver(f.Number)
	}
	j := &e.journey
	if j.frozen == 0 {
		e.stopped.Store(int64(s.now))
		e.life.Store(lifeFrozen)
		j.index, j.hash = s.index, e.hash()
		s.touch(e)
	}
	if j.frozen != f.Number {
		j.frozen, j.least = f.Number, f.Number
		e.changed = s.index
	}
	a := wire.Frozen{Index: j.index, Now: s.now, Hash: j.hash, Epoch: e.epoch}
	return s.reply(wire.StatusOK, a.Append(s.buf[:0]))
}

// thaw lets an event go on that was frozen for a move, and in any case ends the
// move here: a Freeze of it that comes late is refused, because nobody would undo
// it any more.
func (s *Shard) thaw(e *Event, number uint64) (wire.Status, []byte) {
	j := &e.journey
	switch {
	case j.frozen != 0 && j.frozen != number:
		return s.text(wire.StatusExists, "the event is frozen by move %d and not by move %d", j.frozen, number)
	case number+1 < j.least:
		return s.moveOver(number)
	case number+1 == j.least:
		return wire.StatusOK, nil // it is done
	}
	if j.frozen != 0 {
		e.skew.Store(int64(s.now - s.stamp)) // s.now is where the event's time has stood
		e.stopped.Store(notStopped)
		e.life.Store(lifeOn)
		s.touch(e)
	}
	j.frozen, j.index, j.hash = 0, 0, 0
	j.least = number + 1
	e.changed = s.index
	return wire.StatusOK, nil
}

// drop ends an event here that goes on elsewhere.
func (s *Shard) drop(e *Event, number uint64) (wire.Status, []byte) {
	if e.journey.frozen != number {
		return s.text(wire.StatusExists, "the event is not frozen by move %d", number)
	}
	s.departures[e.id] = &departure{number: number, digest: e.digest, at: s.stamp, changed: s.index}
	s.staleBy(s.stamp + s.departureTime())
	s.removeEvent(e)
	return wire.StatusOK, nil
}

func (s *Shard) departureTime() wire.Millis { return departureWindows * s.config.Window }
