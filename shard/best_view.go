package shard

import (
	"math/bits"

	"github.com/usher-seats/usher/wire"
)

const (
	// exactSizes is the number of group sizes of which a view knows where they
	// fit; of larger ones it knows where there are that many seats in a row.
	exactSizes = 16
	// planesPerSize are without orphans, and at all.
	planesPerSize = 2
	stalePlane    = 0
	planesPerView = 1 + planesPerSize*(exactSizes+1)
	// maxViews bounds the filters that an event remembers something about.
	maxViews = 8
)

// A view remembers, for one filter, in which entries of the order a group of a
// size fits, so that a query goes past 64 rows in one step. Derived state.
//
// Entries are in blocks of 64, and a block has a word per plane, one bit per
// entry. In the stale plane a bit says that the row has changed and the other
// planes know nothing of it. Invariant: for an entry that is not stale, a bit
// that is 0 is right.
type view struct {
	key    viewKey
	used   uint64 // when a query last came; the view unused for longest goes
	blocks [][planesPerView]uint64
}

type viewKey struct {
	bars   uint32
	access wire.Access
}

// plane is where it stands in what entries a group of size fits: without leaving
// an orphan, or at all.
func plane(size int, orphans bool) int {
	p := 1 + planesPerSize*min(size-1, exactSizes)
	if orphans {
		p++
	}
	return p
}

// forget makes every entry stale.
func (v *view) forget() {
	for i := range v.blocks {
		v.blocks[i][stalePlane] = ^uint64(0)
	}
}

func (v *view) setStale(entry int) {
	v.blocks[entry/wordBits][stalePlane] |= 1 << (entry % wordBits)
}

func (v *view) isStale(entry int) bool {
	return v.blocks[entry/wordBits][stalePlane]>>(entry%wordBits)&1 != 0
}

// mayFit reports whether a row has to be looked at.
func (v *view) mayFit(entry, plane int) bool {
	b := &v.blocks[entry/wordBits]
	return (b[stalePlane]|b[plane])>>(entry%wordBits)&1 != 0
}

// learn brings an entry up to date from a scan of its row as loaded with the
// view's own filter.
func (v *view) learn(entry int, s *rowScan) {
	b := &v.blocks[entry/wordBits]
	bit := uint64(1) << (entry % wordBits)
	for p := range b {
		b[p] &^= bit
	}
	for size := 1; size <= exactSizes; size++ {
		s.grow(size)
		all, clean := s.fits()
		if !all {
			return
		}
		b[plane(size, true)] |= bit
		if clean {
			b[plane(size, false)] |= bit
		}
	}
	s.grow(exactSizes + 1)
	if all, _ := s.fits(); all {
		b[plane(exactSizes+1, true)] |= bit
		b[plane(exactSizes+1, false)] |= bit
	}
}

// fits reports whether there is a group of the scan's size, and one that leaves
// no orphan.
func (s *rowScan) fits() (all, clean bool) {
	for i := 1; i <= s.words; i++ {
		if s.starts[i] == 0 {
			continue
		}
		all = true
		if s.leaving(i, 0) != 0 {
			return true, true
		}
	}
	return all, false
}

// next is the first entry in [from, to) that may fit, or -1.
func (v *view) next(from, to, plane int) int {
	for at := from; at < to; at = (at/wordBits + 1) * wordBits {
		b := &v.blocks[at/wordBits]
		if m := (b[stalePlane] | b[plane]) >> (at % wordBits); m != 0 {
			if at += bits.TrailingZeros64(m); at < to {
				return at
			}
			return -1
		}
	}
	return -1
}
