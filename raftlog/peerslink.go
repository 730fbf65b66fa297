package raftlog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// connectTimeout bounds opening a connection, dialTimeout that, TLS and the
	// hello together. Between nodes that can work together these take
	// milliseconds; packets that a network drops must not be waited for.
	connectTimeout = time.Second
	dialTimeout    = 3 * time.Second
	// A node that could not be reached is tried again after a pause that doubles
	// from the first of these to the second, so that a network that has healed is
	// in use again before raft notices.
	minPause = 50 * time.Millisecond
	maxPause = 500 * time.Millisecond
)

var errNoAddress = errors.New("its address is not known")

// A link keeps a stream to another node for those who ask for it. Its goroutine
// dials; while it does so for the first time, or anew after a stream broke,
// they wait; once that has failed, they fail at once until it succeeds.
type link struct {
	p      *Peers
	node   string
	wanted chan struct{} // has a token when somebody wants a stream
	calls  chan struct{} // has a token per call under way

	mu      sync.Mutex
	stream  *stream       // nil: there is none
	err     error         // why the last attempt failed; nil: it has not
	changed chan struct{} // closed at every change
}

// link finds the link to a node; if there is none, it makes one, provided that
// the node's address is known.
func (p *Peers) link(node string) (*link, error) {
	p.mu.Lock()
	l, closed := p.links[node], p.closed
	p.mu.Unlock()
	switch {
	case closed:
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, errPeersClosed)
	case l != nil:
		return l, nil
	case p.c.Addr(node) == "":
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, node, errNoAddress)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, errPeersClosed)
	}
	if l = p.links[node]; l == nil {
		l = &link{
			p: p, node: node,
			wanted:  make(chan struct{}, 1),
			calls:   make(chan struct{}, maxCalls),
			changed: make(chan struct{}),
		}
		p.links[node] = l
		p.work.Go(l.run)
	}
	return l, nil
}

// run dials as often as there is somebody who wants a stream.
func (l *link) run() {
	pause := minPause
	for l.awaitWanted() {
		s, err := l.open()
		if err == nil {
			l.set(s, nil)
			l.serve(s)
			l.set(nil, nil)
			pause = minPause
		} else if l.p.ctx.Err() == nil {
			l.set(nil, err)
			l.p.log.warn(l.node, "node cannot be reached", "peer", l.node, "addr", l.p.c.Addr(l.node), "error", err)
		}
		select {
		case <-time.After(pause):
		case <-l.p.ctx.Done():
		}
		pause = min(2*pause, maxPause)
	}
}

// awaitWanted waits until somebody wants a stream; false: everything ends. What
// was found out about a node is forgotten when nobody has asked since.
func (l *link) awaitWanted() bool {
	select {
	case <-l.wanted:
		return l.p.ctx.Err() == nil
	default:
	}
	if _, err, _ := l.get(); err != nil {
		l.set(nil, nil)
	}
	select {
	case <-l.wanted:
		return l.p.ctx.Err() == nil
	case <-l.p.ctx.Done():
		return false
	}
}

func (l *link) set(s *stream, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream, l.err = s, err
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) get() (*stream, error, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stream, l.err, l.changed
}

// open makes a stream whose goroutines do not run yet.
func (l *link) open() (*stream, error) {
	addr := l.p.c.Addr(l.node)
	if addr == "" {
		return nil, errNoAddress
	}
	conn, peer, err := l.p.dial(l.p.ctx, addr, l.node, forStream)
	if err != nil {
		return nil, err
	}
	return &stream{
		peer:    peer,
		in:      &progressConn{Conn: conn, limit: idleLimit, clock: l.p.clock},
		out:     newOutput(conn),
		clock:   l.p.clock,
		waiters: &l.p.waiters,
		waiting: make(map[uint64]*waiter),
	}, nil
}

// serve runs a stream until it ends.
func (l *link) serve(s *stream) {
	stop := context.AfterFunc(l.p.ctx, func() { s.fail(errPeersClosed) })
	defer stop()
	var writer sync.WaitGroup
	writer.Go(s.out.run)
	err := s.read()
	if reason := s.out.reason(); reason != nil {
		err = reason // the reader only saw the connection closed
	}
	s.fail(err)
	writer.Wait()
	if l.p.ctx.Err() == nil {
		l.p.log.warn(l.node, "connection to a node was lost", "peer", l.node, "error", err)
	}
}

// await returns a stream. Without one it waits, unless the node is known to be
// unreachable and not even that is waited for.
func (l *link) await(wait time.Duration, whileDown bool, giveUp <-chan struct{}) (*stream, error) {
	var timer *time.Timer
	for {
		s, err, changed := l.get()
		if s != nil {
			return s, nil
		}
		l.want()
		if err != nil && !whileDown {
			return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, l.node, err)
		}
		if timer == nil {
			timer = time.NewTimer(wait)
			defer timer.Stop()
		}
		select {
		case <-changed:
		case <-timer.C:
			if err == nil {
				err = errNoAnswer
			}
			return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, l.node, err)
		case <-giveUp:
			return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, l.node, errGivenUp)
		case <-l.p.ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, errPeersClosed)
		}
	}
}

// want has the link dial if it does not have a stream.
func (l *link) want() {
	select {
	case l.wanted <- struct{}{}:
	default:
	}
}

// dial opens a connection to addr and says hello. want is the node that is to
// answer; "": whoever it is.
func (p *Peers) dial(ctx context.Context, addr, want string, why purpose) (net.Conn, PeerHello, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := p.connect(ctx, addr)
	if err != nil {
		return nil, PeerHello{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends what waits below
	raw := conn
	if p.dialTLS != nil {
		conn = tls.Client(conn, p.dialTLS)
	}
	peer, err := p.greet(ctx, conn, hello{PeerHello: p.me(), purpose: why, want: want})
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return nil, PeerHello{}, err
	}
	return conn, peer, nil
}

func (p *Peers) connect(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return p.c.Dial(ctx, addr)
}

func (p *Peers) greet(ctx context.Context, conn net.Conn, h hello) (PeerHello, error) {
	if t, ok := conn.(*tls.Conn); ok {
		if err := t.HandshakeContext(ctx); err != nil {
			return PeerHello{}, err
		}
	}
	peer, err := introduce(conn, h)
	if err != nil {
		return PeerHello{}, err
	}
	return peer, p.accepts(conn, h, peer)
}
