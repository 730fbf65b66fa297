package shard

import (
	"errors"
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// checkRoom recomputes what is derived of an event's room, and looks whether its
// parts fit together. Cost: O(seats + records + visitors).
func (e *Event) checkRoom() error {
	tally := e.tally
	e.countSeats()
	if tally != e.tally {
		return fmt.Errorf("seats by state are %v, counted %v", e.tally, tally)
	}
	r := e.room
	if e.guarded.Load() != (r != nil) {
		return errors.New("its waiting room is not the one that readers see")
	}
	if r == nil {
		if len(e.passOf) > 0 {
			return errors.New("holds have passes, and there is no waiting room")
		}
		return nil
	}
	w := &r.window
	switch {
	case r.lapsedTo > r.serving || r.serving > r.next || r.entries > r.next:
		return fmt.Errorf("of %d numbers %d are entries; %d were called, up to %d have lapsed", r.next, r.entries, r.serving, r.lapsedTo)
	case w.base != r.lapsedTo/wordBits*wordBits || w.end != r.serving:
		return fmt.Errorf("who came is known from %d to %d, called are %d to %d", w.base, w.end, r.lapsedTo, r.serving)
	case uint64(r.outstanding) != w.missing(r.lapsedTo, r.serving):
		return fmt.Errorf("%d numbers may still come, counted %d", w.missing(r.lapsedTo, r.serving), r.outstanding)
	}
	return errors.Join(r.checkSteps(), r.checkLeft(), e.checkPasses(), r.checkVisitors())
}

func (r *room) checkSteps() error {
	last := callStep{upTo: r.lapsedTo}
	for _, c := range r.steps {
		if c.upTo <= last.upTo || c.lapse < last.lapse || c.first > c.lapse {
			return fmt.Errorf("a step of calls is %+v, after %+v", c, last)
		}
		last = c
	}
	if last.upTo != r.serving {
		return fmt.Errorf("%d numbers were called, in steps up to %d", r.serving, last.upTo)
	}
	return nil
}

func (r *room) checkLeft() error {
	for i, number := range r.left.heap {
		if number < r.serving || number >= r.next || !r.left.has(number) || i > 0 && r.left.heap[(i-1)/2] >= number {
			return fmt.Errorf("number %d was given back, called are those below %d of %d", number, r.serving, r.next)
		}
	}
	if len(r.left.set) != len(r.left.heap) {
		return fmt.Errorf("%d numbers were given back, counted %d", len(r.left.heap), len(r.left.set))
	}
	return nil
}

// checkPasses counts the seats of every pass again.
func (e *Event) checkPasses() error {
	p := &e.room.passes
	type seats struct{ held, booked uint32 }
	want := make(map[wire.PassID]seats)
	e.eachHold(func(i uint32, h *hold) {
		if id := e.passOn(i); id != 0 {
			n := want[id]
			if h.live() {
				n.held += uint32(seatsIn(h.held))
			}
			n.booked += uint32(seatsIn(h.booked))
			want[id] = n
		}
	})
	for at, i := range p.heap {
		k := p.pool.at(i)
		_, a := p.find(k.id)
		_, b := p.of(k.number)
		switch {
		case a != k || b != k || int(k.place) != at || at > 0 && !p.before(p.heap[(at-1)/2], i):
			return fmt.Errorf("the pass of number %d is not where it belongs", k.number)
		case k.held != want[k.id].held || k.booked != want[k.id].booked:
			return fmt.Errorf("the pass of number %d has %d seats held and %d booked, its holds say %+v", k.number, k.held, k.booked, want[k.id])
		case k.number >= e.room.serving, k.number >= e.room.lapsedTo && !e.room.window.cameBy(k.number):
			return fmt.Errorf("number %d is inside and was not let in", k.number)
		}
	}
	if len(p.byID) != p.len() || len(p.byNumber) != p.len() || p.pool.size() != p.len() {
		return fmt.Errorf("%d passes end, %d are found by id, %d by number, %d are in use", p.len(), len(p.byID), len(p.byNumber), p.pool.size())
	}
	return nil
}

func (r *room) checkVisitors() error {
	v := &r.visitors
	used := uint64(0)
	for i := range v.tables {
		used += uint64(v.tables[i].used)
	}
	if used != v.count || len(v.pages) != int((v.count+pageVisitors-1)/pageVisitors) {
		return fmt.Errorf("%d visitors, %d in tables, on %d pages", v.count, used, len(v.pages))
	}
	for number := range v.count {
		if got, ok := v.find(v.at(number)); !ok || got != number {
			return fmt.Errorf("visitor %d is found as %d", number, got)
		}
	}
	return nil
}
