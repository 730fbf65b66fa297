package shard_test

import (
	"slices"

	"github.com/usher-seats/usher/wire"
)

// pastKept is how many requests may come once more.
const pastKept = 1_500

// batch makes the records of one entry.
func (tr *trial) batch(n int) []wire.Record {
	var list []wire.Record
	for range n {
		list = append(list, tr.record())
	}
	return list
}

// record is a fresh request, one that comes again, or one that was delayed.
func (tr *trial) record() wire.Record {
	for {
		if r := tr.anyRecord(); !tr.model.executesAgain(r) {
			return r
		}
	}
}

func (tr *trial) anyRecord() wire.Record {
	switch k := tr.rand.IntN(100); {
	case k < 12 && len(tr.past) > 0:
		r := tr.past[tr.rand.IntN(len(tr.past))]
		r.Flags |= wire.FlagRepeat
		if r.Kind == wire.KindSetRoom { // by another node, which chose another seed
			r.Body = slices.Clone(r.Body)
			r.Body[wire.SeedAt]++
		}
		return r
	case k < 16 && len(tr.later) > 0:
		i := tr.rand.IntN(len(tr.later))
		r := tr.later[i]
		tr.later = append(tr.later[:i], tr.later[i+1:]...)
		return r
	}
	r := tr.fresh()
	if len(tr.past) == pastKept {
		tr.past[tr.rand.IntN(pastKept)] = r
	} else {
		tr.past = append(tr.past, r)
	}
	if tr.rand.IntN(25) == 0 && len(tr.later) < 200 {
		tr.later = append(tr.later, r) // its second attempt overtakes it
		return tr.fresh()
	}
	return r
}

func (tr *trial) fresh() wire.Record {
	event := wire.EventID(1 + tr.rand.IntN(tr.events))
	if tr.rand.IntN(200) == 0 {
		event = 99
	}
	mu := wire.Mutation{Event: event, ID: tr.newID()}
	if tr.rand.IntN(3) == 0 {
		mu.Deadline = tr.now + wire.Millis(tr.rand.IntN(3_000))
	}
	if mu.Event > 1 && tr.rand.IntN(5) < 2 || tr.events == 1 && tr.rand.IntN(5) == 0 {
		return tr.newRoom(mu)
	}
	switch k := tr.rand.IntN(100); {
	case k < 40:
		return tr.newHold(mu)
	case k < 80:
		return tr.newOnHold(mu)
	case k < 90:
		return tr.newBooking(mu)
	}
	return tr.newOffice(mu)
}

// newID makes an id; now and then one that is known, from long ago, from the
// future, hashed, or no id at all.
func (tr *trial) newID() wire.ID {
	var random [10]byte
	for i := range random {
		random[i] = byte(tr.rand.Uint32())
	}
	now := tr.now - wire.Millis(tr.rand.IntN(50))
	switch tr.rand.IntN(300) {
	case 0:
		if len(tr.ids) > 0 {
			return tr.someID()
		}
	case 1:
		now -= wire.Millis(tr.rand.IntN(900_000))
	case 2:
		now += wire.Millis(tr.rand.IntN(130_000))
	case 3:
		return wire.KeyID(string(random[:]))
	case 4:
		return wire.ID(append(random[:], 1, 2, 3, 4, 5, 6))
	}
	return wire.NewID(now, random)
}

// someID is that of a hold, more likely of a recent one.
func (tr *trial) someID() wire.ID {
	n := len(tr.ids)
	if n == 0 {
		return tr.newID()
	}
	return tr.ids[n-1-min(tr.rand.IntN(n), tr.rand.IntN(n), tr.rand.IntN(n), tr.rand.IntN(60))%n]
}

func (tr *trial) newHold(mu wire.Mutation) wire.Record {
	tr.ids = append(tr.ids, mu.ID)
	buyer := wire.BuyerID(tr.rand.IntN(6))
	channel := wire.ChannelKey(tr.rand.IntN(3))
	pass := tr.somePass(tr.model.events[mu.Event])
	var ttl uint32
	if tr.rand.IntN(2) == 0 {
		ttl = uint32(1 + tr.rand.IntN(15_000))
	}
	switch k := tr.rand.IntN(10); {
	case k < 6:
		op := wire.Hold{Mutation: mu, Buyer: buyer, Channel: channel, Pass: pass, TTL: ttl, Seats: tr.neighbours(mu.Event, 1+tr.rand.IntN(5))}
		return wire.Record{Kind: wire.KindHold, Body: op.Append(nil)}
	case k < 8:
		op := wire.HoldBest{Mutation: mu, Buyer: buyer, Channel: channel, Pass: pass, TTL: ttl, Count: uint16(tr.rand.IntN(6)), Section: wire.Any}
		op.Flags = wire.HoldFlags(tr.rand.IntN(4)) << 1
		return wire.Record{Kind: wire.KindHoldBest, Body: op.Append(nil)}
	}
	op := wire.HoldArea{Mutation: mu, Buyer: buyer, Channel: channel, Pass: pass, TTL: ttl, Area: uint16(tr.rand.IntN(20) / 19), Count: uint16(tr.rand.IntN(5))}
	return wire.Record{Kind: wire.KindHoldArea, Body: op.Append(nil)}
}

// neighbours chooses seats next to each other, now and then one twice or one
// that is none.
func (tr *trial) neighbours(event wire.EventID, n int) wire.SeatList {
	e := tr.model.events[event]
	if e == nil {
		return wire.MakeSeatList(0)
	}
	s := wire.SeatID(tr.rand.IntN(int(e.end())))
	for _, ok := e.state[s]; !ok && tr.rand.IntN(40) > 0; _, ok = e.state[s] {
		s = wire.SeatID(tr.rand.IntN(int(e.end())))
	}
	list := wire.MakeSeatList(s)
	for i := range wire.SeatID(max(n, 1) - 1) {
		if _, ok := e.state[s+i+1]; ok || tr.rand.IntN(40) == 0 {
			list = list.Append(s + i + 1)
		}
	}
	if tr.rand.IntN(60) == 0 {
		list = list.Append(s)
	}
	return list
}

// newOnHold is a step in the life of a hold.
func (tr *trial) newOnHold(mu wire.Mutation) wire.Record {
	mu.ID = tr.someID()
	var fence wire.Fence
	var seats []wire.SeatID
	for id := range wire.EventID(tr.events + 1) {
		if h := tr.holdIn(id, mu.ID); h != nil {
			mu.Event, fence, seats = id, h.fence, h.seats
		}
	}
	if tr.rand.IntN(30) == 0 {
		fence += wire.Fence(tr.rand.IntN(3))
	}
	part := tr.part(seats)
	switch tr.rand.IntN(8) {
	case 0:
		op := wire.Pay{Mutation: mu, Fence: fence}
		return wire.Record{Kind: wire.KindPay, Body: op.Append(nil)}
	case 1:
		op := wire.Extend{Mutation: mu, Fence: fence, TTL: uint32(tr.rand.IntN(2) * 2_000), Nth: uint8(tr.rand.IntN(3))}
		return wire.Record{Kind: wire.KindExtend, Body: op.Append(nil)}
	case 2, 3, 4:
		op := wire.OnHold{Mutation: mu, Fence: fence, Seats: part}
		return wire.Record{Kind: wire.KindConfirm, Body: op.Append(nil)}
	}
	op := wire.OnHold{Mutation: mu, Fence: fence, Seats: part}
	return wire.Record{Kind: wire.KindRelease, Body: op.Append(nil)}
}

// holdIn is a hold of an event, or nil. Events are asked in the order of their
// numbers, so that a seed always makes the same requests.
func (tr *trial) holdIn(event wire.EventID, id wire.ID) *modelHold {
	if e := tr.model.events[event]; e != nil {
		return e.holds[id]
	}
	return nil
}

// part is usually nothing, which means all; otherwise some of the seats.
func (tr *trial) part(seats []wire.SeatID) (list wire.SeatList) {
	if tr.rand.IntN(3) > 0 {
		return nil
	}
	for _, s := range seats {
		if tr.rand.IntN(2) == 0 {
			list = list.Append(s)
		}
	}
	if tr.rand.IntN(40) == 0 {
		list = list.Append(wire.SeatID(tr.rand.IntN(200)))
	}
	return list
}

// newBooking cancels or exchanges.
func (tr *trial) newBooking(mu wire.Mutation) wire.Record {
	booking := tr.someID()
	var booked []wire.SeatID
	for range 20 { // bookings are rarer than holds
		for id := range wire.EventID(tr.events + 1) {
			if h := tr.holdIn(id, booking); h != nil {
				mu.Event, booked = id, h.in(wire.StateBooked)
			}
		}
		if len(booked) > 0 {
			break
		}
		booking = tr.someID()
	}
	if tr.rand.IntN(2) == 0 {
		op := wire.Cancel{Mutation: mu, Booking: booking, Seats: tr.part(booked)}
		return wire.Record{Kind: wire.KindCancel, Body: op.Append(nil)}
	}
	give := wire.MakeSeatList(booked...)
	if len(booked) > 1 && tr.rand.IntN(2) == 0 {
		give = wire.MakeSeatList(booked[0])
	}
	op := wire.Exchange{Mutation: mu, Booking: booking, Channel: wire.ChannelKey(tr.rand.IntN(3)), Give: give, Take: tr.neighbours(mu.Event, give.Len())}
	return wire.Record{Kind: wire.KindExchange, Body: op.Append(nil)}
}

// newOffice is what a box office does, mostly undoing it, so that seats are left.
func (tr *trial) newOffice(mu wire.Mutation) wire.Record {
	switch k := tr.rand.IntN(20); {
	case k < 5:
		op := wire.SeatsOp{Mutation: mu, Seats: tr.neighbours(mu.Event, 1+tr.rand.IntN(3))}
		return wire.Record{Kind: wire.KindBlock, Body: op.Append(nil)}
	case k < 15:
		op := wire.SeatsOp{Mutation: mu, Seats: tr.blocked(mu.Event)}
		return wire.Record{Kind: wire.KindUnblock, Body: op.Append(nil)}
	case k < 19:
		op := wire.SetChannel{Mutation: mu, Seats: tr.neighbours(mu.Event, 4)}
		if tr.rand.IntN(3) == 0 {
			op.Name, op.Key = []byte{"ab"[tr.rand.IntN(2)]}, wire.ChannelKey(1+tr.rand.IntN(2))
		}
		return wire.Record{Kind: wire.KindSetChannel, Body: op.Append(nil)}
	}
	op := wire.SetRules{Mutation: mu, Rules: tr.manifest(1).Rules}
	return wire.Record{Kind: wire.KindSetRules, Body: op.Append(nil)}
}

// blocked is some seats that are blocked, or any if none are.
func (tr *trial) blocked(event wire.EventID) (list wire.SeatList) {
	e := tr.model.events[event]
	if e == nil {
		return wire.MakeSeatList(0)
	}
	for s := range e.end() {
		if e.state[s] == wire.SeatBlocked && list.Len() < 12 {
			list = list.Append(s)
		}
	}
	if list.Len() == 0 {
		return tr.neighbours(event, 2)
	}
	return list
}
