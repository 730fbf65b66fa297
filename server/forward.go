package server

import (
	"context"
	"errors"
	"time"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/wire"
)

// maxAskHops bounds how often one node may name another as the leader within an
// attempt.
const maxAskHops = 2

// askNode has another node put a record into a group that it should lead.
func (n *Node) askNode(ctx context.Context, node string, c askCall) outcome {
	for hop := 0; ; hop++ {
		c.budget = defaultBudget
		if end, ok := ctx.Deadline(); ok {
			c.budget = max(time.Millisecond, time.Until(end))
		}
		reply, err := n.peers.Call(ctx, node, c.append(nil))
		if err != nil {
			return n.unanswered(c.mode, err)
		}
		var a outcome
		if err := a.decode(reply); err != nil {
			return n.unanswered(c.mode, err)
		}
		n.awaitVersion(ctx, a.version)
		if a.status != wire.StatusMoved || a.leader == "" || a.leader == node || a.leader == n.cfg.Node || hop == maxAskHops {
			return a
		}
		node = a.leader
	}
}

// unanswered is what it means that another node did not answer a call: a read
// changes nothing, and neither does what was not sent or not understood.
func (n *Node) unanswered(m raftlog.Mode, err error) outcome {
	var said *raftlog.PeerError
	if m != raftlog.Write || errors.Is(err, raftlog.ErrUnreachable) || errors.As(err, &said) {
		return refused(wire.StatusUnavailable, "")
	}
	return refused(wire.StatusUnknown, "")
}

// serveAsk is askNode at the other end.
func (n *Node) serveAsk(ctx context.Context, c *askCall) outcome {
	if n.stopping.Load() {
		return refused(wire.StatusStopping, "")
	}
	ctx, cancel := context.WithTimeout(ctx, c.budget)
	defer cancel()
	g := n.local(c.group)
	switch {
	case g == nil:
		return outcome{status: wire.StatusMoved, leader: n.leaderOf(c.group)}
	case c.mode == askQuery && c.group != 0:
		a, sure := n.queryOwn(g, c.record)
		if !sure {
			return outcome{status: wire.StatusMoved, leader: g.log.Leader()}
		}
		return a
	case !g.log.Leading():
		return outcome{status: wire.StatusMoved, leader: g.log.Leader()}
	case c.mode != raftlog.Write && c.mode != raftlog.Read:
		return refused(wire.StatusUnknownKind, "")
	}
	return n.lead(ctx, g, c.mode, c.record, c.more...)
}

// awaitVersion waits until the node's directory has what another node's had when it
// answered. Followers are told at once: see raftlog.GroupConfig.Chase.
func (n *Node) awaitVersion(ctx context.Context, version uint64) {
	for n.table().Version() < version && sleep(ctx, time.Millisecond) {
	}
}

// behind reports whether an event that the node's directory does not know may have
// been made since: its number was not given out yet as far as this node knows.
func (n *Node) behind(t *directory.Table, id wire.EventID) bool {
	g := n.local(0)
	return !t.Issued(id) && g != nil && !g.log.Leading()
}

// cutOff reports whether waiting is of no use: there are no other nodes, or none
// that can be talked to.
func (n *Node) cutOff() bool {
	for _, node := range n.table().Nodes() {
		if node.Name != n.cfg.Node && n.peers.Reachable(node.Name) {
			return false
		}
	}
	return true
}

// An actor, in a context, is on whose behalf the directory is changed.
type actor struct{}

func withActor(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, actor{}, name)
}

// signed says in an operation on the directory whose it is, for the audit log.
func (n *Node) signed(ctx context.Context, r wire.Record) wire.Record {
	name, _ := ctx.Value(actor{}).(string)
	return signedBy(name, r)
}

func signedBy(name string, r wire.Record) wire.Record {
	if name == "" {
		name = "local" // nobody was asked for a key
	}
	by := wire.By{Name: []byte(name), Wall: time.Now().UnixMilli(), Record: r.Append(nil)}
	return wire.Record{Kind: wire.KindBy, Flags: r.Flags, Body: by.Append(nil)}
}
