package raftlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"
	"github.com/usher-seats/usher/wire"
)

// A Member is a replica of a group: the one with this number, on this node. A
// number is never given out twice. A node whose replica was removed and its data
// with it gets another number when it comes back, so that nobody mistakes the
// new replica for the old one, and nobody has the old one's votes counted: raft
// must not meet a server that has forgotten what it promised.
type Member struct {
	Node    string
	Replica uint64
	Voter   bool
}

// ServerID is what raft calls a replica: the node's name and the replica's number.
func ServerID(node string, replica uint64) raft.ServerID {
	if replica == 0 {
		return raft.ServerID(node)
	}
	return raft.ServerID(node + "@" + strconv.FormatUint(replica, 10))
}

func memberOf(s raft.Server) Member {
	_, number, _ := strings.Cut(string(s.ID), "@")
	replica, _ := strconv.ParseUint(number, 10, 64) // 0 without a number
	return Member{Node: nodeOf(string(s.ID)), Replica: replica, Voter: s.Suffrage == raft.Voter}
}

// Members are the replicas of the group in its last committed configuration, and
// the index of that, which a change of it quotes. It is what this node has
// applied, so only on the leader is it sure to be current.
func (g *Group) Members() (members []Member, base uint64) {
	conf, base := g.fsm.configuration()
	if metas, err := g.snaps.List(); err == nil && len(metas) > 0 && metas[0].ConfigurationIndex > base {
		conf, base = metas[0].Configuration, metas[0].ConfigurationIndex
	}
	for _, s := range conf.Servers {
		members = append(members, memberOf(s))
	}
	return members, base
}

// ErrNotLeader says that a change of members is for the group's leader.
var ErrNotLeader = raft.ErrNotLeader

// SetMember makes m a member, or gives it its vote. base is the index from
// Members: if there is another configuration by now, nothing happens. It returns
// when the new configuration is committed. A replica gets its vote when it has
// caught up, and is added without one; who takes away and gives a vote at once
// can leave a group without quorum.
func (g *Group) SetMember(ctx context.Context, m Member, base uint64) error {
	id, addr := ServerID(m.Node, m.Replica), raft.ServerAddress(m.Node)
	if m.Voter {
		return g.change(ctx, func() raft.IndexFuture { return g.raft.AddVoter(id, addr, base, 0) })
	}
	return g.change(ctx, func() raft.IndexFuture { return g.raft.AddNonvoter(id, addr, base, 0) })
}

// DemoteMember takes a member's vote away; it stays a member.
func (g *Group) DemoteMember(ctx context.Context, m Member, base uint64) error {
	return g.change(ctx, func() raft.IndexFuture { return g.raft.DemoteVoter(ServerID(m.Node, m.Replica), base, 0) })
}

// RemoveMember ends a membership. A leader hands over before it removes itself.
func (g *Group) RemoveMember(ctx context.Context, m Member, base uint64) error {
	return g.change(ctx, func() raft.IndexFuture { return g.raft.RemoveServer(ServerID(m.Node, m.Replica), base, 0) })
}

// errNoBase is a change of members that does not say of which configuration.
var errNoBase = errors.New("raftlog: the group's configuration is not known here yet")

func (g *Group) change(ctx context.Context, start func() raft.IndexFuture) error {
	if !g.Leading() {
		return ErrNotLeader
	}
	if _, base := g.Members(); base == 0 {
		return errNoBase
	}
	return await(ctx, func() error { return start().Error() })
}

// await runs f, which may hang (hashicorp/raft #498), no longer than ctx.
func await(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Transfer hands leadership to a member with a vote. While it lasts, operations are
// refused as not applied.
func (g *Group) Transfer(ctx context.Context, to Member) error {
	if !g.Leading() {
		return ErrNotLeader
	}
	id, addr := ServerID(to.Node, to.Replica), raft.ServerAddress(to.Node)
	return await(ctx, func() error { return g.raft.LeadershipTransferToServer(id, addr).Error() })
}

// Between runs f while no entry is being applied: f sees the state machine as it
// was led to by the entry at index, whose stamp is given. f must be short.
func (g *Group) Between(f func(index uint64, stamp wire.Millis)) {
	g.fsm.mu.Lock()
	defer g.fsm.mu.Unlock()
	f(g.fsm.index, g.fsm.stamp)
}

// ErrTruncated says that the log does not reach back that far.
var ErrTruncated = errors.New("raftlog: the log begins later")

// Entries yields the applied entries after an index, up to another, with their
// stamps as proposed; 0 is the stamp before. It fails with ErrTruncated if the
// first of them is not in the log any more. ops may be kept.
func (g *Group) Entries(after, upTo uint64, yield func(index uint64, stamp wire.Millis, ops []byte) error) error {
	for index := after + 1; index <= upTo; index++ {
		var l raft.Log
		if err := g.logs.GetLog(index, &l); errors.Is(err, raft.ErrLogNotFound) {
			return ErrTruncated
		} else if err != nil {
			return err
		}
		if l.Type != raft.LogCommand {
			continue
		}
		var e entry
		if err := e.decode(l.Data); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		if err := yield(index, e.stamp, e.ops); err != nil {
			return err
		}
	}
	return nil
}

// Alone reports whether this replica is the only member of its group, so that it
// needs nobody else in order to lead.
func (g *Group) Alone() bool {
	servers := g.raft.GetConfiguration().Configuration().Servers
	return len(servers) == 1 && servers[0].ID == ServerID(g.node, g.cfg.Replica)
}
