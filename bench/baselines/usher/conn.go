package usher

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/usher-seats/usher/bench/baselines/inventory"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A conn is a pipe: all requests of a Do with one write.
type conn struct {
	usher  *Inventory
	pipe   *client.Pipe
	clocks map[int]clock
	seats  wire.SeatList
	maps   [][]byte // answers to Map of the last Do
}

// A clock estimates an event's time for ids, never ahead of it.
type clock struct {
	id   wire.EventID
	now  wire.Millis
	read time.Time
}

func (u *Inventory) Dial(ctx context.Context) (inventory.Conn, error) {
	p, err := client.DialPipe(ctx, u.leader, nil)
	if err != nil {
		return nil, err
	}
	return &conn{usher: u, pipe: p, clocks: make(map[int]clock)}, nil
}

func (c *conn) Close() { c.pipe.Close() }

func (c *conn) clock(event int) clock {
	k, ok := c.clocks[event]
	if !ok {
		ev := c.usher.event(event)
		k = clock{ev.ID(), ev.Now(), time.Now()}
		c.clocks[event] = k
	}
	return k
}

// name makes the id of a hold: the event's time, and the number.
func (k clock) name(now time.Time, number uint64) wire.ID {
	var rest [10]byte
	// Ids are UUIDs, which have bits of their own in the first three bytes; numbers
	// have less than 56.
	binary.BigEndian.PutUint64(rest[2:], number)
	return wire.NewID(k.now+wire.Millis(now.Sub(k.read).Milliseconds()), rest)
}

func (c *conn) Do(_ context.Context, requests []inventory.Request, answers []inventory.Answer) error {
	now := time.Now()
	for i := range requests {
		k := c.clock(requests[i].Event)
		kind, body := c.encode(&requests[i], k, now, &answers[i].Grant)
		c.pipe.End(wire.Header{Kind: kind, Request: uint64(i)}, body)
	}
	if err := c.pipe.Flush(); err != nil {
		return err
	}
	for range requests {
		h, body, err := c.pipe.Next()
		if err != nil {
			return err
		}
		if h.Request >= uint64(len(requests)) {
			return fmt.Errorf("an answer to request %d that was never made", h.Request)
		}
		i := int(h.Request)
		if err := c.decode(i, &requests[i], h, body, &answers[i]); err != nil {
			return err
		}
	}
	return nil
}

// encode appends a request's frame. The id of a new hold goes into g.
func (c *conn) encode(r *inventory.Request, k clock, now time.Time, g *inventory.Grant) (wire.Kind, []byte) {
	b := c.pipe.Begin()
	switch r.Op {
	case inventory.Hold:
		c.seats = c.seats[:0]
		for _, s := range r.Seats {
			c.seats = c.seats.Append(seatID(s))
		}
		body := wire.Hold{Mutation: wire.Mutation{Event: k.id, ID: k.name(now, r.Number)}, TTL: millis(r), Seats: c.seats}
		*g = grant(body.ID, 0)
		return wire.KindHold, body.Append(b)
	case inventory.Best:
		body := wire.HoldBest{
			Mutation: wire.Mutation{Event: k.id, ID: k.name(now, r.Number)}, TTL: millis(r),
			Count: uint16(r.Count), Section: wire.Any,
		}
		*g = grant(body.ID, 0)
		return wire.KindHoldBest, body.Append(b)
	case inventory.Map:
		body := wire.EventRef{Event: k.id}
		return wire.KindMap, body.Append(b)
	}
	id, fence := hold(r.Grant)
	body := wire.OnHold{Mutation: wire.Mutation{Event: k.id, ID: id}, Fence: fence}
	if r.Op == inventory.Confirm {
		return wire.KindConfirm, body.Append(b)
	}
	return wire.KindRelease, body.Append(b)
}

func (c *conn) decode(i int, r *inventory.Request, h wire.Header, body []byte, a *inventory.Answer) error {
	switch {
	case h.Status == wire.StatusOK:
		a.Status = inventory.OK
	case h.Status == wire.StatusTaken || h.Status == wire.StatusNotEnough:
		a.Status = inventory.Taken
		return nil
	case h.Status == wire.StatusLost || h.Status == wire.StatusExpired || h.Status == wire.StatusReleased:
		a.Status = inventory.Gone
		return nil
	default:
		return fmt.Errorf("event %d: operation %d answered %v", r.Event, r.Op, h.Status)
	}
	switch r.Op {
	case inventory.Hold, inventory.Best:
		var g wire.Granted
		if err := g.Decode(body); err != nil {
			return fmt.Errorf("answer to hold: %w", err)
		}
		a.Grant[2] = uint64(g.Fence)
		if r.Op == inventory.Best {
			a.Seats = append(a.Seats, indices(g.Seats)...)
		}
	case inventory.Map:
		for len(c.maps) <= i {
			c.maps = append(c.maps, nil)
		}
		c.maps[i] = append(c.maps[i][:0], body...)
		a.Map = c.maps[i]
	}
	return nil
}
