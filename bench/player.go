package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A script says what the slots of a connection ask, one after the other.
type script interface {
	// next appends the body of slot's next request to b. kind 0 ends the slot.
	next(slot int, b []byte) (kind wire.Kind, body []byte)
	// done takes the answer to slot's request and tells how many operations of
	// the workload it completed. An error ends the run.
	done(slot int, h wire.Header, body []byte) (operations int, err error)
}

const (
	maxLatencyMicros = 60_000_000
	latencyDigits    = 3
)

// A player keeps the slots of one connection busy. Owned by one goroutine from
// play to its end.
type player struct {
	pipe    *client.Pipe
	script  script
	over    *atomic.Bool  // set when no new requests shall be made
	total   *atomic.Int64 // operations of all players, for the progress bar
	sent    []time.Duration
	start   time.Time
	latency *hdrhistogram.Histogram // microseconds, every request

	requests, operations int64
	statuses             map[wire.Status]int64
}

func dialPlayer(ctx context.Context, o Options, s script, over *atomic.Bool, total *atomic.Int64) (*player, error) {
	pipe, err := client.DialPipe(ctx, o.Addr, &o.Client)
	if err != nil {
		return nil, err
	}
	return &player{
		pipe:     pipe,
		script:   s,
		over:     over,
		total:    total,
		sent:     make([]time.Duration, o.Depth),
		start:    time.Now(),
		latency:  hdrhistogram.New(1, maxLatencyMicros, latencyDigits),
		statuses: make(map[wire.Status]int64),
	}, nil
}

// play asks until the time is over and then reads every answer that is due. The
// clock is read once for what one read brought in and once for what one write
// takes out, which is when the bytes cross the socket.
func (p *player) play() error {
	inFlight := 0
	now := time.Since(p.start)
	for slot := range p.sent {
		if p.ask(slot, now) {
			inFlight++
		}
	}
	if err := p.pipe.Flush(); err != nil {
		return err
	}
	for inFlight > 0 {
		fresh := p.pipe.Buffered() == 0
		h, body, err := p.pipe.Next()
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		if fresh {
			now = time.Since(p.start)
		}
		slot, err := p.answer(h, body, now)
		if err != nil {
			return err
		}
		if p.over.Load() || !p.ask(slot, now) {
			inFlight--
		}
		if p.pipe.Buffered() == 0 {
			if err := p.pipe.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask adds the slot's next request; false if it has none.
func (p *player) ask(slot int, now time.Duration) bool {
	kind, body := p.script.next(slot, p.pipe.Begin())
	if kind == 0 {
		return false
	}
	p.pipe.End(wire.Header{Kind: kind, Request: uint64(slot)}, body)
	p.sent[slot] = now
	p.requests++
	return true
}

func (p *player) answer(h wire.Header, body []byte, now time.Duration) (slot int, err error) {
	if h.Request >= uint64(len(p.sent)) {
		return 0, fmt.Errorf("answer to request %d that was never made", h.Request)
	}
	slot = int(h.Request)
	p.statuses[h.Status]++
	micros := (now - p.sent[slot]).Microseconds()
	if err := p.latency.RecordValue(min(max(micros, 1), maxLatencyMicros)); err != nil {
		return slot, err
	}
	n, err := p.script.done(slot, h, body)
	if n > 0 {
		p.operations += int64(n)
		p.total.Add(int64(n))
	}
	return slot, err
}
