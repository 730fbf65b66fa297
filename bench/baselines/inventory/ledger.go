package inventory

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A Ledger is what was acknowledged of one event: for each seat the number of the
// hold that has it, and whether it is booked. Safe for all goroutines.
type Ledger struct {
	event int
	seats []atomic.Uint64 // 0: free; else number<<1 | booked

	mu   sync.Mutex
	ends map[uint64]time.Time // by number: holds that end by themselves, then or later
}

// NewLedger is that of an event whose seats are all free.
func NewLedger(event, seats int) *Ledger {
	return &Ledger{event: event, seats: make([]atomic.Uint64, seats)}
}

// clockStep is how early a hold may end for a system that counts milliseconds.
const clockStep = 2 * time.Millisecond

// Ends notes, before it is asked for, that a hold ends by itself at a time or
// later. A hold without one lives longer than the run.
func (l *Ledger) Ends(number uint64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ends == nil {
		l.ends = make(map[uint64]time.Time)
	}
	l.ends[number] = at
}

// Forget takes back that a hold ends by itself: it was refused, booked or given
// back.
func (l *Ledger) Forget(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.ends, number)
}

// lapsed reports whether a hold may have ended by itself.
func (l *Ledger) lapsed(number uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.ends[number]
	return ok && time.Until(at) <= clockStep
}

// lastEnd is when the last hold that ends by itself may do so; zero if there is
// none.
func (l *Ledger) lastEnd() (last time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.ends {
		if at.After(last) {
			last = at
		}
	}
	return last
}

// Granted notes that a hold was acknowledged. An error means that a seat was sold
// twice: it is in another hold that was acknowledged, not given back, and whose
// time is not over.
func (l *Ledger) Granted(number uint64, seats []int) error {
	for _, s := range seats {
		if s < 0 || s >= len(l.seats) {
			return fmt.Errorf("event %d has no seat %d, but hold %d was granted it", l.event, s, number)
		}
		if l.seats[s].CompareAndSwap(0, number<<1) {
			continue
		}
		had := l.seats[s].Load()
		if had&1 == 1 || !l.lapsed(had>>1) || !l.seats[s].CompareAndSwap(had, number<<1) {
			return fmt.Errorf("event %d: seat %d was granted to hold %d though hold %d has it", l.event, s, number, had>>1)
		}
	}
	return nil
}

// Booked notes that a confirmation was acknowledged.
func (l *Ledger) Booked(number uint64, seats []int) error {
	for _, s := range seats {
		if !l.seats[s].CompareAndSwap(number<<1, number<<1|1) {
			return fmt.Errorf("event %d: seat %d was booked by hold %d, which does not hold it", l.event, s, number)
		}
	}
	l.Forget(number)
	return nil
}

// Returning notes that seats are about to be given back. It must be called before
// the request is sent: from then on somebody else may be granted them.
func (l *Ledger) Returning(number uint64, seats []int) error {
	for _, s := range seats {
		if !l.seats[s].CompareAndSwap(number<<1, 0) {
			return fmt.Errorf("event %d: hold %d gives back seat %d, which it does not hold", l.event, number, s)
		}
	}
	l.Forget(number)
	return nil
}

// State is that of a seat, as acknowledged. A hold that may have ended by itself
// has.
func (l *Ledger) State(seat int) State {
	switch v := l.seats[seat].Load(); {
	case v&1 == 1:
		return Booked
	case v == 0 || l.lapsed(v>>1):
		return Free
	}
	return Held
}

// Compare holds the states that a system gives against what it acknowledged.
func (l *Ledger) Compare(states []State) error {
	if len(states) != len(l.seats) {
		return fmt.Errorf("event %d: the map has %d seats, the event %d", l.event, len(states), len(l.seats))
	}
	for s, got := range states {
		if want := l.State(s); got != want {
			return fmt.Errorf("event %d: seat %d is %v, acknowledged was %v", l.event, s, got, want)
		}
	}
	return nil
}
