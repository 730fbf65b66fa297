package soak

import (
	"context"
	"fmt"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A cycler makes holds and releases them again, in halls in turn, until it has
// sent so many bytes of operations. Each slot has its own seats in each hall, so
// every hold is granted. Belongs to the goroutine that plays it.
type cycler struct {
	halls   []*hall
	first   int // seat of slot 0
	perHold int // seats; the slots' seats follow each other
	left    int64

	cycles  int
	slots   map[int]*cycle
	heard   time.Time     // the last answer
	silence time.Duration // the longest time without one
}

// A cycle is what a slot is doing.
type cycle struct {
	hall  *hall
	turn  int
	id    wire.ID
	fence wire.Fence // 0: no hold
}

func (c *cycler) next(slot int, b []byte) (wire.Kind, []byte) {
	if c.slots == nil {
		c.slots = make(map[int]*cycle)
	}
	s := c.slots[slot]
	if s == nil {
		s = new(cycle)
		c.slots[slot] = s
	}
	before := len(b)
	if s.fence != 0 {
		release := wire.OnHold{Mutation: wire.Mutation{Event: s.hall.event.ID(), ID: s.id}, Fence: s.fence}
		b = release.Append(b)
		c.left -= int64(wire.RecordSize + len(b) - before)
		return wire.KindRelease, b
	}
	if c.left <= 0 {
		return 0, nil
	}
	s.hall = c.halls[(slot+s.turn)%len(c.halls)]
	s.turn++
	c.cycles++
	s.id = idOf(s.hall.event.Now(), cycleIDs|uint64(c.cycles))
	hold := wire.Hold{Mutation: wire.Mutation{Event: s.hall.event.ID(), ID: s.id}}
	var list [4 * wire.MaxHoldSeats]byte
	hold.Seats = list[:0]
	for i := range c.perHold {
		hold.Seats = hold.Seats.Append(wire.SeatID(c.first + slot*c.perHold + i))
	}
	b = hold.Append(b)
	c.left -= int64(wire.RecordSize + len(b) - before)
	return wire.KindHold, b
}

// cycleIDs is above the numbers of all other holds.
const cycleIDs = 1 << 57

func (c *cycler) done(slot int, head wire.Header, body []byte) error {
	now := time.Now()
	if !c.heard.IsZero() {
		c.silence = max(c.silence, now.Sub(c.heard))
	}
	c.heard = now
	s := c.slots[slot]
	if s.fence != 0 {
		s.fence = 0
		if head.Status != wire.StatusOK {
			return fmt.Errorf("release: %v %s", head.Status, body)
		}
		return nil
	}
	var g wire.Granted
	if err := granted(head, body, &g); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	s.fence = g.Fence
	return nil
}

// released reads the last hold of each slot back.
func (c *cycler) released(ctx context.Context) error {
	for _, s := range c.slots {
		info, err := s.hall.event.GetHold(ctx, s.id)
		if err != nil {
			return fmt.Errorf("hold that was released last: %w", err)
		}
		if info.State != wire.StateReleased {
			return fmt.Errorf("hold that was released is %v", info.State)
		}
	}
	return nil
}
