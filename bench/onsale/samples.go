package onsale

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/usher-seats/usher/bench/metrics"
	"github.com/usher-seats/usher/wire"
)

// sampleEvery is the pause between two samples.
const sampleEvery = time.Second

// A sample is the run at one moment.
type sample struct {
	at                       time.Duration
	waiting, serving, inside int64 // of all rooms
	counts                   wire.Counts
	nodeCPU, nodeMiB         []float64 // by node: seconds so far, resident
	ownCPU, ownMiB           float64
	requests                 int64
}

// samples are taken once a second. Safe for all goroutines.
type samples struct {
	run *run

	mu     sync.Mutex // guards what follows
	list   []sample
	seats  map[*event]wire.Counts
	before []map[string]float64 // metrics by node, at the beginning
	after  []map[string]float64 // and at the end
}

func newSamples(r *run) *samples { return &samples{run: r, seats: make(map[*event]wire.Counts)} }

// counts notes the newest counts of an event.
func (s *samples) counts(e *event, c wire.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seats[e] = c
}

// play takes samples until ctx ends, and one more.
func (s *samples) play(ctx context.Context) {
	s.before = s.scrape(s.run.ctx)
	s.after = s.before
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		s.take()
		select {
		case <-ctx.Done():
			s.take()
			return
		case <-ticker.C:
		}
	}
}

func (s *samples) scrape(ctx context.Context) []map[string]float64 {
	list := make([]map[string]float64, len(s.run.o.Metrics))
	for i, url := range s.run.o.Metrics {
		m, err := metrics.Scrape(ctx, url)
		if err != nil {
			s.run.log("metrics: %v", err) // a hole in a chart is no reason to end the run
			continue
		}
		list[i] = m
	}
	return list
}

func (s *samples) take() {
	nodes := s.scrape(s.run.ctx)
	x := sample{at: s.run.now()}
	for _, l := range s.run.lanes {
		l.mu.Lock()
		x.requests += l.meter.total
		l.mu.Unlock()
	}
	s.run.visits.mu.Lock()
	x.requests += s.run.visits.meter.total
	s.run.visits.mu.Unlock()
	for _, e := range s.run.events {
		e.mu.Lock()
		if q := e.queue; q != nil {
			x.waiting += int64(q.Issued - q.Serving)
			x.serving += int64(q.Serving)
			x.inside += int64(q.Inside)
		}
		e.mu.Unlock()
	}
	x.ownCPU, x.ownMiB = ownFigures()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, m := range nodes {
		if m == nil && i < len(s.after) {
			m = s.after[i]
		}
		x.nodeCPU = append(x.nodeCPU, m["process_cpu_seconds_total"])
		x.nodeMiB = append(x.nodeMiB, m["process_resident_memory_bytes"]/(1<<20))
		nodes[i] = m
	}
	s.after = nodes
	for _, c := range s.seats {
		x.counts.Free += c.Free
		x.counts.Held += c.Held
		x.counts.Booked += c.Booked
	}
	s.list = append(s.list, x)
}

// newest is the last sample; false: there is none.
func (s *samples) newest() (sample, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return sample{}, false
	}
	return s.list[len(s.list)-1], true
}

// ownFigures are this process's seconds of processor time and resident memory.
func ownFigures() (cpu, mib float64) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		cpu = float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
	}
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			pages, _ := strconv.ParseFloat(fields[1], 64) // 0 on a system that writes something else
			return cpu, pages * float64(os.Getpagesize()) / (1 << 20)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return cpu, float64(m.Sys) / (1 << 20)
}
