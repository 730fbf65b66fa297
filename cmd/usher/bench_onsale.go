package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/usher-seats/usher/bench/onsale"
	"github.com/usher-seats/usher/bench/report"
	"github.com/usher-seats/usher/bench/scenario"
)

var aboutOnsale = `
Plays a whole on-sale against a cluster, in compressed time: users come before
opening, at opening and after it, wait, are called, choose seats, lose races, pay,
give back and come again. Then it audits everything that the cluster said. A run
whose audit fails says what broke and ends with exit code 1. Presets are:

  ` + strings.Join(scenario.Presets(), "\n  ") + `

With another number of users, seats and waiting room are scaled in proportion, so
that a small run is as crowded as the large one. docs/onsale.md has the scenario
file, field by field.

Without --addr it starts a cluster of its own, each node a process with an empty
data directory that is removed afterwards. Figures include the load generator,
which shares the machine with such a cluster.

  usher bench onsale --preset arena --html arena.html
  usher bench onsale --preset stadium --users 10M --nodes 3 --html stadium.html
  usher bench onsale --scenario my.toml --addr host1:7700 --http-url http://host1:8080
`

// A countFlag is a number that may end in k or M.
type countFlag int

func (c *countFlag) String() string { return strconv.Itoa(int(*c)) }

func (c *countFlag) Set(text string) error {
	digits, times := text, 1
	switch {
	case strings.HasSuffix(text, "M"):
		digits, times = strings.TrimSuffix(text, "M"), 1_000_000
	case strings.HasSuffix(text, "k"):
		digits, times = strings.TrimSuffix(text, "k"), 1_000
	}
	v, err := strconv.ParseFloat(strings.ReplaceAll(digits, "_", ""), 64)
	if err != nil || !(v >= 0 && v*float64(times) <= scenario.MaxUsers) {
		return fmt.Errorf("want a number up to %d such as 20k or 10M", scenario.MaxUsers)
	}
	*c = countFlag(v * float64(times))
	return nil
}

// onsaleFlags are what `bench onsale` is told.
type onsaleFlags struct {
	connect          connectFlags
	preset, file     string
	users            countFlag
	seed             uint64
	compression      float64
	nodes            int
	https, metrics   listFlag
	data, html, json string
	asJSON, quiet    bool
}

// maxOwnNodes bounds the nodes of a cluster that bench starts.
const maxOwnNodes = 9

// generatorGC is how much the load generator's heap may grow between two
// collections, in percent of what lives: nearly all of that is the crowd's arrays,
// which cost the collector nothing.
const generatorGC = 20

func benchOnsale(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o onsaleFlags
	f := newFlags("bench onsale")
	o.connect.register(f, "`address` of a node's binary protocol, the others are learned; empty: start a cluster to measure", "")
	f.StringVar(&o.preset, "preset", "", "`name` of a scenario that comes with the program")
	f.StringVar(&o.file, "scenario", "", "TOML `file` with a scenario")
	f.Var(&o.users, "users", "`number` of users, such as 20k or 10M (as the scenario says if not given)")
	f.Uint64Var(&o.seed, "seed", 0, "`number` that all decisions of users follow from (as the scenario says if not given)")
	f.Float64Var(&o.compression, "compression", 0, "`seconds` of the on-sale in a second of the run (as the scenario says if not given)")
	f.IntVar(&o.nodes, "nodes", 1, "`number` of nodes of the cluster to start")
	f.Var(&o.https, "http-url", "`URLs` of the nodes' HTTP APIs, between commas, if the cluster is there already")
	f.Var(&o.metrics, "metrics", "`URLs` of the nodes' metrics, likewise")
	f.StringVar(&o.data, "data", "", "`directory` in which the nodes' data directories are made, if a cluster is started")
	f.StringVar(&o.html, "html", "", "`file` to write the report to, a page that needs nothing else")
	f.StringVar(&o.json, "json-file", "", "`file` to write the result to, as JSON")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
	f.BoolVar(&o.quiet, "quiet", false, "show no progress bar")
	if err := parse(f, args, aboutOnsale, stdout); err != nil {
		return err
	}
	if err := noArguments(f); err != nil {
		return err
	}
	s, err := o.scenario()
	if err != nil {
		return usageError{err.Error()}
	}
	run := onsale.Options{Scenario: s, HTTP: o.https.values, Metrics: o.metrics.values, Log: stderr}
	if run.Client, err = o.connect.clientOptions(); err != nil {
		return err
	}
	if !o.quiet && isTerminal(stderr) {
		run.Progress = stderr
	}
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(generatorGC))
	}
	return o.run(ctx, run, stdout)
}

// scenario is what the flags choose.
func (o *onsaleFlags) scenario() (s *scenario.Scenario, err error) {
	switch {
	case (o.preset == "") == (o.file == ""):
		return nil, errors.New("say which on-sale to play, with one of --preset and --scenario: `usher bench onsale -h` lists the presets")
	case o.nodes < 1 || o.nodes > maxOwnNodes:
		return nil, fmt.Errorf("--nodes is %d: want 1 to %d", o.nodes, maxOwnNodes)
	case o.preset != "":
		s, err = scenario.Preset(o.preset)
	default:
		var text []byte
		if text, err = os.ReadFile(o.file); err == nil {
			s, err = scenario.Parse(string(text))
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", o.file, err)
		}
	}
	if err != nil {
		return nil, err
	}
	if o.users > 0 {
		s = s.Scale(int(o.users))
	}
	if o.seed > 0 {
		s.Seed = o.seed
	}
	if o.compression > 0 {
		s.Compression = o.compression
	}
	return s, s.Check()
}

func (o *onsaleFlags) run(ctx context.Context, run onsale.Options, stdout io.Writer) error {
	if o.connect.addr != "" {
		run.Addrs = strings.Split(o.connect.addr, ",")
	} else {
		nodes, err := startCluster(ctx, o.data, o.nodes)
		if err != nil {
			return err
		}
		defer stopNodes(nodes)
		run.HTTP, run.Metrics = nil, nil
		for _, n := range nodes {
			run.Addrs = append(run.Addrs, n.addr)
			run.HTTP = append(run.HTTP, "http://"+n.http)
			run.Metrics = append(run.Metrics, n.metrics)
		}
	}
	r, err := onsale.Run(ctx, run)
	if err != nil {
		return err
	}
	if err := writeTo(o.html, r.WriteHTML); err != nil {
		return err
	}
	if err := writeTo(o.json, r.WriteJSON); err != nil {
		return err
	}
	write := r.WriteTable
	if o.asJSON {
		write = r.WriteJSON
	}
	if err := write(stdout); err != nil {
		return err
	}
	if !r.OK() {
		return errors.New("the audit failed: what broke stands in the report")
	}
	return nil
}

// writeTo lets a report be written to a file; without a name to none.
func writeTo(path string, write func(io.Writer) error) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("write the report to %s: %w", path, err)
	}
	return nil
}

// compareResults puts two results side by side.
func compareResults(args []string, stdout io.Writer) error {
	f := newFlags("bench compare")
	if err := parse(f, args, "\nPuts two results side by side that `usher bench … --json` wrote, of any workload.\n\n  usher bench compare before.json after.json\n", stdout); err != nil {
		return err
	}
	if f.NArg() != 2 {
		return usageError{"usage: usher bench compare A.json B.json"}
	}
	return report.Compare(stdout, f.Arg(0), f.Arg(1))
}
