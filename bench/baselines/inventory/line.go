package inventory

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// A sale is an event sold in pairs of neighbours.
type sale struct {
	event  int
	pairs  int
	next   atomic.Int64 // pairs handed out
	ledger *Ledger
}

// take hands out a pair that nobody had; false when all are gone. Pairs come in
// strides, as in `usher bench`, so that requests at a time are far apart.
func (s *sale) take() (pair int, ok bool) {
	n := s.next.Add(1) - 1
	if n >= int64(s.pairs) {
		return 0, false
	}
	return int(n * stride % int64(s.pairs)), true
}

// stride is a prime that divides no usual number of pairs.
const stride = 7919

// A line is events that are sold one after the other, made a few ahead of the
// buyers. Safe for all goroutines.
type line struct {
	inv    Inventory
	seats  int
	ahead  int
	cancel context.CancelFunc
	made   sync.WaitGroup // the goroutine that makes events

	mu      sync.Mutex
	change  sync.Cond
	sales   []*sale
	reached int // highest index a buyer has asked for
	err     error
}

// newLine makes the first events.
func newLine(ctx context.Context, inv Inventory, seats, ahead int) (*line, error) {
	l := &line{inv: inv, seats: seats, ahead: ahead}
	l.change.L = &l.mu
	for range ahead {
		if err := l.extend(ctx); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// open goes on making events until close.
func (l *line) open(ctx context.Context) {
	ctx, l.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { l.fail(ctx.Err()) })
	l.made.Go(func() { l.keepAhead(ctx) })
}

// close makes no more events and waits for the one being made.
func (l *line) close() {
	l.cancel()
	l.made.Wait()
}

func (l *line) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	l.change.Broadcast()
}

func (l *line) extend(ctx context.Context) error {
	s := &sale{event: len(l.sales) + 1, pairs: l.seats / 2}
	s.ledger = NewLedger(s.event, l.seats)
	if err := l.inv.Create(ctx, s.event, l.seats); err != nil {
		return fmt.Errorf("create event %d: %w", s.event, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sales = append(l.sales, s)
	l.change.Broadcast()
	return nil
}

func (l *line) keepAhead(ctx context.Context) {
	for {
		l.mu.Lock()
		for l.err == nil && len(l.sales) > l.reached+max(1, l.ahead/2) {
			l.change.Wait()
		}
		err := l.err
		l.mu.Unlock()
		if err != nil {
			return
		}
		if err := l.extend(ctx); err != nil {
			l.fail(err)
			return
		}
	}
}

// at gives the i-th sale, waiting until it is there.
func (l *line) at(i int) (*sale, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i > l.reached {
		l.reached = i
		l.change.Broadcast()
	}
	for l.err == nil && i >= len(l.sales) {
		l.change.Wait()
	}
	if l.err != nil {
		return nil, fmt.Errorf("next event: %w", l.err)
	}
	return l.sales[i], nil
}

// ledgers are those of every sale that buyers have reached.
func (l *line) ledgers() []*Ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*Ledger
	for _, s := range l.sales[:min(l.reached+1, len(l.sales))] {
		all = append(all, s.ledger)
	}
	return all
}
