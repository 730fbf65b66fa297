package raftlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// A logModel is what a log should hold, kept the simple way.
type logModel struct {
	entries map[uint64]*raft.Log
	last    uint64
	term    uint64
	snap    *testState
}

func (m *logModel) store(logs []*raft.Log) {
	if m.last == 0 || logs[0].Index > m.last+1 {
		clear(m.entries)
	}
	for _, l := range logs {
		m.entries[l.Index] = l
		m.last = l.Index
	}
}

// TestLogStoreAgainstModel drives a log with everything raft does to one, and
// with restarts, and compares it with a map.
// TestReadAhead reads a log in turn while its end is overruled: what was read ahead
// is never given out after it was replaced.
func TestReadAhead(t *testing.T) {
	n, g := openSnaps(t, Options{Dir: t.TempDir(), FS: vfs.NewMem(), NodeID: "n1"})
	defer n.Close()
	s := g.logs
	const entries = 1000
	store := func(from uint64, term uint64) {
		var logs []*raft.Log
		for i := from; i <= entries; i++ {
			logs = append(logs, &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "%d of %d", i, term)})
		}
		if err := s.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
	}
	read := func(from, upTo, term uint64) {
		for i := from; i <= upTo; i++ {
			var l raft.Log
			if err := s.GetLog(i, &l); err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("%d of %d", i, term); l.Index != i || l.Term != term || string(l.Data) != want {
				t.Fatalf("entry %d is %d of term %d: %q, want %q", i, l.Index, l.Term, l.Data, want)
			}
		}
	}
	store(1, 1)
	read(1, 500, 1)
	if len(s.ahead.logs) == 0 {
		t.Error("nothing was read ahead")
	}
	if err := s.DeleteRange(501, entries); err != nil {
		t.Fatal(err)
	}
	store(501, 2)
	read(501, entries, 2)
	read(1, 500, 1)
	var l raft.Log
	if err := s.GetLog(entries+1, &l); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("an entry behind the end: %v", err)
	}
}

func TestLogStoreAgainstModel(t *testing.T) {
	r := seeded(testSeed(t))
	o := storeOptions(fastDir(t), vfs.NewMem())
	o.TrailingLogBytes = 100 << 10
	n := mustOpen(t, o)
	m := &logModel{entries: make(map[uint64]*raft.Log), term: 1, snap: newTestState()}
	g := groupOf(t, n, 3, m.term)
	steps := 2_000
	if testing.Short() {
		steps /= 2
	}
	for step := range steps {
		what := m.step(t, r, g)
		if r.IntN(100) == 0 {
			what = "restart"
			mustClose(t, n)
			n = mustOpen(t, o)
			g = groupOf(t, n, 3, m.term)
		}
		if err := checkLog(g.logs, m.entries, m.last); err != nil {
			t.Fatalf("step %d, after %s: %v", step, what, err)
		}
		if err := m.checkTail(g.logs); err != nil {
			t.Fatalf("step %d, after %s: %v", step, what, err)
		}
	}
	mustClose(t, n)
}

// step does one thing to both.
func (m *logModel) step(t *testing.T, r *rand.Rand, g *groupStores) string {
	t.Helper()
	var logs []*raft.Log
	first, _ := g.logs.FirstIndex()
	what := "append"
	from := max(m.last, m.snap.at) + 1
	switch k := r.IntN(20); {
	case k == 0 && m.last > m.snap.at: // a new leader overrules the end
		what = "overrule"
		from = max(first, m.snap.at+1)
		from += r.Uint64N(m.last - from + 1)
		m.term++
		if err := g.stable.SetUint64([]byte(keyCurrentTerm), m.term); err != nil {
			t.Fatal(err)
		}
		if err := g.logs.DeleteRange(from, m.last); err != nil {
			t.Fatal(err)
		}
	case k == 1: // behind an installed snapshot
		what = "gap"
		from += 1 + r.Uint64N(10)
		m.snap.at, m.snap.term = from-1, m.term
		if err := m.snap.install(g.snaps); err != nil {
			t.Fatal(err)
		}
		m.last = 0
		if r.IntN(2) == 0 {
			return "install"
		}
	case k <= 3 && m.last > m.snap.at: // a snapshot
		hi := m.snap.at + 1 + r.Uint64N(m.last-m.snap.at)
		m.snap.at, m.snap.term = hi, m.entries[hi].Term
		if err := m.snap.take(g.snaps); err != nil {
			t.Fatal(err)
		}
		if err := g.logs.DeleteRange(first, hi); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("truncate to %d", hi)
	}
	size := 10
	if r.IntN(10) == 0 {
		size = r.IntN(100 << 10)
	}
	for i := range 1 + r.Uint64N(20) {
		logs = append(logs, testEntry(from+i, m.term, r.IntN(size)))
	}
	m.store(logs)
	if err := g.logs.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	return what
}

// checkTail recomputes what the log believes of its bytes.
func (m *logModel) checkTail(s *logStore) error {
	first, _ := s.FirstIndex()
	size := func(from uint64) (n int64) {
		for i := from; i != 0 && i <= m.last; i++ {
			n += int64(logKeySize + logValueSize(m.entries[i]))
		}
		return n
	}
	if got, want := s.bytes(), size(first); got != want {
		return fmt.Errorf("the log counts %d bytes, there are %d", got, want)
	}
	for _, n := range []int64{0, 50 << 10, 100 << 10, 1 << 30} {
		i := s.tail.indexFor(n)
		if m.last == 0 {
			continue
		}
		// Within a step and an entry, and never more unless it is the last mark.
		if got := size(i); got > n+tailStep+100<<10 {
			return fmt.Errorf("the tail for %d bytes begins at %d and has %d", n, i, got)
		} else if i > first && size(first) > n && got < n-tailStep-100<<10 {
			return fmt.Errorf("the tail for %d bytes begins at %d and has only %d", n, i, got)
		}
	}
	return nil
}

// TestTruncationKeepsTail shows that raft's TrailingLogs = 0 leaves a tail of
// bytes, that nothing above a snapshot goes, and that a snapshot which is being
// read keeps what it connects to.
func TestTruncationKeepsTail(t *testing.T) {
	o := storeOptions(fastDir(t), vfs.NewMem())
	o.TrailingLogBytes, o.SnapshotLogBytes = 1<<20, 1<<20
	n := mustOpen(t, o)
	defer mustClose(t, n)
	g := groupOf(t, n, 0, 1)
	if err := g.logs.StoreLogs(testEntries(1, 1_000, 1, 4<<10)); err != nil {
		t.Fatal(err)
	}
	first := func() uint64 { i, _ := g.logs.FirstIndex(); return i }
	taken := uint64(100)
	g.logs.taken = func() uint64 { return taken }

	if err := g.logs.DeleteRange(1, 100); err != nil {
		t.Fatal(err)
	}
	if f := first(); f <= 100-20 || f > 101 {
		t.Errorf("after truncation to 100 the log begins at %d", f)
	}
	if err := g.logs.DeleteRange(first(), 600); err == nil {
		t.Error("entries that are in no snapshot were truncated")
	}
	taken = 1_000
	pin := uint64(300)
	g.logs.pinned = func() uint64 { return pin }
	if err := g.logs.DeleteRange(first(), 1_000); err != nil {
		t.Fatal(err)
	}
	if f := first(); f <= 300-20 || f > 301 {
		t.Errorf("with a snapshot of 300 being read the log begins at %d", f)
	}
	pin = 0
	if err := g.logs.DeleteRange(first(), 1_000); err != nil {
		t.Fatal(err)
	}
	if b := g.logs.bytes(); b > 1<<20+2*tailStep || b < 1<<20-2*tailStep {
		t.Errorf("a tail of %d bytes is left, want about %d", b, 1<<20)
	}

	// A reader that never ends keeps no more than a multiple of the normal log.
	pin = first()
	for i := range uint64(40) {
		if err := g.logs.StoreLogs(testEntries(1_001+i*250, 1_250+i*250, 1, 4<<10)); err != nil {
			t.Fatal(err)
		}
		taken = 1_250 + i*250
		if err := g.logs.DeleteRange(first(), taken); err != nil {
			t.Fatal(err)
		}
	}
	if b, limit := g.logs.bytes(), int64(maxPinnedTails*2<<20); b > limit {
		t.Errorf("a reader that does not end keeps %d bytes of log, want at most %d", b, limit)
	}
}

// TestInstalledSnapshotAndLog: entries that lead up to an installed snapshot
// stay, with those behind it; entries of another history go, so that this node
// never hands them on.
func TestInstalledSnapshotAndLog(t *testing.T) {
	for _, c := range []struct {
		what        string
		index, term uint64
		first, last uint64
	}{
		{"same history", 15, 2, 1, 20},
		{"end of the log", 20, 2, 1, 20},
		{"another history", 15, 3, 0, 0},
		{"far ahead", 21, 2, 0, 0},
	} {
		o := storeOptions(fastDir(t), vfs.NewMem())
		n := mustOpen(t, o)
		g := groupOf(t, n, 1, 3)
		if err := g.logs.StoreLogs(testEntries(1, 20, 2, 100)); err != nil {
			t.Fatal(err)
		}
		s := newTestState()
		s.at, s.term = c.index, c.term
		if err := s.install(g.snaps); err != nil {
			t.Fatal(err)
		}
		for _, when := range []string{"at once", "after a restart"} {
			first, _ := g.logs.FirstIndex()
			last, _ := g.logs.LastIndex()
			if first != c.first || last != c.last {
				t.Errorf("%s, %s: the log is %d..%d, want %d..%d", c.what, when, first, last, c.first, c.last)
			}
			mustClose(t, n)
			n = mustOpen(t, o)
			g = groupOf(t, n, 1, 3)
		}
		mustClose(t, n)
	}
}

// TestWholeLogOverruled: a range that is the whole log, and in no snapshot, is
// removed as a suffix, however short the tail that truncation would keep. Until
// others take their place the entries are out of sight, and are there again
// after a restart, as if nobody had asked.
func TestWholeLogOverruled(t *testing.T) {
	o := storeOptions(fastDir(t), vfs.NewMem())
	o.TrailingLogBytes = 1
	n := mustOpen(t, o)
	g := groupOf(t, n, 1, 3)
	m := &logModel{entries: make(map[uint64]*raft.Log)}
	m.store(testEntries(1, 4, 1, tailStep))
	if err := g.logs.StoreLogs(testEntries(1, 4, 1, tailStep)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := g.logs.DeleteRange(1, 4); err != nil {
			t.Fatal(err)
		}
		if err := checkLog(g.logs, nil, 0); err != nil {
			t.Error(err)
		}
		mustClose(t, n)
		n = mustOpen(t, o)
		g = groupOf(t, n, 1, 3)
		if err := checkLog(g.logs, m.entries, 4); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(g.logs.DeleteRange(1, 4), g.logs.StoreLogs(testEntries(1, 2, 3, 10))); err != nil {
		t.Fatal(err)
	}
	m.last = 0
	m.store(testEntries(1, 2, 3, 10))
	for range 2 {
		if err := checkLog(g.logs, m.entries, 2); err != nil {
			t.Error(err)
		}
		mustClose(t, n)
		n = mustOpen(t, o)
		g = groupOf(t, n, 1, 3)
	}
	mustClose(t, n)
}

// TestLogRefusesNonsense: what raft never does is refused and changes nothing.
func TestLogRefusesNonsense(t *testing.T) {
	n := mustOpen(t, storeOptions(fastDir(t), vfs.NewMem()))
	defer mustClose(t, n)
	g := groupOf(t, n, 0, 1)
	if err := g.logs.StoreLogs(testEntries(1, 10, 1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := g.logs.StoreLogs([]*raft.Log{testEntry(11, 1, 1), testEntry(13, 1, 1)}); err == nil {
		t.Error("entries with a gap between them were taken")
	}
	for _, index := range []uint64{12, 100} {
		if err := g.logs.StoreLog(testEntry(index, 1, 1)); err == nil {
			t.Errorf("entry %d was taken behind entry 10", index)
		}
	}
	if err := g.logs.DeleteRange(3, 7); err == nil {
		t.Error("the middle of the log was removed")
	}
	m := &logModel{entries: make(map[uint64]*raft.Log)}
	m.store(testEntries(1, 10, 1, 10))
	if err := checkLog(g.logs, m.entries, 10); err != nil {
		t.Error(err)
	}
	if _, _, _, err := n.openGroupStores(maxGroup); err == nil {
		t.Error("a group id beyond the last one was taken")
	}
}

// TestGroupsDoNotMix: neighbours in the key space keep their own entries.
func TestGroupsDoNotMix(t *testing.T) {
	n := mustOpen(t, storeOptions(fastDir(t), vfs.NewMem()))
	defer mustClose(t, n)
	groups := []uint64{0, 1, 2, 255, 256, maxGroup - 1}
	for _, id := range groups {
		if err := groupOf(t, n, id, id+1).logs.StoreLogs(testEntries(1, 20, id+1, 100)); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range groups {
		g := groupOf(t, n, id, id+1)
		if err := g.logs.DeleteRange(11, 20); err != nil {
			t.Fatal(err)
		}
		if err := g.logs.StoreLogs(testEntries(11, 15, id+1, 50)); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range groups {
		m := &logModel{entries: make(map[uint64]*raft.Log)}
		m.store(testEntries(1, 10, id+1, 100))
		m.store(testEntries(11, 15, id+1, 50))
		if err := checkLog(groupOf(t, n, id, id+1).logs, m.entries, 15); err != nil {
			t.Errorf("group %d: %v", id, err)
		}
	}
}
