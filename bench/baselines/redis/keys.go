package redis

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/usher-seats/usher/bench/baselines/inventory"
)

// A seat that is taken has a key, with the number of its hold and the time that is
// left; once it is booked the number has a prefix, and no end.
const bookedPrefix = "b"

func (c *conn) keyCommand(e *event, r *inventory.Request) rueidis.Completed {
	number := strconv.FormatUint(r.Number, 10)
	ttl := strconv.FormatInt(r.Life().Milliseconds(), 10)
	keys := make([]string, len(r.Seats), len(r.Seats)+2)
	for i, s := range r.Seats {
		keys[i] = e.keys[s]
	}
	switch r.Op {
	case inventory.Hold:
		return c.eval("keys_hold.lua", keys, []string{number, ttl}, nil)
	case inventory.Best:
		rows := strconv.Itoa(e.seats / inventory.RowSeats)
		return c.eval("keys_best.lua", nil, []string{number, ttl, strconv.Itoa(r.Count), rows, e.prefix}, nil)
	case inventory.Confirm:
		return c.eval("keys_confirm.lua", keys, []string{number, bookedPrefix + number}, nil)
	case inventory.Release:
		return c.eval("keys_release.lua", keys, []string{number}, nil)
	}
	return c.client.B().Mget().Key(e.keys...).Build()
}

// appendKeys makes an answer to Map: a byte for each seat.
func appendKeys(b []byte, result rueidis.RedisResult) ([]byte, error) {
	values, err := result.ToArray()
	if err != nil {
		return nil, err
	}
	for i := range values {
		state := inventory.Free
		if !values[i].IsNil() {
			v, err := values[i].AsBytes()
			if err != nil {
				return nil, err
			}
			state = stateOf(v)
		}
		b = append(b, byte(state))
	}
	return b, nil
}

func stateOf(value []byte) inventory.State {
	if value[0] == bookedPrefix[0] {
		return inventory.Booked
	}
	return inventory.Held
}

func keyStates(answer []byte, seats int) ([]inventory.State, error) {
	if len(answer) != seats {
		return nil, fmt.Errorf("%d seats, want %d", len(answer), seats)
	}
	states := make([]inventory.State, seats)
	for i, b := range answer {
		states[i] = inventory.State(b)
	}
	return states, nil
}

func (r *Inventory) findInKeys(ctx context.Context, e *event, p inventory.Receipt) (inventory.Found, error) {
	values, err := r.client.Do(ctx, r.client.B().Mget().Key(e.keys...).Build()).ToArray()
	if err != nil {
		return inventory.Found{}, err
	}
	var f inventory.Found
	number := strconv.FormatUint(p.Number, 10)
	for seat := range values {
		if values[seat].IsNil() {
			continue
		}
		v, err := values[seat].ToString()
		if err != nil {
			return f, err
		}
		if v == number || v == bookedPrefix+number {
			f.State = stateOf([]byte(v))
			f.Seats = append(f.Seats, seat)
		}
	}
	return f, nil
}
