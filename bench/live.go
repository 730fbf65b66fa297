package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/bench/metrics"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// LiveOptions of a measurement of live updates. The zero value of a field means its
// default.
type LiveOptions struct {
	Options              // Addr, Metrics, Client, Conns, Depth, Duration of each part, Seats, Seed
	HTTP        []string // HTTP frontends; the subscribers are spread over them
	Path        string   // of the stream; default /v1/events/{event}/stream
	WebSocket   bool     // instead of an event stream
	Subscribers int      // default 10,000
	Changes     int      // seats held a second on the event that is watched; default 1,000
	NoHolds     bool     // leave out what measures holds/s
	Metric      []string // URLs of all nodes' metrics

	// Watch starts a crowd; default StartCrowd. A command has other processes do it.
	Watch func(context.Context, CrowdOptions) (Crowd, error)
}

const (
	defaultSubscribers = 10_000
	defaultChanges     = 1_000
	defaultStream      = "/v1/events/{event}/stream"
	crowdPatience      = 5 * time.Minute
	changers           = 64 // holds of the watched event in flight
	// afterglow is how long the last changes of a part may take to reach everybody.
	afterglow = 5 * time.Second
)

func (o LiveOptions) withDefaults() (LiveOptions, error) {
	o.Workload = "hold"
	w, err := findWorkload(o.Workload)
	if err != nil {
		return o, err
	}
	if o.Options, err = o.Options.withDefaults(w); err != nil {
		return o, err
	}
	if o.Subscribers == 0 {
		o.Subscribers = defaultSubscribers
	}
	if o.Changes == 0 {
		o.Changes = defaultChanges
	}
	if o.Path == "" {
		o.Path = defaultStream
	}
	if o.Watch == nil {
		o.Watch = StartCrowd
	}
	parts := 3
	if o.NoHolds {
		parts = 1
	}
	switch seats := o.Changes * int(o.Duration.Seconds()+1) * parts; {
	case len(o.HTTP) == 0:
		return o, errors.New("no HTTP address to watch at")
	case o.Subscribers < len(o.HTTP) || o.Changes < 1:
		return o, fmt.Errorf("%d subscribers at %d nodes and %d changes: want at least one each", o.Subscribers, len(o.HTTP), o.Changes)
	case seats > o.Seats:
		return o, fmt.Errorf("%d changes a second in %d parts of %v need %d seats, and there are %d", o.Changes, parts, o.Duration, seats, o.Seats)
	}
	return o, nil
}

// Live measures how changes of one event reach those who watch it. Part by part:
// holds of other events without anybody who watches; then, with all subscribers,
// changes alone; then changes and the same holds.
func Live(ctx context.Context, o LiveOptions) (*LiveResult, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c, err := client.Dial(ctx, []string{o.Addr}, &o.Client)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", o.Addr, err)
	}
	defer c.Close()
	s := newStage(ctx, c, o.Options)
	defer s.close()
	ev, err := s.event(-1)
	if err != nil {
		return nil, fmt.Errorf("set up live: %w", err)
	}
	l := &liveRun{o: o, stage: s, event: ev, changer: &changer{event: ev}, result: newLiveResult(o)}
	if err := l.run(ctx); err != nil {
		return nil, err
	}
	return l.result, nil
}

// A liveRun is one measurement. It belongs to Live's goroutine.
type liveRun struct {
	o       LiveOptions
	stage   *stage
	event   *client.Event
	changer *changer
	result  *LiveResult
	crowds  []Crowd
}

func (l *liveRun) run(ctx context.Context) error {
	if !l.o.NoHolds {
		if err := l.part(ctx, "holds", true); err != nil {
			return err
		}
	}
	before, err := l.resident(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := l.gather(ctx); err != nil {
		return err
	}
	l.result.ArrivalSeconds = time.Since(began).Seconds()
	after, err := l.resident(ctx)
	if err != nil {
		return err
	}
	l.result.BytesPerSubscriber = (after - before) / float64(l.o.Subscribers)
	if err := l.part(ctx, "fan-out", false); err != nil {
		return err
	}
	if !l.o.NoHolds {
		if err := l.part(ctx, "fan-out and holds", true); err != nil {
			return err
		}
	}
	return l.dismiss(ctx)
}

// gather has the subscribers come, to each node its share.
func (l *liveRun) gather(ctx context.Context) error {
	left := l.o.Subscribers
	for i, addr := range l.o.HTTP {
		n := left / (len(l.o.HTTP) - i)
		left -= n
		c, err := l.o.Watch(ctx, CrowdOptions{
			HTTP: addr, Path: streamPath(l.o.Path, l.event.Key()), Key: l.o.Client.Key, WebSocket: l.o.WebSocket, Subscribers: n, Patience: crowdPatience,
		})
		if err != nil {
			return errors.Join(fmt.Errorf("subscribers at %s: %w", addr, err), l.dismiss(ctx))
		}
		l.crowds = append(l.crowds, c)
	}
	return nil
}

// part measures one part.
func (l *liveRun) part(ctx context.Context, name string, holds bool) error {
	p := LivePart{Name: name, Subscribers: len(l.crowds) > 0}
	load := func() error { return pause(ctx, l.o.Duration) }
	audit := func() error { return nil }
	if holds {
		s := newStage(ctx, l.stage.client, l.o.Options)
		s.run += int64(len(l.result.Parts)) + 1 // its events are not those of another part
		defer s.close()
		sh, err := newHoldShow(s)
		if err != nil {
			return fmt.Errorf("set up hold: %w", err)
		}
		load = func() error { return l.holds(ctx, sh, &p) }
		audit = func() error { return sh.audit(ctx) }
	}
	for _, c := range l.crowds {
		if err := c.Mark(name); err != nil {
			return err
		}
	}
	if err := l.load(ctx, &p, load); err != nil {
		return err
	}
	if len(l.crowds) > 0 {
		if err := pause(ctx, afterglow); err != nil {
			return err
		}
	}
	p.Audit = "ok"
	if err := audit(); err != nil {
		p.Audit = "failed: " + err.Error()
	}
	l.result.Parts = append(l.result.Parts, p)
	return l.changer.failed()
}

// load changes seats while the part's load lasts, and takes the figures of that time.
func (l *liveRun) load(ctx context.Context, p *LivePart, load func() error) error {
	before, err := l.scrape(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	stop := l.changer.start(ctx, l.o.Changes)
	err = load()
	p.changes = stop()
	p.Seconds = time.Since(began).Seconds()
	if err != nil {
		return err
	}
	after, err := l.scrape(ctx)
	p.figures(before, after)
	return err
}

// holds is the workload hold on other events.
func (l *liveRun) holds(ctx context.Context, sh show, p *LivePart) error {
	r := newResult(l.o.Options)
	quiet := l.o.Options
	quiet.Progress = nil
	bar := startProgress(quiet, workload{name: "hold"})
	defer bar.stop()
	if err := r.measure(ctx, l.o.Options, sh, bar); err != nil {
		return err
	}
	p.HoldsPerSecond, p.HoldP99Micros = r.OpsPerSecond, r.P99Micros
	return nil
}

// dismiss closes the crowds and works out what they saw.
func (l *liveRun) dismiss(ctx context.Context) error {
	var errs []error
	for _, c := range l.crowds {
		r, err := c.Stop()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.result.add(r)
	}
	l.crowds = nil
	l.result.finish()
	return errors.Join(append(errs, ctx.Err())...)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// scrape reads the metrics of all nodes, summed.
func (l *liveRun) scrape(ctx context.Context) (map[string]float64, error) {
	sums := make(map[string]float64)
	for _, url := range l.o.Metric {
		m, err := metrics.Scrape(ctx, url)
		if err != nil {
			return nil, err
		}
		for k, v := range m {
			sums[k] += v
		}
	}
	return sums, nil
}

// resident is the memory of all nodes in bytes, after each has collected garbage.
func (l *liveRun) resident(ctx context.Context) (float64, error) {
	for _, url := range l.o.Metric {
		heap := strings.TrimSuffix(url, "/metrics") + "/debug/pprof/heap?gc=1"
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, heap, nil)
		if err != nil {
			return 0, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, fmt.Errorf("have the node collect garbage: %w", err)
		}
		resp.Body.Close()
	}
	m, err := l.scrape(ctx)
	return m["process_resident_memory_bytes"], err
}

// A change is an acknowledged hold: its version, and when it was sent and
// acknowledged, in milliseconds of Unix time.
type change struct {
	version     uint64
	sent, acked int64
}

// A changer holds one seat after the other of the watched event, at a rate.
type changer struct {
	event *client.Event
	next  atomic.Int64 // seat

	mu  sync.Mutex
	all []change
	err error
}

func (c *changer) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// start begins to change; the function it gives stops it and tells what was changed.
func (c *changer) start(ctx context.Context, rate int) (stop func() []change) {
	ctx, cancel := context.WithCancel(ctx)
	due := make(chan struct{}, changers)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(due)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		began, made := time.Now(), 0
		for ctx.Err() == nil {
			<-tick.C
			for want := int(time.Since(began).Seconds() * float64(rate)); made < want; made++ {
				select {
				case due <- struct{}{}:
				case <-ctx.Done():
					return
				}
			}
		}
	})
	for range changers {
		wg.Go(func() {
			for range due {
				c.change()
			}
		})
	}
	return func() []change {
		cancel()
		wg.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		made := c.all
		c.all = nil
		return made
	}
}

const changePatience = 30 * time.Second

func (c *changer) change() {
	ctx, cancel := context.WithTimeout(context.Background(), changePatience)
	defer cancel()
	seat := seatID(int(c.next.Add(1) - 1))
	sent := time.Now().UnixMilli()
	h, err := c.event.Hold(ctx, client.HoldRequest{Seats: []wire.SeatID{seat}, TTL: fillTTL})
	acked := time.Now().UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.err = fmt.Errorf("change a seat: %w", err)
		return
	}
	c.all = append(c.all, change{uint64(h.Fence()), sent, acked})
}
