package server

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

// A group is this node's replica of a raftlog group and, if it is a shard's, the
// state machine that readers look at. Its fields do not change but for those that
// are atomic.
type group struct {
	id      uint32
	replica uint64
	log     *raftlog.Group
	shard   atomic.Pointer[shard.Shard] // nil in the directory's group

	mending atomic.Bool // its members are being changed: one at a time
	moving  atomic.Bool // the events that are to leave it are being moved
}

// A groupSet is the replicas that a node runs. It is immutable.
type groupSet struct {
	byID []*group // nil where the node has no replica
}

// get is the replica of a group, or nil.
func (s *groupSet) get(id uint32) *group {
	if int(id) >= len(s.byID) {
		return nil
	}
	return s.byID[id]
}

// all yields the replicas in the order of their groups.
func (s *groupSet) all(yield func(*group) bool) {
	for _, g := range s.byID {
		if g != nil && !yield(g) {
			return
		}
	}
}

// shards yields the replicas of shards.
func (s *groupSet) shards(yield func(*group) bool) {
	for g := range s.all {
		if g.id != 0 && !yield(g) {
			return
		}
	}
}

// local is the node's replica of a group, or nil.
func (n *Node) local(id uint32) *group { return n.groups.Load().get(id) }

// setGroup publishes a groupSet in which a group is g.
func (n *Node) setGroup(id uint32, g *group) {
	n.grouping.Lock()
	defer n.grouping.Unlock()
	byID := slices.Clone(n.groups.Load().byID)
	for len(byID) <= int(id) {
		byID = append(byID, nil)
	}
	byID[id] = g
	n.groups.Store(&groupSet{byID})
}

// startDirectoryGroup starts the node's replica of the directory.
func (n *Node) startDirectoryGroup(replica uint64, begin bool) error {
	fresh := func() raftlog.StateMachine { return directory.New() }
	publish := func(m raftlog.StateMachine) { n.directory.Store(m.(*directory.Directory)) }
	return n.startGroup(&group{id: 0, replica: replica}, begin, fresh, publish)
}

// startShardGroup starts the node's replica of a shard.
func (n *Node) startShardGroup(id uint32, replica uint64, begin bool) error {
	g := &group{id: id, replica: replica}
	fresh := func() raftlog.StateMachine { return shard.New(shard.Config{}) }
	publish := func(m raftlog.StateMachine) { g.shard.Store(m.(*shard.Shard)) }
	return n.startGroup(g, begin, fresh, publish)
}

// startGroup starts g's log and adds it to the groups. begin makes a new group of
// it, of which it is the only voter, if there is nothing of it on disk.
func (n *Node) startGroup(g *group, begin bool, fresh func() raftlog.StateMachine, publish func(raftlog.StateMachine)) error {
	transport := n.peers.Transport(uint64(g.id), string(raftlog.ServerID(n.cfg.Node, g.replica)))
	log, err := n.store.StartGroup(raftlog.GroupConfig{
		ID:              uint64(g.id),
		New:             fresh,
		Publish:         publish,
		Bootstrap:       begin,
		Replica:         g.replica,
		Transport:       transport,
		Chase:           g.id == 0,
		SnapshotOnClose: true,
		ElectionTimeout: n.cfg.ElectionTimeout,
		Log:             n.log,
	})
	if err != nil {
		return fmt.Errorf("start group %d: %w", g.id, err)
	}
	g.log = log
	n.setGroup(g.id, g)
	return nil
}

// leaderOf is the name of the node that leads a group as far as this one knows, or
// of one that knows more; "" if nobody leads it.
func (n *Node) leaderOf(id uint32) string {
	if g := n.local(id); g != nil {
		return g.log.Leader()
	}
	s := n.table().Shard(id)
	if s == nil {
		return ""
	}
	for _, r := range s.Replicas {
		if r.Node != n.cfg.Node && n.peers.Reachable(r.Node) {
			return r.Node
		}
	}
	for _, r := range s.Replicas { // to none of them has anybody talked yet
		if r.Node != n.cfg.Node {
			return r.Node
		}
	}
	return ""
}

// elsewhere is the address at which clients find a group's leader; "" if it is
// this node, or nobody knows.
func (n *Node) elsewhere(id uint32) string {
	leader := n.leaderOf(id)
	if leader == "" || leader == n.cfg.Node {
		return ""
	}
	node := n.table().Node(leader)
	if node == nil {
		return ""
	}
	return node.Addr
}

// eventNow is the time of an event as this node knows it; 0 if it has no replica
// of its shard. Only the shard's leader knows it to the millisecond.
func (n *Node) eventNow(e *directory.Event) wire.Millis {
	g := n.local(e.Shard)
	if g == nil {
		return 0
	}
	return g.eventNow(e.ID)
}

// eventNow is the time of one of the group's events: in the directory, of which
// events have no part, the group's.
func (g *group) eventNow(id wire.EventID) wire.Millis {
	now := g.log.Now()
	if s := g.shard.Load(); s != nil {
		if e := s.Event(id); e != nil {
			return e.Now(now)
		}
	}
	return now
}
