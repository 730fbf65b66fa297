package server

import (
	"context"
	"sync"
	"time"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/wire"
)

const (
	// wallEvery is how often the node looks whether a sale opens or closes, and
	// so how late it may do so. A look is one atomic load per shard.
	wallEvery = 20 * time.Millisecond
	// wallPatience bounds the wait for one proposal.
	wallPatience = 5 * time.Second
)

// A wallClock tells events what time people have, when that opens or closes
// their sale. It is the only place where a node's wall clock reaches a shard.
type wallClock struct {
	n      *Node
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// startWallClock starts the goroutine that watches all shards.
func startWallClock(n *Node) *wallClock {
	ctx, cancel := context.WithCancel(context.Background())
	w := &wallClock{n: n, cancel: cancel}
	w.done.Go(func() { w.run(ctx) })
	return w
}

func (w *wallClock) stop() {
	w.cancel()
	w.done.Wait()
}

func (w *wallClock) run(ctx context.Context) {
	tick := time.NewTicker(wallEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, g := range w.n.groups[1:] {
			for w.tell(ctx, g) {
			}
		}
	}
}

// tell tells the shard's next event the time if it waits for it. False if there
// is none, or if it could not be told now.
func (w *wallClock) tell(ctx context.Context, g *group) bool {
	event, at := g.shard.Load().NextWall()
	now := time.Now().UnixMilli()
	if at > now || !g.log.Leading() {
		return false
	}
	op := wire.WallClock{Mutation: wire.Mutation{Event: event, ID: w.n.newID(g.log.Now())}, Wall: now}
	ctx, cancel := context.WithTimeout(ctx, wallPatience)
	defer cancel()
	status, _ := w.n.ask(ctx, g, raftlog.Write, wire.Record{Kind: wire.KindWallClock, Body: op.Append(nil)})
	return status == wire.StatusOK
}
