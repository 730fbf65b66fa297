package inventory

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Load is how many connections ask at the same time, and how much each asks for
// at once.
type Load struct {
	Conns int `json:"conns"`
	Depth int `json:"depth"`
}

func (l Load) String() string { return fmt.Sprintf("%d × %d", l.Conns, l.Depth) }

// Options of a measurement.
type Options struct {
	Workload string
	Load     Load
	WarmUp   time.Duration // of load that is not measured: sessions plan their statements, tables grow
	Duration time.Duration // that is measured
	Seats    int           // of an event
	Ahead    int           // events that are there before anybody wants them
	Seed     uint64        // of all that is random
}

// MinSeats leaves something to be had in every workload.
const MinSeats = 2_000

func (o *Options) check() error {
	switch {
	case o.Load.Conns < 1 || o.Load.Depth < 1 || o.Ahead < 1:
		return fmt.Errorf("load %v with %d events ahead: want at least one of each", o.Load, o.Ahead)
	case o.Seats < MinSeats || o.Seats%RowSeats != 0:
		return fmt.Errorf("%d seats: want at least %d in rows of %d", o.Seats, MinSeats, RowSeats)
	case o.Seats/2%stride == 0:
		return fmt.Errorf("%d seats: choose a number that %d does not divide", o.Seats, 2*stride)
	}
	return nil
}

// A Result is what a measurement found, its audit passed.
type Result struct {
	Load         Load    `json:"load"`
	Operations   int64   `json:"operations"`
	Seconds      float64 `json:"seconds"`
	OpsPerSecond float64 `json:"ops_per_s"`
	P50Micros    int64   `json:"p50_us"` // from asking for a slot's request, and its neighbours', to all answers
	P99Micros    int64   `json:"p99_us"`
	// ServerMicros is the servers' processor time for each operation. It says what a
	// system costs even where other work takes its turns on the machine.
	ServerMicros float64 `json:"server_cpu_us_per_op"`
}

const (
	maxLatencyMicros = 60_000_000
	latencyDigits    = 3
)

// Measure sets the workload up, puts load on for o.Duration, and audits. Any
// error, one of the audit too, means that there is no figure.
func Measure(ctx context.Context, inv Inventory, o Options) (*Result, error) {
	w, err := find(o.Workload)
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	sh, err := w.stage(ctx, inv, o)
	if err != nil {
		return nil, fmt.Errorf("set up: %w", err)
	}
	if err := inv.Settle(ctx); err != nil {
		return nil, fmt.Errorf("set up: %w", err)
	}
	sh.open(ctx)
	r := &Result{Load: o.Load}
	players, err := r.play(ctx, inv, sh, o)
	sh.close()
	if err != nil {
		return nil, err
	}
	latency := hdrhistogram.New(1, maxLatencyMicros, latencyDigits)
	var receipts []Receipt
	for _, p := range players {
		r.Operations += p.operations
		latency.Merge(p.latency)
		receipts = append(receipts, p.script.receipts()...)
	}
	r.OpsPerSecond = float64(r.Operations) / r.Seconds
	r.ServerMicros /= float64(r.Operations)
	r.P50Micros, r.P99Micros = latency.ValueAtQuantile(50), latency.ValueAtQuantile(99)
	if err := Audit(ctx, inv, sh.ledgers(), sample(receipts)); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return r, nil
}

// receiptsRead bounds the holds that the audit reads back.
const receiptsRead = 128

// sample takes receipts at even distances.
func sample(all []Receipt) []Receipt {
	if len(all) <= receiptsRead {
		return all
	}
	some := make([]Receipt, receiptsRead)
	for i := range some {
		some[i] = all[i*len(all)/receiptsRead]
	}
	return some
}

// A phase is what all players share: whether it counts what they do, and whether
// they shall stop.
type phase struct {
	counts, over atomic.Bool
	first        sync.Once
	done         chan struct{} // closed when the first operation was counted
}

// A player keeps one connection busy. Owned by one goroutine from play to its end.
type player struct {
	conn       Conn
	script     script
	phase      *phase
	latency    *hdrhistogram.Histogram
	operations int64
}

// play puts load on, and measures it after the warm-up.
func (r *Result) play(ctx context.Context, inv Inventory, sh show, o Options) ([]*player, error) {
	ph := &phase{done: make(chan struct{})}
	players := make([]*player, o.Load.Conns)
	for i := range players {
		c, err := inv.Dial(ctx)
		if err != nil {
			return nil, fmt.Errorf("connection %d of %d: %w", i+1, o.Load.Conns, err)
		}
		defer c.Close()
		players[i] = &player{conn: c, script: sh.script(i), phase: ph, latency: hdrhistogram.New(1, maxLatencyMicros, latencyDigits)}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, p := range players {
		wg.Go(func() {
			if err := p.play(ctx, o.Load.Depth); err != nil {
				cancel(err) // of several, the first
			}
		})
	}
	err := r.watch(ctx, inv, ph, o)
	ph.over.Store(true)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return players, err
}

// watch lets the warm-up pass, and then measures for o.Duration: time, and the
// servers' processor time. Connections are open all the while: each may be a
// process.
func (r *Result) watch(ctx context.Context, inv Inventory, ph *phase, o Options) error {
	pause(ctx, o.WarmUp)
	before, err := inv.CPU()
	if err != nil {
		return err
	}
	start := time.Now()
	ph.counts.Store(true)
	pause(ctx, o.Duration)
	select { // a rate of nothing says nothing
	case <-ph.done:
	case <-ctx.Done():
	}
	ph.counts.Store(false)
	r.Seconds = time.Since(start).Seconds()
	after, err := inv.CPU()
	r.ServerMicros = float64((after - before).Microseconds())
	return err
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// play asks until the time is over. What is answered while it counts is counted.
func (p *player) play(ctx context.Context, depth int) error {
	requests, answers := make([]Request, depth), make([]Answer, depth)
	for !p.phase.over.Load() {
		for i := range requests {
			requests[i] = Request{Seats: requests[i].Seats[:0]}
			answers[i] = Answer{Seats: answers[i].Seats[:0]}
			if err := p.script.next(i, &requests[i]); err != nil {
				return err
			}
		}
		sent := time.Now()
		if err := p.conn.Do(ctx, requests, answers); err != nil {
			return err
		}
		counts := p.phase.counts.Load()
		if counts {
			micros := min(max(time.Since(sent).Microseconds(), 1), maxLatencyMicros)
			if err := p.latency.RecordValues(micros, int64(depth)); err != nil {
				return err
			}
		}
		for i := range requests {
			n, err := p.script.done(i, &requests[i], &answers[i])
			if err != nil {
				return err
			}
			if counts && n > 0 {
				p.operations += int64(n)
				p.phase.first.Do(func() { close(p.phase.done) })
			}
		}
	}
	return nil
}
