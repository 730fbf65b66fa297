package shard

import (
	"math/bits"

	"github.com/usher-seats/usher/wire"
)

const (
	stalePlane = 0
	// maxViews bounds the filters about which an event remembers something.
	maxViews = 8
)

// A view remembers, for one filter, in which entries of the order groups of each
// size fit, so that a query goes past 64 rows in one step. Derived state.
//
// Entries are in blocks of 64, and a block has a word per plane, one bit per
// entry. The stale plane says that the row has changed since the others were
// computed. There are two more for each size that fits the longest row: where a
// group fits without leaving an orphan, and where one fits at all. Invariant: for
// an entry that is not stale, no bit of these is wrong.
type view struct {
	key    viewKey
	used   uint64 // when a query last came; the view unused for longest goes
	planes int
	words  []uint64 // by block, then by plane
	// longest is, by entry, the largest size that has bits, stale or not.
	longest []uint8
}

type viewKey struct {
	bars   uint32
	access wire.Access
}

// newView knows nothing yet. largest is the largest size it will be asked for.
func newView(entries, largest int) view {
	blocks := (entries + wordBits - 1) / wordBits
	planes := 1 + 2*largest
	return view{
		planes:  planes,
		words:   make([]uint64, blocks*planes),
		longest: make([]uint8, entries),
	}
}

// plane is the one for groups of a size that leave no orphan, or that leave any
// number.
func plane(size int, orphans bool) int {
	if orphans {
		return 2 * size
	}
	return 2*size - 1
}

// forget makes every entry stale.
func (v *view) forget() {
	for i := stalePlane; i < len(v.words); i += v.planes {
		v.words[i] = ^uint64(0)
	}
}

// block has the planes of 64 entries.
func (v *view) block(entry int) []uint64 {
	at := entry / wordBits * v.planes
	return v.words[at : at+v.planes]
}

func (v *view) setStale(entry int) {
	v.words[entry/wordBits*v.planes+stalePlane] |= 1 << (entry % wordBits)
}

func (v *view) isStale(entry int) bool {
	return v.words[entry/wordBits*v.planes+stalePlane]>>(entry%wordBits)&1 != 0
}

// mayFit reports whether a row has to be looked at.
func (v *view) mayFit(entry, plane int) bool {
	b := v.block(entry)
	return (b[stalePlane]|b[plane])>>(entry%wordBits)&1 != 0
}

// next is the first entry in [from, to) whose row has to be looked at, or -1.
func (v *view) next(from, to, plane int) int {
	for at := from; at < to; at = (at/wordBits + 1) * wordBits {
		b := v.block(at)
		if m := (b[stalePlane] | b[plane]) >> (at % wordBits); m != 0 {
			if at += bits.TrailingZeros64(m); at < to {
				return at
			}
			return -1
		}
	}
	return -1
}

// learn brings an entry up to date from a scan of its row as loaded with the
// view's own filter. Cost: grows with the longest run of the row, now and before.
func (v *view) learn(entry int, s *rowScan) {
	b, bit := v.block(entry), uint64(1)<<(entry%wordBits)
	b[stalePlane] &^= bit
	for p := range plane(int(v.longest[entry]), true) {
		b[1+p] &^= bit
	}
	size := 1
	for ; plane(size, true) < v.planes; size++ {
		s.grow(size)
		fits, clean := s.fits()
		if !fits {
			break
		}
		b[plane(size, true)] |= bit
		if clean {
			b[plane(size, false)] |= bit
		}
	}
	v.longest[entry] = uint8(size - 1)
}
