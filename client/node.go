package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A node is an address and the connections to it, which are made when they are
// first needed and again when they broke.
type node struct {
	client  *Client
	addr    string
	given   bool          // to Dial, so it is never forgotten; immutable after Dial
	turn    atomic.Uint32 // which link is next
	doubted atomic.Int64  // until when others are preferred, in nanoseconds since the client's base

	mu       sync.Mutex
	links    []link
	gone     bool      // forgotten: it is dialed no more
	failures int       // dials that failed since the last that did not
	failure  error     // of the last dial that failed; nil if it did not
	rests    time.Time // until when the failure stands for another dial
}

// A link is one connection of a node. Guarded by the node's mutex.
type link struct {
	conn *conn // nil until there is one
	dial *dial // in progress; nil if none is
}

// A dial is under way until done is closed; then conn or err is set.
type dial struct {
	done     chan struct{}
	patience time.Time // until when callers wait for it
	conn     *conn
	err      error
}

const (
	// dialPatience is how long callers wait for a dial, which goes on without
	// them: a machine that is off does not even refuse.
	dialPatience = 250 * time.Millisecond

	// restMost bounds how long a node rests after dials that failed: a node that
	// restarts has its clients back so soon, and a dead one costs each of them so
	// many dials at most, however many calls would go there.
	restMost = 128 * time.Millisecond

	// doubtFor is how long other nodes are preferred to one that failed.
	doubtFor = time.Second
)

var (
	errSlow      = errors.New("still connecting")
	errForgotten = errors.New("the node has left the cluster")
)

// roundTrip makes one attempt at q on one of the node's connections.
func (n *node) roundTrip(ctx context.Context, q *call) error {
	q.sent = false
	c, err := n.conn(ctx)
	if err != nil {
		return err
	}
	if err = c.roundTrip(ctx, q); err != nil && !c.alive() && !n.live() {
		n.doubt()
	}
	return err
}

// conn gives a live connection, dialing if there is none. Callers take the links
// in turn; while one is being dialed they use another that lives. If none does,
// all wait for the same dial.
func (n *node) conn(ctx context.Context) (*conn, error) {
	n.mu.Lock()
	l := &n.links[int(n.turn.Add(1))%len(n.links)]
	if l.conn != nil && l.conn.alive() {
		defer n.mu.Unlock()
		return l.conn, nil
	}
	other := n.liveLocked()
	d := n.dialingLocked()
	var err error
	if other != nil || d == nil {
		d, err = n.dialLocked(l)
	}
	n.mu.Unlock()
	switch {
	case other != nil:
		return other, nil
	case err != nil:
		return nil, err
	}
	return n.await(ctx, d)
}

// liveLocked gives a connection that stands, or nil.
func (n *node) liveLocked() *conn {
	for i := range n.links {
		if c := n.links[i].conn; c != nil && c.alive() {
			return c
		}
	}
	return nil
}

// dialingLocked gives a dial that is under way, or nil.
func (n *node) dialingLocked() *dial {
	for i := range n.links {
		if d := n.links[i].dial; d != nil {
			return d
		}
	}
	return nil
}

// dialLocked gives the dial that is under way, or starts one, unless the node
// rests. A dial serves every caller that waits for it, so it lives as long as
// the client and not as long as the first caller's context.
func (n *node) dialLocked(l *link) (*dial, error) {
	if l.dial != nil {
		return l.dial, nil
	}
	if l.conn != nil {
		n.client.o.Logger.Info("connection lost", "addr", n.addr, "err", l.conn.cause())
		l.conn = nil
	}
	now := time.Now()
	switch {
	case n.gone:
		return nil, fmt.Errorf("connect to %s: %w", n.addr, errForgotten)
	case n.failure != nil && now.Before(n.rests):
		return nil, n.failure
	}
	d := &dial{done: make(chan struct{}), patience: now.Add(dialPatience)}
	if !n.client.start(func() { n.dial(l, d) }) {
		return nil, ErrClosed
	}
	l.dial = d
	return d, nil
}

// await waits for d as long as its patience lasts.
func (n *node) await(ctx context.Context, d *dial) (*conn, error) {
	slow := time.NewTimer(time.Until(d.patience))
	defer slow.Stop()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-slow.C:
		n.doubt()
		return nil, fmt.Errorf("connect to %s: %w", n.addr, errSlow)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *node) dial(l *link, d *dial) {
	defer close(d.done)
	log := n.client.o.Logger
	nc, peer, err := dialPeer(n.client.life, n.addr, &n.client.o)
	if err == nil {
		if err = n.client.admit(n.addr, peer); err != nil {
			nc.Close()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l.dial = nil
	if err == nil && n.gone {
		nc.Close()
		err = fmt.Errorf("connect to %s: %w", n.addr, errForgotten)
	}
	if err != nil {
		log.Warn("cannot connect", "addr", n.addr, "err", err)
		d.err, n.failure = err, err
		n.rests = time.Now().Add(min(backoff(n.failures), restMost))
		n.failures++
		if n.liveLocked() == nil {
			n.doubt()
		}
		return
	}
	n.failures, n.failure = 0, nil
	n.doubted.Store(0)
	c := newConn(nc, n.addr, peer, &n.client.o)
	if !n.client.start(c.write, c.read) {
		c.fail(ErrClosed)
		d.err = ErrClosed
		return
	}
	log.Info("connected", "addr", n.addr, "node", peer.node)
	d.conn, l.conn = c, c
}

// dialing is closed when a dial that is under way ends; nil if none is.
func (n *node) dialing() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.dialingLocked(); d != nil {
		return d.done
	}
	return nil
}

// doubt has other nodes preferred for a while.
func (n *node) doubt() { n.doubted.Store(int64(time.Since(n.client.base) + doubtFor)) }

func (n *node) dubious() bool {
	return time.Since(n.client.base) < time.Duration(n.doubted.Load())
}

// forget ends the connections of a node that is in no list any more. What is
// under way there is asked again elsewhere.
func (n *node) forget() {
	n.mu.Lock()
	n.gone = true
	n.mu.Unlock()
	for _, c := range n.conns() {
		c.fail(fmt.Errorf("%s: %w", n.addr, errForgotten))
	}
}

// live reports whether a connection to the node stands.
func (n *node) live() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.liveLocked() != nil
}

// conns gives the connections that the node has or had last.
func (n *node) conns() []*conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []*conn
	for i := range n.links {
		if c := n.links[i].conn; c != nil {
			list = append(list, c)
		}
	}
	return list
}

// watch looks after the silence of all connections until the client closes.
func (c *Client) watch() {
	const every = pingAfter / 2
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			for _, n := range c.everyNode() {
				n.watch(now)
			}
		case <-c.life.Done():
			return
		}
	}
}

// watch looks after the silence of the node's connections. When one is given up,
// so are the others that are silent, even those on which nothing is owed: they
// would be found dead only by the next calls, one after the other.
func (n *node) watch(now time.Time) {
	conns := n.conns()
	for _, c := range conns {
		if !c.watch(now) {
			continue
		}
		for _, other := range conns {
			if other.silence(now) >= pingAfter {
				other.fail(c.cause())
			}
		}
		if !n.live() {
			n.doubt()
		}
		return
	}
}

// admit checks that all nodes are of one cluster: a forgotten address of another
// must not be asked about events of this one.
func (c *Client) admit(addr string, p peer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cluster == (wire.ID{}) {
		c.cluster = p.cluster
	}
	if c.cluster != p.cluster {
		return fmt.Errorf("%s belongs to cluster %v, the other nodes to %v", addr, p.cluster, c.cluster)
	}
	return nil
}
