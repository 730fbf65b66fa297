package raftlog

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sweepEvery is how often streams are looked over.
	sweepEvery = 100 * time.Millisecond
	// A stream on which nothing came at pingSweeps looks in a row is pinged. After
	// quietSweeps nobody should wait for the node, which is as long as it takes a
	// leader without followers to step down; one that stayed silent until deadSweeps
	// is dead. Looks are counted, not time, so that a process that stood still does
	// not take its peers for dead.
	pingSweeps  = 2
	quietSweeps = 6
	deadSweeps  = 15
	// idleLimit is when a listener gives up a stream: its dialer pings more often.
	idleLimit = 10 * time.Second
)

var (
	errPeerSilent = errors.New("the node did not answer for 1.5 s")
	errNoAnswer   = errors.New("no answer in time")
	errGivenUp    = errors.New("given up")
)

// A stream is a standing connection to another node: requests go out, answers
// come back. Any goroutine asks; the reader and the sweeper settle.
type stream struct {
	peer    PeerHello
	in      *progressConn
	out     *output
	clock   func() time.Duration
	waiters *sync.Pool // of *waiter

	// The sweeper's, as of its last look.
	heard  time.Duration
	chunks int64
	silent int // looks since something was heard, or much was written

	quiet atomic.Bool // silent has come to quietSweeps

	mu      sync.Mutex
	last    uint64             // request id
	waiting map[uint64]*waiter // nil: the stream has failed
	err     error              // why; set with waiting = nil
}

// A waiter waits for one answer. It is in the stream's map until somebody
// settles it, who sends exactly one answer.
type waiter struct {
	until  time.Duration
	answer chan peerAnswer // room for one
}

type peerAnswer struct {
	body []byte
	err  error
}

// read takes answers off the connection until it ends.
func (s *stream) read() error {
	frames := newFrameReader(s.in)
	for {
		h, err := frames.next()
		if err != nil {
			return err
		}
		body, err := frames.body(h.body)
		if err != nil {
			return err
		}
		switch h.kind {
		case kindPong:
		case kindAnswer:
			s.settle(h.id, peerAnswer{body: body})
		case kindRefusal:
			s.settle(h.id, peerAnswer{err: &PeerError{Node: s.peer.Node, Text: oneLine(string(body))}})
		default:
			return fmt.Errorf("frame of kind %d is no answer", h.kind)
		}
	}
}

// A question is a request and how it is to be treated.
type question struct {
	kind    peerKind
	when    urgency
	size    int           // of the body in bytes, roughly
	timeout time.Duration // for the answer
	encode  func([]byte) []byte
}

// ask sends a question and waits for the answer, or until giveUp. The answer is
// the caller's.
func (s *stream) ask(q question, giveUp <-chan struct{}) ([]byte, error) {
	id, w, err := s.begin(q.timeout)
	if err != nil {
		return nil, err
	}
	defer s.waiters.Put(w) // its channel is empty by then
	m := message{kind: q.kind, id: id, when: q.when, large: q.size >= largeFrame, encode: q.encode}
	if m.large {
		select {
		case s.out.turn <- struct{}{}:
		case a := <-w.answer: // the stream failed, or the time is over
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, a.err)
		case <-giveUp:
			s.forget(id, w)
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, errGivenUp)
		}
	}
	if err := s.out.send(m); err != nil {
		s.forget(id, w)
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	select {
	case a := <-w.answer:
		return a.body, a.err
	case <-giveUp:
		s.forget(id, w)
		return nil, errGivenUp
	}
}

func (s *stream) begin(timeout time.Duration) (uint64, *waiter, error) {
	w := s.waiters.Get().(*waiter)
	w.until = s.clock() + timeout
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrUnreachable, s.err)
	}
	s.last++
	s.waiting[s.last] = w
	return s.last, w, nil
}

// remove takes a waiter out of the map, and with it the right to answer it.
func (s *stream) remove(id uint64) *waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[id]
	delete(s.waiting, id)
	return w
}

// settle answers a waiter, if it has not given up.
func (s *stream) settle(id uint64, a peerAnswer) {
	if w := s.remove(id); w != nil {
		w.answer <- a
	}
}

// forget gives up waiting and leaves the waiter's channel empty.
func (s *stream) forget(id uint64, w *waiter) {
	if s.remove(id) == nil {
		<-w.answer // whoever removed it answers
	}
}

// fail ends the stream and answers all who wait.
func (s *stream) fail(err error) {
	s.mu.Lock()
	waiting := s.waiting
	if waiting != nil {
		s.waiting, s.err = nil, err
	}
	s.mu.Unlock()
	s.out.close(err)
	for _, w := range waiting {
		w.answer <- peerAnswer{err: err}
	}
}

// sweep is called at intervals of sweepEvery, by one goroutine. A ping may have
// to wait behind megabytes on a slow network: while those are written, chunk by
// chunk, silence does not count. Small frames prove nothing, since the system
// takes them for a dead node, too.
func (s *stream) sweep() {
	if heard, chunks := s.in.heard(), s.out.chunks.Load(); heard != s.heard || chunks != s.chunks {
		s.heard, s.chunks, s.silent = heard, chunks, 0
	} else {
		s.silent++
	}
	s.quiet.Store(s.silent >= quietSweeps)
	switch s.silent {
	case pingSweeps:
		_ = s.out.send(message{kind: kindPing}) // a closed output is a failed stream
	case deadSweeps:
		s.fail(errPeerSilent)
		return
	}
	for _, w := range s.overdue(s.clock()) {
		w.answer <- peerAnswer{err: errNoAnswer}
	}
}

// overdue takes out who has waited for long enough.
func (s *stream) overdue(now time.Duration) (late []*waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, w := range s.waiting {
		if w.until < now {
			delete(s.waiting, id)
			late = append(late, w)
		}
	}
	return late
}
