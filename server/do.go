package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/wire"
)

// A waiter takes the outcome of a batch, which mostly is of one record, for a
// goroutine that waits for it. Whoever comes second, the outcome or the end of the
// caller's patience, gives it back to the pool.
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

// Between two attempts at a request there are these pauses, doubled each time.
const (
	retryLeast = 4 * time.Millisecond
	retryMost  = 100 * time.Millisecond
	// leaderPatience is how long a request waits for a group to have a leader, within
	// its own time. A group that has lost its leader has another one before.
	leaderPatience = 3 * time.Second
)

// do carries one record (a read, an operation on an event or on the directory) to
// its end, wherever that is decided, and returns a copy of its outcome. When ctx
// ends first it answers StatusUnknown.
func (n *Node) do(ctx context.Context, r wire.Record) (wire.Status, []byte) {
	a := n.decide(ctx, r)
	return a.status, a.body
}

// decide is do, with the time of the event. Until ctx ends it looks for the leader
// again where there was none, and repeats what was left open: every operation has
// an id, and is done at most once.
func (n *Node) decide(ctx context.Context, r wire.Record) outcome {
	kind, rule := r.Kind, &kindRules[r.Kind]
	if a, ok := n.refuse(rule, r); ok {
		return a
	}
	if rule.way == wayDirectory {
		r = n.signed(ctx, r)
	}
	began := time.Now()
	maybe := false
	for pause := retryLeast; ; pause = min(2*pause, retryMost) {
		a := n.attempt(ctx, rule, r)
		vain := a.status == wire.StatusUnavailable && n.cutOff()
		switch a.status {
		case wire.StatusUnknown:
			maybe = true
			r.Flags |= wire.FlagRepeat
		case wire.StatusMoved, wire.StatusUnavailable, wire.StatusStopping:
			if maybe {
				a.status, a.body = wire.StatusUnknown, nil
			}
		default:
			a.body = n.complete(kind, a.status, a.body)
			return a
		}
		if vain || time.Since(began) > leaderPatience || n.stopping.Load() || !sleep(ctx, pause) {
			return a
		}
	}
}

// sleep waits; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// refuse answers what is not to be tried at all.
func (n *Node) refuse(rule *kindRule, r wire.Record) (outcome, bool) {
	switch {
	case rule.way == wayUnknown || rule.way == wayPing || rule.way == wayBatch:
		return refused(wire.StatusUnknownKind, ""), true
	case n.stopping.Load():
		return refused(wire.StatusStopping, ""), true
	case rule.grows && n.store.DiskLow():
		return refused(wire.StatusDiskFull, ""), true
	case len(r.Body) > maxRecordBody:
		return refused(wire.StatusTooLarge, fmt.Sprintf("a request of this kind has at most %d bytes", maxRecordBody)), true
	}
	var err error
	switch rule.way {
	case wayQuery, wayRead:
		err = checkQuery(r.Kind, r.Body)
	case wayHold, wayShard, wayDirectory:
		err = checkBody(r.Kind, r.Body)
	}
	if err != nil {
		return refused(wire.StatusBadFrame, err.Error()), true
	}
	return outcome{}, false
}

// attempt tries once.
func (n *Node) attempt(ctx context.Context, rule *kindRule, r wire.Record) outcome {
	consistent := r.Flags&wire.FlagConsistent != 0
	switch {
	case rule.way == wayTable && !consistent:
		status, body := n.table().Answer(r, nil)
		return outcome{status: status, body: body}
	case rule.way == wayTable:
		return n.ask(ctx, 0, raftlog.Read, r)
	case rule.way == wayDirectory:
		return n.ask(ctx, 0, raftlog.Write, r)
	}
	id, ok := eventOf(r.Body)
	if !ok {
		return refused(wire.StatusBadFrame, wire.ErrShort.Error())
	}
	t := n.table()
	e := t.Event(id)
	switch {
	case e == nil && n.behind(t, id):
		return refused(wire.StatusUnavailable, "")
	case e == nil:
		return refused(wire.StatusUnknownEvent, "")
	}
	switch {
	case rule.way == wayQuery && !consistent:
		return n.query(ctx, e.Shard, r)
	case rule.way == wayQuery || rule.way == wayRead:
		return n.ask(ctx, e.Shard, raftlog.Read, r)
	}
	return n.ask(ctx, e.Shard, raftlog.Write, r)
}

// query reads from the node's own replica of a shard, or else from the leader's.
func (n *Node) query(ctx context.Context, id uint32, r wire.Record) outcome {
	if g := n.local(id); g != nil {
		if a, sure := n.queryOwn(g, r); sure {
			return a
		}
	}
	leader := n.leaderOf(id)
	if leader == "" || leader == n.cfg.Node {
		return refused(wire.StatusUnavailable, "")
	}
	return n.askNode(ctx, leader, askCall{group: id, mode: askQuery, record: r})
}

// queryOwn is queryHere, and whether that is to be believed: an event that has just
// come to the shard may not be in this replica yet, nor may all that were there
// before the node was started.
func (n *Node) queryOwn(g *group, r wire.Record) (a outcome, sure bool) {
	leads := g.log.Leading()
	a = n.queryHere(g, r)
	return a, leads || a.status != wire.StatusUnknownEvent
}

// queryHere answers from the memory of the node's own replica.
func (n *Node) queryHere(g *group, r wire.Record) outcome {
	status, body := g.shard.Load().Query(r, g.log.Now(), nil)
	markAge(r.Kind, status, body, g.log.Age())
	id, _ := eventOf(r.Body) // a query is about an event, or has been refused
	return outcome{status: status, body: body, now: g.eventNow(id)}
}

// markAge says in a map, in counts, or in a waiting room how old the replica's view is.
func markAge(k wire.Kind, s wire.Status, body []byte, age time.Duration) {
	if (k == wire.KindMap || k == wire.KindEvent || k == wire.KindQueue) && s == wire.StatusOK && age > 0 {
		binary.LittleEndian.PutUint32(body[wire.AgeAt:], uint32(min(max(1, age.Milliseconds()), math.MaxUint32)))
	}
}

// ask puts a record into a group, here or on the node that leads it. If more follow,
// they go into the same entry, and the last one's answer counts.
func (n *Node) ask(ctx context.Context, id uint32, m raftlog.Mode, r wire.Record, more ...wire.Record) outcome {
	if g := n.local(id); g != nil && g.log.Leading() {
		return n.lead(ctx, g, m, r, more...)
	}
	leader := n.leaderOf(id)
	if leader == "" || leader == n.cfg.Node {
		return refused(wire.StatusUnavailable, "")
	}
	return n.askNode(ctx, leader, askCall{group: id, mode: m, record: r, more: more})
}

// lead is ask for a group that is led here.
func (n *Node) lead(ctx context.Context, g *group, m raftlog.Mode, r wire.Record, more ...wire.Record) outcome {
	event, _ := eventOf(r.Body) // 0 in the directory
	if m == raftlog.Write && kindRules[r.Kind].way == wayHold && r.Flags&wire.FlagRepeat == 0 {
		if a, decided := n.look(ctx, g, r); decided {
			return a
		}
	}
	if m == raftlog.Write {
		r = withDeadline(ctx, r, g.eventNow(event))
	}
	o := outcome{}
	o.status, o.body = n.submit(ctx, g, m, r, more...)
	if g.id == 0 {
		o.version = n.table().Version()
	} else {
		o.now = g.eventNow(event)
	}
	return o
}

// look answers a hold that the seats in memory rule out: at once if nobody else
// could lead the group, else as a passenger of an entry.
func (n *Node) look(ctx context.Context, g *group, r wire.Record) (a outcome, decided bool) {
	w := newWaiter()
	b := g.log.NewBatch(raftlog.Ready, w) // before the look: it notes the reign
	sole := g.log.SoleVoter() && g.log.Leading()
	status, body, decided := g.shard.Load().Look(r, g.log.Now(), nil)
	if !decided || sole {
		b.Release()
		w.recycle()
	} else {
		b.Add(0, 0, wire.Record{Kind: r.Kind, Status: status, Body: body})
		status, body = w.submit(ctx, g, b)
	}
	if decided {
		n.counters.early.Add(1)
	}
	event, _ := eventOf(r.Body)
	return outcome{status: status, body: body, now: g.eventNow(event)}, decided
}

// submit puts records into a group's log, in one entry, and waits for the outcome of
// the last.
func (n *Node) submit(ctx context.Context, g *group, m raftlog.Mode, r wire.Record, more ...wire.Record) (wire.Status, []byte) {
	w := newWaiter()
	b := g.log.NewBatch(m, w)
	b.Add(0, 0, r)
	for _, next := range more {
		b.Add(0, 0, next)
	}
	return w.submit(ctx, g, b)
}

// withDeadline gives an operation that has none the end of ctx, in its event's
// time: it cannot strike after its caller has given up. The body is copied.
func withDeadline(ctx context.Context, r wire.Record, now wire.Millis) wire.Record {
	const at = 24 // of a Mutation's deadline
	end, bounded := ctx.Deadline()
	var by wire.By
	switch {
	case !bounded:
		return r
	case r.Kind == wire.KindBy:
		if by.Decode(r.Body) != nil {
			return r
		}
		inner, _, err := wire.NextRecord(by.Record)
		if err != nil {
			return r
		}
		by.Record = withDeadline(ctx, inner, now).Append(nil)
		r.Body = by.Append(nil)
		return r
	case kindRules[r.Kind].way == wayUnknown || len(r.Body) < wire.MutationSize || binary.LittleEndian.Uint64(r.Body[at:]) != 0:
		return r
	}
	r.Body = append([]byte(nil), r.Body...)
	left := max(1, time.Until(end).Milliseconds())
	binary.LittleEndian.PutUint64(r.Body[at:], uint64(now)+uint64(left))
	return r
}
