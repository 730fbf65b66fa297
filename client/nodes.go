package client

import (
	"context"
	"slices"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A Node is a node of the cluster that clients can talk to.
type Node struct {
	Name string
	Addr string // host:port of its binary protocol
}

// Nodes lists the cluster's nodes in the order of their names, as the node that
// is asked knows them. Of two lists the one with the higher version is newer.
func (c *Client) Nodes(ctx context.Context) (nodes []Node, version uint64, err error) {
	q := &request{op: "list nodes", kind: wire.KindNodes, plain: func(b []byte) []byte { return b }}
	var l wire.NodeList
	if err := c.ask(ctx, q, &l); err != nil {
		return nil, 0, err
	}
	c.learn(&l)
	for _, n := range l.Nodes {
		nodes = append(nodes, Node{string(n.Name), string(n.Addr)})
	}
	return nodes, l.Version, nil
}

const (
	// maxNodes bounds the nodes a client knows: those there may be, and as many
	// other addresses of theirs. Should servers make up more, they are all taken
	// for the first.
	maxNodes = 2 * wire.MaxNodes

	// maxAddr bounds an address, in bytes: a name of 253 and a port.
	maxAddr = 259

	learnEvery   = 5 * time.Second // how often the list of nodes is read while there is traffic
	learnPause   = time.Second     // how long not, whatever happens
	learnTimeout = 2 * time.Second
)

// keepNodes reads the list of nodes from time to time while there is traffic,
// and when a node failed, until the client closes. So the client outlives all
// nodes that it was given.
func (c *Client) keepNodes() {
	tick := time.NewTicker(learnEvery)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(c.life, learnTimeout)
		c.Nodes(ctx) // a node that cannot say is no failure: calls find out for themselves
		cancel()
		frames := c.frames()
		if !c.rest(learnPause) {
			return
		}
		for due := false; !due; {
			select {
			case <-tick.C:
				due = c.frames() != frames
			case <-c.failed:
				due = true
			case <-c.life.Done():
				return
			}
		}
	}
}

// seek has the list of nodes read soon, because a node failed q. Reading the list
// is no reason to read it again, or a client without traffic would not leave dead
// nodes alone.
func (c *Client) seek(q *request) {
	if q.kind == wire.KindNodes {
		return
	}
	select {
	case c.failed <- struct{}{}:
	default:
	}
}

// rest waits, and reports false if the client was closed meanwhile.
func (c *Client) rest(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-c.life.Done():
		return false
	}
}

// frames is a number that stays the same as long as nothing is sent.
func (c *Client) frames() (sum uint64) {
	for _, n := range c.everyNode() {
		for _, conn := range n.conns() {
			sum += conn.frames()
		}
	}
	return sum
}

// learn takes in a list of nodes, unless a newer one has come: it adds those that
// are new and forgets those that have left.
func (c *Client) learn(l *wire.NodeList) {
	c.mu.Lock()
	if l.Version <= c.listed || len(l.Nodes) == 0 {
		c.mu.Unlock()
		return
	}
	c.listed = l.Version
	known := make(map[string]bool)
	for _, n := range l.Nodes {
		known[string(n.Addr)] = true
	}
	var gone []*node
	c.nodes = slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool {
		left := !n.given && !known[n.addr]
		if left {
			gone = append(gone, n)
		}
		return left
	})
	for _, n := range l.Nodes {
		if validAddr(n.Addr) {
			c.nodeLocked(string(n.Addr))
		}
	}
	c.mu.Unlock()
	for _, n := range gone {
		n.forget()
		c.home.CompareAndSwap(n, c.nodeAfter(n, true))
	}
}

func validAddr(addr []byte) bool { return len(addr) > 0 && len(addr) <= maxAddr }

// named gives the node at an address that a server told; nil if it told none.
func (c *Client) named(addr []byte) *node {
	if !validAddr(addr) {
		return nil
	}
	return c.node(string(addr))
}

// node gives the node with this address, which may be new.
func (c *Client) node(addr string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodeLocked(addr)
}

func (c *Client) nodeLocked(addr string) *node {
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.addr == addr })
	if i >= 0 {
		return c.nodes[i]
	}
	if len(c.nodes) == maxNodes {
		return c.nodes[0]
	}
	n := &node{client: c, addr: addr, links: make([]link, c.o.Conns)}
	c.nodes = append(c.nodes, n)
	return n
}

func (c *Client) everyNode() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// anyNode gives a node for a request that any can answer.
func (c *Client) anyNode() *node {
	n := c.home.Load()
	if n.dubious() {
		return c.nodeAfter(n, true)
	}
	return n
}

// nodeAfter gives the node to ask after n: the next that is not in doubt, or else
// the next. live has those preferred that have a connection, since another may
// cost a dialPatience.
func (c *Client) nodeAfter(n *node, live bool) *node {
	nodes := c.everyNode()
	first := slices.Index(nodes, n) + 1
	best := nodes[first%len(nodes)]
	found := false
	for i := range nodes {
		next := nodes[(first+i)%len(nodes)]
		switch {
		case next == n || next.dubious():
		case !live || next.live():
			return next
		case !found:
			best, found = next, true
		}
	}
	return best
}
