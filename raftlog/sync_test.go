package raftlog

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A trace is what a test and the file system under it did, in order.
type trace struct {
	mu    sync.Mutex
	lines []string
}

func (tr *trace) add(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, fmt.Sprintf(format, args...))
}

// syncedBetween reports whether a file with this suffix was written to and then
// synced between two lines.
func (tr *trace) syncedBetween(from, to, suffix string) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	inside, wrote, synced := false, false, false
	for _, line := range tr.lines {
		op, name, _ := strings.Cut(line, " ")
		switch {
		case line == from:
			inside = true
		case line == to:
			if !wrote || !synced {
				return fmt.Errorf("between %q and %q: written %v, synced %v", from, to, wrote, synced)
			}
			return nil
		case inside && strings.HasSuffix(name, suffix) && op == "write":
			wrote, synced = true, false
		case inside && strings.HasSuffix(name, suffix) && op == "synced":
			synced = wrote
		}
	}
	return fmt.Errorf("%q or %q is not in the trace", from, to)
}

// TestSyncBeforeAcknowledgement: between the call of StoreLogs and its return
// the WAL is written and then synced, for each of many calls, over changes of
// the WAL, also when entries are replaced; and likewise for a snapshot.
func TestSyncBeforeAcknowledgement(t *testing.T) {
	fs, tr := &hookFS{FS: vfs.NewMem()}, new(trace)
	o := storeOptions(fastDir(t), fs)
	n := mustOpen(t, o)
	defer mustClose(t, n)
	g := groupOf(t, n, 1, 9)
	fs.on(func(op, name string) error {
		tr.add("%s %s", op, name)
		return nil
	})
	wals := func() (count int) {
		names, _ := fs.List(n.path("log"))
		for _, name := range names {
			if strings.HasSuffix(name, ".log") {
				count++
			}
		}
		return count
	}
	from, most := uint64(1), 0
	for i := range 400 {
		if i%10 == 9 {
			from -= 5 // overruled
			if err := g.logs.DeleteRange(from, from+4); err != nil {
				t.Fatal(err)
			}
		}
		tr.add("store %d", i)
		if err := g.logs.StoreLogs(testEntries(from, from+uint64(i%20), uint64(1+i/50), 1_000)); err != nil {
			t.Fatal(err)
		}
		tr.add("stored %d", i)
		from += 1 + uint64(i%20)
		most = max(most, wals())
	}
	if most < 2 {
		t.Errorf("the WAL never changed: the test is too short")
	}
	for i := range 400 {
		if err := tr.syncedBetween(fmt.Sprintf("store %d", i), fmt.Sprintf("stored %d", i), ".log"); err != nil {
			t.Error(err)
		}
	}

	s := newTestState()
	for i := range 20 {
		s.at = uint64(i + 1)
		s.set(uint64(i%3), make([]byte, 10_000*i))
		k, err := create(g.snaps, s.at, s.term)
		if err == nil {
			err = k.writeParts(s)
		}
		tr.add("close %d", i)
		if err := errors.Join(err, k.Close()); err != nil {
			t.Fatal(err)
		}
		tr.add("closed %d", i)
		if err := tr.syncedBetween(fmt.Sprintf("close %d", i), fmt.Sprintf("closed %d", i), ".log"); err != nil {
			t.Error(err)
		}
	}
}

// TestGroupsShareSyncs: while one sync is under way, the entries of all other
// groups gather, and the next sync is theirs together.
func TestGroupsShareSyncs(t *testing.T) {
	const groups, rounds = 8, 20
	fs := &hookFS{FS: vfs.NewMem()}
	o := storeOptions(fastDir(t), fs)
	o.memTable = 64 << 20
	n := mustOpen(t, o)
	defer mustClose(t, n)
	var logs []*logStore
	for i := range uint64(groups) {
		logs = append(logs, groupOf(t, n, i, 1).logs)
	}

	// Each sync lasts until every group that has not finished waits for one, as on
	// a disk that is slow compared with everything else. What waits for a sync is
	// in the memtable already; and what waited at the end of the sync before the
	// last was answered by that.
	var syncs atomic.Int64
	var storing [groups]atomic.Uint64 // the index that each group stores; 0: it has finished
	for i := range storing {
		storing[i].Store(1)
	}
	var before, last [groups]uint64 // what waited at the end of earlier syncs
	waits := func(group int) bool {
		index := storing[group].Load()
		if index == 0 {
			return true
		}
		v, err := pebbleGet(n.log, logKey(uint64(group), index))
		return index > before[group] && v != nil || err != nil
	}
	fs.on(func(op, name string) error {
		if op == "sync" && strings.HasSuffix(name, ".log") {
			syncs.Add(1)
			for group := range groups {
				for !waits(group) {
					runtime.Gosched()
				}
				before[group], last[group] = last[group], storing[group].Load()
			}
		}
		return nil
	})
	var done sync.WaitGroup
	for group, l := range logs {
		done.Go(func() {
			for i := uint64(1); i <= rounds; i++ {
				storing[group].Store(i)
				if err := l.StoreLogs(testEntries(i, i, 1, 100)); err != nil {
					t.Error(err)
				}
			}
			storing[group].Store(0)
		})
	}
	done.Wait()
	t.Logf("%d stores, %d syncs", groups*rounds, syncs.Load())
	if got := syncs.Load(); got > groups*rounds/3 {
		t.Errorf("%d stores of %d groups took %d syncs", groups*rounds, groups, got)
	}
}
