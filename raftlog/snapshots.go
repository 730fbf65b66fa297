package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// errOvertaken is a snapshot that lost to another one of the same group.
var errOvertaken = errors.New("raftlog: another snapshot was stored meanwhile")

// A snapshotStore keeps the last snapshot of one group, in the Pebble that all
// groups share. It implements raft.SnapshotStore.
//
// Under the group's prefix there are
//
//	'd' gen id  the packed data of a part, written by the snapshot with this
//	            generation
//	'h'         the header of the current snapshot
//	'r' id      for each of its parts the row: index, gen of its data, sizes, hash
//
// Each attempt at a snapshot has a generation of its own. It writes the parts
// that changed beside those that are current, in batches of bounded size that
// nobody waits for. A last, small batch, synced, makes it current: new rows and
// header, and the removal of the data that they replace. Whatever happens
// before, the old snapshot is whole; data of a higher generation than the
// header's is what an attempt left behind, and goes at the next start.
//
// So no part is ever "in the snapshot" before it is: what changed is found by
// comparing with the rows, and an attempt that fails takes nothing along.
type snapshotStore struct {
	n     *Node
	group uint64
	logs  *logStore

	mu      sync.Mutex
	current *snapshotState // nil: there is no snapshot
	gen     uint64         // the last one given out
	sinks   map[*snapshotSink]bool
	pins    map[*snapshotReader]bool
}

// A snapshotState is a snapshot that is or was current. It is immutable.
type snapshotState struct {
	snapshotMeta
	rows map[uint64]partRow
}

// snapshotMeta is the stored header.
type snapshotMeta struct {
	gen                uint64
	index, term        uint64 // as raft knows them
	configuration      raft.Configuration
	configurationIndex uint64
	stream             snapshotHeader // as the state machine knows them
	rowsHash           uint64
	logEnd             logEnd // of the log at that time
}

const snapshotFormat = 1

func (m *snapshotMeta) encode() []byte {
	b := []byte{snapshotFormat}
	for _, u := range []uint64{m.gen, m.index, m.term, m.configurationIndex, m.rowsHash, m.logEnd.cuts, m.logEnd.index} {
		b = binary.LittleEndian.AppendUint64(b, u)
	}
	b = m.stream.append(b)
	return seal(append(b, raft.EncodeConfiguration(m.configuration)...))
}

func decodeSnapshotMeta(b []byte) (*snapshotMeta, error) {
	const fixed = 1 + 7*8 + streamHeader
	b, ok := unseal(b)
	if !ok || len(b) < fixed || b[0] != snapshotFormat {
		return nil, errDamaged
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[1+8*i:]) }
	stream, err := decodeSnapshotHeader(b[fixed-streamHeader : fixed])
	if err != nil {
		return nil, err
	}
	return &snapshotMeta{
		gen: u(0), index: u(1), term: u(2),
		configuration:      raft.DecodeConfiguration(b[fixed:]),
		configurationIndex: u(3),
		rowsHash:           u(4),
		logEnd:             logEnd{u(5), u(6)},
		stream:             stream,
	}, nil
}

func (m *snapshotMeta) id() string { return fmt.Sprintf("%d-%d-%d", m.term, m.index, m.gen) }

// meta is the header for raft.
func (m *snapshotMeta) meta() *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version:            raft.SnapshotVersionMax,
		ID:                 m.id(),
		Index:              m.index,
		Term:               m.term,
		Configuration:      m.configuration.Clone(),
		ConfigurationIndex: m.configurationIndex,
		Size:               m.stream.size,
	}
}

func snapHeaderKey(group uint64) []byte { return append(groupKey(group), 'h') }

func snapRowKey(group, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(groupKey(group), 'r'), id)
}

func snapDataKey(group, gen, id uint64) []byte {
	return binary.BigEndian.AppendUint64(snapGenKey(group, gen), id)
}

// snapGenKey begins the keys of a generation's data.
func snapGenKey(group, gen uint64) []byte {
	return binary.BigEndian.AppendUint64(append(groupKey(group), 'd'), gen)
}

// endKey lies behind all keys of a kind.
func endKey(group uint64, kind byte) []byte { return append(groupKey(group), kind+1) }

// readSnapshotHeader returns a group's header; nil: there is no snapshot.
func readSnapshotHeader(db pebble.Reader, group uint64) (*snapshotMeta, error) {
	b, err := pebbleGet(db, snapHeaderKey(group))
	if err != nil || b == nil {
		return nil, err
	}
	m, err := decodeSnapshotMeta(b)
	if err != nil {
		return nil, fmt.Errorf("header of the snapshot: %w", err)
	}
	return m, nil
}

func openSnapshotStore(n *Node, group uint64, logs *logStore) (*snapshotStore, error) {
	s := &snapshotStore{
		n: n, group: group, logs: logs,
		sinks: make(map[*snapshotSink]bool),
		pins:  make(map[*snapshotReader]bool),
	}
	m, err := readSnapshotHeader(n.snap, group)
	if err == nil && m != nil {
		s.gen = m.gen
		s.current = &snapshotState{snapshotMeta: *m}
		if s.current.rows, err = readRows(n.snap, group); err == nil && hashRows(s.current.rows) != m.rowsHash {
			err = errDamaged
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; %s", n.path("snap"), err, startOver(n.opts.Dir))
	}
	if err := s.dropGenerations(s.gen + 1); err != nil {
		return nil, err
	}
	logs.taken, logs.pinned = s.index, s.pinned
	if m != nil {
		err = logs.installed(m.index, m.term) // again, if a crash came between
	}
	return s, err
}

// dropGenerations removes what failed attempts have left.
func (s *snapshotStore) dropGenerations(from uint64) error {
	lo, hi := snapGenKey(s.group, from), endKey(s.group, 'd')
	it, err := s.n.snap.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return err
	}
	left := it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil || !left {
		return err
	}
	return s.n.write("snap", func() error { return s.n.snap.DeleteRange(lo, hi, pebble.NoSync) })
}

// index is of the current snapshot, 0 without one.
func (s *snapshotStore) index() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return 0
	}
	return s.current.index
}

// List implements raft.SnapshotStore.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{s.current.meta()}, nil
}

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, confIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if v != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("raftlog: snapshot version %d is not known", v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && index < s.current.index {
		return nil, fmt.Errorf("raftlog: a snapshot of entry %d after one of entry %d", index, s.current.index)
	}
	s.gen++
	k := &snapshotSink{s: s, base: s.current, rows: make(map[uint64]partRow)}
	k.meta = snapshotMeta{gen: s.gen, index: index, term: term, configuration: c.Clone(), configurationIndex: confIndex}
	s.sinks[k] = true
	return k, nil
}

// Open implements raft.SnapshotStore. The reader yields exactly the announced
// size, of the snapshot as it is now, whatever is stored meanwhile.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || s.current.id() != id {
		return nil, nil, fmt.Errorf("raftlog: there is no snapshot %s any more", id)
	}
	r, err := openSnapshotReader(s, s.current)
	if err != nil {
		return nil, nil, err
	}
	s.pins[r] = true
	return s.current.meta(), r, nil
}

// pinned is the index of the oldest snapshot that is being read, 0 if none is.
func (s *snapshotStore) pinned() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := uint64(0)
	for r := range s.pins {
		if oldest == 0 || r.state.index < oldest {
			oldest = r.state.index
		}
	}
	return oldest
}

func (s *snapshotStore) unpin(r *snapshotReader) {
	s.mu.Lock()
	delete(s.pins, r)
	s.mu.Unlock()
}
