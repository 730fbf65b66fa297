package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	// lookEvery is between two looks at a cluster that changes.
	lookEvery = 250 * time.Millisecond
	// behindEntries is how many entries a replica may lag and still count as one that
	// could take over at once. Under load all of them lag a little.
	behindEntries = 512
)

// A goal is what a change is to bring about. Of a cluster as a node sees it, it
// says what is missing, "" if nothing is; its error says that it will never be
// reached. A node may be behind and show the cluster as it was before the change,
// so a goal must not be met by that.
type goal func(c *clusterView) (missing string, err error)

// await looks at the cluster until a goal is reached, if that is wanted. A look
// that fails is repeated, because nodes may come and go meanwhile.
func (a *adminCall) await(ctx context.Context, g goal) error {
	if !a.wait {
		return nil
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		missing, err := a.lookFor(ctx, g)
		if err != nil || missing == "" {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not there yet: %s: %w", missing, ctx.Err())
		}
	}
}

func (a *adminCall) lookFor(ctx context.Context, g goal) (missing string, err error) {
	c, _, err := a.look(ctx)
	if p, ok := errors.AsType[*problemError](err); ok && p.status < http.StatusInternalServerError {
		return "", err
	}
	if err != nil {
		return err.Error(), nil
	}
	return g(c)
}

// unfinished is what a shard's group lacks: a leader that says who is in it, or the
// vote of somebody who is to have it.
func (g *groupView) unfinished() string {
	if g.Leader == "" {
		return fmt.Sprintf("shard %d has no leader", g.Group)
	}
	for _, m := range g.Members {
		if m.Wanted && !m.Voter {
			return fmt.Sprintf("the replica of shard %d on %s has no vote yet", g.Group, m.Node)
		}
	}
	return ""
}

func (g *groupView) on(node string) bool {
	return slices.ContainsFunc(g.Members, func(m memberView) bool { return m.Node == node })
}

func unknownGroup(shard uint32, c *clusterView) string {
	return fmt.Sprintf("node %s does not know shard %d yet", c.Node, shard)
}

func shardsThere(first, count uint32) goal {
	return func(c *clusterView) (string, error) {
		for id := first; id < first+count; id++ {
			g := c.group(id)
			if g == nil {
				return unknownGroup(id, c), nil
			}
			if missing := g.unfinished(); missing != "" {
				return missing, nil
			}
		}
		return "", nil
	}
}

func drained(node string) goal {
	return func(c *clusterView) (string, error) {
		switch n := c.node(node); {
		case n == nil:
			return "", fmt.Errorf("node %s was removed meanwhile", node)
		case !n.Draining:
			return fmt.Sprintf("node %s does not drain, as %s knows", node, c.Node), nil
		}
		return c.shardsWithout(node), nil
	}
}

// shardsWithout is what is missing until no shard has a member on a node.
func (c *clusterView) shardsWithout(node string) string {
	for i := range c.Groups {
		g := &c.Groups[i]
		if g.Group == 0 {
			continue
		}
		if missing := g.unfinished(); missing != "" {
			return missing
		}
		if g.on(node) {
			return fmt.Sprintf("shard %d still has a replica on %s", g.Group, node)
		}
	}
	return ""
}

func removed(node string) goal {
	return func(c *clusterView) (string, error) {
		if c.node(node) != nil {
			return fmt.Sprintf("%s still knows node %s", c.Node, node), nil
		}
		if d := c.group(0); d == nil || !d.Settled || d.on(node) {
			return "the directory has not settled", nil
		}
		return c.shardsWithout(node), nil
	}
}

func ledBy(shard uint32, node string) goal {
	return func(c *clusterView) (string, error) {
		g := c.group(shard)
		if g == nil {
			return unknownGroup(shard, c), nil
		}
		if g.Leader != node || g.Preferred != node {
			return fmt.Sprintf("shard %d is led by %s", shard, orNobody(g.Leader)), nil
		}
		return "", nil
	}
}

func orNobody(node string) string {
	if node == "" {
		return "nobody"
	}
	return node
}

func placedAs(p placed) goal {
	return func(c *clusterView) (string, error) {
		g := c.group(p.Shard)
		if g == nil {
			return unknownGroup(p.Shard, c), nil
		}
		var wanted []string
		for _, m := range g.Members {
			if m.Wanted {
				wanted = append(wanted, m.Node)
			}
		}
		if !g.Settled || !slices.Equal(wanted, p.Nodes) {
			return fmt.Sprintf("shard %d has not settled", p.Shard), nil
		}
		return "", nil
	}
}

func allSettled(changes []placed) goal {
	return func(c *clusterView) (string, error) {
		for _, p := range changes {
			if missing, err := placedAs(p)(c); err != nil || missing != "" {
				return missing, err
			}
		}
		for _, g := range c.Groups {
			if !g.Settled {
				return fmt.Sprintf("group %d has not settled", g.Group), nil
			}
		}
		return "", nil
	}
}

// atRest is that another node could be stopped now: all are up, and all replicas are
// where they are to be and have caught up.
func atRest(c *clusterView) (string, error) {
	for _, n := range c.Nodes {
		if !n.Up {
			return fmt.Sprintf("node %s is down", n.Name), nil
		}
	}
	for _, g := range c.Groups {
		for _, m := range g.Members {
			if m.Lag > behindEntries {
				return fmt.Sprintf("the replica of group %d on %s is %d entries behind", g.Group, m.Node, m.Lag), nil
			}
		}
	}
	return allSettled(nil)(c)
}

// eventIn is that an event has come to a shard by the move with that number. A node that
// is behind shows an earlier one.
func (a *adminCall) eventIn(ctx context.Context, key string, to uint32, number uint64) goal {
	return func(*clusterView) (string, error) {
		var m struct {
			Shard, To uint32
			Number    uint64
		}
		_, err := a.ask(ctx, http.MethodGet, movePath(key), nil, &m)
		p, said := errors.AsType[*problemError](err)
		switch {
		case said && p.status == http.StatusNotFound:
			return "", fmt.Errorf("event %s was deleted meanwhile", key)
		case said && p.status < http.StatusInternalServerError:
			return "", err
		case err != nil:
			return err.Error(), nil
		case m.Number < number:
			return fmt.Sprintf("the node does not know that event %s moves", key), nil
		case m.Number > number && m.To != 0:
			return "", fmt.Errorf("the move is over: event %s moves to shard %d now", key, m.To)
		case m.To != 0:
			return fmt.Sprintf("event %s is moving", key), nil
		case m.Shard == to:
			return "", nil
		}
		return "", fmt.Errorf("the move was cancelled: event %s stays in shard %d", key, m.Shard)
	}
}
