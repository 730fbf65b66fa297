package inventory

import (
	"context"
	"math/rand/v2"
)

// stampedeShow is an event with one seat in a thousand left, and everybody
// asking for two seats at random.
type stampedeShow struct {
	closed
	o      Options
	ledger *Ledger
}

func newStampedeShow(ctx context.Context, inv Inventory, o Options) (show, error) {
	if err := inv.Create(ctx, 1, o.Seats); err != nil {
		return nil, err
	}
	s := &stampedeShow{o: o, ledger: NewLedger(1, o.Seats)}
	seats := newRand(o, -1).Perm(o.Seats)
	return s, fill(ctx, inv, s.ledger, newNumbers(0), seats[o.Seats/1000:])
}

func (s *stampedeShow) script(conn int) script {
	return &stampedeScript{show: s, rand: newRand(s.o, conn), names: newNumbers(conn + 1)}
}

func (s *stampedeShow) ledgers() []*Ledger { return []*Ledger{s.ledger} }

type stampedeScript struct {
	show  *stampedeShow
	rand  *rand.Rand
	names *numbers
	won   []Receipt
}

func (s *stampedeScript) next(_ int, r *Request) error {
	seats := s.show.o.Seats
	x := s.rand.IntN(seats)
	y := s.rand.IntN(seats - 1)
	if y >= x {
		y++
	}
	r.Op, r.Event, r.Number = Hold, 1, s.names.next()
	r.Seats = append(r.Seats, min(x, y), max(x, y))
	return nil
}

func (s *stampedeScript) done(_ int, r *Request, a *Answer) (int, error) {
	if a.Status == Taken {
		return 1, nil
	}
	if err := s.show.ledger.Granted(r.Number, r.Seats); err != nil {
		return 0, err
	}
	s.won = append(s.won, Receipt{Event: 1, Number: r.Number, Grant: a.Grant, Seats: append([]int(nil), r.Seats...)})
	return 1, nil
}

func (s *stampedeScript) receipts() []Receipt { return s.won }
