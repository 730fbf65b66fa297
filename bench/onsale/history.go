package onsale

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/usher-seats/usher/bench/audit"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// tick is how late the shard may be with what is due, by its promise.
const tick = 50 * time.Millisecond

// readers is how many bookings are read back at a time: reads that are under way
// together share an entry of the log.
const readers = 256

// check reads back what the server has of every event and audits it. notes are
// what the audit could not look at.
func (r *run) check(ctx context.Context) (*audit.Report, []string, error) {
	var histories []*audit.History
	var notes []string
	for _, e := range r.events {
		h, err := r.history(ctx, e)
		if err != nil {
			return nil, notes, fmt.Errorf("%s: %w", e.key, err)
		}
		if h.Changes == nil {
			notes = append(notes, fmt.Sprintf("%s: its change records came faster than they were read; the audit goes without them", e.key))
		}
		histories = append(histories, h)
	}
	if n := r.lostJoins.Load(); n > 0 {
		notes = append(notes, fmt.Sprintf("%d joins lost their answers and were asked again: as many numbers may belong to nobody", n))
	}
	r.ledger.mu.Lock()
	histories[0].Open = append(histories[0].Open, r.ledger.open...)
	r.ledger.mu.Unlock()
	for _, l := range r.lanes {
		l.mu.Lock()
		for _, s := range l.unansweredLocked() {
			if s.op.changes() {
				h := histories[r.habits.event(s.user)]
				h.Open = append(h.Open, fmt.Sprintf("nobody knows what became of the %v %v of user %d", s.op, s.id, s.user))
			}
		}
		l.mu.Unlock()
	}
	return audit.Check(histories...), notes, nil
}

// unansweredLocked lists the requests that were never answered.
func (l *lane) unansweredLocked() []slot {
	list := slices.Clone(l.again)
	for _, k := range l.links {
		free := make([]bool, len(k.slots))
		for i := k.free; i != noSlot; i = k.slots[i].link {
			free[i] = true
		}
		for i := range k.slots {
			if !free[i] && !k.down {
				list = append(list, k.slots[i])
			}
		}
	}
	return list
}

// history gathers all that is known of an event.
func (r *run) history(ctx context.Context, e *event) (*audit.History, error) {
	h := &audit.History{
		Event: e.key, Seats: e.allSeats(), Holds: r.ledger.holds(e),
		Allowed: audit.Allowance{Tick: tick, Commit: r.ledger.slowest},
	}
	sent := r.now()
	m, err := e.handle.Map(ctx, client.Consistent)
	if err != nil {
		return nil, err
	}
	h.Map = &audit.Map{Sent: sent, State: make(map[wire.SeatID]wire.SeatState, len(h.Seats))}
	for _, s := range h.Seats {
		h.Map.State[s] = m.State(s)
	}
	if h.Changes, err = r.changesUpTo(ctx, e, m.Version); err != nil {
		return nil, err
	}
	if h.Read, err = r.readBack(ctx, e, h.Holds); err != nil {
		return nil, err
	}
	if r.s.Room.Enabled {
		h.Room, err = r.room(ctx, e)
	}
	return h, err
}

// changesUpTo are the change records up to a version; nil if some are missing.
func (r *run) changesUpTo(ctx context.Context, e *event, v wire.Version) ([]audit.Change, error) {
	for {
		e.mu.Lock()
		list, lost, recorded := e.change, e.lost, e.recorded
		e.mu.Unlock()
		switch {
		case lost:
			return nil, nil
		case recorded >= v:
			end, _ := slices.BinarySearchFunc(list, v, func(c audit.Change, v wire.Version) int {
				return cmp.Or(cmp.Compare(c.Version, v), -1) // behind those of v
			})
			return e.dated(list[:end]), nil
		}
		if !wait(ctx, 10*time.Millisecond) {
			return nil, fmt.Errorf("change records up to version %d: %w", v, ctx.Err())
		}
	}
}

// dated copies change records, with when they happened at the earliest.
func (e *event) dated(list []audit.Change) []audit.Change {
	e.mu.Lock()
	defer e.mu.Unlock()
	copied := make([]audit.Change, len(list)) // not nil: there may be none
	next := 0                                 // first look that may have the change
	for i, c := range list {
		for next < len(e.looks) && e.looks[next].version < c.Version {
			next++
		}
		if next > 0 {
			c.After = e.looks[next-1].sent
		}
		copied[i] = c
	}
	return copied
}

// readBack reads the bookings, as the server has them.
func (r *run) readBack(ctx context.Context, e *event, holds []audit.Hold) ([]audit.Read, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var list []audit.Read
	turn := make(chan struct{}, readers)
	var reading sync.WaitGroup
	for i := range holds {
		h := &holds[i]
		if h.End != audit.EndBooked && h.End != audit.EndReacquired {
			continue // if the server has it booked all the same, the map shows it
		}
		turn <- struct{}{}
		reading.Go(func() {
			defer func() { <-turn }()
			info, err := e.handle.GetHold(ctx, h.ID)
			switch {
			case client.StatusOf(err) == wire.StatusUnknownHold:
				return // the audit finds it missing
			case err != nil:
				cancel(fmt.Errorf("read booking %v: %w", h.ID, err))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			list = append(list, audit.Read{ID: h.ID, State: info.State, Fence: info.Fence, Held: info.Held.IDs(), Booked: info.Booked.IDs()})
		})
	}
	reading.Wait()
	return list, context.Cause(ctx)
}

// room gathers what is known of an event's waiting room.
func (r *run) room(ctx context.Context, e *event) (*audit.Room, error) {
	q, err := e.handle.Queue(ctx)
	if err != nil {
		return nil, err
	}
	r.ledger.mu.Lock()
	refused := r.ledger.bookLocked(e).refused
	settled := len(r.ledger.open) == 0 && r.lostJoins.Load() == 0
	r.ledger.mu.Unlock()
	for _, l := range r.lanes {
		l.mu.Lock()
		settled = settled && len(l.unansweredLocked()) == 0
		l.mu.Unlock()
	}
	room := &audit.Room{
		Limit: r.s.Room.Limit, Grace: time.Duration(r.s.Millis(r.s.Room.Grace)) * time.Millisecond,
		SeatsPerPass: r.s.SeatsPerPass(), Tickets: e.tickets(r.crowd), Issued: q.Issued, Settled: settled,
		Passes: r.ledger.passes(e), Refused: refused, Frames: e.frames,
	}
	if d := e.draw.Load(); d != nil {
		room.Entries = d.Entries()
		room.Draw = func(entry uint32) uint32 { return uint32(d.Number(uint64(entry))) }
	}
	return room, nil
}
