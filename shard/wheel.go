package shard

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/usher-seats/usher/wire"
)

const (
	slotBits    = 6
	wheelSlots  = 1 << slotBits
	wheelLevels = 8

	// maxTime is where shard time ends: ids have 48 bits of it, and so has the
	// wheel.
	maxTime wire.Millis = 1 << (slotBits * wheelLevels)
)

// A wheel has the live holds of an event by deadline: level 0 in slots of a
// millisecond, each level above in slots as long as all of the level below. The
// slot of a hold follows from its deadline and the wheel's cursor alone: its level
// is that of the highest digit, to the base of 64, in which the two differ. The
// holds of a slot are chained through their records.
//
// The cursor follows what expires and not the clock, so time costs nothing while
// nothing is due. A hold is moved down at most wheelLevels-1 times, three times at
// the default hold time, and only if it lives that long.
//
// Derived state: not in snapshots, and two replicas may have different cursors.
// Owned by the applier.
type wheel struct {
	cursor   wire.Millis // no deadline in the wheel is before it
	used     [wheelLevels]uint64
	unsorted uint64 // slots of level 0 that are not in the order of their fences
	head     [wheelLevels][wheelSlots]uint32
	tail     [wheelLevels][wheelSlots]uint32

	// least is no later than any deadline in the slot, and exact until the hold
	// that it belongs to is taken out.
	least [wheelLevels][wheelSlots]wire.Millis
}

// place is where a deadline belongs.
func (w *wheel) place(deadline wire.Millis) (level, slot int) {
	if differ := uint64(deadline ^ w.cursor); differ != 0 {
		level = (bits.Len64(differ) - 1) / slotBits
	}
	return level, int(deadline>>(level*slotBits)) & (wheelSlots - 1)
}

// empty reports whether there is no hold in the wheel.
func (w *wheel) empty() bool {
	var any uint64
	for _, u := range w.used {
		any |= u
	}
	return any == 0
}

// insert puts hold i in. If the wheel is empty its cursor goes to now, which is
// not after the deadline.
func (w *wheel) insert(holds *pool[hold], i uint32, now wire.Millis) {
	if w.empty() {
		w.cursor = now
	}
	w.append(holds, i)
}

// append puts a hold at the end of its slot.
func (w *wheel) append(holds *pool[hold], i uint32) {
	h := holds.at(i)
	level, slot := w.place(h.deadline)
	bit := uint64(1) << slot
	h.next = none
	if w.used[level]&bit == 0 {
		w.used[level] |= bit
		if level == 0 {
			w.unsorted &^= bit
		}
		h.prev = none
		w.head[level][slot] = i
		w.least[level][slot] = h.deadline
	} else {
		last := w.tail[level][slot]
		l := holds.at(last)
		l.next, h.prev = i, last
		if level == 0 && l.fence > h.fence {
			w.unsorted |= bit
		}
		w.least[level][slot] = min(w.least[level][slot], h.deadline)
	}
	w.tail[level][slot] = i
}

// remove takes hold i out, whose deadline must not have changed since.
func (w *wheel) remove(holds *pool[hold], i uint32) {
	h := holds.at(i)
	if h.next != none && h.prev != none {
		holds.at(h.next).prev = h.prev
		holds.at(h.prev).next = h.next
		return
	}
	level, slot := w.place(h.deadline)
	if h.next != none {
		holds.at(h.next).prev = none
		w.head[level][slot] = h.next
		return
	}
	if h.prev != none {
		holds.at(h.prev).next = none
		w.tail[level][slot] = h.prev
		return
	}
	w.used[level] &^= 1 << slot
}

// first is the slot with the earliest deadlines. Slots of a level are later than
// all of the levels below, and none is before the cursor's own digit.
func (w *wheel) first() (level, slot int, ok bool) {
	for level := range w.used {
		if u := w.used[level]; u != 0 {
			return level, bits.TrailingZeros64(u), true
		}
	}
	return 0, 0, false
}

// bound is a time before which nothing is due: the earliest deadline, or an
// earlier one that was taken out.
func (w *wheel) bound() wire.Millis {
	level, slot, ok := w.first()
	if !ok {
		return wire.Never
	}
	return w.least[level][slot]
}

// due is the hold that expires first, in the order (deadline, fence), or none if
// that is after now. scratch is for sorting.
func (w *wheel) due(holds *pool[hold], now wire.Millis, scratch *[]uint32) uint32 {
	for {
		level, slot, ok := w.first()
		if !ok || w.least[level][slot] > now {
			return none
		}
		if level > 0 {
			w.cascade(holds, level, slot)
			continue
		}
		w.cursor = w.least[0][slot]
		if w.unsorted&(1<<slot) != 0 {
			w.sort(holds, slot, scratch)
		}
		return w.head[0][slot]
	}
}

// cascade spreads the first slot, on a level above 0, over the levels below. Its
// holds keep their order. Cost: O(holds in the slot), which are at most all of
// the event.
func (w *wheel) cascade(holds *pool[hold], level, slot int) {
	span := wire.Millis(1) << (level * slotBits)
	w.cursor = w.least[level][slot] &^ (span - 1)
	w.used[level] &^= 1 << slot
	for i := w.head[level][slot]; i != none; {
		next := holds.at(i).next
		w.append(holds, i)
		i = next
	}
}

// sort brings the holds of a slot of level 0, which have one deadline, into the
// order of their fences. They come out of order only if one was extended or its
// event restored.
func (w *wheel) sort(holds *pool[hold], slot int, scratch *[]uint32) {
	list := (*scratch)[:0]
	for i := w.head[0][slot]; i != none; i = holds.at(i).next {
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b uint32) int {
		return cmp.Compare(holds.at(a).fence, holds.at(b).fence)
	})
	w.used[0] &^= 1 << slot
	for _, i := range list {
		w.append(holds, i)
	}
	*scratch = list
}
