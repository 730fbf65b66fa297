package server

import (
	"context"
	"sync"
	"time"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/wire"
)

const (
	// The node looks through its events for sales and rooms that open or close this often,
	// and a hundred times as long as looking takes: it costs at most a hundredth
	// of a core, and an event whose rules were just changed is that late at most.
	// The openings that a look has found are served to the millisecond.
	wallScan  = 100 * time.Millisecond
	wallShare = 100
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
	looked time.Duration  // how long the looks of this round took
	due    []wire.EventID // scratch of one look
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
		next := int64(wire.Never)
		w.looked = 0
		for g := range w.n.groups.Load().shards {
			next = min(next, w.scan(ctx, g))
		}
		pause := max(raftlog.UntilStep(wallScan), wallShare*w.looked)
		timer.Reset(min(pause, time.Until(time.UnixMilli(next))))
	}
}

// scan tells the shard's events whose sale should be in another state, and
// returns when the next one changes, in Unix milliseconds.
func (w *wallClock) scan(ctx context.Context, g *group) (next int64) {
	next = int64(wire.Never)
	if !g.log.Leading() {
		return next
	}
	began := time.Now()
	now := began.UnixMilli()
	w.due = w.due[:0]
	for e := range g.shard.Load().Events {
		if e.Frozen() {
			continue // it hears of the time where it goes
		}
		if e.SaleDue(now) {
			w.due = append(w.due, e.ID())
		}
		next = min(next, e.SaleNext(now))
	}
	w.looked += time.Since(began)
	w.tell(ctx, g, now)
	return next
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
