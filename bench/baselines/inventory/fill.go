package inventory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	fillConns = 8              // connections that take seats before a measurement
	fillDepth = 32             // requests of each at once
	fillSeats = 10             // seats of a hold that takes seats
	fillTTL   = 12 * time.Hour // longer than any run
)

// fill holds the seats for longer than the run lasts, and notes it.
func fill(ctx context.Context, inv Inventory, l *Ledger, names *numbers, seats []int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan []Request, fillConns)
	var wg sync.WaitGroup
	for range fillConns {
		wg.Go(func() {
			if err := fillSome(ctx, inv, l, work); err != nil {
				cancel(err)
			}
		})
	}
	var batch []Request
	for part := range slices.Chunk(seats, fillSeats) {
		part = slices.Sorted(slices.Values(part))
		batch = append(batch, Request{Op: Hold, Event: l.event, Number: names.next(), Seats: part, TTL: fillTTL})
		if len(batch) == fillDepth {
			give(ctx, work, batch)
			batch = nil
		}
	}
	give(ctx, work, batch)
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}

func give(ctx context.Context, work chan<- []Request, batch []Request) {
	select {
	case work <- batch:
	case <-ctx.Done():
	}
}

func fillSome(ctx context.Context, inv Inventory, l *Ledger, work <-chan []Request) error {
	c, err := inv.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	answers := make([]Answer, fillDepth)
	for batch := range work {
		if err := c.Do(ctx, batch, answers[:len(batch)]); err != nil {
			return fmt.Errorf("take seats: %w", err)
		}
		for i := range batch {
			if answers[i].Status != OK {
				return fmt.Errorf("take seats: seats %v of a new event are %v", batch[i].Seats, answers[i].Status)
			}
			if err := l.Granted(batch[i].Number, batch[i].Seats); err != nil {
				return err
			}
		}
	}
	return nil
}
