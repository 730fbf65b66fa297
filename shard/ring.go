package shard

import (
	"math/bits"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

const leastChanges = 256 // entries that a ring begins with

// A ring has the latest changes of an event's seats, one word each:
//
//	version's counter<<28 | seat<<4 | from<<2 | to
//
// of the counter the low 36 bits. The applier writes; readers on any goroutine
// copy and then look whether they were overtaken: entries from claimed-len on may
// be half written. It grows by being replaced. Not part of the replicated state:
// a ring begins empty when an event is loaded.
type ring struct {
	slots   []atomic.Uint64 // a power of two
	from    uint64          // entries before this one were never there
	base    uint64          // the version's counter that the ring begins after
	claimed atomic.Uint64   // entries begun
	done    atomic.Uint64   // entries complete

	next uint64 // applier only: entries written
}

const (
	stateBits = 2
	seatBits  = 24
	entryBits = seatBits + 2*stateBits
)

// ringFor is a ring with room for n more changes: the one there is, unless it is
// full and may grow.
func (e *Event) ringFor(n int) *ring {
	r := e.ring.Load()
	if r != nil && (r.next-r.from+uint64(n) <= uint64(len(r.slots)) || len(r.slots) >= e.maxRing) {
		return r
	}
	return e.growRing(r, n)
}

// ringLimit is how many changes an event of so many seats remembers, if it may
// remember most: after a quarter of the seats have changed, the map is shorter
// than the list. The largest operation always fits.
func ringLimit(seats, most int) int {
	return max(ceilPower(min(seats/4, most)), wire.MaxOpSeats)
}

func ceilPower(n int) int { return 1 << bits.Len(uint(max(n, 1)-1)) }

func (e *Event) growRing(old *ring, n int) *ring {
	r := &ring{base: e.counter}
	size := leastChanges
	if old != nil {
		r.from, r.base, r.next = old.from, old.base, old.next
		size = 2 * len(old.slots)
	}
	r.slots = make([]atomic.Uint64, min(max(size, ceilPower(int(r.next-r.from)+n)), e.maxRing))
	for i := r.from; i < r.next; i++ {
		r.slot(i).Store(old.slot(i).Load())
	}
	r.claimed.Store(r.next)
	r.done.Store(r.next)
	e.ring.Store(r)
	return r
}

func (r *ring) slot(i uint64) *atomic.Uint64 { return &r.slots[i&uint64(len(r.slots)-1)] }

func (r *ring) claim(n int) { r.claimed.Store(r.next + uint64(n)) }

// add enters a change of all seats of a spot.
func (r *ring) add(version uint64, p spot, from, to wire.SeatState) {
	entry := version<<entryBits | uint64(p.word)*wordBits<<(2*stateBits) | uint64(from)<<stateBits | uint64(to)
	for mask := p.mask; mask != 0; mask &= mask - 1 {
		seat := uint64(bits.TrailingZeros64(mask))
		r.slots[r.next&uint64(len(r.slots)-1)].Store(entry | seat<<(2*stateBits))
		r.next++
	}
}

func (r *ring) publish() { r.done.Store(r.next) }

// counterOf is an entry's version counter in full, given one that is less than
// 2^35 away.
func counterOf(entry, near uint64) uint64 {
	away := int64((entry>>entryBits-near)<<entryBits) >> entryBits
	return near + uint64(away)
}

// since appends to dst the changes after the version of e whose counter is given,
// which is at most 2^34 behind, and tells the counter of the version they lead
// to. ok is false if the ring does not have them all. Any goroutine.
func (r *ring) since(e *Event, counter uint64, dst []byte) (_ []byte, upTo uint64, ok bool) {
	start := len(dst)
	done := r.done.Load()
	oldest := r.oldest()
	if done <= oldest {
		return dst, counter, done == r.from && counter == r.base
	}
	upTo = counterOf(r.slot(done-1).Load(), counter)
	first := oldest + uint64(sort.Search(int(done-oldest), func(i int) bool {
		return counterOf(r.slot(oldest+uint64(i)).Load(), counter) > counter
	}))
	if first == oldest && (oldest > r.from || counter < r.base) {
		return dst, upTo, false // what came before first may be missing
	}
	dst = slices.Grow(dst, int(done-first)*wire.ChangeSize)
	for i := first; i < done; i++ {
		v := r.slot(i).Load()
		dst = wire.AppendChange(dst, wire.Change{
			Version: e.version(counterOf(v, counter)),
			Seat:    wire.SeatID(v >> (2 * stateBits) & (1<<seatBits - 1)),
			From:    wire.SeatState(v >> stateBits & (1<<stateBits - 1)),
			To:      wire.SeatState(v & (1<<stateBits - 1)),
		})
	}
	// An entry that was overwritten meanwhile looked newer than all that is asked
	// for, so the search ended on it or before it.
	if first < r.oldest() {
		return dst[:start], upTo, false
	}
	return dst, max(upTo, counter), true
}

// oldest is the first entry that is not being overwritten.
func (r *ring) oldest() uint64 {
	if claimed, size := r.claimed.Load(), uint64(len(r.slots)); claimed > size {
		return max(r.from, claimed-size)
	}
	return r.from
}
