package raftlog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/hashicorp/raft"
)

// ErrUnreachable says that a request was certainly not sent. Any other error of
// a call, but a *PeerError, leaves open whether it was received.
var ErrUnreachable = errors.New("raftlog: the node cannot be reached")

// A PeerError is an error that the other node answered. Immutable.
type PeerError struct {
	Node string
	Text string
}

func (e *PeerError) Error() string { return fmt.Sprintf("%s says: %s", e.Node, e.Text) }

// A PeerHello is what a node says about itself when it connects.
type PeerHello struct {
	Cluster     [16]byte // zero: it is in none yet
	Node        string
	Incarnation [16]byte // of its stores
}

// PeerConfig says who a node is to other nodes and what it does for them. The
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
	// the caller's patience, the connection, or Close, which waits for Serve. Its
	// error goes back as text.
	Serve func(ctx context.Context, h PeerHello, body []byte) ([]byte, error)

	// TLS is for listening and dialing (PeerTLS makes one); nil: plaintext.
	TLS *tls.Config
	// Dial opens connections; nil: TCP. Tests cut networks here.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Log takes refusals and changes of reachability; nil: slog's default.
	Log *slog.Logger
}

// Peers connects a node with the other nodes of its cluster.
type Peers struct{ c PeerConfig }

// ListenPeers accepts connections of other nodes on ln, which it owns, at once.
func ListenPeers(ln net.Listener, c PeerConfig) (*Peers, error) { return &Peers{c}, ln.Close() }

// Call asks a node by name, over the stream that raft's messages use, too.
func (p *Peers) Call(ctx context.Context, node string, body []byte) ([]byte, error) {
	return nil, ErrUnreachable
}

// CallAddr asks whoever listens at an address, over a connection of its own.
func (p *Peers) CallAddr(ctx context.Context, addr string, body []byte) ([]byte, error) {
	return nil, ErrUnreachable
}

// Reachable reports whether a node can be talked to.
func (p *Peers) Reachable(node string) bool { return false }

// Close ends all connections and waits for everything.
func (p *Peers) Close() error { return nil }

// Transport is what raft uses for this node's replica of a group.
func (p *Peers) Transport(group uint64, replica string) *PeerTransport { return &PeerTransport{} }

// A PeerTransport is a raft.Transport of one replica.
type PeerTransport struct {
	raft.Transport
	// Empty reports that the replica has nothing yet, so that it gives no votes.
	// Set it, if at all, before raft starts.
	Empty func() bool
}

// Close unregisters the replica.
func (t *PeerTransport) Close() error { return nil }

// PeerTLS loads a node's certificate and key and the authority of its cluster.
func PeerTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	return nil, errors.New("not yet")
}
