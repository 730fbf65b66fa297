package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/wire"
)

const (
	// defaultRest is how long a connection is silent before it gives up its large
	// buffers.
	defaultRest = 10 * time.Second
	// sweepShare is how often, within that time, connections are looked over.
	sweepShare = 8
	// maxTurnedAway bounds the connections beyond the limit that are told so;
	// further ones are just closed.
	maxTurnedAway = 64
	// drainEvery is how often a stopping node looks whether its connections have
	// all their answers.
	drainEvery = 2 * time.Millisecond
)

// A listener accepts connections of the binary protocol and knows those that
// are open.
type listener struct {
	n       *Node
	net     net.Listener
	closing atomic.Bool // no connection is kept any more
	away    atomic.Int32
	done    chan struct{} // closed by close
	work    sync.WaitGroup

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// listen starts the binary listener.
func (n *Node) listen() error {
	if n.cfg.Listen == Off {
		return nil
	}
	nl, err := net.Listen("tcp", n.cfg.Listen)
	if err != nil {
		return fmt.Errorf("binary listener: %w", err)
	}
	n.listener = &listener{n: n, net: nl, done: make(chan struct{}), conns: make(map[*conn]struct{})}
	n.listener.work.Go(n.listener.accept)
	n.listener.work.Go(n.listener.sweep)
	return nil
}

// accept takes connections until stopAccepting.
func (l *listener) accept() {
	pause := time.Duration(0)
	for {
		nc, err := l.net.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, most likely: wait until some are free.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.n.log.Warn("cannot accept a connection", "error", err, "retry_in", pause)
			select {
			case <-time.After(pause):
			case <-l.done:
				return
			}
			continue
		}
		pause = 0
		if l.n.tls != nil {
			nc = tls.Server(nc, l.n.tls)
		}
		c := &conn{n: l.n, l: l, nc: nc, out: newOutput(nc, l.n.cfg.WriteTimeout, &l.n.counters.bytesOut)}
		if !l.admit(c) {
			l.turnAway(nc)
			continue
		}
		l.work.Go(c.serve)
	}
}

// admit registers a connection, unless there are too many or the node stops.
func (l *listener) admit(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.n.cfg.MaxConns || l.closing.Load() {
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

func (l *listener) forget(c *conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
}

// turnAway tells a connection beyond the limit that there are too many.
func (l *listener) turnAway(nc net.Conn) {
	l.n.counters.refused.Add(1)
	if l.away.Add(1) > maxTurnedAway {
		l.away.Add(-1)
		_ = nc.Close() // nothing was promised
		return
	}
	l.work.Go(func() {
		defer l.away.Add(-1)
		c := &conn{n: l.n, l: l, nc: nc, out: newOutput(nc, helloTimeout, &l.n.counters.bytesOut)}
		_ = nc.SetDeadline(time.Now().Add(helloTimeout)) // a closed socket says so in Write
		c.refuse(wire.Header{}, wire.StatusOverloaded, fmt.Sprintf("this node has its %d connections", l.n.cfg.MaxConns))
		c.linger()
		_ = nc.Close() // the answer is out, or was refused
	})
}

// all is a snapshot of the open connections.
func (l *listener) all() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	conns := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	return conns
}

// count is the number of open connections.
func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// idleness is what the sweeper remembers of a connection.
type idleness struct {
	heard uint64
	since time.Time
	rests bool // has been told to let go of its buffers
}

// sweep looks for idle connections, so that a busy one pays nothing for its
// timeouts. A deadline per read was measured to cost 250 ns, as much as three
// rejections.
func (l *listener) sweep() {
	tick := time.NewTicker(l.n.cfg.rest / sweepShare)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case now := <-tick.C:
			for _, c := range l.all() {
				l.look(c, now)
			}
		}
	}
}

func (l *listener) look(c *conn, now time.Time) {
	heard := c.heard.Load()
	if heard == 0 {
		return // there is a deadline for its hello
	}
	if heard != c.idle.heard {
		// Not now: the tick may be old, and the request came after it.
		c.idle = idleness{heard: heard, since: time.Now()}
		return
	}
	silent := now.Sub(c.idle.since)
	switch {
	case silent >= l.n.cfg.IdleTimeout && c.out.quiet():
		c.out.fail(errIdle)
	case silent >= l.n.cfg.rest && !c.idle.rests:
		c.idle.rests = true
		c.poked.Store(true)
		_ = c.nc.SetReadDeadline(now) // a closed socket needs no rest
	}
}

var errIdle = errors.New("server: connection idle")

// stopAccepting closes the listening socket; connections stay.
func (l *listener) stopAccepting() { _ = l.net.Close() } // it is open until here

// drain waits until every connection has the answers to what it asked before
// the node was stopping.
func (l *listener) drain(ctx context.Context) error {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for {
		busy := 0
		for _, c := range l.all() {
			if !c.out.quiet() {
				busy++
			}
		}
		if busy == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d connections still wait for answers: %w", busy, ctx.Err())
		case <-tick.C:
		}
	}
}

// sever closes the listener and all connections, whatever they wait for.
func (l *listener) sever() {
	l.stopAccepting()
	for _, c := range l.all() {
		_ = c.nc.Close() // nobody is to be told
	}
}

// close ends all connections and waits for their goroutines: at most for
// lingerTime, and for clients that do not read for the write timeout.
func (l *listener) close() {
	l.closing.Store(true)
	close(l.done)
	for _, c := range l.all() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader; a closed one needs no waking
	}
	l.work.Wait()
}
