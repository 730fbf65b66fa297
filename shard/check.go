package shard

import (
	"errors"
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// check recomputes an event's invariants from its holds and memos. It is run on
// what was loaded and by tests. Cost: O(seats + records).
func (e *Event) check() error {
	for _, check := range []func() error{e.checkPlace, e.checkPlanes, e.checkChains, e.checkIDs, e.checkBuyers, e.checkChannels, e.checkRoom} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkPlace looks whether the event's time stands if it is frozen, and only then.
func (e *Event) checkPlace() error {
	j, stopped, skew := &e.journey, e.stopped.Load(), e.skew.Load()
	switch {
	case j.frozen != 0 && (j.frozen != j.least || stopped < 0 || stopped >= int64(maxTime)),
		j.frozen == 0 && (stopped != notStopped || j.index != 0 || j.hash != 0):
		return fmt.Errorf("it is frozen by move %d since entry %d, has seen those below %d, and its time stands at %d", j.frozen, j.index, j.least, stopped)
	case j.adopted != 0 && j.adopted >= j.least, j.adopted == 0 && j.origin != 0:
		return fmt.Errorf("it was adopted by move %d, and has seen those below %d", j.adopted, j.least)
	case skew > int64(maxTime/2) || skew < -int64(maxTime/2):
		return fmt.Errorf("its time is %d ms ahead of the shard's", skew)
	}
	return nil
}

// checkTime looks whether nothing has happened to the event after a shard time.
func (e *Event) checkTime(shard wire.Millis) error {
	now := e.Now(shard)
	latest := wire.Millis(0)
	e.eachHold(func(_ uint32, h *hold) { latest = max(latest, h.granted, h.timed, h.touched) })
	for i := e.memory.memos.head; i != none; i = e.memos.at(i).next {
		latest = max(latest, e.memos.at(i).now)
	}
	if latest > now {
		return fmt.Errorf("its time is %d, and something happened at %d", now, latest)
	}
	return nil
}

// checkPlanes compares the planes with what holds own and what is blocked.
func (e *Event) checkPlanes() error {
	if e.seq.Load() != e.counter<<1 {
		return fmt.Errorf("sequence %d at version %d", e.seq.Load(), e.counter)
	}
	taken, booked := make([]uint64, e.lay.words), make([]uint64, e.lay.words)
	for w := range taken {
		taken[w] = e.blocked[w].Load()
		if pad := e.lay.pad(w); taken[w]&pad != pad {
			return fmt.Errorf("word %d has padding that is not blocked", w)
		}
	}
	var err error
	e.eachHold(func(_ uint32, h *hold) {
		seats := e.seatsOf(h)
		for k, seat := range seats {
			w, bit := seat/wordBits, uint64(1)<<(seat%wordBits)
			if h.owned()>>k&1 == 0 {
				continue
			}
			if taken[w]&bit != 0 {
				err = fmt.Errorf("seat %d belongs to two, one of them hold %v", seat, h.id)
			}
			taken[w] |= bit
			if h.booked>>k&1 != 0 {
				booked[w] |= bit
			}
		}
	})
	for w := range taken {
		if taken[w] != e.taken[w].Load() || booked[w] != e.booked[w].Load() {
			return fmt.Errorf("word %d: taken %#x, booked %#x; its holds say %#x, %#x",
				w, e.taken[w].Load(), e.booked[w].Load(), taken[w], booked[w])
		}
	}
	return err
}

// checkChains looks whether every hold is in the chain where its state puts it,
// and nowhere else, and whether nothing in a pool is lost.
func (e *Event) checkChains() error {
	var live, total, lists int
	var err error
	e.eachHold(func(_ uint32, h *hold) {
		total++
		if h.live() {
			live++
		}
		if !h.inline() {
			lists++
			if h.flags&holdMoved != 0 {
				lists++
			}
		}
		err = errors.Join(err, h.validate(h.owned() == 0))
	})
	if err != nil {
		return err
	}
	memos := 0
	for i := e.memory.memos.head; i != none; i = e.memos.at(i).next {
		memos++
		if e.memos.at(i).n > 0 {
			lists++
		}
	}
	ended := 0
	var last wire.Millis
	for i := e.memory.holds.head; i != none; i = e.holds.at(i).next {
		ended++
		if e.holds.at(i).touched < last {
			return errors.New("holds that ended are not in the order of their end")
		}
		last = e.holds.at(i).touched
	}
	switch {
	case total != e.holds.size(), memos != e.memos.size(), lists != e.lists.size():
		return fmt.Errorf("%d holds, %d memos and %d lists can be reached; %d, %d and %d are in use",
			total, memos, lists, e.holds.size(), e.memos.size(), e.lists.size())
	case ended+memos != e.memory.count:
		return fmt.Errorf("%d holds and %d memos are remembered, counted %d", ended, memos, e.memory.count)
	}
	return e.checkWheel(live)
}

// checkWheel walks the wheel, which has so many holds.
func (e *Event) checkWheel(live int) error {
	if e.wheel == nil {
		if live > 0 {
			return fmt.Errorf("%d live holds and no wheel", live)
		}
		return nil
	}
	w, n := e.wheel, 0
	for level := range w.used {
		for slot := range wheelSlots {
			if w.used[level]>>slot&1 == 0 {
				continue
			}
			prev := uint32(none)
			for i := w.head[level][slot]; i != none; i = e.holds.at(i).next {
				h := e.holds.at(i)
				n++
				l, s := w.place(h.deadline)
				if !h.live() || l != level || s != slot || h.prev != prev || h.deadline < w.least[level][slot] || h.deadline < w.cursor {
					return fmt.Errorf("hold %v with deadline %d is in slot %d of level %d at cursor %d", h.id, h.deadline, slot, level, w.cursor)
				}
				prev = i
			}
			if w.tail[level][slot] != prev {
				return fmt.Errorf("slot %d of level %d has a wrong end", slot, level)
			}
		}
	}
	if n != live {
		return fmt.Errorf("%d holds are live and %d in the wheel", live, n)
	}
	return nil
}

// checkIDs looks whether every record is found by its id, and nothing else.
func (e *Event) checkIDs() error {
	n := 0
	var err error
	find := func(id *wire.ID, want ref) {
		n++
		if got := e.lookup(id, fingerprint(id)); got != want {
			err = fmt.Errorf("id %v leads to record %#x instead of %#x", id, got, want)
		}
	}
	e.eachHold(func(i uint32, h *hold) { find(&h.id, i) })
	for i := e.memory.memos.head; i != none; i = e.memos.at(i).next {
		find(&e.memos.at(i).id, i|memoRef)
	}
	used := 0
	for i := range e.table.slots {
		if e.table.slots[i].Load() != 0 {
			used++
		}
	}
	if used != n || e.table.count != n {
		return fmt.Errorf("%d records, %d ids in the table, counted %d", n, used, e.table.count)
	}
	return err
}

// checkBuyers counts the buyers' seats again.
func (e *Event) checkBuyers() error {
	if e.buyers.on != (e.rule.SeatsPerBuyer > 0) {
		return errors.New("buyers are counted without a limit, or not counted with one")
	}
	want := make(map[wire.BuyerID]int)
	if e.buyers.on {
		e.eachHold(func(_ uint32, h *hold) {
			if n := seatsIn(h.owned()); n > 0 && h.buyer != 0 {
				want[h.buyer] += n
			}
		})
	}
	for buyer, n := range want {
		if got := e.buyers.seats(buyer); got != n {
			return fmt.Errorf("buyer %#x has %d seats, counted %d", buyer, n, got)
		}
	}
	if e.buyers.used != len(want) {
		return fmt.Errorf("%d buyers have seats, counted %d", len(want), e.buyers.used)
	}
	return nil
}

// checkChannels looks whether channels have no seat in common.
func (e *Event) checkChannels() error {
	seen := make([]uint64, e.lay.words)
	for i := range e.channels.list {
		for w, seats := range e.channels.list[i].plane {
			if seats&(seen[w]|e.lay.pad(w)) != 0 {
				return fmt.Errorf("channel %q has seats of another, or that do not exist", e.channels.list[i].name)
			}
			seen[w] |= seats
		}
	}
	return nil
}
