package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A sale is one event sold in pairs of neighbours, with the ledger of what the
// cluster acknowledged. Shared by all scripts.
type sale struct {
	index int
	event *client.Event
	pairs int
	next  atomic.Int64    // pairs handed out
	held  []atomic.Uint64 // bit per pair: a hold was acknowledged
	sold  []atomic.Uint64 // bit per pair: a booking was acknowledged
}

func newSale(index int, ev *client.Event, seats int) *sale {
	pairs := seats / 2
	words := (pairs + 63) / 64
	return &sale{index: index, event: ev, pairs: pairs, held: make([]atomic.Uint64, words), sold: make([]atomic.Uint64, words)}
}

// take hands out a pair that nobody had; false when all are gone. Pairs come in
// strides, so that neighbouring requests do not write the same word.
func (s *sale) take() (pair int, ok bool) {
	const stride = 7919 // a prime that divides no usual number of pairs
	n := s.next.Add(1) - 1
	if n >= int64(s.pairs) {
		return 0, false
	}
	return int(n * stride % int64(s.pairs)), true
}

// note sets a pair's bit; false if it was set before.
func note(bitmap []atomic.Uint64, pair int) bool {
	bit := uint64(1) << (pair % 64)
	return bitmap[pair/64].Or(bit)&bit == 0
}

func noted(bitmap []atomic.Uint64, pair int) bool {
	return bitmap[pair/64].Load()>>(pair%64)&1 != 0
}

// pairShow is the workloads hold and cycle.
type pairShow struct {
	stage   *stage
	line    *line
	confirm bool
	scripts []*pairScript
}

func newHoldShow(s *stage) (show, error)  { return newPairShow(s, false) }
func newCycleShow(s *stage) (show, error) { return newPairShow(s, true) }

func newPairShow(s *stage, confirm bool) (show, error) {
	if s.o.Seats/2%7919 == 0 {
		return nil, fmt.Errorf("%d seats: choose a number that 15,838 does not divide", s.o.Seats)
	}
	l, err := newLine(s)
	if err != nil {
		return nil, err
	}
	return &pairShow{stage: s, line: l, confirm: confirm}, nil
}

func (p *pairShow) script(conn int) script {
	s := &pairScript{
		show:  p,
		rand:  newRand(p.stage.o, conn),
		slots: make([]pairSlot, p.stage.o.Depth),
	}
	p.scripts = append(p.scripts, s)
	return s
}

type pairSlot struct {
	sale  *sale
	pair  int
	id    wire.ID
	fence wire.Fence // not zero: the hold is granted, confirm is next
}

// A receipt is an acknowledged hold that the audit asks for again.
type receipt struct {
	pairSlot
	booked bool
}

// receiptsKept bounds the receipts of a connection: a uniform sample.
const receiptsKept = 256

type pairScript struct {
	show     *pairShow
	rand     *rand.Rand
	slots    []pairSlot
	sale     *sale
	clock    clockFor
	granted  int64
	receipts []receipt
	err      error
}

func (p *pairScript) next(slot int, now time.Time, b []byte) (wire.Kind, []byte) {
	sl := &p.slots[slot]
	if sl.fence != 0 {
		confirm := wire.OnHold{Mutation: wire.Mutation{Event: sl.sale.event.ID(), ID: sl.id}, Fence: sl.fence}
		return wire.KindConfirm, confirm.Append(b)
	}
	pair, err := p.take()
	if err != nil {
		p.err = err
		return 0, nil
	}
	*sl = pairSlot{sale: p.sale, pair: pair, id: p.clock.id(now, p.rand)}
	var seats [8]byte
	hold := wire.Hold{
		Mutation: wire.Mutation{Event: p.sale.event.ID(), ID: sl.id},
		Seats:    wire.SeatList(seats[:0]).Append(seatID(2*pair), seatID(2*pair+1)),
	}
	return wire.KindHold, hold.Append(b)
}

// take finds the next pair, in the next event if this one is sold out.
func (p *pairScript) take() (int, error) {
	for {
		if p.sale != nil {
			if pair, ok := p.sale.take(); ok {
				return pair, nil
			}
		}
		index := 0
		if p.sale != nil {
			index = p.sale.index + 1
		}
		s, err := p.show.line.at(index)
		if err != nil {
			return 0, err
		}
		p.sale, p.clock = s, newClock(s.event)
	}
}

func (p *pairScript) done(slot int, h wire.Header, body []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	sl := &p.slots[slot]
	if h.Status != wire.StatusOK {
		return 0, fmt.Errorf("event %d pair %d: %v for a pair that nobody else asked for", sl.sale.index, sl.pair, h.Status)
	}
	if h.Kind == wire.KindConfirm {
		return p.confirmed(sl, body)
	}
	var g wire.Granted
	if err := g.Decode(body); err != nil {
		return 0, fmt.Errorf("answer to hold: %w", err)
	}
	if !note(sl.sale.held, sl.pair) {
		return 0, fmt.Errorf("event %d pair %d was granted twice", sl.sale.index, sl.pair)
	}
	if p.show.confirm {
		sl.fence = g.Fence
		return 0, nil
	}
	p.keep(receipt{pairSlot{sl.sale, sl.pair, sl.id, g.Fence}, false})
	return 1, nil
}

func (p *pairScript) confirmed(sl *pairSlot, body []byte) (int, error) {
	var c wire.Confirmed
	if err := c.Decode(body); err != nil {
		return 0, fmt.Errorf("answer to confirm: %w", err)
	}
	if c.Reacquired || c.Seats.Len() != 2 {
		return 0, fmt.Errorf("event %d pair %d: confirm booked %d seats", sl.sale.index, sl.pair, c.Seats.Len())
	}
	if !note(sl.sale.sold, sl.pair) {
		return 0, fmt.Errorf("event %d pair %d was booked twice", sl.sale.index, sl.pair)
	}
	p.keep(receipt{*sl, true})
	sl.fence = 0
	return 1, nil
}

// keep samples receipts uniformly (reservoir sampling, Vitter's algorithm R).
func (p *pairScript) keep(r receipt) {
	p.granted++
	if len(p.receipts) < receiptsKept {
		p.receipts = append(p.receipts, r)
		return
	}
	if i := p.rand.Int64N(p.granted); i < receiptsKept {
		p.receipts[i] = r
	}
}

// audit compares every seat of every event with the ledger, and reads the
// sampled holds back with their fences.
func (p *pairShow) audit(ctx context.Context) error {
	for _, s := range p.line.all() {
		if err := s.audit(ctx); err != nil {
			return fmt.Errorf("event %d: %w", s.index, err)
		}
	}
	for _, sc := range p.scripts {
		for _, r := range sc.receipts {
			if err := r.audit(ctx); err != nil {
				return fmt.Errorf("event %d pair %d: %w", r.sale.index, r.pair, err)
			}
		}
	}
	return nil
}

func (s *sale) audit(ctx context.Context) error {
	m, err := s.event.Map(ctx, client.Consistent)
	if err != nil {
		return err
	}
	for pair := range s.pairs {
		want := wire.SeatFree
		switch {
		case noted(s.sold, pair):
			want = wire.SeatBooked
		case noted(s.held, pair):
			want = wire.SeatHeld
		}
		for _, seat := range []wire.SeatID{seatID(2 * pair), seatID(2*pair + 1)} {
			if got := m.State(seat); got != want {
				return fmt.Errorf("seat %d is %v, acknowledged was %v", seat, got, want)
			}
		}
	}
	return nil
}

func (r *receipt) audit(ctx context.Context) error {
	info, err := r.sale.event.GetHold(ctx, r.id)
	if err != nil {
		return err
	}
	state, seats := wire.StateHeld, info.Held
	if r.booked {
		state, seats = wire.StateBooked, info.Booked
	}
	if info.State != state || info.Fence != r.fence {
		return fmt.Errorf("hold %v is %v with fence %d, acknowledged was %v with %d", r.id, info.State, info.Fence, state, r.fence)
	}
	if seats.Len() != 2 || seats.At(0) != seatID(2*r.pair) || seats.At(1) != seatID(2*r.pair+1) {
		return fmt.Errorf("hold %v has seats %v", r.id, seats.IDs())
	}
	return nil
}
