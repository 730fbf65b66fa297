package inventory

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A fake keeps seats in memory behind one lock, and tells lies when it is told to.
type fake struct {
	delay time.Duration // of an answer

	mu     sync.Mutex
	events map[int][]uint64     // number<<1 | booked, by seat
	ends   map[uint64]time.Time // of holds, by number
	lie    lie
	lies   int // told so far
}

// A lie is what a fake does wrong, once.
type lie uint8

const (
	none       lie = iota
	grantTwice     // acknowledges a hold of seats that somebody has
	forget         // acknowledges a hold and keeps nothing
	overlap        // says that seats are taken and takes them
	forgetSale     // acknowledges a confirmation and leaves the seats held
	scatter        // gives as best available what is not together
	rename         // keeps a hold under another name
	cutMap         // leaves seats out of a map
	endEarly       // lets a hold end as soon as it began
	endNever       // lets holds stay, all of them
)

func newFake(l lie) *fake {
	return &fake{events: make(map[int][]uint64), ends: make(map[uint64]time.Time), lie: l}
}

// lies reports whether it is time to tell the lie.
func (f *fake) tells(l lie) bool {
	if f.lie != l || f.lies > 0 {
		return false
	}
	f.lies++
	return true
}

func (f *fake) Create(_ context.Context, event, seats int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events[event] = make([]uint64, seats)
	return nil
}

func (f *fake) Settle(context.Context) error { return nil }

func (f *fake) Dial(context.Context) (Conn, error) { return fakeConn{f}, nil }

func (f *fake) States(answer []byte, _ int) ([]State, error) {
	var states []State
	for _, b := range answer {
		states = append(states, State(b))
	}
	return states, nil
}

func (f *fake) Find(_ context.Context, event int, r Receipt) (found Found, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for seat, v := range f.events[event] {
		if v>>1 == r.Number {
			found.State = Held + State(v&1)
			found.Seats = append(found.Seats, seat)
		}
	}
	return found, nil
}

func (f *fake) CPU() (time.Duration, error) { return 0, nil }

func (f *fake) Close() {}

type fakeConn struct{ f *fake }

func (c fakeConn) Close() {}

func (c fakeConn) Do(_ context.Context, requests []Request, answers []Answer) error {
	time.Sleep(c.f.delay) // virtual, in a bubble
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	for i := range requests {
		c.f.one(&requests[i], &answers[i])
	}
	return nil
}

func (f *fake) one(r *Request, a *Answer) {
	seats := f.events[r.Event]
	f.expire(seats)
	switch r.Op {
	case Hold:
		a.Status = f.hold(seats, r, r.Seats)
	case Best:
		a.Status = Taken
		for first := 0; first+r.Count <= len(seats); first++ {
			a.Seats = a.Seats[:0]
			for s := range r.Count {
				a.Seats = append(a.Seats, first+s)
			}
			if together(a.Seats, r.Count) == nil && f.hold(seats, r, a.Seats) == OK {
				a.Status = OK
				if f.tells(scatter) {
					a.Seats[0]--
				}
				return
			}
		}
	case Confirm:
		f.change(seats, r, a, r.Number<<1|1)
	case Release:
		f.change(seats, r, a, 0)
	case Map:
		a.Status = OK
		for _, v := range seats {
			state := Free
			if v != 0 {
				state = Held + State(v&1)
			}
			a.Map = append(a.Map, byte(state))
		}
		if f.tells(cutMap) {
			a.Map = a.Map[:len(a.Map)-1]
		}
	}
}

// expire ends the holds of an event that are due.
func (f *fake) expire(seats []uint64) {
	now := time.Now()
	for i, v := range seats {
		if v != 0 && v&1 == 0 && !now.Before(f.ends[v>>1]) {
			seats[i] = 0
		}
	}
}

func (f *fake) hold(seats []uint64, r *Request, wanted []int) Status {
	number := r.Number
	taken := slices.ContainsFunc(wanted, func(s int) bool { return seats[s] != 0 })
	switch {
	case taken && f.tells(grantTwice):
		return OK
	case taken:
		return Taken
	case f.tells(forget):
		return OK
	case f.tells(rename):
		number += 1 << 50
	}
	f.ends[number] = time.Now().Add(r.Life())
	if f.tells(endEarly) {
		f.ends[number] = time.Now()
	}
	if f.lie == endNever {
		f.lies++
		f.ends[number] = time.Now().Add(DefaultTTL)
	}
	for _, s := range wanted {
		seats[s] = number << 1
	}
	if f.tells(overlap) {
		return Taken
	}
	return OK
}

func (f *fake) change(seats []uint64, r *Request, a *Answer, v uint64) {
	if slices.ContainsFunc(r.Seats, func(s int) bool { return seats[s] != r.Number<<1 }) {
		a.Status = Gone
		return
	}
	a.Status = OK
	if v != 0 && f.tells(forgetSale) {
		return
	}
	for _, s := range r.Seats {
		seats[s] = v
	}
}
