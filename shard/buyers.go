package shard

import (
	"github.com/usher-seats/usher/wire"
)

const leastBuyers = 16 // slots of a table of buyers

// buyers counts the seats that each buyer holds and has booked, while the event
// limits them. Open addressing, linear probing; nobody has no count. Derived
// state, owned by the applier.
type buyers struct {
	on    bool
	slots []buyerSlot
	used  int
}

type buyerSlot struct {
	buyer wire.BuyerID // 0: free
	seats uint32
}

func (b *buyers) home(id wire.BuyerID) int {
	h := uint64(id) * 0x9e3779b97f4a7c15
	return int(h>>32) & (len(b.slots) - 1)
}

// find is the buyer's slot, or the free one where he would go.
func (b *buyers) find(id wire.BuyerID) int {
	at := b.home(id)
	for b.slots[at].buyer != 0 && b.slots[at].buyer != id {
		at = (at + 1) & (len(b.slots) - 1)
	}
	return at
}

// seats is how many the buyer has.
func (b *buyers) seats(id wire.BuyerID) int {
	if id == 0 || b.used == 0 {
		return 0
	}
	return int(b.slots[b.find(id)].seats)
}

// add gives the buyer n seats more.
func (b *buyers) add(id wire.BuyerID, n int) {
	if !b.on || id == 0 || n == 0 {
		return
	}
	if (b.used+1)*4 > len(b.slots)*3 {
		b.grow()
	}
	s := &b.slots[b.find(id)]
	if s.buyer == 0 {
		s.buyer = id
		b.used++
	}
	s.seats += uint32(n)
}

// sub takes n seats off the buyer, who has as many.
func (b *buyers) sub(id wire.BuyerID, n int) {
	if !b.on || id == 0 || n == 0 {
		return
	}
	at := b.find(id)
	s := &b.slots[at]
	if s.seats < uint32(n) {
		panic("shard: a buyer gives back more seats than he has")
	}
	if s.seats -= uint32(n); s.seats == 0 {
		b.remove(at)
	}
}

// remove frees a slot and closes the gap.
func (b *buyers) remove(gap int) {
	mask := len(b.slots) - 1
	for at := (gap + 1) & mask; b.slots[at].buyer != 0; at = (at + 1) & mask {
		home := b.home(b.slots[at].buyer)
		if (at-home)&mask >= (at-gap)&mask {
			b.slots[gap] = b.slots[at]
			gap = at
		}
	}
	b.slots[gap] = buyerSlot{}
	b.used--
}

func (b *buyers) grow() {
	old := b.slots
	b.slots = make([]buyerSlot, max(2*len(old), leastBuyers))
	for _, s := range old {
		if s.buyer != 0 {
			b.slots[b.find(s.buyer)] = s
		}
	}
}

// countBuyers begins to count, from the holds there are, or stops.
func (e *Event) countBuyers(on bool) {
	if on == e.buyers.on {
		return
	}
	e.buyers = buyers{on: on}
	if !on {
		return
	}
	e.eachHold(func(_ uint32, h *hold) {
		e.buyers.add(h.buyer, seatsIn(h.owned()))
	})
}
