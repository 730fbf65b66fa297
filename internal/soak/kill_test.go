package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/internal/proc"
	"github.com/usher-seats/usher/wire"
)

const (
	killBuyers  = 48
	killSeats   = 2_000 // in rows of 50
	killRow     = 50
	killTimeout = 90 * time.Second // of a call, node restarts included
	shortTTL    = 3 * time.Second
	longTTL     = time.Hour
	payCap      = 10 * time.Minute // of the default rules
)

// scaled is n, or what SOAK_SCALE makes of it.
func scaled(t *testing.T, n int) int {
	t.Helper()
	s := os.Getenv("SOAK_SCALE")
	if s == "" {
		return n
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatalf("SOAK_SCALE=%q: %v", s, err)
	}
	return max(1, int(f*float64(n)))
}

// testKills kills a node again and again under full load and holds it to every
// promise it made: each acknowledged hold and booking is there with its fence,
// nothing half done, nothing twice, no hold expired early, and repeated ids
// answer as before.
func testKills(t *testing.T, cycles int, args ...string) {
	place := proc.NewPlace(t, args...)
	node := place.Start(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	c, err := client.Dial(t.Context(), []string{node.Addr}, &client.Options{RequestTimeout: killTimeout})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var slowest time.Duration
	for cycle := range cycles {
		h := newHouse(t, c, fmt.Sprintf("kill-%d-%d", seed, cycle))
		stop := h.open(seed + uint64(cycle))
		// The moment of death is random: that is the test.
		<-time.After(100*time.Millisecond + time.Duration(r.Int64N(int64(500*time.Millisecond))))
		node.Kill()
		node = place.Start(t)
		slowest = max(slowest, node.Started)
		stop()
		if t.Failed() {
			t.Fatalf("cycle %d: see above", cycle)
		}
		if err := h.audit(t.Context()); err != nil {
			t.Fatalf("cycle %d: %v", cycle, err)
		}
		if cycle%10 == 9 {
			t.Logf("cycle %d: %d acknowledged changes in this one", cycle+1, h.changes())
		}
	}
	t.Logf("slowest start after a kill: %v", slowest)
	node.Stop()
}

// A house is an event and those who buy there.
type house struct {
	t      *testing.T
	event  *client.Event
	buyers []*buyer
	pulse  *pulse // takes note of every answer; nil: nobody wants to know
}

// A buyer owns his ledger: what the cluster acknowledged to him.
type buyer struct {
	house  *house
	shop   shop
	pause  time.Duration // between two visits, at most
	rand   *rand.Rand
	ledger map[wire.ID]*entry
	acked  int
}

// A shop is how a buyer asks. It repeats a request with the same id until the
// cluster has decided. Errors tell a wire.Status to client.StatusOf. It belongs
// to its buyer.
type shop interface {
	hold(ctx context.Context, e *entry) (*client.Hold, error)
	step(ctx context.Context, e *entry, k wire.Kind) error
}

// An entry is a hold as its buyer knows it.
type entry struct {
	hold  *client.Hold
	asked client.HoldRequest
	best  int // so many of the best seats were asked for; 0: those of asked
	fence wire.Fence
	seats []wire.SeatID
	sure  time.Time // until then it must not have expired
	state wire.HoldState
	kept  bool // has its seats, says the audit
}

func newHouse(t *testing.T, c *client.Client, key string) *house {
	t.Helper()
	m := &wire.Manifest{Key: key, Name: key, Categories: []string{"any"}, Sections: []wire.Section{{Name: "A"}}, Rules: wire.DefaultRules()}
	m.Rules.MaxTTL = uint32(longTTL / time.Millisecond)
	for r := range killSeats / killRow {
		row := wire.Row{Name: strconv.Itoa(r + 1), Focal: killRow - 1}
		for s := range killRow {
			row.Seats = append(row.Seats, wire.Seat{Label: strconv.Itoa(s + 1)})
		}
		m.Sections[0].Rows = append(m.Sections[0].Rows, row)
	}
	ev, err := c.CreateEvent(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return &house{t: t, event: ev}
}

// open lets buyers in who use the client library and do not pause.
func (h *house) open(seed uint64) (stop func()) {
	for i := range killBuyers {
		h.invite(library{h.event}, 0, rand.New(rand.NewPCG(seed, uint64(i)+1)))
	}
	return h.letIn()
}

// invite adds a buyer.
func (h *house) invite(s shop, pause time.Duration, r *rand.Rand) {
	h.buyers = append(h.buyers, &buyer{house: h, shop: s, pause: pause, rand: r, ledger: make(map[wire.ID]*entry)})
}

// letIn opens the doors; the function it returns waits until each buyer has the
// answer to what he asked last.
func (h *house) letIn() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i, b := range h.buyers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := b.visit(); err != nil {
					h.t.Errorf("buyer %d: %v", i, err)
					return
				}
				if b.pause > 0 {
					<-time.After(time.Duration(b.rand.Int64N(int64(b.pause)))) // people think
				}
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

func (h *house) changes() (n int) {
	for _, b := range h.buyers {
		n += b.acked
	}
	return n
}

// visit is one hold and what becomes of it, or a look at the map. Calls have a
// timeout of their own that outlives the node's death.
func (b *buyer) visit() error {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	if b.rand.IntN(8) == 0 {
		if _, err := b.house.event.Map(ctx, client.Freshness(b.rand.IntN(2) == 0)); err != nil {
			return fmt.Errorf("map: %w", err)
		}
		return nil
	}
	e := &entry{asked: client.HoldRequest{Seats: b.pick(), TTL: longTTL}, state: wire.StateHeld}
	if b.rand.IntN(3) == 0 {
		e.asked.TTL = shortTTL
	}
	if b.rand.IntN(4) == 0 {
		e.best = len(e.asked.Seats)
	}
	sent := time.Now()
	hold, err := b.shop.hold(ctx, e)
	b.house.pulse.beat(sent, err)
	if status := client.StatusOf(err); status == wire.StatusTaken || status == wire.StatusNotEnough {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	e.hold, e.fence, e.sure = hold, hold.Fence(), sent.Add(e.asked.TTL)
	if e.seats = hold.Seats(); len(e.seats) == 0 {
		e.seats = e.asked.Seats // the hold was made elsewhere
	}
	e.asked.ID = hold.ID()
	b.ledger[hold.ID()] = e
	b.acked++
	return b.decide(ctx, e)
}

// decide confirms, releases, extends, starts to pay, or leaves the hold alone.
func (b *buyer) decide(ctx context.Context, e *entry) error {
	var kind wire.Kind
	next, sure := e.state, e.sure
	sent := time.Now()
	switch b.rand.IntN(5) {
	case 0:
		kind, next = wire.KindConfirm, wire.StateBooked
	case 1:
		kind, next = wire.KindRelease, wire.StateReleased
	case 2:
		kind, next, sure = wire.KindPay, wire.StatePaying, sent.Add(payCap)
	case 3:
		kind, sure = wire.KindExtend, sent.Add(e.asked.TTL)
	default:
		return nil
	}
	err := b.shop.step(ctx, e, kind)
	b.house.pulse.beat(sent, err)
	b.acked++
	switch client.StatusOf(err) {
	case wire.StatusOK:
		e.state, e.sure = next, sure
		return nil
	case wire.StatusExpired, wire.StatusLost:
		if time.Now().Before(e.sure) {
			return fmt.Errorf("hold %v expired early: %w", e.hold.ID(), err)
		}
		delete(b.ledger, e.hold.ID()) // it ended while the node was away
		return nil
	}
	return fmt.Errorf("hold %v: %w", e.hold.ID(), err)
}

// A library is a shop that uses the Go client.
type library struct{ event *client.Event }

func (l library) hold(ctx context.Context, e *entry) (*client.Hold, error) {
	if e.best > 0 {
		return l.event.HoldBest(ctx, client.BestRequest{Count: e.best, TTL: e.asked.TTL, Split: true, ID: e.asked.ID})
	}
	return l.event.Hold(ctx, e.asked)
}

func (l library) step(ctx context.Context, e *entry, k wire.Kind) error {
	switch k {
	case wire.KindConfirm:
		return e.hold.Confirm(ctx)
	case wire.KindRelease:
		return e.hold.Release(ctx)
	case wire.KindPay:
		return e.hold.Pay(ctx)
	default:
		return e.hold.Extend(ctx, e.asked.TTL)
	}
}

func (b *buyer) pick() []wire.SeatID {
	row, n := b.rand.IntN(killSeats/killRow), 1+b.rand.IntN(4)
	first := b.rand.IntN(killRow - n + 1)
	seats := make([]wire.SeatID, n)
	for i := range seats {
		seats[i] = wire.SeatID(row*64 + first + i)
	}
	return seats
}

// audit compares what buyers were told with what the node says now.
func (h *house) audit(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(h.buyers))
	for i, b := range h.buyers {
		wg.Go(func() { errs[i] = b.checkAll(ctx) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	owner := make(map[wire.SeatID]wire.ID)
	loose := make(map[wire.SeatID]bool) // of holds that may have expired meanwhile
	for _, b := range h.buyers {
		for id, e := range b.ledger {
			if !e.kept {
				continue
			}
			for _, s := range e.seats {
				if other, twice := owner[s]; twice {
					return fmt.Errorf("seat %d is in %v and in %v", s, other, id)
				}
				owner[s] = id
				loose[s] = e.asked.TTL == shortTTL && e.state != wire.StateBooked
			}
		}
	}
	return h.auditMap(ctx, owner, loose)
}

// checkAll reads a buyer's holds back.
func (b *buyer) checkAll(ctx context.Context) (err error) {
	for id, e := range b.ledger {
		if e.kept, err = b.house.check(ctx, id, e); err != nil {
			return err
		}
	}
	return nil
}

func (h *house) auditMap(ctx context.Context, owner map[wire.SeatID]wire.ID, loose map[wire.SeatID]bool) error {
	m, err := h.event.Map(ctx, client.Consistent)
	if err != nil {
		return err
	}
	for row := range killSeats / killRow {
		for i := range killRow {
			s := wire.SeatID(row*64 + i)
			_, owned := owner[s]
			if taken := m.State(s) != wire.SeatFree; taken != owned && !loose[s] {
				return fmt.Errorf("seat %d is %v, acknowledged to somebody: %v", s, m.State(s), owned)
			}
		}
	}
	return nil
}

// check reads one hold back and repeats its id; kept is false if its seats went
// back.
func (h *house) check(ctx context.Context, id wire.ID, e *entry) (kept bool, err error) {
	info, err := h.event.GetHold(ctx, id)
	if err != nil {
		return false, fmt.Errorf("acknowledged hold %v: %w", id, err)
	}
	asked := time.Now()
	if info.Fence != e.fence {
		return false, fmt.Errorf("hold %v has fence %d, acknowledged was %d", id, info.Fence, e.fence)
	}
	if info.State != e.state {
		if info.State != wire.StateExpired || e.state != wire.StateHeld {
			return false, fmt.Errorf("hold %v is %v, acknowledged was %v", id, info.State, e.state)
		}
		if asked.Before(e.sure) {
			return false, fmt.Errorf("hold %v expired %v early", id, e.sure.Sub(asked))
		}
	}
	kept = info.State == wire.StateHeld || info.State == wire.StatePaying || info.State == wire.StateBooked
	if has := info.Held.Len() + info.Booked.Len(); kept && has != len(e.seats) {
		return false, fmt.Errorf("hold %v has %d seats of %d", id, has, len(e.seats))
	}
	again, err := library{h.event}.hold(ctx, e)
	if err != nil {
		return false, fmt.Errorf("repeat of hold %v: %w", id, err)
	}
	if again.ID() != id || again.Fence() != e.fence {
		return false, errors.New("a repeated id made another hold")
	}
	return kept, nil
}
