package onsale

import (
	"context"
	"time"

	"github.com/usher-seats/usher/bench/audit"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// watch reads the state of an event from time to time, as the pages of all its
// visitors do, and lets those come in whose numbers are being served.
func (r *run) watch(ctx context.Context, e *event, every time.Duration) {
	for wait(ctx, every) {
		if !r.s.Room.Enabled {
			sent := r.now()
			info, err := e.handle.Info(ctx)
			if err == nil {
				e.saw(info.Version, sent)
				r.samples.counts(e, info.Total)
			} else if ctx.Err() == nil {
				r.visits.failed(opQueue, client.StatusOf(err))
			}
			continue
		}
		sent := r.now()
		q, err := e.handle.QueueNow(ctx) // the audit builds on its frames
		if err != nil {
			if ctx.Err() == nil {
				r.visits.failed(opQueue, client.StatusOf(err))
			}
			continue
		}
		r.frame(e, &q.QueueInfo, sent, r.now())
	}
}

// wait reports whether d passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// saw notes that a linearizable read which was sent then had this version, so that
// whatever has a later one happened after it.
func (e *event) saw(v wire.Version, sent time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.looks); n == 0 || e.looks[n-1].version < v {
		e.looks = append(e.looks, look{v, sent})
	} else if e.looks[n-1].version == v {
		e.looks[n-1].sent = sent
	}
}

// frame takes in the state of an event's waiting room.
func (r *run) frame(e *event, q *wire.QueueInfo, sent, acked time.Duration) {
	e.saw(q.Version, sent)
	e.mu.Lock()
	e.queue = q
	e.frames = append(e.frames, audit.Frame{
		Sent: sent, Acked: acked, Serving: q.Serving, Issued: q.Issued, Inside: int(q.Inside), Redeemed: q.Redeemed,
	})
	e.mu.Unlock()
	r.samples.counts(e, wire.Counts{Free: q.Free, Held: q.Held, Booked: uint32(e.places) - q.Free - q.Held})
	if q.Drawn && e.draw.Load() == nil {
		d := wire.NewDraw(q.Seed, q.Entropy, q.Room, q.Entries)
		e.draw.Store(&d)
	}
	before := e.serving.Load()
	if q.Serving <= before {
		return
	}
	// From here on whoever learns his number sees for himself that it is served.
	e.serving.Store(q.Serving)
	for number := before; number < q.Serving; number++ {
		if user, ok := e.userOf(number); ok {
			l := r.lanes[user%lanes]
			l.mu.Lock()
			l.call(user, acked)
			l.mu.Unlock()
		}
	}
}

// record follows an event's change records until ctx ends.
func (r *run) record(ctx context.Context, e *event, every time.Duration) {
	since := e.first
	for {
		list, err := e.handle.Changes(ctx, since)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.visits.failed(opMap, client.StatusOf(err))
		case list.Resync:
			e.mu.Lock()
			e.lost = true
			e.mu.Unlock()
			return
		default:
			e.took(list, r.now())
			since = list.Version
		}
		if !wait(ctx, every) {
			return
		}
	}
}

// took notes changes that happened before then. When they happened at the earliest
// is known from looks.
func (e *event) took(list *wire.Changes, before time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range list.Len() {
		e.change = append(e.change, audit.Change{Change: list.At(i), Before: before})
	}
	e.recorded = list.Version
}
