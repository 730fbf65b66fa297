package inventory

import (
	"context"
	"fmt"
)

// pairShow is the workloads hold and cycle.
type pairShow struct {
	*line
	o       Options
	confirm bool
}

func newHoldShow(ctx context.Context, inv Inventory, o Options) (show, error) {
	return newPairShow(ctx, inv, o, false)
}

func newCycleShow(ctx context.Context, inv Inventory, o Options) (show, error) {
	return newPairShow(ctx, inv, o, true)
}

func newPairShow(ctx context.Context, inv Inventory, o Options, confirm bool) (show, error) {
	l, err := newLine(ctx, inv, o.Seats, o.Ahead)
	if err != nil {
		return nil, err
	}
	return &pairShow{line: l, o: o, confirm: confirm}, nil
}

func (p *pairShow) script(conn int) script {
	return &pairScript{
		show:  p,
		names: newNumbers(conn + 1),
		slots: make([]pairSlot, p.o.Load.Depth),
		kept:  newSample(newRand(p.o, conn)),
	}
}

// A pairSlot asks for pairs, one after the other.
type pairSlot struct {
	sale   *sale
	pair   int
	number uint64
	grant  Grant
	held   bool // confirm is next
}

type pairScript struct {
	show  *pairShow
	names *numbers
	slots []pairSlot
	sale  *sale
	at    int // index of the sale
	kept  *receiptSample
}

func (p *pairScript) next(slot int, r *Request) error {
	s := &p.slots[slot]
	if s.held {
		r.Op, r.Grant, r.Number = Confirm, s.grant, s.number
	} else {
		if err := p.take(s); err != nil {
			return err
		}
		s.number = p.names.next()
		r.Op, r.Number = Hold, s.number
	}
	r.Event = s.sale.event
	r.Seats = append(r.Seats, 2*s.pair, 2*s.pair+1)
	return nil
}

// take finds the next pair, in the next event if this one is sold out.
func (p *pairScript) take(s *pairSlot) error {
	for {
		if p.sale != nil {
			if pair, ok := p.sale.take(); ok {
				s.sale, s.pair = p.sale, pair
				return nil
			}
			p.at++
		}
		var err error
		if p.sale, err = p.show.at(p.at); err != nil {
			return err
		}
	}
}

func (p *pairScript) done(slot int, r *Request, a *Answer) (int, error) {
	s := &p.slots[slot]
	if a.Status != OK {
		return 0, fmt.Errorf("event %d: seats %v, which nobody else asked for, are %v", r.Event, r.Seats, a.Status)
	}
	if r.Op == Confirm {
		s.held = false
		p.keep(s, true)
		return 1, s.sale.ledger.Booked(r.Number, r.Seats)
	}
	if err := s.sale.ledger.Granted(r.Number, r.Seats); err != nil {
		return 0, err
	}
	s.grant = a.Grant
	if p.show.confirm {
		s.held = true
		return 0, nil
	}
	p.keep(s, false)
	return 1, nil
}

func (p *pairScript) keep(s *pairSlot, booked bool) {
	p.kept.add(Receipt{Event: s.sale.event, Number: s.number, Grant: s.grant, Seats: []int{2 * s.pair, 2*s.pair + 1}, Booked: booked})
}

func (p *pairScript) receipts() []Receipt { return p.kept.receipts }
