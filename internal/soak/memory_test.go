package soak

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"testing"

	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

// TestMemory says what a shard needs for an event, a seat, a hold and a remembered
// id, and holds it to what docs/performance.md promises. Bytes are of the heap
// after a collection, so a process takes up to twice as much; an allocator's slack
// is in them. The part is what a snapshot has of it, before compression.
func TestMemory(t *testing.T) {
	for _, used := range []bool{false, true} {
		small := measureEvents(t, 100, 1_000, used)
		large := measureEvents(t, 2, wire.MaxSeats, used)
		perSeat := (large - small) / (wire.MaxSeats - 1_000)
		t.Logf("event, a hold was made in it: %v; of 1,000 seats: %.0f bytes, of 200,000 seats: %.0f; so %.0f and %.1f a seat",
			used, small, large, small-1_000*perSeat, perSeat)
		atMost(t, "an event of 1,000 seats", small, 20_000)
		atMost(t, "a seat", perSeat, 2)
	}
	for _, m := range []struct {
		what  string
		seats int
		buyer bool
		most  float64 // bytes
		after func(a *applier, id wire.ID, fence wire.Fence)
	}{
		{"live hold of 1 seat", 1, false, 160, nil},
		{"live hold of 2 seats", 2, false, 160, nil},
		{"live hold of 4 seats", 4, false, 170, nil},
		{"live hold of 8 seats", 8, false, 210, nil},
		{"live hold of 64 seats", 64, false, 450, nil},
		{"live hold of 2 seats of a buyer who is counted", 2, true, 200, nil},
		{"booking of 2 seats", 2, false, 160, (*applier).confirm},
		{"remembered id of a hold of 2 seats that was released", 2, false, 160, (*applier).release},
		{"remembered id of a hold of 10 seats that was released", 10, false, 240, (*applier).release},
	} {
		heap, part := measureHolds(t, m.seats, m.buyer, m.after)
		t.Logf("%s: %.0f bytes, %.0f in a snapshot's part", m.what, heap, part)
		atMost(t, "a "+m.what, heap, m.most)
	}
	heap, part := measureRefusals(t)
	t.Logf("remembered id of a hold that was refused: %.0f bytes, %.0f in a snapshot's part", heap, part)
	atMost(t, "a remembered id of a refused hold", heap, 100)
}

func atMost(t *testing.T, what string, bytes, most float64) {
	t.Helper()
	if bytes > most {
		t.Errorf("%s takes %.0f bytes, promised are %.0f", what, bytes, most)
	}
}

// An applier feeds a shard the way a log does.
type applier struct {
	t      *testing.T
	shard  *shard.Shard
	index  uint64
	now    wire.Millis
	number uint64
	ops    []byte
	fences []wire.Fence // of the last entry
	buyers bool         // events count the seats of their buyers
}

func newApplier(t *testing.T) *applier {
	// As few changes as a ring can have: they are counted by seats, not by holds.
	return &applier{t: t, shard: shard.New(shard.Config{Changes: 1}), now: 1_700_000_000_000}
}

func (a *applier) id() wire.ID {
	a.number++
	return idOf(a.now, a.number)
}

func (a *applier) add(kind wire.Kind, body []byte) {
	a.ops = wire.Record{Kind: kind, Body: body}.Append(a.ops)
}

// flush applies what was added; all must end with status.
func (a *applier) flush(status wire.Status) {
	a.index++
	a.now++
	a.fences = a.fences[:0]
	a.shard.Apply(a.index, a.now, a.ops, func(i int, s wire.Status, body []byte) {
		if s != status {
			a.t.Fatalf("operation %d: %v %s, want %v", i, s, body, status)
		}
		var g wire.Granted
		if err := g.Decode(body); err == nil {
			a.fences = append(a.fences, g.Fence)
		}
	})
	a.ops = a.ops[:0]
}

func (a *applier) create(event wire.EventID, seats int) {
	m := &wire.Manifest{
		Key: fmt.Sprintf("event-%d", event), Name: "Some Evening", Categories: []string{"stalls", "circle"},
		Sections: []wire.Section{{Name: "A"}}, Rules: wire.DefaultRules(),
	}
	m.Rules.SeatsPerHold = wire.MaxHoldSeats
	m.Rules.MaxTTL = 24 * 3600_000
	if a.buyers {
		m.Rules.SeatsPerBuyer = wire.MaxHoldSeats
	}
	labels := make([]wire.Seat, hallRow)
	for i := range labels {
		labels[i].Label = fmt.Sprint(i + 1)
	}
	for left := seats; left > 0; left -= hallRow {
		n := min(left, hallRow)
		m.Sections[0].Rows = append(m.Sections[0].Rows, wire.Row{Name: fmt.Sprint(left), Focal: uint16(n - 1), Seats: labels[:n]})
	}
	b := m.Encode()
	digest := sha256.Sum256(b)
	for from := 0; from < len(b); from += wire.MaxChunk {
		c := wire.Create{
			Mutation: wire.Mutation{Event: event, ID: a.id()}, Offset: uint32(from), Total: uint32(len(b)),
			Digest: digest, Chunk: b[from:min(from+wire.MaxChunk, len(b))],
		}
		a.add(wire.KindCreate, c.Append(nil))
		a.flush(wire.StatusOK)
	}
}

// heap is what lives.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools of the first had left over
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// measureEvents is the heap that an event takes, before or after the first hold.
func measureEvents(t *testing.T, events, seats int, used bool) float64 {
	t.Helper()
	a := newApplier(t)
	before := heap()
	for i := range events {
		a.create(wire.EventID(i+1), seats)
		if used {
			h := wire.Hold{Mutation: wire.Mutation{Event: wire.EventID(i + 1), ID: a.id()}, Seats: wire.MakeSeatList(1)}
			a.add(wire.KindHold, h.Append(nil))
			a.flush(wire.StatusOK)
		}
	}
	per := (heap() - before) / float64(events)
	runtime.KeepAlive(a)
	return per
}

// measureHolds is the heap, and the length of the state's part, that a hold takes
// after what becomes of it.
func measureHolds(t *testing.T, seats int, buyer bool, after func(*applier, wire.ID, wire.Fence)) (perHeap, perPart float64) {
	t.Helper()
	const perEntry = 1_000
	holds := min(wire.MaxSeats/seats, 20_000)
	a := newApplier(t)
	a.buyers = buyer
	a.create(1, holds*seats)
	a.ops = make([]byte, 0, 1<<20)
	a.fences = make([]wire.Fence, 0, perEntry)
	ids := make([]wire.ID, 0, perEntry)
	a.shard.Apply(a.index+1, a.now, nil, nil)
	a.index++
	before, empty := heap(), a.part()
	var list [4 * wire.MaxHoldSeats]byte
	for first := 0; first < holds; first += perEntry {
		ids = ids[:0]
		for i := first; i < min(first+perEntry, holds); i++ {
			h := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: a.id()}, TTL: 3600_000, Seats: list[:0]}
			if buyer {
				h.Buyer = wire.BuyerID(a.number * 0x9e3779b97f4a7c15)
			}
			for s := range seats {
				h.Seats = h.Seats.Append(wire.SeatID(i*seats + s))
			}
			a.add(wire.KindHold, h.Append(nil))
			ids = append(ids, h.ID)
		}
		a.flush(wire.StatusOK)
		if after != nil {
			for i, id := range ids {
				after(a, id, a.fences[i])
			}
			a.flush(wire.StatusOK)
		}
	}
	perHeap, perPart = (heap()-before)/float64(holds), float64(a.part()-empty)/float64(holds)
	runtime.KeepAlive(a)
	return perHeap, perPart
}

// part is the length of event 1's state in a snapshot.
func (a *applier) part() int {
	data, ok := a.shard.EncodePart(nil, 1<<1|1)
	if !ok {
		a.t.Fatal("the event has no state")
	}
	return len(data)
}

func (a *applier) confirm(id wire.ID, fence wire.Fence) {
	o := wire.OnHold{Mutation: wire.Mutation{Event: 1, ID: id}, Fence: fence}
	a.add(wire.KindConfirm, o.Append(nil))
}

func (a *applier) release(id wire.ID, fence wire.Fence) {
	o := wire.OnHold{Mutation: wire.Mutation{Event: 1, ID: id}, Fence: fence}
	a.add(wire.KindRelease, o.Append(nil))
}

// measureRefusals is the same for holds of seats that are taken.
func measureRefusals(t *testing.T) (perHeap, perPart float64) {
	t.Helper()
	a := newApplier(t)
	a.create(1, hallRow)
	seats := wire.MakeSeatList(1, 2)
	a.add(wire.KindHold, (&wire.Hold{Mutation: wire.Mutation{Event: 1, ID: a.id()}, TTL: 24 * 3600_000, Seats: seats}).Append(nil))
	a.flush(wire.StatusOK)
	before, empty := heap(), a.part()
	const holds, perEntry = 20_000, 1_000
	for range holds / perEntry {
		for range perEntry {
			a.add(wire.KindHold, (&wire.Hold{Mutation: wire.Mutation{Event: 1, ID: a.id()}, Seats: seats}).Append(nil))
		}
		a.flush(wire.StatusTaken)
	}
	a.ops = nil
	perHeap, perPart = (heap()-before)/float64(holds), float64(a.part()-empty)/float64(holds)
	runtime.KeepAlive(a)
	return perHeap, perPart
}
