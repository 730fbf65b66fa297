package raftlog

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"github.com/usher-seats/usher/wire"
)

// maxEntryReads bounds the queries that ride on one entry, and with them the
// work of one Apply. Ready answers are only handed out; the queue bounds them.
const maxEntryReads = 4_096

// An fsm is the applier: raft's FSM goroutine calls it with committed entries
// and is the only one to change the state machine. It answers those who wait for
// an entry straight from Apply.
//
// Raft calls only when it has something to say. So that a snapshot can be taken
// while a group is idle, on a follower, or between any two entries of a busy
// one, the right to touch the state machine is a mutex: the applier holds it
// from the beginning of an entry to its end, the persister while it copies one
// part. It is uncontended but for those moments and costs the applier one lock
// per entry of up to 4,096 operations. (Requests served by the applier would
// hang as long as the group is idle; an empty entry per part would write to the
// log in order to shorten it, and followers cannot propose.)
type fsm struct {
	token   uint64
	newSM   func() StateMachine
	publish func(StateMachine)
	fatal   func(msg string)
	flights *flights
	clock   *clock
	ahead   func()            // tells the batcher that an entry was decided
	elected func(r *reign)    // hands the batcher the reign that an entry began
	logged  func(bytes int64) // tells the snapshotter how much was applied since the last snapshot

	mu sync.Mutex
	// Guarded by mu: where the history stands, and the state it has led to.
	sm          StateMachine
	index, term uint64
	stamp       wire.Millis
	sinceSnap   int64  // bytes of entries applied since the last snapshot
	lives       uint64 // restores; a snapshot of an earlier life is void
	closing     bool   // snapshots are given up
	picture     *picture
	partsHint   int // parts at the last snapshot
	conf        raft.Configuration
	confIndex   uint64 // of the last configuration entry; 0: none was seen since the start

	delivery delivery // the applier's alone

	// Copies for other goroutines, stored at the end of each entry.
	applied   atomic.Uint64 // index
	due       atomic.Int64  // NextDue
	snapIndex atomic.Uint64 // of the last snapshot taken or restored

	entries, bytes, passengers, notApplied, restores atomic.Uint64
	configs                                          atomic.Uint64 // configuration entries seen

	nothing []any // what ApplyBatch answers raft: nobody looks at it
}

// start gives the fsm its first state machine.
func (f *fsm) start() {
	f.sm = f.newSM()
	f.delivery.init(f)
	f.show()
	f.publish(f.sm)
}

// Apply is what raft falls back to without ApplyBatch.
func (f *fsm) Apply(l *raft.Log) any {
	f.apply(l)
	return nil
}

// ApplyBatch applies committed entries in order.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	for _, l := range logs {
		f.apply(l)
	}
	for len(f.nothing) < len(logs) {
		f.nothing = append(f.nothing, nil)
	}
	return f.nothing[:len(logs)]
}

func (f *fsm) apply(l *raft.Log) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.Index <= f.index {
		f.fatal(fmt.Sprintf("raft applied entry %d after %d", l.Index, f.index))
		return
	}
	switch l.Type {
	case raft.LogCommand:
		f.applyEntryLocked(l)
	case raft.LogConfiguration:
		f.index, f.term = l.Index, l.Term
		f.conf, f.confIndex = raft.DecodeConfiguration(l.Data), l.Index
		f.configs.Add(1)
		f.show()
		f.ahead()
	}
}

// applyEntryLocked decides the records of one entry and answers who waits here.
func (f *fsm) applyEntryLocked(l *raft.Log) {
	var e entry
	if err := e.decode(l.Data); err != nil {
		f.fatal(fmt.Sprintf("entry %d: %v", l.Index, err))
		return
	}
	f.index, f.term = l.Index, l.Term
	f.stamp = max(f.stamp, e.stamp)
	f.sinceSnap += int64(len(l.Data))
	var fl *flight
	if e.token == f.token {
		fl = f.flights.find(e.seq)
	}
	if fl != nil && fl.claim() {
		f.delivery.entry(fl, e, l.Term)
	} else {
		f.sm.Apply(f.index, f.stamp, e.ops, nil)
		f.show()
	}
	f.entries.Add(1)
	f.bytes.Add(uint64(len(l.Data)))
	if fl != nil {
		f.flights.free(fl) // the batcher may look at all of the above
	}
	f.logged(f.sinceSnap)
	f.ahead()
}

// show publishes where the history stands.
func (f *fsm) show() {
	f.applied.Store(f.index)
	f.due.Store(int64(f.sm.NextDue()))
	f.clock.stamp.Store(int64(f.stamp))
}

// configuration is the last that was applied, and its index.
func (f *fsm) configuration() (raft.Configuration, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conf, f.confIndex
}

// nextDue is the time at which something is due, as of the last entry.
func (f *fsm) nextDue() wire.Millis { return wire.Millis(f.due.Load()) }

// hash is the state machine's, between two entries.
func (f *fsm) hash() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sm.Hash()
}

// logBytes is how much log was applied since the last snapshot.
func (f *fsm) logBytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sinceSnap
}
