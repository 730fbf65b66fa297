package shard

import (
	"testing"

	"github.com/usher-seats/usher/wire"
)

// singles holds n seats of event 1, one by one, in entries of one stamp.
func singles(t *testing.T, d *driver, n int, ttl uint32) (ids []wire.ID) {
	t.Helper()
	for i := range n {
		seat := wire.SeatID(i/benchSeats*wordBits + i%benchSeats)
		h := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: d.id()}, TTL: ttl, Seats: wire.MakeSeatList(seat)}
		ids = append(ids, h.ID)
		d.add(wire.KindHold, h.Append(nil))
		if i%1000 == 999 || i == n-1 {
			d.apply(d.ops, func(_ int, s wire.Status, body []byte) {
				if s != wire.StatusOK {
					t.Fatalf("%v %s", s, body)
				}
			})
			d.ops = nil
		}
	}
	return ids
}

func held(d *driver) int {
	_, body := d.s.Query(wire.Record{Kind: wire.KindEvent, Body: (&wire.EventRef{Event: 1}).Append(nil)}, 0, nil)
	var info wire.EventInfo
	if err := info.Decode(body); err != nil {
		panic(err)
	}
	return int(info.Total.Held)
}

// TestExpiriesPerApplyAreBounded: twenty thousand holds of one millisecond expire
// in three entries, the older fences first, and the shard stays due until all
// have.
func TestExpiriesPerApplyAreBounded(t *testing.T) {
	const n = 20_000
	d := newDriver(Config{})
	d.create(t, 1, benchManifest())
	ids := singles(t, d, n, 100)
	d.now += 100
	for _, left := range []int{n - maxExpiries, n - 2*maxExpiries, 0} {
		if due := d.s.NextDue(); due > d.now {
			t.Fatalf("due at %d, though holds were at %d", due, d.now)
		}
		d.apply(nil, nil)
		if got := held(d); got != left {
			t.Fatalf("%d seats are held, want %d", got, left)
		}
		if left > 0 {
			e := d.s.Event(1)
			if _, h := e.holdByID(&ids[n-left-1]); h.state != wire.StateExpired {
				t.Errorf("hold %d is %v", n-left-1, h.state)
			}
			if _, h := e.holdByID(&ids[n-left]); h.state != wire.StateHeld {
				t.Errorf("hold %d is %v", n-left, h.state)
			}
		}
		verifyShard(t, d.s)
	}
	if due := d.s.NextDue(); due <= d.now {
		t.Errorf("still due at %d", due)
	}
}

// TestForgettingPerApplyIsBounded: what has been remembered for a window goes a
// thousand at a time if nobody asks anything of the event, and two for each
// operation otherwise.
func TestForgettingPerApplyIsBounded(t *testing.T) {
	const n = 3000
	d := newDriver(Config{Window: 10_000})
	d.create(t, 1, benchManifest())
	singles(t, d, n, 100)
	d.now += 100
	d.apply(nil, nil)
	d.now = d.s.NextDue()
	e := d.s.Event(1)
	for _, left := range []int{n - forgetPerApply, n - 2*forgetPerApply} {
		d.apply(nil, nil)
		if e.memory.count != left {
			t.Fatalf("%d are remembered, want %d", e.memory.count, left)
		}
	}
	d.add(wire.KindHold, (&wire.Hold{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seats: wire.MakeSeatList(0)}).Append(nil))
	// Time does not move on, but the event still is due.
	d.apply(d.ops, nil)
	if e.memory.count != 0 || e.table.count != 1 || len(e.table.slots) != leastIDs {
		t.Errorf("%d are remembered, %d ids in a table of %d", e.memory.count, e.table.count, len(e.table.slots))
	}
	if len(e.holds.chunks) > 3 {
		t.Errorf("%d chunks of holds for one hold", len(e.holds.chunks))
	}
	verifyShard(t, d.s)
}

// TestMemoryIsBounded: an event keeps no more answers than it may, whatever comes.
func TestMemoryIsBounded(t *testing.T) {
	const bound = 500
	d := newDriver(Config{Remembered: bound})
	d.create(t, 1, benchManifest())
	e := d.s.Event(1)
	singles(t, d, 1, 1000)
	for range 5000 {
		d.now++
		h := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seats: wire.MakeSeatList(0)}
		d.ops = wire.Record{Kind: wire.KindHold, Body: h.Append(nil)}.Append(nil)
		d.apply(d.ops, nil)
		if e.memory.count > bound+1 {
			t.Fatalf("%d answers are remembered", e.memory.count)
		}
	}
	if e.memory.count < bound {
		t.Errorf("only %d answers are remembered", e.memory.count)
	}
	verifyShard(t, d.s)
}
