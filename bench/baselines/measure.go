package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/usher-seats/usher/bench/baselines/inventory"
)

// options of a comparison.
type options struct {
	systems   []system
	workloads []string
	runs      int
	duration  time.Duration
	seats     int
	seed      uint64
}

// A cell is what was measured of one system with one workload.
type cell struct {
	System   string              `json:"system"`
	Workload string              `json:"workload"`
	Runs     []*inventory.Result `json:"runs"`
	Median   float64             `json:"median_ops_per_s"`
	Spread   float64             `json:"spread"` // (most - least) / median
	Micros   float64             `json:"median_server_cpu_us_per_op"`
	Ratio    float64             `json:"usher_is_times,omitempty"`
}

// compare measures every system with every workload, o.runs times. All systems
// take turns within a run, in another order each time, so that what else goes on
// on the machine meets all of them alike.
func compare(ctx context.Context, p *programs, o options, progress io.Writer) ([]*cell, error) {
	cells := make(map[string]*cell)
	var order []*cell
	for _, s := range o.systems {
		for _, w := range o.workloads {
			if s.measures(w) {
				c := &cell{System: s.name, Workload: w}
				cells[s.name+w] = c
				order = append(order, c)
			}
		}
	}
	for i := range o.runs {
		for _, w := range o.workloads {
			for j := range o.systems {
				s := &o.systems[(j+i)%len(o.systems)]
				c := cells[s.name+w]
				if c == nil {
					continue
				}
				r, err := measure(ctx, p, s, w, o)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", s.name, w, err)
				}
				c.Runs = append(c.Runs, r)
				fmt.Fprintf(progress, "run %d of %d: %-8s  %-32s %12s/s  p50 %v, p99 %v, server %.1f µs an operation\n", i+1, o.runs, w, s.name,
					thousands(r.OpsPerSecond), micros(r.P50Micros), micros(r.P99Micros), r.ServerMicros)
			}
		}
	}
	summarize(order)
	return order, nil
}

// warmUp is load before a measurement: 32 sessions of PostgreSQL plan their
// statements.
const warmUp = 2 * time.Second

// measure runs a server that is empty and its own for one workload.
func measure(ctx context.Context, p *programs, s *system, workload string, o options) (*inventory.Result, error) {
	inv, err := s.start(ctx, p)
	if err != nil {
		return nil, err
	}
	defer inv.Close()
	return inventory.Measure(ctx, inv, inventory.Options{
		Workload: workload, Load: s.loadFor(workload), WarmUp: warmUp, Duration: o.duration,
		Seats: o.seats, Ahead: s.ahead, Seed: o.seed,
	})
}

// summarize sets medians, spreads and ratios.
func summarize(cells []*cell) {
	usher := make(map[string]float64)
	for _, c := range cells {
		var rates, costs []float64
		for _, r := range c.Runs {
			rates, costs = append(rates, r.OpsPerSecond), append(costs, r.ServerMicros)
		}
		slices.Sort(rates)
		slices.Sort(costs)
		c.Median, c.Micros = median(rates), median(costs)
		c.Spread = (rates[len(rates)-1] - rates[0]) / c.Median
		if c.System == yardstick {
			usher[c.Workload] = c.Median
		}
	}
	for _, c := range cells {
		if u := usher[c.Workload]; u > 0 {
			c.Ratio = u / c.Median
		}
	}
}

// median of sorted numbers.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
