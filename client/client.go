package client

import (
	"context"
	"errors"
	"iter"
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

	failed chan struct{} // capacity 1: a node has failed a call, there may be others now

	mu      sync.Mutex
	closed  bool
	cluster wire.ID // zero before the first hello
	nodes   []*node // those given to Dial, then those learned; at most maxNodes
	listed  uint64  // version of the newest list of nodes; 0: none has come
}

// Dial makes a client of a cluster's nodes, of which addrs names some as
// host:port; it learns the others. It returns when one of them has accepted the
// client's key, and fails when all have refused it. A key that was stored a
// moment ago, and a node that is about to stop, are given a second.
func Dial(ctx context.Context, addrs []string, opts *Options) (*Client, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, errors.New("Dial needs the address of at least one node, such as 127.0.0.1:7700")
	}
	c := &Client{o: o, ids: newIDSource(), base: time.Now(), failed: make(chan struct{}, 1)}
	c.pool.New = newCall
	c.life, c.end = context.WithCancel(context.Background())
	for _, addr := range addrs {
		c.node(addr).given = true
	}
	if err := c.settle(ctx); err != nil {
		c.Close()
		return nil, err
	}
	c.start(c.watch, c.keepNodes)
	return c, nil
}

// settle makes a home of the first node that takes the client in.
func (c *Client) settle(ctx context.Context) error {
	start := time.Now()
	for tries := 0; ; tries++ {
		var failed []error
		var hope *node
		for _, n := range c.everyNode() {
			_, err := n.conn(ctx)
			if err == nil {
				c.home.Store(n)
				return nil
			}
			failed = append(failed, err)
			spent := time.Since(start)
			if errors.Is(err, errSlow) && spent < dialTimeout || passing(err) && spent < denialPatience {
				hope = n
			}
		}
		if hope == nil || ctx.Err() != nil {
			return errors.Join(failed...)
		}
		select {
		case <-time.After(backoff(tries)):
		case <-hope.dialing():
		case <-ctx.Done():
		}
	}
}

// passing tells the refusals of a hello that may be others in a moment.
func passing(err error) bool {
	switch StatusOf(err) {
	case wire.StatusUnauthorized, wire.StatusStopping, wire.StatusOverloaded:
		return true
	}
	return false
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
