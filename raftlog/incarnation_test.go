package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// copyDir copies a node's directory, or one of its stores, to replace to.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		err = os.CopyFS(to, os.DirFS(from))
	} else {
		var b []byte
		if b, err = os.ReadFile(from); err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A story runs a node on disk for a while. Each start stores some entries, a
// snapshot now and then, and a term.
type story struct {
	t    *testing.T
	o    Options
	last uint64
	term uint64
	snap *testState
}

func newStory(t *testing.T) *story {
	o := storeOptions(filepath.Join(fastDir(t), "node"), nil)
	o.TrailingLogBytes = 1
	return &story{t: t, o: o, snap: newTestState()}
}

// run is one start.
func (s *story) run(snapshot bool) {
	s.t.Helper()
	n := mustOpen(s.t, s.o)
	s.term++
	g := groupOf(s.t, n, 1, s.term)
	if err := g.logs.StoreLogs(testEntries(s.last+1, s.last+100, s.term, 2_000)); err != nil {
		s.t.Fatal(err)
	}
	s.last += 100
	if snapshot {
		s.snap.at, s.snap.term = s.last-10, s.term
		s.snap.set(1, fmt.Append(nil, "state at", s.last))
		first, _ := g.logs.FirstIndex()
		if err := errors.Join(s.snap.take(g.snaps), g.logs.DeleteRange(first, s.snap.at)); err != nil {
			s.t.Fatal(err)
		}
	}
	mustClose(s.t, n)
}

// TestStoresThatDoNotBelongTogether: whatever single store is missing, from an
// earlier start, or of another node, the node refuses to start, says which it is
// and what to do, and goes on when the right one is back.
func TestStoresThatDoNotBelongTogether(t *testing.T) {
	stores := []string{"log", "snap", boltFile}
	s := newStory(t)
	s.run(true)
	old := filepath.Join(t.TempDir(), "old")
	copyDir(t, s.o.Dir, old)
	for range 3 {
		s.run(true)
	}
	s.run(false)
	now := filepath.Join(t.TempDir(), "now")
	copyDir(t, s.o.Dir, now)

	other := newStory(t)
	for range 5 {
		other.run(true)
	}

	refused := func(what, store string) {
		t.Helper()
		n, err := Open(s.o)
		if err == nil {
			n.Close()
			t.Errorf("%s: the node started", what)
			return
		}
		for _, want := range []string{filepath.Join(s.o.Dir, store), "restore all of " + s.o.Dir} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the node refuses with %q, which does not say %q", what, err, want)
			}
		}
	}
	for _, store := range stores {
		path := filepath.Join(s.o.Dir, store)
		copyDir(t, filepath.Join(old, store), path)
		refused(store+" is older", store)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		refused(store+" is missing", store)
		copyDir(t, filepath.Join(other.o.Dir, store), path)
		suspect := store
		if store == boltFile {
			suspect = "log" // two against one, but it is bolt that the others are held to
		}
		refused(store+" is of another node", suspect)
		copyDir(t, now, s.o.Dir)
		s.run(false)
		copyDir(t, s.o.Dir, now)
	}

	// All three from the same backup are a node again.
	copyDir(t, old, s.o.Dir)
	mustClose(t, mustOpen(t, s.o))

	s.o.NodeID = "n2"
	if _, err := Open(s.o); err == nil || !strings.Contains(err.Error(), `belongs to node "n1"`) {
		t.Errorf("under another name: %v", err)
	}
}

// TestStoresOfOneStartThatDoNotMatch: copies made while the node was running
// have the right start; the marks that the stores keep of one another tell.
func TestStoresOfOneStartThatDoNotMatch(t *testing.T) {
	s := newStory(t)
	n := mustOpen(t, s.o)
	g := groupOf(t, n, 1, 3)
	if err := g.logs.StoreLogs(testEntries(1, 100, 3, 100)); err != nil {
		t.Fatal(err)
	}
	early := filepath.Join(t.TempDir(), "early")
	hotCopy(t, n, early)

	if err := g.logs.StoreLogs(testEntries(101, 200, 3, 2_000)); err != nil {
		t.Fatal(err)
	}
	s.snap.at, s.snap.term = 150, 3
	if err := errors.Join(s.snap.take(g.snaps), g.logs.DeleteRange(1, 150)); err != nil {
		t.Fatal(err)
	}
	if err := g.stable.SetUint64([]byte(keyCurrentTerm), 4); err != nil {
		t.Fatal(err)
	}
	if err := g.logs.StoreLogs(testEntries(201, 210, 4, 100)); err != nil {
		t.Fatal(err)
	}
	late := filepath.Join(t.TempDir(), "late")
	hotCopy(t, n, late)
	mustClose(t, n)

	for _, store := range []string{"log", "snap", boltFile} {
		copyDir(t, late, s.o.Dir)
		copyDir(t, filepath.Join(early, store), filepath.Join(s.o.Dir, store))
		if n, err := Open(s.o); err == nil {
			n.Close()
			t.Errorf("with an earlier %s the node started", store)
		} else if !strings.Contains(err.Error(), filepath.Join(s.o.Dir, store)) {
			t.Errorf("with an earlier %s the node refuses with %q", store, err)
		}
	}
	copyDir(t, late, s.o.Dir)
	mustClose(t, mustOpen(t, s.o))
}

// hotCopy copies the stores of a running node, each as it is on disk.
func hotCopy(t *testing.T, n *Node, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, db := range map[string]*pebble.DB{"log": n.log, "snap": n.snap} {
		if err := db.Checkpoint(filepath.Join(to, name), pebble.WithFlushedWAL()); err != nil {
			t.Fatal(err)
		}
	}
	copyDir(t, n.path(boltFile), filepath.Join(to, boltFile))
}

// TestSecondProcessIsRefused: it gets an error that names the directory, and
// does not hang.
func TestSecondProcessIsRefused(t *testing.T) {
	s := newStory(t)
	n := mustOpen(t, s.o)
	defer mustClose(t, n)
	if _, err := Open(s.o); err == nil || !strings.Contains(err.Error(), "another process uses "+s.o.Dir) {
		t.Errorf("the second one got %v", err)
	}
}

// TestOptionsAreChecked: mistakes get a sentence.
func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{NodeID: "n1"},
		{Dir: t.TempDir()},
		{Dir: t.TempDir(), NodeID: strings.Repeat("n", maxNodeID+1)},
		{Dir: t.TempDir(), NodeID: "n1", DiskReserve: -1},
	} {
		if n, err := Open(o); err == nil {
			n.Close()
			t.Errorf("%+v was taken", o)
		}
	}
}
