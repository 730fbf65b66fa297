package raftlog

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// answerDelay is how long the answer to a heartbeat waits for others.
	answerDelay = 20 * time.Millisecond
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
//
// What an idle group costs is raft's heartbeats and its messages that follow up
// the log. The latter cannot wait: until they are answered, raft sends that
// follower no new entries. Heartbeats can, and wait aside for the node's next beat:
// taking them along with the next urgent frame made a write of every few of them,
// and idle nodes a third dearer (64 groups on three nodes: 16.8 instead of 12.9 %
// of a core).
type output struct {
	conn net.Conn
	wake chan struct{} // has a token when there is something to write
	done chan struct{} // closed by close
	turn chan struct{} // has a token while a large frame waits to be written

	chunks atomic.Int64 // full ones that were written

	mu    sync.Mutex
	buf   []byte // what the writer takes next
	large bool   // it has the large frame whose token is in turn
	late  *time.Timer
	soon  bool   // late runs, for answers in buf that may wait
	held  []byte // heartbeats
	err   error  // set by close
}

// urgency says how long a frame may wait for company.
type urgency uint8

const (
	now  urgency = iota
	soon         // answerDelay
	held         // for the next beat, with others of its kind
)

func newOutput(conn net.Conn) *output {
	o := &output{conn: conn, wake: make(chan struct{}, 1), done: make(chan struct{}), turn: make(chan struct{}, 1)}
	o.late = time.AfterFunc(time.Hour, o.signal)
	o.late.Stop()
	return o
}

// A message is a frame that is to be sent.
type message struct {
	kind peerKind
	id   uint64
	when urgency
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
	if m.when == held {
		o.held = appendFrame(o.held, m.kind, m.id, m.encode)
		return nil
	}
	o.buf = appendFrame(o.buf, m.kind, m.id, m.encode)
	o.large = o.large || m.large
	if m.when == now {
		o.signal()
	} else if !o.soon {
		o.soon = true
		o.late.Reset(answerDelay)
	}
	return nil
}

// release lets the heartbeats go.
func (o *output) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || len(o.held) == 0 {
		return
	}
	o.buf = append(o.buf, o.held...)
	o.held = o.held[:0]
	o.signal()
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
	if o.soon {
		o.soon = false
		o.late.Stop()
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
		if b = b[n:]; n == writeChunk {
			o.chunks.Add(1)
		}
	}
	return nil
}

// close ends the connection. The first reason counts.
func (o *output) close(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = err
		o.buf, o.held = nil, nil
		o.late.Stop()
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
