package onsale

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/usher-seats/usher/wire"
)

// maxAtOnce bounds the requests of visitors that are under way at a time. Whoever
// is beyond it waits, and the wait counts as latency.
const maxAtOnce = 2048

// visits are the people inside: a schedule of who does something when. A request
// is a goroutine of its own as long as it takes; between two there is none.
type visits struct {
	run  *run
	turn chan struct{} // a place for each request under way
	news chan struct{} // capacity 1: the earliest may have changed

	mu     sync.Mutex // guards what follows
	queue  visitHeap
	inside int // visits that are not over
	meter  *meter
	tally  visitTally
	closed bool
}

// A visitTally counts what becomes of visits.
type visitTally struct {
	begun, admitted, lapsed, refused, abandoned, released, late, booked, lost, reacquired int64
	seats, races, nothing, returned                                                       int64
}

// A visitHeap is visits by when they are due. Guarded by visits.mu.
type visitHeap []*visit

func (h visitHeap) Len() int           { return len(h) }
func (h visitHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h visitHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *visitHeap) Push(x any)        { *h = append(*h, x.(*visit)) }
func (h *visitHeap) Pop() any {
	last := len(*h) - 1
	v := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return v
}

func newVisits(r *run) *visits {
	return &visits{
		run: r, turn: make(chan struct{}, maxAtOnce), news: make(chan struct{}, 1), meter: newMeter(r.end),
	}
}

// begin lets a user come in at due, or try to.
func (vs *visits) begin(user uint32, due time.Duration) {
	v := &visit{run: vs.run, event: vs.run.event(user), user: user, due: due, step: (*visit).enter}
	v.party = uint8(vs.run.habits.party(user))
	v.desk = vs.run.binary
	if vs.run.habits.carrier(user) == byHTTP {
		v.desk = vs.run.http
	}
	vs.mu.Lock()
	vs.inside++
	vs.tally.begun++
	vs.mu.Unlock()
	vs.schedule(v)
}

// schedule lets a visit take its next step when it is due.
func (vs *visits) schedule(v *visit) {
	vs.mu.Lock()
	heap.Push(&vs.queue, v)
	first := vs.queue[0] == v
	vs.mu.Unlock()
	if first {
		select {
		case vs.news <- struct{}{}:
		default:
		}
	}
}

// play lets visits take their steps until ctx ends. Requests live as long as the
// run.
func (vs *visits) play(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		vs.mu.Lock()
		wait := time.Hour
		var v *visit
		if len(vs.queue) > 0 {
			if wait = vs.queue[0].due - vs.run.now(); wait <= 0 {
				v = heap.Pop(&vs.queue).(*visit)
			}
		}
		vs.mu.Unlock()
		if v != nil {
			select {
			case vs.turn <- struct{}{}:
			case <-ctx.Done():
				return
			}
			vs.run.visiting.Go(func() {
				v.play(vs.run.ctx)
				<-vs.turn
			})
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-vs.news:
		case <-ctx.Done():
			return
		}
	}
}

// note changes the tally.
func (vs *visits) note(f func(t *visitTally)) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	f(&vs.tally)
}

// over counts a visit that is over.
func (vs *visits) over() {
	vs.note(func(*visitTally) { vs.inside-- })
}

// failed counts an answer by which the system did not decide.
func (vs *visits) failed(o op, s wire.Status) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.meter.failed(o, s)
}
