package raftlog

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/usher-seats/usher/wire"
)

// A flight is an entry that was proposed here, and those who wait for it.
//
// Three goroutines may want to answer them: the applier, when it applies the
// entry; the watcher, when raft says that the entry failed; the batcher, when
// the deadline has passed or the group stops. Whoever claims the flight answers
// every record, releases the batches and is the only one to touch them; for the
// others the flight is over. So each record is answered exactly once, and an
// entry that is applied after it was answered StatusUnknown is applied silently.
type flight struct {
	seq      uint64
	term     uint64        // of the reign in which it was proposed
	barrier  bool          // its application begins the reign of term
	tick     bool          // takes no operations
	stamp    wire.Millis   // as proposed
	deadline time.Duration // on the monotonic clock

	writes batchList // whose records the entry holds, in order
	reads  batchList // to be read after it
	ready  batchList // to be given out after it

	claimed atomic.Bool
	overdue bool // claimed by the batcher because of its deadline; the batcher's alone
}

// claim makes the caller the one who answers.
func (f *flight) claim() bool { return f.claimed.CompareAndSwap(false, true) }

// maxInFlight is how many entries the batcher lets raft have at a time. With one
// the disk idles while an entry is decided and the next is built; with three
// entries are smaller, and clients that wait for their answers are not served
// faster. See proposer.room.
const maxInFlight = 2

// A flights table finds the flights that raft has. A slot is taken by the
// batcher and freed by whoever learns that raft is done with the entry. The last
// slot is kept for the entry after an election, which must not wait for entries
// of an earlier reign.
type flights struct {
	slots [maxInFlight + 1]atomic.Pointer[flight]
}

const barrierSlot = maxInFlight

// put takes a free slot; false if there is none.
func (t *flights) put(f *flight) bool {
	if f.barrier {
		return t.slots[barrierSlot].CompareAndSwap(nil, f)
	}
	for i := range maxInFlight {
		if t.slots[i].Load() == nil {
			t.slots[i].Store(f)
			return true
		}
	}
	return false
}

// free gives the slot of f back, if it has not been given back before.
func (t *flights) free(f *flight) {
	for i := range t.slots {
		if t.slots[i].CompareAndSwap(f, nil) {
			return
		}
	}
}

func (t *flights) find(seq uint64) *flight {
	for i := range t.slots {
		if f := t.slots[i].Load(); f != nil && f.seq == seq {
			return f
		}
	}
	return nil
}

// underWay is the number of entries that raft has, those after elections aside.
func (t *flights) underWay() (n int) {
	for i := range maxInFlight {
		if t.slots[i].Load() != nil {
			n++
		}
	}
	return n
}

func (t *flights) count() (n int) {
	for i := range t.slots {
		if t.slots[i].Load() != nil {
			n++
		}
	}
	return n
}

// failure says what an error of raft's means for the operations of an entry.
// Only three mean that the entry is certainly not in the log (TRAPS of raft
// 1.7.3: the first and the last are given before the entry is appended, and the
// second before it is queued). Lost leadership, a failed write and a shutdown
// leave it open whether the entry will be applied, here or by the next leader.
func failure(err error) wire.Status {
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrEnqueueTimeout) ||
		errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		return wire.StatusUnavailable
	}
	return wire.StatusUnknown
}
