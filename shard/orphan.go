package shard

import (
	"slices"
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

// orphansLeft appends to dst the orphans that taking seats would make: free
// seats that are not asked for, between neighbours that are taken or asked for
// (row ends count as taken), and that were no orphans before. Each comes once,
// in the order of the seats that cause it. Areas have none. seats must be valid;
// those that are taken already cause nothing.
func (l *layout) orphansLeft(taken []atomic.Uint64, seats []wire.SeatID, dst []wire.SeatID) []wire.SeatID {
	for _, s := range seats {
		i := l.rowOf(int(s / wordBits))
		if i < 0 || isTaken(taken, s) {
			continue
		}
		r := &l.rows[i]
		first := wire.SeatID(r.word) * wordBits
		last := first + wire.SeatID(r.seats) - 1
		gone := func(s wire.SeatID) bool { return isTaken(taken, s) || slices.Contains(seats, s) }
		if s > first && !gone(s-1) && (s-1 == first || gone(s-2)) {
			dst = append(dst, s-1)
			if s-1 > first && !isTaken(taken, s-2) && slices.Contains(seats, s-2) {
				// s-2 is asked for and free: it has named, or will name, s-1
				// as the orphan on its right.
				dst = dst[:len(dst)-1]
			}
		}
		if s < last && !gone(s+1) && (s+1 == last || gone(s+2)) {
			dst = append(dst, s+1)
		}
	}
	return dst
}

func isTaken(taken []atomic.Uint64, s wire.SeatID) bool {
	return taken[s/wordBits].Load()>>(s%wordBits)&1 != 0
}
