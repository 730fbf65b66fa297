// Package wrong shows what goes wrong with ways in which people keep seats: one
// small experiment each, with real servers, and the same one with Usher.
package wrong

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/usher-seats/usher/bench/baselines/inventory"
	"github.com/usher-seats/usher/bench/baselines/postgres"
	"github.com/usher-seats/usher/bench/baselines/usher"
)

// Config says which programs to run, and where they may write.
type Config struct {
	Usher    string             // usher
	Redis    string             // redis-server
	Template *postgres.Template // of PostgreSQL's data directories
	Data     string             // where data directories are made; empty: with temporary files
	Self     []string           // a command that calls Customer, as a process of its own
}

const (
	event = 1 // the only one of an experiment
	seats = 2_000
)

func (c *Config) startUsher(ctx context.Context) (*usher.Inventory, error) {
	u, err := usher.Start(ctx, usher.Config{Program: c.Usher, Data: c.Data, Nodes: 1})
	if err != nil {
		return nil, err
	}
	return u, u.Create(ctx, event, seats)
}

func (c *Config) startPostgres(ctx context.Context, v postgres.Variant, sweepEvery time.Duration) (*postgres.Inventory, error) {
	p, err := postgres.Start(ctx, postgres.Config{Template: c.Template, Data: c.Data, Variant: v, SweepEvery: sweepEvery})
	if err != nil {
		return nil, err
	}
	return p, p.Create(ctx, event, seats)
}

// Times are durations that were measured.
type Times []time.Duration

func (t Times) String() string {
	if len(t) == 0 {
		return "nothing was measured"
	}
	s := slices.Sorted(slices.Values(t))
	at := func(q float64) time.Duration { return s[int(q*float64(len(s)-1))].Round(100 * time.Microsecond) }
	return fmt.Sprintf("p50 %v, p99 %v, max %v of %d", at(0.5), at(0.99), at(1), len(s))
}

// Max is the longest.
func (t Times) Max() time.Duration { return slices.Max(t) }

// ask asks one request.
func ask(ctx context.Context, c inventory.Conn, r inventory.Request) (inventory.Answer, error) {
	answers := make([]inventory.Answer, 1)
	err := c.Do(ctx, []inventory.Request{r}, answers)
	return answers[0], err
}
