package directory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/usher-seats/usher/wire"
)

// maxVoters bounds the nodes whose replica of the directory votes: five outlive
// two that are down, and more would only make every change slower.
const maxVoters = 5

// A Node is a member of the cluster. It is immutable.
type Node struct {
	Name        string
	Number      uint64   // grows in the order of joining, never issued twice; also that of its replica of the directory's group
	Incarnation [16]byte // of its stores
	Peer        string   // address for other nodes; empty only while it is alone
	Addr        string   // of the binary protocol; empty: it has none
	HTTP        string   // of the HTTP frontend; empty: it has none
	Admin       string   // of the admin listener; empty: it has none
	Draining    bool     // it is to have no replicas of shards
}

// A Replica is one copy of a shard.
type Replica struct {
	Node   string
	Number uint64 // never issued twice: who comes back to a node comes as somebody else
}

// A Shard is where its replicas are to be: the node that leads the shard changes
// the shard's group until it is so. It is immutable.
type Shard struct {
	ID       uint32
	Replicas []Replica // the preferred leader first; on distinct nodes that are not draining
	Founder  uint64    // number of the replica that begins the group, alone; the others join it
	Changed  uint64    // number of the last change of Replicas: SetReplicas.Base
	Events   int       // that are in the shard, those that are to leave it included
}

// A SigningKey is a secret that nodes sign with. It is immutable.
type SigningKey struct {
	ID     uint32 // from 1, in the order of storing
	Secret [32]byte
	Wall   int64 // when it was stored, Unix milliseconds; 0: unknown
}

// goodKeys is how many signing keys are good at a time: what the one before the
// newest has signed is still in the hands of buyers.
const goodKeys = 2

// Version grows with every change.
func (t *Table) Version() uint64 { return t.version }

// Cluster is the cluster's id; it is zero until the cluster is made.
func (t *Table) Cluster() wire.ID { return t.cluster }

// Nodes are the members of the cluster by name. The caller does not write to
// them.
func (t *Table) Nodes() []Node { return t.nodes }

// Node is the node with that name, or nil.
func (t *Table) Node(name string) *Node {
	at, found := findNode(t.nodes, name)
	if !found {
		return nil
	}
	return &t.nodes[at]
}

// Voters are the nodes whose replica of the directory is to vote: the first five,
// in the order of joining, that are not draining. The caller does not write to
// them.
func (t *Table) Voters() []string { return t.voters }

// Shards is the number of shards. They are numbered from 1.
func (t *Table) Shards() int { return len(t.shards) }

// Shard is the shard with that number, or nil.
func (t *Table) Shard(id uint32) *Shard {
	if id < 1 || int64(id) > int64(len(t.shards)) {
		return nil
	}
	return t.shards[id-1]
}

// Replication is how many replicas every shard has if there are nodes for them.
func (t *Table) Replication() int { return t.replication }

// Load is the number of events that the shard has.
func (t *Table) Load(shard uint32) int {
	if s := t.Shard(shard); s != nil {
		return s.Events
	}
	return 0
}

// Signing are the signing keys that are good, the newest first. The caller does
// not write to them.
func (t *Table) Signing() []SigningKey { return t.signing }

// Audit is what was changed last, the newest at the end. The caller does not
// write to it.
func (t *Table) Audit() []AuditLine { return t.audit }

func findNode(nodes []Node, name string) (at int, found bool) {
	return slices.BinarySearchFunc(nodes, name, func(n Node, name string) int { return strings.Compare(n.Name, name) })
}

// eligible are the names of the nodes that may have replicas, in the order of
// joining.
func eligible(nodes []Node) []string {
	joined := slices.Clone(nodes)
	slices.SortFunc(joined, func(a, b Node) int { return cmp.Compare(a.Number, b.Number) })
	names := make([]string, 0, len(joined))
	for i := range joined {
		if !joined[i].Draining {
			names = append(names, joined[i].Name)
		}
	}
	return names
}

// leastLoaded is the shard with the fewest events, the lowest of several.
func leastLoaded(shards []*Shard) *Shard {
	best := shards[0]
	for _, s := range shards {
		if s.Events < best.Events {
			best = s
		}
	}
	return best
}

// setNodes replaces the nodes. nodes becomes the draft's and is never written to
// again.
func (d *draft) setNodes(nodes []Node) {
	d.nodes = nodes
	names := eligible(nodes)
	d.voters = names[:min(len(names), maxVoters)]
}

// load adds n events to a shard.
func (d *draft) load(shard uint32, n int) {
	s := *d.shards[shard-1]
	s.Events += n
	d.shards[shard-1] = &s
}
