package raftlog

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// TestReclaim: space of truncated entries comes back without a compaction, what
// is left is right, and a node whose log was empty when it was opened loses
// nothing that lies before its first entry.
func TestReclaim(t *testing.T) {
	o := storeOptions(fastDir(t), vfs.NewMem())
	o.TrailingLogBytes = 32 << 10
	n := mustOpen(t, o)
	g := groupOf(t, n, 1, 2)
	if err := g.logs.StoreLogs(testEntries(1, 10, 1, 100)); err != nil {
		t.Fatal(err)
	}
	s := newTestState()
	s.at, s.term = 20, 2
	if err := s.install(g.snaps); err != nil { // empties the log: its first cut
		t.Fatal(err)
	}
	mustClose(t, n)

	n = mustOpen(t, o)
	g = groupOf(t, n, 1, 2)
	m := &logModel{entries: make(map[uint64]*raft.Log)}
	tables := func() int64 {
		if err := n.log.Flush(); err != nil {
			t.Fatal(err)
		}
		return n.log.Metrics().Total().TablesSize
	}
	r := &reclaimer{n: n}
	most := int64(0)
	for range 20 {
		logs := testEntries(s.at+1, s.at+100, 2, 4<<10)
		m.store(logs)
		if err := g.logs.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
		s.at += 100
		first, _ := g.logs.FirstIndex()
		if err := s.take(g.snaps); err != nil {
			t.Fatal(err)
		}
		if err := g.logs.DeleteRange(first, s.at); err != nil {
			t.Fatal(err)
		}
		most = max(most, tables())
		r.turn()
	}
	if limit := int64(5 * 100 * 4 << 10); most > limit {
		t.Errorf("the tables had up to %d KiB, want at most %d", most>>10, limit>>10)
	}
	if c := n.log.Metrics().Compact.Count; c != 0 {
		t.Errorf("it took %d compactions", c)
	}
	for range 2 {
		if err := checkLog(g.logs, m.entries, s.at); err != nil {
			t.Fatal(err)
		}
		if g.logs.cuts != 1 {
			t.Errorf("the log counts %d cuts, there was 1", g.logs.cuts)
		}
		mustClose(t, n)
		n = mustOpen(t, o)
		g = groupOf(t, n, 1, 2)
	}
	mustClose(t, n)
}
