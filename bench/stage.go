package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// rowSeats is the length of a row in a bench event: each row is one word of ids.
const rowSeats = 50

// A stage makes events for a workload and gives them up at the end of the run.
type stage struct {
	ctx    context.Context
	cancel context.CancelFunc
	client *client.Client
	o      Options
	run    int64 // part of every key, so that runs do not meet
}

func newStage(ctx context.Context, c *client.Client, o Options) *stage {
	s := &stage{client: c, o: o, run: time.Now().UnixMilli()}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s
}

func (s *stage) close() { s.cancel() }

// event creates the n-th event of the run.
func (s *stage) event(n int) (*client.Event, error) {
	rules := wire.DefaultRules()
	rules.MaxTTL = 24 * 60 * 60_000
	seats := make([]wire.Seat, rowSeats)
	for i := range seats {
		seats[i].Label = fmt.Sprint(i + 1)
	}
	rows := make([]wire.Row, s.o.Seats/rowSeats)
	for i := range rows {
		rows[i] = wire.Row{Name: fmt.Sprint(i + 1), Focal: rowSeats - 1, Seats: seats}
	}
	return s.client.CreateEvent(s.ctx, &wire.Manifest{
		Key:        fmt.Sprintf("bench-%d-%d", s.run, n),
		Name:       fmt.Sprintf("%s bench, event %d", s.o.Workload, n),
		Categories: []string{"standard"},
		Sections:   []wire.Section{{Name: "A", Rows: rows}},
		Rules:      rules,
	})
}

// seatID is the i-th seat of a bench event.
func seatID(i int) wire.SeatID { return wire.SeatID(i/rowSeats*64 + i%rowSeats) }

// seatIndex is the inverse of seatID.
func seatIndex(s wire.SeatID) int { return int(s/64)*rowSeats + int(s%64) }

// A line is a row of events that are sold one after the other. It makes them a
// few ahead of the buyers. Safe for all goroutines.
type line struct {
	stage *stage

	mu      sync.Mutex
	change  sync.Cond
	sales   []*sale
	reached int // highest index a buyer has asked for
	err     error
}

// linesAhead is how many events are ready before a buyer needs them.
const linesAhead = 32

// newLine makes the first events and goes on making them until the stage closes.
func newLine(s *stage) (*line, error) {
	l := &line{stage: s}
	l.change.L = &l.mu
	for range linesAhead {
		if err := l.extend(); err != nil {
			return nil, err
		}
	}
	context.AfterFunc(s.ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.err == nil {
			l.err = s.ctx.Err()
		}
		l.change.Broadcast()
	})
	go l.keepAhead()
	return l, nil
}

func (l *line) extend() error {
	ev, err := l.stage.event(len(l.sales))
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sales = append(l.sales, newSale(len(l.sales), ev, l.stage.o.Seats))
	l.change.Broadcast()
	return nil
}

func (l *line) keepAhead() {
	for {
		l.mu.Lock()
		for l.err == nil && len(l.sales) > l.reached+linesAhead {
			l.change.Wait()
		}
		err := l.err
		l.mu.Unlock()
		if err != nil {
			return
		}
		if err := l.extend(); err != nil {
			l.mu.Lock()
			l.err = err
			l.change.Broadcast()
			l.mu.Unlock()
			return
		}
	}
}

// at gives the i-th sale, waiting until it is there.
func (l *line) at(i int) (*sale, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i > l.reached {
		l.reached = i
		l.change.Broadcast()
	}
	for l.err == nil && i >= len(l.sales) {
		l.change.Wait()
	}
	if l.err != nil {
		return nil, fmt.Errorf("next event: %w", l.err)
	}
	return l.sales[i], nil
}

// all gives every sale that buyers have reached.
func (l *line) all() []*sale {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sales[:min(l.reached+1, len(l.sales))]
}

// clockFor estimates shard time for ids. It is never ahead of the shard while
// the shard has a leader.
type clockFor struct {
	now  wire.Millis
	read time.Time
}

func newClock(ev *client.Event) clockFor { return clockFor{ev.Now(), time.Now()} }

func (c clockFor) id(now time.Time, r *rand.Rand) wire.ID {
	var random [10]byte
	a, b := r.Uint64(), r.Uint32()
	for i := range 8 {
		random[i] = byte(a >> (8 * i))
	}
	random[8], random[9] = byte(b), byte(b>>8)
	return wire.NewID(c.now+wire.Millis(now.Sub(c.read).Milliseconds()), random)
}

func newRand(o Options, stream int) *rand.Rand {
	return rand.New(rand.NewPCG(o.Seed, uint64(stream)))
}
