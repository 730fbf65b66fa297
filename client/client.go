package client

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A Client talks to the nodes of one cluster. Safe for all goroutines; one for a
// whole program is enough.
type Client struct {
	o    Options
	ids  *idSource
	base time.Time       // zero of the clocks
	life context.Context // ends with Close
	end  context.CancelFunc
	work sync.WaitGroup // every goroutine of the client
	home atomic.Pointer[node]
	pool sync.Pool // of calls that are in no slot

	mu      sync.Mutex
	closed  bool
	cluster wire.ID // zero before the first hello
	nodes   []*node // those given to Dial, then those learned; never removed
	clocks  map[uint32]*clock
}

// maxNodes bounds the nodes a client learns. Should servers make up more, they
// are all taken for the first.
const maxNodes = 256

// Dial makes a client of a cluster's nodes, of which addrs names some as
// host:port. It returns when one of them has accepted the client's key.
func Dial(ctx context.Context, addrs []string, opts *Options) (*Client, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, errors.New("Dial needs the address of at least one node, such as 127.0.0.1:7700")
	}
	c := &Client{o: o, ids: newIDSource(), base: time.Now(), clocks: make(map[uint32]*clock)}
	c.pool.New = newCall
	c.life, c.end = context.WithCancel(context.Background())
	for _, addr := range addrs {
		c.node(addr)
	}
	var failed []error
	for _, n := range c.everyNode() {
		if _, err := n.conn(ctx); err != nil {
			failed = append(failed, err)
			continue
		}
		c.home.Store(n)
		c.start(c.watch)
		return c, nil
	}
	c.Close()
	return nil, errors.Join(failed...)
}

// Close ends all connections and waits until nothing of the client runs any
// more. Calls that are under way end with ErrClosed. It never fails.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	for _, n := range c.everyNode() {
		for _, conn := range n.conns() {
			conn.fail(ErrClosed)
		}
	}
	c.work.Wait()
	return nil
}

// start runs fs on goroutines that Close waits for; false if it is closed.
func (c *Client) start(fs ...func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	for _, f := range fs {
		c.work.Go(f)
	}
	return true
}

// node gives the node with this address, which may be new.
func (c *Client) node(addr string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
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

// nodeAfter gives the node to ask after n did not answer: the next that has a
// connection, since a dead one costs a dialTimeout, or else the next.
func (c *Client) nodeAfter(n *node) *node {
	nodes := c.everyNode()
	first := slices.Index(nodes, n) + 1
	for i := range nodes {
		if next := nodes[(first+i)%len(nodes)]; next != n && next.live() {
			return next
		}
	}
	return nodes[first%len(nodes)]
}

func (c *Client) clock(shard uint32) *clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.clocks[shard]
	if k == nil {
		k = &clock{base: c.base}
		c.clocks[shard] = k
	}
	return k
}

// An Entry is a line of the list of events.
type Entry struct {
	Key   string
	Event wire.EventID
	Shard uint32
}

// Events lists all events in the order of their keys. It asks for them in pages,
// so events that come or go meanwhile may or may not be listed. The iteration
// ends after the first error.
func (c *Client) Events(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var query wire.EventsQuery
		for {
			q := &request{op: "list events", kind: wire.KindEvents, plain: query.Append}
			var page wire.EventList
			if err := c.ask(ctx, q, &page); err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page.Entries {
				if string(e.Key) <= string(query.After) {
					yield(Entry{}, &Error{Op: q.op, Status: wire.StatusBadFrame, Text: "the list is out of order"})
					return
				}
				query.After = e.Key
				if !yield(Entry{string(e.Key), e.Event, e.Shard}, nil) {
					return
				}
			}
			if len(page.Entries) == 0 {
				return
			}
		}
	}
}

// Event finds an event by its key. The handle is for keeping: it knows where the
// event lives and remembers its manifest.
func (c *Client) Event(ctx context.Context, key string) (*Event, error) {
	e := newEvent(c, key)
	if err := e.find(ctx, "find event", nil); err != nil {
		return nil, err
	}
	return e, nil
}
