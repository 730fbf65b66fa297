package directory

import (
	"errors"
	"fmt"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// maxAddr bounds an address: the longest host name of the DNS, a colon, a port.
const maxAddr = 253 + 1 + 5

func nodeOf(n *wire.NodeInfo) Node {
	return Node{
		Name:        string(n.Name),
		Incarnation: n.Incarnation,
		Peer:        string(n.Peer),
		Addr:        string(n.Addr),
		HTTP:        string(n.HTTP),
		Admin:       string(n.Admin),
	}
}

// checkNode reports what is wrong with a node in itself.
func checkNode(n *Node) error {
	if !validName(n.Name) {
		return fmt.Errorf("node name %q: want 1 to %d letters, digits, '-', '.' or '_'", n.Name, wire.MaxKeyLen)
	}
	for _, addr := range []string{n.Peer, n.Addr, n.HTTP, n.Admin} {
		if len(addr) > maxAddr || !visible(addr) {
			return fmt.Errorf("address %q of node %s: want host:port in at most %d visible characters", addr, n.Name, maxAddr)
		}
	}
	return nil
}

// validName reports whether a node may have that name: it is part of the names of
// files and of raft's servers.
func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		digit := '0' <= c && c <= '9'
		if !letter && !digit && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return len(name) >= 1 && len(name) <= wire.MaxKeyLen
}

// clash reports what a node has that only one can have, and another node has it.
func clash(nodes []Node, n *Node) error {
	for i := range nodes {
		switch o := &nodes[i]; {
		case o.Name == n.Name:
		case o.Incarnation == n.Incarnation:
			return fmt.Errorf("%s has the data of %s: start it with an empty data directory", n.Name, o.Name)
		case o.Peer == n.Peer && n.Peer != "":
			return fmt.Errorf("%s is the peer address of %s: give %s its own", n.Peer, o.Name, n.Name)
		}
	}
	return nil
}

// addNode enters a node, or the addresses that it has now.
func (d *Directory) addNode(body []byte) (wire.Status, []byte) {
	var op wire.AddNode
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	node := nodeOf(&op.Node)
	if err := checkNode(&node); err != nil {
		return bad("%v", err)
	}
	nodes := slices.Clone(d.draft.nodes)
	at, found := findNode(nodes, node.Name)
	if found && nodes[at].Incarnation != node.Incarnation {
		return refused("%s has joined this cluster with other data: give this node another name, or remove %s first (usher admin remove-node %s)",
			node.Name, node.Name, node.Name)
	}
	if node.Peer == "" && (!found || len(nodes) > 1) {
		return bad("node %s needs an address at which other nodes reach it", node.Name)
	}
	if err := clash(nodes, &node); err != nil {
		return refused("%v", err)
	}
	if found {
		return d.readdress(nodes, at, node)
	}
	if len(nodes) >= wire.MaxNodes {
		return wire.StatusTooLarge, fmt.Appendf(nil, "the cluster has %d nodes, which is the most: remove some", wire.MaxNodes)
	}
	node.Number = d.number()
	d.draft.setNodes(slices.Insert(nodes, at, node))
	d.place()
	d.note("add node %s at %s", node.Name, node.Peer)
	return wire.StatusOK, nil
}

// readdress gives the node at that place of nodes the addresses of node.
func (d *Directory) readdress(nodes []Node, at int, node Node) (wire.Status, []byte) {
	node.Number, node.Draining = nodes[at].Number, nodes[at].Draining
	if nodes[at] == node {
		return wire.StatusOK, nil
	}
	nodes[at] = node
	d.draft.setNodes(nodes)
	d.relayout()
	d.note("node %s is at %s now (clients %s, HTTP %s, admin %s)",
		node.Name, plain(node.Peer), plain(node.Addr), plain(node.HTTP), plain(node.Admin))
	return wire.StatusOK, nil
}

// errLastEligible says that replicas would have nowhere to go.
var errLastEligible = errors.New("no other node takes replicas; add one first, or end the drain of another")

// othersEligible reports whether a node that is not draining would be left
// without that one.
func (d *Directory) othersEligible(name string) bool {
	return slices.ContainsFunc(d.draft.nodes, func(n Node) bool { return n.Name != name && !n.Draining })
}

func unknownNode(name string) (wire.Status, []byte) {
	return wire.StatusUnknownPlace, fmt.Appendf(nil, "there is no node named %q", name)
}

func (d *Directory) drainNode(body []byte) (wire.Status, []byte) {
	var op wire.DrainNode
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	nodes := slices.Clone(d.draft.nodes)
	at, found := findNode(nodes, string(op.Name))
	switch {
	case !found:
		return unknownNode(string(op.Name))
	case nodes[at].Draining == op.Drain:
		return wire.StatusOK, nil
	case op.Drain && !d.othersEligible(nodes[at].Name):
		return refused("%s cannot be drained: %v", op.Name, errLastEligible)
	}
	nodes[at].Draining = op.Drain
	d.draft.setNodes(nodes)
	d.place()
	if op.Drain {
		d.note("drain node %s", op.Name)
	} else {
		d.note("node %s takes replicas again", op.Name)
	}
	return wire.StatusOK, nil
}

// removeNode takes a node out of the table. That a drained node's data has
// arrived elsewhere is for the caller to make sure: the directory knows where
// replicas are to be, not where they are.
func (d *Directory) removeNode(body []byte) (wire.Status, []byte) {
	var op wire.RemoveNode
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	name := string(op.Name)
	at, found := findNode(d.draft.nodes, name)
	if !found {
		return unknownNode(name)
	}
	held, only := d.holdings(name)
	switch {
	case len(d.draft.nodes) == 1:
		return refused("%s is the only node: a cluster has at least one", name)
	case !d.othersEligible(name):
		return refused("%s cannot be removed: %v", name, errLastEligible)
	case held > 0 && !op.Force:
		return refused("%s has replicas (shards: %d): drain it first (usher admin drain-node %s), or remove it with --force if it is dead", name, held, name)
	case only != nil:
		return refused("%s has the only replica of shard %d, whose events would be lost: give the shard a replica elsewhere first", name, only.ID)
	}
	d.draft.setNodes(slices.Delete(slices.Clone(d.draft.nodes), at, at+1))
	d.place()
	if held > 0 {
		d.note("remove node %s by force, with its replicas (shards: %d)", name, held)
	} else {
		d.note("remove node %s", name)
	}
	return wire.StatusOK, nil
}

// holdings counts the shards with a replica on a node, and finds one that has no
// other.
func (d *Directory) holdings(name string) (held int, only *Shard) {
	for _, s := range d.draft.shards {
		if !s.on(name) {
			continue
		}
		held++
		if len(s.Replicas) == 1 && only == nil {
			only = s
		}
	}
	return held, only
}
