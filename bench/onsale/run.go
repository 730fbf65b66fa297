package onsale

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/bench/report"
	"github.com/usher-seats/usher/bench/scenario"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A run is one on-sale under way. Its fields are set before the first user comes;
// each part guards itself.
type run struct {
	o      Options
	s      *scenario.Scenario
	habits *habits
	crowd  *crowd
	client *client.Client
	addrs  []string // of nodes, as links have them
	events []*event

	began time.Time     // of the whole, for ids of events
	start time.Time     // zero of the run's time
	open  time.Duration // opening
	end   time.Duration // nobody does anything new any more

	lanes   []*lane
	visits  *visits
	web     *web
	streams *streams
	binary  desk
	http    desk
	ledger  *ledger
	samples *samples
	machine report.Machine

	logged    atomic.Int64
	lostJoins atomic.Int64 // joins that were asked again though the first attempt may have got a number

	ctx      context.Context // as long as requests may be under way
	cancel   context.CancelCauseFunc
	selling  context.CancelFunc // ends what works until the end
	work     sync.WaitGroup     // everything that ends with ctx
	visiting sync.WaitGroup     // visitors' requests
	closed   atomic.Int64       // when visitors were told to begin nothing new, in time of the run; 0: not yet
	ended    atomic.Bool
}

// now is the time of the run.
func (r *run) now() time.Duration { return time.Since(r.start) }

// over reports that the run is being wound up.
func (r *run) over() bool { return r.ended.Load() }

// fail ends the run.
func (r *run) fail(err error) { r.cancel(err) }

// log tells what may explain a strange result, and not every time.
func (r *run) log(format string, args ...any) {
	const most = 20
	if n := r.logged.Add(1); r.o.Log != nil && !r.over() && n <= most {
		fmt.Fprintf(r.o.Log, format+"\n", args...)
		if n == most {
			fmt.Fprintln(r.o.Log, "more of this kind is not told")
		}
	}
}

// event is the one that the user wants.
func (r *run) event(user uint32) *event { return r.events[r.habits.event(user)] }

// newID makes the id of a request that changes something.
func (r *run) newID(e *event, user uint32, o op, due time.Duration) wire.ID {
	nth := uint32(due/time.Millisecond)<<4 | uint32(o)
	a, b := r.habits.dice.roll(user, idHigh, nth), r.habits.dice.roll(user, idLow, nth)
	var random [10]byte
	for i := range random {
		random[i] = byte(a >> (8 * (i % 8)))
		if i >= 8 {
			random[i] = byte(b >> (8 * (i - 8)))
		}
	}
	return wire.NewID(e.handle.Now(), random)
}

// moved takes in that another node leads an event.
func (r *run) moved(e *event, addr string) {
	for i, a := range r.addrs {
		if a == addr {
			e.node.Store(int32(i))
			return
		}
	}
	e.node.Store((e.node.Load() + 1) % int32(len(r.addrs)))
}

// Run plays the scenario and audits. An error means that the run did not come to
// its end; a run whose audit failed is a result that says so.
func Run(ctx context.Context, o Options) (*report.Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &run{o: o, s: o.Scenario, began: time.Now(), habits: newHabits(o.Scenario), machine: thisMachine()}
	r.open, r.end = r.s.Wall(r.s.Arrivals.Before), r.s.Wall(r.s.Span())
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.work.Wait()
	defer r.cancel(nil)
	defer r.ended.Store(true)
	bar := newBar(r)
	defer bar.stop()
	copts := o.Client
	copts.RequestTimeout, copts.Conns = requestTimeout, 4
	var err error
	if r.client, err = client.Dial(ctx, o.Addrs, &copts); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer r.client.Close()
	if err := r.prepare(); err != nil {
		return nil, err
	}
	bar.start()
	if err := r.play(); err != nil {
		return nil, err
	}
	bar.phase("audit")
	return r.result(), context.Cause(r.ctx)
}

// requestTimeout is how long the Go client tries before it says that the system
// did not decide.
const requestTimeout = 10 * time.Second

// prepare makes events, and everything that has to be there before the first user.
func (r *run) prepare() error {
	if err := r.findNodes(); err != nil {
		return err
	}
	r.crowd = newCrowd(r.s.Users)
	r.ledger, r.visits, r.samples = newLedger(r), newVisits(r), newSamples(r)
	r.web, r.streams = newWeb(r), newStreams(r)
	r.binary, r.http = &binaryDesk{r}, &httpDesk{r}
	if err := r.createEvents(); err != nil {
		return err
	}
	r.start = time.Now() // of what is done now; the real one follows
	r.lanes = make([]*lane, lanes)
	var making sync.WaitGroup
	for i := range r.lanes {
		making.Go(func() { r.lanes[i] = newLane(r, i) })
	}
	making.Wait()
	for _, l := range r.lanes {
		for _, addr := range r.addrs {
			k, err := dialLink(r.ctx, l, addr)
			if err != nil {
				return fmt.Errorf("connect to %s: %w", addr, err)
			}
			l.links = append(l.links, k)
			context.AfterFunc(r.ctx, func() { k.close() })
		}
	}
	r.start = time.Now().Add(headStart)
	return r.openRooms()
}

// close ends the connection, and so its reader.
func (k *link) close() {
	k.lane.mu.Lock()
	defer k.lane.mu.Unlock()
	_ = k.pipe.Close() // nobody waits for anything
}

// findNodes asks for the nodes of the cluster.
func (r *run) findNodes() error {
	pipe, err := client.DialPipe(r.ctx, r.o.Addrs[0], &r.o.Client)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", r.o.Addrs[0], err)
	}
	defer pipe.Close()
	pipe.Add(wire.KindNodes, 0, nil)
	if err := pipe.Flush(); err != nil {
		return err
	}
	h, body, err := pipe.Next()
	if err != nil {
		return err
	}
	var list wire.NodeList
	if h.Status != wire.StatusOK {
		return fmt.Errorf("the list of nodes: %v", h.Status)
	}
	if err := list.Decode(body); err != nil {
		return fmt.Errorf("the list of nodes: %w", err)
	}
	for _, n := range list.Nodes {
		r.addrs = append(r.addrs, string(n.Addr))
	}
	if len(r.addrs) == 0 {
		r.addrs = r.o.Addrs
	}
	return nil
}

// createEvents puts the events on sale, one second short of the first arrival.
func (r *run) createEvents() error {
	rules := wire.DefaultRules()
	rules.HoldTTL, rules.PayCap = r.s.Millis(r.s.Visit.HoldTTL), r.s.Millis(r.s.Visit.PayCap)
	rules.MaxTTL = max(rules.MaxTTL, rules.HoldTTL)
	rules.SeatsPerHold = scenario.MaxParty
	for i := range r.s.Events.Count {
		key := fmt.Sprintf("%s-%d-%d", r.s.Name, r.began.UnixMilli(), i)
		name := fmt.Sprintf("%s, event %d", r.s.Name, i+1)
		handle, err := r.client.CreateEvent(r.ctx, manifest(key, name, r.s.Events.Seats, r.s.Events.Row, rules))
		if err != nil {
			return fmt.Errorf("create event %d of %d: %w", i+1, r.s.Events.Count, err)
		}
		info, err := handle.Info(r.ctx)
		if err != nil {
			return fmt.Errorf("read event %d of %d: %w", i+1, r.s.Events.Count, err)
		}
		r.events = append(r.events, &event{
			key: key, id: handle.ID(), handle: handle, places: r.s.Events.Seats, row: r.s.Events.Row,
			first: info.Version, numbers: newNumbers(r.s.Users),
		})
	}
	return nil
}

// openRooms lets the events' waiting rooms take entries until opening.
func (r *run) openRooms() error {
	if !r.s.Room.Enabled {
		return nil
	}
	room := &r.s.Room
	config := wire.RoomConfig{
		Limit:        uint32(room.Limit),
		Rate:         uint32(min(max(room.PerMinute/60*r.s.Compression*1000, 1), wire.MaxRoomRate)),
		Grace:        r.s.Millis(room.Grace),
		PassTTL:      r.s.Millis(room.PassTTL),
		SeatsPerPass: uint8(r.s.SeatsPerPass()),
		OpensAt:      r.start.Add(r.open).UnixMilli(),
	}
	for _, e := range r.events {
		if err := e.handle.SetRoom(r.ctx, config); err != nil {
			return fmt.Errorf("make the waiting room of %s: %w", e.key, err)
		}
	}
	return nil
}

// play lets the users come, and waits until the last is answered.
func (r *run) play() error {
	selling, stop := context.WithCancel(r.ctx)
	defer stop()
	r.selling = stop
	every := r.watchEvery()
	for _, e := range r.events {
		r.work.Go(func() { r.watch(selling, e, every) })
		r.work.Go(func() { r.record(r.ctx, e, every) })
	}
	r.work.Go(func() { r.samples.play(selling) })
	r.work.Go(func() { r.web.play(r.ctx) })
	var visiting sync.WaitGroup
	visiting.Go(func() { r.visits.play(selling) })
	var crowd sync.WaitGroup
	for _, l := range r.lanes {
		crowd.Go(func() { l.play(r.ctx) })
	}
	select {
	case <-time.After(r.end - r.now()):
	case <-r.ctx.Done():
	}
	crowd.Wait()
	r.web.drain()
	r.closed.Store(int64(r.now()))
	stop()
	visiting.Wait()
	r.visiting.Wait()
	r.streams.stop()
	if err := context.Cause(r.ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return r.ctx.Err()
}

// watchEvery is the pause between two looks at an event's state, and two at its
// change records: many events share what one has.
func (r *run) watchEvery() time.Duration {
	const often, perSecond = 100 * time.Millisecond, 100 // of all events together
	return max(often, time.Duration(math.Ceil(float64(len(r.events))/perSecond*float64(time.Second))))
}
