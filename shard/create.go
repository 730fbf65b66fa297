package shard

import (
	"bytes"
	"crypto/sha256"
	"hash"

	"github.com/usher-seats/usher/wire"
)

// maxEventID leaves room for the parts of an event; see manifestPart.
const maxEventID = 1<<eventBits - 1

// A creation is an event whose manifest is coming chunk by chunk. If nobody goes
// on with it for a retry window it is given up. Owned by the applier.
type creation struct {
	digest  [32]byte
	total   uint32
	bytes   []byte      // of the manifest so far
	sum     hash.Hash   // of bytes
	touched wire.Millis // shard time when the last chunk came
	changed uint64      // entry, as of an Event
}

// A deletion is an event that was. It is remembered for ever, in a few dozen
// bytes, so that a creation which was delayed on its way cannot bring the event
// back; the directory never issues an id twice. Owned by the applier.
type deletion struct {
	id      wire.ID // of the request that did it
	changed uint64  // entry, as of an Event
}

// decideLife decides about the life of an event as such.
func (s *Shard) decideLife(q *request) (wire.Status, []byte) {
	c, d := s.creations[q.Event], s.deletions[q.Event]
	switch {
	case s.contained(q.Event):
		return wire.StatusUnknown, nil // nobody waits for it
	case s.away(q.Event, q.event):
		return wire.StatusMoved, nil
	}
	if q.kind == wire.KindDelete {
		return s.delete(q, c, d)
	}
	return s.create(q, c, d)
}

// create takes a chunk of a manifest. An event has one content, named by its
// digest, so a creation needs no memory of ids: every chunk can be repeated.
func (s *Shard) create(q *request, c *creation, d *deletion) (wire.Status, []byte) {
	var o wire.Create
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if !q.ID.Valid() {
		return s.invalidID()
	}
	piece := chunk{"manifest", o.Offset, o.Total, wire.MaxAnswerBody, o.Chunk}
	if status, body, bad := s.badChunk(q, &piece); bad {
		return status, body
	}
	switch {
	case d != nil:
		return wire.StatusUnknownEvent, nil
	case q.event != nil && q.event.digest == o.Digest:
		return wire.StatusOK, nil
	case q.event != nil:
		return s.text(wire.StatusExists, "the event exists with another manifest")
	case s.late(q):
		return s.clock(wire.StatusLate)
	}
	return s.addChunk(q, c, &o)
}

// A chunk is a piece of something that comes in several operations.
type chunk struct {
	what        string
	from, total uint32
	most        uint32 // bytes that the whole may have
	bytes       []byte
}

// badChunk refuses chunks that cannot be part of anything.
func (s *Shard) badChunk(q *request, c *chunk) (status wire.Status, body []byte, bad bool) {
	end := uint64(c.from) + uint64(len(c.bytes))
	switch {
	case q.Event == 0 || q.Event > maxEventID:
		status, body = s.text(wire.StatusBadRequest, "%d is no event id", q.Event)
	case len(c.bytes) == 0 || len(c.bytes) > wire.MaxChunk:
		status, body = s.text(wire.StatusBadRequest, "the chunk has %d bytes; it must have 1 to %d", len(c.bytes), wire.MaxChunk)
	case c.total > c.most:
		status, body = s.text(wire.StatusBadRequest, "the %s has %d bytes; it may have at most %d", c.what, c.total, c.most)
	case end > uint64(c.total):
		status, body = s.text(wire.StatusBadRequest, "the chunk ends at byte %d of %d", end, c.total)
	default:
		return 0, nil, false
	}
	return status, body, true
}

// addChunk adds a chunk to an event that is being created, and makes the event
// when all have come. A first chunk of another manifest begins again: then a
// replica that was restored without the creation does the same as one that had it.
func (s *Shard) addChunk(q *request, c *creation, o *wire.Create) (wire.Status, []byte) {
	switch {
	case o.Offset == 0 && (c == nil || c.digest != o.Digest || c.total != o.Total):
		c = &creation{digest: o.Digest, total: o.Total, sum: sha256.New()}
		s.creations[q.Event] = c
	case c == nil:
		return s.text(wire.StatusBadRequest, "the chunk begins at byte %d and those before it are not here; begin at 0", o.Offset)
	case c.digest != o.Digest || c.total != o.Total:
		return s.text(wire.StatusExists, "the event is being created with another manifest")
	case int(o.Offset) > len(c.bytes):
		return s.text(wire.StatusBadRequest, "the chunk begins at byte %d; the next is %d", o.Offset, len(c.bytes))
	}
	c.changed = s.index
	c.touched = s.stamp
	s.sweep()
	if have := len(c.bytes); int(o.Offset)+len(o.Chunk) > have {
		part := o.Chunk[have-int(o.Offset):]
		c.bytes = append(c.bytes, part...)
		c.sum.Write(part)
	}
	if len(c.bytes) < int(c.total) {
		return wire.StatusOK, nil
	}
	return s.finish(q.Event, c)
}

// finish makes the event of a complete manifest.
func (s *Shard) finish(id wire.EventID, c *creation) (wire.Status, []byte) {
	delete(s.creations, id)
	s.vanished(id)
	s.sweep()
	if [32]byte(c.sum.Sum(nil)) != c.digest {
		return s.text(wire.StatusBadRequest, "the manifest is not the one that its digest names")
	}
	m, err := wire.DecodeManifest(c.bytes)
	if err != nil {
		return s.malformed(err)
	}
	e := s.newEvent(id, bytes.Clone(c.bytes), m)
	e.created, e.changed = s.index, s.index
	s.addEvent(e)
	return wire.StatusOK, nil
}

// delete ends an event, or its creation.
func (s *Shard) delete(q *request, c *creation, d *deletion) (wire.Status, []byte) {
	var o wire.EventOp
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	switch {
	case !q.ID.Valid():
		return s.invalidID()
	case d != nil && d.id == q.ID:
		return wire.StatusOK, nil
	case q.event != nil:
		if status, body, done := s.admit(q); done {
			return status, body
		}
		s.removeEvent(q.event)
	case c == nil:
		return wire.StatusUnknownEvent, nil
	case s.late(q):
		return s.clock(wire.StatusLate)
	}
	delete(s.creations, q.Event)
	delete(s.stages, q.Event)
	s.sweep()
	s.deletions[q.Event] = &deletion{id: q.ID, changed: s.index}
	return wire.StatusOK, nil
}
