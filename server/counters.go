package server

import (
	"sync/atomic"
	"time"
)

// counters are what the binary listener has done since it started. Any goroutine
// may read them.
type counters struct {
	requests [maxCounted]atomic.Uint64 // frames and batch records, by kind
	answers  [maxCounted]atomic.Uint64 // by status
	early    atomic.Uint64             // holds answered by the early look
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
	accepted atomic.Uint64 // connections
	refused  atomic.Uint64 // connections, at hello or before
	rested   atomic.Uint64 // times that an idle connection gave up its buffers
	dropped  atomic.Uint64 // connections that did not read or sent what is no frame
}

// moveCounters are about the events that leave shards led here. Any goroutine.
type moveCounters struct {
	attempts atomic.Uint32
	done     atomic.Uint64
	pause    atomic.Int64 // nanoseconds in which nobody decided for them, in all
	longest  atomic.Int64 // the longest of these
}

func (c *moveCounters) note(pause time.Duration) {
	c.done.Add(1)
	c.pause.Add(int64(pause))
	for {
		old := c.longest.Load()
		if int64(pause) <= old || c.longest.CompareAndSwap(old, int64(pause)) {
			return
		}
	}
}

// maxCounted is above every kind and every status there is.
const maxCounted = 320

// A tally counts runs of equal values and adds them to the shared counters once
// per run: nearly all requests of a read, and most answers of a batch, are alike,
// and atomic additions per request were measured to cost a twentieth of a
// rejection's way through client and server.
type tally struct {
	value int
	n     uint64
}

func (t *tally) count(to *[maxCounted]atomic.Uint64, value int) {
	if value != t.value {
		t.flush(to)
		t.value = value
	}
	t.n++
}

func (t *tally) flush(to *[maxCounted]atomic.Uint64) {
	if t.n > 0 && t.value < maxCounted {
		to[t.value].Add(t.n)
	}
	t.n = 0
}
