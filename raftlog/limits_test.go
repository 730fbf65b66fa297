package raftlog

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/usher-seats/usher/wire"
)

// TestFailure: what raft's errors mean. A mistake here turns an operation that
// may yet be applied into one that is repeated with another id.
func TestFailure(t *testing.T) {
	for err, want := range map[error]wire.Status{
		raft.ErrNotLeader:                    wire.StatusUnavailable,
		raft.ErrEnqueueTimeout:               wire.StatusUnavailable,
		raft.ErrLeadershipTransferInProgress: wire.StatusUnavailable,
		raft.ErrLeadershipLost:               wire.StatusUnknown,
		raft.ErrRaftShutdown:                 wire.StatusUnknown,
		raft.ErrAbortedByRestore:             wire.StatusUnknown,
		errors.New("disk full"):              wire.StatusUnknown,
	} {
		if got := failure(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

// TestOverload: when entries do not get through, the group takes what its bounds
// allow and refuses the rest at once; all it has taken is answered later.
func TestOverload(t *testing.T) {
	hold := make(chan struct{})
	c := newCluster(t, 1, clusterOptions{prepare: func(sm *tally) {
		sm.onApply = func(_ uint64, _ wire.Millis, ops int) {
			if ops > 0 {
				<-hold
			}
		}
	}})
	m := c.leader()
	to := newCatcher()
	taken := uint64(0)
	for op := uint64(0); ; op += MaxBatchOps {
		b := m.group.NewBatch(Write, to)
		for i := range uint64(MaxBatchOps) {
			b.Add(op+i, 0, tallyRecord(op+i, 0))
		}
		s := m.group.Submit(b)
		if s == wire.StatusOverloaded {
			if b.Len() != MaxBatchOps {
				t.Error("a refused batch was touched")
			}
			b.Release()
			break
		}
		if s != wire.StatusOK {
			t.Fatal(s)
		}
		taken += MaxBatchOps
	}
	if most := uint64(maxQueueOps + maxInFlight*maxEntryOps); taken > most || taken < maxQueueOps {
		t.Errorf("%d operations taken, want up to %d", taken, most)
	}
	if s := m.group.Stats(); s.Overloaded != 1 || s.QueuedOps > maxQueueOps || s.InFlight > maxInFlight {
		t.Errorf("%+v", s)
	}
	close(hold)
	eventually(t, "all that was taken to be answered", func() bool { return uint64(to.count()) == taken })
	if !m.sm.Load().contains(0, taken-1) {
		t.Error("not all that was taken was applied once")
	}
	if ops, bytes := m.group.queue.queued(); ops != 0 || bytes != 0 {
		t.Errorf("empty queue counts %d operations, %d bytes", ops, bytes)
	}
}

// TestEntryBounds: entries stay within their bounds and consist of whole batches.
func TestEntryBounds(t *testing.T) {
	most := 0
	c := newCluster(t, 1, clusterOptions{prepare: func(sm *tally) {
		sm.onApply = func(_ uint64, _ wire.Millis, ops int) { most = max(most, ops) }
	}})
	m := c.leader()
	to := newCatcher()
	const batches = 60
	for i := range uint64(batches) {
		b := m.group.NewBatch(Write, to)
		for j := range uint64(MaxBatchOps) {
			b.Add(i*MaxBatchOps+j, 0, tallyRecord(i*MaxBatchOps+j, 0))
		}
		if s := m.group.Submit(b); s != wire.StatusOK {
			t.Fatal(s)
		}
	}
	eventually(t, "all answers", func() bool { return to.count() == batches*MaxBatchOps })
	m.group.fsm.mu.Lock()
	defer m.group.fsm.mu.Unlock()
	if most > maxEntryOps || most < MaxBatchOps {
		t.Errorf("an entry had %d operations, at most %d are allowed", most, maxEntryOps)
	}
}

// TestStuckEntry: an entry of which raft says nothing is answered at its
// deadline, unknown; what waits behind it is refused, not applied; and when raft
// is back, the entry is applied without another answer and the group serves
// again.
func TestStuckEntry(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{gated: true, answer: 300 * time.Millisecond})
	m := c.leader()
	c.do(1)
	to := newCatcher()
	m.gate.shut()
	defer m.gate.open()
	before := m.group.Stats().Entries
	if s := m.submit(to, 2); s != wire.StatusOK {
		t.Fatal(s)
	}
	eventually(t, "the entry", func() bool { return m.group.Stats().Entries == before+1 })
	if s := m.submit(to, 50); s != wire.StatusOK {
		t.Fatal(s)
	}
	if s := m.submitMode(Read, to, 0, 51); s != wire.StatusOK {
		t.Fatal(s)
	}
	if o := to.await(t, 2); o.status != wire.StatusUnknown {
		t.Errorf("the operation in the stuck entry: %v", o.status)
	}
	for op := uint64(50); op < 52; op++ {
		if o := to.await(t, op); o.status != wire.StatusUnavailable {
			t.Errorf("operation %d, behind it: %v", op, o.status)
		}
	}
	if s := m.submit(to, 60); s != wire.StatusUnavailable {
		t.Errorf("a group that is stuck takes batches: %v", s)
	}
	m.gate.open()
	c.leader()
	c.do(70)
	sm := m.sm.Load()
	if !sm.contains(2, 2) {
		t.Error("the entry that was stuck is not applied")
	}
	if _, applied := sm.op(50); applied {
		t.Error("an operation that was answered not applied is")
	}
	if len(to.twice) > 0 {
		t.Errorf("answered twice: %v", to.twice)
	}
	if s := m.group.Stats(); s.Unknown != 1 {
		t.Errorf("%+v", s)
	}
}

// TestNotLeading: a member that does not lead refuses at once.
func TestNotLeading(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	c.do(1)
	lead := c.leader()
	for _, m := range c.members {
		if m == lead {
			continue
		}
		if s := m.submit(newCatcher(), 2); s != wire.StatusUnavailable {
			t.Errorf("%s does not lead and answers %v", m.id, s)
		}
		eventually(t, m.id+" to know the leader", func() bool { return m.group.Leader() == lead.id })
		if m.group.SoleVoter() {
			t.Errorf("%s takes itself for the only voter", m.id)
		}
	}
	if lead.group.SoleVoter() {
		t.Error("the leader of three takes itself for the only voter")
	}
	lead.stop()
	if s := lead.submit(newCatcher(), 2); s != wire.StatusStopping {
		t.Errorf("a closed group answers %v", s)
	}
}

// TestStartIsQuick: an empty directory decides its first operation in a fraction
// of a second, although a leader is found missing only after the election
// timeout.
func TestStartIsQuick(t *testing.T) {
	start := time.Now()
	c := newCluster(t, 1, clusterOptions{disk: true})
	c.do(1)
	if took := time.Since(start); took > 300*time.Millisecond {
		t.Errorf("first operation after %v", took)
	}
	if !c.leader().group.SoleVoter() {
		t.Error("the only voter does not know that it is")
	}
}

// TestCloseLeavesNothing: a group that was closed in an orderly way has no
// goroutine left.
func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	forVoters(t, func(t *testing.T, c *cluster) {
		l := c.load(2)
		eventually(t, "load", func() bool { return l.to.count() > 500 })
		l.finish()
	})
	eventually(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= before })
}
