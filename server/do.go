package server

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/wire"
)

// A waiter takes the outcome of a batch, which mostly is of one record, for a
// goroutine that waits for it. Whoever comes second, the outcome or the end of the caller's patience, gives
// it back to the pool.
type waiter struct {
	done   chan struct{} // capacity 1
	left   atomic.Bool   // one of the two has been here
	status wire.Status
	body   []byte
}

var waiters = sync.Pool{New: func() any { return &waiter{done: make(chan struct{}, 1)} }}

// Outcome takes the answer.
func (w *waiter) Outcome(_ uint64, _ uint32, s wire.Status, body []byte) {
	w.status = s
	w.body = append(w.body[:0], body...)
}

// Flush wakes the caller, if he still waits.
func (w *waiter) Flush() {
	if w.left.Swap(true) {
		w.recycle()
		return
	}
	w.done <- struct{}{}
}

func newWaiter() *waiter { return waiters.Get().(*waiter) }

func (w *waiter) recycle() {
	if cap(w.body) > maxKept {
		w.body = nil
	}
	w.left.Store(false)
	waiters.Put(w)
}

// submit submits a batch whose receiver the waiter is, and waits until all of it
// is answered. It returns the last answer and gives the waiter back. When ctx
// ends first it returns StatusUnknown, and the batch may still be applied.
func (w *waiter) submit(ctx context.Context, g *group, b *raftlog.Batch) (wire.Status, []byte) {
	if s := g.log.Submit(b); s != wire.StatusOK {
		b.Release()
		w.recycle()
		return s, nil
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		if !w.left.Swap(true) {
			return wire.StatusUnknown, nil
		}
		<-w.done // the answers came at the same moment
	}
	s, body := w.status, append([]byte(nil), w.body...)
	w.recycle()
	return s, body
}

// ask submits one record to a group and waits for its outcome.
func (n *Node) ask(ctx context.Context, g *group, m raftlog.Mode, r wire.Record) (wire.Status, []byte) {
	w := newWaiter()
	b := g.log.NewBatch(m, w)
	b.Add(0, 0, r)
	return w.submit(ctx, g, b)
}

// do routes one record (a read, an operation on an event or on the directory),
// waits for its outcome and returns a copy. When ctx ends first it answers
// StatusUnknown.
func (n *Node) do(ctx context.Context, r wire.Record) (wire.Status, []byte) {
	rule := &kindRules[r.Kind]
	status, body := n.route(ctx, rule, r)
	n.finishLocation(r.Kind, status, body)
	return status, body
}

func (n *Node) route(ctx context.Context, rule *kindRule, r wire.Record) (wire.Status, []byte) {
	switch {
	case rule.way == wayUnknown || rule.way == wayPing || rule.way == wayBatch:
		return wire.StatusUnknownKind, nil
	case n.stopping.Load():
		return wire.StatusStopping, nil
	case rule.grows && n.store.DiskLow():
		return wire.StatusDiskFull, nil
	case len(r.Body) > maxRecordBody:
		return wire.StatusTooLarge, fmt.Appendf(nil, "a request of this kind has at most %d bytes", maxRecordBody)
	}
	switch rule.way {
	case wayTable:
		if r.Flags&wire.FlagConsistent == 0 {
			return n.table().Answer(r, nil)
		}
		return n.ask(ctx, n.groups[0], raftlog.Read, r)
	case wayDirectory:
		return n.operate(ctx, n.groups[0], r)
	}
	id, ok := eventOf(r.Body)
	if !ok {
		return wire.StatusBadFrame, []byte(wire.ErrShort.Error())
	}
	g := n.group(id)
	if g == nil {
		return wire.StatusUnknownEvent, nil
	}
	return n.onEvent(ctx, g, rule, r)
}

func (n *Node) onEvent(ctx context.Context, g *group, rule *kindRule, r wire.Record) (wire.Status, []byte) {
	switch rule.way {
	case wayQuery, wayRead:
		if err := checkQuery(r.Kind, r.Body); err != nil {
			return wire.StatusBadFrame, []byte(err.Error())
		}
		if rule.way == wayQuery && r.Flags&wire.FlagConsistent == 0 {
			return g.shard.Load().Query(r, g.log.Now(), nil)
		}
		return n.ask(ctx, g, raftlog.Read, r)
	case wayHold:
		if r.Flags&wire.FlagRepeat == 0 && g.log.SoleVoter() && g.log.Leading() {
			if status, body, decided := g.shard.Load().Look(r, g.log.Now(), nil); decided {
				n.counters.early.Add(1)
				return status, body
			}
		}
	}
	return n.operate(ctx, g, r)
}

// operate puts one operation into a group's log.
func (n *Node) operate(ctx context.Context, g *group, r wire.Record) (wire.Status, []byte) {
	if err := checkBody(r.Kind, r.Body); err != nil {
		return wire.StatusBadFrame, []byte(err.Error())
	}
	return n.ask(ctx, g, raftlog.Write, r)
}
