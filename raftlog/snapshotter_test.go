package raftlog

import (
	"testing"

	"github.com/hashicorp/raft"
)

// A busySnap stands for raft: while it takes a snapshot, entries are applied.
type busySnap struct {
	raft.SnapshotFuture
	s     *snapshotter
	calls int // of the snapshotter's goroutine
}

func (b *busySnap) Snapshot() raft.SnapshotFuture {
	b.calls++
	b.s.logged(b.s.every + 1)
	b.s.fsm.mu.Lock()
	b.s.fsm.sinceSnap = 1
	b.s.fsm.mu.Unlock()
	return b
}

func (b *busySnap) Error() error { return nil }

// TestOneSnapshotAtATime: a busy group, whose entries go on asking for a snapshot
// until the one that is being taken is there, does not take another right after.
func TestOneSnapshotAtATime(t *testing.T) {
	s := &snapshotter{fsm: new(fsm), turn: make(chan struct{}, 1), log: quiet()}
	s.init(1000, "n1", 1)
	s.turn <- struct{}{}
	b := &busySnap{s: s}
	s.raft = b
	s.fsm.sinceSnap = s.every
	s.logged(s.every)
	go s.run()
	eventually(t, "the first snapshot", func() bool { return s.taken.Load() > 0 && len(s.want) == 0 })
	ask := make(chan error)
	s.asks <- ask // done when whatever came before is
	if err := <-ask; err != nil {
		t.Error(err)
	}
	close(s.stop)
	<-s.done
	if b.calls != 2 {
		t.Errorf("%d snapshots taken, one was due and one asked for", b.calls)
	}
}
