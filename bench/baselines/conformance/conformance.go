// Package conformance tests that an inventory keeps the promises that a
// measurement takes for granted.
package conformance

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/usher-seats/usher/bench/baselines/inventory"
)

const (
	seats    = 2_000
	shortTTL = 200 * time.Millisecond
	patience = 20 * time.Second // for what must happen
	goodRows = 8                // best available gives none behind these in an empty house
)

// Test runs all tests against one inventory, which is closed by the caller.
func Test(t *testing.T, inv inventory.Inventory) {
	t.Run("decides", func(t *testing.T) { decides(t, inv, 101) })
	t.Run("expires", func(t *testing.T) { expires(t, inv, 102) })
	t.Run("contention", func(t *testing.T) { contention(t, inv, 103) })
	t.Run("best contention", func(t *testing.T) { bestContention(t, inv, 104) })
}

// Workloads runs every workload for a moment, each on an inventory of its own,
// with its audit; short tests only those named.
func Workloads(t *testing.T, load inventory.Load, start func(*testing.T) inventory.Inventory, short ...string) {
	names := inventory.Workloads()
	if testing.Short() {
		names = short
	}
	for _, w := range names {
		t.Run(w, func(t *testing.T) {
			inv := start(t)
			defer inv.Close()
			r, err := inventory.Measure(t.Context(), inv, inventory.Options{
				Workload: w, Load: load, Duration: 200 * time.Millisecond, Seats: seats, Ahead: 2, Seed: 1,
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Operations == 0 {
				t.Error("no operation was done")
			}
		})
	}
}

// A desk asks one request at a time.
type desk struct {
	t    *testing.T
	conn inventory.Conn
	last uint64
}

func newDesk(t *testing.T, inv inventory.Inventory, stream int) *desk {
	c, err := inv.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &desk{t: t, conn: c, last: uint64(stream) << 32}
}

func (d *desk) ask(r inventory.Request, want inventory.Status) inventory.Answer {
	d.t.Helper()
	a := d.try(r)
	if a.Status != want {
		d.t.Fatalf("operation %d on %v answered %v, want %v", r.Op, r.Seats, a.Status, want)
	}
	return a
}

func (d *desk) try(r inventory.Request) inventory.Answer {
	d.t.Helper()
	answers := make([]inventory.Answer, 1)
	if err := d.conn.Do(d.t.Context(), []inventory.Request{r}, answers); err != nil {
		d.t.Fatal(err)
	}
	return answers[0]
}

func (d *desk) number() uint64 {
	d.last++
	return d.last
}

// decides goes through the life of a hold.
func decides(t *testing.T, inv inventory.Inventory, event int) {
	if err := inv.Create(t.Context(), event, seats); err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, inv, event)
	ledger := inventory.NewLedger(event, seats)
	hold := inventory.Request{Op: inventory.Hold, Event: event, Number: d.number(), Seats: []int{3, 51, 1999}}
	a := d.ask(hold, inventory.OK)
	if err := ledger.Granted(hold.Number, hold.Seats); err != nil {
		t.Fatal(err)
	}
	// Half of this one is free; none of it may be granted.
	d.ask(inventory.Request{Op: inventory.Hold, Event: event, Number: d.number(), Seats: []int{2, 3}}, inventory.Taken)
	d.ask(inventory.Request{Op: inventory.Hold, Event: event, Number: d.number(), Seats: []int{51, 52}}, inventory.Taken)
	audit(t, inv, ledger, inventory.Receipt{Event: event, Number: hold.Number, Grant: a.Grant, Seats: hold.Seats})

	confirm := inventory.Request{Op: inventory.Confirm, Event: event, Number: hold.Number, Seats: hold.Seats, Grant: a.Grant}
	d.ask(confirm, inventory.OK)
	if err := ledger.Booked(hold.Number, hold.Seats); err != nil {
		t.Fatal(err)
	}
	d.ask(inventory.Request{Op: inventory.Hold, Event: event, Number: d.number(), Seats: []int{1999}}, inventory.Taken)
	audit(t, inv, ledger, inventory.Receipt{Event: event, Number: hold.Number, Grant: a.Grant, Seats: hold.Seats, Booked: true})

	// Four together, and good ones: systems whose buyers would collide on the very
	// best spread them over some rows.
	best := inventory.Request{Op: inventory.Best, Event: event, Number: d.number(), Count: 4}
	b := d.ask(best, inventory.OK)
	if len(b.Seats) != 4 || b.Seats[0]/inventory.RowSeats >= goodRows || b.Seats[3] != b.Seats[0]+3 {
		t.Fatalf("the best four of an empty house are %v", b.Seats)
	}
	if err := ledger.Granted(best.Number, b.Seats); err != nil {
		t.Fatal(err)
	}
	d.ask(inventory.Request{Op: inventory.Hold, Event: event, Number: d.number(), Seats: b.Seats[:1]}, inventory.Taken)
	release := inventory.Request{Op: inventory.Release, Event: event, Number: best.Number, Seats: b.Seats, Grant: b.Grant}
	if err := ledger.Returning(best.Number, b.Seats); err != nil {
		t.Fatal(err)
	}
	d.ask(release, inventory.OK)
	audit(t, inv, ledger)
	again := inventory.Request{Op: inventory.Hold, Event: event, Number: d.number(), Seats: b.Seats}
	d.ask(again, inventory.OK)
	// Who has given seats back cannot book them.
	d.ask(inventory.Request{Op: inventory.Confirm, Event: event, Number: best.Number, Seats: b.Seats, Grant: b.Grant}, inventory.Gone)
	if err := ledger.Granted(again.Number, again.Seats); err != nil {
		t.Fatal(err)
	}
	audit(t, inv, ledger)
}

// expires proves that a hold ends by itself, that its seats are sold again, and
// that its owner cannot book them then.
func expires(t *testing.T, inv inventory.Inventory, event int) {
	if err := inv.Create(t.Context(), event, seats); err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, inv, event)
	first := inventory.Request{Op: inventory.Hold, Event: event, Number: d.number(), Seats: []int{10, 11}, TTL: shortTTL}
	sent := time.Now()
	a := d.ask(first, inventory.OK)
	for {
		r := inventory.Request{Op: inventory.Hold, Event: event, Number: d.number(), Seats: []int{11, 12}}
		if d.try(r).Status == inventory.OK {
			break
		}
		if time.Since(sent) > patience {
			t.Fatalf("after %v a hold of %v has not ended", patience, shortTTL)
		}
	}
	if took := time.Since(sent); took < shortTTL {
		t.Errorf("a hold of %v ended after %v", shortTTL, took)
	}
	d.ask(inventory.Request{Op: inventory.Confirm, Event: event, Number: first.Number, Seats: first.Seats, Grant: a.Grant}, inventory.Gone)
}

// contention lets connections fight for a few seats: the ledger finds a seat that
// two of them were granted, the audit whatever else is wrong in the end.
func contention(t *testing.T, inv inventory.Inventory, event int) {
	const wanted, rounds, depth = 40, 30, 4
	if err := inv.Create(t.Context(), event, seats); err != nil {
		t.Fatal(err)
	}
	ledger := inventory.NewLedger(event, seats)
	var mu sync.Mutex
	var kept []inventory.Receipt
	fight(t, inv, event, func(ctx context.Context, d *desk, r *rand.Rand) error {
		requests, answers := make([]inventory.Request, depth), make([]inventory.Answer, depth)
		var mine []inventory.Receipt
		for range rounds {
			for i := range requests {
				x, y := r.IntN(wanted), r.IntN(wanted-1)
				if y >= x {
					y++
				}
				requests[i] = inventory.Request{Op: inventory.Hold, Event: event, Number: d.number(), Seats: []int{min(x, y), max(x, y)}}
				answers[i] = inventory.Answer{}
			}
			if err := d.conn.Do(ctx, requests, answers); err != nil {
				return err
			}
			for i, a := range answers {
				if a.Status == inventory.Taken {
					continue
				}
				if err := ledger.Granted(requests[i].Number, requests[i].Seats); err != nil {
					return err
				}
				mine = append(mine, inventory.Receipt{Event: event, Number: requests[i].Number, Grant: a.Grant, Seats: requests[i].Seats})
			}
			for len(mine) > 1 {
				if err := settle(ctx, d, ledger, mine[0], inventory.Release); err != nil {
					return err
				}
				mine = mine[1:]
			}
		}
		for i := range mine {
			if r.IntN(2) == 0 {
				if err := settle(ctx, d, ledger, mine[i], inventory.Confirm); err != nil {
					return err
				}
				mine[i].Booked = true
			}
		}
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, mine...)
		return nil
	})
	audit(t, inv, ledger, kept...)
}

// settle confirms or releases a hold, which must succeed.
func settle(ctx context.Context, d *desk, l *inventory.Ledger, h inventory.Receipt, op inventory.Operation) error {
	note := l.Booked
	if op == inventory.Release {
		if err := l.Returning(h.Number, h.Seats); err != nil {
			return err
		}
		note = func(uint64, []int) error { return nil }
	}
	answers := make([]inventory.Answer, 1)
	r := inventory.Request{Op: op, Event: h.Event, Number: h.Number, Seats: h.Seats, Grant: h.Grant}
	if err := d.conn.Do(ctx, []inventory.Request{r}, answers); err != nil {
		return err
	}
	if answers[0].Status != inventory.OK {
		return &refused{op, answers[0].Status}
	}
	return note(h.Number, h.Seats)
}

// A refused is a confirmation or release of a live hold that was not done.
type refused struct {
	op     inventory.Operation
	status inventory.Status
}

func (r *refused) Error() string {
	return "operation on a live hold answered " + r.status.String()
}

// bestContention lets all want the best four of a small house until it is full.
func bestContention(t *testing.T, inv inventory.Inventory, event int) {
	const house = 200 // four rows, 12 groups of four in each
	if err := inv.Create(t.Context(), event, house); err != nil {
		t.Fatal(err)
	}
	ledger := inventory.NewLedger(event, house)
	fight(t, inv, event, func(ctx context.Context, d *desk, _ *rand.Rand) error {
		for {
			r := inventory.Request{Op: inventory.Best, Event: event, Number: d.number(), Count: 4}
			answers := make([]inventory.Answer, 1)
			if err := d.conn.Do(ctx, []inventory.Request{r}, answers); err != nil {
				return err
			}
			if answers[0].Status != inventory.OK {
				return nil
			}
			if err := ledger.Granted(r.Number, answers[0].Seats); err != nil {
				return err
			}
		}
	})
	audit(t, inv, ledger)
	states, err := inventory.ReadStates(t.Context(), inv, event, house)
	if err != nil {
		t.Fatal(err)
	}
	run := 0
	for i, s := range states {
		if i%inventory.RowSeats == 0 {
			run = 0
		}
		if run++; s != inventory.Free {
			run = 0
		}
		if run == 4 {
			t.Fatalf("sold out, but seats %d to %d are free", i-3, i)
		}
	}
}

// fight runs several connections and fails with the first error of any.
func fight(t *testing.T, inv inventory.Inventory, stream int, part func(context.Context, *desk, *rand.Rand) error) {
	t.Helper()
	const fighters = 8
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var wg sync.WaitGroup
	for i := range fighters {
		d := newDesk(t, inv, stream<<8|i+1)
		wg.Go(func() {
			if err := part(ctx, d, rand.New(rand.NewPCG(1, uint64(i)))); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		t.Fatal(err)
	}
}

func audit(t *testing.T, inv inventory.Inventory, l *inventory.Ledger, receipts ...inventory.Receipt) {
	t.Helper()
	if err := inventory.Audit(t.Context(), inv, []*inventory.Ledger{l}, receipts); err != nil {
		t.Fatal(err)
	}
}
