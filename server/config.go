package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/usher-seats/usher/wire"
)

// Config is all that a node is told. The zero value of every field is replaced
// by its default.
type Config struct {
	// Data is the directory of the node's stores; it is created if missing.
	// Default usher-data.
	Data string
	// Node is the node's name for ever. Default n1.
	Node string

	// Listen, HTTP and Admin are the addresses of the binary protocol, the HTTP
	// frontend and the admin listener. Port 0 takes any; Off starts none.
	// Default 127.0.0.1 with port 7700, 8080 and 9090.
	Listen, HTTP, Admin string
	// Peer is the address for the other nodes of the cluster. Default
	// 127.0.0.1:7701.
	Peer string
	// Advertise is the host by which others reach the node, where its addresses do
	// not say (":7700"). Default: the machine's name.
	Advertise string

	// Join are addresses of nodes, of which one at least is up, for a node whose
	// data directory is empty: it enters their cluster. Default: it makes a cluster
	// of its own. A node that has data goes on with the cluster that it is in.
	Join []string
	// Shards is how many shards a new cluster begins with. Default 4: an event lives
	// in one shard, so shards are what work spreads over, on cores and on nodes.
	Shards int
	// Replicas is how many nodes each shard of a new cluster is to be on, as soon as
	// there are so many. Default 3.
	Replicas int

	// TLSCert and TLSKey are PEM files. With them all listeners for clients speak
	// TLS 1.3 and nothing else. Default: none.
	TLSCert, TLSKey string
	// PeerCA, PeerCert and PeerKey are PEM files: the cluster's own authority, and
	// what it has certified of this node (usher admin certs makes them). Nodes then
	// speak TLS 1.3 with each other and check who they talk to. Default: none.
	PeerCA, PeerCert, PeerKey string
	// OperatorKeyFile holds an API key that is stored under the name "operator",
	// with that role, if the cluster has no keys yet. It is how a node that never
	// listens on loopback gets its first key. Default: none.
	OperatorKeyFile string
	// Insecure allows to listen beyond loopback without TLS, without API keys,
	// or without any of them.
	Insecure bool

	// MaxConns bounds the connections of the binary protocol. Default 10,000.
	MaxConns int
	// MaxInFlight bounds the requests that a connection has unanswered; beyond it
	// they are refused. Default 16,384.
	MaxInFlight int
	// IdleTimeout is how long a connection may be without a request. Default 10
	// minutes.
	IdleTimeout time.Duration
	// WriteTimeout is how long a client may not read what it asked for before it
	// is dropped. Default 10 s.
	WriteTimeout time.Duration

	// MaxHTTPConns bounds the connections of the HTTP frontend. Default 10,000.
	MaxHTTPConns int
	// MaxHTTPConnsPerIP bounds those from one IPv4 address or IPv6 /64. Default
	// 2,000, which is room for a proxy in front of the node.
	MaxHTTPConnsPerIP int

	// LiveCPU is how many cores the pushing of live updates may use: frames come less
	// often, for all events alike, when they would need more. Default 0.5.
	LiveCPU float64
	// MaxSubscribers bounds the streams of live updates, which do not count as
	// connections of the HTTP frontend. Default 60,000, or what the limit of open
	// files leaves.
	MaxSubscribers int
	// MaxSubscribersPerEvent bounds those of one event. Default 50,000.
	MaxSubscribersPerEvent int
	// MaxSubscribersPerIP bounds those from one IPv4 address or IPv6 /64. Default
	// 2,000, which is room for a proxy in front of the node.
	MaxSubscribersPerIP int
	// Origins are those whose pages may read maps and live updates in a browser,
	// beside those of the node's own origin: https://tickets.example. Default: none.
	Origins []string
	// Public serves what is visitors' (reading event, manifest, map and live updates;
	// joining the waiting room and coming in) without an API key even if there are
	// keys. Holds are the frontend's.
	Public bool

	// SnapshotLogBytes of log ask for a snapshot of a group. Default: raftlog's.
	SnapshotLogBytes int64
	// TrailingLogBytes of log are kept behind a group's snapshot, for replicas that
	// were away for a moment. Default: raftlog's.
	TrailingLogBytes int64

	// Log takes what the node has to say. Default: slog's default.
	Log *slog.Logger

	// ElectionTimeout is after how long without a sign of a group's leader the others
	// elect another one; the same on all nodes. Default 600 ms.
	ElectionTimeout time.Duration

	// dial opens connections to other nodes; nil: TCP. For tests that cut networks.
	dial func(ctx context.Context, addr string) (net.Conn, error)
	// rest is defaultRest but in tests.
	rest time.Duration
	// passengers makes early looks wait for an entry, as they do when others
	// could lead too. For tests.
	passengers bool
}

// Off, as an address, starts no such listener.
const Off = "off"

const (
	defaultShards      = 4
	defaultReplicas    = 3
	defaultElection    = 600 * time.Millisecond
	defaultMaxConns    = 10_000
	defaultConnsPerIP  = 2_000
	defaultMaxInFlight = 16_384
	defaultLiveCPU     = 0.5
	defaultSubscribers = 60_000
	defaultPerEvent    = 50_000
	maxNodeName        = 64 // bytes
)

// withDefaults fills in what was not said.
func (c Config) withDefaults() Config {
	setDefault(&c.Data, "usher-data")
	setDefault(&c.Node, "n1")
	setDefault(&c.Listen, "127.0.0.1:7700")
	setDefault(&c.HTTP, "127.0.0.1:8080")
	setDefault(&c.Admin, "127.0.0.1:9090")
	setDefault(&c.Peer, "127.0.0.1:7701")
	setDefault(&c.MaxConns, defaultMaxConns)
	setDefault(&c.MaxInFlight, defaultMaxInFlight)
	setDefault(&c.MaxHTTPConns, defaultMaxConns)
	setDefault(&c.MaxHTTPConnsPerIP, defaultConnsPerIP)
	setDefault(&c.LiveCPU, defaultLiveCPU)
	setDefault(&c.MaxSubscribers, defaultSubscribers)
	setDefault(&c.MaxSubscribersPerEvent, defaultPerEvent)
	setDefault(&c.MaxSubscribersPerIP, defaultConnsPerIP)
	setDefault(&c.IdleTimeout, 10*time.Minute)
	setDefault(&c.WriteTimeout, 10*time.Second)
	setDefault(&c.ElectionTimeout, defaultElection)
	setDefault(&c.rest, defaultRest)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// validate reports the first thing that cannot be, in a sentence for whoever
// typed it. It expects defaults to be filled in.
func (c *Config) validate() error {
	if len(c.Node) > maxNodeName {
		return fmt.Errorf("the node's name has %d bytes, at most %d are allowed", len(c.Node), maxNodeName)
	}
	if c.Shards < 0 || c.Shards > wire.MaxShards {
		return fmt.Errorf("a cluster has 1 to %d shards, not %d", wire.MaxShards, c.Shards)
	}
	if c.Replicas < 0 || c.Replicas > wire.MaxReplicas {
		return fmt.Errorf("a shard has 1 to %d replicas, not %d", wire.MaxReplicas, c.Replicas)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("TLS needs both a certificate and its key")
	}
	if some, all := c.PeerCA+c.PeerCert+c.PeerKey != "", c.PeerCA != "" && c.PeerCert != "" && c.PeerKey != ""; some && !all {
		return errors.New("TLS between nodes needs the cluster's authority, the node's certificate and its key: `usher admin certs` makes them")
	}
	if len(c.Join) > 0 && (c.Shards != 0 || c.Replicas != 0) {
		return errors.New("the number of shards and replicas is said when a cluster is made, not by a node that joins it")
	}
	if c.MaxConns < 0 || c.MaxInFlight < 0 || c.MaxHTTPConns < 0 || c.MaxHTTPConnsPerIP < 0 || c.IdleTimeout < 0 || c.WriteTimeout < 0 {
		return errors.New("limits and timeouts cannot be negative")
	}
	if err := c.validateLive(); err != nil {
		return err
	}
	for _, addr := range []string{c.Listen, c.HTTP, c.Admin} {
		if addr == Off {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("cannot listen on %q: want host:port, :port or %q: %w", addr, Off, err)
		}
		if exposed(addr) && !c.Insecure && c.TLSCert == "" {
			return fmt.Errorf("listening on %s without TLS would send API keys and buyers readable through the network: %s", addr, waysOut)
		}
	}
	if _, _, err := net.SplitHostPort(c.Peer); err != nil {
		return fmt.Errorf("cannot listen for other nodes on %q: want host:port or :port: %w", c.Peer, err)
	}
	if exposed(c.Peer) && !c.Insecure && c.PeerCert == "" {
		return fmt.Errorf("listening for other nodes on %s without TLS would let anybody in the network be one: give --peer-ca, --peer-cert and --peer-key (usher admin certs makes them), listen on 127.0.0.1, or pass --insecure to accept the risk", c.Peer)
	}
	return nil
}

// A ConfigError is a mistake in a Config, in a sentence for whoever typed it. No
// node was started.
type ConfigError struct{ err error }

func (e *ConfigError) Error() string { return e.err.Error() }

// Unwrap gives what was wrong.
func (e *ConfigError) Unwrap() error { return e.err }

// waysOut is what somebody can do whose node refuses to listen beyond loopback.
const waysOut = "give --tls-cert and --tls-key and an API key (--operator-key-file), listen on 127.0.0.1, or pass --insecure to accept the risk"

// checkKeys refuses to listen beyond loopback for everybody.
func (c *Config) checkKeys(keys int) error {
	if keys > 0 || c.Insecure {
		return nil
	}
	for _, addr := range []string{c.Listen, c.HTTP, c.Admin} {
		if addr != Off && exposed(addr) {
			return fmt.Errorf("listening on %s without any API key would let the whole network sell and delete events: %s", addr, waysOut)
		}
	}
	return nil
}

// exposed reports whether an address can be reached from another machine, as
// far as it tells.
func exposed(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "localhost" {
		return err != nil
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || !ip.IsLoopback()
}
