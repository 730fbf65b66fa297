package shard

import (
	"math/bits"
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

const maxRowWords = (wire.MaxRowSeats + wordBits - 1) / wordBits

// A rowScan finds groups in one row, 64 starts at a time. Scratch space of a
// bestIndex; nothing in it outlives a call.
//
// Word i of the row is at index i+1. The words beside the row are zero: past its
// ends there is no free seat, which is how row ends come to count as taken.
type rowScan struct {
	words int
	free  [maxRowWords + 3]uint64 // seats nobody has
	// starts has a bit per seat that begins size seats in a row which are free
	// and which the request may have.
	starts [maxRowWords + 3]uint64
	size   int
}

// A filter is what seats must be beside free.
type filter struct {
	categories uint64 // bit i: category i will do
	access     wire.Access
	barred     []uint64 // nil: none
}

// load reads a row. With size 1, a start is a seat that passes the filter.
func (s *rowScan) load(r *row, taken []atomic.Uint64, f *filter) {
	s.words, s.size = int(r.words), 1
	first := int(r.word)
	for i := range s.words {
		free := ^taken[first+i].Load()
		s.free[i+1] = free
		if f.barred != nil {
			free &^= f.barred[first+i]
		}
		s.starts[i+1] = free
	}
	s.free[s.words+1], s.starts[s.words+1] = 0, 0
	if r.side != nil {
		s.keepCategories(r.side, f.categories)
		s.keepAccess(r.side, f.access)
	} else if f.access != 0 {
		s.keepNone()
	}
	if !r.mixed() && f.categories>>r.category&1 == 0 {
		s.keepNone()
	}
}

func (s *rowScan) keepNone() { clear(s.starts[1 : s.words+1]) }

// keepCategories drops the starts of other categories in a mixed row.
func (s *rowScan) keepCategories(side *rowSide, categories uint64) {
	for _, m := range side.categories {
		if categories>>m.category&1 == 0 {
			for i, w := range m.mask {
				s.starts[i+1] &^= w
			}
		}
	}
}

// keepAccess drops the starts without all of the flags.
func (s *rowScan) keepAccess(side *rowSide, flags wire.Access) {
	for _, m := range side.access {
		if flags&m.flag != 0 {
			flags &^= m.flag
			for i, w := range m.mask {
				s.starts[i+1] &= w
			}
		}
	}
	if flags != 0 {
		s.keepNone()
	}
}

// take marks seats as taken by an earlier group of the same request.
func (s *rowScan) take(g group) {
	for i := g.start; i < g.start+g.size; i++ {
		bit := uint64(1) << (i % wordBits)
		s.free[i/wordBits+1] &^= bit
		s.starts[i/wordBits+1] &^= bit
	}
}

// grow makes starts those of a larger size, at most twice as large at each step:
// where one group begins and another begins where it ends at the latest, both
// together are a group.
func (s *rowScan) grow(size int) {
	for s.size < size {
		d := min(s.size, size-s.size)
		for i := 1; i <= s.words; i++ {
			s.starts[i] &= s.starts[i]>>d | s.starts[i+1]<<(wordBits-d)
		}
		s.size += d
	}
}

// orphans says of each start in word i whether a group there leaves an orphan on
// its left, and on its right.
func (s *rowScan) orphans(i int) (left, right uint64) {
	before, here, next, after := s.free[i-1], s.free[i], s.free[i+1], s.free[i+2]
	left = (here<<1 | before>>63) &^ (here<<2 | before>>62)
	// A free seat whose right neighbour is taken is an orphan if its left
	// neighbour is the last seat of the group.
	last := here &^ (here>>1 | next<<63)
	lastNext := next &^ (next>>1 | after<<63)
	right = last>>s.size | lastNext<<(wordBits-s.size)
	return left, right
}

// leaving are the starts in word i of groups that leave that many orphans.
func (s *rowScan) leaving(i, orphans int) uint64 {
	starts := s.starts[i]
	if starts == 0 {
		return 0
	}
	left, right := s.orphans(i)
	switch orphans {
	case 0:
		return starts &^ (left | right)
	case 1:
		return starts & (left ^ right)
	default:
		return starts & left & right
	}
}

// count is the number of starts.
func (s *rowScan) count() (n int) {
	for _, w := range s.starts[1 : s.words+1] {
		n += bits.OnesCount64(w)
	}
	return n
}

// fits reports whether there is a group of the scan's size, and one that leaves
// no orphan.
func (s *rowScan) fits() (fits, clean bool) {
	for i := 1; i <= s.words; i++ {
		if s.starts[i] == 0 {
			continue
		}
		fits = true
		if s.leaving(i, 0) != 0 {
			return true, true
		}
	}
	return fits, false
}

// nearest is the start, of groups that leave that many orphans, whose group has
// its centre nearest to point, given in half seats from the row's first; of two
// equally near the lower one. -1 if there is none.
func (s *rowScan) nearest(orphans, point int) int {
	// The centre of a group is size-1 half seats after its first seat.
	target := point - (s.size - 1)
	best, bestFar := -1, 0
	for i := 1; i <= s.words; i++ {
		starts := s.leaving(i, orphans)
		if starts == 0 {
			continue
		}
		at, far := nearestBit(starts, target-2*wordBits*(i-1))
		if best < 0 || far < bestFar {
			best, bestFar = at+wordBits*(i-1), far
		}
	}
	return best
}

// nearestBit is the bit b of a word that is not zero for which |2b-target| is
// least, and that distance; of two equally far bits the lower one.
func nearestBit(word uint64, target int) (at, far int) {
	upTo := word // the bits at and below the target
	switch {
	case target < 0:
		upTo = 0
	case target < 2*(wordBits-1):
		upTo &= 2<<(target/2) - 1
	}
	above := word &^ upTo
	if upTo == 0 {
		at = bits.TrailingZeros64(above)
		return at, 2*at - target
	}
	at = bits.Len64(upTo) - 1
	far = target - 2*at
	if next := bits.TrailingZeros64(above); above != 0 && 2*next-target < far {
		return next, 2*next - target
	}
	return at, far
}
