package shard

import (
	"bytes"
	"math"

	"github.com/usher-seats/usher/wire"
)

// channels are the seats that only a key opens. A seat is in one channel at most.
// Owned by the applier.
type channels struct {
	list   []channel
	union  []uint64 // seats that are in a channel
	named  uint32   // names given to masks so far, for bestQuery.Bars
	unionN uint32   // the name of union
}

type channel struct {
	name  string
	key   wire.ChannelKey
	plane []uint64 // its seats

	// barred is the union without the seats that key opens, which may be those of
	// several channels; barredN is its name for bestQuery.Bars.
	barred  []uint64
	barredN uint32
}

// barredFor is the mask of seats that a request with this key may not have, nil
// if there are no channels, and its name for bestQuery.Bars. A key that opens
// nothing is as good as none.
func (c *channels) barredFor(key wire.ChannelKey) ([]uint64, uint32) {
	if key != 0 {
		for i := range c.list {
			if c.list[i].key == key {
				return c.list[i].barred, c.list[i].barredN
			}
		}
	}
	return c.union, c.unionN
}

// bar reports whether a request with this key may not have one of the seats.
func (c *channels) bar(spots []spot, key wire.ChannelKey) bool {
	barred, _ := c.barredFor(key)
	for _, p := range spots {
		if barred[p.word]&p.mask != 0 {
			return true
		}
	}
	return false
}

// barredSeats has a bit for each seat of the list that wants a key.
func (e *Event) barredSeats(list wire.SeatList, key wire.ChannelKey) (mask uint64) {
	barred, _ := e.channels.barredFor(key)
	for i := range list.Len() {
		seat := list.At(i)
		mask |= barred[seat/wordBits] >> (seat % wordBits) & 1 << i
	}
	return mask
}

// setChannel makes a channel, changes its key, and gives it seats.
func (s *Shard) setChannel(q *request) (wire.Status, []byte) {
	var o wire.SetChannel
	if err := o.Decode(q.body); err != nil {
		return s.malformed(err)
	}
	if len(o.Name) > wire.MaxKeyLen {
		return s.text(wire.StatusBadRequest, "the channel's name has %d bytes; it may have at most %d", len(o.Name), wire.MaxKeyLen)
	}
	if status, body, bad := s.gather(o.Seats, 0, wire.MaxOpSeats); bad {
		return status, body
	}
	if status, body, done := s.admit(q); done {
		return status, body
	}
	e := q.event
	if !e.allPlaces(s.spots) {
		return s.concludeMany(q, wire.StatusUnknownSeat, o.Seats, func(seat wire.SeatID) bool { return !e.lay.valid(seat) })
	}
	to := -1
	if len(o.Name) > 0 {
		to = e.channels.find(o.Name)
		switch {
		case to < 0 && o.Key == 0:
			return s.text(wire.StatusBadRequest, "there is no channel %q yet; a new one needs a key", o.Name)
		case to < 0 && len(e.channels.list) == wire.MaxChannels:
			return s.text(wire.StatusTooLarge, "the event has %d channels, which is the most", wire.MaxChannels)
		}
	}
	e.assignChannel(o, to, s.spots)
	return s.conclude(q, wire.StatusOK)
}

func (c *channels) find(name []byte) int {
	for i := range c.list {
		if string(name) == c.list[i].name {
			return i
		}
	}
	return -1
}

// assignChannel gives seats to the channel with index to, to a new one if the
// operation names one that is not there, or to everybody.
func (e *Event) assignChannel(o wire.SetChannel, to int, spots []spot) {
	c := &e.channels
	if to < 0 && len(o.Name) > 0 {
		to = len(c.list)
		c.list = append(c.list, channel{name: string(o.Name), plane: make([]uint64, e.lay.words)})
		e.publishChannels()
	}
	for i := range c.list {
		for _, p := range spots {
			c.list[i].plane[p.word] &^= p.mask
		}
	}
	if to >= 0 {
		for _, p := range spots {
			c.list[to].plane[p.word] |= p.mask
		}
		if o.Key != 0 {
			c.list[to].key = o.Key
		}
	}
	e.deriveChannels()
}

// deriveChannels computes the masks that requests are checked against.
func (e *Event) deriveChannels() {
	c := &e.channels
	if len(c.list) == 0 {
		return
	}
	c.union = make([]uint64, e.lay.words)
	c.unionN = e.newName()
	for i := range c.list {
		for w, seats := range c.list[i].plane {
			c.union[w] |= seats
		}
	}
	for i := range c.list {
		one := &c.list[i]
		one.barred = append(one.barred[:0], c.union...)
		one.barredN = e.newName()
		for j := range c.list {
			if c.list[j].key != one.key {
				continue
			}
			for w, seats := range c.list[j].plane {
				one.barred[w] &^= seats
			}
		}
	}
}

// newName is a name that no mask of the event has had, as far as the index of best
// seats knows.
func (e *Event) newName() uint32 {
	if e.channels.named == math.MaxUint32 {
		e.channels.named = 0
		e.best = nil
	}
	e.channels.named++
	return e.channels.named
}

// publishChannels tells readers the names.
func (e *Event) publishChannels() {
	names := make([][]byte, len(e.channels.list))
	for i := range names {
		names[i] = bytes.Clone([]byte(e.channels.list[i].name))
	}
	e.names.Store(&names)
}
