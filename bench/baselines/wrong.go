package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/usher-seats/usher/bench/baselines/wrong"
)

// experiments by name, in the order in which all of them are made.
var experiments = []struct {
	name string
	run  func(ctx context.Context, c *wrong.Config, out io.Writer) error
}{
	{"cron", func(ctx context.Context, c *wrong.Config, out io.Writer) error {
		_, err := wrong.Cron(ctx, c, wrong.CronOptions{Every: 10 * time.Second, Holds: 400, TTL: 2 * time.Second}, out)
		return err
	}},
	{"longtx", func(ctx context.Context, c *wrong.Config, out io.Writer) error {
		_, err := wrong.Long(ctx, c, wrong.LongOptions{Stall: 5 * time.Second, Clients: 8, Wanted: 100}, out)
		return err
	}},
	{"fence", func(ctx context.Context, c *wrong.Config, out io.Writer) error {
		_, err := wrong.Fence(ctx, c, out)
		return err
	}},
	{"kill9", func(ctx context.Context, c *wrong.Config, out io.Writer) error {
		_, err := wrong.Kill(ctx, c, wrong.KillOptions{Load: time.Second}, out)
		return err
	}},
}

// customer is the command by which an experiment runs this program as a process
// that it can stop.
const customer = "customer"

// showWrong makes the experiment named, or all of them.
func showWrong(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 3 && args[0] == customer {
		return wrong.Customer(ctx, args[1], args[2], os.Stdin, stdout)
	}
	var names []string
	for _, e := range experiments {
		names = append(names, e.name)
	}
	wanted := names
	if len(args) > 0 {
		wanted = args
	}
	for _, name := range wanted {
		if !slices.Contains(names, name) {
			return fmt.Errorf("no experiment %q; there are %v", name, names)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := findPrograms(ctx, "")
	if err != nil {
		return err
	}
	defer p.close()
	c := &wrong.Config{Usher: p.usher, Redis: p.redis, Template: p.template, Self: []string{self, "wrong", customer}}
	for _, e := range experiments {
		if !slices.Contains(wanted, e.name) {
			continue
		}
		if err := e.run(ctx, c, stdout); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return nil
}
