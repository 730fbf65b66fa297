package raftlog

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
)

// snapshot takes a snapshot of the member's group now.
func (m *member) snapshot() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return m.group.Snapshot(ctx)
}

// decide has the leader decide operations from..to.
func (c *cluster) decide(from, to uint64) {
	c.t.Helper()
	for op := from; op <= to; op++ {
		c.do(op)
	}
}

// TestRestart: a group that is started again has the state of its last snapshot
// and replays what came after it, and no more.
func TestRestart(t *testing.T) {
	for _, onClose := range []bool{false, true} {
		c := newCluster(t, 1, clusterOptions{snapOnClose: onClose})
		m := c.leader()
		c.decide(1, 200)
		if err := m.snapshot(); err != nil {
			t.Fatal(err)
		}
		c.decide(201, 230)
		hash := m.group.Hash()
		m.stop()
		m.start()
		c.leader()
		if got := m.group.Hash(); got != hash {
			t.Errorf("on close %v: state has changed", onClose)
		}
		replayed := m.sm.Load().applies
		if onClose && replayed > 1 || !onClose && (replayed < 30 || replayed > 40) {
			t.Errorf("on close %v: %d entries replayed, 30 came after the snapshot", onClose, replayed)
		}
		if s := m.group.Stats(); s.Restores != 1 {
			t.Errorf("on close %v: %d restores", onClose, s.Restores)
		}
		c.decide(231, 240)
	}
}

// TestSnapshotNothingNew: a snapshot of a group in which nothing has happened
// since the last one is taken for taken.
func TestSnapshotNothingNew(t *testing.T) {
	forVoters(t, func(t *testing.T, c *cluster) {
		c.do(1)
		for range 3 {
			if err := c.leader().snapshot(); err != nil {
				t.Fatal(err)
			}
		}
		if s := c.leader().group.Stats(); s.Snapshots != 1 || s.SnapshotIndex != s.Applied {
			t.Errorf("%+v", s)
		}
	})
}

// TestPartsAhead: parts that are encoded later than the snapshot they belong to
// lead, with the entries that follow the snapshot, to the same state.
func TestPartsAhead(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	m := c.leader()
	f := &m.group.fsm
	c.decide(1, 100)
	snap, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	p := snap.(*picture)
	index, _, stamp := p.index()
	restored := newTally()
	ahead := 0
	for i, id := range slices.Sorted(maps.Keys(p.parts())) {
		op := 101 + uint64(i)*10
		c.decide(op, op+9)
		data, ok, err := p.encode(nil, id)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		if err := restored.LoadPart(id, data); err != nil {
			t.Fatal(err)
		}
		if restored.parts[id].asOf > index {
			ahead++
		}
	}
	snap.Release()
	if ahead == 0 {
		t.Fatal("no part is ahead of its snapshot")
	}
	if err := restored.Start(index, stamp); err != nil {
		t.Fatal(err)
	}
	for i := index + 1; i <= f.applied.Load(); i++ {
		var l raft.Log
		var e entry
		if err := m.group.logs.GetLog(i, &l); err != nil {
			t.Fatal(err)
		}
		if err := e.decode(l.Data); err != nil {
			t.Fatal(err)
		}
		restored.Apply(i, max(restored.stamp, e.stamp), e.ops, nil)
	}
	if restored.Hash() != m.group.Hash() {
		t.Error("snapshot and entries lead to another state")
	}
	if _, _, err := p.encode(nil, 0); err != errAbandoned {
		t.Errorf("a released picture encodes: %v", err)
	}
}

// TestAbandonedSnapshot: a snapshot that is given up midway, again and again,
// loses nothing: the next one that succeeds has all, and the log was not
// truncated for those that did not.
func TestAbandonedSnapshot(t *testing.T) {
	var m *member
	encoded, limit := 0, 0
	c := newCluster(t, 1, clusterOptions{prepare: func(sm *tally) {
		sm.onEncode = func(uint64) { // with the fsm's mutex held
			if encoded++; encoded == limit {
				m.group.fsm.picture.released = true
			}
		}
	}})
	m = c.leader()
	for round := range 5 {
		c.decide(uint64(round*50)+1, uint64(round*50)+50)
		m.group.fsm.mu.Lock()
		encoded, limit = 0, round+1
		m.group.fsm.mu.Unlock()
		if err := m.snapshot(); err == nil {
			t.Fatalf("round %d: an abandoned snapshot was taken", round)
		}
		if s := m.group.Stats(); s.SnapshotIndex != 0 || s.SnapshotFailures != uint64(round+1) {
			t.Fatalf("round %d: %+v", round, s)
		}
	}
	m.group.fsm.mu.Lock()
	limit = -1
	m.group.fsm.mu.Unlock()
	if err := m.snapshot(); err != nil {
		t.Fatal(err)
	}
	hash := m.group.Hash()
	m.stop()
	m.start()
	c.leader()
	if m.group.Hash() != hash || m.sm.Load().applied() != 250 {
		t.Error("state after the restart differs")
	}
	if n := m.sm.Load().applies; n > 1 {
		t.Errorf("%d entries replayed after a snapshot of all", n)
	}
}

// TestSnapshotsByBytes: a group under load takes snapshots by itself as its log
// grows, drops the log behind them, and finds its state again in what is left.
func TestSnapshotsByBytes(t *testing.T) {
	const every, tail = 256 << 10, 128 << 10
	for _, voters := range []int{1, 3} {
		c := newCluster(t, voters, clusterOptions{snapshotBytes: every, trailingBytes: tail})
		c.leader()
		l := c.load(4)
		for _, m := range c.members {
			eventually(t, "three snapshots on "+m.id, func() bool { return m.group.Stats().Snapshots >= 3 })
		}
		l.finish()
		for _, m := range c.members {
			if err := m.snapshot(); err != nil {
				t.Fatal(err)
			}
			if s := m.group.Stats(); s.LogBytes == 0 || s.LogBytes > tail+2*tailStep {
				t.Errorf("log of %s has %d bytes, a snapshot keeps %d", m.id, s.LogBytes, tail)
			}
		}
		lead := c.leader()
		hash := lead.group.Hash()
		lead.stop()
		lead.start()
		c.leader()
		c.settle()
		if lead.group.Hash() != hash {
			t.Error("state after the restart differs")
		}
	}
}

// TestInstallSnapshot: a follower that was away for longer than the log reaches
// back is sent a snapshot, while writes go on, and ends with the same state.
func TestInstallSnapshot(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{snapshotBytes: 256 << 10, trailingBytes: 64 << 10})
	c.decide(1, 20)
	var away *member
	for _, m := range c.members {
		if m != c.leader() {
			away = m
		}
	}
	away.stop()
	l := &load{c: c, to: newCatcher(), after: 20}
	l.next.Store(20)
	l.start(4)
	eventually(t, "the log to begin after what the follower has", func() bool {
		first, err := c.leader().group.logs.FirstIndex()
		return err == nil && first > 200
	})
	away.start()
	eventually(t, "the snapshot to be installed", func() bool { return away.group.Stats().Restores > 0 })
	before := l.to.count()
	eventually(t, "writes to go on", func() bool { return l.to.count() > before+200 })
	l.finish()
	if !away.sm.Load().contains(1, 20) {
		t.Error("the follower's state lacks what came before its absence")
	}
	away.stop()
	away.start()
	c.settle()
}

// contains reports whether the operations from..to were applied once.
func (t *tally) contains(from, to uint64) bool {
	for op := from; op <= to; op++ {
		if o, _ := t.op(op); o.times != 1 {
			return false
		}
	}
	return true
}

// TestRestoreIsAside: what cannot be restored leaves the state as it was.
func TestRestoreIsAside(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	m := c.leader()
	c.decide(1, 50)
	if err := m.snapshot(); err != nil {
		t.Fatal(err)
	}
	c.decide(51, 60)
	hash, sm := m.group.Hash(), m.sm.Load()
	_, _, snaps, err := m.node.openGroupStores(1)
	if err != nil {
		t.Fatal(err)
	}
	list, err := snaps.List()
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	_, r, err := snaps.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// It is older than the state, which readers have seen.
	if err := m.group.fsm.Restore(r); err == nil {
		t.Error("a snapshot older than the state was restored")
	}
	if m.group.Hash() != hash || m.sm.Load() != sm {
		t.Error("a restore that failed has changed the state")
	}
	if o := c.do(61); o.answer.times != 1 {
		t.Errorf("%+v", o)
	}
}
