package inventory

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// ReadStates reads the state of every seat of an event.
func ReadStates(ctx context.Context, inv Inventory, event, seats int) ([]State, error) {
	c, err := inv.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	answers := make([]Answer, 1)
	if err := c.Do(ctx, []Request{{Op: Map, Event: event}}, answers); err != nil {
		return nil, err
	}
	if answers[0].Status != OK {
		return nil, fmt.Errorf("event %d: map answered %v", event, answers[0].Status)
	}
	return inv.States(answers[0].Map, seats)
}

const (
	// lapsePatience is how long after its time a hold may stay that nobody confirmed:
	// sweepers come once a second, leases end when their server finds the time.
	lapsePatience = 20 * time.Second
	lapseLook     = 100 * time.Millisecond // between two looks whether it is gone
)

// Audit compares every seat of every event with its ledger, and reads the
// receipts back by the names of their holds. For holds that end by themselves it
// waits until they have.
func Audit(ctx context.Context, inv Inventory, ledgers []*Ledger, receipts []Receipt) error {
	for _, l := range ledgers {
		if err := auditEvent(ctx, inv, l); err != nil {
			return err
		}
	}
	for _, r := range receipts {
		found, err := inv.Find(ctx, r.Event, r)
		if err != nil {
			return fmt.Errorf("event %d: read hold %d: %w", r.Event, r.Number, err)
		}
		if err := r.compare(found); err != nil {
			return err
		}
	}
	return nil
}

func auditEvent(ctx context.Context, inv Inventory, l *Ledger) error {
	end := l.lastEnd()
	if !end.IsZero() {
		pause(ctx, time.Until(end))
	}
	for {
		states, err := ReadStates(ctx, inv, l.event, len(l.seats))
		if err != nil {
			return fmt.Errorf("read event %d: %w", l.event, err)
		}
		if err = l.Compare(states); err == nil || time.Since(end) > lapsePatience {
			return err
		}
		pause(ctx, lapseLook)
	}
}

func (r *Receipt) compare(f Found) error {
	want := Held
	if r.Booked {
		want = Booked
	}
	if f.State != want {
		return fmt.Errorf("event %d: hold %d is %v, acknowledged was %v", r.Event, r.Number, f.State, want)
	}
	if !slices.Equal(f.Seats, r.Seats) {
		return fmt.Errorf("event %d: hold %d has seats %v, acknowledged were %v", r.Event, r.Number, f.Seats, r.Seats)
	}
	return nil
}
