package shard

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/usher-seats/usher/wire"
)

const (
	maxStages = 64                // stages of a shard
	maxStaged = wire.MaxImage     // bytes of all their images together
	berthSize = 8 + 8 + 8 + 4 + 8 // of an encoded berth
)

// berths bound the stages of a shard, all together. That is a bound across events,
// and what happens to one event must not depend on others: replicas whose parts
// were encoded at different entries would decide differently. So berths do not look
// at stages at all. Who has one follows from the records in the log alone, whatever
// became of them, and their part of a snapshot is not encoded when its turn comes
// but when the snapshot begins.
//
// Invariant: each stage has a berth with a number, an attempt and a total that are
// not less. A berth without a stage, such as that of a late Import which was
// refused, goes when nothing came for a retry window. Owned by the applier.
type berths struct {
	of      map[wire.EventID]berth
	bytes   uint64 // the sum of all totals
	changed uint64 // entry
	picture []byte // the part as of the last call of Parts; empty: there is none
}

type berth struct {
	moveNumber
	total   uint32 // bytes of the longest image that was announced
	touched wire.Millis
}

// A moveNumber is the number of a move and of an attempt at it.
type moveNumber struct{ number, attempt uint64 }

// compare is negative if the number is lower than another.
func (n moveNumber) compare(o moveNumber) int {
	return cmp.Or(cmp.Compare(n.number, o.number), cmp.Compare(n.attempt, o.attempt))
}

// takeBerth gives a berth to an id that is being imported, or prolongs the one it
// has. It reports whether there is room.
func (s *Shard) takeBerth(id wire.EventID, n moveNumber, total uint32) bool {
	b, has := s.berths.of[id]
	more := uint64(max(total, b.total) - b.total)
	if !has && len(s.berths.of) == maxStages || s.berths.bytes+more > maxStaged {
		return false
	}
	if n.compare(b.moveNumber) > 0 {
		b.moveNumber = n
	}
	b.total += uint32(more)
	b.touched = s.stamp
	s.berths.bytes += more
	s.setBerth(id, b)
	return true
}

// touchBerth prolongs the berth of an id, if it has one.
func (s *Shard) touchBerth(id wire.EventID) {
	if b, has := s.berths.of[id]; has {
		b.touched = s.stamp
		s.setBerth(id, b)
	}
}

func (s *Shard) setBerth(id wire.EventID, b berth) {
	if s.berths.of == nil {
		s.berths.of = make(map[wire.EventID]berth)
	}
	s.berths.of[id] = b
	s.berths.changed = s.index
	s.staleBy(b.touched + s.config.Window)
}

// leaveBerth gives up the berth of an attempt that is adopted or refused for good.
func (s *Shard) leaveBerth(id wire.EventID, n moveNumber) {
	if b, has := s.berths.of[id]; has && b.compare(n) <= 0 {
		s.dropBerth(id, b)
	}
}

func (s *Shard) dropBerth(id wire.EventID, b berth) {
	delete(s.berths.of, id)
	s.berths.bytes -= uint64(b.total)
	s.berths.changed = s.index
}

// dropBerths takes berths away that nobody uses.
func (s *Shard) dropBerths() {
	for id, b := range s.berths.of {
		if s.stale(b.touched + s.config.Window) {
			s.dropBerth(id, b)
		}
	}
}

// append appends the part of a snapshot: u8 format, u64 changed, and each berth in
// the order of ids.
func (b *berths) append(dst []byte) []byte {
	dst = appendU64(append(dst, partFormat), b.changed)
	for _, id := range slices.Sorted(maps.Keys(b.of)) {
		one := b.of[id]
		dst = appendU64(appendU64(appendU64(dst, uint64(id)), one.number), one.attempt)
		dst = appendU64(appendU32(dst, one.total), uint64(one.touched))
	}
	return dst
}

func (s *Shard) loadBerths(data []byte) error {
	r := partReader{b: data[1:]}
	changed := r.u64()
	if n := len(r.b) / berthSize; r.err != nil || len(r.b)%berthSize != 0 || n == 0 || n > maxStages {
		return fmt.Errorf("berths have %d bytes", len(data))
	}
	if len(s.berths.of) > 0 {
		return errors.New("berths come twice")
	}
	for len(r.b) > 0 {
		id := wire.EventID(r.u64())
		b := berth{moveNumber: moveNumber{r.u64(), r.u64()}, total: r.u32(), touched: wire.Millis(r.u64())}
		if _, twice := s.berths.of[id]; twice {
			return fmt.Errorf("event %d has two berths", id)
		}
		if s.berths.bytes += uint64(b.total); s.berths.bytes > maxStaged || b.touched < 0 || b.touched > lastTime {
			return fmt.Errorf("the berth of event %d has %d bytes and was touched at %d", id, b.total, b.touched)
		}
		s.setBerth(id, b)
	}
	s.berths.changed = changed
	return nil
}
