package onsale

import (
	"slices"
	"sync"
	"time"

	"github.com/usher-seats/usher/bench/audit"
	"github.com/usher-seats/usher/wire"
)

// A ledger is what visitors were told. Safe for all goroutines; an entry belongs to
// its visit until the run is over.
type ledger struct {
	run *run

	mu      sync.Mutex // guards what follows
	books   map[*event]*book
	open    []string      // requests that were given up on
	slowest time.Duration // of all changes, from being sent to the answer
}

// A book is a ledger's part for one event. Guarded by its mutex.
type book struct {
	holds   []*audit.Hold
	passes  []audit.Pass
	byPass  map[wire.PassID]int // index in passes
	refused []audit.Refusal
}

func newLedger(r *run) *ledger { return &ledger{run: r, books: make(map[*event]*book)} }

func (l *ledger) bookLocked(e *event) *book {
	b := l.books[e]
	if b == nil {
		b = &book{byPass: make(map[wire.PassID]int)}
		l.books[e] = b
	}
	return b
}

// took notes how long a change was under way, which bounds how long a commit takes.
func (l *ledger) tookLocked(sent, acked time.Duration) { l.slowest = max(l.slowest, acked-sent) }

// granted enters a hold.
func (l *ledger) granted(e *event, w want, g *grant, sent, acked time.Duration) *audit.Hold {
	h := &audit.Hold{
		ID: g.id, Fence: g.fence, Seats: g.seats, Named: w.seats, Count: w.count, Pass: uint64(w.pass.id),
		Sent: sent, Acked: acked, Until: g.until,
		DueBy: acked + time.Duration(l.run.s.Millis(l.run.s.Visit.HoldTTL))*time.Millisecond,
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tookLocked(sent, acked)
	b := l.bookLocked(e)
	b.holds = append(b.holds, h)
	return h
}

// retimed notes that the hold lasts until then, and for ttl milliseconds from the
// answer at the longest.
func (l *ledger) retimed(h *audit.Hold, until time.Duration, ttl uint32, sent, acked time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tookLocked(sent, acked)
	h.Until, h.DueBy = until, acked+time.Duration(ttl)*time.Millisecond
}

// ended notes how a hold ended.
func (l *ledger) ended(h *audit.Hold, how audit.End, sent, acked time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tookLocked(sent, acked)
	h.End, h.Ending, h.Ended = how, sent, acked
}

// admitted enters a pass.
func (l *ledger) admitted(e *event, p pass, sent, acked time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tookLocked(sent, acked)
	b := l.bookLocked(e)
	b.byPass[p.id] = len(b.passes)
	b.passes = append(b.passes, audit.Pass{ID: uint64(p.id), Number: uint32(p.number), Sent: sent, Acked: acked, Until: p.until})
}

// left notes that a visitor was about to leave at then.
func (l *ledger) left(e *event, p pass, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bookLocked(e)
	if i, ok := b.byPass[p.id]; ok {
		b.passes[i].Until = min(b.passes[i].Until, at)
	}
}

func (l *ledger) refused(e *event, r audit.Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bookLocked(e)
	b.refused = append(b.refused, r)
}

func (l *ledger) unknown(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, what)
}

// holds copies an event's grants.
func (l *ledger) holds(e *event) []audit.Hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]audit.Hold, len(l.bookLocked(e).holds))
	for i, h := range l.books[e].holds {
		list[i] = *h
	}
	return list
}

func (l *ledger) passes(e *event) []audit.Pass {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.bookLocked(e).passes)
}
