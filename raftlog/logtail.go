package raftlog

import (
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// tailStep is how many bytes of entries lie between two marks of a logTail.
const tailStep = 64 << 10

// maxPinnedTails bounds how long a snapshot that is being sent keeps entries: as
// long as the log is below so many times what it normally holds.
const maxPinnedTails = 8

// A logTail knows how many bytes of entries lie behind an index, to within
// tailStep. It costs 16 bytes per tailStep of log. Its owner is the logStore's
// mutex.
type logTail struct {
	marks []tailMark // ascending; the first is the log's first entry
	total int64      // bytes of all entries ever counted
}

// A tailMark says how many bytes were counted before the entry at index.
type tailMark struct {
	index uint64
	total int64
}

func (t *logTail) append(index uint64, size int) {
	if n := len(t.marks); n == 0 || t.total-t.marks[n-1].total >= tailStep {
		t.marks = append(t.marks, tailMark{index, t.total})
	}
	t.total += int64(size)
}

// bytes is the size of all entries.
func (t *logTail) bytes() int64 {
	if len(t.marks) == 0 {
		return 0
	}
	return t.total - t.marks[0].total
}

// floor is the position of the last mark at or below index, -1 if there is none.
func (t *logTail) floor(index uint64) int {
	return sort.Search(len(t.marks), func(i int) bool { return t.marks[i].index > index }) - 1
}

// indexFor is the lowest mark behind which there are at most n bytes, or the
// last mark if there is none; 0 for an empty log.
func (t *logTail) indexFor(n int64) uint64 {
	if len(t.marks) == 0 {
		return 0
	}
	i := sort.Search(len(t.marks)-1, func(i int) bool { return t.total-t.marks[i].total <= n })
	return t.marks[i].index
}

// dropBefore forgets what lies below the mark at or below index, and returns
// that mark's index: where the log now begins.
func (t *logTail) dropBefore(index uint64) uint64 {
	i := t.floor(index)
	if i > 0 {
		t.marks = append(t.marks[:0], t.marks[i:]...)
	}
	return t.marks[0].index
}

// bytes is the size of the entries in the log.
func (s *logStore) bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tail.bytes()
}

// DeleteRange implements raft.LogStore.
//
// A prefix goes when a snapshot holds it. raft would count the entries to keep
// behind the snapshot; here the last TrailingLogBytes stay, and what a snapshot
// that is on its way to a follower must connect to, else the follower would need
// the next snapshot as soon as it has this one. It is not synced: entries that
// come back after a power loss are in the snapshot too.
//
// A suffix goes when a new leader has overruled it. It is removed by the
// StoreLogs that follows, in the same batch, so that the log on disk never goes
// back; until then it is only out of sight.
//
// A range that is the whole log can be meant either way. What is in a snapshot
// is never overruled, and what is not is never truncated.
func (s *logStore) DeleteRange(lo, hi uint64) error {
	if err := s.n.failure(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch taken := s.taken(); {
	case s.first == 0 || hi < s.first || lo > s.last || lo > hi:
		return nil
	case lo <= s.first && hi <= taken:
		return s.dropPrefixLocked(hi)
	case lo > taken && hi >= s.last:
		return s.hideSuffixLocked(lo)
	}
	return fmt.Errorf("raftlog: entries %d to %d cannot be removed from %d to %d behind a snapshot of %d", lo, hi, s.first, s.last, s.taken())
}

func (s *logStore) dropPrefixLocked(hi uint64) error {
	o := &s.n.opts
	keep := min(hi+1, s.last, s.tail.indexFor(o.TrailingLogBytes))
	if pin := s.pinned(); pin != 0 && s.tail.bytes() < maxPinnedTails*(o.SnapshotLogBytes+o.TrailingLogBytes) {
		keep = min(keep, pin+1)
	}
	if keep <= s.first {
		return nil
	}
	first := s.tail.dropBefore(keep)
	if first == s.first {
		return nil
	}
	err := s.n.write("log", func() error {
		return s.n.log.DeleteRange(logKey(s.group, s.first), logKey(s.group, first), pebble.NoSync)
	})
	if err == nil {
		s.first = first
	}
	return err
}

func (s *logStore) hideSuffixLocked(lo uint64) error {
	s.ahead.forget()
	hidden := s.hidden.extend(max(lo, s.first), s.last)
	if lo <= s.first {
		s.first, s.last, s.lastTerm, s.tail = 0, 0, 0, logTail{}
		s.hidden = hidden
		return nil
	}
	term, err := s.termLocked(lo - 1)
	if err != nil {
		return err
	}
	s.cutLocked(lo)
	s.last, s.lastTerm, s.hidden = lo-1, term, hidden
	return nil
}

// cutLocked ends the byte count before index, which the log may not have.
func (s *logStore) cutLocked(index uint64) {
	if index > s.last {
		return
	}
	i := max(s.tail.floor(index-1), 0)
	mark := s.tail.marks[i]
	s.tail.marks, s.tail.total = s.tail.marks[:i], mark.total
	it, err := s.n.log.NewIter(&pebble.IterOptions{
		LowerBound: logKey(s.group, mark.index),
		UpperBound: logKey(s.group, index),
	})
	if err != nil {
		return // the count is an estimate then
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return
		}
		s.tail.append(binary.BigEndian.Uint64(it.Key()[8:]), logKeySize+len(v))
	}
}

// installed tells the log that a snapshot from elsewhere has become this group's
// state. Entries that do not lead up to it are of another history or leave a
// gap, and go. (raft keeps them, and with them the position it remembers as its
// last; that one is beyond the snapshot only if this node had more uncommitted
// entries than a leader keeps behind its snapshots. Groups have two in flight.)
func (s *logStore) installed(index, term uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == 0 || s.first > index {
		return nil
	}
	if index <= s.last {
		ours, err := s.termLocked(index)
		if err != nil || ours == term {
			return err
		}
	}
	b := s.n.log.NewBatch()
	if err := s.cut(b, s.hidden.extend(s.first, s.last), s.cuts+1); err != nil {
		return err
	}
	if err := s.n.write("log", func() error { return b.Commit(pebble.Sync) }); err != nil {
		return err
	}
	s.cuts++
	s.first, s.last, s.lastTerm, s.hidden, s.tail = 0, 0, 0, span{}, logTail{}
	s.ahead.forget()
	return b.Close()
}

func (s *logStore) termLocked(index uint64) (uint64, error) {
	v, err := pebbleGet(s.n.log, logKey(s.group, index))
	if err != nil {
		return 0, err
	}
	var l raft.Log
	err = decodeLogValue(v, &l)
	return l.Term, err
}
