package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

const (
	// aheadEntries and aheadBytes bound what is read ahead at a time.
	aheadEntries = 256
	aheadBytes   = 1 << 20
	// aheadAfter is how many entries must have been read in turn before that is done.
	aheadAfter = 4
)

// A readAhead keeps entries that will be asked for next. raft reads a log entry by
// entry when it starts, every one since the last snapshot, and when a follower is
// far behind. A lookup in Pebble takes 40 µs then, a step of an iterator one: with
// 28,000 entries in each of eight groups that was most of a start. Its owner is the
// logStore's mutex.
type readAhead struct {
	next  uint64 // the entry after the one that was read last
	turn  int    // how many were read in turn
	logs  []raft.Log
	drops uint64 // raised when entries are overruled: what was being read is void
}

// take gives an entry that was read ahead. inTurn reports that it was not, but that
// reading on is worth it.
func (r *readAhead) take(index uint64, l *raft.Log) (found, inTurn bool) {
	if index != r.next {
		r.turn, r.logs = 0, nil
	}
	r.next = index + 1
	r.turn++
	if len(r.logs) > 0 && r.logs[0].Index == index {
		*l = r.logs[0]
		r.logs = r.logs[1:]
		return true, false
	}
	r.logs = nil
	return false, r.turn > aheadAfter
}

func (r *readAhead) forget() {
	r.logs, r.turn = nil, 0
	r.drops++
}

// readOn reads the entries after one that is being read by itself.
func (s *logStore) readOn(index uint64) error {
	s.mu.Lock()
	upper, drops := s.last+1, s.ahead.drops
	s.mu.Unlock()
	it, err := s.n.log.NewIter(&pebble.IterOptions{LowerBound: logKey(s.group, index+1), UpperBound: logKey(s.group, upper)})
	if err != nil {
		return err
	}
	var logs []raft.Log
	size := 0
	for ok := it.First(); ok && err == nil && len(logs) < aheadEntries && size < aheadBytes; ok = it.Next() {
		var v []byte
		var l raft.Log
		if v, err = it.ValueAndErr(); err == nil {
			err = decodeLogValue(bytes.Clone(v), &l)
		}
		l.Index = binary.BigEndian.Uint64(it.Key()[8:])
		logs = append(logs, l)
		size += len(v)
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		err = fmt.Errorf("reading entries of group %d from %s: %w", s.group, s.n.path("log"), err)
		s.n.fail(err.Error())
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ahead.drops == drops && s.ahead.next == index+1 {
		s.ahead.logs = logs
	}
	return nil
}
