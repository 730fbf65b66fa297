package shard

import (
	"math/bits"

	"github.com/usher-seats/usher/wire"
)

const (
	// forgetPerOp is how much an event forgets after an operation on it at most:
	// an operation adds at most two to what is remembered.
	forgetPerOp = 2
	// forgetPerApply is how much an event forgets in an Apply because of time.
	forgetPerApply = 1024
	// wakeEvery is how exactly an idle event wakes up to forget, in milliseconds:
	// nobody waits for it.
	wakeEvery = 1000
)

// A memory is what an event remembers only so that a repeated request gets its
// first answer: holds that ended and memos, each in the order of their end. What
// ended longer ago than the window is forgotten, and the oldest if there is more
// than the bound. Owned by the applier.
type memory struct {
	holds queue
	memos queue
	count int // holds and memos
}

// A queue is the ends of a chain of records.
type queue struct{ head, tail uint32 }

// rememberHold puts a hold that has ended at the end of the queue.
func (e *Event) rememberHold(i uint32, h *hold) {
	q := &e.memory.holds
	h.next, h.prev = none, q.tail
	if q.tail == none {
		q.head = i
	} else {
		e.holds.at(q.tail).next = i
	}
	q.tail = i
	e.memory.count++
}

// recallHold takes a hold out of the queue, because it goes on living or has
// ended once more.
func (e *Event) recallHold(h *hold) {
	q := &e.memory.holds
	if h.prev == none {
		q.head = h.next
	} else {
		e.holds.at(h.prev).next = h.next
	}
	if h.next == none {
		q.tail = h.prev
	} else {
		e.holds.at(h.next).prev = h.prev
	}
	e.memory.count--
}

// rememberMemo puts a memo at the end of the queue.
func (e *Event) rememberMemo(i uint32, m *memo) {
	q := &e.memory.memos
	m.next = none
	if q.tail == none {
		q.head = i
	} else {
		e.memos.at(q.tail).next = i
	}
	q.tail = i
	e.memory.count++
}

// oldest is when the longest remembered thing ended, and whether it is a hold.
func (e *Event) oldest() (ended wire.Millis, isHold bool) {
	ended = wire.Never
	if i := e.memory.holds.head; i != none {
		ended, isHold = e.holds.at(i).touched, true
	}
	if i := e.memory.memos.head; i != none {
		if m := e.memos.at(i); m.now < ended {
			ended, isHold = m.now, false
		}
	}
	return ended, isHold
}

// forget forgets at most budget things: those that ended a window ago, and the
// oldest beyond the bound.
func (s *Shard) forget(e *Event, budget int) {
	for ; budget > 0 && e.memory.count > 0; budget-- {
		ended, isHold := e.oldest()
		if ended+s.config.Window > s.now && e.memory.count <= s.config.Remembered {
			return
		}
		if isHold {
			e.forgetHold()
		} else {
			e.forgetMemo()
		}
		e.changed = s.index
	}
}

func (e *Event) forgetHold() {
	i := e.memory.holds.head
	h := e.holds.at(i)
	e.raiseFloor(&h.id)
	e.leave(fingerprint(&h.id), i)
	e.recallHold(h)
	e.dropSeats(h)
	if e.passOn(i) != 0 {
		e.passOf[i] = 0
	}
	e.holds.put(i)
}

func (e *Event) forgetMemo() {
	i := e.memory.memos.head
	m := e.memos.at(i)
	e.raiseFloor(&m.id)
	e.leave(fingerprint(&m.id), i|memoRef)
	if e.memory.memos.head = m.next; m.next == none {
		e.memory.memos.tail = none
	}
	e.memory.count--
	if m.n > 0 {
		e.lists.put(m.list, int(m.n))
	}
	e.memos.put(i)
}

// raiseFloor is called before an id leaves the table, so that no reader misses
// both.
func (e *Event) raiseFloor(id *wire.ID) {
	if t, timed := id.Time(); timed && int64(t) > e.floor.Load() {
		e.floor.Store(int64(t))
	}
}

// dropSeats gives back the lists of a hold's seats.
func (e *Event) dropSeats(h *hold) {
	if h.inline() {
		return
	}
	e.lists.put(h.seats[0], int(h.n))
	if h.flags&holdMoved != 0 {
		e.lists.put(h.seats[1], int(h.seats[2]))
	}
}

// nextDue is the shard time at which the event has something to do: a hold expires,
// its room is due, or something is forgotten. The first may be too early, if the hold it was for is
// gone.
func (s *Shard) nextDue(e *Event) wire.Millis {
	if e.journey.frozen != 0 {
		return wire.Never
	}
	due := min(s.forgetDue(e), e.roomDueAt())
	if e.wheel != nil {
		due = min(due, e.wheel.bound())
	}
	if due == wire.Never {
		return due
	}
	return due - wire.Millis(e.skew.Load())
}

// forgetDue is the event time at which an event forgets even if nobody asks anything of it.
func (s *Shard) forgetDue(e *Event) wire.Millis {
	ended, _ := e.oldest()
	if ended == wire.Never {
		return wire.Never
	}
	return (ended + s.config.Window + wakeEvery - 1) / wakeEvery * wakeEvery
}

// eachHold calls f for every hold: those in the wheel or booked in the order of
// their indexes, then those that ended in the order of their end.
func (e *Event) eachHold(f func(i uint32, h *hold)) {
	free := make([]uint64, e.holds.used/wordBits+1)
	for _, i := range e.holds.free {
		free[i/wordBits] |= 1 << (i % wordBits)
	}
	for i := uint32(1); i <= e.holds.used; i++ {
		if h := e.holds.at(i); free[i/wordBits]>>(i%wordBits)&1 == 0 && h.owned() != 0 {
			f(i, h)
		}
	}
	for i := e.memory.holds.head; i != none; {
		h := e.holds.at(i)
		next := h.next
		f(i, h)
		i = next
	}
}

// seatsIn is the number of seats in a mask.
func seatsIn(mask uint64) int { return bits.OnesCount64(mask) }
