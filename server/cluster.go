package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/wire"
)

const (
	// joinPause is between two rounds of asking to be let in.
	joinPause = 200 * time.Millisecond
	// joinQuiet is for how long nothing more is logged about rounds in vain.
	joinQuiet = 5 * time.Second
)

// hello is what the node says of itself to others.
func (n *Node) hello() raftlog.PeerHello {
	return raftlog.PeerHello{Cluster: n.cluster(), Node: n.cfg.Node, Incarnation: n.store.Incarnation()}
}

// cluster is the id of the node's cluster; zero: it is in none yet.
func (n *Node) cluster() wire.ID {
	if id := n.table().Cluster(); id != (wire.ID{}) {
		return id
	}
	if id := n.joined.Load(); id != nil {
		return *id
	}
	return n.acquainted.Load().Cluster
}

// peerOf is where a node listens for others; "" if that is not known.
func (n *Node) peerOf(name string) string {
	if a := n.acquainted.Load(); a.Version > n.table().Version() && a.Peers[name] != "" {
		return a.Peers[name] // the directory is not as far yet
	}
	if node := n.table().Node(name); node != nil {
		return node.Peer
	}
	return ""
}

// admitPeer decides whether another node may talk to this one.
func (n *Node) admitPeer(h raftlog.PeerHello) error {
	t := n.table()
	node := t.Node(h.Node)
	switch {
	case h.Cluster == ([16]byte{}) || len(t.Nodes()) == 0:
		return nil // it may ask to join; or this node knows nobody yet
	case node == nil:
		return fmt.Errorf("node %s is not in this cluster: it was removed, or has not joined yet", h.Node)
	case node.Incarnation != h.Incarnation:
		return fmt.Errorf("node %s has other data than the node of that name that joined: if its disk was replaced, remove it (usher admin remove-node %s) and let it join again", h.Node, h.Node)
	}
	return nil
}

// enterCluster starts the node's replica of the directory: on what is there, or in
// a cluster that it joins or makes.
func (n *Node) enterCluster(ctx context.Context) error {
	replica, had, err := n.store.ReplicaOf(0)
	if err != nil {
		return err
	}
	switch {
	case had:
		err = n.startDirectoryGroup(replica, false)
	case len(n.cfg.Join) > 0:
		if replica, err = n.join(ctx); err == nil {
			err = n.startDirectoryGroup(replica, false)
		}
	default:
		err = n.startDirectoryGroup(firstReplica, true)
	}
	if err != nil {
		return err
	}
	if n.local(0).log.Alone() {
		return n.makeCluster(ctx)
	}
	return n.awaitDirectory(ctx)
}

// firstReplica is the number of the first node of a cluster, and of its replica of
// the directory.
const firstReplica = 1

// makeCluster makes a cluster of this node, unless it has been made.
func (n *Node) makeCluster(ctx context.Context) error {
	g := n.local(0)
	if err := g.log.AwaitLeading(ctx); err != nil {
		return fmt.Errorf("wait for the directory: %w", err)
	}
	if have := n.table().Shards(); have > 0 {
		if n.cfg.Shards > have {
			return &ConfigError{fmt.Errorf("the cluster in %s has %d shards, not %d: --shards counts only when a cluster is made, `usher admin add-shards` makes more", n.cfg.Data, have, n.cfg.Shards)}
		}
		return nil
	}
	info := n.joinCall().info()
	op := wire.Bootstrap{
		Mutation: wire.Mutation{ID: n.newID(g.log.Now())},
		Cluster:  n.newID(g.log.Now()),
		Shards:   defaultShards,
		Replicas: defaultReplicas,
		Node:     info,
	}
	_, _ = rand.Read(op.Signing[:]) // never fails: crypto/rand ends the process instead
	if n.cfg.Shards != 0 {
		op.Shards = uint32(n.cfg.Shards)
	}
	if n.cfg.Replicas != 0 {
		op.Replicas = uint8(n.cfg.Replicas)
	}
	r := n.signed(withActor(ctx, nodeActor(n.cfg.Node)), wire.Record{Kind: wire.KindBootstrap, Body: op.Append(nil)})
	status, text := n.submit(ctx, g, raftlog.Write, r)
	switch status {
	case wire.StatusOK:
		return nil
	case wire.StatusBadRequest:
		return &ConfigError{errors.New(string(text))}
	}
	return fmt.Errorf("make a cluster in %s: %v %s", n.cfg.Data, status, text)
}

// nodeActor is how the audit log calls a node that acts by itself.
func nodeActor(node string) string { return "node " + node }

// awaitDirectory returns when the node's directory has what its leader's had.
func (n *Node) awaitDirectory(ctx context.Context) error {
	g := n.local(0)
	for {
		leader := g.log.Leader()
		if g.log.Leading() {
			return nil
		}
		if leader != "" && leader != n.cfg.Node {
			a, err := callJSON[replicaAnswer](ctx, n, leader, callReplica, replicaCall{0})
			if err == nil && a.Leading {
				return n.awaitApplied(ctx, g, a.Applied)
			}
		}
		if !sleep(ctx, keepEvery) {
			return fmt.Errorf("wait for the cluster's directory: are the other nodes up? %w", ctx.Err())
		}
	}
}

func (n *Node) awaitApplied(ctx context.Context, g *group, index uint64) error {
	for g.log.Stats().Applied < index {
		if !sleep(ctx, keepEvery) {
			return fmt.Errorf("wait for the cluster's directory to arrive: %w", ctx.Err())
		}
	}
	return nil
}

// join asks to be let into a cluster until somebody does, and returns the number
// of the node's replica of the directory.
func (n *Node) join(ctx context.Context) (replica uint64, err error) {
	call, err := json.Marshal(n.joinCall())
	if err != nil {
		return 0, err
	}
	call = append([]byte{callJoin}, call...)
	var told time.Time
	for {
		var why []error
		for _, addr := range n.cfg.Join {
			a, err := n.askToJoin(ctx, addr, call)
			switch {
			case err != nil:
				why = append(why, err)
			case a.Status == wire.StatusOK:
				id := wire.ID(a.Cluster)
				n.joined.Store(&id)
				return a.Number, nil
			case a.Status.Decided():
				return 0, &ConfigError{errors.New(a.Text)}
			default:
				why = append(why, fmt.Errorf("%s: %v %s", addr, a.Status, a.Text))
			}
		}
		if time.Since(told) > joinQuiet {
			told = time.Now()
			n.log.Warn("cannot join the cluster yet, will be tried again", "error", errors.Join(why...))
		}
		if !sleep(ctx, joinPause) {
			return 0, fmt.Errorf("join the cluster: %w", errors.Join(why...))
		}
	}
}

func (n *Node) askToJoin(ctx context.Context, addr string, call []byte) (*joinAnswer, error) {
	reply, err := n.peers.CallAddr(ctx, addr, call)
	if err != nil {
		return nil, err
	}
	a := new(joinAnswer)
	if err := json.Unmarshal(reply, a); err != nil {
		return nil, fmt.Errorf("answer of %s: %w", addr, err)
	}
	return a, nil
}

// serveJoin enters a node, or its new addresses. A stranger speaks for himself
// only; nodes of the cluster pass on what strangers have asked them.
func (n *Node) serveJoin(ctx context.Context, from raftlog.PeerHello, c *joinCall) (*joinAnswer, error) {
	if from.Cluster == ([16]byte{}) && (from.Node != c.Name || from.Incarnation != c.Incarnation) {
		return nil, errors.New("a node can join for itself only")
	}
	if from.Cluster != ([16]byte{}) && from.Node == c.Name && n.table().Node(c.Name) == nil {
		return &joinAnswer{Status: wire.StatusExists, Text: "node " + c.Name + " was removed from the cluster: it does not come back with the data it has"}, nil
	}
	g := n.local(0)
	if g == nil {
		return &joinAnswer{Status: wire.StatusUnavailable, Text: "this node is in no cluster itself yet"}, nil
	}
	if !g.log.Leading() {
		leader := g.log.Leader()
		if leader == "" || leader == n.cfg.Node {
			return &joinAnswer{Status: wire.StatusUnavailable, Text: "the cluster's directory has no leader at the moment"}, nil
		}
		return callJSON[joinAnswer](ctx, n, leader, callJoin, c)
	}
	op := wire.AddNode{Mutation: n.begin(0), Node: c.info()}
	r := n.signed(withActor(ctx, nodeActor(c.Name)), wire.Record{Kind: wire.KindAddNode, Body: op.Append(nil)})
	status, text := n.submit(ctx, g, raftlog.Write, r)
	a := &joinAnswer{Status: status, Text: string(text), Cluster: n.cluster()}
	if status == wire.StatusOK {
		node := n.table().Node(c.Name)
		if node == nil {
			return nil, errors.New("the node was removed at this moment")
		}
		a.Number = node.Number
	}
	return a, nil
}

// joinCall is what the node tells the directory about itself. Listeners for
// clients that are not up yet have no address.
func (n *Node) joinCall() *joinCall {
	return &joinCall{
		Name:        n.cfg.Node,
		Incarnation: n.store.Incarnation(),
		Peer:        n.advertised(n.cfg.Peer, n.peerAddr),
		Addr:        n.advertised(n.cfg.Listen, n.Addr()),
		HTTP:        n.advertised(n.cfg.HTTP, n.HTTPAddr()),
		Admin:       n.advertised(n.cfg.Admin, n.AdminAddr()),
	}
}

// advertised is how others reach a listener that was told to listen on one address
// and does on another.
func (n *Node) advertised(told, does string) string {
	if does == "" {
		return ""
	}
	_, port, err := net.SplitHostPort(does)
	if err != nil {
		return does
	}
	host, _, _ := net.SplitHostPort(told) // was checked
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = n.cfg.Advertise
	}
	if host == "" {
		host, _ = os.Hostname() // empty if the machine has none: nobody reaches it then
	}
	return net.JoinHostPort(host, port)
}

// announced reports whether the directory has the node's addresses.
func (n *Node) announced(t *directory.Table) bool {
	node := t.Node(n.cfg.Node)
	want := n.joinCall()
	return node != nil && node.Peer == want.Peer && node.Addr == want.Addr && node.HTTP == want.HTTP && node.Admin == want.Admin
}

// storeOperatorKey stores the key of a cluster that has none.
func (n *Node) storeOperatorKey(ctx context.Context) error {
	if n.cfg.OperatorKeyFile == "" || len(n.table().Keys()) > 0 {
		return nil
	}
	key, err := readOperatorKey(n.cfg.OperatorKeyFile)
	if err != nil {
		return err
	}
	op := wire.AddKey{
		Mutation: n.begin(0),
		Name:     []byte(operatorKeyName),
		Hash:     sha256.Sum256(key),
		Role:     wire.RoleOperate,
	}
	status, text := n.do(withActor(ctx, nodeActor(n.cfg.Node)), wire.Record{Kind: wire.KindAddKey, Body: op.Append(nil)})
	if status != wire.StatusOK {
		return fmt.Errorf("store the operator's key: %v %s", status, text)
	}
	return nil
}
