package wrong

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/usher-seats/usher/bench/baselines/inventory"
	"github.com/usher-seats/usher/bench/baselines/postgres"
	"github.com/usher-seats/usher/bench/baselines/usher"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// LongOptions of the experiment with the stalled client.
type LongOptions struct {
	Stall   time.Duration // how long the client does nothing
	Clients int           // others who hold seats and give them back
	Wanted  int           // the first so many seats, which they choose from
}

// LongResult is how long others waited for an answer.
type LongResult struct {
	PostgresBefore, PostgresDuring Times
	UsherBefore, UsherDuring       Times
}

// Long stalls a client in the middle of a hold, and measures how long others wait
// for their answers: where its transaction holds locks, and in Usher.
func Long(ctx context.Context, c *Config, o LongOptions, out io.Writer) (*LongResult, error) {
	fmt.Fprintf(out, "A long transaction blocks others: one client stalls for %v with 2 of %d wanted seats, %d others hold and release.\n",
		o.Stall, o.Wanted, o.Clients)
	r := new(LongResult)
	p, err := c.startPostgres(ctx, postgres.ForUpdate, 0)
	if err != nil {
		return nil, err
	}
	r.PostgresBefore, r.PostgresDuring, err = others(ctx, p, o, stalledTransaction(p))
	p.Close()
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	fmt.Fprintf(out, "  PostgreSQL, FOR UPDATE, before: %v\n                          during: %v\n", r.PostgresBefore, r.PostgresDuring)
	u, err := c.startUsher(ctx)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	if r.UsherBefore, r.UsherDuring, err = others(ctx, u, o, stalledPipe(u)); err != nil {
		return nil, fmt.Errorf("Usher: %w", err)
	}
	fmt.Fprintf(out, "  Usher,                  before: %v\n                          during: %v\n", r.UsherBefore, r.UsherDuring)
	return r, nil
}

// A stall begins something and gives what ends it.
type stall func(ctx context.Context) (end func(), err error)

// stalledTransaction has locked the first two seats, and then its client thinks,
// or collects garbage, or waits for a bank.
func stalledTransaction(p *postgres.Inventory) stall {
	return func(ctx context.Context) (func(), error) {
		c, err := pgx.Connect(ctx, p.Server().URL())
		if err != nil {
			return nil, err
		}
		for _, sql := range []string{"BEGIN", "SELECT seat FROM seats WHERE event = 1 AND seat IN (0, 1) ORDER BY seat FOR UPDATE"} {
			if _, err := c.Exec(ctx, sql); err != nil {
				c.Close(ctx)
				return nil, err
			}
		}
		return func() { c.Close(context.WithoutCancel(ctx)) }, nil // which rolls back
	}
}

// stalledPipe has asked for the first two seats and does not even read the answer.
// That is as far as a client can get into Usher.
func stalledPipe(u *usher.Inventory) stall {
	return func(ctx context.Context) (func(), error) {
		ev, err := u.Client().Event(ctx, u.Key(event))
		if err != nil {
			return nil, err
		}
		p, err := client.DialPipe(ctx, u.Nodes()[0].Addr, nil)
		if err != nil {
			return nil, err
		}
		hold := wire.Hold{
			Mutation: wire.Mutation{Event: ev.ID(), ID: wire.NewID(ev.Now(), [10]byte{9: 1})},
			Seats:    wire.MakeSeatList(0, 1),
		}
		p.Add(wire.KindHold, 0, hold.Append(nil))
		if err := p.Flush(); err != nil {
			p.Close()
			return nil, err
		}
		return func() { p.Close() }, nil
	}
}

// others hold pairs of the wanted seats, and release what they got, for o.Stall
// before and for o.Stall during the stall.
func others(ctx context.Context, inv inventory.Inventory, o LongOptions, s stall) (before, during Times, err error) {
	if before, err = busy(ctx, inv, o, 1); err != nil {
		return nil, nil, err
	}
	end, err := s(ctx)
	if err != nil {
		return nil, nil, err
	}
	timer := time.AfterFunc(o.Stall, end)
	defer timer.Stop()
	during, err = busy(ctx, inv, o, 2)
	return before, during, err
}

// busy measures each request of all clients.
func busy(ctx context.Context, inv inventory.Inventory, o LongOptions, turn int) (Times, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var all Times
	var wg sync.WaitGroup
	for i := range o.Clients {
		wg.Go(func() {
			mine, err := busyClient(ctx, inv, o, uint64(turn)<<40|uint64(i)<<24)
			if err != nil {
				cancel(err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	return all, context.Cause(ctx)
}

func busyClient(ctx context.Context, inv inventory.Inventory, o LongOptions, number uint64) (Times, error) {
	c, err := inv.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var took Times
	r := rand.New(rand.NewPCG(1, number))
	for begin := time.Now(); time.Since(begin) < o.Stall; {
		number++
		first := r.IntN(o.Wanted - 1)
		hold := inventory.Request{Op: inventory.Hold, Event: event, Number: number, Seats: []int{first, first + 1}}
		sent := time.Now()
		a, err := ask(ctx, c, hold)
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(sent))
		if a.Status != inventory.OK {
			continue
		}
		hold.Op, hold.Grant = inventory.Release, a.Grant
		if _, err := ask(ctx, c, hold); err != nil {
			return nil, err
		}
	}
	return took, nil
}
