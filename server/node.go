package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

// A Node serves one data directory. Its fields are set by Start and do not
// change afterwards, but for those that are atomic or have an owner of their own.
type Node struct {
	cfg     Config
	log     *slog.Logger
	tls     *tls.Config // of all listeners; nil: none
	exposed bool        // some listener can be reached from another machine

	store     *raftlog.Node
	groups    []*group // by id: the directory, then the shards
	directory atomic.Pointer[directory.Directory]

	listener  *listener // of the binary protocol; nil: off
	manifests *manifestCache
	packers   *packers
	wall      *wallClock
	counters  counters
	stopping  atomic.Bool

	httpState // the HTTP frontend and the admin listener
}

// A group is one raftlog group and, if it is a shard's, the state machine that
// readers look at.
type group struct {
	id    uint32
	log   *raftlog.Group
	shard atomic.Pointer[shard.Shard] // nil in the directory's group
}

// Start opens the node's stores, makes a cluster of an empty data directory,
// and returns when the node leads its groups and its listeners accept. ctx
// bounds the start only.
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
		manifests: newManifestCache(maxManifestBytes),
		packers:   newPackers(),
	}
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
	if err := n.openStores(); err != nil {
		return err
	}
	if err := n.startDirectory(ctx); err != nil {
		return err
	}
	if err := n.startShards(ctx); err != nil {
		return err
	}
	if err := n.storeOperatorKey(ctx); err != nil {
		return err
	}
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

func (n *Node) openStores() (err error) {
	n.store, err = raftlog.Open(raftlog.Options{
		Dir:              n.cfg.Data,
		NodeID:           n.cfg.Node,
		Log:              n.log,
		SnapshotLogBytes: n.cfg.SnapshotLogBytes,
	})
	return err
}

// startDirectory starts group 0 and, if it is empty, makes a cluster in it.
func (n *Node) startDirectory(ctx context.Context) error {
	g := &group{id: 0}
	fresh := func() raftlog.StateMachine { return directory.New() }
	publish := func(m raftlog.StateMachine) { n.directory.Store(m.(*directory.Directory)) }
	if err := n.startGroup(g, fresh, publish); err != nil {
		return err
	}
	if err := g.log.AwaitLeading(ctx); err != nil {
		return fmt.Errorf("wait for the directory: %w", err)
	}
	if have := n.table().Shards(); have > 0 {
		if n.cfg.Shards != 0 && n.cfg.Shards != have {
			return &ConfigError{fmt.Errorf("the cluster in %s has %d shards, not %d: --shards counts only when a cluster is made", n.cfg.Data, have, n.cfg.Shards)}
		}
		return nil
	}
	op := wire.Bootstrap{
		Mutation: wire.Mutation{ID: n.newID(g.log.Now())},
		Cluster:  n.newID(g.log.Now()),
		Shards:   uint32(defaultShards),
		Replicas: 1,
		Node:     wire.NodeInfo{Name: []byte(n.cfg.Node)},
	}
	_, _ = rand.Read(op.Signing[:]) // never fails
	if n.cfg.Shards != 0 {
		op.Shards = uint32(n.cfg.Shards)
	}
	status, text := n.ask(ctx, g, raftlog.Write, wire.Record{Kind: wire.KindBootstrap, Body: op.Append(nil)})
	if status != wire.StatusOK {
		return fmt.Errorf("make a cluster in %s: %v %s", n.cfg.Data, status, text)
	}
	return nil
}

// startShards starts all shard groups before it waits for the first, so that
// their elections overlap.
func (n *Node) startShards(ctx context.Context) error {
	for id := 1; id <= n.table().Shards(); id++ {
		g := &group{id: uint32(id)}
		fresh := func() raftlog.StateMachine { return shard.New(shard.Config{}) }
		publish := func(m raftlog.StateMachine) { g.shard.Store(m.(*shard.Shard)) }
		if err := n.startGroup(g, fresh, publish); err != nil {
			return err
		}
	}
	for _, g := range n.groups[1:] {
		if err := g.log.AwaitLeading(ctx); err != nil {
			return fmt.Errorf("wait for shard %d: %w", g.id, err)
		}
	}
	return nil
}

// startGroup starts g's log and adds it to the groups.
func (n *Node) startGroup(g *group, fresh func() raftlog.StateMachine, publish func(raftlog.StateMachine)) error {
	log, err := n.store.StartGroup(raftlog.GroupConfig{
		ID:              uint64(g.id),
		New:             fresh,
		Publish:         publish,
		Bootstrap:       true,
		SnapshotOnClose: true,
		Log:             n.log,
	})
	if err != nil {
		return fmt.Errorf("start group %d: %w", g.id, err)
	}
	g.log = log
	n.groups = append(n.groups, g)
	return nil
}

func (n *Node) storeOperatorKey(ctx context.Context) error {
	if n.cfg.OperatorKeyFile == "" || len(n.table().Keys()) > 0 {
		return nil
	}
	key, err := readOperatorKey(n.cfg.OperatorKeyFile)
	if err != nil {
		return err
	}
	op := wire.AddKey{
		Mutation: wire.Mutation{ID: n.newID(n.groups[0].log.Now())},
		Name:     []byte(operatorKeyName),
		Hash:     sha256.Sum256(key),
		Role:     wire.RoleOperate,
	}
	status, text := n.do(ctx, wire.Record{Kind: wire.KindAddKey, Body: op.Append(nil)})
	if status != wire.StatusOK {
		return fmt.Errorf("store the operator's key: %v %s", status, text)
	}
	return nil
}

// Close stops the node: it refuses new requests, finishes what is under way,
// takes a snapshot of every group and closes the stores. When ctx ends first,
// what is left is answered without being finished.
func (n *Node) Close(ctx context.Context) error {
	if n.stopping.Swap(true) {
		return nil
	}
	var errs []error
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
	for _, g := range n.groups {
		if err := g.log.Close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("close group %d: %w", g.id, err))
		}
	}
	if n.listener != nil {
		n.listener.close()
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}

// Addr is the address of the binary listener, "" if there is none.
func (n *Node) Addr() string {
	if n.listener == nil {
		return ""
	}
	return n.listener.net.Addr().String()
}

// table is the routing table as of now.
func (n *Node) table() *directory.Table { return n.directory.Load().Table() }

// newID makes a request id at a group's time.
func (n *Node) newID(now wire.Millis) wire.ID {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return wire.NewID(now, random)
}
