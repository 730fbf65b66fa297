package live

import (
	"sync/atomic"
	"time"
)

// counters are what a hub counts. Any goroutine.
type counters struct {
	joined, left                                  atomic.Int64
	frames, sent, bytes                           atomic.Uint64
	skipped, caughtUp, resyncs, dropped, expelled atomic.Uint64
	failed                                        atomic.Uint64
	refused                                       [scopes]atomic.Uint64
	cpu                                           atomic.Int64 // nanoseconds
}

// Stats are a hub's figures since its start.
type Stats struct {
	Topics      int            // with subscribers
	Subscribers int64          // now
	Behind      int64          // of these, those who have not got all
	Frames      uint64         // made because there was news
	Sent        uint64         // written to subscribers, all kinds
	Bytes       uint64         // written to subscribers
	Skipped     uint64         // frames that a subscriber could not take
	CaughtUp    uint64         // merged frames made for those who had missed some
	Resyncs     uint64         // subscribers, or topics, that had to begin anew
	Dropped     uint64         // subscribers who did not take what waited for them
	Expelled    uint64         // WebSocket clients that closed, or sent what they may not
	Failed      uint64         // questions that a source could not answer
	Refused     [scopes]uint64 // by Scope
	CPU         time.Duration  // processor time of pushing
	Interval    time.Duration  // the longest between two frames of a topic with news
}

// Stats reads the figures.
func (h *Hub) Stats() Stats {
	c := &h.stats
	s := Stats{
		Subscribers: c.joined.Load() - c.left.Load(), Frames: c.frames.Load(), Sent: c.sent.Load(), Bytes: c.bytes.Load(),
		Skipped: c.skipped.Load(), CaughtUp: c.caughtUp.Load(), Resyncs: c.resyncs.Load(), Dropped: c.dropped.Load(),
		Expelled: c.expelled.Load(), Failed: c.failed.Load(), CPU: time.Duration(c.cpu.Load()),
	}
	for i := range c.refused {
		s.Refused[i] = c.refused[i].Load()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Topics = len(h.topics)
	for _, t := range h.topics {
		s.Behind += t.behind.Load()
		s.Interval = max(s.Interval, time.Duration(t.slept.Load()))
	}
	return s
}
