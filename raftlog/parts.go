package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"
	"github.com/usher-seats/usher/wire"
)

// A partSource is what a snapshot is taken from.
type partSource interface {
	// index is of the snapshot: the last applied entry, and its stamp.
	index() (index, term uint64, stamp wire.Millis)
	// parts is each part's id and the index of its last change, as of index().
	parts() map[uint64]uint64
	// encode appends the part as of now, between two entries. ok is false if it
	// no longer exists; err says that the snapshot is abandoned.
	encode(dst []byte, id uint64) (data []byte, ok bool, err error)
}

// The stream of a snapshot, as a follower or a restoring state machine reads it:
//
//	header   "UshSnap1", group, index, term, stamp, parts, size of the stream,
//	         xxhash of these
//	parts    id, index, length packed u32, length u32, xxhash, packed data
//	trailer  "UshSnapE", parts, xxhash of everything before it
//
// All numbers are little-endian and, unless said otherwise, of 64 bits. Data is
// packed with s2; a part's hash is over id, index and the data unpacked, from
// the moment the state machine encoded it.
const (
	streamBegin = "UshSnap1"
	streamEnd   = "UshSnapE"

	streamHeader  = 8 + 6*8 + 8
	streamPart    = 2*8 + 2*4 + 8
	streamTrailer = 8 + 8 + 8
)

// maxPart bounds a part, in bytes before packing.
const maxPart = 1 << 30

// errStream is a snapshot stream that is not what was written.
var errStream = errors.New("the snapshot is damaged")

// A snapshotHeader opens the stream of a snapshot.
type snapshotHeader struct {
	group       uint64
	index, term uint64
	stamp       wire.Millis
	parts       uint64
	size        int64 // of the whole stream, in bytes
}

func (h snapshotHeader) append(b []byte) []byte {
	at := len(b)
	b = append(b, streamBegin...)
	for _, u := range []uint64{h.group, h.index, h.term, uint64(h.stamp), h.parts, uint64(h.size)} {
		b = binary.LittleEndian.AppendUint64(b, u)
	}
	return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b[at:]))
}

func decodeSnapshotHeader(b []byte) (h snapshotHeader, err error) {
	b, ok := unseal(b)
	if !ok || string(b[:8]) != streamBegin {
		return h, fmt.Errorf("%w: no header", errStream)
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8+8*i:]) }
	h = snapshotHeader{group: u(0), index: u(1), term: u(2), stamp: wire.Millis(u(3)), parts: u(4), size: int64(u(5))}
	return h, nil
}

// A partRow says what is stored of a part.
type partRow struct {
	index  uint64 // of the part's last change, when it was stored
	gen    uint64 // of the snapshot that stored it
	packed uint32 // bytes as stored
	size   uint32 // bytes unpacked
	hash   uint64
}

func (r partRow) append(b []byte, id uint64) []byte {
	b = binary.LittleEndian.AppendUint64(b, id)
	b = binary.LittleEndian.AppendUint64(b, r.index)
	b = binary.LittleEndian.AppendUint32(b, r.packed)
	b = binary.LittleEndian.AppendUint32(b, r.size)
	return binary.LittleEndian.AppendUint64(b, r.hash)
}

func decodePart(b []byte) (id uint64, r partRow) {
	return binary.LittleEndian.Uint64(b), partRow{
		index:  binary.LittleEndian.Uint64(b[8:]),
		packed: binary.LittleEndian.Uint32(b[16:]),
		size:   binary.LittleEndian.Uint32(b[20:]),
		hash:   binary.LittleEndian.Uint64(b[24:]),
	}
}

// partHash is what readers of the part check.
func partHash(id, index uint64, data []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], id)
	binary.LittleEndian.PutUint64(b[8:], index)
	d.Write(b[:])
	d.Write(data)
	return d.Sum64()
}

// readSnapshot reads the stream of a snapshot and returns nil only if all of it
// was there and right. data is only valid during the call of part.
func readSnapshot(r io.Reader, header func(h snapshotHeader) error, part func(id uint64, data []byte) error) error {
	s := streamScanner{header: header, part: func(id uint64, _ partRow, _, data []byte) error { return part(id, data) }}
	return s.scan(r)
}

// A streamScanner reads and verifies the stream of a snapshot.
type streamScanner struct {
	header func(h snapshotHeader) error
	part   func(id uint64, row partRow, packed, data []byte) error

	r            io.Reader
	left         int64 // bytes of the stream not read yet
	hash         xxhash.Digest
	packed, data []byte
}

func (s *streamScanner) scan(r io.Reader) error {
	s.r, s.left = r, streamHeader
	s.hash.Reset()
	var b [streamHeader]byte
	if err := s.read(b[:]); err != nil {
		return err
	}
	h, err := decodeSnapshotHeader(b[:])
	if err != nil {
		return err
	}
	s.left = h.size - streamHeader
	if s.left < streamTrailer || h.parts > uint64(s.left)/streamPart {
		return fmt.Errorf("%w: %d parts in %d bytes", errStream, h.parts, h.size)
	}
	if err := s.header(h); err != nil {
		return err
	}
	for range h.parts {
		if err := s.scanPart(); err != nil {
			return err
		}
	}
	sum := s.hash.Sum64()
	t := b[:streamTrailer]
	if err := s.read(t); err != nil {
		return err
	}
	if string(t[:8]) != streamEnd || binary.LittleEndian.Uint64(t[8:]) != h.parts || binary.LittleEndian.Uint64(t[16:]) != sum {
		return fmt.Errorf("%w: the trailer does not match", errStream)
	}
	if n, err := io.ReadFull(r, t[:1]); s.left != 0 || n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it does not end with its trailer", errStream)
	}
	return nil
}

func (s *streamScanner) scanPart() error {
	var b [streamPart]byte
	if err := s.read(b[:]); err != nil {
		return err
	}
	id, row := decodePart(b[:])
	if row.size > maxPart || int64(row.packed) > s.left {
		return fmt.Errorf("%w: part %d is too long", errStream, id)
	}
	s.packed = grow(s.packed, int(row.packed))
	if err := s.read(s.packed); err != nil {
		return err
	}
	var err error
	if s.data, err = unpack(s.data, s.packed, id, row); err != nil {
		return err
	}
	return s.part(id, row, s.packed, s.data)
}

// read fills b from what is left of the stream.
func (s *streamScanner) read(b []byte) error {
	if int64(len(b)) > s.left {
		return fmt.Errorf("%w: it is longer than it says", errStream)
	}
	n, err := io.ReadFull(s.r, b)
	s.left -= int64(n)
	s.hash.Write(b[:n])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends %d bytes early", errStream, s.left)
	}
	return err
}

// pack compresses a part into buf, which it may replace by a longer one.
func pack(buf, data []byte) ([]byte, error) {
	if len(data) > maxPart {
		return nil, fmt.Errorf("a part of %d bytes, at most %d are allowed", len(data), maxPart)
	}
	return s2.Encode(buf[:cap(buf)], data), nil
}

// unpack decompresses a part into buf, which it may replace, and verifies it.
func unpack(buf, packed []byte, id uint64, row partRow) ([]byte, error) {
	n, err := s2.DecodedLen(packed)
	if err != nil || n != int(row.size) {
		return buf, fmt.Errorf("%w: part %d has another length", errStream, id)
	}
	data, err := s2.Decode(grow(buf, n), packed)
	if err != nil || partHash(id, row.index, data) != row.hash {
		return buf, fmt.Errorf("%w: part %d does not match its hash", errStream, id)
	}
	return data, nil
}

// grow returns b with length n, its content undefined.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		b = make([]byte, n, min(n+n/4, math.MaxInt))
	}
	return b[:n]
}
