package shard

import (
	"math"

	"github.com/usher-seats/usher/wire"
)

// A stage is an event on its way into the shard: its image, chunk by chunk, and
// when that is complete a shard of its own, which goes through the entries of the
// old shard until the event stands as it was frozen there. If nothing comes for a
// retry window it is given up. Owned by the applier.
type stage struct {
	moveNumber
	total   uint32 // bytes of the image
	bytes   []byte // of the image so far; nil once it is complete
	shard   *Shard // with the event, once the image is complete; else nil
	touched wire.Millis
	changed uint64 // entry, as of an Event
}

// arrives reports whether the kind is a step by which an event comes into a shard.
func arrives(k wire.Kind) bool {
	return k == wire.KindImport || k == wire.KindReplay || k == wire.KindAdopt
}

// decideArrival decides a step of an event's arrival. What belongs to the move
// that has brought the event already is done: whoever begins that move once more,
// from the first chunk, is told so step by step. In a stage there is nothing to be
// staged.
func (s *Shard) decideArrival(q *request) (wire.Status, []byte) {
	switch {
	case s.staged:
		return wire.StatusOK, nil
	case q.kind == wire.KindImport:
		return s.importChunk(q)
	case q.kind == wire.KindReplay:
		return s.replay(q)
	default:
		return s.adopt(q)
	}
}

// arrival answers a step of a move that is over here. done says that status and
// body are the answer.
func (s *Shard) arrival(q *request, n moveNumber) (status wire.Status, body []byte, done bool) {
	e, d := q.event, s.departures[q.Event]
	switch {
	case s.deletions[q.Event] != nil:
		return wire.StatusUnknownEvent, nil, true
	case e != nil && e.journey.adopted == n.number:
		return wire.StatusOK, nil, true
	case e != nil && e.journey.over(n.number), d != nil && n.number <= d.number:
		status, body = s.moveOver(n.number)
		return status, body, true
	}
	return 0, nil, false
}

// importChunk adds a chunk to a staged image, and loads it when all have come.
func (s *Shard) importChunk(q *request) (wire.Status, []byte) {
	var o wire.Import
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if !numbered(o.Number) {
		return s.noNumber(o.Number)
	}
	piece := chunk{"image", o.Offset, o.Total, wire.MaxImage, o.Chunk}
	if status, body, bad := s.badChunk(q, &piece); bad {
		return status, body
	}
	n := moveNumber{o.Number, o.Attempt}
	room := s.takeBerth(q.Event, n, o.Total)
	if s.contained(q.Event) {
		return wire.StatusUnknown, nil // nobody waits for it
	}
	if status, body, done := s.arrival(q, n); done {
		return status, body
	}
	if !room {
		return s.text(wire.StatusTooLarge, "%d events with images of %d bytes are on their way into this shard; there may be %d, with %d bytes",
			len(s.berths.of), s.berths.bytes, maxStages, maxStaged)
	}
	return s.stageChunk(q.Event, n, &piece)
}

// stageChunk begins a stage, or goes on with it.
func (s *Shard) stageChunk(id wire.EventID, n moveNumber, c *chunk) (wire.Status, []byte) {
	st := s.stages[id]
	switch {
	case st != nil && st.compare(n) > 0:
		return s.attemptOver(st)
	case st == nil || st.compare(n) < 0:
		if c.from > 0 {
			return s.text(wire.StatusBadRequest, "the chunk begins at byte %d and those before it are not here; begin at 0", c.from)
		}
		st = &stage{moveNumber: n, total: c.total}
		s.stages[id] = st
		s.staleBy(s.stamp + s.config.Window)
	case st.total != c.total:
		return s.text(wire.StatusExists, "the image has %d bytes and not %d; another one is a new attempt", st.total, c.total)
	case st.shard == nil && int(c.from) > len(st.bytes):
		return s.text(wire.StatusBadRequest, "the chunk begins at byte %d; the next is %d", c.from, len(st.bytes))
	}
	st.touched, st.changed = s.stamp, s.index
	if st.shard != nil {
		return wire.StatusOK, nil
	}
	if have := len(st.bytes); int(c.from)+len(c.bytes) > have {
		st.bytes = append(st.bytes, c.bytes[have-int(c.from):]...)
	}
	if len(st.bytes) < int(st.total) {
		return wire.StatusOK, nil
	}
	var err error
	if st.shard, err = openImage(s.config, id, st.bytes); err != nil {
		s.dropStage(id)
		return s.malformed(err)
	}
	st.bytes = nil
	return wire.StatusOK, nil
}

func (s *Shard) attemptOver(st *stage) (wire.Status, []byte) {
	return s.text(wire.StatusExists, "attempt %d of move %d has begun", st.attempt, st.number)
}

func (s *Shard) dropStage(id wire.EventID) {
	delete(s.stages, id)
	s.vanished(id)
}

// staging finds the complete stage of an attempt. found says that st is it;
// otherwise status and body are the answer.
func (s *Shard) staging(id wire.EventID, n moveNumber) (st *stage, status wire.Status, body []byte, found bool) {
	st = s.stages[id]
	switch {
	case st != nil && st.compare(n) > 0:
		status, body = s.attemptOver(st)
	case st == nil || st.compare(n) < 0 || st.shard == nil:
		status, body = s.text(wire.StatusBadRequest, "there is no complete image of attempt %d of move %d", n.attempt, n.number)
	default:
		return st, 0, nil, true
	}
	return nil, status, body, false
}

// replay lets a staged event go through entries of its old shard. Every one since
// the image was taken must come, also those that say nothing about the event: how
// much of it ends in one Apply is bounded.
func (s *Shard) replay(q *request) (wire.Status, []byte) {
	var o wire.Replay
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if !numbered(o.Number) {
		return s.noNumber(o.Number)
	}
	n := moveNumber{o.Number, o.Attempt}
	s.touchBerth(q.Event)
	if s.contained(q.Event) {
		return wire.StatusUnknown, nil // nobody waits for it
	}
	if status, body, done := s.arrival(q, n); done {
		return status, body
	}
	st, status, body, found := s.staging(q.Event, n)
	if !found {
		return status, body
	}
	if o.After > st.shard.index {
		return s.text(wire.StatusBadRequest, "the entries begin after entry %d, and the event has seen those up to %d", o.After, st.shard.index)
	}
	if status, body, bad := s.badReplay(&o); bad {
		return status, body
	}
	st.touched, st.changed = s.stamp, s.index
	for rest := o.Entries; len(rest) > 0; {
		var index uint64
		var stamp wire.Millis
		var records []byte
		index, stamp, records, rest, _ = wire.NextReplayed(rest)
		if index > st.shard.index {
			st.shard.Apply(index, stamp, records, nil)
		}
	}
	if st.shard.Event(q.Event) == nil {
		s.dropStage(q.Event)
		return s.text(wire.StatusBadRequest, "the event has ended in the shard that it was to come from")
	}
	return wire.StatusOK, nil
}

// badReplay refuses entries that no log has.
func (s *Shard) badReplay(o *wire.Replay) (status wire.Status, body []byte, bad bool) {
	last := o.After
	for rest := o.Entries; len(rest) > 0; {
		index, stamp, _, next, err := wire.NextReplayed(rest)
		switch {
		case err != nil:
			status, body = s.malformed(err)
		case index <= last:
			status, body = s.text(wire.StatusBadRequest, "entry %d comes after entry %d", index, last)
		case stamp < 0 || stamp > lastTime:
			status, body = s.text(wire.StatusBadRequest, "entry %d has the stamp %d", index, stamp)
		default:
			last, rest = index, next
			continue
		}
		return status, body, true
	}
	return 0, nil, false
}

// adopt makes a staged event the shard's own. Whatever comes of it, the attempt is
// over.
func (s *Shard) adopt(q *request) (wire.Status, []byte) {
	var o wire.Adopt
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if !numbered(o.Number) {
		return s.noNumber(o.Number)
	}
	n := moveNumber{o.Number, o.Attempt}
	s.leaveBerth(q.Event, n)
	if s.contained(q.Event) {
		return wire.StatusUnknown, nil // nobody waits for it
	}
	st, status, body, found := s.staging(q.Event, n)
	if have := s.stages[q.Event]; have != nil && have.compare(n) <= 0 {
		s.dropStage(q.Event)
	}
	s.sweep()
	if status, body, done := s.arrival(q, n); done {
		return status, body
	}
	if !found {
		return status, body
	}
	if status, body, refused := s.adoptRefused(q, st.shard, &o); refused {
		return status, body
	}
	s.settleIn(q, st.shard.Event(q.Event), &o)
	return wire.StatusOK, nil
}

// adoptRefused checks whether the staged event is the one that is to be adopted.
func (s *Shard) adoptRefused(q *request, from *Shard, o *wire.Adopt) (status wire.Status, body []byte, refused bool) {
	e, d := from.Event(q.Event), s.departures[q.Event]
	now := e.Now(from.stamp)
	switch {
	case e.hash() != o.Hash:
		status, body = s.text(wire.StatusExists, "the staged event, which has seen the entries up to %d, is not the one to be adopted", from.index)
	case o.Now < now || o.Now > lastTime:
		status, body = s.text(wire.StatusBadRequest, "the event's time is to go on from %d, and it has got to %d", o.Now, now)
	case e.epoch == math.MaxUint16:
		status, body = s.text(wire.StatusTooLarge, "the event has had %d epochs, which are all there are", e.epoch)
	case q.event != nil && q.event.digest != e.digest, d != nil && d.digest != e.digest:
		status, body = s.text(wire.StatusExists, "the event exists with another manifest")
	default:
		return 0, nil, false
	}
	return status, body, true
}

// settleIn makes an event that comes from elsewhere this shard's own, in the place
// of a copy from an earlier move. Holds keep their fences, which are of other
// epochs than all grants to come.
func (s *Shard) settleIn(q *request, e *Event, o *wire.Adopt) {
	e.epoch = max(o.Epoch, e.epoch+1)
	if old := q.event; old != nil {
		if old.epoch < math.MaxUint16 {
			e.epoch = max(e.epoch, old.epoch+1)
		}
		s.removeEvent(old)
	}
	delete(s.creations, q.Event)
	delete(s.departures, q.Event)
	e.journey = journey{least: o.Number + 1, adopted: o.Number, origin: o.Hash}
	e.skew.Store(int64(o.Now - s.stamp))
	e.stopped.Store(notStopped)
	e.ring.Store(nil) // nobody can go on from a version of another epoch
	e.due, e.at, e.settled = wire.Never, 0, 0
	e.created, e.changed, e.loadedAt, e.encoded = s.index, s.index, 0, false
	e.renewPages(s.index)
	s.addEvent(e)
	s.touch(e)
}
