package raftlog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// heardLimit is how long ago something must have come from a node for it to
// count as reachable. On a stream that stands something comes more than twice as
// often.
const heardLimit = quietSweeps * sweepEvery

// ErrUnreachable says that a request was certainly not sent. Any other error of
// a call, but a *PeerError, leaves open whether it was received and served.
var ErrUnreachable = errors.New("raftlog: the node cannot be reached")

// A PeerError is an error that the other node answered. Immutable.
type PeerError struct {
	Node string // its address, if it refused the connection
	Text string // one line
}

func (e *PeerError) Error() string { return fmt.Sprintf("%s says: %s", e.Node, e.Text) }

// A PeerHello is what a node says about itself when it connects. Immutable.
type PeerHello struct {
	Cluster     [16]byte // zero: it is in none yet
	Node        string
	Incarnation [16]byte // of its stores
}

// PeerConfig says who a node is to other nodes and what it does for them. Its
// functions are called from many goroutines.
type PeerConfig struct {
	// Node is this node's name, Incarnation that of its stores.
	Node        string
	Incarnation [16]byte
	// Cluster is the id of the cluster; zero: this node is in none yet.
	Cluster func() [16]byte
	// Addr is where a node listens for peers now; "": unknown.
	Addr func(node string) string

	// Admit decides on a hello, after certificate and challenge were checked. Its
	// error is told to the other side in one line and logged here.
	Admit func(h PeerHello) error
	// Serve answers a call, on a goroutine of its own. It owns body. ctx ends with
	// the caller's patience, with the connection, and with Close, which waits for
	// Serve to return. Its error goes back as text.
	Serve func(ctx context.Context, h PeerHello, body []byte) ([]byte, error)

	// BeatEvery is how often the heartbeats of all groups go out; default 200 ms, a
	// third of a group's default ElectionTimeout. They carry nothing but that the
	// leader is there.
	BeatEvery time.Duration
	// TLS is for listening and dialing (PeerTLS makes one); nil: plaintext.
	TLS *tls.Config
	// Dial opens connections; nil: TCP. Tests cut networks here.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Log takes refusals and changes of reachability; nil: slog's default.
	Log *slog.Logger
}

func (c *PeerConfig) validate() error {
	if c.Cluster == nil || c.Addr == nil || c.Admit == nil || c.Serve == nil {
		return errors.New("raftlog: PeerConfig needs Cluster, Addr, Admit and Serve")
	}
	if err := checkName(c.Node); err != nil {
		return fmt.Errorf("raftlog: PeerConfig.Node: %w", err)
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if c.BeatEvery <= 0 {
		c.BeatEvery = defaultBeat
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

// Peers connects a node with the other nodes of its cluster: it carries the
// messages of all its raft groups, and calls. Its methods may be called from any
// goroutine.
type Peers struct {
	// Set by ListenPeers, then immutable.
	c                  PeerConfig
	ln                 net.Listener
	listenTLS, dialTLS *tls.Config // nil: plaintext
	start              time.Time
	log                peerLog
	ctx                context.Context // ends with Close
	stop               context.CancelFunc

	waiters sync.Pool      // of *waiter
	work    sync.WaitGroup // all goroutines

	mu       sync.Mutex
	closed   bool
	links    map[string]*link          // by node; made on demand, kept until Close
	replicas map[uint64]*PeerTransport // by group
	inbound  map[*inbound]struct{}     // connections that were accepted
	byIP     map[netip.Addr]int        // of these, how many from where
}

// ListenPeers accepts connections of other nodes on ln, which it owns, at once.
func ListenPeers(ln net.Listener, c PeerConfig) (*Peers, error) {
	p := &Peers{
		ln:       ln,
		start:    time.Now(),
		links:    make(map[string]*link),
		replicas: make(map[uint64]*PeerTransport),
		inbound:  make(map[*inbound]struct{}),
		byIP:     make(map[netip.Addr]int),
	}
	err := c.validate()
	if err == nil && c.TLS != nil {
		p.listenTLS, p.dialTLS, err = peerTLS(c.TLS)
	}
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	p.c = c
	p.log = peerLog{log: c.Log, quiet: make(map[string]time.Time)}
	p.waiters.New = func() any { return &waiter{answer: make(chan peerAnswer, 1)} }
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.work.Go(p.accept)
	p.work.Go(p.sweep)
	p.work.Go(p.beat)
	return p, nil
}

// clock is monotonic.
func (p *Peers) clock() time.Duration { return time.Since(p.start) }

// sweep looks after the streams.
func (p *Peers) sweep() {
	for inStep(p.ctx, sweepEvery) {
		for _, l := range p.allLinks() {
			if s, _, _ := l.get(); s != nil {
				s.sweep()
			}
		}
	}
}

func (p *Peers) allLinks() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.links))
}

// Reachable reports whether something came from the node within the last 600 ms, or
// a stream to it stands on which something did. Asking has this node dial if there
// is no stream, so about a node that nobody talks to the first answer may be too
// pessimistic.
func (p *Peers) Reachable(node string) bool {
	if node == p.c.Node {
		return true
	}
	if l, err := p.link(node); err == nil {
		switch s, _, _ := l.get(); {
		case s == nil:
			l.want()
		case !s.quiet.Load():
			return true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.inbound {
		if c.node() == node && p.clock()-c.in.heard() < heardLimit {
			return true
		}
	}
	return false
}

// Close ends all connections and waits for everything, Serve included. What is
// under way fails; transports of replicas stay closed.
func (p *Peers) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	replicas := slices.Collect(maps.Values(p.replicas))
	p.mu.Unlock()

	p.stop()
	err := p.ln.Close()
	for _, t := range replicas {
		err = errors.Join(err, t.Close())
	}
	p.work.Wait()
	return err
}
