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
	// next appends the body of slot's next request, which is sent now, to b. kind
	// 0 ends the slot.
	next(slot int, now time.Time, b []byte) (kind wire.Kind, body []byte)
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
	micros  int64                   // latency of the last alike requests that are not in latency yet
	alike   int64

	requests, operations int64
	shown                int64 // operations that are in total
	statuses             [statusesCounted]int64
}

// statusesCounted is one more than the highest status that is counted by itself.
const statusesCounted = 512

func dialPlayer(ctx context.Context, o Options, s script, over *atomic.Bool, total *atomic.Int64) (*player, error) {
	pipe, err := client.DialPipe(ctx, o.Addr, &o.Client)
	if err != nil {
		return nil, err
	}
	return &player{
		pipe:    pipe,
		script:  s,
		over:    over,
		total:   total,
		sent:    make([]time.Duration, o.Depth),
		start:   time.Now(),
		latency: hdrhistogram.New(1, maxLatencyMicros, latencyDigits),
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
	fresh := true // the next answer has to be read
	for inFlight > 0 {
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
		if fresh = p.pipe.Buffered() == 0; fresh {
			p.show()
			if err := p.pipe.Flush(); err != nil {
				return err
			}
		}
	}
	p.show()
	return p.record()
}

// show adds to the progress what came since it was shown last.
func (p *player) show() {
	p.total.Add(p.operations - p.shown)
	p.shown = p.operations
}

// record puts a run of equal latencies into the histogram. Requests that crossed
// the socket together have equal ones, and there may be hundreds of them.
func (p *player) record() error {
	if p.alike == 0 {
		return nil
	}
	err := p.latency.RecordValues(p.micros, p.alike)
	p.alike = 0
	return err
}

// ask adds the slot's next request; false if it has none.
func (p *player) ask(slot int, now time.Duration) bool {
	kind, body := p.script.next(slot, p.start.Add(now), p.pipe.Begin())
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
	p.statuses[min(h.Status, statusesCounted-1)]++
	micros := min(max((now-p.sent[slot]).Microseconds(), 1), maxLatencyMicros)
	if micros != p.micros {
		if err := p.record(); err != nil {
			return slot, err
		}
		p.micros = micros
	}
	p.alike++
	n, err := p.script.done(slot, h, body)
	p.operations += int64(n)
	return slot, err
}
