package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
)

// A snapshotReader streams a snapshot as it was when the reader was opened: it
// reads from a pinned view of the Pebble, so what is stored meanwhile does not
// concern it. One goroutine uses it.
type snapshotReader struct {
	s     *snapshotStore
	state *snapshotState
	view  *pebble.Snapshot
	it    *pebble.Iterator

	hash  xxhash.Digest
	next  []byte // to be read first
	then  []byte // and then; aliases the iterator's value
	buf   [streamHeader]byte
	parts uint64 // streamed so far
	err   error

	started bool // the iterator has been positioned
	ended   bool // the trailer is in next
}

// openSnapshotReader is called with the store's mutex held.
func openSnapshotReader(s *snapshotStore, state *snapshotState) (*snapshotReader, error) {
	r := &snapshotReader{s: s, state: state, view: s.n.snap.NewSnapshot()}
	var err error
	r.it, err = r.view.NewIter(&pebble.IterOptions{
		LowerBound: snapGenKey(s.group, 0),
		UpperBound: snapGenKey(s.group, state.gen+1),
	})
	if err != nil {
		return nil, errors.Join(err, r.view.Close())
	}
	r.hash.Reset()
	r.next = state.stream.append(r.buf[:0])
	r.hash.Write(r.next)
	return r, nil
}

// Read implements io.Reader.
func (r *snapshotReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && r.err == nil {
		if len(r.next) == 0 {
			r.next, r.then = r.then, nil
		}
		if len(r.next) == 0 {
			r.err = r.advance()
			continue
		}
		c := copy(p[n:], r.next)
		r.next = r.next[c:]
		n += c
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}

// advance fetches the next part, then the trailer.
func (r *snapshotReader) advance() error {
	if r.ended {
		return io.EOF
	}
	for r.step() {
		key := r.it.Key()[9:]
		gen, id := binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:])
		row, is := r.state.rows[id]
		if !is || row.gen != gen {
			continue // of an attempt that is not finished
		}
		data, err := r.it.ValueAndErr()
		if err != nil {
			return r.broken(err)
		}
		if len(data) != int(row.packed) {
			return r.broken(fmt.Errorf("part %d has %d bytes, not %d", id, len(data), row.packed))
		}
		r.parts++
		r.next, r.then = row.append(r.buf[:0], id), data
		r.hash.Write(r.next)
		r.hash.Write(r.then)
		return nil
	}
	if err := r.it.Error(); err != nil {
		return r.broken(err)
	}
	if r.parts != r.state.stream.parts {
		return r.broken(fmt.Errorf("%d parts of %d are there", r.parts, r.state.stream.parts))
	}
	b := append(r.buf[:0], streamEnd...)
	b = binary.LittleEndian.AppendUint64(b, r.parts)
	r.next = binary.LittleEndian.AppendUint64(b, r.hash.Sum64())
	r.ended = true
	return nil
}

func (r *snapshotReader) step() bool {
	if !r.started {
		r.started = true
		return r.it.First()
	}
	return r.it.Next()
}

// broken is a snapshot that cannot be read back.
func (r *snapshotReader) broken(err error) error {
	n := r.s.n
	return fmt.Errorf("snapshot %s of group %d in %s: %w; %s", r.state.id(), r.s.group, n.path("snap"), err, startOver(n.opts.Dir))
}

// Close implements io.Closer.
func (r *snapshotReader) Close() error {
	if r.view == nil {
		return nil
	}
	err := errors.Join(r.it.Close(), r.view.Close())
	r.view, r.err = nil, errSinkEnded
	r.s.unpin(r)
	return err
}
