package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/usher-seats/usher/bench"
)

const aboutLive = `
Has many subscribers watch one event while its seats change, and measures how long
changes take to reach each of them and the last one, what they cost the node in
memory, and what holds of other events lose by them. Three parts of --duration each:
holds without subscribers; subscribers and changes; and all of it together.

Without --addr it starts a node of its own. Every subscriber is a socket in this
process and one in the node's: where a process may not have that many files open,
have several nodes (--http, with commas) and processes (--processes).

  usher bench live --subscribers 10000
  usher bench live --addr 127.0.0.1:7700 --subscribers 45000 --processes 3 \
      --http 127.0.0.1:8080,127.0.0.1:8081,127.0.0.1:8082 \
      --metrics http://127.0.0.1:9090/metrics,http://127.0.0.1:9091/metrics,http://127.0.0.1:9092/metrics
`

// benchLive measures live updates.
func benchLive(ctx context.Context, args []string, stdout io.Writer) error {
	var o bench.LiveOptions
	var connect connectFlags
	var http, metrics listFlag
	var asJSON bool
	var data, transport string
	var cores float64
	processes := 0
	f := newFlags("bench live")
	connect.register(f, "`address` of a node's binary protocol; empty: start a node to measure", "")
	f.Var(&http, "http", "`addresses` of HTTP frontends at which to watch, between commas")
	f.Var(&metrics, "metrics", "`URLs` of all nodes' metrics, between commas")
	f.StringVar(&o.Path, "path", "/v1/events/{event}/stream", "`path` of the stream")
	f.StringVar(&transport, "transport", "sse", "`sse` or ws")
	f.IntVar(&o.Subscribers, "subscribers", 10_000, "`number` of subscribers")
	f.IntVar(&processes, "processes", 0, "`number` of processes that the subscribers are in; 0: this one")
	f.IntVar(&o.Changes, "changes", 1000, "`number` of seats of the event that change in a second")
	f.BoolVar(&o.NoHolds, "no-holds", false, "leave out the parts that measure holds of other events")
	f.IntVar(&o.Conns, "conns", 0, "`number` of connections that hold (16 if not given)")
	f.IntVar(&o.Depth, "depth", 0, "`number` of holds in flight on each connection (64 if not given)")
	f.DurationVar(&o.Duration, "duration", 0, "`time` of each part (10s if not given)")
	f.IntVar(&o.Seats, "seats", 0, "`number` of seats of an event (50000 if not given)")
	f.Uint64Var(&o.Seed, "seed", 1, "`number` that all random choices follow from")
	f.Float64Var(&cores, "live-cpu", 0.5, "`cores` that a node started here may use for pushing")
	f.StringVar(&data, "data", "", "`directory` in which the node's data directory is made, if a node is started")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	if err := parse(f, args, aboutLive, stdout); err != nil {
		return err
	}
	if err := noArguments(f); err != nil {
		return err
	}
	if transport != "sse" && transport != "ws" {
		return usageError{fmt.Sprintf("--transport is sse or ws, not %q", transport)}
	}
	if (connect.addr == "") != (len(http.values) == 0) {
		return usageError{"give --addr and --http together, or neither to have a node started"}
	}
	var err error
	if o.Client, err = connect.clientOptions(); err != nil {
		return err
	}
	o.Addr, o.HTTP, o.Metric, o.WebSocket = connect.addr, http.values, metrics.values, transport == "ws"
	if o.Addr == "" {
		node, err := startNode(ctx, data, "--live-cpu", fmt.Sprint(cores),
			"--max-subscribers-per-event", fmt.Sprint(o.Subscribers), "--max-subscribers", fmt.Sprint(o.Subscribers))
		if err != nil {
			return err
		}
		defer node.stop()
		o.Addr, o.HTTP, o.Metric = node.addr, []string{node.http}, []string{node.metrics}
	}
	if processes > 0 {
		o.Watch = func(ctx context.Context, c bench.CrowdOptions) (bench.Crowd, error) {
			return watchElsewhere(ctx, c, max(1, processes/len(o.HTTP)))
		}
	}
	result, err := bench.Live(ctx, o)
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

// A crowdProcess is a crowd in a process of its own. Each line that it is sent is
// the name of a part; the end of its input stops it.
type crowdProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// crowdCommand is the workload that such a process runs; it is not for people.
const crowdCommand = "live-crowd"

// A crowdGroup is several of them. It belongs to one goroutine.
type crowdGroup []*crowdProcess

// watchElsewhere spreads a crowd over processes, and returns when all are there.
func watchElsewhere(ctx context.Context, o bench.CrowdOptions, processes int) (bench.Crowd, error) {
	var group crowdGroup
	errs := make([]error, processes)
	var wg sync.WaitGroup
	left := o.Subscribers
	for i := range processes {
		own := o
		own.Subscribers = left / (processes - i)
		left -= own.Subscribers
		p, err := startCrowd(ctx, own)
		if err != nil {
			errs[i] = err
			break
		}
		group = append(group, p)
		wg.Go(func() {
			if line, err := p.out.ReadString('\n'); line != "ready\n" {
				errs[i] = fmt.Errorf("a process with subscribers did not get ready: %s %w", line, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, p := range group {
			p.kill()
		}
		return nil, err
	}
	return group, nil
}

func startCrowd(ctx context.Context, o bench.CrowdOptions) (*crowdProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	p := &crowdProcess{cmd: exec.CommandContext(ctx, self, "bench", crowdCommand)}
	p.cmd.Env = withoutUsher(os.Environ())
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a process with subscribers: %w", err)
	}
	if err := json.NewEncoder(p.in).Encode(o); err != nil {
		p.kill()
		return nil, fmt.Errorf("start a process with subscribers: %w", err)
	}
	return p, nil
}

func (p *crowdProcess) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	_ = p.cmd.Wait()         // was killed, which is no news
}

// Mark begins a new part everywhere.
func (g crowdGroup) Mark(name string) error {
	for _, p := range g {
		if _, err := io.WriteString(p.in, name+"\n"); err != nil {
			return fmt.Errorf("a process with subscribers is gone: %w", err)
		}
	}
	return nil
}

// Stop ends all and gathers what they saw.
func (g crowdGroup) Stop() (*bench.CrowdReport, error) {
	all := new(bench.CrowdReport)
	var errs []error
	for _, p := range g {
		var r bench.CrowdReport
		errs = append(errs, p.in.Close(), json.NewDecoder(p.out).Decode(&r), p.cmd.Wait())
		all.Parts = append(all.Parts, r.Parts...)
		all.Lost += r.Lost
		if all.Error == "" {
			all.Error = r.Error
		}
	}
	return all, errors.Join(errs...)
}

// crowdMain is what such a process does.
func crowdMain(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	in := bufio.NewReader(stdin)
	first, err := in.ReadBytes('\n')
	if err != nil {
		return usageError{crowdCommand + " is for `usher bench live` to start"}
	}
	var o bench.CrowdOptions
	if err := json.NewDecoder(bytes.NewReader(first)).Decode(&o); err != nil {
		return usageError{crowdCommand + " is for `usher bench live` to start: " + err.Error()}
	}
	c, err := bench.StartCrowd(ctx, o)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, "ready\n"); err != nil {
		return err
	}
	for {
		name, err := in.ReadString('\n')
		if err != nil {
			break
		}
		if err := c.Mark(strings.TrimSuffix(name, "\n")); err != nil {
			return err
		}
	}
	r, err := c.Stop()
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(r)
}
