package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
)

// snapBatchBytes is how much data a snapshot collects before it writes it.
const snapBatchBytes = 1 << 20

// errSinkEnded is a sink that was closed or canceled.
var errSinkEnded = errors.New("raftlog: the snapshot sink is closed")

// A snapshotSink takes one snapshot: writeParts, from this node's state machine,
// or Writes, from a leader's stream; then Close, or Cancel. It is used by one
// goroutine, but for what the store's mutex guards.
type snapshotSink struct {
	s    *snapshotStore
	meta snapshotMeta
	rows map[uint64]partRow // parts that it has written
	gone []uint64           // parts of base that are no more; incremental only

	batch  *pebble.Batch
	raw    []byte
	packed []byte

	in     *io.PipeWriter // the stream, if it is one
	result chan error     // what became of it
	filled bool           // writeParts has finished
	ended  bool

	// Guarded by the store's mutex.
	base  *snapshotState // current when the sink was made
	whole bool           // it needs no base
	dead  bool           // another snapshot has come first
}

// ID implements raft.SnapshotSink.
func (k *snapshotSink) ID() string { return k.meta.id() }

// writeParts stores what changed since the last snapshot. Close makes it
// current.
func (k *snapshotSink) writeParts(src partSource) error {
	if k.ended || k.in != nil || k.filled {
		return errSinkEnded
	}
	index, term, stamp := src.index()
	if index > k.meta.index {
		return fmt.Errorf("raftlog: state at entry %d for a snapshot at %d", index, k.meta.index)
	}
	k.meta.stream.index, k.meta.stream.term, k.meta.stream.stamp = index, term, stamp
	var stored map[uint64]partRow
	if k.base != nil {
		stored = k.base.rows
	}
	k.raw, k.packed = k.s.n.scratch.take()
	defer func() { k.s.n.scratch.give(k.raw, k.packed) }()
	parts := src.parts()
	for _, id := range slices.Sorted(maps.Keys(parts)) {
		if r, ok := stored[id]; ok && r.index == parts[id] {
			continue
		}
		raw, ok, err := src.encode(k.raw[:0], id)
		if err != nil {
			return err
		}
		k.raw = raw
		if !ok { // deleted since
			if _, was := stored[id]; was {
				k.gone = append(k.gone, id)
			}
			continue
		}
		if k.packed, err = pack(k.packed, raw); err != nil {
			return fmt.Errorf("part %d: %w", id, err)
		}
		row := partRow{index: parts[id], size: uint32(len(raw)), hash: partHash(id, parts[id], raw)}
		if err := k.put(id, row, k.packed); err != nil {
			return err
		}
	}
	for id := range stored {
		if _, ok := parts[id]; !ok {
			k.gone = append(k.gone, id)
		}
	}
	k.filled = true
	return nil
}

// A scratch keeps the buffers that a snapshot is copied and packed into for the
// next one: the groups of a node take turns.
type scratch struct {
	mu          sync.Mutex
	raw, packed []byte // nil while a sink has them
}

func (s *scratch) take() (raw, packed []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw, packed, s.raw, s.packed = s.raw, s.packed, nil, nil
	return raw, packed
}

func (s *scratch) give(raw, packed []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw, s.packed = raw, packed
}

// put writes a part's data beside what is current.
func (k *snapshotSink) put(id uint64, row partRow, packed []byte) error {
	row.gen, row.packed = k.meta.gen, uint32(len(packed))
	k.rows[id] = row
	if k.batch == nil {
		k.batch = k.s.n.snap.NewBatch()
	}
	if err := k.batch.Set(snapDataKey(k.s.group, row.gen, id), packed, nil); err != nil {
		return err
	}
	if k.batch.Len() < snapBatchBytes {
		return nil
	}
	return k.flush()
}

// flush hands the batch to the disk without waiting for it: the batch that makes
// the snapshot current is synced, and comes later in the same WAL.
func (k *snapshotSink) flush() error {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if k.dead {
		return errOvertaken
	}
	b := k.batch
	k.batch = nil
	if err := k.s.n.write("snap", func() error { return b.Commit(pebble.NoSync) }); err != nil {
		return err
	}
	return b.Close()
}

// Write implements io.Writer: the stream of a snapshot from elsewhere. It is
// verified as it comes and replaces what is stored only when all of it is right.
func (k *snapshotSink) Write(p []byte) (int, error) {
	if k.ended || k.filled {
		return 0, errSinkEnded
	}
	if k.in == nil {
		k.s.mu.Lock()
		k.whole = true
		k.s.mu.Unlock()
		r, w := io.Pipe()
		k.in, k.result = w, make(chan error, 1)
		go func() {
			err := k.receive(r)
			r.CloseWithError(err) // ends Writes that nobody reads
			k.result <- err
		}()
	}
	return k.in.Write(p)
}

// receive stores the parts of a stream; the sink is its own until it returns.
func (k *snapshotSink) receive(r io.Reader) error {
	var announced snapshotHeader
	scan := streamScanner{
		header: func(h snapshotHeader) error {
			if h.group != k.s.group || h.index > k.meta.index {
				return fmt.Errorf("raftlog: the stream is of group %d, entry %d", h.group, h.index)
			}
			announced = h
			return nil
		},
		part: func(id uint64, row partRow, packed, _ []byte) error {
			if _, twice := k.rows[id]; twice {
				return fmt.Errorf("%w: part %d comes twice", errStream, id)
			}
			return k.put(id, row, packed)
		},
	}
	if err := scan.scan(r); err != nil {
		return err
	}
	k.meta.stream = announced
	return nil
}

// Close implements raft.SnapshotSink. It returns nil when the snapshot is
// current and on disk; otherwise the one before it still is. Closing again does
// nothing.
func (k *snapshotSink) Close() error {
	if k.ended {
		return nil
	}
	k.ended = true
	err := errSinkEnded
	if k.in != nil {
		k.in.Close()
		err = <-k.result
	} else if k.filled {
		err = nil
	}
	if err == nil {
		k.meta.logEnd = k.s.logs.end()
		err = k.s.commit(k)
	}
	if err != nil {
		return errors.Join(err, k.s.discard(k))
	}
	if k.in != nil {
		return k.s.logs.installed(k.meta.index, k.meta.term)
	}
	return nil
}

// Cancel implements raft.SnapshotSink.
func (k *snapshotSink) Cancel() error {
	if k.ended {
		return nil
	}
	k.ended = true
	if k.in != nil {
		k.in.CloseWithError(errSinkEnded)
		<-k.result
	}
	return k.s.discard(k)
}

// discard removes what a sink has written.
func (s *snapshotStore) discard(k *snapshotSink) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.dead || !s.sinks[k] {
		return nil
	}
	b := s.n.snap.NewBatch()
	if err := s.killLocked(k, b); err != nil {
		return err
	}
	return s.n.write("snap", func() error { return b.Commit(pebble.NoSync) })
}

// killLocked voids a sink and has b remove what it has written.
func (s *snapshotStore) killLocked(k *snapshotSink, b *pebble.Batch) error {
	k.dead = true
	delete(s.sinks, k)
	return b.DeleteRange(snapGenKey(s.group, k.meta.gen), snapGenKey(s.group, k.meta.gen+1), nil)
}

// commit makes what the sink has written the current snapshot.
func (s *snapshotStore) commit(k *snapshotSink) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.dead || !k.whole && k.base != s.current {
		return errOvertaken
	}
	b := k.batch
	if b == nil {
		b = s.n.snap.NewBatch()
	}
	next, err := s.prepareLocked(k, b)
	if err != nil {
		return err
	}
	for other := range s.sinks {
		// It builds on what is no longer current, or has less to tell.
		if other != k && (k.whole || !other.whole) {
			if err := s.killLocked(other, b); err != nil {
				return err
			}
		}
	}
	if err := s.n.write("snap", func() error { return b.Commit(pebble.Sync) }); err != nil {
		return err
	}
	s.current = next
	delete(s.sinks, k)
	return b.Close()
}

// prepareLocked fills the batch that replaces the current snapshot by k's.
func (s *snapshotStore) prepareLocked(k *snapshotSink, b *pebble.Batch) (*snapshotState, error) {
	next := &snapshotState{snapshotMeta: k.meta, rows: k.rows}
	if k.whole {
		err := errors.Join(
			b.DeleteRange(snapRowKey(s.group, 0), endKey(s.group, 'r'), nil),
			b.DeleteRange(snapGenKey(s.group, 0), snapGenKey(s.group, k.meta.gen), nil),
			b.DeleteRange(snapGenKey(s.group, k.meta.gen+1), endKey(s.group, 'd'), nil),
		)
		if err != nil {
			return nil, err
		}
	} else if k.base != nil {
		next.rows = maps.Clone(k.base.rows)
		if err := k.replace(next.rows, b); err != nil {
			return nil, err
		}
	}
	for id, r := range k.rows {
		if err := b.Set(snapRowKey(s.group, id), r.append(nil, r.gen), nil); err != nil {
			return nil, err
		}
	}
	size := int64(streamHeader + streamTrailer)
	for _, r := range next.rows {
		size += streamPart + int64(r.packed)
	}
	if k.whole && (size != next.stream.size || uint64(len(next.rows)) != next.stream.parts) {
		return nil, errStream
	}
	next.stream.group, next.stream.parts, next.stream.size = s.group, uint64(len(next.rows)), size
	next.rowsHash = hashRows(next.rows)
	return next, b.Set(snapHeaderKey(s.group), next.encode(), nil)
}

// replace turns the rows of the base into those of the sink's snapshot, and has
// b remove the data that goes. Pebble is told how much each removal frees, so
// that it compacts where it pays.
func (k *snapshotSink) replace(rows map[uint64]partRow, b *pebble.Batch) error {
	drop := func(id uint64) error {
		if r, ok := rows[id]; ok {
			return b.DeleteSized(snapDataKey(k.s.group, r.gen, id), r.packed, nil)
		}
		return nil
	}
	for id, r := range k.rows {
		if err := drop(id); err != nil {
			return err
		}
		rows[id] = r
	}
	for _, id := range k.gone {
		if err := errors.Join(drop(id), b.Delete(snapRowKey(k.s.group, id), nil)); err != nil {
			return err
		}
		delete(rows, id)
	}
	return nil
}

// readRows reads the rows of a group's snapshot.
func readRows(db pebble.Reader, group uint64) (map[uint64]partRow, error) {
	rows := make(map[uint64]partRow)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: snapRowKey(group, 0), UpperBound: endKey(group, 'r')})
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var v []byte
		v, err = it.ValueAndErr()
		if err == nil && len(v) != streamPart {
			err = errDamaged
		}
		if err == nil {
			gen, r := decodePart(v) // a row has the generation where a stream has the id
			r.gen = gen
			rows[binary.BigEndian.Uint64(it.Key()[9:])] = r
		}
	}
	return rows, errors.Join(err, it.Error(), it.Close())
}

// hashRows is over all rows, in the order of their ids.
func hashRows(rows map[uint64]partRow) uint64 {
	var d xxhash.Digest
	d.Reset()
	var b []byte
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		b = binary.LittleEndian.AppendUint64(b[:0], id)
		b = rows[id].append(b, rows[id].gen)
		d.Write(b)
	}
	return d.Sum64()
}
