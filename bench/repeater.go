package bench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A question is a request that servers of different kinds can be asked over and
// over, so that they are compared by the same client. Immutable.
type question struct {
	name    string // what is measured, for messages
	addr    string // host:port
	request []byte // the bytes of one request
	// answer reads one answer and returns its body's length. If body is not nil it
	// is filled; otherwise the answer's body is skipped.
	answer func(in *bufio.Reader, body []byte) (int, error)
	want   []byte // the body that every answer has
}

const (
	repeaterBuffer  = 64 << 10         // bytes, each way
	repeaterTimeout = 30 * time.Second // for whatever is read next
)

// A repeater asks one question on one connection, depth times at once, as long as
// it is told to. One goroutine owns it at a time.
type repeater struct {
	q     *question
	nc    net.Conn
	in    *bufio.Reader
	sent  []time.Duration // of the requests that are not answered, a ring
	start time.Time

	latency *hdrhistogram.Histogram // microseconds
	answers int64
}

// dialRepeater connects, asks once, and compares every byte of the answer.
func dialRepeater(ctx context.Context, q *question, depth int) (*repeater, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", q.addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", q.name, err)
	}
	r := &repeater{
		q: q, nc: nc, in: bufio.NewReaderSize(nc, repeaterBuffer), sent: make([]time.Duration, depth),
		start: time.Now(), latency: hdrhistogram.New(1, maxLatencyMicros, latencyDigits),
	}
	if err := r.compare(); err != nil {
		_ = nc.Close() // nothing more is expected of it
		return nil, fmt.Errorf("%s: %w", q.name, err)
	}
	return r, nil
}

func (r *repeater) compare() error {
	if err := r.nc.SetDeadline(time.Now().Add(repeaterTimeout)); err != nil {
		return err
	}
	if _, err := r.nc.Write(r.q.request); err != nil {
		return err
	}
	body := make([]byte, len(r.q.want))
	n, err := r.q.answer(r.in, body)
	if err != nil {
		return err
	}
	if n != len(body) || string(body) != string(r.q.want) {
		return fmt.Errorf("the answer's %d bytes are not the %d that were expected", n, len(body))
	}
	return nil
}

// ask asks until over is set, and then reads every answer that is due.
func (r *repeater) ask(over *atomic.Bool, total *atomic.Int64) error {
	out := bufio.NewWriterSize(r.nc, repeaterBuffer)
	first, due := 0, 0 // of the ring
	again := len(r.sent)
	now := time.Since(r.start)
	for {
		for range again {
			if _, err := out.Write(r.q.request); err != nil {
				return fmt.Errorf("%s: %w", r.q.name, err)
			}
			r.sent[(first+due)%len(r.sent)] = now
			due++
		}
		if err := r.nc.SetDeadline(time.Now().Add(repeaterTimeout)); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("%s: %w", r.q.name, err)
		}
		// One answer is waited for, and those that came with it are taken along.
		again = 0
		for due > 0 && (again == 0 || r.in.Buffered() > 0) {
			n, err := r.q.answer(r.in, nil)
			if err != nil {
				return fmt.Errorf("%s: %w", r.q.name, err)
			}
			if n != len(r.q.want) {
				return fmt.Errorf("%s: an answer of %d bytes, want %d", r.q.name, n, len(r.q.want))
			}
			now = time.Since(r.start)
			if err := r.latency.RecordValue(min(max((now-r.sent[first]).Microseconds(), 1), maxLatencyMicros)); err != nil {
				return err
			}
			first = (first + 1) % len(r.sent)
			due--
			again++
		}
		r.answers += int64(again)
		total.Add(int64(again))
		if over.Load() {
			again = 0
		}
		if due+again == 0 {
			return nil
		}
	}
}

// A chorus is the repeaters of one question, which ask at the same time.
type chorus struct {
	repeaters []*repeater
	spent     time.Duration // asking
}

func dialChorus(ctx context.Context, q *question, o Options) (*chorus, error) {
	c := &chorus{}
	for range o.Conns {
		r, err := dialRepeater(ctx, q, o.Depth)
		if err != nil {
			c.close()
			return nil, err
		}
		c.repeaters = append(c.repeaters, r)
	}
	return c, nil
}

func (c *chorus) close() {
	for _, r := range c.repeaters {
		_ = r.nc.Close() // all is read
	}
}

// ask has all of them ask for a time.
func (c *chorus) ask(ctx context.Context, d time.Duration, total *atomic.Int64) error {
	var over atomic.Bool
	defer time.AfterFunc(d, func() { over.Store(true) }).Stop()
	defer context.AfterFunc(ctx, func() { over.Store(true) })()
	began := time.Now()
	errs := make(chan error, len(c.repeaters))
	var wg sync.WaitGroup
	for _, r := range c.repeaters {
		wg.Go(func() { errs <- r.ask(&over, total) })
	}
	wg.Wait()
	c.spent += time.Since(began)
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (c *chorus) latency() *hdrhistogram.Histogram {
	all := hdrhistogram.New(1, maxLatencyMicros, latencyDigits)
	for _, r := range c.repeaters {
		all.Merge(r.latency)
	}
	return all
}

func (c *chorus) answers() (n int64) {
	for _, r := range c.repeaters {
		n += r.answers
	}
	return n
}
