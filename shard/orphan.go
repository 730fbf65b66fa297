package shard

import (
	"slices"
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

// orphansLeft appends to dst the orphans that taking seats would make: free
// seats that are not asked for, between neighbours that are taken or asked for
// (row ends count as taken), and that were no orphans before. Each comes once.
// seats must be valid; those that are taken already, and places of areas, make
// none. Cost: quadratic in seats, which are at most wire.MaxHoldSeats.
func (l *layout) orphansLeft(taken []atomic.Uint64, seats []wire.SeatID, dst []wire.SeatID) []wire.SeatID {
	for _, s := range seats {
		i := l.rowOf(int(s / wordBits))
		if i < 0 || isTaken(taken, s) {
			continue
		}
		r := &l.rows[i]
		q := orphanQuery{taken: taken, seats: seats, first: wire.SeatID(r.word) * wordBits}
		q.last = q.first + wire.SeatID(r.seats) - 1
		// A seat between two that are asked for is named by the one before it.
		if s > q.first && q.alone(s-1) && !(s-1 > q.first && q.wants(s-2)) {
			dst = append(dst, s-1)
		}
		if s < q.last && q.alone(s+1) {
			dst = append(dst, s+1)
		}
	}
	return dst
}

// An orphanQuery is a request for seats as it bears on one row.
type orphanQuery struct {
	taken       []atomic.Uint64
	seats       []wire.SeatID
	first, last wire.SeatID // of the row
}

// alone reports whether the seat stays free between neighbours that do not.
func (q *orphanQuery) alone(s wire.SeatID) bool {
	return !q.gone(s) && (s == q.first || q.gone(s-1)) && (s == q.last || q.gone(s+1))
}

func (q *orphanQuery) gone(s wire.SeatID) bool {
	return isTaken(q.taken, s) || slices.Contains(q.seats, s)
}

// wants reports whether the request takes a seat that was free.
func (q *orphanQuery) wants(s wire.SeatID) bool {
	return !isTaken(q.taken, s) && slices.Contains(q.seats, s)
}

func isTaken(taken []atomic.Uint64, s wire.SeatID) bool {
	return taken[s/wordBits].Load()>>(s%wordBits)&1 != 0
}
