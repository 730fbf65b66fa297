package live

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

const (
	readers    = 4                     // goroutines that read from encrypted connections
	readBuffer = 4 << 10               // bytes
	readMoment = 20 * time.Millisecond // for the rest of a TLS record
)

// writeBy writes to a connection within a time.
func writeBy(c net.Conn, b []byte, patience time.Duration) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return c.Write(b)
}

// heard gives the writer what follows from what a client has sent.
func (s *sub) heard(b []byte, now time.Duration) (goOn bool) {
	if s.in == nil {
		return true // who listens to an event stream has nothing to say
	}
	r := s.in.feed(b, now)
	if r.write != nil || r.close {
		s.writer.post(mail{sub: s, reply: &r})
	}
	return !r.close
}

// A reader reads from encrypted connections that have something to read, with a few
// goroutines: a record may come in pieces, and waiting for one must not keep the
// poller.
type reader struct {
	hub     *Hub
	running sync.WaitGroup

	mu    sync.Mutex
	more  sync.Cond
	queue []*sub // each at most once
	ended bool
}

func newReader(h *Hub) *reader {
	r := &reader{hub: h}
	r.more.L = &r.mu
	for range readers {
		r.running.Go(r.run)
	}
	return r
}

// What sub.reading says.
const (
	readIdle  = iota
	readDue   // it is in the queue, or being read
	readAgain // and has more since
)

// give says that a connection has something to read. Any goroutine.
func (r *reader) give(s *sub) {
	if s.reading.CompareAndSwap(readIdle, readDue) {
		r.push(s)
	} else if !s.reading.CompareAndSwap(readDue, readAgain) && s.reading.CompareAndSwap(readIdle, readDue) {
		r.push(s)
	}
}

func (r *reader) push(s *sub) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, s)
	r.more.Signal()
}

// end ends the goroutines and waits for them.
func (r *reader) end() {
	r.mu.Lock()
	r.ended = true
	r.more.Broadcast()
	r.mu.Unlock()
	r.running.Wait()
}

func (r *reader) take() *sub {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 && !r.ended {
		r.more.Wait()
	}
	if r.ended {
		return nil
	}
	s := r.queue[0]
	r.queue = r.queue[1:]
	return s
}

func (r *reader) run() {
	buf := make([]byte, readBuffer)
	for s := r.take(); s != nil; s = r.take() {
		if !r.read(s, buf) {
			continue
		}
		if !s.reading.CompareAndSwap(readDue, readIdle) {
			s.reading.Store(readDue)
			r.push(s)
		}
	}
}

// read reads what there is; false if that was the last.
func (r *reader) read(s *sub, buf []byte) bool {
	for {
		if err := s.conn.SetReadDeadline(time.Now().Add(readMoment)); err != nil {
			return false
		}
		n, err := s.conn.Read(buf)
		if n > 0 && !s.heard(buf[:n], r.hub.now()) {
			return false
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return true
		}
		if err != nil {
			s.writer.post(mail{sub: s, gone: true})
			return false
		}
	}
}
