package shard

import (
	"encoding/binary"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// A snapshot has two parts for each event: its manifest, which never changes, and
// its state; and one for each full page of visitors of its waiting room, which
// never changes either. All numbers are little-endian; lengths are in bytes.
//
//	manifest:  u8 format, u64 entry that made the event, encoded manifest
//	state:     u8 format, u8 form, u64 entry encoded at, u64 entry changed at,
//	           u32 length, stage, …
//	page:      u8 format, u64 room, u64 entry that filled it, fingerprints
//
// State has everything that the shard has under an id, because an entry can make
// one thing of another: it comes in the form of an event, one that is being
// created, one that was deleted, one that has left, and nothing; and with each but
// the deletion there may be a stage, in which an event is about to arrive. The
// manifest of an event is in its state too, until it has been encoded once as a
// part of its own: an event that is not there yet when a snapshot begins has no
// such part, and may be there when its turn comes. The same is true of pages.
//
//	stage:     u64 number, u64 attempt, u64 touched, u32 total, u8 complete,
//	           the first bytes of an image; if complete, an image
//
// Id 0, which no event has, is that of the berths.
//
// What is derived is left out: planes other than blocked, wheel, id table,
// counts of buyers, indexes, change ring.
const partFormat = 4

// Forms of state.
const (
	formNothing   = 0
	formEvent     = 1
	formCreation  = 2
	formDeletion  = 3
	formDeparture = 4
)

const berthsPart = 0

// A part is numbered by the page, from 1, or 0 for what is no page; the event; and
// whether it is the event's state.
const (
	eventBits = 48
	pageAt    = eventBits + 1
)

func manifestPart(id wire.EventID) uint64 { return uint64(id) << 1 }
func statePart(id wire.EventID) uint64    { return uint64(id)<<1 | 1 }

func pagePart(id wire.EventID, page int) uint64 { return uint64(page+1)<<pageAt | uint64(id)<<1 }

// splitPart says what is in a part: the event's state, a page of visitors if page
// is not negative, or else the event's manifest.
func splitPart(part uint64) (id wire.EventID, page int, state bool) {
	return wire.EventID(part >> 1 & maxEventID), int(part>>pageAt) - 1, part&1 != 0
}

// Parts yields the parts of a snapshot and the entry that last changed each. It
// begins a snapshot: whoever then encodes the parts is still given what is needed
// of events that went meanwhile, but not any more after the next call.
func (s *Shard) Parts(yield func(id, changed uint64)) {
	s.Events(func(e *Event) bool {
		yield(manifestPart(e.id), e.created)
		yield(statePart(e.id), s.under(e.id).changed())
		if e.room != nil {
			for page := range e.room.visitors.fullPages() {
				yield(pagePart(e.id, page), e.room.visitors.pages[page].filled)
			}
		}
		return true
	})
	for id := range s.creations {
		yield(statePart(id), s.under(id).changed())
	}
	for id, d := range s.deletions {
		yield(statePart(id), d.changed)
	}
	for id := range s.departures {
		yield(statePart(id), s.under(id).changed())
	}
	for id, st := range s.stages {
		if s.under(id).form() == formNothing {
			yield(statePart(id), st.changed)
		}
	}
	clear(s.leftovers)
	clear(s.leftPages)
	s.berths.picture = s.berths.picture[:0]
	if len(s.berths.of) > 0 {
		s.berths.picture = s.berths.append(s.berths.picture)
		yield(berthsPart, s.berths.changed)
	}
}

// EncodePart appends a part as of now. ok is false if there is no such part, or
// no longer.
func (s *Shard) EncodePart(dst []byte, part uint64) (data []byte, ok bool) {
	id, page, state := splitPart(part)
	switch {
	case part == berthsPart:
		return append(dst, s.berths.picture...), len(s.berths.picture) > 0
	case page >= 0:
		return s.encodePage(dst, part)
	case state:
		return s.encodeState(dst, id)
	default:
		return s.encodeManifest(dst, id)
	}
}

// encodePage prefers the page of a room that has ended since the snapshot began:
// the state of the one after has its own pages with it.
func (s *Shard) encodePage(dst []byte, part uint64) (data []byte, ok bool) {
	if p := s.leftPages[part]; p != nil {
		return p.append(dst), true
	}
	id, page, _ := splitPart(part)
	p := s.find(id).pageOf(page)
	if p == nil {
		return dst, false
	}
	p.encoded = true
	return p.append(dst), true
}

func (s *Shard) encodeManifest(dst []byte, id wire.EventID) (data []byte, ok bool) {
	if e := s.find(id); e != nil {
		e.encoded = true
		return appendManifestPart(dst, e.created, e.manifest), true
	}
	if l := s.leftovers[id]; l.manifest != nil {
		return appendManifestPart(dst, l.created, l.manifest), true
	}
	return dst, false
}

func (s *Shard) encodeState(dst []byte, id wire.EventID) (data []byte, ok bool) {
	b := s.under(id)
	form := b.form()
	if _, left := s.leftovers[id]; form == formNothing && b.stage == nil && !left {
		return dst, false
	}
	dst = s.appendHeader(dst, id, form, b.changed())
	dst = appendCounted(dst, func(dst []byte) []byte { return b.stage.append(dst, id) })
	switch form {
	case formEvent:
		manifest := b.event.manifest
		if b.event.encoded {
			manifest = nil
		}
		dst = b.event.appendState(dst, manifest, false)
	case formCreation:
		dst = b.creation.append(dst)
	case formDeletion:
		dst = append(dst, b.deletion.id[:]...)
	case formDeparture:
		dst = b.departure.append(dst)
	}
	return dst, true
}

// PartSize is about the length of a part, rather more than less; 0 if there is no
// such part.
func (s *Shard) PartSize(part uint64) int {
	const heads = 192 // all but what can be long
	id, page, state := splitPart(part)
	if page >= 0 {
		return s.pageSize(part)
	}
	b := s.under(id)
	switch l, left := s.leftovers[id]; {
	case part == berthsPart:
		return len(s.berths.picture)
	case !state && b.event != nil:
		return heads + len(b.event.manifest)
	case !state && l.manifest != nil:
		return heads + len(l.manifest)
	case !state, b == belongings{} && !left:
		return 0
	}
	n := heads
	if b.event != nil {
		n += len(b.event.manifest) + b.event.stateBound(false)
	}
	if b.creation != nil {
		n += len(b.creation.bytes)
	}
	if b.stage != nil {
		n += b.stage.size(id)
	}
	return n
}

func (s *Shard) pageSize(part uint64) int {
	const head = 32
	id, page, _ := splitPart(part)
	if s.leftPages[part] == nil && s.find(id).pageOf(page) == nil {
		return 0
	}
	return head + pageBytes
}

func appendManifestPart(dst []byte, created uint64, manifest []byte) []byte {
	dst = appendU64(append(dst, partFormat), created)
	return append(dst, manifest...)
}

// appendHeader begins a state. What was loaded from later than the latest entry is
// as of then.
func (s *Shard) appendHeader(dst []byte, id wire.EventID, form byte, changed uint64) []byte {
	dst = append(dst, partFormat, form)
	return appendU64(appendU64(dst, max(s.index, s.loaded[id])), changed)
}

func (c *creation) append(dst []byte) []byte {
	dst = append(dst, c.digest[:]...)
	dst = appendU32(dst, c.total)
	dst = appendU64(dst, uint64(c.touched))
	return append(dst, c.bytes...)
}

func (d *departure) append(dst []byte) []byte {
	dst = append(appendU64(dst, d.number), d.digest[:]...)
	return appendU64(dst, uint64(d.at))
}

// append appends the stage of an event, or nothing if there is none.
func (st *stage) append(dst []byte, id wire.EventID) []byte {
	if st == nil {
		return dst
	}
	dst = st.appendHead(dst)
	if st.shard == nil {
		return append(dst, st.bytes...)
	}
	dst, _ = st.shard.AppendImage(dst, id)
	return dst
}

func (st *stage) appendHead(dst []byte) []byte {
	dst = appendU64(appendU64(dst, st.number), st.attempt)
	dst = appendU32(appendU64(dst, uint64(st.touched)), st.total)
	if st.shard == nil {
		return append(dst, 0)
	}
	return append(dst, 1)
}

// size is about how much append appends, rather more than less.
func (st *stage) size(id wire.EventID) int {
	if st.shard == nil {
		return stageHead + len(st.bytes)
	}
	return stageHead + st.shard.PartSize(manifestPart(id)) + 256 + st.shard.Event(id).stateBound(true)
}

// appendState appends an event, with its manifest and pages of visitors if those are
// not parts of their own; with all pages if all is set.
// What forgets in order keeps its order; live holds and bookings come as they lie.
func (e *Event) appendState(b []byte, manifest []byte, all bool) []byte {
	// Nothing is applied meanwhile, and growing step by step takes five times as
	// long: 330 ms for 60 MB.
	b = slices.Grow(b, len(manifest)+e.stateBound(all))
	b = appendU32(b, uint32(len(manifest)))
	b = append(b, manifest...)
	b = appendU64(b, e.created)
	b = e.appendPlace(b)
	b = e.appendSettings(b)
	b = e.appendRoom(b, all)
	ended := 0
	for i := e.memory.holds.head; i != none; i = e.holds.at(i).next {
		ended++
	}
	b = appendU32(b, uint32(e.holds.size()-ended))
	b = appendU32(b, uint32(ended))
	b = appendU32(b, uint32(e.memory.count-ended))
	e.eachHold(func(i uint32, h *hold) { b = e.appendHold(b, i, h) })
	for i := e.memory.memos.head; i != none; {
		m := e.memos.at(i)
		b = e.appendMemo(b, m)
		i = m.next
	}
	return b
}

// stateBound is no less than what appendState appends beside the manifest, and
// little more.
func (e *Event) stateBound(all bool) int {
	const heads = 1024 // counts and rules, names and keys of channels
	planes := 8 * len(e.blocked) * (1 + len(e.channels.list))
	return heads + wire.MaxChannels*(wire.MaxKeyLen+9) + planes +
		e.roomBound(all) + 8*min(len(e.passOf), e.holds.size()) +
		e.holds.size()*(holdSize+1+4*inlineSeats) + e.memos.size()*memoSize + 4*e.lists.numbers()
}

// appendPlace appends what belongs to the event's life in this shard and does not
// go with it to another.
func (e *Event) appendPlace(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, e.epoch)
	b = appendU64(appendU64(b, uint64(e.skew.Load())), uint64(e.stopped.Load()))
	j := &e.journey
	b = appendU64(appendU64(appendU64(b, j.least), j.adopted), j.origin)
	return appendU64(appendU64(appendU64(b, j.frozen), j.index), j.hash)
}

// appendSettings appends all else of an event that is neither hold nor memo.
func (e *Event) appendSettings(b []byte) []byte {
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
	stageHead = 29  // of an encoded stage without its image
	rulesSize = 33  // of encoded rules
	holdSize  = 104 // of an encoded hold without its seats
	memoSize  = 45  // of an encoded memo without its list
)

func (e *Event) appendHold(b []byte, i uint32, h *hold) []byte {
	flags, pass := h.flags, e.passOn(i)
	if pass != 0 {
		flags |= holdPassed
	}
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
	b = append(b, h.n, byte(h.state), byte(flags), h.extensions)
	b = appendSeatIDs(b, e.seatsOf(h))
	if h.flags&holdMoved != 0 {
		b = append(b, byte(h.seats[2]))
		b = appendSeatIDs(b, e.lists.at(h.seats[1], int(h.seats[2])))
	}
	if pass != 0 {
		b = appendU64(b, uint64(pass))
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
