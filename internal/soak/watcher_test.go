package soak

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A watcher sees the seats of one event become free. The goroutine that runs it
// owns it, but for what is the loader's; then the test does.
type watcher struct {
	*hall
	busy  bool // its shard carries load
	since wire.Version
	left  int            // holds that have not ended
	freed []wire.Version // by seat; 0: not yet
	late  []wire.Millis  // by seat: shard time when it was seen free, less the deadline
	looks int
	maps  int

	grants  []grant         // the loader's
	answers []time.Duration // the loader's: from request to answer
}

// A grant is what a hold of the load tells about time: the stamp at a version.
type grant struct {
	fence wire.Fence
	now   wire.Millis
}

// watch looks at the event until the last hold has ended.
func (w *watcher) watch(ctx context.Context, addr string) error {
	p, err := client.DialPipe(ctx, addr, nil)
	if err != nil {
		return err
	}
	defer p.Close()
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	var compared time.Time
	for w.left > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("%d holds have not ended: %w", w.left, ctx.Err())
		}
		if err := w.look(p); err != nil {
			return err
		}
		if time.Since(compared) > mapEvery {
			compared = time.Now()
			if _, err := w.compare(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// look asks what changed, and then for the time.
func (w *watcher) look(p *client.Pipe) error {
	query := wire.ChangesQuery{Event: w.event.ID(), Since: w.since}
	key := wire.Key{Key: []byte(w.event.Key())}
	p.Add(wire.KindChanges, 0, query.Append(nil))
	p.Add(wire.KindLocate, 0, key.Append(nil))
	if err := p.Flush(); err != nil {
		return err
	}
	h, body, err := p.Next()
	if err != nil {
		return err
	}
	var changes wire.Changes
	if err := changes.Decode(slices.Clone(body)); err != nil || h.Status != wire.StatusOK {
		return fmt.Errorf("changes: %v %w", h.Status, err)
	}
	if changes.Resync {
		return errors.New("the event no longer remembers the changes since the last look: this machine is too slow")
	}
	if h, body, err = p.Next(); err != nil {
		return err
	}
	var here wire.Location
	if err := here.Decode(body); err != nil || h.Status != wire.StatusOK {
		return fmt.Errorf("locate: %v %w", h.Status, err)
	}
	w.looks++
	w.since = changes.Version
	for i := range changes.Len() {
		if err := w.see(changes.At(i), here.Now); err != nil {
			return err
		}
	}
	return nil
}

// see takes in a change that had been made by now.
func (w *watcher) see(c wire.Change, now wire.Millis) error {
	seat := int(c.Seat)
	if seat >= len(w.deadline) {
		return nil // of the load
	}
	if c.From != wire.SeatHeld || c.To != wire.SeatFree || w.freed[seat] != 0 {
		return fmt.Errorf("seat %d went from %v to %v, and nobody asked for that", seat, c.From, c.To)
	}
	if now < w.deadline[seat] {
		return fmt.Errorf("the hold of seat %d expired at %d or before, %d ms early", seat, now, w.deadline[seat]-now)
	}
	w.freed[seat] = c.Version
	w.late[seat] = now - w.deadline[seat]
	w.left--
	return nil
}

// compare reads a map with the stamp that it is of, and looks at every seat.
func (w *watcher) compare(ctx context.Context) (stamp wire.Millis, err error) {
	m, err := w.event.Map(ctx, client.Consistent)
	if err != nil {
		return 0, err
	}
	w.maps++
	overdue := 0
	for seat, deadline := range w.deadline {
		held := m.State(wire.SeatID(seat)) == wire.SeatHeld
		if !held && deadline > m.Now {
			return 0, fmt.Errorf("in the map of %d seat %d is free, and its hold ends %d ms later", m.Now, seat, deadline-m.Now)
		}
		if held && deadline <= m.Now {
			overdue++
		}
	}
	if overdue > 0 && w.dueBy(m.Now)-w.dueBy(m.Now-longestGap) <= mostAtOnce {
		return 0, fmt.Errorf("in the map of %d the seats of %d holds are held that had ended", m.Now, overdue)
	}
	return m.Now, nil
}

// dueBy is the number of holds whose deadline is not after now.
func (w *watcher) dueBy(now wire.Millis) (n int) {
	for _, d := range w.deadline {
		if d <= now {
			n++
		}
	}
	return n
}

// byStamp compares the order in which the log has expiries and grants of the load
// with the stamps of the grants: what was freed before a grant was freed at its
// stamp or before.
func (w *watcher) byStamp() error {
	slices.SortFunc(w.grants, func(a, b grant) int {
		if a.fence < b.fence {
			return -1
		}
		return 1
	})
	for seat, v := range w.freed {
		i, _ := slices.BinarySearchFunc(w.grants, v, func(g grant, v wire.Version) int {
			if g.fence < v {
				return -1
			}
			return 1
		})
		if i == len(w.grants) {
			continue // no grant came after it
		}
		if g := w.grants[i]; g.now < w.deadline[seat] {
			return fmt.Errorf("the hold of seat %d expired at %d or before, %d ms early", seat, g.now, w.deadline[seat]-g.now)
		}
	}
	return nil
}
