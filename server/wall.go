package server

import (
	"context"
	"sync"
	"time"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

const (
	// wallScan is how often the node looks through its events for sales that
	// open or close; those it knows of it serves to the millisecond. So an event
	// whose rules were just changed may be this late.
	wallScan = time.Second
	// wallPatience bounds the wait for one batch of proposals.
	wallPatience = 5 * time.Second
)

// A wallClock tells events what time people have, when that opens or closes
// their sale. It is the only place where a node's wall clock reaches a shard.
// Its goroutine owns it.
type wallClock struct {
	n      *Node
	cancel context.CancelFunc
	done   sync.WaitGroup
	due    []wire.EventID // scratch of one scan
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
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := time.Now().Add(wallScan).UnixMilli()
		for _, g := range w.n.groups[1:] {
			next = min(next, w.scan(ctx, g))
		}
		timer.Reset(time.Until(time.UnixMilli(next)))
	}
}

// scan tells the shard's events whose sale should be in another state, and
// returns when the next one changes, in Unix milliseconds.
func (w *wallClock) scan(ctx context.Context, g *group) (next int64) {
	next = int64(wire.Never)
	if !g.log.Leading() {
		return next
	}
	now := time.Now().UnixMilli()
	w.due = w.due[:0]
	for e := range g.shard.Load().Events {
		state, until := sale(e, now)
		if state != e.Sale() {
			w.due = append(w.due, e.ID())
		}
		next = min(next, until)
	}
	w.tell(ctx, g, now)
	return next
}

// sale is the state that an event's sale should be in, and until when.
func sale(e *shard.Event, now int64) (state wire.SaleState, until int64) {
	rules := e.Rules()
	switch {
	case rules.ClosesAt != 0 && now >= rules.ClosesAt:
		return wire.SaleClosed, int64(wire.Never)
	case now < rules.OpensAt:
		return wire.SaleBefore, rules.OpensAt
	case rules.ClosesAt != 0:
		return wire.SaleOpen, rules.ClosesAt
	}
	return wire.SaleOpen, int64(wire.Never)
}

// tell proposes the time to the events that are due, as many in one batch as it
// takes. What fails is found by the next scan.
func (w *wallClock) tell(ctx context.Context, g *group, now int64) {
	for len(w.due) > 0 {
		r := newWaiter()
		b := g.log.NewBatch(raftlog.Write, r)
		for len(w.due) > 0 && b.Fits(wire.MutationSize+8) {
			op := wire.WallClock{Mutation: wire.Mutation{Event: w.due[0], ID: w.n.newID(g.log.Now())}, Wall: now}
			b.Add(0, 0, wire.Record{Kind: wire.KindWallClock, Body: op.Append(nil)})
			w.due = w.due[1:]
		}
		patience, cancel := context.WithTimeout(ctx, wallPatience)
		status, _ := r.submit(patience, g, b)
		cancel()
		if !status.Decided() {
			return
		}
	}
}
