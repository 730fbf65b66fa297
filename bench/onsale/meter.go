package onsale

import (
	"math/bits"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/usher-seats/usher/wire"
)

const (
	maxLatencyMicros = 3_600_000_000
	latencyDigits    = 3
)

// A meter counts requests and how long they took from when they were meant to be
// sent. Guarded by its owner's mutex.
type meter struct {
	latency [ops][2]*hdrhistogram.Histogram // microseconds; by op, binary and HTTP; nil: none yet
	errors  map[mishap]int64
	seconds []second
	total   int64 // answers
}

// A mishap is an answer by which the system did not decide, or a connection's end.
type mishap struct {
	op     op
	status wire.Status
}

// A second of the run.
type second struct {
	arrivals int32
	answers  [ops]int32
	steps    [latencySteps]int32 // of the latencies of all ops
}

const (
	// latencySteps are the steps of a coarse histogram: eight to an octave of
	// microseconds.
	latencySteps = 8 * 32
	// overtime is for how long after the run's end seconds are told apart.
	overtime = 20 * time.Minute
)

// newMeter makes a meter of a run that ends after span.
func newMeter(span time.Duration) *meter {
	return &meter{errors: make(map[mishap]int64), seconds: make([]second, int((span+overtime)/time.Second)+1)}
}

func (m *meter) second(at time.Duration) *second {
	return &m.seconds[min(max(int(at/time.Second), 0), len(m.seconds)-1)]
}

// arrived counts a user who comes.
func (m *meter) arrived(at time.Duration) { m.second(at).arrivals++ }

// answered counts an answer that decided, to a request meant for due.
func (m *meter) answered(o op, http bool, due, now time.Duration) {
	micros := min(max((now-due).Microseconds(), 1), maxLatencyMicros)
	way := 0
	if http {
		way = 1
	}
	h := m.latency[o][way]
	if h == nil {
		h = hdrhistogram.New(1, maxLatencyMicros, latencyDigits)
		m.latency[o][way] = h
	}
	_ = h.RecordValue(micros) // in range
	m.total++
	s := m.second(now)
	s.answers[o]++
	s.steps[latencyStep(micros)]++
}

func (m *meter) failed(o op, s wire.Status) { m.errors[mishap{o, s}]++ }

// latencyStep is the step of a latency: an octave in eighths.
func latencyStep(micros int64) int {
	octave := bits.Len64(uint64(micros)) - 1
	eighth := 0
	if octave >= 3 {
		eighth = int(micros>>(octave-3)) & 7
	} else {
		eighth = int(micros<<(3-octave)) & 7
	}
	return min(octave*8+eighth, latencySteps-1)
}

// stepMicros is the upper end of a step.
func stepMicros(step int) float64 {
	octave, eighth := step/8, step%8
	return float64(uint64(1)<<octave) * (1 + float64(eighth+1)/8)
}

// quantile is the latency in microseconds that a share of a second's answers did
// not exceed; 0 if there were none.
func (s *second) quantile(share float64) float64 {
	var n int64
	for _, c := range s.steps {
		n += int64(c)
	}
	if n == 0 {
		return 0
	}
	left := int64(share*float64(n-1)) + 1
	for step, c := range s.steps {
		if left -= int64(c); left <= 0 {
			return stepMicros(step)
		}
	}
	return stepMicros(latencySteps - 1)
}

// merge adds another meter's counts.
func (m *meter) merge(from *meter) {
	for o := range from.latency {
		for way, h := range from.latency[o] {
			switch {
			case h == nil:
			case m.latency[o][way] == nil:
				m.latency[o][way] = hdrhistogram.Import(h.Export())
			default:
				m.latency[o][way].Merge(h)
			}
		}
	}
	m.total += from.total
	for k, n := range from.errors {
		m.errors[k] += n
	}
	for i := range from.seconds {
		to, s := &m.seconds[i], &from.seconds[i]
		to.arrivals += s.arrivals
		for o := range s.answers {
			to.answers[o] += s.answers[o]
		}
		for step := range s.steps {
			to.steps[step] += s.steps[step]
		}
	}
}
