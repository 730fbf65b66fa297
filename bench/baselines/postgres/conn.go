package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/usher-seats/usher/bench/baselines/inventory"
)

// A conn is a connection, with its statements prepared.
type conn struct {
	variant Variant
	pg      *pgx.Conn
	seats   []int32
}

func (p *Inventory) Dial(ctx context.Context) (inventory.Conn, error) {
	c, err := pgx.Connect(ctx, p.server.URL())
	if err != nil {
		return nil, err
	}
	return &conn{variant: p.config.Variant, pg: c}, nil
}

func (c *conn) Close() {
	// The server is ended next; how a session of it ends does not matter.
	_ = c.pg.Close(context.Background())
}

// Do carries out one request after the other, but for batches of a kind.
func (c *conn) Do(ctx context.Context, requests []inventory.Request, answers []inventory.Answer) error {
	if c.variant == Batched {
		return c.batches(ctx, requests, answers)
	}
	for i := range requests {
		if err := c.one(ctx, &requests[i], &answers[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) one(ctx context.Context, r *inventory.Request, a *inventory.Answer) error {
	c.seats = c.seats[:0]
	for _, s := range r.Seats {
		c.seats = append(c.seats, int32(s))
	}
	switch r.Op {
	case inventory.Hold:
		ok, err := c.hold(ctx, r)
		a.Status = verdict(ok, inventory.Taken)
		return err
	case inventory.Best:
		return c.best(ctx, r, a)
	case inventory.Confirm:
		sql := confirmSeats
		if c.variant == Swept {
			sql = confirmSwept
		}
		return c.change(ctx, sql, r, a)
	case inventory.Release:
		return c.change(ctx, releaseSeats, r, a)
	}
	a.Status = inventory.OK
	return c.pg.QueryRow(ctx, readMap, r.Event).Scan(&a.Map)
}

// verdict is OK, or what it is otherwise.
func verdict(ok bool, otherwise inventory.Status) inventory.Status {
	if ok {
		return inventory.OK
	}
	return otherwise
}

func (c *conn) hold(ctx context.Context, r *inventory.Request) (bool, error) {
	switch c.variant {
	case ForUpdate:
		return c.lockAndTake(ctx, r)
	case Swept:
		tag, err := c.pg.Exec(ctx, holdSwept, r.Event, c.seats, int64(r.Number), r.Life())
		return tag.RowsAffected() > 0, err
	case Implicit:
		tag, err := c.pg.Exec(ctx, holdImplicit, r.Event, c.seats, int64(r.Number), r.Life())
		return tag.RowsAffected() > 0, err
	}
	var ok bool
	err := c.pg.QueryRow(ctx, holdCall, r.Event, c.seats, int64(r.Number), r.Life()).Scan(&ok)
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) && pe.Code == stateTaken {
		return false, nil
	}
	return ok, err
}

// lockAndTake is a transaction in two round trips: begin and lock, write and
// commit.
func (c *conn) lockAndTake(ctx context.Context, r *inventory.Request) (bool, error) {
	locked := 0
	b := new(pgx.Batch)
	b.Queue("BEGIN")
	b.Queue(lockSeats, r.Event, c.seats).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			locked++
		}
		return rows.Err()
	})
	if err := c.pg.SendBatch(ctx, b).Close(); err != nil {
		return false, fmt.Errorf("lock: %w", err)
	}
	if locked < len(c.seats) {
		_, err := c.pg.Exec(ctx, "ROLLBACK")
		return false, err
	}
	b = new(pgx.Batch)
	b.Queue(takeSeats, r.Event, c.seats, int64(r.Number), r.Life())
	b.Queue("COMMIT")
	return true, c.pg.SendBatch(ctx, b).Close()
}

// bestTries bounds how often best available is asked again because others had
// locked all there was. Each time some of them have ended.
const bestTries = 1_000

func (c *conn) best(ctx context.Context, r *inventory.Request, a *inventory.Answer) error {
	for range bestTries {
		var got []int32
		if err := c.pg.QueryRow(ctx, bestCall, r.Event, r.Count, int64(r.Number), r.Life()).Scan(&got); err != nil {
			return err
		}
		if got == nil {
			a.Status = inventory.Taken
			return nil
		}
		if len(got) > 0 {
			a.Status = inventory.OK
			for _, s := range got {
				a.Seats = append(a.Seats, int(s))
			}
			return nil
		}
	}
	return fmt.Errorf("event %d: all that is free was locked by others, %d times", r.Event, bestTries)
}

// change confirms or releases: all seats of the hold or none.
func (c *conn) change(ctx context.Context, sql string, r *inventory.Request, a *inventory.Answer) error {
	tag, err := c.pg.Exec(ctx, sql, r.Event, c.seats, int64(r.Number))
	if err != nil {
		return err
	}
	switch tag.RowsAffected() {
	case int64(len(r.Seats)):
		a.Status = inventory.OK
	case 0:
		a.Status = inventory.Gone
	default:
		return fmt.Errorf("event %d: %d seats of hold %d were changed instead of %d", r.Event, tag.RowsAffected(), r.Number, len(r.Seats))
	}
	return nil
}

// batches carries out requests that are alike together.
func (c *conn) batches(ctx context.Context, requests []inventory.Request, answers []inventory.Answer) error {
	order := make([]int, len(requests))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return compare(&requests[i], &requests[j]) })
	r, a := make([]inventory.Request, len(order)), make([]inventory.Answer, len(order))
	for i, from := range order {
		r[i], a[i] = requests[from], answers[from]
	}
	for first := 0; first < len(r); {
		n := alike(r[first:])
		if err := c.batch(ctx, r[first:first+n], a[first:first+n]); err != nil {
			return err
		}
		first += n
	}
	for i, to := range order {
		answers[to] = a[i]
	}
	return nil
}

// compare orders requests so that those which can be one call are neighbours.
func compare(a, b *inventory.Request) int {
	return cmp.Or(cmp.Compare(a.Op, b.Op), cmp.Compare(a.Event, b.Event), cmp.Compare(a.Life(), b.Life()))
}

// alike is how many requests at the beginning can be one call: holds of an event
// with one time to live, or confirmations in one event; otherwise one.
func alike(requests []inventory.Request) int {
	first := &requests[0]
	n := 1
	if first.Op != inventory.Hold && first.Op != inventory.Confirm {
		return n
	}
	for n < len(requests) && compare(first, &requests[n]) == 0 {
		n++
	}
	return n
}

// batch carries out requests that are alike.
func (c *conn) batch(ctx context.Context, requests []inventory.Request, answers []inventory.Answer) error {
	switch requests[0].Op {
	case inventory.Hold:
		return c.holdBatch(ctx, requests, answers)
	case inventory.Confirm:
		return c.confirmBatch(ctx, requests, answers)
	}
	return c.one(ctx, &requests[0], &answers[0])
}

func (c *conn) holdBatch(ctx context.Context, requests []inventory.Request, answers []inventory.Answer) error {
	c.seats = c.seats[:0]
	sizes, holds := make([]int32, len(requests)), make([]int64, len(requests))
	for i := range requests {
		r := &requests[i]
		sizes[i], holds[i] = int32(len(r.Seats)), int64(r.Number)
		for _, s := range r.Seats {
			c.seats = append(c.seats, int32(s))
		}
	}
	var granted []bool
	life := requests[0].Life()
	err := c.pg.QueryRow(ctx, holdBatchCall, requests[0].Event, c.seats, sizes, holds, life).Scan(&granted)
	if err != nil {
		return err
	}
	if len(granted) != len(requests) {
		return fmt.Errorf("%d answers to %d holds", len(granted), len(requests))
	}
	for i, ok := range granted {
		answers[i].Status = verdict(ok, inventory.Taken)
	}
	return nil
}

func (c *conn) confirmBatch(ctx context.Context, requests []inventory.Request, answers []inventory.Answer) error {
	c.seats = c.seats[:0]
	var holds []int64
	for i := range requests {
		for _, s := range requests[i].Seats {
			c.seats = append(c.seats, int32(s))
			holds = append(holds, int64(requests[i].Number))
		}
	}
	rows, err := c.pg.Query(ctx, confirmBatchCall, requests[0].Event, c.seats, holds)
	if err != nil {
		return err
	}
	booked := make(map[int64]int) // seats by hold
	var hold int64
	if _, err := pgx.ForEachRow(rows, []any{&hold}, func() error { booked[hold]++; return nil }); err != nil {
		return err
	}
	for i := range requests {
		n := booked[int64(requests[i].Number)]
		if n != 0 && n != len(requests[i].Seats) {
			return fmt.Errorf("event %d: %d seats of hold %d were booked", requests[i].Event, n, requests[i].Number)
		}
		answers[i].Status = verdict(n > 0, inventory.Gone)
	}
	return nil
}
