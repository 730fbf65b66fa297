package wrong

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/usher-seats/usher/bench/baselines/inventory"
	"github.com/usher-seats/usher/bench/baselines/redis"
)

// KillOptions of the experiment with kill -9.
type KillOptions struct {
	Load time.Duration // how long holds are made until the server is killed
}

// A Loss is what a server had forgotten when it was started again.
type Loss struct {
	System       string
	Acknowledged int // holds
	Lost         int // of them
}

const (
	killSeats = 200_000
	killConns = 4
	killDepth = 16
)

// A killable is an inventory whose server can be killed and started again.
type killable interface {
	inventory.Inventory
	Kill()
	Restart(ctx context.Context) error
}

// Kill makes holds, kills the server in the middle of it, starts it again, and
// counts the holds that were acknowledged and are gone.
func Kill(ctx context.Context, c *Config, o KillOptions, out io.Writer) ([]Loss, error) {
	fmt.Fprintf(out, "kill -9 after %v of holds, %d connections × %d, and a restart:\n", o.Load, killConns, killDepth)
	startRedis := func(d redis.Durability) func() (killable, error) {
		return func() (killable, error) {
			return redis.Start(ctx, redis.Config{Program: c.Redis, Data: c.Data, Design: redis.Bitmaps, Durability: d})
		}
	}
	var losses []Loss
	for _, s := range []struct {
		name  string
		start func() (killable, error)
	}{
		{"Redis, no persistence", startRedis(redis.Memory)},
		{"Redis, AOF every second", startRedis(redis.EverySecond)},
		{"Redis, AOF always", startRedis(redis.Always)},
		{"Usher", func() (killable, error) { return c.startUsher(ctx) }},
	} {
		inv, err := s.start()
		if err != nil {
			return nil, err
		}
		l, err := killOne(ctx, inv, o)
		inv.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		l.System = s.name
		losses = append(losses, l)
		fmt.Fprintf(out, "  %-24s %d of %d acknowledged holds are lost\n", l.System+":", l.Lost, l.Acknowledged)
	}
	return losses, nil
}

// killEvent is not the experiment's usual one, which has fewer seats.
const killEvent = event + 1

func killOne(ctx context.Context, inv killable, o KillOptions) (Loss, error) {
	if err := inv.Create(ctx, killEvent, killSeats); err != nil {
		return Loss{}, err
	}
	acknowledged := make([]atomic.Bool, killSeats)
	var next atomic.Int64
	conns := make([]inventory.Conn, killConns)
	for i := range conns {
		c, err := inv.Dial(ctx)
		if err != nil {
			return Loss{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	timer := time.AfterFunc(o.Load, inv.Kill)
	defer timer.Stop()
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() { holdUntilKilled(ctx, c, &next, acknowledged) })
	}
	wg.Wait()
	if err := inv.Restart(ctx); err != nil {
		return Loss{}, fmt.Errorf("start again: %w", err)
	}
	return countLost(ctx, inv, acknowledged)
}

// holdUntilKilled takes one seat after the other. Do says which of a batch were
// acknowledged even if the last of them was not; those count.
func holdUntilKilled(ctx context.Context, c inventory.Conn, next *atomic.Int64, acknowledged []atomic.Bool) {
	requests := make([]inventory.Request, killDepth)
	for {
		for i := range requests {
			n := next.Add(1)
			if n >= int64(len(acknowledged)) {
				return
			}
			requests[i] = inventory.Request{Op: inventory.Hold, Event: killEvent, Number: uint64(n), Seats: []int{int(n)}}
		}
		answers := make([]inventory.Answer, killDepth)
		err := c.Do(ctx, requests, answers)
		for i, a := range answers {
			if a.Status == inventory.OK {
				acknowledged[requests[i].Seats[0]].Store(true)
			}
		}
		if err != nil {
			return
		}
	}
}

func countLost(ctx context.Context, inv inventory.Inventory, acknowledged []atomic.Bool) (Loss, error) {
	var l Loss
	states, err := survivors(ctx, inv)
	if err != nil {
		return l, err
	}
	for seat := range acknowledged {
		if !acknowledged[seat].Load() {
			continue
		}
		l.Acknowledged++
		if states[seat] == inventory.Free {
			l.Lost++
		}
	}
	return l, nil
}

// survivors reads the map. A server that has forgotten even the event has
// forgotten all of its seats.
func survivors(ctx context.Context, inv inventory.Inventory) ([]inventory.State, error) {
	states, err := inventory.ReadStates(ctx, inv, killEvent, killSeats)
	if nothing, ok := errors.AsType[*rueidis.RedisError](err); ok && nothing.IsNil() {
		return make([]inventory.State, killSeats), nil
	}
	return states, err
}
