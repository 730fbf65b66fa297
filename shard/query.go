package shard

import (
	"encoding/binary"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// Read answers a read that has its place in the log, after all that was applied:
// a hold, a place in a waiting room, or whatever Query answers. Of an event that is frozen or has left, it
// says so.
func (s *Shard) Read(q wire.Record, out func(status wire.Status, body []byte)) {
	switch id, ok := readOf(q); {
	case ok && s.away(id, s.find(id)):
		out(wire.StatusMoved, nil)
	case q.Kind == wire.KindGetHold:
		out(s.getHold(q.Body))
	case q.Kind == wire.KindFindPlace:
		out(s.findPlace(q.Body))
	default:
		out(s.Query(q, s.stamp, nil))
	}
}

// readOf is the event that a read is about.
func readOf(q wire.Record) (id wire.EventID, ok bool) {
	switch q.Kind {
	case wire.KindEvent, wire.KindManifest, wire.KindMap, wire.KindChanges, wire.KindQueue, wire.KindGetHold, wire.KindFindPlace:
		if len(q.Body) >= 8 {
			return wire.EventID(binary.LittleEndian.Uint64(q.Body)), true
		}
	}
	return 0, false
}

func (s *Shard) getHold(body []byte) (wire.Status, []byte) {
	var ref wire.HoldRef
	if err := ref.Decode(body); err != nil {
		return s.malformed(err)
	}
	if !ref.ID.Valid() {
		return s.invalidID()
	}
	e := s.find(ref.Event)
	if e == nil {
		return wire.StatusUnknownEvent, nil
	}
	s.now = e.Now(s.stamp)
	_, h := e.holdByID(&ref.ID)
	if h == nil {
		return s.unknownHold(e, &ref.ID)
	}
	info := wire.HoldInfo{
		State: h.state, Reacquired: h.flags&holdReacquired != 0, Extensions: h.extensions,
		Fence: h.fence, Now: s.now, Buyer: h.buyer,
	}
	held := uint64(0)
	if h.live() {
		info.Deadline = h.deadline
		held = h.held
	}
	b := info.Append(s.buf[:0])
	b = e.appendSeatsOf(b[:len(b)-4], h, held) // over the counts of the two empty lists
	return s.reply(wire.StatusOK, e.appendSeatsOf(b, h, h.booked))
}

// Query answers reads that need no place in the log: KindEvent, KindManifest,
// KindMap, KindChanges and KindQueue. Each answer is consistent in itself and has the version
// it is of. Any goroutine; shard is the shard time at which it asks. The body is
// appended to dst.
func (s *Shard) Query(r wire.Record, shard wire.Millis, dst []byte) (wire.Status, []byte) {
	q := wire.ChangesQuery{}
	var err error
	switch r.Kind {
	case wire.KindEvent, wire.KindManifest, wire.KindMap, wire.KindQueue:
		var ref wire.EventRef
		err = ref.Decode(r.Body)
		q.Event = ref.Event
	case wire.KindChanges:
		err = q.Decode(r.Body)
	default:
		return wire.StatusUnknownKind, append(dst, "this is no read that a shard answers"...)
	}
	if err != nil {
		return wire.StatusBadRequest, append(dst, err.Error()...)
	}
	e := s.Event(q.Event)
	if e == nil {
		return wire.StatusUnknownEvent, dst
	}
	start := len(dst)
	now := e.Now(shard)
	switch r.Kind {
	case wire.KindEvent:
		dst = s.appendInfo(dst, e, now)
	case wire.KindManifest:
		dst = append(dst, e.manifest...)
	case wire.KindMap:
		dst = s.appendMap(dst, e, now)
	case wire.KindQueue:
		dst = s.appendQueue(dst, e, now)
	default:
		dst = e.appendChanges(dst, q.Since)
	}
	if !e.Live() {
		return wire.StatusUnknownEvent, dst[:start]
	}
	return wire.StatusOK, dst
}

func (s *Shard) appendInfo(dst []byte, e *Event, now wire.Millis) []byte {
	p := s.copyPlanes(e)
	defer s.copies.Put(p)
	info := wire.EventInfo{
		Version: e.version(p.counter), Now: now, Sale: e.Sale(), Rules: e.Rules(), Channels: *e.names.Load(),
	}
	e.lay.counts(p.taken, p.booked, p.blocked, &info)
	return info.Append(dst)
}

// appendMap appends the whole map: two words for each 64 seats, the low and the
// high bits of their states.
func (s *Shard) appendMap(dst []byte, e *Event, now wire.Millis) []byte {
	p := s.copyPlanes(e)
	defer s.copies.Put(p)
	m := wire.SeatMap{Version: e.version(p.counter), Now: now}
	dst = m.Append(slices.Grow(dst, 20+16*len(p.taken)))
	binary.LittleEndian.PutUint32(dst[len(dst)-4:], uint32(len(p.taken)))
	for w, taken := range p.taken {
		dst = appendU64(dst, taken&^p.booked[w])
		dst = appendU64(dst, p.booked[w]|p.blocked[w])
	}
	return dst
}

// maxBehind is how many versions a reader may be behind and still be told what
// changed. A ring remembers fewer.
const maxBehind = 1 << 30

// appendChanges appends what changed after a version, or that the reader has to
// read the whole map.
func (e *Event) appendChanges(dst []byte, since wire.Version) []byte {
	const header = 8 + 1 + 4
	start := len(dst)
	r := e.ring.Load() // before the version: no ring then says that nothing had changed
	now := e.seq.Load() >> 1
	c := wire.Changes{Version: e.version(now)}
	behind := now - since.Counter()
	ok := since.Epoch() == e.epoch && since.Counter() <= now && behind <= maxBehind
	switch {
	case ok && r != nil:
		var upTo uint64
		dst = c.Append(dst)
		if dst, upTo, ok = r.since(e, since.Counter(), dst); ok {
			binary.LittleEndian.PutUint64(dst[start:], uint64(e.version(upTo)))
			binary.LittleEndian.PutUint32(dst[start+9:], uint32((len(dst)-start-header)/wire.ChangeSize))
			return dst
		}
	case ok && behind == 0:
		return c.Append(dst)
	}
	c.Resync = true
	return c.Append(dst[:start])
}
