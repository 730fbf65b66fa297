package inventory

import (
	"context"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	onsaleTTL      = 2 * time.Second // of every hold: who walks away leaves his seats for so long
	onsaleTogether = 2               // seats that everybody wants
	onsaleTries    = 3               // picks from the map before a buyer asks for the best

	// Of a hundred buyers who come:
	bestAtOnce = 30 // do not look at the map
	// Of a hundred who have seats:
	givingBack  = 12 // give them back
	walkingAway = 8  // are never heard of again

	// The map is read again when so many buyers in a thousand of those that an event
	// has seats for have been served since. It is a share and not a time, so that
	// all systems read as many maps for a buyer, and buyers' maps are equally old.
	mapsPerThousand = 20
)

// onsaleShow is events that sell out, one after the other. Buyers look at a map
// that is a little old, want good rows, lose races and try again or ask for the
// best there is; they pay, give back, or walk away, and what lapses is sold again
// while the event is on. An operation is a buyer who is done: with two seats,
// without, or gone.
type onsaleShow struct {
	*line
	o Options

	mu    sync.Mutex
	views []*view // by index of the sale
}

func newOnsaleShow(ctx context.Context, inv Inventory, o Options) (show, error) {
	l, err := newLine(ctx, inv, o.Seats, o.Ahead)
	if err != nil {
		return nil, err
	}
	return &onsaleShow{line: l, o: o}, nil
}

// view is that of the i-th event, when it is there.
func (s *onsaleShow) view(i int) (*view, error) {
	sale, err := s.at(i)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.views) <= i {
		s.views = append(s.views, nil)
	}
	if s.views[i] == nil {
		s.views[i] = newView(sale, s.o.Seats)
	}
	return s.views[i], nil
}

func (s *onsaleShow) script(conn int) script {
	return &onsaleScript{
		show:   s,
		rand:   newRand(s.o, conn),
		names:  newNumbers(conn + 1),
		buyers: make([]buyer, s.o.Load.Depth),
		kept:   newSample(newRand(s.o, -1-conn)),
	}
}

// A view is the map of an event as it was last read, for all buyers: what a
// frontend caches. Safe for all goroutines.
type view struct {
	sale    *sale
	free    atomic.Pointer[[]uint64] // a word for each row, a bit for each free seat; immutable
	served  atomic.Int64             // buyers since the map was read
	reading atomic.Bool
}

func newView(s *sale, seats int) *view {
	v := &view{sale: s}
	v.set(make([]State, seats))
	return v
}

func (v *view) set(states []State) {
	free := make([]uint64, len(states)/RowSeats)
	for i, s := range states {
		if s == Free {
			free[i/RowSeats] |= 1 << (i % RowSeats)
		}
	}
	v.free.Store(&free)
	v.served.Store(0)
}

// old reports whether the caller should read the map again: nobody else does.
func (v *view) old() bool {
	limit := int64(max(1, v.sale.pairs*mapsPerThousand/1000))
	return v.served.Load() >= limit && v.reading.CompareAndSwap(false, true)
}

// pick chooses two neighbours that the map shows as free, in front rather than
// behind; false when there are none. It gives the first.
func (v *view) pick(r *rand.Rand) (seat int, ok bool) {
	rows := *v.free.Load()
	u := r.Float64()
	start, column := int(u*u*float64(len(rows))), r.IntN(RowSeats)
	for i := range rows {
		row := (start + i) % len(rows)
		two := rows[row] & (rows[row] >> 1)
		if two == 0 {
			continue
		}
		if right := two >> column << column; right != 0 {
			two = right
		}
		return row*RowSeats + bits.TrailingZeros64(two), true
	}
	return 0, false
}

// A buyer is what a slot does until he is done.
type buyer struct {
	view   *view // nil: the next buyer comes
	best   bool  // asks for the best, since he wants to or picks have failed
	tries  int   // picks that others had taken
	number uint64
	grant  Grant
	seats  []int
	held   bool
	back   bool      // gives back what he holds, next
	ends   time.Time // a hold does not end before
}

type onsaleScript struct {
	show   *onsaleShow
	rand   *rand.Rand
	names  *numbers
	buyers []buyer
	view   *view // of the event that new buyers come to
	at     int   // its index
	kept   *receiptSample
}

func (p *onsaleScript) next(slot int, r *Request) error {
	b := &p.buyers[slot]
	if b.view == nil {
		if err := p.welcome(b); err != nil {
			return err
		}
	}
	ledger := b.view.sale.ledger
	r.Event = b.view.sale.event
	if b.held {
		r.Op, r.Number, r.Grant, r.Seats = Confirm, b.number, b.grant, append(r.Seats, b.seats...)
		// Somebody else may have what has lapsed, so it is not given back.
		if b.back && time.Now().Before(b.ends) {
			r.Op = Release
			return ledger.Returning(b.number, b.seats)
		}
		return nil
	}
	if b.view.old() {
		r.Op = Map
		return nil
	}
	b.number, b.ends = p.names.next(), time.Now().Add(onsaleTTL)
	r.Number, r.TTL = b.number, onsaleTTL
	ledger.Ends(b.number, b.ends)
	if !b.best {
		if first, ok := b.view.pick(p.rand); ok {
			r.Op, r.Seats = Hold, append(r.Seats, first, first+1)
			return nil
		}
		b.best = true
	}
	r.Op, r.Count = Best, onsaleTogether
	return nil
}

// welcome lets the next buyer come.
func (p *onsaleScript) welcome(b *buyer) error {
	if p.view == nil {
		var err error
		if p.view, err = p.show.view(p.at); err != nil {
			return err
		}
	}
	*b = buyer{view: p.view, best: p.rand.IntN(100) < bestAtOnce, seats: b.seats[:0]}
	return nil
}

func (p *onsaleScript) done(slot int, r *Request, a *Answer) (int, error) {
	b := &p.buyers[slot]
	switch r.Op {
	case Map:
		return 0, p.look(b.view, a)
	case Hold, Best:
		return p.asked(b, r, a)
	}
	if a.Status == Gone {
		if time.Now().Before(b.ends) {
			return 0, fmt.Errorf("event %d: hold %d has ended before its time", r.Event, r.Number)
		}
		return b.leave(), nil
	}
	if r.Op == Confirm {
		if err := b.view.sale.ledger.Booked(b.number, b.seats); err != nil {
			return 0, err
		}
		p.kept.add(Receipt{Event: r.Event, Number: b.number, Grant: b.grant, Seats: b.seats, Booked: true})
	}
	return b.leave(), nil
}

// look takes a map that was read.
func (p *onsaleScript) look(v *view, a *Answer) error {
	defer v.reading.Store(false)
	if a.Status != OK {
		return fmt.Errorf("event %d: map answered %v", v.sale.event, a.Status)
	}
	states, err := p.show.inv.States(a.Map, p.show.o.Seats)
	if err != nil {
		return fmt.Errorf("event %d: map: %w", v.sale.event, err)
	}
	v.set(states)
	return nil
}

// asked takes the answer to a request for seats.
func (p *onsaleScript) asked(b *buyer, r *Request, a *Answer) (int, error) {
	ledger := b.view.sale.ledger
	if a.Status != OK {
		ledger.Forget(b.number)
		if r.Op == Hold {
			b.tries++
			b.best = b.tries == onsaleTries
			return 0, nil
		}
		// No two together are left. Whoever comes now comes to the next event.
		if b.view == p.view {
			p.at++
			p.view = nil
		}
		return b.leave(), nil
	}
	b.seats = append(b.seats[:0], r.Seats...)
	if r.Op == Best {
		if err := together(a.Seats, r.Count); err != nil {
			return 0, fmt.Errorf("event %d: %w", r.Event, err)
		}
		b.seats = append(b.seats, a.Seats...)
	}
	if err := ledger.Granted(b.number, b.seats); err != nil {
		return 0, err
	}
	switch x := p.rand.IntN(100); {
	case x < walkingAway:
		return b.leave(), nil
	case x < walkingAway+givingBack:
		b.back = true
	}
	b.held, b.grant = true, a.Grant
	return 0, nil
}

// leave makes room for the next buyer: one operation.
func (b *buyer) leave() int {
	b.view.served.Add(1)
	b.view = nil
	return 1
}

func (p *onsaleScript) receipts() []Receipt { return p.kept.receipts }
