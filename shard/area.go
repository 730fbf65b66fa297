package shard

import (
	"math/bits"
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

// areaPick appends the first count (1 or more) free places of an area to dst. barred, if not
// nil, has the places that the request may not have. If there are not enough it
// returns dst as it was and false. Applier only; changed must be told of every
// change, as for best.
func (x *bestIndex) areaPick(area, count int, taken []atomic.Uint64, barred []uint64, dst []wire.SeatID) ([]wire.SeatID, bool) {
	a := &x.l.areas[area]
	start, end := len(dst), int(a.word+a.words)
	for word := x.nextOpen(int(a.word), end); word < end; word = x.nextOpen(word+1, end) {
		free := ^taken[word].Load()
		if free == 0 {
			x.open[word/wordBits] &^= 1 << (word % wordBits)
			continue
		}
		if barred != nil {
			free &^= barred[word]
		}
		for ; free != 0 && len(dst)-start < count; free &= free - 1 {
			dst = append(dst, wire.SeatID(word*wordBits+bits.TrailingZeros64(free)))
		}
		if len(dst)-start == count {
			return dst, true
		}
	}
	return dst[:start], false
}

// nextOpen is the first word at or after word that may have a free place; if none
// before end has, then any that is not before end.
func (x *bestIndex) nextOpen(word, end int) int {
	for word < end {
		if m := x.open[word/wordBits] >> (word % wordBits); m != 0 {
			return word + bits.TrailingZeros64(m)
		}
		word = (word/wordBits + 1) * wordBits
	}
	return end
}
