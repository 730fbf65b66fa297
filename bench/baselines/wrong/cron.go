package wrong

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/usher-seats/usher/bench/baselines/inventory"
	"github.com/usher-seats/usher/bench/baselines/postgres"
)

// CronOptions of the experiment with the sweeper.
type CronOptions struct {
	Every time.Duration // between two sweeps
	Holds int           // that are abandoned, evenly over two sweeps
	TTL   time.Duration // of a hold
}

// CronResult is how long after their time seats could be had again.
type CronResult struct{ Swept, Usher Times }

// Cron lets visitors abandon holds, and measures how long after their time
// somebody else can have the seats: where a sweeper frees them, and in Usher.
func Cron(ctx context.Context, c *Config, o CronOptions, out io.Writer) (*CronResult, error) {
	fmt.Fprintf(out, "A lagging cron keeps seats away: %d abandoned holds of %v, a sweep every %v.\n", o.Holds, o.TTL, o.Every)
	r := new(CronResult)
	p, err := c.startPostgres(ctx, postgres.Swept, o.Every)
	if err != nil {
		return nil, err
	}
	r.Swept, err = abandon(ctx, p, o)
	p.Close()
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	fmt.Fprintf(out, "  PostgreSQL, status and sweeper: seats are back late by %v\n", r.Swept)
	u, err := c.startUsher(ctx)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	if r.Usher, err = abandon(ctx, u, o); err != nil {
		return nil, fmt.Errorf("Usher: %w", err)
	}
	fmt.Fprintf(out, "  Usher:                          seats are back late by %v\n", r.Usher)
	return r, nil
}

const (
	probeEvery  = 5 * time.Millisecond // somebody else asks for all seats that are due
	probesAtAll = 64                   // requests at once, at most
)

// abandon makes holds that nobody gives back, and has somebody else ask for their
// seats from the moment on when they are due, until he has them all.
func abandon(ctx context.Context, inv inventory.Inventory, o CronOptions) (Times, error) {
	c, err := inv.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	type waiting struct {
		seat int
		due  time.Time
	}
	var late Times
	var queue []waiting
	number := uint64(0)
	gap := 2 * o.Every / time.Duration(o.Holds)
	begin := time.Now()
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for made := 0; made < o.Holds || len(queue) > 0; {
		if made < o.Holds && time.Since(begin) >= time.Duration(made)*gap {
			number++
			a, err := ask(ctx, c, inventory.Request{Op: inventory.Hold, Event: event, Number: number, Seats: []int{made}, TTL: o.TTL})
			if err != nil || a.Status != inventory.OK {
				return nil, fmt.Errorf("hold seat %d: %v %w", made, a.Status, err)
			}
			// From now: the server began counting before. So nothing seems late that is not.
			queue = append(queue, waiting{made, time.Now().Add(o.TTL)})
			made++
		}
		var requests []inventory.Request
		for _, w := range queue[:min(len(queue), probesAtAll)] {
			if time.Now().Before(w.due) {
				break // queue is in the order of what is due
			}
			number++
			requests = append(requests, inventory.Request{Op: inventory.Hold, Event: event, Number: number, Seats: []int{w.seat}})
		}
		answers := make([]inventory.Answer, len(requests))
		if err := c.Do(ctx, requests, answers); err != nil {
			return nil, err
		}
		now := time.Now()
		var rest []waiting
		for i, a := range answers {
			if a.Status == inventory.OK {
				late = append(late, now.Sub(queue[i].due))
				continue
			}
			rest = append(rest, queue[i])
		}
		queue = append(rest, queue[len(requests):]...)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return late, nil
}
