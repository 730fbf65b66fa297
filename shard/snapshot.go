package shard

import (
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

// A snapshot has two parts for each event: its manifest, which never changes, and
// its state. All numbers are little-endian; lengths are in bytes.
//
//	manifest:  u8 format, u64 entry that made the event, encoded manifest
//	state:     u8 format, u8 form, u64 entry encoded at, u64 entry changed at, …
//
// State comes in three forms: an event, one that is being created, and one that
// was deleted. The manifest of an event is in its state too, until it has been
// encoded once as a part of its own: an event that is not there yet when a
// snapshot begins has no such part, and may be there when its turn comes.
//
// What is derived is left out: planes other than blocked, wheel, id table,
// counts of buyers, indexes, change ring.
const partFormat = 1

// Forms of state.
const (
	formEvent    = 1
	formCreation = 2
	formDeletion = 3
)

func manifestPart(id wire.EventID) uint64 { return uint64(id) << 1 }
func statePart(id wire.EventID) uint64    { return uint64(id)<<1 | 1 }

// Parts yields the parts of a snapshot and the entry that last changed each. It
// begins a snapshot: whoever then encodes the parts may be given parts of events
// that were deleted meanwhile, but not any more after the next call.
func (s *Shard) Parts(yield func(id, changed uint64)) {
	s.Events(func(e *Event) bool {
		yield(manifestPart(e.id), e.created)
		yield(statePart(e.id), e.changed)
		return true
	})
	for id, c := range s.creations {
		yield(statePart(id), c.changed)
	}
	for id, d := range s.deletions {
		yield(statePart(id), d.changed)
	}
	for _, d := range s.fresh {
		d.manifest = nil
	}
	s.fresh = s.fresh[:0]
}

// EncodePart appends a part as of now. ok is false if there is no such part, or
// no longer.
func (s *Shard) EncodePart(dst []byte, part uint64) (data []byte, ok bool) {
	id := wire.EventID(part >> 1)
	e, c, d := s.find(id), s.creations[id], s.deletions[id]
	switch {
	case part&1 == 0 && e != nil:
		e.encoded = true
		return appendManifestPart(dst, e.created, e.manifest), true
	case part&1 == 0 && d != nil && d.manifest != nil:
		return appendManifestPart(dst, d.created, d.manifest), true
	case part&1 == 0:
		return dst, false
	case e != nil:
		dst = s.appendHeader(dst, formEvent, e.changed)
		return e.appendState(dst), true
	case c != nil:
		dst = s.appendHeader(dst, formCreation, c.changed)
		return c.append(dst), true
	case d != nil:
		dst = s.appendHeader(dst, formDeletion, d.changed)
		return append(dst, d.id[:]...), true
	}
	return dst, false
}

// PartSize is about the length of a part, rather more than less; 0 if there is no
// such part.
func (s *Shard) PartSize(part uint64) int {
	const heads = 128 // all but what can be long
	id := wire.EventID(part >> 1)
	e, c, d := s.find(id), s.creations[id], s.deletions[id]
	switch {
	case part&1 == 0 && e != nil:
		return heads + len(e.manifest)
	case part&1 == 0 && d != nil:
		return heads + len(d.manifest)
	case part&1 == 0:
		return 0
	case e != nil:
		return heads + len(e.manifest) + e.stateBound()
	case c != nil:
		return heads + len(c.bytes)
	case d != nil:
		return heads
	}
	return 0
}

func appendManifestPart(dst []byte, created uint64, manifest []byte) []byte {
	dst = appendU64(append(dst, partFormat), created)
	return append(dst, manifest...)
}

func (s *Shard) appendHeader(dst []byte, form byte, changed uint64) []byte {
	dst = append(dst, partFormat, form)
	return appendU64(appendU64(dst, s.index), changed)
}

func (c *creation) append(dst []byte) []byte {
	dst = append(dst, c.digest[:]...)
	dst = appendU32(dst, c.total)
	dst = appendU64(dst, uint64(c.touched))
	return append(dst, c.bytes...)
}

// appendState appends an event. What forgets in order keeps its order; live holds
// and bookings come as they lie.
func (e *Event) appendState(b []byte) []byte {
	manifest := e.manifest
	if e.encoded {
		manifest = nil
	}
	// Nothing is applied meanwhile, and growing step by step takes five times as
	// long: 330 ms for 60 MB.
	b = slices.Grow(b, len(manifest)+e.stateBound())
	b = appendU32(b, uint32(len(manifest)))
	b = append(b, manifest...)
	b = appendU64(b, e.created)
	b = e.appendSettings(b)
	ended := 0
	for i := e.memory.holds.head; i != none; i = e.holds.at(i).next {
		ended++
	}
	b = appendU32(b, uint32(e.holds.size()-ended))
	b = appendU32(b, uint32(ended))
	b = appendU32(b, uint32(e.memory.count-ended))
	e.eachHold(func(_ uint32, h *hold) { b = e.appendHold(b, h) })
	for i := e.memory.memos.head; i != none; {
		m := e.memos.at(i)
		b = e.appendMemo(b, m)
		i = m.next
	}
	return b
}

// stateBound is no less than what appendState appends beside the manifest, and
// little more.
func (e *Event) stateBound() int {
	const heads = 1024 // counts and rules, names and keys of channels
	planes := 8 * len(e.blocked) * (1 + len(e.channels.list))
	return heads + wire.MaxChannels*(wire.MaxKeyLen+9) + planes +
		e.holds.size()*(holdSize+1+4*inlineSeats) + e.memos.size()*memoSize + 4*e.lists.numbers()
}

// appendSettings appends all of an event that is neither hold nor memo.
func (e *Event) appendSettings(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, e.epoch)
	b = appendU64(b, e.counter)
	b = appendU64(b, uint64(e.floor.Load()))
	b = appendU64(b, uint64(e.wall))
	rules := wire.SetRules{Rules: e.rule}
	at := len(b)
	b = rules.Append(b)
	b = append(b[:at], b[at+wire.MutationSize:]...)
	b = append(b, byte(len(e.channels.list)))
	for i := range e.channels.list {
		c := &e.channels.list[i]
		b = append(append(b, byte(len(c.name))), c.name...)
		b = appendU64(b, uint64(c.key))
		for _, w := range c.plane {
			b = appendU64(b, w)
		}
	}
	for w := range e.blocked {
		b = appendU64(b, e.blocked[w].Load()&^e.lay.pad(w))
	}
	return b
}

const (
	rulesSize = 33  // of encoded rules
	holdSize  = 104 // of an encoded hold without its seats
	memoSize  = 45  // of an encoded memo without its list
)

func (e *Event) appendHold(b []byte, h *hold) []byte {
	b = append(b, h.id[:]...)
	b = appendU64(b, h.digest)
	b = appendU64(b, uint64(h.fence))
	b = appendU64(b, uint64(h.buyer))
	b = appendU64(b, h.held)
	b = appendU64(b, h.booked)
	b = appendU64(b, h.last)
	b = appendU64(b, uint64(h.granted))
	b = appendU64(b, uint64(h.deadline))
	b = appendU64(b, uint64(h.timed))
	b = appendU64(b, uint64(h.touched))
	b = appendU32(b, h.ttl)
	b = append(b, h.n, byte(h.state), byte(h.flags), h.extensions)
	b = appendSeatIDs(b, e.seatsOf(h))
	if h.flags&holdMoved != 0 {
		b = append(b, byte(h.seats[2]))
		b = appendSeatIDs(b, e.lists.at(h.seats[1], int(h.seats[2])))
	}
	return b
}

func (e *Event) appendMemo(b []byte, m *memo) []byte {
	b = append(b, m.id[:]...)
	b = appendU64(b, m.digest)
	b = appendU64(b, uint64(m.now))
	b = appendU64(b, m.mask)
	b = binary.LittleEndian.AppendUint16(b, m.n)
	b = append(b, m.status, byte(m.kind), byte(m.form))
	if m.n > 0 {
		b = appendSeatIDs(b, e.lists.at(m.list, int(m.n)))
	}
	return b
}

// Hash is the same on replicas with the same history, however they got there. It
// covers all that is replicated, and the order in which things will be forgotten.
// Not while Apply runs.
func (s *Shard) Hash() uint64 {
	var b []byte
	total := xxhash.Sum64(appendU64(nil, uint64(s.now)))
	s.Events(func(e *Event) bool {
		total += e.hash()
		return true
	})
	for id, c := range s.creations {
		b = c.append(append(appendU64(b[:0], uint64(id)), formCreation))
		total += xxhash.Sum64(b)
	}
	for id, d := range s.deletions {
		b = append(append(appendU64(b[:0], uint64(id)), formDeletion), d.id[:]...)
		total += xxhash.Sum64(b)
	}
	return total
}

func (e *Event) hash() uint64 {
	b := append(appendU64(nil, uint64(e.id)), formEvent)
	b = append(b, e.digest[:]...)
	total := xxhash.Sum64(e.appendSettings(b))
	ended := uint32(0)
	e.eachHold(func(_ uint32, h *hold) {
		place := uint32(0)
		if h.owned() == 0 {
			ended++
			place = ended
		}
		b = e.appendHold(appendU32(b[:0], place), h)
		total += xxhash.Sum64(b)
	})
	place := uint32(0)
	for i := e.memory.memos.head; i != none; {
		m := e.memos.at(i)
		place++
		b = e.appendMemo(appendU32(b[:0], place), m)
		total += xxhash.Sum64(b)
		i = m.next
	}
	// Mixed once more, or equal records of two events could change places.
	return xxhash.Sum64(appendU64(appendU64(b[:0], uint64(e.id)), total))
}
