package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A node is an address and the connections to it, which are made when they are
// first needed and again when they broke.
type node struct {
	client *Client
	addr   string
	turn   atomic.Uint32 // which link is next

	mu    sync.Mutex
	links []link
}

// A link is one connection of a node. Guarded by the node's mutex.
type link struct {
	conn *conn // nil until there is one
	dial *dial // in progress; nil if none is
}

// A dial is under way until done is closed; then one of the others is set.
type dial struct {
	done chan struct{}
	conn *conn
	err  error
}

// roundTrip makes one attempt at q on one of the node's connections.
func (n *node) roundTrip(ctx context.Context, q *call) error {
	q.sent = false
	c, err := n.conn(ctx)
	if err != nil {
		return err
	}
	return c.roundTrip(ctx, q)
}

// conn gives a live connection, dialing if there is none. Callers take the links
// in turn; while one is being dialed they use another that lives.
func (n *node) conn(ctx context.Context) (*conn, error) {
	n.mu.Lock()
	l := &n.links[int(n.turn.Add(1))%len(n.links)]
	if l.conn != nil && l.conn.alive() {
		defer n.mu.Unlock()
		return l.conn, nil
	}
	if l.dial == nil {
		if l.conn != nil {
			n.client.o.Logger.Info("connection lost", "addr", n.addr, "err", l.conn.cause())
		}
		if err := n.dialLocked(l); err != nil {
			n.mu.Unlock()
			return nil, err
		}
	}
	d := l.dial
	for i := range n.links {
		if c := n.links[i].conn; c != nil && c.alive() {
			n.mu.Unlock()
			return c, nil
		}
	}
	n.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialLocked starts a dial that serves every caller that waits for it, so it
// lives as long as the client and not as long as the first caller's context.
func (n *node) dialLocked(l *link) error {
	d := &dial{done: make(chan struct{})}
	if !n.client.start(func() { n.dial(l, d) }) {
		return ErrClosed
	}
	l.dial = d
	return nil
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
	if err != nil {
		log.Warn("cannot connect", "addr", n.addr, "err", err)
		d.err = err
		return
	}
	c := newConn(nc, n.addr, peer, &n.client.o)
	if !n.client.start(c.write, c.read) {
		c.fail(ErrClosed)
		d.err = ErrClosed
		return
	}
	log.Info("connected", "addr", n.addr, "node", peer.node)
	d.conn, l.conn = c, c
}

// live reports whether a connection to the node stands.
func (n *node) live() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.links {
		if c := n.links[i].conn; c != nil && c.alive() {
			return true
		}
	}
	return false
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
				for _, conn := range n.conns() {
					conn.watch(now)
				}
			}
		case <-c.life.Done():
			return
		}
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
