package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/internal/proc"
	"github.com/usher-seats/usher/wire"
)

const (
	quartetsInRow = 4                // side by side, in two rows: they share words
	checkTime     = 60 * time.Second // for the search in one quartet's history
	forgedTime    = 5 * time.Second  // in a forged one, of which there are many
	auditVolley   = 64               // requests under way in the audit
)

// A linearPlan is how long a history is and what disturbs it.
type linearPlan struct {
	kills    int
	life     time.Duration // of a process, on average
	quartets int           // of each of the two events
	tellers  int           // use the client library, one request at a time
	tappers  int           // use pipes, several requests at a time, some of them twice
	flags    []string      // of the node
}

func TestLinear(t *testing.T) {
	testLinear(t, linearPlan{kills: 1, life: 700 * time.Millisecond, quartets: 8, tellers: 6, tappers: 4})
}

// testLinear records what many clients ask of a node and are answered while it is
// killed and started again, and searches for an order of all that in which a
// naive model gives the same answers, rejections included. Each request must have
// its place between the moment it was sent and that of its answer; one without
// an answer may have had its effect at any time later, or never.
//
// Seats are checked in groups of four that no request straddles: linearizability
// is local. What holds for the event as a whole, the order of fences and that a
// map is of one moment, is part of each group's history by the versions.
//
// Then the history is forged in ways that break a promise, and the search must
// notice.
func testLinear(t *testing.T, plan linearPlan) {
	seed := clusterSeed(t)
	place := proc.NewPlace(t, plan.flags...)
	node := place.Start(t)
	l := newLinear(t, plan, dial(t, node), seed, node.Addr)
	r := rand.New(rand.NewPCG(seed, 0))
	stop := l.open(t, seed)
	for range plan.kills {
		// The moment of death is random: that is the test.
		<-time.After(plan.life/2 + time.Duration(r.Int64N(int64(plan.life))))
		l.lives.Add(1)
		node.Kill()
		node = place.Start(t)
		l.lives.Add(1)
	}
	<-time.After(plan.life)
	stop()
	if t.Failed() {
		t.FailNow()
	}
	early := proc.Sum(node.Metrics(), "usher_early_look_rejections_total")
	l.auditAll(t)
	node.Stop()
	l.check(t)
	if early == 0 {
		t.Error("no hold was answered by the early look: the test does not do what it says")
	}
	l.forge(t)
}

// newLinear makes the events of a history.
func newLinear(t *testing.T, plan linearPlan, c *client.Client, seed uint64, addrs ...string) *linear {
	t.Helper()
	l := &linear{plan: plan, addrs: addrs, began: time.Now()}
	for _, short := range []bool{false, true} {
		l.shows = append(l.shows, l.newShow(t, c, fmt.Sprintf("linear-%d-%v", seed, short), short))
	}
	return l
}

// auditAll asks about everything once more.
func (l *linear) auditAll(t *testing.T) {
	t.Helper()
	for _, s := range l.shows {
		l.audit(t, s)
	}
}

// check searches for the order of everything.
func (l *linear) check(t *testing.T) {
	t.Helper()
	for _, s := range l.shows {
		for i, q := range s.quartets {
			q.finish(l.now())
			if err := checkActs(q.masks(), q.acts, s.quiet, checkTime); err != nil {
				t.Fatalf("%s, quartet %d: %v", s.event.Key(), i, err)
			}
		}
		s.checkFences(t)
		s.report(t)
	}
}

// A linear is a history in the making. Immutable but for lives, and for leader,
// which is the test's.
type linear struct {
	plan  linearPlan
	addrs []string // of the nodes
	began time.Time
	shows []*show
	lives atomic.Int32 // changes when the node dies, and when it is back

	leader int // which of the nodes answers the audit
}

// A show is an event and the quartets of its seats. Immutable but for quiet.
type show struct {
	event    *client.Event
	short    bool // most holds end by themselves
	quartets []*quartet
	quiet    wire.Millis // all that was asked before the audit has been decided; set by it
}

// A quartet is four seats that are checked together, two in each of two rows.
type quartet struct {
	seats [quartetSeats]wire.SeatID

	mu      sync.Mutex
	orders  []*order
	granted []*order
	acts    []*act
}

// An order is a hold of some of a quartet's seats that was asked for. Guarded by
// the quartet's mutex where it says so, otherwise immutable.
type order struct {
	number int
	id     wire.ID
	mask   uint8
	seats  []wire.SeatID
	ttl    uint32
	flags  wire.HoldFlags

	fence   wire.Fence     // guarded; 0: not granted as far as anybody knows
	unknown bool           // guarded; somebody got no answer
	state   wire.HoldState // guarded; as it was read last
}

func (l *linear) now() int64 { return int64(time.Since(l.began)) }

func (l *linear) newShow(t *testing.T, c *client.Client, key string, short bool) *show {
	t.Helper()
	m := &wire.Manifest{Key: key, Name: key, Categories: []string{"any"}, Sections: []wire.Section{{Name: "A"}}, Rules: wire.DefaultRules()}
	m.Rules.MaxTTL = uint32(longTTL / time.Millisecond)
	pairs := (l.plan.quartets + quartetsInRow - 1) / quartetsInRow
	for r := range 2 * pairs {
		row := wire.Row{Name: strconv.Itoa(r + 1), Focal: 1}
		for s := range 2 * quartetsInRow {
			row.Seats = append(row.Seats, wire.Seat{Label: strconv.Itoa(s + 1)})
		}
		m.Sections[0].Rows = append(m.Sections[0].Rows, row)
	}
	ev, err := c.CreateEvent(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	s := &show{event: ev, short: short}
	for i := range l.plan.quartets {
		q := new(quartet)
		for k := range q.seats {
			row, seat := 2*(i/quartetsInRow)+k/2, 2*(i%quartetsInRow)+k%2
			q.seats[k] = wire.SeatID(row*64 + seat)
		}
		s.quartets = append(s.quartets, q)
	}
	return s
}

// open lets the clients in; the function it returns waits until each has the
// answers to what it asked last.
func (l *linear) open(t *testing.T, seed uint64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range l.plan.tellers + l.plan.tappers {
		asker := asker{l: l, who: i, rand: rand.New(rand.NewPCG(seed, uint64(i)+1))}
		run := (&teller{asker}).run
		if i >= l.plan.tellers {
			run = (&tapper{asker: asker}).run
		}
		all.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// audit asks once more, now that all is quiet: for every order that was granted or
// got no answer, marked as a repeat, so that what became of it is known; for every
// hold as it stands, and when it came to that; and for the map.
func (l *linear) audit(t *testing.T, s *show) {
	t.Helper()
	// What clients gave up on may still be on its way. Behind it on the same
	// connections, which are taken in turn, come these.
	for range 8 {
		m, err := s.event.Map(t.Context(), client.Consistent)
		if err != nil {
			t.Fatal(err)
		}
		s.quiet = m.Now + 1
	}
	k := &tapper{asker: asker{l: l, who: l.plan.tellers + l.plan.tappers, rand: rand.New(rand.NewPCG(1, 1))}, at: [2]int{l.leader, l.leader}}
	defer k.hangUp()
	send := func() {
		if err := k.volley(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	each := func(make func(o *order) *act) {
		for _, q := range s.quartets {
			for i, o := range q.orders {
				if act := make(o); act != nil {
					act.order, act.audit = o.number, true
					k.ask(asking{show: s, quartet: q, order: o, act: act})
				}
				if i%auditVolley == 0 {
					send()
				}
			}
			send()
		}
	}
	each(func(o *order) *act {
		if o.fence == 0 && !o.unknown {
			return nil
		}
		return &act{kind: wire.KindHold, logged: true}
	})
	each(func(o *order) *act {
		if o.fence == 0 {
			return nil
		}
		return &act{kind: wire.KindGetHold}
	})
	each(func(o *order) *act {
		switch o.state {
		case wire.StateReleased:
			return &act{kind: wire.KindRelease, fence: o.fence}
		case wire.StateBooked, wire.StateLost:
			return &act{kind: wire.KindConfirm, fence: o.fence}
		}
		return nil
	})
	k.ask(asking{show: s, act: &act{kind: wire.KindMap}})
	send()
}

// record takes an act into the history.
func (q *quartet) record(a *act) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.acts = append(q.acts, a)
}

// place gives a new order its number.
func (q *quartet) place(o *order) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	o.number = len(q.orders)
	q.orders = append(q.orders, o)
	return o.number
}

// learn notes what an answer, or that there was none, says of an order.
func (q *quartet) learn(o *order, a *act) {
	q.mu.Lock()
	defer q.mu.Unlock()
	o.unknown = o.unknown || !a.known
	if a.known && a.kind == wire.KindGetHold {
		o.state = a.state
	}
	if a.known && a.fence != 0 && o.fence == 0 {
		o.fence = a.fence
		q.granted = append(q.granted, o)
	}
}

// finish ends the history.
func (q *quartet) finish(now int64) { q.record(&act{call: now, ret: now}) }

func (q *quartet) masks() (masks []uint8) {
	for _, o := range q.orders {
		masks = append(masks, o.mask)
	}
	return masks
}

// maskOf turns seats into bits of the quartet.
func (q *quartet) maskOf(seats wire.SeatList) (mask uint8, err error) {
	for _, s := range seats.IDs() {
		at := slices.Index(q.seats[:], s)
		if at < 0 {
			return 0, fmt.Errorf("seat %d was named, and nobody asked for it", s)
		}
		mask |= 1 << at
	}
	return mask, nil
}

// errUndecided is the end of a search that took too long.
var errUndecided = errors.New("there was no time to find an order, or that there is none")

// checkActs searches for an order of the acts that the model allows.
func checkActs(masks []uint8, acts []*act, quiet wire.Millis, patience time.Duration) error {
	verdicts, err := judge(masks, acts)
	if err != nil {
		return err
	}
	acts = heard(acts, verdicts, quiet)
	var history []porcupine.Operation
	for _, a := range acts {
		history = append(history, porcupine.Operation{ClientId: a.who, Input: a, Call: a.call, Return: a.ret})
	}
	result, info := porcupine.CheckOperationsVerbose(newQuartetModel(verdicts).model(), history, patience)
	switch result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("%w: %s", errUndecided, story(acts, info))
	default:
		return fmt.Errorf("not linearizable: %s", story(acts, info))
	}
}

// story tells how far the search came: the end of the longest order that it found,
// and what could not follow.
func story(acts []*act, info porcupine.LinearizationInfo) string {
	const last = 12
	var longest []porcupine.Operation
	for _, partial := range info.PartialLinearizationsOperations()[0] {
		if len(partial) > len(longest) {
			longest = partial
		}
	}
	placed := make(map[*act]bool)
	var b strings.Builder
	fmt.Fprintf(&b, "no order of all %d acts; this far it goes:\n", len(acts))
	for i, o := range longest {
		placed[o.Input.(*act)] = true
		if i >= len(longest)-last {
			fmt.Fprintf(&b, "  %v\n", o.Input)
		}
	}
	b.WriteString("and none of these can follow:\n")
	rest := slices.DeleteFunc(slices.Clone(acts), func(a *act) bool { return placed[a] })
	slices.SortFunc(rest, func(a, b *act) int { return int(min(1, max(-1, a.call-b.call))) })
	for _, a := range rest[:min(len(rest), last)] {
		fmt.Fprintf(&b, "  %v\n", a)
	}
	return b.String()
}

// checkFences compares the fences of a whole event with real time: of two grants,
// the one that was answered before the other was asked for has the lower.
func (s *show) checkFences(t *testing.T) {
	t.Helper()
	type span struct {
		from, to int64
		fence    wire.Fence
	}
	spans := make(map[wire.Fence]span)
	for _, q := range s.quartets {
		from, fences := make([]int64, len(q.orders)), make(map[int]span)
		for i := range from {
			from[i] = forever
		}
		for _, a := range q.acts {
			if a.kind != wire.KindHold {
				continue
			}
			from[a.order] = min(from[a.order], a.call)
			if a.known && a.status == wire.StatusOK {
				f, seen := fences[a.order]
				if !seen || a.ret < f.to {
					fences[a.order] = span{0, a.ret, a.fence}
				}
			}
		}
		for order, f := range fences {
			if _, twice := spans[f.fence]; twice {
				t.Fatalf("two grants have the fence %x", f.fence)
			}
			spans[f.fence] = span{from[order], f.to, f.fence}
		}
	}
	latest := int64(0) // when the latest of the lower fences was asked for
	for _, fence := range slices.Sorted(maps.Keys(spans)) {
		f := spans[fence]
		if f.to < latest {
			t.Fatalf("the grant with fence %x was answered %d ns before one with a lower fence was asked for", fence, latest-f.to)
		}
		latest = max(latest, f.from)
	}
}

// report says what the history is made of.
func (s *show) report(t *testing.T) {
	t.Helper()
	count := make(map[string]int)
	total := 0
	for _, q := range s.quartets {
		turned, granted := make(map[int]bool), make(map[int]bool)
		for _, a := range q.acts {
			total++
			switch {
			case !a.known && a.kind != 0:
				count["unknown"]++
			case a.kind == wire.KindConfirm && a.reacquired:
				count["reacquired"]++
			case a.kind == wire.KindHold && a.status == wire.StatusTaken && !a.logged:
				turned[a.order] = true
			case a.kind == wire.KindHold && a.status == wire.StatusOK:
				granted[a.order] = true
			}
			if a.known {
				count[a.status.String()]++
			}
		}
		for o := range turned {
			if granted[o] {
				count["turned away and granted"]++
			}
		}
	}
	t.Logf("%s: %d acts in %d quartets: %v", s.event.Key(), total, len(s.quartets), count)
	for _, want := range []wire.Status{wire.StatusTaken, wire.StatusBooked, wire.StatusReleased, wire.StatusUnknownHold, wire.StatusFenceMismatch} {
		if count[want.String()] == 0 {
			t.Errorf("%s: no answer was %v: the test does not do what it says", s.event.Key(), want)
		}
	}
	if late := count["reacquired"] + count[wire.StatusLost.String()]; s.short && late == 0 {
		t.Errorf("%s: no hold was confirmed that had expired", s.event.Key())
	}
	if count["unknown"] == 0 {
		t.Errorf("%s: every request was answered, though the node was killed", s.event.Key())
	}
}
