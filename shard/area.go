package shard

import (
	"math/bits"
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

// areaPick appends the first count free places of an area to dst. barred, if not
// nil, has the places that the request may not have. If there are not enough it
// returns dst as it was and false. Applier only.
func (x *bestIndex) areaPick(area, count int, taken []atomic.Uint64, barred []uint64, dst []wire.SeatID) ([]wire.SeatID, bool) {
	a := &x.l.areas[area]
	start := len(dst)
	for word := int(a.word); word < int(a.word+a.words); word++ {
		free := ^taken[word].Load()
		if barred != nil {
			free &^= barred[word]
		}
		for ; free != 0; free &= free - 1 {
			if len(dst)-start == count {
				return dst, true
			}
			dst = append(dst, wire.SeatID(word*wordBits+bits.TrailingZeros64(free)))
		}
	}
	if len(dst)-start == count {
		return dst, true
	}
	return dst[:start], false
}
