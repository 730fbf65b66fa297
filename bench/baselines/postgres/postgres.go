// Package postgres is PostgreSQL as an inventory, in the ways in which people
// write it: see Variant.
package postgres

import (
	"context"
	_ "embed"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/usher-seats/usher/bench/baselines/inventory"
	"github.com/usher-seats/usher/bench/baselines/process"
)

//go:embed schema.sql
var schema string

//go:embed functions.sql
var functions string

// A Variant is a way of holding seats.
type Variant uint8

const (
	// ForUpdate locks, looks and writes in a transaction that the client leads.
	ForUpdate Variant = iota + 1
	// Swept has an explicit status, which a sweeper sets back when holds run out.
	Swept
	// Implicit compares the time in the statement: a lapsed hold is free at once.
	Implicit
	// Function is Implicit in one call of a function that looks before it locks.
	Function
	// Batched is Function for all requests of a connection in one transaction.
	Batched
)

// Config says what to run and where.
type Config struct {
	Template   *Template
	Data       string // where data directories are made; empty: with temporary files
	Variant    Variant
	SweepEvery time.Duration // Swept: between two sweeps
}

// An Inventory is a server with the schema of its variant.
type Inventory struct {
	config Config
	server *Server

	stop    context.CancelFunc // ends the sweeper
	sweeper sync.WaitGroup

	mu      sync.Mutex
	auditor *pgx.Conn // nil until the first Find
}

// Start runs a server.
func Start(ctx context.Context, c Config) (*Inventory, error) {
	s, err := StartServer(ctx, c.Template, c.Data)
	if err != nil {
		return nil, err
	}
	p := &Inventory{config: c, server: s}
	if err := p.prepare(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Inventory) prepare(ctx context.Context) error {
	c, err := pgx.Connect(ctx, p.server.URL())
	if err != nil {
		return err
	}
	text := schema + functions
	if p.config.Variant == Swept {
		text += sweepIndex
	}
	if _, err := c.Exec(ctx, text); err != nil {
		return fmt.Errorf("make the schema: %w", err)
	}
	if p.config.Variant != Swept {
		return c.Close(ctx)
	}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.sweeper.Go(func() { p.sweep(ctx, c) })
	return nil
}

// sweep is the cron job: a sweep, then a pause.
func (p *Inventory) sweep(ctx context.Context, c *pgx.Conn) {
	defer c.Close(ctx)
	ticker := time.NewTicker(p.config.SweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// What fails now is swept the next time.
		_, _ = c.Exec(ctx, sweep)
	}
}

// Server is the server, for experiments with connections of their own.
func (p *Inventory) Server() *Server { return p.server }

func (p *Inventory) Create(ctx context.Context, event, seats int) error {
	c, err := pgx.Connect(ctx, p.server.URL())
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, createEvent, event, seats)
	return err
}

// Settle gives the planner its statistics, and writes out what set-up left dirty.
func (p *Inventory) Settle(ctx context.Context) error {
	c, err := pgx.Connect(ctx, p.server.URL())
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	for _, s := range []string{"VACUUM ANALYZE seats", "CHECKPOINT"} {
		if _, err := c.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (p *Inventory) States(answer []byte, seats int) ([]inventory.State, error) {
	if len(answer) != seats {
		return nil, fmt.Errorf("a map of %d seats, want %d", len(answer), seats)
	}
	states := make([]inventory.State, seats)
	for i, b := range answer {
		if b < '0' || b > '2' {
			return nil, fmt.Errorf("seat %d has the state %q", i, b)
		}
		states[i] = inventory.State(b - '0')
	}
	return states, nil
}

func (p *Inventory) Find(ctx context.Context, event int, r inventory.Receipt) (inventory.Found, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.openAuditLocked(ctx); err != nil {
		return inventory.Found{}, err
	}
	rows, err := p.auditor.Query(ctx, findHold, event, int64(r.Number))
	if err != nil {
		return inventory.Found{}, err
	}
	var f inventory.Found
	var seat int
	var status int16
	_, err = pgx.ForEachRow(rows, []any{&seat, &status}, func() error {
		if len(f.Seats) > 0 && f.State != inventory.State(status) {
			return fmt.Errorf("its seats have different states")
		}
		f.State = inventory.State(status)
		f.Seats = append(f.Seats, seat)
		return nil
	})
	return f, err
}

// openAuditLocked connects once, and makes the index that an audit by holds wants
// and a sale would only pay for.
func (p *Inventory) openAuditLocked(ctx context.Context) error {
	if p.auditor != nil {
		return nil
	}
	c, err := pgx.Connect(ctx, p.server.URL())
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, auditIndex); err != nil {
		c.Close(ctx)
		return err
	}
	p.auditor = c
	return nil
}

func (p *Inventory) CPU() (time.Duration, error) { return process.CPU(p.server.process) }

func (p *Inventory) Close() {
	if p.stop != nil {
		p.stop()
		p.sweeper.Wait()
	}
	p.server.Remove() // and with it whoever is connected
}
