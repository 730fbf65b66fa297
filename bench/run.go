package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/usher-seats/usher/bench/metrics"
	"github.com/usher-seats/usher/client"
)

// A show is a workload set up on a stage: events are there, scripts can start.
type show interface {
	// script makes the part of one connection. All its methods are called by
	// that connection's goroutine.
	script(conn int) script
	// audit compares the cluster with the ledger of all scripts, when every
	// request has been answered.
	audit(ctx context.Context) error
}

// A measurer is a show that does not speak the binary protocol: it puts the load
// on by itself, and its scripts are not played.
type measurer interface {
	measure(ctx context.Context, o Options, r *Result, bar *progress) error
}

// Run sets the workload up, puts load on for o.Duration, and audits. An error
// means that no measurement was made; a measurement whose audit failed is a
// Result that says so.
func Run(ctx context.Context, o Options) (*Result, error) {
	w, err := findWorkload(o.Workload)
	if err != nil {
		return nil, err
	}
	if o, err = o.withDefaults(w); err != nil {
		return nil, err
	}
	c, err := client.Dial(ctx, []string{o.Addr}, &o.Client)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", o.Addr, err)
	}
	defer c.Close()
	bar := startProgress(o, w)
	defer bar.stop()
	s := newStage(ctx, c, o)
	defer s.close()
	sh, err := w.stage(s)
	if err != nil {
		return nil, fmt.Errorf("set up %s: %w", w.name, err)
	}

	r := newResult(o)
	before, err := metrics.Scrape(ctx, o.Metrics)
	if err != nil {
		return nil, err
	}
	if m, ok := sh.(measurer); ok {
		err = m.measure(ctx, o, r, bar)
	} else {
		err = r.measure(ctx, o, sh, bar)
	}
	if err != nil {
		return nil, err
	}
	after, err := metrics.Scrape(ctx, o.Metrics)
	if err != nil {
		return nil, err
	}
	r.Server = serverFigures(before, after)
	bar.phase("audit")
	r.Audit = "ok"
	if err := sh.audit(ctx); err != nil {
		r.Audit = "failed: " + err.Error()
	}
	return r, nil
}

// measure lets every connection play its script until the time is over, and
// gathers what they counted.
func (r *Result) measure(ctx context.Context, o Options, sh show, bar *progress) error {
	var over atomic.Bool
	var total atomic.Int64
	players := make([]*player, o.Conns)
	for i := range players {
		p, err := dialPlayer(ctx, o, sh.script(i), &over, &total)
		if err != nil {
			return fmt.Errorf("connection %d of %d: %w", i+1, o.Conns, err)
		}
		defer p.pipe.Close()
		players[i] = p
	}
	bar.measure(o.Duration, &total)
	timer := time.AfterFunc(o.Duration, func() { over.Store(true) })
	defer timer.Stop()
	stop := context.AfterFunc(ctx, func() { over.Store(true) })
	defer stop()

	start := time.Now()
	errs := make([]error, len(players))
	var wg sync.WaitGroup
	for i, p := range players {
		wg.Go(func() { errs[i] = p.play() })
	}
	wg.Wait()
	elapsed := time.Since(start)
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return err
	}
	latency := hdrhistogram.New(1, maxLatencyMicros, latencyDigits)
	for _, p := range players {
		latency.Merge(p.latency)
		r.add(p)
	}
	r.finish(elapsed, latency)
	return nil
}
