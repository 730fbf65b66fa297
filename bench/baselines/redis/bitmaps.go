package redis

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/usher-seats/usher/bench/baselines/inventory"
)

// In a bitmap a row has 64 bits, of which those past its end are taken for ever,
// so that a script reads it as one word. Keys of an event:
//
//	m  the map: taken, a bit for each seat, and behind that booked, likewise
//	d  the holds, a sorted set by when they end. A member is number and bits, which
//	   its owner knows: who can name it has the hold
//	k  the bookings, a set of such members
//	f  rows that may have a group of best available's size
const rowBits = 64

// bit is the place of a seat in a bitmap, seatAt the inverse.
func bit(seat int) int { return seat/inventory.RowSeats*rowBits + seat%inventory.RowSeats }

func seatAt(bit int) int { return bit/rowBits*inventory.RowSeats + bit%rowBits }

// create sets the padding of rows, and all rows as worth a look.
func (e *event) create(ctx context.Context, c rueidis.Client) error {
	rows := e.seats / inventory.RowSeats
	taken := bytes.Repeat([]byte{0, 0, 0, 0, 0, 0, 0x3f, 0xff}, rows)
	fits := make([]byte, (rows+7)/8)
	for i := range rows {
		fits[i/8] |= 0x80 >> (i % 8)
	}
	for _, r := range c.DoMulti(ctx,
		c.B().Set().Key(e.seatMap).Value(string(append(taken, make([]byte, len(taken))...))).Build(),
		c.B().Set().Key(e.fits).Value(string(fits)).Build(),
	) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	return nil
}

// member names a hold in the sorted set.
func member(number uint64, bits []string) string {
	b := strconv.AppendUint(make([]byte, 0, 48), number, 10)
	for _, s := range bits {
		b = append(append(b, ' '), s...)
	}
	return string(b)
}

func bits(seats []int) []string {
	list := make([]string, len(seats), len(seats)+2)
	for i, s := range seats {
		list[i] = strconv.Itoa(bit(s))
	}
	return list
}

func (c *conn) bitmapCommand(e *event, r *inventory.Request) rueidis.Completed {
	ttl := strconv.FormatInt(r.Life().Milliseconds(), 10)
	switch r.Op {
	case inventory.Hold:
		b := bits(r.Seats)
		return c.eval("bitmap_hold.lua", []string{e.seatMap, e.due}, []string{member(r.Number, b), ttl}, b)
	case inventory.Best:
		return c.eval("bitmap_best.lua", []string{e.seatMap, e.due, e.fits}, []string{strconv.FormatUint(r.Number, 10), ttl, strconv.Itoa(r.Count)}, nil)
	case inventory.Confirm:
		b := bits(r.Seats)
		return c.eval("bitmap_confirm.lua", []string{e.due, e.seatMap, e.bookings}, []string{member(r.Number, b), strconv.Itoa(e.mapBits())}, b)
	case inventory.Release:
		b := bits(r.Seats)
		return c.eval("bitmap_release.lua", []string{e.due, e.seatMap, e.fits}, []string{member(r.Number, b)}, b)
	}
	return c.client.B().Get().Key(e.seatMap).Build()
}

// mapBits is the length of each half of the map.
func (e *event) mapBits() int { return e.seats / inventory.RowSeats * rowBits }

func bitmapStates(answer []byte, seats int) ([]inventory.State, error) {
	size := seats / inventory.RowSeats * rowBits / 8
	if len(answer) != 2*size {
		return nil, fmt.Errorf("bitmaps of %d bytes, want %d", len(answer), 2*size)
	}
	taken, booked := answer[:size], answer[size:]
	has := func(m []byte, bit int) bool { return m[bit/8]&(0x80>>(bit%8)) != 0 }
	states := make([]inventory.State, seats)
	for i := range states {
		switch at := bit(i); {
		case has(booked, at) && !has(taken, at):
			return nil, fmt.Errorf("seat %d is booked but not taken", i)
		case has(booked, at):
			states[i] = inventory.Booked
		case has(taken, at):
			states[i] = inventory.Held
		}
	}
	return states, nil
}

func (r *Inventory) findInBitmaps(ctx context.Context, e *event, p inventory.Receipt) (inventory.Found, error) {
	name := member(p.Number, bits(p.Seats))
	results := r.client.DoMulti(ctx,
		r.client.B().Zscore().Key(e.due).Member(name).Build(),
		r.client.B().Sismember().Key(e.bookings).Member(name).Build(),
	)
	_, err := results[0].AsFloat64()
	if err == nil {
		return found(inventory.Held, p), nil
	}
	if !rueidis.IsRedisNil(err) {
		return inventory.Found{}, err
	}
	booked, err := results[1].AsBool()
	if err != nil || !booked {
		return inventory.Found{}, err
	}
	return found(inventory.Booked, p), nil
}
