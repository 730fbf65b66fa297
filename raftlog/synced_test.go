package raftlog

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// killed runs a node that stores the entries and is killed: what is left is what
// it wrote, synced or not.
func killed(t *testing.T, o Options, mem *vfs.MemFS, logs [][]*raft.Log) (left func() *vfs.MemFS) {
	t.Helper()
	o.FS = mem
	n := mustOpen(t, o)
	g := groupOf(t, n, 1, 2)
	for _, l := range logs {
		if err := g.logs.StoreLogs(l); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(o.Dir, boltFile)
	bolt, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	image := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: seeded(1)})
	mustClose(t, n)
	return func() *vfs.MemFS {
		if err := os.WriteFile(path, bolt, 0o600); err != nil {
			t.Fatal(err)
		}
		return image.CrashClone(vfs.CrashCloneCfg{})
	}
}

// newestFile is the file of a kind with the highest number.
func newestFile(t *testing.T, fs vfs.FS, dir string, kind fileKind) (path string, content []byte) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	newest := uint64(0)
	for _, name := range names {
		if k, num, ok := fileKindOf(name); ok && k == kind && num >= newest {
			newest, path = num, fs.PathJoin(dir, name)
		}
	}
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if content, err = io.ReadAll(f); err != nil {
		t.Fatal(err)
	}
	return path, content
}

func overwrite(t *testing.T, fs vfs.FS, path string, content []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(slices.Clone(content))
	}
	if err := errors.Join(err, f.Sync(), f.Close(), syncDir(fs, fs.PathDir(path))); err != nil {
		t.Fatal(err)
	}
}

// lastIn is the last entry that a Pebble by itself finds in a log.
func lastIn(t *testing.T, fs vfs.FS, dir string) (index uint64, err error) {
	t.Helper()
	o := &pebble.Options{FS: fs, FormatMajorVersion: pebbleFormat, Logger: pebbleLogger{&Node{opts: Options{Log: quiet()}}, dir}}
	db, err := pebble.Open(dir, o)
	if err != nil {
		return 0, err
	}
	_, _, end, err := logEnds(db, 1)
	return end.index, errors.Join(err, db.Close())
}

// TestDamagedWAL flips a bit somewhere in what was synced of the newest WAL, or
// cuts it off there. The node refuses to start and names the file. Pebble by
// itself starts and has lost entries that were acknowledged, which shows that
// the check is needed.
func TestDamagedWAL(t *testing.T) {
	r := seeded(testSeed(t))
	for _, c := range []struct {
		what   string
		bytes  int
		stores int
	}{{"small entries", 300, 400}, {"entries of several blocks", 64 << 10, 15}} {
		var logs [][]*raft.Log
		for i := range uint64(c.stores) {
			logs = append(logs, testEntries(i+1, i+1, 1, c.bytes))
		}
		o := storeOptions(fastDir(t), nil)
		o.memTable = 64 << 20
		left := killed(t, o, vfs.NewCrashableMem(), logs)
		dir := filepath.Join(o.Dir, "log")
		lost := 0
		// Some damage Pebble finds, too: a few rounds may be all of that kind.
		for round, rounds := 0, soak(t, 25); round < rounds || lost == 0 && round < 100*rounds; round++ {
			fs := left()
			path, content := newestFile(t, fs, dir, walFile)
			at := r.IntN(len(content))
			if r.IntN(4) == 0 {
				content = content[:at]
			} else {
				content[at] ^= 1 << r.IntN(8)
			}
			overwrite(t, fs, path, content)
			if last, err := lastIn(t, fs.CrashClone(vfs.CrashCloneCfg{}), dir); err == nil && last < uint64(c.stores) {
				lost++
			}
			o.FS = fs
			n, err := Open(o)
			if err == nil {
				n.Close()
				t.Fatalf("%s: with damage at byte %d of %d the node started", c.what, at, len(content))
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%s: the node refuses with %q, which does not name %s", c.what, err, path)
			}
		}
		t.Logf("%s: Pebble alone would have lost acknowledged entries in %d cases", c.what, lost)
		if lost == 0 {
			t.Errorf("%s: Pebble found all damage by itself", c.what)
		}
	}
}

// TestDamagedManifest is the same for the manifest, of which Pebble drops the
// end likewise.
func TestDamagedManifest(t *testing.T) {
	r := seeded(testSeed(t))
	var logs [][]*raft.Log
	for i := range uint64(200) {
		logs = append(logs, testEntries(i*20+1, i*20+20, 1, 300))
	}
	o := storeOptions(fastDir(t), nil)
	o.memTable = 64 << 10
	left := killed(t, o, vfs.NewCrashableMem(), logs)
	for range soak(t, 40) {
		fs := left()
		path, content := newestFile(t, fs, filepath.Join(o.Dir, "log"), manifestFile)
		at := r.IntN(len(content))
		content[at] ^= 1 << r.IntN(8)
		overwrite(t, fs, path, content)
		o.FS = fs
		if n, err := Open(o); err == nil {
			n.Close()
			t.Fatalf("with damage at byte %d of %d the node started", at, len(content))
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("the node refuses with %q, which does not name %s", err, path)
		}
	}
}

// TestLostWAL: the newest WAL is gone altogether.
func TestLostWAL(t *testing.T) {
	o := storeOptions(fastDir(t), nil)
	left := killed(t, o, vfs.NewCrashableMem(), [][]*raft.Log{testEntries(1, 10, 1, 100)})
	fs := left()
	path, _ := newestFile(t, fs, filepath.Join(o.Dir, "log"), walFile)
	if err := fs.Remove(path); err != nil {
		t.Fatal(err)
	}
	o.FS = fs
	if n, err := Open(o); err == nil {
		n.Close()
		t.Error("the node started")
	} else if !strings.Contains(err.Error(), "lost its newest log file") {
		t.Errorf("the node refuses with %q", err)
	}
}

// TestDamageThatIsNone: the end of the WAL that was never synced may be anything,
// and so may the note after power loss. Neither keeps the node from starting.
func TestDamageThatIsNone(t *testing.T) {
	r := seeded(testSeed(t))
	o := storeOptions(fastDir(t), nil)
	o.memTable = 64 << 20
	left := killed(t, o, vfs.NewCrashableMem(), [][]*raft.Log{testEntries(1, 10, 1, 100), testEntries(11, 20, 1, 50_000)})
	for range soak(t, 40) {
		fs := left()
		path, content := newestFile(t, fs, filepath.Join(o.Dir, "log"), walFile)
		junk := make([]byte, r.IntN(100_000))
		for i := range junk {
			junk[i] = byte(r.Uint32() >> r.IntN(32))
		}
		overwrite(t, fs, path, append(content, junk...))
		if r.IntN(2) == 0 {
			overwrite(t, fs, filepath.Join(o.Dir, "log.synced"), junk[:min(len(junk), r.IntN(60))])
		}
		o.FS = fs
		n, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		m := &logModel{entries: make(map[uint64]*raft.Log)}
		m.store(testEntries(1, 10, 1, 100))
		m.store(testEntries(11, 20, 1, 50_000))
		if err := checkLog(groupOf(t, n, 1, 2).logs, m.entries, 20); err != nil {
			t.Fatal(err)
		}
		mustClose(t, n)
	}
}
