package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A Pipe is one connection without any comfort, for gateways and benchmarks: it
// sends frames and gives back answers, many with each read and write, and
// allocates nothing on the way. It does not retry, route or watch; the caller
// matches answers to requests by their ids.
//
// Begin, End, Add and Flush belong to one goroutine; Next and Buffered to one,
// which may be another. Close may be called from any.
//
// The caller keeps no more requests unanswered than MaxInFlight. A single
// goroutine that does not read while it writes without bound would block: the
// node stops reading from a connection that does not take its answers.
type Pipe struct {
	nc   net.Conn
	peer peer

	// Of the writing goroutine.
	out  []byte
	last uint64 // request id of the last Add

	// Of the reading goroutine.
	in       []byte
	from, to int // unread bytes of in
}

const pipeBuffer = 256 << 10 // bytes read at once, at most, unless an answer is larger

// DialPipe opens a pipe to the node at addr. Of the options it uses Key, TLS and
// Dialer.
func DialPipe(ctx context.Context, addr string, opts *Options) (*Pipe, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	o.Compression = false // it would allocate
	nc, peer, err := dialPeer(ctx, addr, &o)
	if err != nil {
		return nil, err
	}
	return &Pipe{nc: nc, peer: peer, in: make([]byte, pipeBuffer)}, nil
}

// Node is the name of the node at the other end.
func (p *Pipe) Node() string { return p.peer.node }

// MaxInFlight is how many requests the node accepts unanswered.
func (p *Pipe) MaxInFlight() int { return p.peer.maxInFlight }

// Begin starts a frame: the caller appends the body to what it returns and gives
// it to End. Without End the frame is forgotten.
func (p *Pipe) Begin() []byte {
	var head [wire.HeaderSize]byte
	return append(p.out, head[:]...)
}

// End finishes the frame that Begin started. It sets h.Body; all else is the
// caller's, the request id too.
func (p *Pipe) End(h wire.Header, frame []byte) {
	start := len(p.out)
	h.Body = len(frame) - start - wire.HeaderSize
	h.Put(frame[start:])
	p.out = frame
}

// Add adds a request to what Flush sends, copies its body and returns its id.
// Ids count up from 1.
func (p *Pipe) Add(kind wire.Kind, flags wire.Flags, body []byte) uint64 {
	p.last++
	h := wire.Header{Body: len(body), Kind: kind, Flags: flags, Request: p.last}
	p.out = append(h.Append(p.out), body...)
	return p.last
}

// Flush sends what was added, with one write.
func (p *Pipe) Flush() error {
	if len(p.out) == 0 {
		return nil
	}
	_, err := p.nc.Write(p.out)
	p.out = p.out[:0]
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// Next gives the next answer, reading if none is buffered. The body is valid
// until the next call. After an error the pipe is of no use any more.
func (p *Pipe) Next() (wire.Header, []byte, error) {
	for {
		h, size, err := p.head()
		if err != nil {
			return h, nil, err
		}
		if size > 0 && p.to-p.from >= size {
			body := p.in[p.from+wire.HeaderSize : p.from+size : p.from+size]
			p.from += size
			return h, body, nil
		}
		if err := p.fill(size); err != nil {
			return h, nil, err
		}
	}
}

// Buffered is how many bytes of answers are there already; zero if Next would
// have to read.
func (p *Pipe) Buffered() int {
	if _, size, err := p.head(); err == nil && (size == 0 || p.to-p.from < size) {
		return 0
	}
	return p.to - p.from
}

// head reads the header of the next frame; size is that of the whole frame, 0 if
// not even the header is there.
func (p *Pipe) head() (h wire.Header, size int, err error) {
	if p.to-p.from < wire.HeaderSize {
		return h, 0, nil
	}
	h, err = wire.ParseHeader(p.in[p.from:p.to], wire.MaxAnswerBody)
	if err == nil && h.Flags&wire.FlagAnswer == 0 {
		err = fmt.Errorf("a frame of kind %d that is no answer", h.Kind)
	}
	return h, wire.HeaderSize + h.Body, err
}

// fill reads once, making room for a frame of size bytes as far as it comes.
func (p *Pipe) fill(size int) error {
	if p.from > 0 {
		p.to = copy(p.in, p.in[p.from:p.to])
		p.from = 0
	}
	if p.to == len(p.in) {
		// The announced size alone must not cost memory: double what has come.
		p.in = append(p.in, make([]byte, min(len(p.in), size-len(p.in)))...)
	}
	n, err := p.nc.Read(p.in[p.to:])
	p.to += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return fmt.Errorf("read: %w", err)
}

// SetDeadline ends reads and writes at t; see net.Conn.
func (p *Pipe) SetDeadline(t time.Time) error { return p.nc.SetDeadline(t) }

// Close closes the connection. What is unanswered may or may not be applied.
func (p *Pipe) Close() error { return p.nc.Close() }
