package onsale

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/usher-seats/usher/wire"
)

// A seatMap is the state of all seats as wire.SeatMap packs it: for each row a word
// of low bits and one of high bits. Immutable.
type seatMap struct {
	planes []byte
	row    int // seats of a row
}

func (m *seatMap) words(i int) (low, high uint64) {
	return binary.LittleEndian.Uint64(m.planes[16*i:]), binary.LittleEndian.Uint64(m.planes[16*i+8:])
}

// count is how many seats have this state.
func (m *seatMap) count(s wire.SeatState) int {
	n := 0
	mask := uint64(1)<<m.row - 1
	if m.row == 64 {
		mask = math.MaxUint64
	}
	for i := range len(m.planes) / 16 {
		low, high := m.words(i)
		if s&1 == 0 {
			low = ^low
		}
		if s&2 == 0 {
			high = ^high
		}
		n += bits.OnesCount64(low & high & mask)
	}
	return n
}

// wanted is the row that somebody wants who has u in [0,1): the front ones more
// often, by a power.
func wanted(u, power float64, rows int) int {
	return min(int(math.Pow(u, power)*float64(rows)), rows-1)
}

// together finds count free neighbours in a row, the nearest behind the seat from,
// then the first of the row; nil if there are none.
func (m *seatMap) together(row, from, count int) []wire.SeatID {
	if 16*(row+1) > len(m.planes) {
		return nil
	}
	low, high := m.words(row)
	runs := ^(low | high) // free; the bits past the row's end are not
	if m.row < 64 {
		runs &= 1<<m.row - 1
	}
	for range count - 1 {
		runs &= runs >> 1 // bit i: one more seat from i on is free
	}
	if runs == 0 {
		return nil
	}
	at := bits.TrailingZeros64(runs)
	if behind := runs >> from << from; behind != 0 {
		at = bits.TrailingZeros64(behind)
	}
	seats := make([]wire.SeatID, count)
	for i := range seats {
		seats[i] = wire.SeatID(row*64 + at + i)
	}
	return seats
}
