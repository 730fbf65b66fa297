package shard

import "github.com/usher-seats/usher/wire"

// roomDueAt is the event time at which the room has something to do: a call lapses,
// a pass ends, or somebody can be called. It depends on nothing but what is
// replicated, and is exact: advanceRoom does nothing before. So it does not matter
// how often a replica looks.
func (e *Event) roomDueAt() wire.Millis {
	r := e.room
	if r == nil {
		return wire.Never
	}
	due := min(r.passes.due(), e.callDue())
	if len(r.steps) > 0 {
		due = min(due, r.steps[0].lapse)
	}
	return due
}

// callDue is when the next number can be called, as things stand.
func (e *Event) callDue() wire.Millis {
	r := e.room
	if e.callable() == 0 {
		return wire.Never
	}
	wait := uint64(roomStep)
	if r.credit < onePerson {
		rate := uint64(r.config.Rate)
		wait = max(wait, (onePerson-r.credit+rate-1)/rate)
	}
	return r.creditAt + wire.Millis(wait)
}

// callable is how many could be called if the rate did not matter.
func (e *Event) callable() uint64 {
	r := e.room
	if !r.opened() || r.is(roomPaused) || e.tally[wire.SeatFree] == 0 {
		return 0
	}
	inside := uint64(r.passes.len()) + uint64(r.outstanding)
	if inside >= uint64(r.config.Limit) || r.serving-r.lapsedTo >= maxWindow {
		return 0
	}
	return min(uint64(r.config.Limit)-inside, r.next-r.serving, maxWindow-(r.serving-r.lapsedTo))
}

// advanceRoom does what is due in an event's room.
func (s *Shard) advanceRoom(e *Event) {
	r := e.room
	if r == nil || e.roomDueAt() > s.now {
		return
	}
	for len(r.steps) > 0 && r.steps[0].lapse <= s.now {
		r.lapse()
	}
	for n := 0; n < maxEnds && r.passes.due() <= s.now; n++ {
		r.passes.remove(r.passes.heap[0])
	}
	if e.callDue() <= s.now {
		r.earn(s.now)
		r.call(min(e.callable(), r.credit/onePerson), s.now)
	}
	s.roomChanged(e)
}

// mostCredit is a second's worth, or one visitor.
func (r *room) mostCredit() uint64 { return max(onePerson, uint64(r.config.Rate)*1000) }

// earn adds to the credit what the time since creditAt is worth, up to
// mostCredit.
func (r *room) earn(now wire.Millis) {
	rate, most := uint64(r.config.Rate), r.mostCredit()
	passed := min(uint64(now-r.creditAt), most/rate+1)
	r.credit = min(r.credit+passed*rate, most)
	r.creditAt = now
}

// call calls the next n numbers, and passes over those that were given back.
func (r *room) call(n uint64, now wire.Millis) {
	r.credit -= n * onePerson
	r.outstanding += uint32(n)
	for {
		run := min(n, r.next-r.serving)
		gone, some := r.left.first()
		if some {
			run = min(run, gone-r.serving)
		}
		r.window.extend(r.serving + run)
		r.serving += run
		n -= run
		if !some || r.serving != gone {
			break
		}
		r.left.pop()
		r.window.extend(r.serving + 1)
		r.window.setLeft(r.serving)
		r.serving++
	}
	r.outstanding -= uint32(n) // nobody was there for these, and it is as if they had not been asked for
	r.credit += n * onePerson
	r.addStep(now + wire.Millis(r.config.Grace))
}

// addStep lets what has been called since the last step lapse at a time, or a
// little later with the numbers before.
func (r *room) addStep(lapse wire.Millis) {
	if n := len(r.steps); n > 0 {
		last := &r.steps[n-1]
		lapse = max(lapse, last.lapse)
		if last.upTo == r.serving {
			return
		}
		if lapse-last.first <= wire.Millis(r.config.Grace/graceParts) {
			last.upTo, last.lapse = r.serving, lapse
			return
		}
	} else if r.serving == r.lapsedTo {
		return
	}
	r.steps = append(r.steps, callStep{upTo: r.serving, first: lapse, lapse: lapse})
}

// lapse ends the grace of the first step.
func (r *room) lapse() {
	upTo := r.steps[0].upTo
	r.steps = r.steps[1:]
	gone := r.window.missing(r.lapsedTo, upTo)
	r.window.drop(upTo)
	r.lapsedTo = upTo
	r.outstanding -= uint32(gone)
	r.lapsed += gone
}
