package raftlog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// dirBytes is what a directory occupies. Files may come and go meanwhile.
func dirBytes(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// TestDiskBounded passes much more through log and snapshots than they hold, on
// a real disk, and watches the directories: they level off. RAFTLOG_DISK_GB=20
// does it at full size.
func TestDiskBounded(t *testing.T) {
	const groups = 3
	o := Options{
		Dir: t.TempDir(), NodeID: "n1", Log: quiet(), Fatal: func(msg string) { panic(msg) },
		SnapshotLogBytes: 4 << 20, TrailingLogBytes: 2 << 20, memTable: 4 << 20,
	}
	total := int64(512 << 20)
	if testing.Short() {
		total /= 2
	}
	if gb := os.Getenv("RAFTLOG_DISK_GB"); gb != "" {
		n, err := strconv.Atoi(gb)
		if err != nil {
			t.Fatal(err)
		}
		total = int64(n) << 30
		o.SnapshotLogBytes, o.TrailingLogBytes, o.memTable = 0, 0, 0
	}
	o.setDefaults()
	start := time.Now()
	n := mustOpen(t, o)
	t.Logf("an empty directory was opened in %v", time.Since(start))

	var passed, snapshots atomic.Int64
	var writers sync.WaitGroup
	for id := range uint64(groups) {
		g := groupOf(t, n, id, 1)
		writers.Go(func() {
			if err := pour(g, o.SnapshotLogBytes, total/groups, &passed, &snapshots); err != nil {
				t.Error(err)
			}
		})
	}
	start = time.Now()
	logPeak, snapPeak := watchDisk(n, &writers)
	took := time.Since(start)
	log, snap := n.log.Metrics(), n.snap.Metrics().Total()
	logTotal := log.Total()
	t.Logf("%d MiB and %d snapshots in %v; log: at most %d MiB, %d MiB flushed, %d MiB compacted; snap: at most %d MiB, %d MiB written",
		passed.Load()>>20, snapshots.Load(), took.Round(time.Millisecond),
		logPeak>>20, log.Levels[0].TableBytesFlushed>>20, logTotal.TableBytesCompacted>>20,
		snapPeak>>20, (snap.TableBytesFlushed+snap.TableBytesCompacted)>>20)

	// The log: what must be there, as much again that waits to be reclaimed, and
	// WALs, of memtables and kept for reuse. The snapshots likewise.
	live := groups * (o.SnapshotLogBytes + o.TrailingLogBytes)
	if limit := 2*live + (2*memTables+1)*int64(o.memTable) + 16<<20; logPeak > limit {
		t.Errorf("the log grew to %d MiB, want at most %d", logPeak>>20, limit>>20)
	}
	const state = groups * 500 * 10_000
	if limit := int64(3*state + (2*memTables+1)*snapMemTable); snapPeak > limit {
		t.Errorf("the snapshots grew to %d MiB, want at most %d", snapPeak>>20, limit>>20)
	}
	mustClose(t, n)

	start = time.Now()
	n = mustOpen(t, o)
	for id := range uint64(groups) {
		groupOf(t, n, id, 1)
	}
	t.Logf("restart took %v", time.Since(start))
	mustClose(t, n)
}

// pour stores entries of the largest size there is, and takes a snapshot of a
// state that keeps changing whenever that is due.
func pour(g *groupStores, every, total int64, passed, snapshots *atomic.Int64) error {
	const size = 256 << 10
	s := newTestState()
	for id := range uint64(500) {
		s.set(id, testEntry(id, 0, 10_000).Data)
	}
	entry := testEntry(1, 1, size)
	since := int64(0)
	for index := uint64(1); int64(index)*size <= total; index++ {
		if err := g.logs.StoreLog(&raft.Log{Index: index, Term: 1, Data: entry.Data}); err != nil {
			return err
		}
		passed.Add(size)
		if since += size; since < every {
			continue
		}
		since = 0
		s.at = index
		for i := range uint64(100) {
			s.set((index*7+i)%500, testEntry(i, index, 10_000).Data)
		}
		first, _ := g.logs.FirstIndex()
		if err := errors.Join(s.take(g.snaps), g.logs.DeleteRange(first, index)); err != nil {
			return err
		}
		snapshots.Add(1)
	}
	return nil
}

// watchDisk measures the directories until the writers are done.
func watchDisk(n *Node, writers *sync.WaitGroup) (logPeak, snapPeak int64) {
	done := make(chan struct{})
	go func() {
		writers.Wait()
		close(done)
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ended := false; ; {
		logPeak, snapPeak = max(logPeak, dirBytes(n.path("log"))), max(snapPeak, dirBytes(n.path("snap")))
		if ended {
			return logPeak, snapPeak
		}
		select {
		case <-tick.C:
		case <-done:
			ended = true
		}
	}
}
