package server

import (
	"sync/atomic"
	"time"
)

// latencyBounds are the upper bounds of the buckets in which requests are
// counted, in seconds.
var latencyBounds = [...]float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30}

const (
	firstCode = 100
	lastCode  = 599
)

// routeStats counts the requests of a route. Any goroutine counts; the metrics
// collector reads.
type routeStats struct {
	codes   [lastCode - firstCode + 1]atomic.Uint64
	buckets [len(latencyBounds)]atomic.Uint64 // each request in one; those above the last in none
	nanos   atomic.Uint64
}

func (s *routeStats) count(code int, took time.Duration) {
	if code >= firstCode && code <= lastCode {
		s.codes[code-firstCode].Add(1)
	}
	s.nanos.Add(uint64(took))
	seconds := took.Seconds()
	for i, bound := range latencyBounds {
		if seconds <= bound {
			s.buckets[i].Add(1)
			return
		}
	}
}

// each yields the codes that occurred and how often.
func (s *routeStats) each(yield func(code int, n uint64)) {
	for i := range s.codes {
		if n := s.codes[i].Load(); n > 0 {
			yield(firstCode+i, n)
		}
	}
}

// latency gives the requests counted, the sum of their durations in seconds,
// and for each bound how many took no longer.
func (s *routeStats) latency() (total uint64, sum float64, atMost map[float64]uint64) {
	s.each(func(_ int, n uint64) { total += n })
	atMost = make(map[float64]uint64, len(latencyBounds))
	var n uint64
	for i, bound := range latencyBounds {
		n += s.buckets[i].Load()
		atMost[bound] = n
	}
	// The counters are read one after the other: a histogram whose last bucket
	// had more than all its samples would be refused.
	return max(total, n), time.Duration(s.nanos.Load()).Seconds(), atMost
}
