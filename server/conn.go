package server

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/wire"
)

const (
	smallBuffer = 4 << 10  // of a connection that sends little
	fullBuffer  = 64 << 10 // of a connection that filled a small one
	maxFrame    = wire.HeaderSize + wire.MaxRequestBody

	// maxLocal is how many bytes of answers the reader gathers before it sends.
	maxLocal = 256 << 10

	// A connection that is closed after an answer must not be reset before the
	// peer has read the answer: what it still sends is read and thrown away, this
	// long and this much.
	lingerTime  = time.Second
	lingerBytes = 4 << 20
)

// errDone ends a connection whose reader has nothing more to do.
var errDone = errors.New("server: connection done")

// A conn is one connection of the binary protocol. Its fields belong to the
// reader goroutine, but for out, which has its own rules, and the atomics.
type conn struct {
	n   *Node
	l   *listener
	nc  net.Conn
	out *output

	in         []byte // in[start:end] is read and not parsed
	start, end int
	local      []byte // answers of this round

	key     [32]byte // SHA-256 of the API key
	table   *directory.Table
	role    wire.Role
	packing wire.Compression

	round    uint64 // counts reads of the socket
	budget   int    // room for requests left in this round
	stopping bool   // as of this round
	diskLow  bool   // as of this round
	groups   *groupSet
	lanes    []lane // by group id
	touched  []*lane
	event    wire.EventID // the last event that was asked for, and its lane
	lane     *lane
	gather   *gather // the batch frame being parsed, or nil

	requests, answers tally
	early             uint64 // holds answered by the early look in this round

	heard atomic.Uint64 // round, for the sweeper; 0 until the hello is done
	poked atomic.Bool   // the sweeper asks the reader to let go of its buffers
	idle  idleness      // the sweeper's
}

// serve is the reader goroutine.
func (c *conn) serve() {
	defer c.l.forget(c)
	if !c.hello() {
		c.n.counters.refused.Add(1)
		c.linger()
		c.out.fail(errDone)
		return
	}
	go c.out.write()
	for {
		if err := c.frames(); err != nil {
			c.n.counters.dropped.Add(1)
			break
		}
		if !c.out.awaitSpace() || !c.fill() {
			break
		}
	}
	// Whatever ended the stream of requests (half a close, a stopping node, a
	// frame that is none), those that came before are answered.
	if err := c.out.awaitQuiet(); err == nil {
		c.linger()
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.n.counters.dropped.Add(1)
	}
	c.out.fail(errDone)
}

// fill reads what the socket has. False ends the connection.
func (c *conn) fill() bool {
	c.makeSpace()
	for {
		n, err := c.nc.Read(c.in[c.end:])
		if n > 0 {
			c.end += n
			c.round++
			c.n.counters.bytesIn.Add(uint64(n))
			return true
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !c.poked.Swap(false) {
			return false
		}
		if !c.unhurried() {
			return false
		}
		c.shrink()
	}
}

// unhurried takes deadlines off the connection. False if it is to be closed:
// asked after, because close sets closing before it sets a deadline.
func (c *conn) unhurried() bool {
	return c.nc.SetDeadline(time.Time{}) == nil && !c.l.closing.Load()
}

// makeSpace moves what is not parsed to the front and makes the buffer large
// enough for the frame that begins there. Only what a header announces within
// the limits is allocated.
func (c *conn) makeSpace() {
	rest := c.in[c.start:c.end]
	want := len(c.in)
	switch {
	case len(rest) >= wire.HeaderSize:
		h, err := wire.ParseHeader(rest, wire.MaxRequestBody)
		if err == nil {
			want = max(want, min(wire.HeaderSize+h.Body, maxFrame))
		}
		want = max(want, fullBuffer) // half a frame was left: there is more to come
	case c.end == len(c.in):
		want = max(want, fullBuffer)
	case len(c.in) > fullBuffer:
		want = fullBuffer // the large frame is done
	}
	if want == len(c.in) {
		copy(c.in, rest)
	} else {
		c.in = append(make([]byte, 0, want), rest...)[:want]
	}
	c.start, c.end = 0, len(rest)
}

// shrink lets go of what an idle connection does not need.
func (c *conn) shrink() {
	if rest := c.in[c.start:c.end]; len(c.in) > smallBuffer && len(rest) < smallBuffer/2 {
		c.in = append(make([]byte, 0, smallBuffer), rest...)[:smallBuffer]
		c.start, c.end = 0, len(rest)
	}
	c.local = nil
	c.out.shrink()
	c.n.counters.rested.Add(1)
}

// sendLocal sends the reader's own answers.
func (c *conn) sendLocal() {
	if len(c.local) == 0 {
		return
	}
	c.out.send(c.local)
	c.local = c.local[:0]
	if cap(c.local) > maxKept {
		c.local = nil
	}
}

// linger tells the peer that nothing more will come, and reads what it still
// sends until it closes too, for a bounded time and amount: closing at once
// would reset the connection under the answers.
func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if c.nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(c.nc, lingerBytes)) // nobody is interested
}
