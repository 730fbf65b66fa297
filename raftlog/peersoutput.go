package raftlog

import (
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// lazyDelay is how long a heartbeat or its answer waits for company. With 64
	// groups on three nodes a write then carries a dozen of them.
	lazyDelay = 20 * time.Millisecond
	// writeChunk is written under one deadline of writeTimeout, in bytes.
	writeChunk   = 256 << 10
	writeTimeout = 5 * time.Second
	// largeFrame is the size, in bytes, from which frames take turns, so that at
	// most two are between a heartbeat and the socket: one being written, one
	// gathered.
	largeFrame = 64 << 10
	// keptOutput is the buffer that a connection keeps for its next frames, in bytes.
	keptOutput = 256 << 10
)

var errPeersClosed = errors.New("raftlog: the transport between nodes is closed")

// An output is the writing half of a connection. Any goroutine adds frames;
// one, the writer, writes all that has gathered in one go.
type output struct {
	conn net.Conn
	wake chan struct{} // has a token when there is something to write
	done chan struct{} // closed by close
	turn chan struct{} // has a token while a large frame waits to be written

	mu    sync.Mutex
	buf   []byte
	large bool        // buf has the large frame whose token is in turn
	lazy  bool        // timer runs
	timer *time.Timer // wakes the writer for what was lazy
	err   error       // set by close
}

func newOutput(conn net.Conn) *output {
	o := &output{conn: conn, wake: make(chan struct{}, 1), done: make(chan struct{}), turn: make(chan struct{}, 1)}
	o.timer = time.AfterFunc(time.Hour, o.signal)
	o.timer.Stop()
	return o
}

// A message is a frame that is to be sent.
type message struct {
	kind peerKind
	id   uint64
	lazy bool // may wait for company
	// large: whoever sends it has put its token into turn. The writer, or a send
	// that fails, takes it out.
	large  bool
	encode func([]byte) []byte // appends the body; nil: it has none
}

// send adds a frame. It never waits: a large frame waits for its turn before.
func (o *output) send(m message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		if m.large {
			<-o.turn
		}
		return o.err
	}
	o.buf = appendFrame(o.buf, m.kind, m.id, m.encode)
	o.large = o.large || m.large
	switch {
	case !m.lazy:
		o.signal()
	case !o.lazy:
		o.lazy = true
		o.timer.Reset(lazyDelay)
	}
	return nil
}

func (o *output) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run writes until the output is closed or the connection fails.
func (o *output) run() {
	var spare []byte
	for {
		select {
		case <-o.wake:
		case <-o.done:
			return
		}
		buf := o.take(spare)
		if err := o.write(buf); err != nil {
			o.close(err)
			return
		}
		if spare = buf[:0]; cap(spare) > keptOutput {
			spare = nil
		}
	}
}

func (o *output) take(spare []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	buf := o.buf
	o.buf = spare
	if o.lazy {
		o.lazy = false
		o.timer.Stop()
	}
	if o.large {
		o.large = false
		<-o.turn
	}
	return buf
}

// write gives each chunk a deadline of its own: a slow network is no dead one.
func (o *output) write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), writeChunk)
		if err := o.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := o.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// close ends the connection. The first reason counts.
func (o *output) close(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = err
		o.buf = nil
		o.timer.Stop()
		close(o.done)
	}
	o.mu.Unlock()
	_ = o.conn.Close() // the reader notices
}

// reason is why the output is closed; nil: it is not.
func (o *output) reason() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
