package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/usher-seats/usher/raftlog"
)

// A mending brings the members of a group a step nearer to those it is to have. Its
// goroutine owns it.
//
// The group's leader does it, one change at a time, each on the configuration that
// it was decided on: raft refuses it on any other. A new member comes without a
// vote, gets it when it has caught up, and only then do those go that are not
// wanted any more, the leader last, after it has handed over. So there is never
// a smaller quorum to lose than before.
type mending struct {
	n      *Node
	g      *group
	want   []raftlog.Member // the preferred leader first
	rested bool             // the group has been led here for a while
}

// wants reports whether a replica is to be a member.
func (m *mending) wants(node string, replica uint64) bool {
	return m.find(m.want, node, replica) >= 0
}

func (m *mending) find(list []raftlog.Member, node string, replica uint64) int {
	return slices.IndexFunc(list, func(x raftlog.Member) bool { return x.Node == node && x.Replica == replica })
}

// settled reports whether nothing is to be done.
func (m *mending) settled() bool {
	members, base := m.g.log.Members()
	if base == 0 || len(m.want) == 0 {
		return true // not known yet
	}
	for _, w := range m.want {
		if !slices.Contains(members, w) {
			return false
		}
	}
	return len(members) == len(m.want) && (m.g.id == 0 || m.want[0].Node == m.n.cfg.Node || !m.rested)
}

// step does the next thing.
func (m *mending) step(ctx context.Context) error {
	if !m.g.log.Leading() {
		return m.leave(ctx)
	}
	members, base := m.g.log.Members()
	for _, w := range m.want {
		if m.find(members, w.Node, w.Replica) < 0 {
			w.Voter = false
			return m.g.log.SetMember(ctx, w, base)
		}
	}
	for _, w := range m.want {
		have := members[m.find(members, w.Node, w.Replica)]
		if !w.Voter || have.Voter {
			continue
		}
		if !m.caughtUp(ctx, w) {
			return nil // it takes its time
		}
		return m.g.log.SetMember(ctx, w, base)
	}
	if done, err := m.dismiss(ctx, members, base); done {
		return err
	}
	return m.prefer(ctx)
}

// dismiss takes away what is not wanted: the vote of a member, or the membership.
func (m *mending) dismiss(ctx context.Context, members []raftlog.Member, base uint64) (done bool, err error) {
	self := false
	for _, have := range members {
		at := m.find(m.want, have.Node, have.Replica)
		switch {
		case at >= 0 && m.want[at].Voter == have.Voter:
			continue
		case have.Node == m.n.cfg.Node && have.Replica == m.g.replica:
			self = true
			continue
		case at >= 0:
			return true, m.g.log.DemoteMember(ctx, have, base)
		}
		return true, m.g.log.RemoveMember(ctx, have, base)
	}
	if self {
		return true, m.handOver(ctx)
	}
	return false, nil
}

// handOver has somebody lead who is wanted.
func (m *mending) handOver(ctx context.Context) error {
	for _, w := range m.want {
		if w.Voter && w.Node != m.n.cfg.Node && m.n.peers.Reachable(w.Node) && m.caughtUp(ctx, w) {
			return m.g.log.Transfer(ctx, w)
		}
	}
	return nil // nobody can, for the moment
}

// handOverPatience bounds the attempts to have somebody else lead what a node led
// that stops.
const handOverPatience = 2 * time.Second

// handOver lets another voter lead before the node stops, if there is one, so that
// nobody has to find out that this one is gone.
func (n *Node) handOver(ctx context.Context, g *group) {
	ctx, cancel := context.WithTimeout(ctx, handOverPatience)
	defer cancel()
	members, _ := g.log.Members()
	m := mending{n: n, g: g, want: members}
	for g.log.Leading() && !g.log.Alone() && ctx.Err() == nil {
		if err := m.handOver(ctx); err == nil && g.log.Leading() {
			return // nobody is there
		}
	}
}

// prefer hands a shard to its preferred leader.
func (m *mending) prefer(ctx context.Context) error {
	first := m.want[0]
	if m.g.id == 0 || first.Node == m.n.cfg.Node || !m.rested || !m.caughtUp(ctx, first) {
		return nil
	}
	return m.g.log.Transfer(ctx, first)
}

// caughtUp asks a member's node how far its replica has come.
func (m *mending) caughtUp(ctx context.Context, w raftlog.Member) bool {
	if w.Node == m.n.cfg.Node {
		return true
	}
	a, err := callJSON[replicaAnswer](ctx, m.n, w.Node, callReplica, replicaCall{m.g.id})
	return err == nil && a.hasCaughtUp(w.Replica, m.g.log.Stats().Applied)
}

// hasCaughtUp reports whether it is that replica, and hardly behind what its leader has
// applied. One that has nothing is not, however little there is: it gives no votes,
// and of two voters of whom one gives none nobody is ever elected.
func (a *replicaAnswer) hasCaughtUp(replica, leader uint64) bool {
	return a.Replica == replica && a.Applied > 0 && a.Applied+catchUpEntries >= leader
}

// leave drops a replica that is not wanted any more, once the group's leader says
// that it is no member: the directory here may be behind, and the leader may need
// the replica until the others have caught up.
func (m *mending) leave(ctx context.Context) error {
	if len(m.want) == 0 || m.g.id == 0 {
		return nil
	}
	for _, w := range m.want {
		if w.Node == m.n.cfg.Node {
			continue
		}
		a, err := callJSON[replicaAnswer](ctx, m.n, w.Node, callReplica, replicaCall{m.g.id})
		if err != nil || !a.Leading {
			continue
		}
		if m.find(a.Members, m.n.cfg.Node, m.g.replica) >= 0 {
			return nil
		}
		return m.drop(ctx)
	}
	return nil
}

func (m *mending) drop(ctx context.Context) error {
	id := m.g.id
	m.n.setGroup(id, nil)
	if err := m.g.log.Close(ctx); err != nil {
		return fmt.Errorf("close the replica: %w", err)
	}
	m.n.log.Info("replica has left", "group", id, "replica", m.g.replica)
	return m.n.store.DropGroup(uint64(id))
}
