package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/usher-seats/usher/bench"
)

var aboutBench = `
Puts load on a node, measures it, and audits what the node says against its own
ledger; a run whose audit fails ends with exit code 1. WORKLOAD is one of:

  ` + strings.Join(bench.Workloads(), "\n  ") + `
  live      many subscribers watch an event whose seats change: usher bench live -h
  onsale    a whole on-sale with millions of users: see ` + "`usher bench onsale -h`" + `

Without --addr it starts a node of its own, as a process of its own, with an
empty data directory that is removed afterwards, and measures that. Figures
include the load generator, which shares the machine with such a node.

  usher bench hold
  usher bench stampede --conns 16 --depth 512 --duration 60s --json > a.json
  usher bench compare a.json b.json
`

// benchmark runs one workload.
func benchmark(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "live":
			return benchLive(ctx, args[1:], stdout)
		case crowdCommand:
			return crowdMain(ctx, os.Stdin, stdout)
		case "onsale":
			return benchOnsale(ctx, args[1:], stdout, stderr)
		case "compare":
			return compareResults(args[1:], stdout)
		}
	}
	var o bench.Options
	var connect connectFlags
	var asJSON, quiet bool
	var data string
	f := newFlags("bench")
	connect.register(f, "`address` of the node's binary protocol; empty: start a node to measure", "")
	f.IntVar(&o.Conns, "conns", 0, "`number` of connections (16 if not given)")
	f.IntVar(&o.Depth, "depth", 0, "`number` of requests in flight on each connection (hold, cycle, best 64; stampede 512; map, maphttp 8)")
	f.DurationVar(&o.Duration, "duration", 0, "`time` to measure (10s if not given)")
	f.IntVar(&o.Seats, "seats", 0, "`number` of seats of an event (50000 if not given)")
	f.Uint64Var(&o.Seed, "seed", 1, "`number` that all random choices follow from")
	f.StringVar(&o.HTTP, "http", "", "`URL` of the node's HTTP frontend, for maphttp")
	f.StringVar(&o.Metrics, "metrics", "", "`URL` of the node's metrics, for its memory and processor time")
	f.StringVar(&data, "data", "", "`directory` in which the node's data directory is made, if a node is started")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	f.BoolVar(&quiet, "quiet", false, "show no progress bar")
	name, rest := "", args
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, rest = args[0], args[1:]
	}
	if err := parse(f, rest, aboutBench, stdout); err != nil {
		return err
	}
	if err := noArguments(f); err != nil {
		return err
	}
	if name == "" {
		return usageError{"say which workload to run, for example `usher bench hold`: `usher bench -h` lists them"}
	}
	o.Workload, o.Addr = name, connect.addr
	if err := o.Check(); err != nil {
		return usageError{err.Error()}
	}
	var err error
	if o.Client, err = connect.clientOptions(); err != nil {
		return err
	}
	if !quiet && isTerminal(stderr) {
		o.Progress = stderr
	}
	return runBench(ctx, o, data, asJSON, stdout)
}

func runBench(ctx context.Context, o bench.Options, data string, asJSON bool, stdout io.Writer) error {
	if o.Addr == "" {
		node, err := startNode(ctx, data)
		if err != nil {
			return err
		}
		defer node.stop()
		o.Addr, o.HTTP, o.Metrics = node.addr, "http://"+node.http, node.metrics
	}
	result, err := bench.Run(ctx, o)
	if err != nil {
		return err
	}
	write := result.WriteTable
	if asJSON {
		write = result.WriteJSON
	}
	if err := write(stdout); err != nil {
		return err
	}
	if !result.OK() {
		return errors.New("the audit " + result.Audit)
	}
	return nil
}

// isTerminal reports whether somebody watches.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
