package raftlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// A frame between nodes is a header of 16 bytes and a body, little-endian:
//
//	0  u32  length of the body
//	4  u8   kind
//	5  u24  zero
//	8  u64  request id, chosen by the dialer, echoed in the answer
//	16 …    body
const peerHeaderSize = 16

const (
	// maxCallBody bounds the body of a call and that of its answer, in bytes.
	maxCallBody = 4 << 20
	// entryOverhead is what an entry has beside its data in a frame, in bytes, with
	// room for raft's own entries, whose data is a configuration.
	entryOverhead = 4 << 10
	// appendGoal is what a message has in entries, in bytes, if it has several. At
	// 8 MiB, the most that raft gives at a time, a follower that caught up lost
	// sight of the leaders of all its groups on a machine that was short of time.
	appendGoal = 1 << 20
	// maxAppendBody bounds a message with entries, in bytes.
	maxAppendBody = appendEntries*(maxEntryBytes+entryOverhead) + maxRequestBody
	// maxRequestBody bounds all other messages of raft, in bytes. The largest has
	// a configuration in it.
	maxRequestBody = 64 << 10
	// readChunk is what is allocated for a body before any of it has come, in
	// bytes. More follows as bytes arrive.
	readChunk = 64 << 10
)

// peerKind says what is in a frame.
type peerKind uint8

const (
	kindPing       peerKind = 1 // empty; answered with a pong
	kindPong       peerKind = 2 // empty; also: still at work on a snapshot
	kindAppend     peerKind = 3
	kindVote       peerKind = 4
	kindPreVote    peerKind = 5
	kindTimeoutNow peerKind = 6
	kindSnapshot   peerKind = 7 // the first frame of a connection that carries a snapshot
	kindCall       peerKind = 8
	kindAnswer     peerKind = 9
	kindRefusal    peerKind = 10 // in place of an answer: one line of text
	kindProceed    peerKind = 11 // empty; the snapshot's bytes may come
)

// maxBody is the longest body a frame of this kind may have, in bytes.
func (k peerKind) maxBody() int {
	switch k {
	case kindAppend:
		return maxAppendBody
	case kindVote, kindPreVote, kindTimeoutNow, kindSnapshot, kindRefusal:
		return maxRequestBody
	case kindCall, kindAnswer:
		return callHeader + maxCallBody
	}
	return 0
}

type peerHeader struct {
	body int // bytes
	kind peerKind
	id   uint64
}

// put writes the header over b[:peerHeaderSize].
func (h peerHeader) put(b []byte) {
	binary.LittleEndian.PutUint32(b, uint32(h.body))
	binary.LittleEndian.PutUint32(b[4:], uint32(h.kind))
	binary.LittleEndian.PutUint64(b[8:], h.id)
}

// errBroken says that a node does not keep to the protocol.
var errBroken = errors.New("the protocol between nodes is broken")

// parsePeerHeader checks a header before anything is allocated for its body.
// After an error the stream has no known next frame.
func parsePeerHeader(b []byte) (peerHeader, error) {
	n, kind := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	h := peerHeader{kind: peerKind(kind), id: binary.LittleEndian.Uint64(b[8:])}
	if kind == 0 || kind > uint32(kindProceed) {
		return h, fmt.Errorf("%w: frame of unknown kind %d", errBroken, kind)
	}
	if n > uint32(h.kind.maxBody()) {
		return h, fmt.Errorf("%w: frame of kind %d has %d bytes, at most %d are allowed", errBroken, kind, n, h.kind.maxBody())
	}
	h.body = int(n)
	return h, nil
}

// appendFrame appends a frame whose body encode appends; nil: it has none.
func appendFrame(b []byte, kind peerKind, id uint64, encode func([]byte) []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, peerHeaderSize)...)
	if encode != nil {
		b = encode(b)
	}
	peerHeader{body: len(b) - start - peerHeaderSize, kind: kind, id: id}.put(b[start:])
	return b
}

// A progressConn is a connection that fails when nothing arrives for a while. It
// belongs to the goroutine that reads; heard may be asked by any.
type progressConn struct {
	net.Conn
	limit time.Duration
	clock func() time.Duration
	last  atomic.Int64 // when something arrived, in nanoseconds of clock
}

func (c *progressConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.last.Store(int64(c.clock()))
	}
	return n, err
}

// heard is when something last arrived.
func (c *progressConn) heard() time.Duration { return time.Duration(c.last.Load()) }

// A frameReader takes frames off a connection. The goroutine that reads owns it.
type frameReader struct {
	r    *bufio.Reader
	head [peerHeaderSize]byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, readChunk)}
}

func (f *frameReader) next() (peerHeader, error) {
	if _, err := io.ReadFull(f.r, f.head[:]); err != nil {
		return peerHeader{}, err
	}
	return parsePeerHeader(f.head[:])
}

// body reads the n bytes of a body into a slice that the caller owns.
func (f *frameReader) body(n int) ([]byte, error) {
	b := make([]byte, 0, min(n, readChunk))
	for {
		at := len(b)
		b = b[:min(n, cap(b))]
		if _, err := io.ReadFull(f.r, b[at:]); err != nil {
			return nil, noEOF(err)
		}
		if len(b) == n {
			return b, nil
		}
		b = append(make([]byte, 0, min(n, 2*cap(b))), b...)
	}
}

// skip reads over a body.
func (f *frameReader) skip(n int) error {
	_, err := io.CopyN(io.Discard, f.r, int64(n))
	return noEOF(err)
}

// noEOF tells an end in the middle from one between frames.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

var errPeerShort = errors.New("body is too short for its kind")

// A peerReader takes fields off a body. After the first that is not there it
// yields zeroes; finish reports it.
type peerReader struct {
	b   []byte
	err error
}

// take aliases the body; nothing is nil.
func (r *peerReader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.err = errPeerShort
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	if n == 0 {
		return nil
	}
	return v
}

func (r *peerReader) u8() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *peerReader) u16() uint16 {
	if v := r.take(2); v != nil {
		return binary.LittleEndian.Uint16(v)
	}
	return 0
}

func (r *peerReader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (r *peerReader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

// bool reads 0 or 1; a body has one encoding.
func (r *peerReader) bool() bool {
	v := r.u8()
	if v > 1 && r.err == nil {
		r.err = fmt.Errorf("%d is neither 0 nor 1", v)
	}
	return v == 1
}

func (r *peerReader) id() (id [16]byte) {
	if v := r.take(len(id)); v != nil {
		id = [16]byte(v)
	}
	return id
}

// short reads a u8 length and that many bytes.
func (r *peerReader) short() []byte { return r.take(int(r.u8())) }

// long reads a u32 length and that many bytes.
func (r *peerReader) long() []byte {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)) {
		r.err = errPeerShort
		return nil
	}
	return r.take(int(n))
}

// finish reports a body that was too short, or longer than its fields.
func (r *peerReader) finish() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("body has %d bytes after its last field", len(r.b))
	}
	return r.err
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendShort appends a u8 length and v, which has at most 255 bytes.
func appendShort[T ~string | ~[]byte](b []byte, v T) []byte {
	b = append(b, uint8(len(v)))
	return append(b, v...)
}

func appendLong(b []byte, v []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}
