package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// castVote does what raft does to cast a vote, up to the given number of writes.
func castVote(s raft.StableStore, term uint64, candidate string, writes int) error {
	for _, write := range []func() error{
		func() error { return s.SetUint64([]byte("CurrentTerm"), term) },
		func() error { return s.SetUint64([]byte("LastVoteTerm"), term) },
		func() error { return s.Set([]byte("LastVoteCand"), []byte(candidate)) },
	}[:writes] {
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// votedIn is what raft, asked for a vote in a term, takes itself to have voted
// for: "" if it feels free (requestVote in raft.go of hashicorp/raft).
func votedIn(t testing.TB, s raft.StableStore, term uint64) string {
	t.Helper()
	in, err := s.GetUint64([]byte("LastVoteTerm"))
	if err != nil && err.Error() != "not found" {
		t.Fatal(err)
	}
	who, err := s.Get([]byte("LastVoteCand"))
	if err != nil && err.Error() != "not found" {
		t.Fatal(err)
	}
	if in == term && who != nil {
		return string(who)
	}
	return ""
}

// TestTornVote ends the process after each of the writes of which a vote
// consists. The candidate of an older term is never taken for the one of the new
// term (hashicorp/raft #661). raft-boltdb itself does exactly that, which shows
// that the test can tell.
func TestTornVote(t *testing.T) {
	bolt, err := raftboltdb.NewBoltStore(filepath.Join(fastDir(t), "torn.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer bolt.Close()
	if err := errors.Join(castVote(bolt, 4, "old", 3), castVote(bolt, 5, "new", 2)); err != nil {
		t.Fatal(err)
	}
	if got := votedIn(t, bolt, 5); got != "old" {
		t.Errorf("raft-boltdb, torn, votes for %q: the wrapper may not be needed any more", got)
	}

	for writes, want := range []string{"", "", "", "new"} {
		o := storeOptions(fastDir(t), vfs.NewMem())
		n := mustOpen(t, o)
		_, s, _, err := n.openGroupStores(1)
		if err == nil {
			err = errors.Join(castVote(s, 4, "old", 3), castVote(s, 5, "new", writes))
		}
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, n)
		n = mustOpen(t, o)
		_, s, _, err = n.openGroupStores(1)
		if err != nil {
			t.Fatal(err)
		}
		if got := votedIn(t, s, 5); got != want {
			t.Errorf("after %d writes the vote is for %q, want %q", writes, got, want)
		}
		term, err := s.GetUint64([]byte("CurrentTerm"))
		if want := uint64(4 + min(writes, 1)); err != nil || term != want {
			t.Errorf("after %d writes the term is %d (%v), want %d", writes, term, err, want)
		}
		mustClose(t, n)
	}
}

// TestVoteRefusals: a term never goes back, and nobody votes twice in one.
func TestVoteRefusals(t *testing.T) {
	n := mustOpen(t, storeOptions(fastDir(t), vfs.NewMem()))
	defer mustClose(t, n)
	_, s, _, err := n.openGroupStores(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"CurrentTerm", "LastVoteTerm", "anything"} {
		if _, err := s.GetUint64([]byte(key)); err == nil || err.Error() != "not found" {
			t.Errorf("%s of a new group: %v, want the error that raft knows", key, err)
		}
		if _, err := s.Get([]byte(key)); err == nil || err.Error() != "not found" {
			t.Errorf("%s of a new group: %v, want the error that raft knows", key, err)
		}
	}
	if err := castVote(s, 7, "a", 3); err != nil {
		t.Fatal(err)
	}
	if err := castVote(s, 7, "a", 3); err != nil {
		t.Errorf("the same vote again: %v", err)
	}
	if err := castVote(s, 7, "b", 3); err == nil {
		t.Error("a second vote in the same term was taken")
	}
	if err := s.SetUint64([]byte("CurrentTerm"), 6); err == nil {
		t.Error("the term went back")
	}
	if err := s.SetUint64([]byte("LastVoteTerm"), 8); err == nil {
		t.Error("a vote was cast in a term that has not begun")
	}
	if err := errors.Join(s.Set([]byte("x"), nil)); err == nil {
		t.Error("a key that raft does not use was taken")
	}
	if got := votedIn(t, s, 7); got != "a" {
		t.Errorf("the vote is for %q", got)
	}
}

// openVotes opens a bolt file as a node does.
func openVotes(path string) (*raftboltdb.BoltStore, error) {
	return raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
	})
}

// TestVotePowerLoss cuts the power while bolt writes. Bolt is on the operating
// system's file system, so the test makes the disks that power loss may leave:
// of the pages that a commit changed, any may be there or not before the first
// sync; then all are, but the meta page may be torn. The file opens, and the
// vote is the one before or the one after; once bolt has returned, the one after.
func TestVotePowerLoss(t *testing.T) {
	r := seeded(testSeed(t))
	dir := fastDir(t)
	path, torn := filepath.Join(dir, "votes.db"), filepath.Join(dir, "torn.db")
	bolt, err := openVotes(path)
	if err != nil {
		t.Fatal(err)
	}
	defer bolt.Close()
	page := os.Getpagesize()
	votes := make(map[uint64]vote)
	image := func() []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	check := func(b []byte, want func(group uint64, got *vote) bool) {
		t.Helper()
		if err := os.WriteFile(torn, b, 0o600); err != nil {
			t.Fatal(err)
		}
		bolt, err := openVotes(torn)
		if err != nil {
			t.Fatal(err)
		}
		defer bolt.Close()
		for group := range uint64(9) {
			got, err := readVote(bolt, group)
			if err != nil || !want(group, got) {
				t.Fatalf("the vote of group %d is %+v (%v)", group, got, err)
			}
		}
	}
	for range soak(t, 150) {
		group := r.Uint64N(9)
		old := votes[group]
		next := vote{term: old.term + 1, cast: r.IntN(2) == 0}
		if next.cast {
			next.candidate = fmt.Append(nil, "node", r.IntN(5))
		}
		before := image()
		if err := bolt.Set(voteKey(group), next.encode()); err != nil {
			t.Fatal(err)
		}
		after := image()
		before = append(before, make([]byte, len(after)-len(before))...)
		is := func(v vote) func(uint64, *vote) bool {
			return func(g uint64, got *vote) bool {
				want := votes[g]
				if g == group {
					want = v
				}
				if got == nil {
					return want.term == 0
				}
				return got.term == want.term && got.cast == want.cast && bytes.Equal(got.candidate, want.candidate)
			}
		}
		disk := bytes.Clone(before)
		for at := 2 * page; at < len(after); at += page { // pages 0 and 1 are the metas
			if r.IntN(2) == 0 {
				copy(disk[at:at+page], after[at:])
			}
		}
		check(disk, is(old))

		copy(disk[2*page:], after[2*page:])
		cut := r.IntN(200) // a meta is less than that
		for at := 0; at < 2*page; at += page {
			if !bytes.Equal(before[at:at+page], after[at:at+page]) {
				copy(disk[at:at+cut], after[at:])
			}
		}
		check(disk, func(g uint64, got *vote) bool { return is(old)(g, got) || is(next)(g, got) })
		check(after, is(next))
		votes[group] = next
	}
}
