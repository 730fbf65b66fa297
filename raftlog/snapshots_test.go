package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"github.com/klauspost/compress/s2"
	"github.com/usher-seats/usher/wire"
)

// A testState is a state machine's parts.
type testState struct {
	at, term uint64
	changed  map[uint64]uint64
	data     map[uint64][]byte

	encodes int
	failAt  int // the encode that abandons the snapshot; 0: none
}

func newTestState() *testState {
	return &testState{term: 1, changed: make(map[uint64]uint64), data: make(map[uint64][]byte)}
}

func (s *testState) clone() *testState {
	return &testState{at: s.at, term: s.term, changed: maps.Clone(s.changed), data: maps.Clone(s.data)}
}

// apply changes a few parts, as the next entry.
func (s *testState) apply(r *rand.Rand) {
	s.at++
	for range 1 + r.IntN(3) {
		id := r.Uint64N(40)
		if r.IntN(5) == 0 {
			delete(s.changed, id)
			delete(s.data, id)
			continue
		}
		s.set(id, bytes.Repeat([]byte{byte(r.Uint32()), byte(id)}, r.IntN(3_000)))
	}
}

func (s *testState) set(id uint64, data []byte) {
	s.changed[id], s.data[id] = s.at, data
}

func (s *testState) index() (index, term uint64, stamp wire.Millis) {
	return s.at, s.term, wire.Millis(1_000 + s.at)
}

func (s *testState) parts() map[uint64]uint64 { return maps.Clone(s.changed) }

func (s *testState) encode(dst []byte, id uint64) ([]byte, bool, error) {
	s.encodes++
	if s.encodes == s.failAt {
		return dst, false, errAbandoned
	}
	data, ok := s.data[id]
	return append(dst, data...), ok, nil
}

// stream writes a snapshot the way the comment in parts.go says, without the
// code that it tests.
func (s *testState) stream(group uint64) []byte {
	le := binary.LittleEndian
	var parts []byte
	for _, id := range slices.Sorted(maps.Keys(s.data)) {
		packed := s2.Encode(nil, s.data[id])
		var named []byte
		named = le.AppendUint64(named, id)
		named = le.AppendUint64(named, s.changed[id])
		sum := xxhash.Sum64(append(bytes.Clone(named), s.data[id]...))
		parts = append(parts, named...)
		parts = le.AppendUint32(parts, uint32(len(packed)))
		parts = le.AppendUint32(parts, uint32(len(s.data[id])))
		parts = le.AppendUint64(parts, sum)
		parts = append(parts, packed...)
	}
	b := []byte("UshSnap1")
	for _, u := range []uint64{group, s.at, s.term, 1_000 + s.at, uint64(len(s.data)), uint64(64 + len(parts) + 24)} {
		b = le.AppendUint64(b, u)
	}
	b = le.AppendUint64(b, xxhash.Sum64(b))
	b = append(b, parts...)
	sum := xxhash.Sum64(b)
	b = append(b, "UshSnapE"...)
	b = le.AppendUint64(b, uint64(len(s.data)))
	return le.AppendUint64(b, sum)
}

// check compares a stream with the state.
func (s *testState) check(r io.Reader) error {
	got := make(map[uint64][]byte)
	err := readSnapshot(r, func(h snapshotHeader) error {
		if h.index != s.at || h.term != s.term || h.stamp != wire.Millis(1_000+s.at) {
			return fmt.Errorf("snapshot is of entry %d/%d at %d, not %d/%d", h.term, h.index, h.stamp, s.term, s.at)
		}
		return nil
	}, func(id uint64, data []byte) error {
		got[id] = bytes.Clone(data)
		return nil
	})
	if err != nil {
		return err
	}
	if !maps.EqualFunc(got, s.data, bytes.Equal) {
		return fmt.Errorf("%d parts that differ from the %d there should be", len(got), len(s.data))
	}
	return nil
}

var testConfiguration = raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: "n1", Address: "n1:1"}}}

func create(s *snapshotStore, index, term uint64) (*snapshotSink, error) {
	k, err := s.Create(raft.SnapshotVersionMax, index, term, testConfiguration, 1, nil)
	if err != nil {
		return nil, err
	}
	return k.(*snapshotSink), nil
}

// take stores the state as a snapshot of this node.
func (s *testState) take(snaps *snapshotStore) error {
	k, err := create(snaps, s.at, s.term)
	if err != nil {
		return err
	}
	if err := k.writeParts(s); err != nil {
		return errors.Join(err, k.Cancel())
	}
	return k.Close()
}

// install stores it as a leader's.
func (s *testState) install(snaps *snapshotStore) error {
	k, err := create(snaps, s.at, s.term)
	if err != nil {
		return err
	}
	if _, err := io.Copy(k, bytes.NewReader(s.stream(snaps.group))); err != nil {
		return errors.Join(err, k.Cancel())
	}
	return k.Close()
}

// checkCurrent compares the current snapshot with a state; nil: there is none.
func checkCurrent(snaps *snapshotStore, want *testState) error {
	list, err := snaps.List()
	if err != nil {
		return err
	}
	if want == nil {
		if len(list) != 0 {
			return fmt.Errorf("there is a snapshot of entry %d", list[0].Index)
		}
		return nil
	}
	if len(list) != 1 {
		return fmt.Errorf("%d snapshots in the list", len(list))
	}
	meta, r, err := snaps.Open(list[0].ID)
	if err != nil {
		return err
	}
	defer r.Close()
	if meta.Index != want.at || meta.Term != want.term || meta.ConfigurationIndex != 1 || len(meta.Configuration.Servers) != 1 {
		return fmt.Errorf("the snapshot is described as %+v", meta)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if int64(len(b)) != meta.Size {
		return fmt.Errorf("the stream has %d bytes, %d were announced", len(b), meta.Size)
	}
	return want.check(bytes.NewReader(b))
}

func openSnaps(t testing.TB, o Options) (*Node, *groupStores) {
	t.Helper()
	n := mustOpen(t, o)
	return n, groupOf(t, n, 5, 1)
}

// dataKeys counts the parts' data in the Pebble, current or not.
func dataKeys(t testing.TB, s *snapshotStore) (count int) {
	t.Helper()
	it, err := s.n.snap.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if k := it.Key(); len(k) > 8 && k[8] == 'd' {
			count++
		}
	}
	return count
}

// TestSnapshotsAreIncremental: only what changed is encoded and written again,
// what is replaced or deleted leaves nothing behind, and each snapshot is right.
func TestSnapshotsAreIncremental(t *testing.T) {
	r := seeded(testSeed(t))
	o := storeOptions(fastDir(t), vfs.NewMem())
	n, g := openSnaps(t, o)
	s := newTestState()
	for round := range 60 {
		before := s.clone()
		for range 1 + r.IntN(5) {
			s.apply(r)
		}
		want := 0
		for id, at := range s.changed {
			if before.changed[id] != at {
				want++
			}
		}
		s.encodes = 0
		if err := s.take(g.snaps); err != nil {
			t.Fatal(err)
		}
		if s.encodes != want {
			t.Fatalf("round %d: %d parts encoded, %d had changed", round, s.encodes, want)
		}
		if err := checkCurrent(g.snaps, s); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if got := dataKeys(t, g.snaps); got != len(s.data) {
			t.Fatalf("round %d: data of %d parts is stored, there are %d", round, got, len(s.data))
		}
		if round%10 == 9 {
			mustClose(t, n)
			n, g = openSnaps(t, o)
		}
	}
	mustClose(t, n)
}

// TestSnapshotLosesNothing: a snapshot that fails, is canceled or never reaches
// Persist leaves the one before it, and the next one has all changes.
func TestSnapshotLosesNothing(t *testing.T) {
	r := seeded(testSeed(t))
	o := storeOptions(fastDir(t), vfs.NewMem())
	n, g := openSnaps(t, o)
	s := newTestState()
	var current *testState
	for round := range 300 {
		s.apply(r)
		s.failAt = 0
		var err error
		switch r.IntN(6) {
		case 0: // the state machine goes away in the middle
			s.encodes, s.failAt = 0, 1+r.IntN(5)
			if err = s.take(g.snaps); err == nil {
				current = s.clone()
			} else if !errors.Is(err, errAbandoned) {
				t.Fatal(err)
			}
		case 1: // raft cancels
			k, err := create(g.snaps, s.at, s.term)
			if err == nil && r.IntN(2) == 0 {
				err = k.writeParts(s)
			}
			if err := errors.Join(err, k.Cancel()); err != nil {
				t.Fatal(err)
			}
		case 2: // raft gives up before Persist
			if _, err := create(g.snaps, s.at, s.term); err != nil {
				t.Fatal(err)
			}
		case 3: // the process ends in the middle
			k, err := create(g.snaps, s.at, s.term)
			if err == nil {
				err = errors.Join(k.writeParts(s), flushed(k))
			}
			if err != nil {
				t.Fatal(err)
			}
			mustClose(t, n)
			n, g = openSnaps(t, o)
		default:
			if err := s.take(g.snaps); err != nil {
				t.Fatal(err)
			}
			current = s.clone()
			if got := dataKeys(t, g.snaps); got != len(s.data) {
				t.Fatalf("round %d: data of %d parts is stored, there are %d", round, got, len(s.data))
			}
		}
		if err := checkCurrent(g.snaps, current); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	mustClose(t, n)
}

// flushed writes what a sink has collected.
func flushed(k *snapshotSink) error {
	if k.batch == nil {
		return nil
	}
	return k.flush()
}

// TestInstalledSnapshotReplacesAll: the parts before it are gone, also those
// that it does not have, and snapshots of this node go on from it.
func TestInstalledSnapshotReplacesAll(t *testing.T) {
	r := seeded(testSeed(t))
	n, g := openSnaps(t, storeOptions(fastDir(t), vfs.NewMem()))
	defer mustClose(t, n)
	s := newTestState()
	for range 30 {
		s.apply(r)
		if err := s.take(g.snaps); err != nil {
			t.Fatal(err)
		}
		other := newTestState()
		other.at = s.at + r.Uint64N(5)
		for range r.IntN(20) {
			other.apply(r)
		}
		if err := other.install(g.snaps); err != nil {
			t.Fatal(err)
		}
		if err := checkCurrent(g.snaps, other); err != nil {
			t.Fatal(err)
		}
		if got := dataKeys(t, g.snaps); got != len(other.data) {
			t.Fatalf("data of %d parts is stored, there are %d", got, len(other.data))
		}
		s = other
	}
	old := newTestState()
	old.at = s.at - 1
	if err := old.install(g.snaps); err == nil {
		t.Error("a snapshot older than the current one was installed")
	}
}

// TestOvertakenSnapshotFails: a snapshot that began before another became
// current builds on what is no longer there. It fails and leaves nothing.
func TestOvertakenSnapshotFails(t *testing.T) {
	n, g := openSnaps(t, storeOptions(fastDir(t), vfs.NewMem()))
	defer mustClose(t, n)
	s := newTestState()
	s.at = 10
	s.set(1, []byte("one"))
	if err := s.take(g.snaps); err != nil {
		t.Fatal(err)
	}
	s.at = 20
	s.set(2, []byte("two"))
	late, err := create(g.snaps, s.at, s.term)
	if err == nil {
		err = errors.Join(late.writeParts(s), flushed(late))
	}
	if err != nil {
		t.Fatal(err)
	}
	other := newTestState()
	other.at = 30
	other.set(7, []byte("seven"))
	if err := other.install(g.snaps); err != nil {
		t.Fatal(err)
	}
	if err := late.Close(); !errors.Is(err, errOvertaken) {
		t.Errorf("the overtaken snapshot ended with %v", err)
	}
	if err := checkCurrent(g.snaps, other); err != nil {
		t.Error(err)
	}
	if got := dataKeys(t, g.snaps); got != 1 {
		t.Errorf("data of %d parts is stored, there is 1", got)
	}
}

// TestReaderIsPinned: a reader yields the snapshot it was opened on, byte for
// byte, while others replace it.
func TestReaderIsPinned(t *testing.T) {
	r := seeded(testSeed(t))
	n, g := openSnaps(t, storeOptions(fastDir(t), vfs.NewMem()))
	defer mustClose(t, n)
	s := newTestState()
	type reading struct {
		of *testState
		r  io.ReadCloser
		b  []byte
	}
	var open []*reading
	for range 40 {
		s.apply(r)
		if err := s.take(g.snaps); err != nil {
			t.Fatal(err)
		}
		list, _ := g.snaps.List()
		_, rc, err := g.snaps.Open(list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, &reading{of: s.clone(), r: rc})
		if want := open[0].of.at; g.snaps.pinned() != want {
			t.Fatalf("pinned at %d, the oldest reader is at %d", g.snaps.pinned(), want)
		}
		for _, o := range open { // all go on a little
			p := make([]byte, r.IntN(2_000))
			n, _ := o.r.Read(p)
			o.b = append(o.b, p[:n]...)
		}
		if len(open) > 8 {
			o := open[0]
			open = open[1:]
			rest, err := io.ReadAll(o.r)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(o.of.check(bytes.NewReader(append(o.b, rest...))), o.r.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, o := range open {
		o.r.Close()
	}
	if p := g.snaps.pinned(); p != 0 {
		t.Errorf("pinned at %d by nobody", p)
	}
	if _, _, err := g.snaps.Open("1-1-1"); err == nil {
		t.Error("a snapshot that is no more was opened")
	}
}

// TestBadStreamIsRefused: a stream cut short anywhere, with a byte changed
// anywhere, or with more behind it is an error: for the reader, and for the sink,
// which keeps what it had.
func TestBadStreamIsRefused(t *testing.T) {
	n, g := openSnaps(t, storeOptions(fastDir(t), vfs.NewMem()))
	defer mustClose(t, n)
	old := newTestState()
	old.at = 1
	old.set(1, []byte("what is there"))
	if err := old.take(g.snaps); err != nil {
		t.Fatal(err)
	}
	s := newTestState()
	s.at = 9
	s.set(1, []byte("a part"))
	s.set(3, bytes.Repeat([]byte("a longer part"), 20))
	s.set(4, nil)
	const foreign = "of another group" // the store's business alone
	good := s.stream(g.snaps.group)
	if err := s.check(bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, bad []byte) {
		t.Helper()
		if err := s.check(bytes.NewReader(bad)); err == nil && what != foreign {
			t.Errorf("%s: the reader took it", what)
		}
		k, err := create(g.snaps, s.at, s.term)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(k, bytes.NewReader(bad))
		if err == nil {
			err = k.Close()
		} else {
			k.Cancel()
		}
		if err == nil {
			t.Fatalf("%s: the store took it", what)
		}
	}
	for i := range good {
		refuse(fmt.Sprintf("cut at %d of %d", i, len(good)), good[:i])
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		refuse(fmt.Sprintf("bit flipped in byte %d of %d", i, len(good)), bad)
	}
	refuse("more behind the end", append(bytes.Clone(good), 0))
	refuse(foreign, s.stream(g.snaps.group+1))
	if err := checkCurrent(g.snaps, old); err != nil {
		t.Error(err)
	}
	if got := dataKeys(t, g.snaps); got != 1 {
		t.Errorf("data of %d parts is stored, there is 1", got)
	}
}

// TestStreamFormat: what the store streams is what parts.go says, and what one
// node streams another one takes.
func TestStreamFormat(t *testing.T) {
	r := seeded(testSeed(t))
	n, g := openSnaps(t, storeOptions(fastDir(t), vfs.NewMem()))
	defer mustClose(t, n)
	s := newTestState()
	for range 20 {
		s.apply(r)
	}
	if err := s.take(g.snaps); err != nil {
		t.Fatal(err)
	}
	list, _ := g.snaps.List()
	_, rc, err := g.snaps.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(rc)
	rc.Close()
	if err != nil || !bytes.Equal(got, s.stream(g.snaps.group)) {
		t.Errorf("the stream differs from the format (%v)", err)
	}
}
