package raftlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A fatalOnce takes the place of Options.Fatal. Like the real one it does not
// return, unless the test wants it to.
type fatalOnce struct {
	returns bool

	mu   sync.Mutex
	msgs []string
}

func (f *fatalOnce) call(msg string) {
	f.mu.Lock()
	f.msgs = append(f.msgs, msg)
	f.mu.Unlock()
	if !f.returns {
		select {}
	}
}

func (f *fatalOnce) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.msgs...)
}

// writes are the operations that a failing disk fails.
var writes = map[errorfs.OpKind]bool{
	errorfs.OpCreate: true, errorfs.OpReuseForWrite: true, errorfs.OpRename: true,
	errorfs.OpFileWrite: true, errorfs.OpFileWriteAt: true,
	errorfs.OpFileSync: true, errorfs.OpFileSyncData: true,
}

// A failingDisk fails every write and sync from the one numbered at on.
type failingDisk struct {
	mem  *vfs.MemFS
	at   int64
	seen atomic.Int64
}

func (d *failingDisk) String() string { return "failing disk" }

func (d *failingDisk) MaybeError(op errorfs.Op) error {
	if writes[op.Kind] && d.seen.Add(1) > d.at {
		return errorfs.ErrInjected
	}
	return nil
}

func (d *failingDisk) broken() bool { return d.seen.Load() > d.at }

// TestFailingDisk lets the disk fail from one write or sync after the other on,
// counted from the start of a node. Either the node does not start, or it calls
// Fatal, once, naming the file. What was acknowledged until then is on disk: a
// start on what was synced finds all of it.
func TestFailingDisk(t *testing.T) {
	seed := testSeed(t)
	const step = 3
	started := 0
	at := int64(seed % step)
	for ; ; at += step {
		disk := &failingDisk{mem: vfs.NewCrashableMem(), at: at}
		o := storeOptions(fastDir(t), errorfs.Wrap(disk.mem, disk))
		o.memTable, o.TrailingLogBytes = 64<<10, 4<<10
		life := newGroupLife(1, seed)
		up, fatal := lifeOnFailingDisk(t, o, disk, life)
		if !disk.broken() {
			break
		}
		if up {
			started++
			if calls := fatal.calls(); len(calls) != 1 || !strings.Contains(calls[0], o.Dir) {
				t.Fatalf("failure %d: Fatal was called with %q", at, calls)
			}
		}
		acked, issued := life.acked.Load(), life.issued.Load()
		o.FS = disk.mem.CrashClone(vfs.CrashCloneCfg{})
		if err := checkLife(o, life, acked, issued); err != nil {
			t.Fatalf("after failure %d: %v", at, err)
		}
	}
	t.Logf("the disk failed at every %d of %d writes and syncs; %d nodes had started", step, at, started)
	if started < 50 {
		t.Error("the test is too short")
	}
}

// lifeOnFailingDisk runs a life until it ends or the disk has failed it. up says
// that the node had started.
func lifeOnFailingDisk(t *testing.T, o Options, disk *failingDisk, life *groupLife) (up bool, fatal *fatalOnce) {
	fatal = new(fatalOnce)
	o.Fatal = fatal.call
	n, err := Open(o)
	if err != nil {
		if !disk.broken() {
			t.Fatalf("the disk was sound: %v", err)
		}
		return false, fatal
	}
	ended := make(chan error, 1)
	go func() {
		logs, stable, snaps, err := n.openGroupStores(life.id)
		for i := 0; i < 100 && err == nil; i++ {
			err = life.step(&groupStores{logs, stable, snaps})
		}
		ended <- errors.Join(err, n.Close())
	}()
	var end error
	over := false
	eventually(t, "the life ends or Fatal is called", func() bool {
		select {
		case end = <-ended:
			over = true
		default:
		}
		return over && !disk.broken() || len(fatal.calls()) > 0
	})
	if over && end != nil && !disk.broken() {
		t.Fatalf("the disk was sound: %v", end)
	}
	return true, fatal
}

// checkLife starts a node on what a life has left, and compares.
func checkLife(o Options, life *groupLife, acked, issued int64) error {
	// The node that failed still holds the bolt file: it did not end as a process
	// would have.
	path := filepath.Join(o.Dir, boltFile)
	bolt, err := os.ReadFile(path)
	if err == nil {
		err = errors.Join(os.Remove(path), os.WriteFile(path, bolt, 0o600))
	}
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	n, err := Open(o)
	if err != nil {
		return err
	}
	logs, stable, snaps, err := n.openGroupStores(life.id)
	if err == nil {
		err = life.check(&groupStores{logs, stable, snaps}, acked, issued)
	}
	return errors.Join(err, n.Close())
}

// TestHangingWriteEndsTheProcess: a sync that does not return is reported after
// StallLimit, one that is merely slow is not, and a process that was stopped for
// an hour is not taken for a disk that was.
func TestHangingWriteEndsTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fatal := fatalOnce{returns: true}
		const limit = 2 * time.Second
		w := startStallWatch(limit, fatal.call)
		defer w.stop()
		s := w.slot("DIR/log")
		for range 50 {
			s.enter()
			time.Sleep(limit * 8 / 10)
			s.leave()
			time.Sleep(time.Millisecond)
		}
		if calls := fatal.calls(); len(calls) != 0 {
			t.Errorf("writes within the limit ended the process: %q", calls)
		}

		s.enter()
		time.Sleep(limit * 7 / 4)
		if calls := fatal.calls(); len(calls) != 1 || !strings.Contains(calls[0], "DIR/log") {
			t.Errorf("a write that hangs for %v ended in %q", limit, calls)
		}
		s.leave()
	})

	fatal := fatalOnce{returns: true}
	w := &stallWatch{fail: fatal.call}
	s := w.slot("DIR/log")
	s.enter()
	for range 3 { // a tick, an hour in which nothing runs, the ticks that were due
		w.look(time.Second)
	}
	if calls := fatal.calls(); len(calls) != 0 {
		t.Errorf("a stopped process ended in %q", calls)
	}
}

// TestDiskLow: the alarm comes within a second of the reserve being touched and
// goes when there is clearly more.
func TestDiskLow(t *testing.T) {
	mem := vfs.NewMem()
	free := func(b uint64) { mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: b, TotalBytes: 1 << 40}) }
	o := storeOptions(fastDir(t), mem)
	o.DiskReserve = 1_000
	free(2_000)
	n := mustOpen(t, o)
	if n.DiskLow() {
		t.Error("low with twice the reserve free")
	}
	mustClose(t, n)

	o.Dir, o.FS, o.DiskReserve = fastDir(t), nil, 1<<62 // more than this machine has
	n = mustOpen(t, o)
	if !n.DiskLow() {
		t.Error("no disk is that large")
	}
	mustClose(t, n)

	synctest.Test(t, func(t *testing.T) {
		g := startDiskGuard(mem, o.Dir, 1_000, quiet())
		defer g.stop()
		for _, c := range []struct {
			free uint64
			low  bool
		}{{1_000, false}, {999, true}, {1_100, true}, {1_250, false}, {0, true}, {5_000, false}} {
			free(c.free)
			time.Sleep(diskCheckEvery + time.Millisecond)
			if low := g.low.Load(); low != c.low {
				t.Errorf("with %d free, low is %v", c.free, low)
			}
		}
	})
}

// TestHangingSync runs the whole way: a WAL sync that hangs ends the process.
func TestHangingSync(t *testing.T) {
	fs := &hookFS{FS: vfs.NewMem()}
	fatal := fatalOnce{returns: true}
	o := storeOptions(fastDir(t), fs)
	o.Fatal, o.StallLimit = fatal.call, 80*time.Millisecond
	n := mustOpen(t, o)
	g := groupOf(t, n, 1, 1)
	release := make(chan struct{})
	fs.on(func(op, name string) error {
		if op == "sync" && filepath.Ext(name) == ".log" {
			<-release
		}
		return nil
	})
	stored := make(chan error)
	go func() { stored <- g.logs.StoreLogs(testEntries(1, 3, 1, 10)) }()
	eventually(t, "Fatal is called", func() bool { return len(fatal.calls()) == 1 })
	close(release)
	if err := <-stored; !errors.Is(err, errFailed) {
		t.Errorf("the write that hung was acknowledged (%v)", err)
	}
	n.Close()
}
