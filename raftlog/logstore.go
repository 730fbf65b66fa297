package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// maxStoreBytes bounds what one batch writes, so that a write stays well under
// Options.StallLimit. A longer StoreLogs is several batches, each synced.
const maxStoreBytes = 8 << 20

// A logStore is one group's part of the log that all groups share. It implements
// raft.LogStore: StoreLogs returns when its entries are on disk, and groups that
// store at the same time share a sync.
//
// The entries are without a gap. raft would leave one behind an installed
// snapshot and keep the entries before it. Such entries may have been overruled,
// and a leader that still had them could hand them out; so an installed snapshot
// drops what does not lead up to it.
//
// raft calls StoreLogs and truncates the end on one goroutine, truncates the
// beginning on another and reads on any.
//
// Set raft's TrailingLogs to 0: what stays behind a snapshot is decided here, in
// bytes. See DeleteRange.
type logStore struct {
	n     *Node
	group uint64
	slot  *stallSlot

	// Set once, by the snapshot store: the index of the current snapshot, and of
	// the oldest that is being read. 0: there is none.
	taken, pinned func() uint64

	mu          sync.Mutex
	first, last uint64 // what the log holds, on disk; 0: nothing
	lastTerm    uint64
	cuts        uint64 // how often entries at the end were removed
	hidden      span   // overruled entries that are still stored; the next StoreLogs removes them
	reclaimed   uint64 // of the entries before this one nothing is left on disk
	tail        logTail
	ahead       readAhead
}

// A logEnd says how far a log has come. It never goes back: between two cuts the
// last index only grows, and a cut is counted in the batch that makes it. (The
// last term is no measure: a new leader may replace entries by older ones, and
// append its own later.)
type logEnd struct{ cuts, index uint64 }

func (e logEnd) before(f logEnd) bool {
	return e.cuts < f.cuts || e.cuts == f.cuts && e.index < f.index
}

// A span is a range of indexes, both ends included. The zero span is empty.
type span struct{ first, last uint64 }

func (s span) empty() bool { return s.last == 0 }

// extend is the span over s and first to last. If last is below first, that is s.
func (s span) extend(first, last uint64) span {
	switch {
	case first > last:
		return s
	case s.empty():
		return span{first, last}
	}
	return span{min(s.first, first), max(s.last, last)}
}

// cutsIndex is where the number of cuts is kept. raft counts entries from 1.
const cutsIndex = 0

func encodeCuts(cuts uint64) []byte { return seal(binary.LittleEndian.AppendUint64(nil, cuts)) }

func readCuts(db pebble.Reader, group uint64) (uint64, error) {
	b, err := pebbleGet(db, logKey(group, cutsIndex))
	if err != nil || b == nil {
		return 0, err
	}
	b, ok := unseal(b)
	if !ok || len(b) != 8 {
		return 0, errDamaged
	}
	return binary.LittleEndian.Uint64(b), nil
}

// Keys are the group and the index, big-endian.
func logKey(group, index uint64) []byte {
	return binary.BigEndian.AppendUint64(groupKey(group), index)
}

const logKeySize = 16

// Values are the type, the term, the extensions behind their length, and the
// data. The index is in the key; when the leader appended the entry (AppendedAt)
// is of no use to anybody. Pebble checks every block it reads.
func logValueSize(l *raft.Log) int {
	return 1 + uvarintSize(l.Term) + uvarintSize(uint64(len(l.Extensions))) + len(l.Extensions) + len(l.Data)
}

func uvarintSize(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

func appendLogValue(b []byte, l *raft.Log) []byte {
	b = append(b, byte(l.Type))
	b = binary.AppendUvarint(b, l.Term)
	b = binary.AppendUvarint(b, uint64(len(l.Extensions)))
	b = append(b, l.Extensions...)
	return append(b, l.Data...)
}

// decodeLogValue fills l but for its index. Data and Extensions alias b.
func decodeLogValue(b []byte, l *raft.Log) error {
	if len(b) == 0 {
		return errDamaged
	}
	typ, b := b[0], b[1:]
	term, n := binary.Uvarint(b)
	if n <= 0 {
		return errDamaged
	}
	b = b[n:]
	ext, n := binary.Uvarint(b)
	if n <= 0 || ext > uint64(len(b)-n) {
		return errDamaged
	}
	b = b[n:]
	*l = raft.Log{Type: raft.LogType(typ), Term: term, Data: b[ext:]}
	if ext > 0 {
		l.Extensions = b[:ext:ext]
	}
	return nil
}

// openLogStore reads through the group's entries once: it makes sure that there
// is no gap and counts their bytes.
func openLogStore(n *Node, group uint64) (*logStore, error) {
	none := func() uint64 { return 0 }
	s := &logStore{n: n, group: group, slot: n.stalls.slot(n.path("log")), taken: none, pinned: none}
	var err error
	if s.cuts, err = readCuts(n.log, group); err != nil {
		return nil, err
	}
	it, err := n.log.NewIter(entriesOf(group))
	if err != nil {
		return nil, err
	}
	var l raft.Log
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		index := binary.BigEndian.Uint64(it.Key()[8:])
		if s.last != 0 && index != s.last+1 {
			err = fmt.Errorf("%s is damaged: entry %d is followed by %d; %s", n.path("log"), s.last, index, startOver(n.opts.Dir))
			break
		}
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			err = decodeLogValue(v, &l)
		}
		s.tail.append(index, logKeySize+len(v))
		if s.first == 0 {
			s.first = index
		}
		s.last, s.lastTerm = index, l.Term
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return nil, err
	}
	s.reclaimed = max(s.first, cutsIndex+1)
	return s, nil
}

func entriesOf(group uint64) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: logKey(group, cutsIndex+1), UpperBound: groupKey(group + 1)}
}

// logEnds reads the index of a group's first entry, the term of the last, and
// how far the log has come.
func logEnds(db *pebble.DB, group uint64) (first, term uint64, end logEnd, err error) {
	if end.cuts, err = readCuts(db, group); err != nil {
		return 0, 0, end, err
	}
	it, err := db.NewIter(entriesOf(group))
	if err != nil {
		return 0, 0, end, err
	}
	if it.First() {
		first = binary.BigEndian.Uint64(it.Key()[8:])
	}
	if it.Last() {
		var l raft.Log
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			err = decodeLogValue(v, &l)
		}
		term, end.index = l.Term, binary.BigEndian.Uint64(it.Key()[8:])
	}
	return first, term, end, errors.Join(err, it.Error(), it.Close())
}

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first, nil
}

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, nil
}

// end is how far the log has come.
func (s *logStore) end() logEnd {
	s.mu.Lock()
	defer s.mu.Unlock()
	return logEnd{s.cuts, s.last}
}

// GetLog implements raft.LogStore. The data belongs to the caller.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	s.mu.Lock()
	there := s.first != 0 && s.first <= index && index <= s.last
	found, inTurn := s.ahead.take(index, l)
	s.mu.Unlock()
	switch {
	case !there:
		return raft.ErrLogNotFound
	case found:
		return nil
	case inTurn:
		if err := s.readOn(index); err != nil {
			return err
		}
	}
	v, err := pebbleGet(s.n.log, logKey(s.group, index))
	if err == nil && v == nil {
		return raft.ErrLogNotFound // truncated meanwhile
	}
	if err == nil {
		err = decodeLogValue(v, l)
	}
	if err != nil {
		err = fmt.Errorf("reading entry %d of group %d from %s: %w", index, s.group, s.n.path("log"), err)
		s.n.fail(err.Error())
		return err
	}
	l.Index = index
	return nil
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. It returns nil when the entries are on
// disk, and with them the removal of what they replace.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	for i := 1; i < len(logs); i++ {
		if logs[i].Index != logs[i-1].Index+1 {
			return fmt.Errorf("raftlog: entry %d follows entry %d", logs[i].Index, logs[i-1].Index)
		}
	}
	for len(logs) > 0 {
		n, size := 0, 0
		for n < len(logs) && (n == 0 || size < maxStoreBytes) {
			size += logKeySize + logValueSize(logs[n])
			n++
		}
		if err := s.store(logs[:n], size); err != nil {
			return err
		}
		logs = logs[n:]
	}
	return nil
}

// store writes entries in one synced batch.
func (s *logStore) store(logs []*raft.Log, size int) error {
	b := s.n.log.NewBatchWithSize(size + 32*len(logs) + 64)
	index := logs[0].Index

	s.mu.Lock()
	first, last, cuts := s.first, s.last, s.cuts
	replaced := s.hidden.extend(index, last)
	s.mu.Unlock()
	if first != 0 && (index < first || index > last+1) {
		return fmt.Errorf("raftlog: entry %d does not connect to entries %d to %d", index, first, last)
	}
	if !replaced.empty() {
		cuts++
		if err := s.cut(b, replaced, cuts); err != nil {
			return err
		}
	}
	for _, l := range logs {
		op := b.SetDeferred(logKeySize, logValueSize(l))
		binary.BigEndian.PutUint64(op.Key, s.group)
		binary.BigEndian.PutUint64(op.Key[8:], l.Index)
		appendLogValue(op.Value[:0], l)
		if err := op.Finish(); err != nil {
			return err
		}
	}
	s.slot.enter()
	err := s.n.write("log", func() error { return b.Commit(pebble.Sync) })
	s.slot.leave()
	if err != nil {
		return err // the batch may still be in Pebble's hands
	}
	if err := b.Close(); err != nil {
		return err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if !replaced.empty() {
		s.ahead.forget()
	}
	s.cutLocked(index)
	if s.first == 0 {
		s.first = index
	}
	for _, l := range logs {
		s.tail.append(l.Index, logKeySize+logValueSize(l))
	}
	end := logs[len(logs)-1]
	s.last, s.lastTerm, s.hidden, s.cuts = end.Index, end.Term, span{}, cuts
	return nil
}

// cut has b remove entries, and count that.
func (s *logStore) cut(b *pebble.Batch, entries span, cuts uint64) error {
	return errors.Join(
		b.DeleteRange(logKey(s.group, entries.first), logKey(s.group, entries.last+1), nil),
		b.Set(logKey(s.group, cutsIndex), encodeCuts(cuts), nil),
	)
}

// write runs a write to one of the Pebbles. Pebble calls pebbleLogger.Fatalf for
// a failed sync, and then returns nil; for other failures of the WAL it panics.
// Each of these ends the process, and none is taken for success.
func (n *Node) write(store string, commit func() error) (err error) {
	if err := n.failure(); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			n.fail(fmt.Sprintf("writing to %s failed: %v", n.path(store), r))
			err = errFailed
		}
	}()
	if err := commit(); err != nil {
		n.fail(fmt.Sprintf("writing to %s failed: %v", n.path(store), err))
	}
	return n.failure()
}
