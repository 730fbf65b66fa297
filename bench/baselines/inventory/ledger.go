package inventory

import (
	"fmt"
	"sync/atomic"
)

// A Ledger is what was acknowledged of one event: for each seat the number of the
// hold that has it, and whether it is booked. Safe for all goroutines.
type Ledger struct {
	event int
	seats []atomic.Uint64 // 0: free; else number<<1 | booked
}

// NewLedger is that of an event whose seats are all free.
func NewLedger(event, seats int) *Ledger {
	return &Ledger{event: event, seats: make([]atomic.Uint64, seats)}
}

// Granted notes that a hold was acknowledged. An error means that a seat was sold
// twice: it is in another hold that was acknowledged and not given back.
func (l *Ledger) Granted(number uint64, seats []int) error {
	for _, s := range seats {
		if s < 0 || s >= len(l.seats) {
			return fmt.Errorf("event %d has no seat %d, but hold %d was granted it", l.event, s, number)
		}
		if !l.seats[s].CompareAndSwap(0, number<<1) {
			return fmt.Errorf("event %d: seat %d was granted to hold %d though hold %d has it", l.event, s, number, l.seats[s].Load()>>1)
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
	return nil
}

// State is that of a seat, as acknowledged.
func (l *Ledger) State(seat int) State {
	switch v := l.seats[seat].Load(); {
	case v == 0:
		return Free
	case v&1 == 0:
		return Held
	}
	return Booked
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
