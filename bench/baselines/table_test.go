package main

import (
	"strings"
	"testing"

	"github.com/usher-seats/usher/bench/baselines/inventory"
)

func runs(rates ...float64) (all []*inventory.Result) {
	for _, r := range rates {
		all = append(all, &inventory.Result{OpsPerSecond: r, ServerMicros: 2})
	}
	return all
}

// Medians, spreads and ratios, as the table shows them.
func TestTable(t *testing.T) {
	o := options{systems: []system{
		{name: yardstick, load: pipelined, workloads: all},
		{name: "other", load: pool, workloads: writes},
	}, workloads: []string{"hold", "map"}}
	r := &report{Runs: 3, Seconds: 5, Cores: 2, Cells: []*cell{
		{System: yardstick, Workload: "hold", Runs: runs(900_000, 1_000_000, 1_100_000)},
		{System: yardstick, Workload: "map", Runs: runs(500)},
		{System: "other", Workload: "hold", Runs: runs(4_000, 9_000, 5_000, 6_000)},
	}}
	summarize(r.Cells)
	var b strings.Builder
	if err := r.writeTable(&b, o); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"| Usher, 16 × 64 |", " 1,000,000 ±10 % 1.0× 2.0 µs |", " 500 ±0 % 1.0× 2.0 µs |",
		"| other, 32 × 1 ", " 5,500 ±45 % 182× 2.0 µs |", " – |",
	} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("no %q in\n%s", part, b.String())
		}
	}
}

// Every system that is named has a load for what it measures, and Usher is there
// to be compared with.
func TestSystems(t *testing.T) {
	for _, words := range []string{"", "redis", "no such system"} {
		found := chosen(words)
		if len(found) == 0 || found[0].name != yardstick {
			t.Errorf("%q does not begin with %s", words, yardstick)
		}
	}
	if n := len(chosen("redis")); n != 5 {
		t.Errorf("redis stands for %d systems with Usher, want 5", n)
	}
	for _, s := range systems {
		if len(s.workloads) == 0 || s.ahead < 1 {
			t.Errorf("%s measures %v with %d events", s.name, s.workloads, s.ahead)
		}
		for _, w := range s.workloads {
			if l := s.loadFor(w); l.Conns < 1 || l.Depth < 1 {
				t.Errorf("%s, %s: load %v", s.name, w, l)
			}
		}
	}
}
