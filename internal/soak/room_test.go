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

// A roomPlan is a sale behind a waiting room.
type roomPlan struct {
	visitors int
	noShows  float64       // share of those called who never come
	limit    uint32        // inside at once
	rate     uint32        // called per second
	grace    time.Duration // to come
	passTTL  time.Duration
	stay     time.Duration // inside, on average
	kills    int           // of the node that leads the event's shard
	every    time.Duration // between two of them
}

const (
	roomSections = 4
	roomRows     = 250 // of each section, of 50 seats
	joinClerks   = 12
	roomLook     = 50 * time.Millisecond // between two looks at the room
)

// A hallway is the waiting room of one sale as its visitors know it.
type hallway struct {
	t     *testing.T
	plan  roomPlan
	event *client.Event
	work  sync.WaitGroup

	joined, came, late, booked, refused, killed atomic.Int64

	mu      sync.Mutex
	joins   []roomJoin
	waiting map[uint64]client.Ticket // of those who will come, by number
	visits  []visit
	absent  map[uint64]bool      // who will not come
	early   map[uint64]time.Time // numbers that were called before whoever has them knew, as call's before
	numbers map[uint64]bool      // that were admitted
}

// A roomJoin is one join as its client saw it, with the numbers it got.
type roomJoin struct {
	sent, got   time.Time
	first, last uint64
}

// A visit is the time during which somebody was surely inside.
type visit struct{ from, to time.Time }

// testRoom sends visitors through a waiting room while the node that leads its shard
// is killed with SIGKILL again and again. They watch the room, come in when they are
// called (but for those who never come), book, and leave or forget to. It proves,
// from the outside, that
//
//   - numbers are unique, and who was sent after somebody else had got his has a
//     higher one;
//   - never more are inside than the limit: neither by what the room says of itself
//     nor by the times for which visitors surely had live passes;
//   - whoever is present when he is called comes in, once, and nobody before he is
//     called; the serving number never goes back;
//   - in the end every number has been called, and has come or lapsed.
func testRoom(t *testing.T, plan roomPlan) {
	seed := clusterSeed(t)
	cl := proc.NewCluster(t, 3, []string{"--shards", "2"})
	c := dialAll(t, cl)
	h := &hallway{t: t, plan: plan, waiting: make(map[uint64]client.Ticket), absent: make(map[uint64]bool), early: make(map[uint64]time.Time), numbers: make(map[uint64]bool)}
	h.event = roomEvent(t, c, fmt.Sprintf("room-%d", seed))
	config := wire.DefaultRoom()
	config.Limit, config.Rate = plan.limit, plan.rate*1000
	config.Grace, config.PassTTL = uint32(plan.grace.Milliseconds()), uint32(plan.passTTL.Milliseconds())
	if err := h.event.SetRoom(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var clerks sync.WaitGroup
	for i := range joinClerks {
		clerks.Go(func() { h.join(rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	over := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() { h.killLeaders(cl, over) })
	h.watch(rand.New(rand.NewPCG(seed, 1<<32)))
	clerks.Wait()
	h.work.Wait()
	close(over)
	killer.Wait()
	h.audit()
	t.Logf("%d joined, %d came in, %d of them booked, %d were too slow to come, in %v; %d leaders were killed, %d looks were at a replica that was behind",
		h.joined.Load(), h.came.Load(), h.booked.Load(), h.late.Load(), time.Since(began).Round(time.Second), h.killed.Load(), h.refused.Load())
	cl.StopAll()
}

// roomEvent is an event with 50,000 seats.
func roomEvent(t *testing.T, c *client.Client, key string) *client.Event {
	t.Helper()
	m := &wire.Manifest{Key: key, Name: key, Categories: []string{"any"}, Rules: wire.DefaultRules()}
	for s := range roomSections {
		section := wire.Section{Name: fmt.Sprint(s + 1)}
		for r := range roomRows {
			row := wire.Row{Name: fmt.Sprint(r + 1), Focal: killRow - 1}
			for i := range killRow {
				row.Seats = append(row.Seats, wire.Seat{Label: fmt.Sprint(i + 1)})
			}
			section.Rows = append(section.Rows, row)
		}
		m.Sections = append(m.Sections, section)
	}
	ev, err := c.CreateEvent(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// patience bounds one call: it outlives the death of a node.
func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), killTimeout)
}

// join takes numbers, one by one or a few at once, until all visitors have some.
func (h *hallway) join(r *rand.Rand) {
	for !h.t.Failed() {
		n := 1
		if r.IntN(4) == 0 {
			n = 1 + r.IntN(50)
		}
		if all := h.joined.Add(int64(n)); all > int64(h.plan.visitors) {
			h.joined.Add(int64(-n))
			if n > 1 {
				continue // the last few come alone
			}
			return
		}
		ctx, cancel := patience()
		sent := time.Now()
		list, err := h.event.JoinMany(ctx, client.JoinRequest{Count: n})
		got := time.Now()
		cancel()
		if err != nil {
			h.t.Errorf("join: %v", err)
			return
		}
		h.mu.Lock()
		h.joins = append(h.joins, roomJoin{sent, got, list[0].Number, list[n-1].Number})
		for _, k := range list {
			before, called := h.early[k.Number]
			delete(h.early, k.Number)
			switch comes := r.Float64() >= h.plan.noShows; {
			case comes && called:
				h.enter(k, before, rand.New(rand.NewPCG(r.Uint64(), k.Number)))
			case comes:
				h.waiting[k.Number] = k
			case !called:
				h.absent[k.Number] = true
			}
		}
		h.mu.Unlock()
	}
}

// watch looks at the room again and again, and sends in those who are called, until
// all numbers have been called and nobody is inside any more.
func (h *hallway) watch(r *rand.Rand) {
	var serving uint64
	before := time.Now() // the last look that some number was not called by
	for looks := 0; !h.t.Failed(); looks++ {
		ctx, cancel := patience()
		sent := time.Now()
		s, err := h.event.Queue(ctx)
		cancel()
		if err != nil {
			h.t.Errorf("look at the room: %v", err)
			return
		}
		if s.Inside+s.Outstanding > h.plan.limit {
			h.t.Errorf("%d are inside and %d are called, of at most %d", s.Inside, s.Outstanding, h.plan.limit)
		}
		if s.Serving < serving && s.Age == 0 && looks > 0 {
			h.refused.Add(1) // another replica, which is behind
		}
		for ; serving < s.Serving; serving++ {
			h.call(serving, before, rand.New(rand.NewPCG(r.Uint64(), serving)))
		}
		before = sent
		if h.finished(s) {
			return
		}
		<-time.After(roomLook)
	}
}

// finished reports whether all have joined, and come and gone.
func (h *hallway) finished(s *client.QueueStatus) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	joined := uint64(0)
	for _, j := range h.joins {
		joined += j.last - j.first + 1
	}
	return joined >= uint64(h.plan.visitors) && s.Serving == s.Issued && s.Outstanding == 0 && s.Inside == 0
}

// call sends the visitor with a number in, if he is one who comes. He had not been
// called when the room was asked at before.
func (h *hallway) call(number uint64, before time.Time, r *rand.Rand) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ticket, comes := h.waiting[number]
	switch {
	case comes:
		delete(h.waiting, number)
		h.enter(ticket, before, r)
	case h.absent[number]:
		delete(h.absent, number)
	default:
		h.early[number] = before
	}
}

// enter begins a visit.
func (h *hallway) enter(ticket client.Ticket, before time.Time, r *rand.Rand) {
	h.work.Go(func() { h.visit(ticket, before, r) })
}

func (h *hallway) visit(ticket client.Ticket, before time.Time, r *rand.Rand) {
	ctx, cancel := patience()
	defer cancel()
	pass, err := h.event.Admit(ctx, ticket)
	from := time.Now()
	switch client.StatusOf(err) {
	case wire.StatusOK:
	case wire.StatusLapsed:
		// He came in time unless it took him as long as the grace.
		if from.Sub(before) < h.plan.grace {
			h.t.Errorf("number %d has lapsed %v after it had not been called, with %v of grace", ticket.Number, from.Sub(before), h.plan.grace)
		}
		h.late.Add(1)
		return
	default:
		h.t.Errorf("admit number %d: %v", ticket.Number, err)
		return
	}
	h.came.Add(1)
	h.shop(ctx, pass, r)
	stay := time.Duration(r.ExpFloat64() * float64(h.plan.stay))
	forgets := r.IntN(10) == 0
	if !forgets {
		<-time.After(min(stay, time.Until(pass.ExpiresAt)))
	}
	to := time.Now()
	if forgets || to.After(pass.ExpiresAt) {
		to = pass.ExpiresAt
	}
	h.mu.Lock()
	if h.numbers[pass.Number] {
		h.t.Errorf("number %d was let in twice", pass.Number)
	}
	h.numbers[pass.Number] = true
	if to.After(from) {
		h.visits = append(h.visits, visit{from, to})
	}
	h.mu.Unlock()
	if forgets {
		return
	}
	if err := h.event.Leave(ctx, pass.Token); err != nil {
		h.t.Errorf("leave with number %d: %v", pass.Number, err)
	}
}

// shop books a seat, mostly.
func (h *hallway) shop(ctx context.Context, pass client.Pass, r *rand.Rand) {
	if r.IntN(2) == 0 {
		return
	}
	hold, err := h.event.HoldBest(ctx, client.BestRequest{Count: 1, Pass: pass.ID})
	if err == nil {
		err = hold.Confirm(ctx)
	}
	switch client.StatusOf(err) {
	case wire.StatusOK:
		h.booked.Add(1)
	case wire.StatusPassEnded: // it took too long
	default:
		h.t.Errorf("number %d: %v", pass.Number, err)
	}
}

// killLeaders kills the node that leads the event's shard, and starts it again.
func (h *hallway) killLeaders(cl *proc.Cluster, over chan struct{}) {
	for range h.plan.kills {
		select {
		case <-over:
			return
		case <-time.After(h.plan.every):
		}
		at := -1
		for _, g := range cl.View().Groups {
			if g.Group != 0 && g.Events > 0 {
				at = cl.At(g.Leader)
			}
		}
		if at < 0 {
			continue
		}
		cl.Kill(at)
		h.killed.Add(1)
		cl.Start(at)
		cl.AwaitSettled()
	}
}

// audit looks back at the whole sale.
func (h *hallway) audit() {
	h.t.Helper()
	s, err := h.event.Queue(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	if s.Redeemed+s.Lapsed != s.Issued || s.Redeemed != uint64(h.came.Load()) {
		h.t.Errorf("%d numbers came and %d lapsed of %d; %d visitors were let in", s.Redeemed, s.Lapsed, s.Issued, h.came.Load())
	}
	if len(h.waiting)+len(h.absent) != 0 {
		h.t.Errorf("%d numbers have not been called", len(h.waiting)+len(h.absent))
	}
	h.t.Logf("%d numbers were lost on their way to whom they were given", len(h.early))
	h.auditJoins()
	// How many were inside at once: a sweep over beginnings and ends.
	type step struct {
		at    time.Time
		delta int
	}
	var steps []step
	for _, v := range h.visits {
		steps = append(steps, step{v.from, 1}, step{v.to, -1})
	}
	slices.SortFunc(steps, func(a, b step) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return a.delta - b.delta
	})
	inside, most := 0, 0
	for _, p := range steps {
		inside += p.delta
		most = max(most, inside)
	}
	if most > int(h.plan.limit) {
		h.t.Errorf("%d visitors had live passes at once, at most %d may", most, h.plan.limit)
	}
	h.t.Logf("at most %d visitors surely were inside at once, of %d", most, h.plan.limit)
}

// auditJoins proves that numbers are unique and first come, first served.
func (h *hallway) auditJoins() {
	h.t.Helper()
	bySent, byGot := slices.Clone(h.joins), slices.Clone(h.joins)
	slices.SortFunc(bySent, func(a, b roomJoin) int { return a.sent.Compare(b.sent) })
	slices.SortFunc(byGot, func(a, b roomJoin) int { return a.got.Compare(b.got) })
	given := make(map[uint64]bool)
	done, next := 0, uint64(0) // the lowest number that may still be given
	for _, j := range bySent {
		for ; done < len(byGot) && byGot[done].got.Before(j.sent); done++ {
			next = max(next, byGot[done].last+1)
		}
		if j.first < next {
			h.t.Errorf("number %d was asked for after %d had been given", j.first, next-1)
		}
		for n := j.first; n <= j.last; n++ {
			if given[n] {
				h.t.Errorf("number %d was given twice", n)
			}
			given[n] = true
		}
	}
}
