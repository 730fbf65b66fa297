package inventory

import (
	"context"
	"fmt"
	"slices"
)

const (
	bestTogether = 4
	bestPercent  = 60 // of the seats are taken, at random
	bestSpread   = 8  // events that buyers choose from
)

// bestShow is some events 60 % full at random, from which everybody wants the
// best four together. A slot gives its seats back with its next request, so that
// the maps stay as full as they are; only the holds count as operations.
type bestShow struct {
	closed
	o      Options
	events []*Ledger
}

func newBestShow(ctx context.Context, inv Inventory, o Options) (show, error) {
	b := &bestShow{o: o}
	names := newNumbers(0)
	for i := range bestSpread {
		l := NewLedger(i+1, o.Seats)
		if err := inv.Create(ctx, l.event, o.Seats); err != nil {
			return nil, err
		}
		seats := newRand(o, -1-i).Perm(o.Seats)
		if err := fill(ctx, inv, l, names, seats[:o.Seats*bestPercent/100]); err != nil {
			return nil, err
		}
		b.events = append(b.events, l)
	}
	return b, nil
}

func (b *bestShow) script(conn int) script {
	return &bestScript{
		ledger: b.events[conn%len(b.events)],
		names:  newNumbers(conn + 1),
		slots:  make([]Receipt, b.o.Load.Depth),
	}
}

func (b *bestShow) ledgers() []*Ledger { return b.events }

type bestScript struct {
	ledger *Ledger
	names  *numbers
	slots  []Receipt // Number not 0: seats are held and go back next
}

func (b *bestScript) next(slot int, r *Request) error {
	s := &b.slots[slot]
	r.Event = b.ledger.event
	if s.Number != 0 {
		r.Op, r.Number, r.Grant, r.Seats = Release, s.Number, s.Grant, append(r.Seats, s.Seats...)
		return b.ledger.Returning(s.Number, s.Seats)
	}
	r.Op, r.Number, r.Count = Best, b.names.next(), bestTogether
	return nil
}

func (b *bestScript) done(slot int, r *Request, a *Answer) (int, error) {
	s := &b.slots[slot]
	if a.Status != OK {
		return 0, fmt.Errorf("event %d: best available or release (operation %d) answered %v", r.Event, r.Op, a.Status)
	}
	if r.Op == Release {
		s.Number = 0
		return 0, nil
	}
	if err := together(a.Seats, r.Count); err != nil {
		return 0, fmt.Errorf("event %d: %w", r.Event, err)
	}
	*s = Receipt{Event: r.Event, Number: r.Number, Grant: a.Grant, Seats: append(s.Seats[:0], a.Seats...)}
	return 1, b.ledger.Granted(r.Number, a.Seats)
}

// together checks that seats are count neighbours in one row.
func together(seats []int, count int) error {
	if len(seats) != count {
		return fmt.Errorf("best available gave seats %v, wanted were %d", seats, count)
	}
	for i, s := range seats {
		if s != seats[0]+i || s/RowSeats != seats[0]/RowSeats {
			return fmt.Errorf("best available gave seats %v, which are not together", seats)
		}
	}
	return nil
}

// receipts are the holds that slots still have.
func (b *bestScript) receipts() []Receipt {
	return slices.DeleteFunc(slices.Clone(b.slots), func(r Receipt) bool { return r.Number == 0 })
}
