package shard

import (
	"math/bits"
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

// A ref names a hold, or with memoRef a memo, of an event.
type ref = uint32

const memoRef ref = 1 << 31

const (
	leastIDs = 64 // slots of an id table

	// A table grows beyond growAt/growOf full and shrinks below shrinkAt/growOf.
	growAt   = 5
	growOf   = 8
	shrinkAt = 1
)

// An idTable finds what an event remembers by the id of a request. It is open
// addressing with linear probing over words of
//
//	fingerprint<<32 | ref
//
// where the fingerprint is the high half of the id's hash and its top bits are
// the word's home. The applier writes, and checks the whole id in the record that
// the ref names. Readers on any goroutine ask only whether an id was ever seen;
// an equal fingerprint is enough for them.
//
// Nothing is ever marked deleted: removing an entry moves the ones behind it
// forward. moves is odd meanwhile, so that a reader who walked past an entry on
// the move learns of it.
//
// A table that has become too small or too large is replaced, and from then on
// never written again. So a reader may use one that was replaced: it has all
// that had been inserted when the reader loaded the pointer.
type idTable struct {
	slots []atomic.Uint64
	shift uint8 // 32 - log2(len(slots))
	moves atomic.Uint64

	// count changes with every operation, so it keeps off the line that readers
	// use. Applier only.
	_     [cacheLine]byte
	count int
}

func newIDTable(entries int) *idTable {
	size := leastIDs
	for size*growAt < entries*growOf {
		size *= 2
	}
	return &idTable{
		slots: make([]atomic.Uint64, size),
		shift: uint8(32 - bits.TrailingZeros(uint(size))),
	}
}

func fingerprint(id *wire.ID) uint32 { return uint32(id.Hash() >> 32) }

// seen reports whether the table has an entry with the fingerprint. Any
// goroutine. It may say yes wrongly, and never says no of an entry that was
// inserted before the call and is not removed.
func (t *idTable) seen(fp uint32) bool {
	before := t.moves.Load()
	mask := uint32(len(t.slots) - 1)
	for at := fp >> t.shift; ; at = (at + 1) & mask {
		v := t.slots[at&mask].Load()
		if v == 0 {
			return before&1 != 0 || t.moves.Load() != before
		}
		if uint32(v>>32) == fp {
			return true
		}
	}
}

// insert adds an entry. The table must have room.
func (t *idTable) insert(fp uint32, r ref) {
	mask := uint32(len(t.slots) - 1)
	at := fp >> t.shift & mask
	for t.slots[at].Load() != 0 {
		at = (at + 1) & mask
	}
	t.slots[at].Store(uint64(fp)<<32 | uint64(r))
	t.count++
}

// remove takes an entry out, which must be there, and closes the gap: whatever
// stands behind it and is not at home before the gap moves into it.
func (t *idTable) remove(fp uint32, r ref) {
	mask := uint32(len(t.slots) - 1)
	gap := fp >> t.shift & mask
	for want := uint64(fp)<<32 | uint64(r); ; gap = (gap + 1) & mask {
		v := t.slots[gap].Load()
		if v == want {
			break
		}
		if v == 0 {
			panic("shard: an id to be forgotten is not in the table")
		}
	}
	moved := false
	for at := (gap + 1) & mask; ; at = (at + 1) & mask {
		v := t.slots[at].Load()
		if v == 0 {
			break
		}
		home := uint32(v>>32) >> t.shift & mask
		if (at-home)&mask < (at-gap)&mask {
			continue
		}
		if !moved {
			moved = true
			t.moves.Add(1)
		}
		t.slots[gap].Store(v)
		gap = at
	}
	t.slots[gap].Store(0)
	if moved {
		t.moves.Add(1)
	}
	t.count--
}

// resized is a table for entries entries with all of t's. An entry's home is made
// of the top bits of its fingerprint, so both tables are gone through in order.
func (t *idTable) resized(entries int) *idTable {
	to := newIDTable(entries)
	for i := range t.slots {
		if v := t.slots[i].Load(); v != 0 {
			to.insert(uint32(v>>32), ref(v))
		}
	}
	return to
}

// lookup finds what the event remembers of id. Applier only.
func (e *Event) lookup(id *wire.ID, fp uint32) ref {
	t := e.table
	mask := uint32(len(t.slots) - 1)
	for at := fp >> t.shift; ; at = (at + 1) & mask {
		v := t.slots[at&mask].Load()
		if v == 0 {
			return none
		}
		if uint32(v>>32) == fp && *e.idOf(ref(v)) == *id {
			return ref(v)
		}
	}
}

func (e *Event) idOf(r ref) *wire.ID {
	if r&memoRef != 0 {
		return &e.memos.at(r &^ memoRef).id
	}
	return &e.holds.at(r).id
}

// enter publishes that an id is known. For a hold this comes before its seats'
// bits: whoever sees a bit that a request has set also finds the request's id.
func (e *Event) enter(fp uint32, r ref) {
	if t := e.table; (t.count+1)*growOf > len(t.slots)*growAt {
		e.setTable(t.resized(2 * t.count))
	}
	e.table.insert(fp, r)
}

// leave takes an id out, after the floor has been raised to it.
func (e *Event) leave(fp uint32, r ref) {
	e.table.remove(fp, r)
	if t := e.table; len(t.slots) > leastIDs && t.count*growOf < len(t.slots)*shrinkAt {
		e.setTable(t.resized(2 * t.count))
	}
}

func (e *Event) setTable(t *idTable) {
	e.table = t
	e.ids.Store(t)
}

// everSeen reports whether a request with this id may have been decided before.
// Any goroutine; for a reader who has already looked at seats.
//
// A request that was granted had its id in the table before its bits were set, so
// a reader who saw such a bit and loads the pointer after that finds a table with
// the id in it: the one it was inserted into, or a later one, which has all
// entries of the one before. Unless the id has been forgotten meanwhile; then, if
// it has a time, the floor had been raised to it before it left the table, and
// the floor is looked at last. Ids without a time have no floor: those are safe
// to repeat only within the window, which is what they promise.
func (e *Event) everSeen(id *wire.ID) bool {
	if e.ids.Load().seen(fingerprint(id)) {
		return true
	}
	t, timed := id.Time()
	return timed && t <= wire.Millis(e.floor.Load())
}
