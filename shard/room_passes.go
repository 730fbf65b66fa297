package shard

import (
	"cmp"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// A pass is a visitor who is inside. Owned by the applier.
type pass struct {
	id       wire.PassID
	number   uint64 // queue number
	deadline wire.Millis
	held     uint32 // seats of its live holds; derived
	booked   uint32 // seats of its bookings; derived
	place    uint32 // in the heap, from 0; derived
}

// passes are those that are live, found by id and by number, and the one that ends
// first. Owned by the applier.
type passes struct {
	pool pool[pass]
	heap []uint32 // a binary heap by (deadline, number)

	// Only asked for one key at a time, so their order does not matter.
	byID     map[wire.PassID]uint32
	byNumber map[uint64]uint32
}

func (p *passes) len() int { return len(p.heap) }

// due is when the next pass ends.
func (p *passes) due() wire.Millis {
	if len(p.heap) == 0 {
		return wire.Never
	}
	return p.pool.at(p.heap[0]).deadline
}

// find is the pass with an id, or nil.
func (p *passes) find(id wire.PassID) (uint32, *pass) {
	if i, ok := p.byID[id]; ok {
		return i, p.pool.at(i)
	}
	return none, nil
}

// of is the pass of a number, or nil.
func (p *passes) of(number uint64) (uint32, *pass) {
	if i, ok := p.byNumber[number]; ok {
		return i, p.pool.at(i)
	}
	return none, nil
}

// add adds a pass whose id and number no other has.
func (p *passes) add(id wire.PassID, number uint64, deadline wire.Millis) *pass {
	if p.byID == nil {
		p.byID, p.byNumber = make(map[wire.PassID]uint32), make(map[uint64]uint32)
	}
	i, k := p.pool.take()
	*k = pass{id: id, number: number, deadline: deadline}
	p.byID[id], p.byNumber[number] = i, i
	p.heap = append(p.heap, i)
	p.place(len(p.heap)-1, i)
	p.up(len(p.heap) - 1)
	return k
}

// remove ends a pass.
func (p *passes) remove(i uint32) {
	k := p.pool.at(i)
	delete(p.byID, k.id)
	delete(p.byNumber, k.number)
	at, last := int(k.place), len(p.heap)-1
	p.place(at, p.heap[last])
	p.heap = p.heap[:last]
	if at < last {
		p.up(at)
		p.down(at)
	}
	p.pool.put(i)
}

func (p *passes) place(at int, i uint32) {
	p.heap[at] = i
	p.pool.at(i).place = uint32(at)
}

func (p *passes) before(a, b uint32) bool { return p.pool.at(a).compare(p.pool.at(b)) < 0 }

func (k *pass) compare(o *pass) int {
	return cmp.Or(cmp.Compare(k.deadline, o.deadline), cmp.Compare(k.number, o.number))
}

func (p *passes) up(at int) {
	for at > 0 && p.before(p.heap[at], p.heap[(at-1)/2]) {
		at = p.swap(at, (at-1)/2)
	}
}

func (p *passes) down(at int) {
	for 2*at+1 < len(p.heap) {
		child := 2*at + 1
		if child+1 < len(p.heap) && p.before(p.heap[child+1], p.heap[child]) {
			child++
		}
		if !p.before(p.heap[child], p.heap[at]) {
			return
		}
		at = p.swap(at, child)
	}
}

func (p *passes) swap(at, with int) int {
	a, b := p.heap[at], p.heap[with]
	p.place(at, b)
	p.place(with, a)
	return with
}

// sorted are all of them in the order of their ends.
func (p *passes) sorted() []pass {
	list := make([]pass, 0, len(p.heap))
	for _, i := range p.heap {
		list = append(list, *p.pool.at(i))
	}
	slices.SortFunc(list, func(a, b pass) int { return a.compare(&b) })
	return list
}

// passRefused checks whether a hold may have so many seats with a pass. Whoever
// has the key of a channel needs none.
func (e *Event) passRefused(id wire.PassID, key wire.ChannelKey, seats int) (wire.Status, bool) {
	if e.room == nil || e.channels.opens(key) {
		return 0, false
	}
	_, k := e.room.passes.find(id)
	switch {
	case id == 0:
		return wire.StatusPassRequired, true
	case k == nil:
		return wire.StatusPassEnded, true
	case int(k.held)+int(k.booked)+seats > e.seatsPerPass():
		return wire.StatusPassLimit, true
	}
	return 0, false
}

// opens reports whether the key is that of a channel.
func (c *channels) opens(key wire.ChannelKey) bool {
	if key != 0 {
		for i := range c.list {
			if c.list[i].key == key {
				return true
			}
		}
	}
	return false
}

// usePass notes with which pass a hold was made.
func (e *Event) usePass(i uint32, id wire.PassID, key wire.ChannelKey) {
	if e.room == nil || id == 0 || e.channels.opens(key) {
		return
	}
	e.setPass(i, id)
}

func (e *Event) setPass(i uint32, id wire.PassID) {
	for len(e.passOf) <= int(i) {
		e.passOf = append(e.passOf, 0)
	}
	e.passOf[i] = id
}

// passOn is the pass that a hold was made with; 0: none.
func (e *Event) passOn(i uint32) wire.PassID {
	if int(i) < len(e.passOf) {
		return e.passOf[i]
	}
	return 0
}

// passMoved counts what happened to seats of a hold with its pass. A pass of which
// all seats are booked ends.
func (s *Shard) passMoved(e *Event, i uint32, held, booked int) {
	id := e.passOn(i)
	if id == 0 {
		return
	}
	r := e.room
	r.booked = uint64(max(int64(r.booked)+int64(booked), 0))
	if booked != 0 {
		s.roomChanged(e)
	}
	at, k := r.passes.find(id)
	if k == nil {
		return
	}
	k.held = uint32(int(k.held) + held)
	k.booked = uint32(int(k.booked) + booked)
	if booked > 0 && int(k.booked) >= e.seatsPerPass() {
		r.passes.remove(at)
	}
}
