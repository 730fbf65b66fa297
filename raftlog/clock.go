package raftlog

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A reign is a time in which the group leads here and serves. It begins when
// the empty entry proposed after an election has been applied, so all that was
// committed before it has been applied here too. Immutable.
type reign struct {
	term uint64
	// Shard time was base when the monotonic clock showed since.
	base  wire.Millis
	since time.Duration
	sole  bool // nobody else has a vote
}

func (r *reign) now(mono time.Duration) wire.Millis {
	return r.base + wire.Millis((mono-r.since)/time.Millisecond)
}

// A clock tells shard time: the last applied stamp, and on the leader the
// monotonic time since the beginning of its reign on top of the stamp it began
// with. No wall clock is read but once, for the very first stamp of a group. So
// shard time never runs backwards from one reign to the next, and stands still
// while there is no leader.
type clock struct {
	mono func() time.Duration
	wall func() wire.Millis

	stamp atomic.Int64          // of the last applied entry; written by the applier
	reign atomic.Pointer[reign] // nil: not leading; written by the batcher

	mu  sync.Mutex
	led chan struct{} // closed while there is a reign
}

func (c *clock) init(mono func() time.Duration, wall func() wire.Millis) {
	if mono == nil {
		start := time.Now()
		mono = func() time.Duration { return time.Since(start) }
	}
	if wall == nil {
		wall = func() wire.Millis { return wire.Millis(time.Now().UnixMilli()) }
	}
	c.mono, c.wall = mono, wall
	c.led = make(chan struct{})
}

// last is the last applied stamp.
func (c *clock) last() wire.Millis { return wire.Millis(c.stamp.Load()) }

// now is the shard time.
func (c *clock) now() wire.Millis {
	last := c.last()
	if r := c.reign.Load(); r != nil {
		return max(last, r.now(c.mono()))
	}
	return last
}

// begin makes the reign that starts at the entry with this stamp, which was
// applied just now. A group without any stamp begins its time at the wall clock.
func (c *clock) begin(term uint64, stamp wire.Millis) *reign {
	if stamp == 0 {
		stamp = c.wall()
	}
	return &reign{term: term, base: stamp, since: c.mono()}
}

// publish makes r the reign, or ends the one there is if r is nil.
func (c *clock) publish(r *reign) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.reign.Swap(r)
	switch {
	case was == nil && r != nil:
		close(c.led)
	case was != nil && r == nil:
		c.led = make(chan struct{})
	}
}

// leading is closed while there is a reign.
func (c *clock) leading() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.led
}
