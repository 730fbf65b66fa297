package shard

import (
	"github.com/usher-seats/usher/wire"
)

// A queueView is a waiting room as readers see it. It is immutable.
type queueView struct {
	info wire.QueueInfo // without the time
}

// publishQueue shows readers the room as it is at the end of an entry.
func (e *Event) publishQueue() {
	r := e.room
	if r == nil {
		if e.queue.Load() != nil {
			e.queue.Store(nil)
		}
		return
	}
	version := e.version(e.counter)
	free, held := e.tally[wire.SeatFree], e.tally[wire.SeatHeld]
	if v := e.queue.Load(); v != nil && v.info.Room == r.id && v.info.Step == r.step && v.info.Version == version {
		return
	}
	v := &queueView{wire.QueueInfo{
		Version: version, State: e.queueState(), Step: r.step, Room: r.id,
		Entries: r.entries, Issued: r.next, Serving: r.serving, LapsedTo: r.lapsedTo,
		Redeemed: r.redeemed, Lapsed: r.lapsed, Booked: r.booked,
		Inside: uint32(r.passes.len()), Outstanding: r.outstanding, Free: free, Held: held,
		EntriesOpen: !r.is(entriesClosed), Drawn: r.is(roomDrawn),
		Commitment: wire.Commitment(r.seed, r.config.Source), Config: r.config, Entropy: r.entropy,
	}}
	if r.is(roomDrawn) {
		v.info.Seed = r.seed
	}
	e.queue.Store(v)
}

// Queue is the event's waiting room as of the latest entry, without Now and Age.
// Whoever gets it must not change it. nil if there is none. Any goroutine.
func (e *Event) Queue() *wire.QueueInfo {
	if v := e.queue.Load(); v != nil {
		return &v.info
	}
	return nil
}

// roomWall is the first wall clock, from one on, at which entries close or the room
// opens and has not yet; wire.Never if there is none. Any goroutine.
func (e *Event) roomWall(from int64) int64 {
	next := int64(wire.Never)
	q := e.Queue()
	if q == nil {
		return next
	}
	if at := q.Config.Entries(); q.EntriesOpen && at >= from {
		next = at
	}
	if at := q.Config.OpensAt; q.State == wire.QueueBefore && at >= from {
		next = min(next, at)
	}
	return next
}

// appendQueue appends what everybody may know of the event's waiting room.
func (s *Shard) appendQueue(dst []byte, e *Event, now wire.Millis) []byte {
	if v := e.queue.Load(); v != nil {
		info := v.info
		info.Now = now
		return info.Append(dst)
	}
	p := s.copyPlanes(e)
	defer s.copies.Put(p)
	var counts wire.EventInfo
	e.lay.counts(p.taken, p.booked, p.blocked, &counts)
	info := wire.QueueInfo{Version: e.version(p.counter), Now: now, Free: counts.Total.Free, Held: counts.Total.Held}
	return info.Append(dst)
}

// findPlace answers where a number is.
func (s *Shard) findPlace(body []byte) (wire.Status, []byte) {
	var ref wire.PlaceRef
	if err := ref.Decode(body); err != nil {
		return s.malformed(err)
	}
	e := s.find(ref.Event)
	if _, _, status, body, ok := s.numberOf(e, ref.Room, ref.Number); !ok {
		return status, body
	}
	s.now = e.Now(s.stamp)
	p := s.placeOf(e, ref.Number)
	return s.reply(wire.StatusOK, p.Append(s.buf[:0]))
}
