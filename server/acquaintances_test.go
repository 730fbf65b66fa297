package server

import (
	"context"
	"sync"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// TestAllNodesDie kills all nodes of a cluster at once, before any of them has
// taken a snapshot, and starts them again: they find each other, and what was
// acknowledged is there.
func TestAllNodesDie(t *testing.T) {
	c := newCrew(t, 3, func(c *Config) { c.Shards = 2 })
	c.settled()
	event := openHall(t, c.nodes[0], hall("gala", 1, 20))
	id, fence := c.hold(c.nodes[0], event, 3, 4)
	for _, n := range c.nodes {
		eventually(t, "every node knows all others", func() bool { return len(n.acquainted.Load().Peers) == 3 })
	}
	for _, n := range c.nodes {
		n.Kill()
	}
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	var started sync.WaitGroup
	for i := range c.nodes {
		// None of them is ready before there are two.
		started.Go(func() {
			n, err := Start(ctx, c.confs[i])
			if err != nil {
				t.Errorf("n%d: %v", i+1, err)
				return
			}
			t.Cleanup(func() { closeNode(t, n) })
			c.nodes[i] = n
		})
	}
	started.Wait()
	if t.Failed() {
		t.FailNow()
	}
	confirm := wire.OnHold{Mutation: wire.Mutation{Event: event, ID: id}, Fence: fence}
	status, body := c.nodes[2].do(ctx, wire.Record{Kind: wire.KindConfirm, Body: confirm.Append(nil)})
	if status != wire.StatusOK {
		t.Errorf("confirm of a hold that was acknowledged: %v %s", status, body)
	}
}
