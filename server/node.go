package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/wire"
)

// A Node serves one data directory. Its fields are set by Start and do not
// change afterwards, but for those that are atomic or have an owner of their own.
type Node struct {
	cfg     Config
	log     *slog.Logger
	tls     *tls.Config // of all listeners for clients; nil: none
	exposed bool        // some of them can be reached from another machine
	began   time.Time

	store      *raftlog.Node
	peers      *raftlog.Peers
	peerAddr   string // where peers listens
	joined     atomic.Pointer[wire.ID]
	acquainted atomic.Pointer[acquaintances] // as in the file
	grouping   sync.Mutex                    // makes those who publish groups wait for each other
	groups     atomic.Pointer[groupSet]
	directory  atomic.Pointer[directory.Directory]

	listener  *listener // of the binary protocol; nil: off
	manifests *manifestCache
	bodies    *bodyCache // encoded answers of the HTTP frontend
	maps      *mapCache
	packers   *packers
	wall      *wallClock
	joins     *joins
	frames    *queueFrames
	keeper    *keeper
	moves     moveCounters
	backups   backupState
	counters  counters
	queue     queueCounters
	signing   atomic.Pointer[signer] // of tickets: what the last one to ask has made
	stopping  atomic.Bool

	httpState // the HTTP frontend and the admin listener
}

// Start opens the node's stores, makes a cluster of an empty data directory or
// enters the one that it is to join, and returns when the node knows what its
// cluster knows and its listeners accept. ctx bounds the start only.
func Start(ctx context.Context, c Config) (*Node, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, &ConfigError{err}
	}
	tlsConfig, err := loadTLS(&c)
	if err != nil {
		return nil, &ConfigError{err}
	}
	n := &Node{
		cfg:       c,
		log:       c.Log,
		tls:       tlsConfig,
		began:     time.Now(),
		manifests: newManifestCache(maxManifestBytes),
		bodies:    newBodyCache(maxBodyBytes),
		packers:   newPackers(),
	}
	n.maps = newMapCache(n)
	n.joins, n.frames = newJoins(n), newQueueFrames(n)
	n.groups.Store(new(groupSet))
	n.directory.Store(directory.New())
	for _, addr := range []string{c.Listen, c.HTTP, c.Admin} {
		n.exposed = n.exposed || addr != Off && exposed(addr)
	}
	if err := n.start(ctx); err != nil {
		// Whatever was started so far is stopped again; its errors say nothing
		// that err does not.
		_ = n.Close(ctx)
		return nil, err
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		n.openStores, n.listenPeers, n.enterCluster, n.startShards, n.storeOperatorKey, n.listenClients,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	n.keeper = startKeeper(n)
	return nil
}

func (n *Node) openStores(context.Context) (err error) {
	n.store, err = raftlog.Open(raftlog.Options{
		Dir:              n.cfg.Data,
		NodeID:           n.cfg.Node,
		Log:              n.log,
		SnapshotLogBytes: n.cfg.SnapshotLogBytes,
		TrailingLogBytes: n.cfg.TrailingLogBytes,
	})
	if err != nil {
		return err
	}
	a, err := readAcquaintances(n.cfg.Data)
	n.acquainted.Store(a)
	return err
}

// beatsPerTimeout is how many heartbeats a leader sends in the time without any after
// which it is replaced.
const beatsPerTimeout = 3

// listenPeers lets other nodes in.
func (n *Node) listenPeers(context.Context) error {
	c := raftlog.PeerConfig{
		Node:        n.cfg.Node,
		Incarnation: n.store.Incarnation(),
		Cluster:     func() [16]byte { return n.cluster() },
		Addr:        n.peerOf,
		Admit:       n.admitPeer,
		Serve:       n.serveCall,
		BeatEvery:   n.cfg.ElectionTimeout / beatsPerTimeout,
		Dial:        n.cfg.dial,
		Log:         n.log,
	}
	if n.cfg.PeerCert != "" {
		var err error
		if c.TLS, err = raftlog.PeerTLS(n.cfg.PeerCert, n.cfg.PeerKey, n.cfg.PeerCA); err != nil {
			return &ConfigError{err}
		}
	}
	ln, err := net.Listen("tcp", n.cfg.Peer)
	if err != nil {
		return fmt.Errorf("listen for other nodes: %w", err)
	}
	n.peerAddr = ln.Addr().String()
	n.peers, err = raftlog.ListenPeers(ln, c)
	return err
}

// startShards starts the replicas that the directory gives to this node. It waits
// for those that need nobody else.
func (n *Node) startShards(ctx context.Context) error {
	if err := errors.Join(n.startReplicas(ctx, n.table()), ctx.Err()); err != nil {
		return err
	}
	for g := range n.groups.Load().shards {
		if !g.log.Alone() {
			continue
		}
		if err := g.log.AwaitLeading(ctx); err != nil {
			return fmt.Errorf("wait for shard %d: %w", g.id, err)
		}
	}
	return nil
}

// listenClients lets clients in, once it is sure that only those come who may.
func (n *Node) listenClients(context.Context) error {
	if err := n.cfg.checkKeys(len(n.table().Keys())); err != nil {
		return &ConfigError{err}
	}
	n.wall = startWallClock(n)
	if err := n.listen(); err != nil {
		return err
	}
	if err := n.startHTTP(); err != nil {
		return err
	}
	return n.startAdmin()
}

// Close stops the node: it hands over what it leads, refuses new requests, finishes
// what is under way, takes a snapshot of every group and closes the stores. When
// ctx ends first, what is left is answered without being finished.
func (n *Node) Close(ctx context.Context) error {
	if n.stopping.Swap(true) {
		return nil
	}
	var errs []error
	if n.keeper != nil {
		n.keeper.stop()
	}
	if n.listener != nil {
		n.listener.stopAccepting()
	}
	errs = append(errs, n.stopHTTP(ctx), n.stopAdmin(ctx))
	if n.wall != nil {
		n.wall.stop()
	}
	if n.listener != nil {
		errs = append(errs, n.listener.drain(ctx))
	}
	n.joins.stop()
	errs = append(errs, n.closeGroups(ctx))
	if n.listener != nil {
		n.listener.close()
	}
	if n.peers != nil {
		errs = append(errs, n.peers.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}

// Kill stops the node the way a crash looks to everybody else: nothing is handed
// over or answered any more. What is on disk is what a crash leaves there.
func (n *Node) Kill() {
	if n.listener != nil {
		n.listener.sever()
	}
	_ = n.peers.Close() // it has been open until here
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_ = n.Close(over) // finishes nothing, and says so
}

// Leads reports whether the node leads the shard of an event.
func (n *Node) Leads(event string) bool {
	e := n.table().Find(event)
	if e == nil {
		return false
	}
	g := n.local(e.Shard)
	return g != nil && g.log.Leading()
}

// Addr is the address of the binary listener, "" if there is none.
func (n *Node) Addr() string {
	if n.listener == nil {
		return ""
	}
	return n.listener.net.Addr().String()
}

// PeerAddr is the address for other nodes.
func (n *Node) PeerAddr() string { return n.peerAddr }

// table is the routing table as of now.
func (n *Node) table() *directory.Table { return n.directory.Load().Table() }

// newID makes a request id at an event's time.
func (n *Node) newID(now wire.Millis) wire.ID {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return wire.NewID(now, random)
}
