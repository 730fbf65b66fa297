package raftlog

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/usher-seats/usher/wire"
)

// A Group replicates one state machine. Its methods may be called from any
// goroutine. It runs three goroutines of its own, the batcher, the snapshotter
// and, per entry under way, one that waits for raft's word on it; the applier is
// raft's.
type Group struct {
	id    uint64
	node  string
	cfg   GroupConfig
	raft  *raft.Raft
	logs  raft.LogStore
	snaps raft.SnapshotStore
	clock clock
	queue queue

	flights     flights
	fsm         fsm
	proposer    proposer
	snapshotter snapshotter
	lag         lag

	overloaded atomic.Uint64 // batches refused for want of room

	detach    func() // tells the node that the group has stopped; set once, at start
	closeOnce sync.Once
	closed    chan struct{} // closed when Close has done its work
	closeErr  error         // set before
}

// Submit hands b to the group. With StatusOK every record will be answered
// exactly once. Any other status refuses the batch, which is untouched and still
// the caller's: StatusOverloaded, StatusUnavailable (the group does not lead
// here) or StatusStopping.
func (g *Group) Submit(b *Batch) wire.Status {
	if g.proposer.closing.Load() {
		return wire.StatusStopping
	}
	if g.clock.reign.Load() == nil {
		return wire.StatusUnavailable
	}
	if len(b.tags) == 0 {
		b.Release()
		return wire.StatusOK
	}
	worth, ok := g.queue.reserve(b)
	if !ok {
		g.overloaded.Add(1)
		return wire.StatusOverloaded
	}
	ops, bytes := len(b.tags), len(b.buf)
	first, open := g.queue.push(b)
	if !open {
		g.queue.done(ops, bytes)
		return wire.StatusStopping
	}
	if first || worth {
		g.proposer.signal()
	}
	return wire.StatusOK
}

// Leading reports whether the group leads here and takes batches.
func (g *Group) Leading() bool { return g.clock.reign.Load() != nil }

// Reign is the term in which the group leads here, 0 if it does not.
func (g *Group) Reign() uint64 {
	if r := g.clock.reign.Load(); r != nil {
		return r.term
	}
	return 0
}

// SoleVoter reports whether nobody else could lead the group, so that what was
// looked up before this call can be answered at once.
func (g *Group) SoleVoter() bool {
	r := g.clock.reign.Load()
	return r != nil && r.sole
}

// Now is the shard time: on the leader it goes on with the clock, elsewhere it
// is the last applied stamp.
func (g *Group) Now() wire.Millis { return g.clock.now() }

// Leader is the node id of the group's leader as far as this node knows, or "".
func (g *Group) Leader() string {
	_, id := g.raft.LeaderWithID()
	return nodeOf(string(id))
}

// AwaitLeading returns when the group leads here, or with ctx's error.
func (g *Group) AwaitLeading(ctx context.Context) error {
	select {
	case <-g.clock.leading():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Snapshot takes a snapshot now, if anything was applied since the last one.
func (g *Group) Snapshot(ctx context.Context) error { return g.snapshotter.request(ctx) }

// Hash is the state machine's hash, between two entries.
func (g *Group) Hash() uint64 { return g.fsm.hash() }

// Close refuses new batches, finishes those it has taken and stops the group. Who
// wants no gap in which nobody leads hands leadership over before.
// When ctx ends first, what is left is answered without being finished: not
// applied if it was not proposed, unknown if it was. Later calls wait for the
// first.
func (g *Group) Close(ctx context.Context) error {
	g.closeOnce.Do(func() {
		g.closeErr = g.close(ctx)
		close(g.closed)
	})
	<-g.closed
	return g.closeErr
}

func (g *Group) close(ctx context.Context) error {
	p := &g.proposer
	p.closing.Store(true)
	p.signal()
	select {
	case <-p.ended:
	case <-ctx.Done():
		close(p.abort)
		<-p.ended
	}
	var err error
	if g.cfg.SnapshotOnClose && ctx.Err() == nil {
		err = g.snapshotter.request(ctx)
	}
	g.fsm.giveUpSnapshots()
	close(g.snapshotter.stop)
	if t, ok := g.cfg.Transport.(*PeerTransport); ok {
		// raft waits for the answers to what it has sent, and closes the transport
		// after that: two that stop at the same time would wait for each other.
		err = errors.Join(err, t.Close())
	}
	err = errors.Join(err, g.raft.Shutdown().Error())
	<-g.snapshotter.done
	if g.detach != nil {
		g.detach()
	}
	return err
}

// timeAt is the time so many Unix nanoseconds after the epoch; the zero time for 0.
func timeAt(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}

// Stats reads the group's figures.
func (g *Group) Stats() Stats {
	p, f, s := &g.proposer, &g.fsm, &g.snapshotter
	ops, bytes := g.queue.queued()
	st := Stats{
		Group:   g.id,
		Leading: g.Leading(),
		Term:    g.raft.CurrentTerm(),
		Applied: f.applied.Load(),
		Stamp:   g.clock.last(),
		NextDue: f.nextDue(),

		QueuedOps:   int64(ops),
		QueuedBytes: int64(bytes),
		InFlight:    g.flights.count(),

		Entries:    p.entries.Load(),
		Ops:        p.ops.Load(),
		Bytes:      p.bytes.Load(),
		Ticks:      p.ticks.Load(),
		Barriers:   p.barriers.Load(),
		Passengers: f.passengers.Load(),
		Overloaded: g.overloaded.Load(),
		NotApplied: p.notApplied.Load() + f.notApplied.Load(),
		Unknown:    p.unknown.Load(),
		Elections:  p.elections.Load(),

		AppliedEntries: f.entries.Load(),
		AppliedBytes:   f.bytes.Load(),

		SnapshotIndex:    f.snapIndex.Load(),
		SnapshotAt:       timeAt(s.at.Load()),
		SnapshotDuration: time.Duration(s.lasted.Load()),
		Snapshots:        s.taken.Load(),
		SnapshotFailures: s.failed.Load(),
		Restores:         f.restores.Load(),
	}
	if l, ok := g.logs.(interface{ bytes() int64 }); ok {
		st.LogBytes = l.bytes()
	}
	return st
}
