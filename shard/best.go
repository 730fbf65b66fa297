package shard

import (
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

// A bestQuery says which seats a request for the best available ones will have.
type bestQuery struct {
	Count      int         // 1..wire.MaxHoldSeats
	Section    uint16      // index in the manifest, or wire.Any
	Categories uint64      // bit i: category i will do; 0: every category
	Access     wire.Access // every seat must have all of these
	Split      bool        // seats in several groups are better than none
	NoOrphan   bool        // rather none than leaving an orphan

	// Bars names the content of barred: as long as its mask does not change, a
	// caller may give it the same number, and another number after a change.
	// What was learned about the mask is then used again. 0: it has no name.
	Bars uint32
}

// A bestIndex finds best available seats and free places of areas of one event.
// It only remembers where it need not look: what it answers depends on the
// layout, the query, taken and barred alone, so it is in no snapshot and starts
// cold. Owned by the applier.
type bestIndex struct {
	l *layout
}

func newBestIndex(l *layout) *bestIndex { return &bestIndex{l: l} }

// changed must be called whenever bits of taken[word] have changed, whether seats
// were taken or became free: taking seats can make room for a group that would
// have left an orphan before.
func (x *bestIndex) changed(word int) {}

// best appends the best seats for the query to dst, in ascending order within a
// group, or returns dst as it was and false if there are none. barred, if not
// nil, has the seats that the request may not have; they count as free for the
// orphan rule.
func (x *bestIndex) best(q bestQuery, taken []atomic.Uint64, barred []uint64, dst []wire.SeatID) ([]wire.SeatID, bool) {
	return dst, false
}

type order struct{}

func newOrder(l *layout) order { return order{} }
