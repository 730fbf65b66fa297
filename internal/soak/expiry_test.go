package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/internal/proc"
	"github.com/usher-seats/usher/wire"
)

const (
	tick        = 50 // ms: a shard with something due proposes an entry at least so often
	watchEvery  = 5 * time.Millisecond
	mapEvery    = 500 * time.Millisecond
	loadEvery   = 5 * time.Millisecond
	loadSlots   = 25      // requests per loader and loadEvery
	loadSeats   = 2       // seats of a hold of the load
	loadIDs     = 1 << 56 // above the numbers of all other holds
	mostAtOnce  = 8_192   // holds of an event that one entry ends
	stall       = wire.Millis(500)
	longestGap  = wire.Millis(2_000) // between two entries of a shard with something due, however busy the machine
	expirySpare = 2 * time.Minute    // how long the last hold may keep the test waiting
)

// An expiryPlan is a number of holds of one seat each, live at the same time,
// and when they end.
type expiryPlan struct {
	events, seats int           // seats of an event; those behind the holds are for the load
	holds         int           // of an event
	after, spread time.Duration // deadlines are random, in [after, after+spread) from the first grant
	prompt        bool          // hold lateness to the promise; never on a machine that others use
}

// testExpiry fills events with holds, lets them end while other holds are made
// and released, and looks from the outside at when each seat is free again.
//
// Half of the shards carry load; in the others nothing but time happens, so that
// their holds end by ticks alone.
//
// Lateness is measured in shard time. Every 5 ms a watcher asks for the changes
// of its event and right behind that, on the same connection, for the shard's
// time, which the node reads after it has answered the first: a seat seen free
// was free at that time. So the figure is an upper bound; it contains the time
// until the next look.
//
// Three things are exact and depend on no clock of this machine: a seat seen free
// at a shard time before its deadline has expired early; so has one freed before
// (by version) a hold that was granted before its deadline (by stamp); and a map
// placed in the log, which has the stamp it is of, must show exactly those seats
// held whose deadline is later.
func testExpiry(t *testing.T, plan expiryPlan) {
	place := proc.NewPlace(t)
	node := place.Start(t)
	c := dial(t, node)
	halls := newHalls(t, c, plan.events, plan.seats, loadSeats)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)

	began := time.Now()
	for i, h := range halls {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		h.fill(plan.holds, func(int) time.Duration {
			return plan.after + time.Duration(r.Int64N(int64(plan.spread))) - time.Since(began)
		})
	}
	playAll(t, node.Addr, 512, halls)
	t.Logf("%d holds granted in %v; resident %s", plan.events*plan.holds, time.Since(began).Round(time.Millisecond), mega(node.Resident()))

	x := &expiry{plan: plan, addr: node.Addr}
	for _, h := range halls {
		w, err := x.watcher(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		x.watchers = append(x.watchers, w)
	}
	machine := callWitness(t.TempDir())
	x.run(t)
	machine.heard(t)
	if t.Failed() {
		return
	}
	for _, w := range x.watchers {
		if err := w.byStamp(); err != nil {
			t.Fatalf("%s: %v", w.event.Key(), err)
		}
	}
	x.report(t)
	t.Logf("resident at the end %s, at most %s", mega(node.Resident()), mega(node.PeakResident()))
	seats := sample(plan.holds, 500)
	playAll(t, node.Addr, 64, []*roll{{halls: halls, seats: seats, check: mustBe(wire.StateExpired)}})
	node.Stop()
}

func dial(t *testing.T, node *proc.Node) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), []string{node.Addr}, &client.Options{RequestTimeout: killTimeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// sample spreads at most most numbers over [0, n).
func sample(n, most int) (picked []int) {
	step := max(1, n/most)
	for i := 0; i < n; i += step {
		picked = append(picked, i)
	}
	return picked
}

func mustBe(s wire.HoldState) func(*hall, int, *wire.HoldInfo) error {
	return func(h *hall, seat int, info *wire.HoldInfo) error {
		if info.State != s {
			return fmt.Errorf("it is %v, not %v", info.State, s)
		}
		return nil
	}
}

// mega writes bytes for people.
func mega(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// An expiry is the time in which the holds of a plan end.
type expiry struct {
	plan     expiryPlan
	addr     string
	watchers []*watcher
	over     atomic.Bool // no more load
}

// watcher makes one for an event, all of whose holds must be live.
func (x *expiry) watcher(ctx context.Context, h *hall) (*watcher, error) {
	info, err := h.event.Info(ctx)
	if err != nil {
		return nil, err
	}
	if int(info.Total.Held) != x.plan.holds {
		return nil, fmt.Errorf("%d of %d holds are live when the last is granted: this machine is too slow for deadlines after %v",
			info.Total.Held, x.plan.holds, x.plan.after)
	}
	return &watcher{
		hall: h, busy: h.shard%2 == 1, since: info.Version, left: x.plan.holds,
		freed: make([]wire.Version, x.plan.holds), late: make([]wire.Millis, x.plan.holds),
	}, nil
}

// run waits until all holds have ended.
func (x *expiry) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), x.plan.after+x.plan.spread+expirySpare)
	defer cancel()
	var load sync.WaitGroup
	for _, w := range x.watchers {
		if w.busy {
			load.Go(func() {
				if err := x.load(ctx, w); err != nil {
					t.Errorf("load on %s: %v", w.event.Key(), err)
				}
			})
		}
	}
	each(t, x.watchers, func(w *watcher) error { return w.watch(ctx, x.addr) })
	x.over.Store(true)
	load.Wait()
}

// load makes and releases holds of seats that no hold of the plan is on, until
// it is told to stop.
func (x *expiry) load(ctx context.Context, w *watcher) error {
	p, err := client.DialPipe(ctx, x.addr, nil)
	if err != nil {
		return err
	}
	defer p.Close()
	pace := time.NewTicker(loadEvery)
	defer pace.Stop()
	l := loader{watcher: w, first: x.plan.holds, number: loadIDs}
	for !x.over.Load() {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := l.round(p); err != nil {
			return err
		}
	}
	return nil
}

// A loader has a number of slots with seats of their own, which it holds and
// releases in turn.
type loader struct {
	*watcher
	first  int    // seat
	number uint64 // of the last hold
	held   [loadSlots]wire.ID
	fence  [loadSlots]wire.Fence // 0: the slot's seats are free
}

// round makes one request for each slot and waits for the answers.
func (l *loader) round(p *client.Pipe) error {
	var list [4 * loadSeats]byte
	now := l.event.Now()
	for slot := range loadSlots {
		if l.fence[slot] != 0 {
			release := wire.OnHold{Mutation: wire.Mutation{Event: l.event.ID(), ID: l.held[slot]}, Fence: l.fence[slot]}
			p.End(wire.Header{Kind: wire.KindRelease, Request: uint64(slot)}, release.Append(p.Begin()))
			continue
		}
		l.number++
		l.held[slot] = idOf(now, l.number)
		seat := wire.SeatID(l.first + slot*loadSeats)
		hold := wire.Hold{
			Mutation: wire.Mutation{Event: l.event.ID(), ID: l.held[slot]},
			TTL:      uint32(time.Hour.Milliseconds()),
			Seats:    wire.SeatList(list[:0]).Append(seat, seat+1),
		}
		p.End(wire.Header{Kind: wire.KindHold, Request: uint64(slot)}, hold.Append(p.Begin()))
	}
	sent := time.Now()
	if err := p.Flush(); err != nil {
		return err
	}
	for range loadSlots {
		h, body, err := p.Next()
		if err != nil {
			return err
		}
		l.answers = append(l.answers, time.Since(sent))
		if err := l.answer(int(h.Request), h, body); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) answer(slot int, h wire.Header, body []byte) error {
	if h.Kind == wire.KindRelease {
		l.fence[slot] = 0
		if h.Status != wire.StatusOK {
			return fmt.Errorf("release: %v", h.Status)
		}
		return nil
	}
	var g wire.Granted
	if err := granted(h, body, &g); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	l.fence[slot] = g.Fence
	l.grants = append(l.grants, grant{g.Fence, g.Now})
	return nil
}

// report says how late the holds were, and compares that with the promise if it
// is to be kept.
func (x *expiry) report(t *testing.T) {
	t.Helper()
	var commits []time.Duration
	var late [2][]wire.Millis
	looks, maps := 0, 0
	for _, w := range x.watchers {
		commits = append(commits, w.answers...)
		kind := 0
		if w.busy {
			kind = 1
		}
		late[kind] = append(late[kind], w.late...)
		looks += w.looks
		maps += w.maps
	}
	slices.Sort(commits)
	t.Logf("load: %d answers, from request to answer p50 %v p99 %v max %v", len(commits), at(commits, 50), at(commits, 99), at(commits, 100))
	t.Logf("%d looks, %d maps compared seat by seat", looks, maps)
	for kind, name := range []string{"shards without load", "shards under load"} {
		slices.Sort(late[kind])
		t.Logf("%s: %d holds seen free after their deadline by p50 %d ms, p90 %d ms, p99 %d ms, p99.9 %d ms, max %d ms",
			name, len(late[kind]), at(late[kind], 50), at(late[kind], 90), at(late[kind], 99), at(late[kind], 99.9), at(late[kind], 100))
		if x.plan.prompt {
			x.hold(t, name, late[kind], commits)
		}
	}
}

// hold compares lateness with the promise. Its last tenth is left to the
// machine, which has others to serve: there only a stall is an error.
func (x *expiry) hold(t *testing.T, name string, late []wire.Millis, commits []time.Duration) {
	t.Helper()
	promise := wire.Millis(tick + (watchEvery + at(commits, 99)).Milliseconds() + 1)
	if p90 := at(late, 90); p90 > promise {
		t.Errorf("%s: 1 in 10 holds was %d ms late or more; a tick, a look and a slow commit are %d ms", name, p90, promise)
	}
	if p999 := at(late, 99.9); p999 > stall {
		t.Errorf("%s: 1 in 1000 holds was %d ms late or more: something stalls", name, p999)
	}
}

// at is a percentile of sorted values; 0 if there are none.
func at[T any](sorted []T, percent float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	return sorted[min(int(float64(len(sorted))*percent/100), len(sorted)-1)]
}
