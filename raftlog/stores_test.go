package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// testSeed gives a random test its seed, and says how to run it again.
func testSeed(t testing.TB) uint64 {
	seed := rand.Uint64()
	if s := os.Getenv("RAFTLOG_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("again: RAFTLOG_SEED=%d go test -run '^%s$' ./raftlog", seed, t.Name())
	return seed
}

// soak is how much a random test tries: n, times RAFTLOG_SOAK if that is set, and
// a tenth of n with -short.
func soak(t testing.TB, n int) int {
	if testing.Short() {
		n = max(n/10, 1)
	}
	s := os.Getenv("RAFTLOG_SOAK")
	if s == "" {
		return n
	}
	times, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n * times
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// fastDir is a directory for the bolt file of a node whose other stores are in
// memory: one without a disk, if there is one. What bolt leaves behind when the
// power fails is for TestVotePowerLoss to say.
func fastDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "raftlog")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// storeOptions are for stores in memory, but for the bolt file, which is in dir.
func storeOptions(dir string, fs vfs.FS) Options {
	return Options{
		Dir: dir, NodeID: "n1", FS: fs, Log: quiet(),
		Fatal:    func(msg string) { panic("the disk failed: " + msg) },
		memTable: 256 << 10,
	}
}

func mustOpen(t testing.TB, o Options) *Node {
	t.Helper()
	n, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mustClose(t testing.TB, n *Node) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// groupOf opens a group's stores, in the term that makes entries plausible.
func groupOf(t testing.TB, n *Node, group, term uint64) *groupStores {
	t.Helper()
	logs, stable, snaps, err := n.openGroupStores(group)
	if err != nil {
		t.Fatal(err)
	}
	if err := stable.SetUint64([]byte(keyCurrentTerm), term); err != nil {
		t.Fatal(err)
	}
	return &groupStores{logs, stable, snaps}
}

// testEntry is an entry whose data is a function of index and term, so that any
// reader can tell whether it is whole.
func testEntry(index, term uint64, size int) *raft.Log {
	l := &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: make([]byte, size)}
	if index%7 == 0 {
		l.Extensions = []byte("more")
	}
	r := rand.New(rand.NewPCG(index, term))
	for i := range l.Data {
		l.Data[i] = byte(r.Uint32())
	}
	return l
}

func testEntries(from, to, term uint64, size int) []*raft.Log {
	var logs []*raft.Log
	for i := from; i <= to; i++ {
		logs = append(logs, testEntry(i, term, size))
	}
	return logs
}

func sameEntry(a, b *raft.Log) error {
	if a.Index != b.Index || a.Term != b.Term || a.Type != b.Type || !bytes.Equal(a.Data, b.Data) || !bytes.Equal(a.Extensions, b.Extensions) {
		return fmt.Errorf("entry %d/%d (%d bytes) is not %d/%d (%d bytes)", a.Term, a.Index, len(a.Data), b.Term, b.Index, len(b.Data))
	}
	return nil
}

// checkLog compares a log with the entries it should have from its first index
// on.
func checkLog(s *logStore, want map[uint64]*raft.Log, last uint64) error {
	gotFirst, _ := s.FirstIndex()
	gotLast, _ := s.LastIndex()
	if gotLast != last {
		return fmt.Errorf("the last entry is %d, not %d", gotLast, last)
	}
	if last == 0 {
		return nil
	}
	var l raft.Log
	for i := gotFirst; i <= last; i++ {
		if err := s.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d of %d..%d: %w", i, gotFirst, last, err)
		}
		if err := sameEntry(&l, want[i]); err != nil {
			return err
		}
	}
	for _, i := range []uint64{gotFirst - 1, last + 1} {
		if err := s.GetLog(i, &l); !errors.Is(err, raft.ErrLogNotFound) {
			return fmt.Errorf("entry %d outside of %d..%d: %v", i, gotFirst, last, err)
		}
	}
	return nil
}

// A hookFS calls back before each write and sync of a file, and can fail it.
type hookFS struct {
	vfs.FS
	hook atomic.Pointer[func(op, name string) error]

	// cloning is held while a MemFS is being cloned, and where it would deadlock
	// with that: it takes a read lock twice.
	cloning sync.Mutex
}

func (h *hookFS) on(f func(op, name string) error) { h.hook.Store(&f) }

func (h *hookFS) call(op, name string) error {
	if f := h.hook.Load(); f != nil {
		return (*f)(op, h.FS.PathBase(name))
	}
	return nil
}

func (h *hookFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.Create(name, c)
	return h.wrap(f, name), err
}

func (h *hookFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	h.cloning.Lock()
	defer h.cloning.Unlock()
	f, err := h.FS.ReuseForWrite(old, name, c)
	return h.wrap(f, name), err
}

func (h *hookFS) Lock(name string) (io.Closer, error) {
	h.cloning.Lock()
	defer h.cloning.Unlock()
	return h.FS.Lock(name)
}

func (h *hookFS) wrap(f vfs.File, name string) vfs.File {
	if f == nil {
		return nil
	}
	return &hookFile{f, h, name}
}

type hookFile struct {
	vfs.File
	h    *hookFS
	name string
}

func (f *hookFile) Write(p []byte) (int, error) {
	if err := f.h.call("write", f.name); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *hookFile) Sync() error { return f.synced(f.File.Sync) }

func (f *hookFile) SyncData() error { return f.synced(f.File.SyncData) }

// synced reports the sync when it is done.
func (f *hookFile) synced(sync func() error) error {
	if err := f.h.call("sync", f.name); err != nil {
		return err
	}
	if err := sync(); err != nil {
		return err
	}
	return f.h.call("synced", f.name)
}
