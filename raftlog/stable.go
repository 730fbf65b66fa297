package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// errNotFound is a key without a value. raft compares the text.
var errNotFound = errors.New("not found")

// The keys raft uses. It has no others.
const (
	keyCurrentTerm  = "CurrentTerm"
	keyLastVoteTerm = "LastVoteTerm"
	keyLastVoteCand = "LastVoteCand"
)

// A stableStore keeps one group's term and vote as one record of the bolt file.
//
// raft writes the term, the term of the vote and the candidate one after the
// other. As separate values a crash between the last two pairs the new term with
// the candidate of an older one (hashicorp/raft #661): after it the node takes
// itself to have voted for him, and would say so to him. In one record, a term
// that is entered has no vote; writing the candidate adds it. The term of the
// vote is the current one by then, raft makes sure of it, and is not written.
//
// Every write is on disk before it returns.
type stableStore struct {
	n     *Node
	key   []byte
	slot  *stallSlot
	logs  *logStore
	snaps *snapshotStore

	mu   sync.Mutex
	vote vote
}

// A vote is the record. Beside term and vote it quotes how far log and snapshots
// had come when it was written, so that an older copy of either is noticed.
type vote struct {
	dropped   bool   // the group's data are being removed; the rest is void
	replica   uint64 // whose promises these are; see Member
	term      uint64 // 0: the group has not begun
	cast      bool
	candidate []byte // who got the vote of this term, if cast
	logEnd    logEnd
	snapIndex uint64
}

const voteFormat = 2

// What the second byte of a vote says.
const (
	voteCast = 1 << iota
	voteDropped
)

func (v vote) encode() []byte {
	b := []byte{voteFormat, 0}
	if v.cast {
		b[1] |= voteCast
	}
	if v.dropped {
		b[1] |= voteDropped
	}
	for _, u := range []uint64{v.replica, v.term, v.logEnd.cuts, v.logEnd.index, v.snapIndex} {
		b = binary.LittleEndian.AppendUint64(b, u)
	}
	return seal(append(b, v.candidate...))
}

func decodeVote(b []byte) (*vote, error) {
	b, ok := unseal(b)
	const fixed = 2 + 5*8
	if !ok || len(b) < fixed || b[0] != voteFormat {
		return nil, errDamaged
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[2+8*i:]) }
	return &vote{
		cast:      b[1]&voteCast != 0,
		dropped:   b[1]&voteDropped != 0,
		replica:   u(0),
		term:      u(1),
		logEnd:    logEnd{u(2), u(3)},
		snapIndex: u(4),
		candidate: bytes.Clone(b[fixed:]),
	}, nil
}

func voteKey(group uint64) []byte { return binary.BigEndian.AppendUint64([]byte("vote"), group) }

// readVote returns a group's record; nil: it has none.
func readVote(bolt *raftboltdb.BoltStore, group uint64) (*vote, error) {
	b, err := boltGet(bolt, voteKey(group))
	if err != nil || b == nil {
		return nil, err
	}
	v, err := decodeVote(b)
	if err != nil {
		return nil, fmt.Errorf("%s: term and vote of group %d: %w", boltFile, group, err)
	}
	return v, nil
}

func openStableStore(n *Node, group uint64, logs *logStore, snaps *snapshotStore) (*stableStore, error) {
	s := &stableStore{n: n, key: voteKey(group), slot: n.stalls.slot(n.path(boltFile)), logs: logs, snaps: snaps}
	v, err := readVote(n.bolt, group)
	if err != nil {
		return nil, err
	}
	if v != nil {
		s.vote = *v
	}
	return s, nil
}

// GetUint64 implements raft.StableStore.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case string(key) == keyCurrentTerm && s.vote.term != 0,
		string(key) == keyLastVoteTerm && s.vote.cast:
		return s.vote.term, nil
	}
	return 0, errNotFound
}

// Get implements raft.StableStore.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) == keyLastVoteCand && s.vote.cast {
		return bytes.Clone(s.vote.candidate), nil
	}
	return nil, errNotFound
}

// SetUint64 implements raft.StableStore. What is on disk already is not written
// again: raft sets the term it has just read at each start.
func (s *stableStore) SetUint64(key []byte, val uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch string(key) {
	case keyCurrentTerm:
		if val < s.vote.term {
			return fmt.Errorf("term %d after term %d", val, s.vote.term)
		}
		if val == s.vote.term {
			return s.n.failure()
		}
		return s.writeLocked(vote{term: val})
	case keyLastVoteTerm:
		if val != s.vote.term {
			return fmt.Errorf("a vote in term %d, the term is %d", val, s.vote.term)
		}
		return s.n.failure()
	}
	return fmt.Errorf("key %q is not one that raft is known to use", key)
}

// Set implements raft.StableStore.
func (s *stableStore) Set(key, val []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) != keyLastVoteCand {
		return fmt.Errorf("key %q is not one that raft is known to use", key)
	}
	if s.vote.cast {
		if !bytes.Equal(val, s.vote.candidate) {
			return fmt.Errorf("a second vote in term %d: for %q after %q", s.vote.term, val, s.vote.candidate)
		}
		return s.n.failure()
	}
	return s.writeLocked(vote{term: s.vote.term, cast: true, candidate: bytes.Clone(val)})
}

// ErrOtherReplica says that what the node has of a group is of another replica:
// it has to be dropped first.
var ErrOtherReplica = errors.New("raftlog: the data here are of another replica of the group")

// claim makes the record that of a replica. A record that is there must be its own.
func (s *stableStore) claim(replica uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vote.term != 0 && s.vote.replica != replica {
		return ErrOtherReplica
	}
	s.vote.replica = replica
	return nil
}

// mark renews what the record quotes of the other stores, for the end of a run.
func (s *stableStore) mark() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	end, snapIndex := s.others()
	if s.vote.term == 0 || s.vote.logEnd == end && s.vote.snapIndex == snapIndex {
		return nil
	}
	return s.writeLocked(s.vote)
}

func (s *stableStore) others() (end logEnd, snapIndex uint64) {
	return s.logs.end(), s.snaps.index()
}

// writeLocked makes v the record, synced.
func (s *stableStore) writeLocked(v vote) error {
	if err := s.n.failure(); err != nil {
		return err
	}
	v.replica = s.vote.replica
	v.logEnd, v.snapIndex = s.others()
	s.slot.enter()
	err := s.n.bolt.Set(s.key, v.encode())
	s.slot.leave()
	if err != nil {
		s.n.fail(fmt.Sprintf("writing to %s failed: %v", s.n.path(boltFile), err))
	}
	if err := s.n.failure(); err != nil {
		return err
	}
	s.vote = v
	return nil
}
