package server

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxPending is how many bytes of answers may wait for a client before its
	// requests are not read any more.
	maxPending = 4 << 20
	// maxKept is the largest buffer that a connection keeps for its next use, in
	// bytes.
	maxKept = 256 << 10
)

// An output is the sending half of a connection. Appliers deliver to it, its
// writer goroutine sends what has gathered in one write. The reader, which has
// its own buffer, sends directly: net.Conn keeps the two writes apart, and both
// consist of whole frames.
//
// Handing the reader's answers to the writer too was measured: the processor
// time per request is the same, at depth 1 and at depth 512. Sending directly is
// better for memory: who does not read his maps is not read any more, instead of
// filling a buffer with them.
type output struct {
	nc      net.Conn
	timeout time.Duration
	sent    *atomic.Uint64 // bytes, of all connections
	wake    chan struct{}  // capacity 1: there is something to send, or err

	mu      sync.Mutex
	changed sync.Cond // of mu: anything below, for the reader to wait on
	buf     []byte    // frames to send
	spare   []byte    // what buf is swapped with
	sending bool      // the writer is in a write
	open    int       // room of the requests that are not answered yet
	err     error     // why nothing can be sent any more
}

func newOutput(nc net.Conn, timeout time.Duration, sent *atomic.Uint64) *output {
	o := &output{nc: nc, timeout: timeout, sent: sent, wake: make(chan struct{}, 1)}
	o.changed.L = &o.mu
	return o
}

// take reserves room for requests that are about to be submitted.
func (o *output) take(room int) {
	o.mu.Lock()
	o.open += room
	o.mu.Unlock()
}

// room is what is taken.
func (o *output) room() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.open
}

// deliver appends frames that answer requests and gives back their room. It
// does not block; frames is the caller's again afterwards.
func (o *output) deliver(frames []byte, room int) {
	o.mu.Lock()
	o.open -= room
	first := false
	if o.err == nil {
		first = len(o.buf) == 0
		o.buf = append(o.buf, frames...)
	}
	o.mu.Unlock()
	o.changed.Signal() // the reader is the only one who waits
	if first {
		o.rouse()
	}
}

func (o *output) rouse() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// write is the writer goroutine. It ends when fail was called.
func (o *output) write() {
	for range o.wake {
		o.mu.Lock()
		frames, err := o.buf, o.err
		o.buf, o.spare = o.spare[:0], nil
		o.sending = true
		o.mu.Unlock()
		if err != nil {
			return
		}
		if len(frames) > 0 {
			o.send(frames)
		}
		o.mu.Lock()
		o.sending = false
		if cap(frames) <= maxKept {
			o.spare = frames
		}
		o.mu.Unlock()
		o.changed.Signal()
	}
}

// send writes frames to the socket. A client that does not read them in time is
// dropped: half a frame cannot be taken back.
func (o *output) send(frames []byte) bool {
	_ = o.nc.SetWriteDeadline(time.Now().Add(o.timeout)) // a closed socket says so in Write
	if _, err := o.nc.Write(frames); err != nil {
		o.fail(err)
		return false
	}
	o.sent.Add(uint64(len(frames)))
	return true
}

// fail ends the connection in both directions. Answers that are still to come
// are dropped. The first cause stays.
func (o *output) fail(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = err
		o.buf = nil
	}
	o.mu.Unlock()
	_ = o.nc.Close()
	o.changed.Signal()
	o.rouse()
}

// awaitSpace waits until fewer than maxPending bytes wait for the client. False
// if the connection has failed.
func (o *output) awaitSpace() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.buf) > maxPending && o.err == nil {
		o.changed.Wait()
	}
	return o.err == nil
}

// awaitQuiet waits until every request is answered and every answer sent, or the
// connection has failed, and returns why.
func (o *output) awaitQuiet() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for (o.open > 0 || len(o.buf) > 0 || o.sending) && o.err == nil {
		o.changed.Wait()
	}
	return o.err
}

// quiet reports what awaitQuiet waits for.
func (o *output) quiet() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.open == 0 && len(o.buf) == 0 && !o.sending || o.err != nil
}

// shrink lets go of buffers that an idle connection does not need.
func (o *output) shrink() {
	o.mu.Lock()
	o.spare = nil
	if len(o.buf) == 0 {
		o.buf = nil
	}
	o.mu.Unlock()
}
