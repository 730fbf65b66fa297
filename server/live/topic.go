package live

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sourcePatience is how long a source may take.
	sourcePatience = 2 * time.Second
	// retryPause is the time to the next attempt after a source has failed.
	retryPause = 250 * time.Millisecond
	// maxCatchUps is how many different positions are caught up from in a round.
	// Those beyond wait for the next.
	maxCatchUps = 64
)

// A Topic asks its source and hands frames to the writers, as long as there is
// anybody to get them. All that is not atomic or below mu belongs to its goroutine.
type Topic struct {
	hub     *Hub
	key     string
	source  Source
	results chan *round   // from the writers; each has at most one, so there is room
	wake    chan struct{} // capacity 1: somebody has come, or the last one has gone
	count   atomic.Int64  // subscribers, with those who wait to be let in; grows under Hub.mu
	behind  atomic.Int64  // subscribers that have not got all

	mu      sync.Mutex
	waiting []newcomer

	pos    uint64 // of the last frame; 0: the source has not said anything yet
	over   bool
	full   Update // the last whole one; of use as long as it is not older than pos
	due    time.Duration
	beat   time.Duration       // when everybody was written to
	out    []bool              // by writer: it has a round
	have   []uint64            // by writer: position that its last round led to
	wanted map[uint64]struct{} // positions that subscribers who can be written to are at
	cost   time.Duration       // since the last turn was accounted for
	slept  atomic.Int64        // nanoseconds of the last interval, for metrics
}

// A newcomer waits for his first frame.
type newcomer struct {
	sub    *sub
	resume bool
	pos    uint64
	since  time.Duration
}

func newTopic(h *Hub, key string, source Source) *Topic {
	n := len(h.writers)
	return &Topic{
		hub: h, key: key, source: source, results: make(chan *round, n), wake: make(chan struct{}, 1),
		out: make([]bool, n), have: make([]uint64, n), wanted: make(map[uint64]struct{}),
	}
}

// letIn lets somebody wait for his first frame. The caller holds Hub.mu.
func (t *Topic) letIn(s *sub, c Connection) {
	s.topic = t
	t.count.Add(1)
	t.hub.stats.joined.Add(1)
	t.mu.Lock()
	t.waiting = append(t.waiting, newcomer{s, c.Resume, c.Position, t.hub.now()})
	t.mu.Unlock()
	t.wakeUp()
}

// left counts somebody out.
func (t *Topic) left() {
	t.hub.stats.left.Add(1)
	if t.count.Add(-1) == 0 {
		t.wakeUp()
	}
}

func (t *Topic) wakeUp() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *Topic) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	stopped := t.hub.context.Done()
	for {
		if t.hub.context.Err() != nil {
			t.abandon()
		}
		if t.hub.retire(t) {
			t.hub.budget.forget(t)
			return
		}
		t.welcome()
		if now := t.hub.now(); now >= t.due {
			t.turn(now)
		}
		timer.Reset(max(0, t.due-t.hub.now()))
		select {
		case <-timer.C:
		case <-t.wake:
		case r := <-t.results:
			t.took(r)
		case <-stopped:
		}
	}
}

// abandon closes those whom no writer has yet: the hub is being closed.
func (t *Topic) abandon() {
	for _, n := range t.takeWaiting() {
		t.turnAway(n.sub)
	}
}

// turnAway closes somebody who was never let in.
func (t *Topic) turnAway(s *sub) {
	s.hangUp()
	t.left()
}

func (t *Topic) takeWaiting() []newcomer {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.waiting
	t.waiting = nil
	return all
}

// welcome gives newcomers their first frames, made once for all who need the same.
// Those for whom there is none now wait on, for a while.
func (t *Topic) welcome() {
	all := t.takeWaiting()
	if len(all) == 0 {
		return
	}
	cost := measured(func() {
		since := make(map[uint64]*Update)
		for _, n := range all {
			switch u := t.first(n, since); {
			case u != nil && !n.sub.writer.post(mail{sub: n.sub, update: u}):
				t.turnAway(n.sub)
			case u != nil:
			case t.hub.now()-n.since > t.hub.c.WriteTimeout:
				t.turnAway(n.sub)
			default:
				t.mu.Lock()
				t.waiting = append(t.waiting, n)
				t.mu.Unlock()
			}
		}
	})
	t.hub.budget.extra(cost, t.hub.now())
	t.hub.stats.cpu.Add(int64(cost))
}

// first is a newcomer's first update, nil if there is none now. since has those of
// the positions that were asked for before.
func (t *Topic) first(n newcomer, since map[uint64]*Update) *Update {
	if t.over {
		return &Update{Position: t.pos, Over: true}
	}
	// The topic's own position comes from the source and not from a client.
	if !n.resume || t.pos == 0 {
		if u := t.whole(); u == nil || !n.resume {
			return u
		}
	}
	if u, ok := since[n.pos]; ok {
		return u
	}
	u := t.ask(func(ctx context.Context) (Update, error) { return t.source.Since(ctx, n.pos) })
	if u != nil && u.Frame == nil {
		u.Position = n.pos // which may even be ahead of this node
	}
	if len(since) < maxCatchUps {
		since[n.pos] = u
	}
	return u
}

// whole is everything, nil if there is nothing to be had now.
func (t *Topic) whole() *Update {
	if t.full.Frame == nil || t.full.Position < t.pos {
		u := t.ask(t.source.Full)
		if u == nil {
			return nil
		}
		t.full = *u
		if t.pos == 0 {
			t.pos = u.Position
		}
	}
	u := t.full
	return &u
}

// ask asks the source; nil if it cannot answer.
func (t *Topic) ask(what func(context.Context) (Update, error)) *Update {
	ctx, cancel := context.WithTimeout(t.hub.context, sourcePatience)
	defer cancel()
	u, err := what(ctx)
	if err != nil {
		t.due = max(t.due, t.hub.now()+retryPause)
		t.hub.stats.failed.Add(1)
		return nil
	}
	t.over = t.over || u.Over
	return &u
}

// turn asks what is new and has it written, unless there is nothing to write.
func (t *Topic) turn(now time.Duration) {
	t.due = now + t.hub.c.Interval
	r := round{topic: t, from: t.pos, to: t.pos}
	cost := measured(func() { t.prepare(&r, now) })
	t.hub.stats.cpu.Add(int64(cost))
	t.cost += cost
	if r.frame != nil || r.over || t.behind.Load() > 0 {
		t.deliver(&r)
	}
	cost, t.cost = t.cost, 0
	if r.frame == nil || r.beat {
		t.hub.budget.interval(t, 0)
		t.hub.budget.extra(cost, now)
		return
	}
	t.hub.budget.extra(0, now)
	interval := t.hub.budget.interval(t, cost)
	t.slept.Store(int64(interval))
	t.due = max(t.due, now+interval)
}

// prepare finds what a round has to write: what is new, a heartbeat, and updates
// for those who have missed some.
func (t *Topic) prepare(r *round, now time.Duration) {
	if t.pos != 0 && !t.over {
		t.news(r)
	}
	r.over = t.over
	if r.frame == nil && now-t.beat >= t.hub.c.Heartbeat {
		r.frame, r.beat = t.hub.beat, true
	}
	if r.frame != nil {
		t.beat = now
	}
	t.catchUps(r)
}

// news puts into a round what there is since the last one.
func (t *Topic) news(r *round) {
	u := t.ask(func(ctx context.Context) (Update, error) { return t.source.Since(ctx, t.pos) })
	if u == nil || u.Frame == nil {
		return
	}
	r.frame, r.to = u.Frame, max(u.Position, t.pos)
	if u.Resync {
		r.from = 0 // it suits everybody
		t.hub.stats.resyncs.Add(1)
	}
	t.pos = r.to
	t.hub.stats.frames.Add(1)
}

// catchUps prepares what leads to the present from the positions that subscribers
// have stayed at.
func (t *Topic) catchUps(r *round) {
	for i, w := range t.hub.writers {
		// A writer that was still busy has missed the last round as a whole.
		if !t.out[i] && t.have[i] != 0 && t.have[i] < r.from && w.has(t) {
			t.wanted[t.have[i]] = struct{}{}
		}
	}
	if len(t.wanted) == 0 || t.over {
		return
	}
	r.catchUp = make(map[uint64]*Update, len(t.wanted))
	for pos := range t.wanted {
		if len(r.catchUp) == maxCatchUps {
			break
		}
		if u := t.ask(func(ctx context.Context) (Update, error) { return t.source.Since(ctx, pos) }); u != nil && u.Frame != nil {
			r.catchUp[pos] = u
			t.hub.stats.caughtUp.Add(1)
		}
	}
	clear(t.wanted)
}

// deliver gives the round to all writers that are free, and waits for those that
// never wait for clients. Meanwhile it welcomes who comes.
func (t *Topic) deliver(r *round) {
	awaited := 0
	for i, w := range t.hub.writers {
		if t.out[i] {
			continue
		}
		own := *r
		own.writer = w
		own.wanted = make(map[uint64]struct{})
		if r.frame != nil && !r.beat {
			t.have[i] = r.to
		}
		t.out[i] = true
		if !w.secure {
			awaited++
		}
		if !w.post(mail{round: &own}) {
			return // the hub is being closed
		}
	}
	for awaited > 0 {
		select {
		case <-t.hub.context.Done():
			return
		case done := <-t.results:
			t.took(done)
			if !done.writer.secure {
				awaited--
			}
		case <-t.wake:
			t.welcome()
		}
	}
}

// took takes a round back from its writer.
func (t *Topic) took(r *round) {
	t.out[r.writer.index] = false
	t.cost += r.cost
	for pos := range r.wanted {
		t.wanted[pos] = struct{}{}
	}
}

// measured does something and tells the processor time that it took.
func measured(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadTime()
	f()
	return threadTime() - before
}
