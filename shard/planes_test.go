package shard

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/usher-seats/usher/wire"
)

// TestReadersSeeWholeOperations: the applier holds, books, cancels and swaps
// groups of seats that lie in different words. Readers of maps must never see a
// part of a group, of counts always the same sum, and of changes a list that leads
// from one map they have seen to the next.
func TestReadersSeeWholeOperations(t *testing.T) {
	d := newDriver(Config{Changes: 4096})
	d.create(t, 1, benchManifest())
	var stop atomic.Bool
	var readers sync.WaitGroup
	var maps, followed atomic.Int64
	for range 2 {
		readers.Go(func() {
			r := mapReader{s: d.s}
			for !stop.Load() {
				if err := r.step(&maps, &followed); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	readers.Go(func() {
		q := wire.Record{Kind: wire.KindEvent, Body: (&wire.EventRef{Event: 1}).Append(nil)}
		for !stop.Load() {
			_, body := d.s.Query(q, 0, nil)
			var info wire.EventInfo
			if err := info.Decode(body); err != nil {
				t.Error(err)
				return
			}
			c := info.Total
			if c.Held%groupSize != 0 || c.Booked%groupSize != 0 || c.Free+c.Held+c.Booked != benchRows*benchSeats {
				t.Errorf("counts of half an operation: %+v", c)
				return
			}
		}
	})
	w := groupWriter{driver: d, rnd: newRandom(t)}
	for !t.Failed() && (maps.Load() < 300 || followed.Load() < 300) {
		w.step()
	}
	stop.Store(true)
	readers.Wait()
}

// groupSize is the seats of a group: the k-th of as many rows that follow each
// other, so each in a word of its own.
const groupSize = 4

// A groupWriter changes groups of seats, many operations to an entry.
type groupWriter struct {
	*driver
	rnd    *rand.Rand
	holds  map[int]known // by group
	booked map[int]bool
}

func groupSeats(g int) (list wire.SeatList) {
	row, at := g/benchSeats*groupSize, g%benchSeats
	for i := range groupSize {
		list = list.Append(wire.SeatID((row+i)*wordBits + at))
	}
	return list
}

func (w *groupWriter) step() {
	if w.holds == nil {
		w.holds, w.booked = map[int]known{}, map[int]bool{}
	}
	w.now++
	w.ops = w.ops[:0]
	asked := make([]int, 0, benchBatch)
	once := map[int]bool{}
	for range benchBatch {
		g := w.rnd.IntN(benchRows / groupSize * benchSeats)
		if once[g] {
			continue
		}
		once[g] = true
		k, held := w.holds[g]
		on := wire.Mutation{Event: 1, ID: k.id}
		switch {
		case !held:
			h := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: w.id()}, Seats: groupSeats(g)}
			w.holds[g] = known{id: h.ID}
			w.add(wire.KindHold, h.Append(nil))
		case w.booked[g]:
			c := wire.Cancel{Mutation: wire.Mutation{Event: 1, ID: w.id()}, Booking: k.id}
			w.add(wire.KindCancel, c.Append(nil))
			delete(w.holds, g)
			delete(w.booked, g)
		case w.rnd.IntN(2) == 0:
			w.add(wire.KindRelease, (&wire.OnHold{Mutation: on, Fence: k.fence}).Append(nil))
			delete(w.holds, g)
		default:
			w.add(wire.KindConfirm, (&wire.OnHold{Mutation: on, Fence: k.fence}).Append(nil))
			w.booked[g] = true
		}
		asked = append(asked, g)
	}
	w.apply(w.ops, func(i int, s wire.Status, body []byte) {
		if s != wire.StatusOK {
			panic(fmt.Sprint(s))
		}
		var granted wire.Granted
		if k, held := w.holds[asked[i]]; held && k.fence == 0 && granted.Decode(body) == nil {
			k.fence = granted.Fence
			w.holds[asked[i]] = k
		}
	})
}

// A mapReader reads maps and then what changed since.
type mapReader struct {
	s      *Shard
	seats  map[wire.SeatID]wire.SeatState // as of since
	since  wire.Version
	planes []byte
}

func (r *mapReader) step(maps, followed *atomic.Int64) error {
	var m wire.SeatMap
	_, body := r.s.Query(wire.Record{Kind: wire.KindMap, Body: (&wire.EventRef{Event: 1}).Append(nil)}, 0, nil)
	if err := m.Decode(body); err != nil {
		return err
	}
	maps.Add(1)
	if err := wholeGroups(&m); err != nil {
		return err
	}
	if r.seats != nil {
		if err := r.follow(&m, followed); err != nil {
			return err
		}
	}
	r.since, r.planes = m.Version, m.Planes
	r.seats = map[wire.SeatID]wire.SeatState{}
	return nil
}

// wholeGroups looks whether the seats of every group are in one state.
func wholeGroups(m *wire.SeatMap) error {
	for row := 0; row < benchRows; row += groupSize {
		for half := range 2 {
			first := binary.LittleEndian.Uint64(m.Planes[row*16+half*8:])
			for i := 1; i < groupSize; i++ {
				if v := binary.LittleEndian.Uint64(m.Planes[(row+i)*16+half*8:]); v != first {
					return fmt.Errorf("version %d: rows %d and %d differ in %d seats", m.Version, row, row+i, bits.OnesCount64(v^first))
				}
			}
		}
	}
	return nil
}

// follow asks for the changes since the map before, and plays those up to this
// map's version.
func (r *mapReader) follow(m *wire.SeatMap, followed *atomic.Int64) error {
	q := wire.ChangesQuery{Event: 1, Since: r.since}
	_, body := r.s.Query(wire.Record{Kind: wire.KindChanges, Body: q.Append(nil)}, 0, nil)
	var c wire.Changes
	if err := c.Decode(body); err != nil {
		return err
	}
	if c.Resync {
		return nil
	}
	if c.Version < m.Version {
		return fmt.Errorf("changes lead to version %d, the map before is of %d", c.Version, m.Version)
	}
	old := wire.SeatMap{Planes: r.planes}
	at := r.since
	for i := range c.Len() {
		one := c.At(i)
		if one.Version < at || one.Version > c.Version {
			return fmt.Errorf("version %d after version %d", one.Version, at)
		}
		at = one.Version
		if one.Version > m.Version {
			break
		}
		state, ok := r.seats[one.Seat]
		if !ok {
			state = old.State(one.Seat)
		}
		if state != one.From {
			return fmt.Errorf("version %d: seat %d goes from %v, but was %v", one.Version, one.Seat, one.From, state)
		}
		r.seats[one.Seat] = one.To
	}
	for seat, state := range r.seats {
		if m.State(seat) != state {
			return fmt.Errorf("version %d: seat %d is %v, after the changes %v", m.Version, seat, m.State(seat), state)
		}
	}
	followed.Add(1)
	return nil
}

// TestApplierHandsOutCopies: a reader who cannot get a copy by himself, because
// something always moves, gets it from the applier at the end of the entry.
func TestApplierHandsOutCopies(t *testing.T) {
	d := newDriver(Config{})
	d.create(t, 1, benchManifest())
	e := d.s.Event(1)
	// As in the middle of an operation of an entry.
	d.s.busy.Store(true)
	e.begin(1)
	e.move([]spot{{0, 1}}, wire.SeatFree, wire.SeatHeld)
	got := make(chan *planeCopy)
	go func() { got <- d.s.copyPlanes(e) }()
	for d.s.asked.Load() == nil {
	}
	select {
	case <-got:
		t.Fatal("a copy of half an operation")
	default:
	}
	e.end()
	d.s.busy.Store(false)
	d.s.serveCopies()
	if p := <-got; p.counter != 1 || p.taken[0]&1 != 1 {
		t.Errorf("copy of version %d with first word %#x", p.counter, p.taken[0])
	}
	// Undone, so that the event is in order.
	e.begin(1)
	e.move([]spot{{0, 1}}, wire.SeatHeld, wire.SeatFree)
	e.end()
}

// TestRecordSizes holds the sizes that the package states.
func TestRecordSizes(t *testing.T) {
	for _, c := range []struct {
		what      string
		got, want uintptr
	}{
		{"hold", unsafe.Sizeof(hold{}), 128},
		{"memo", unsafe.Sizeof(memo{}), 56},
		{"buyer", unsafe.Sizeof(buyerSlot{}), 16},
	} {
		if c.got != c.want {
			t.Errorf("a %s takes %d bytes, want %d", c.what, c.got, c.want)
		}
	}
	if at := unsafe.Offsetof(hold{}.granted); at != cacheLine {
		t.Errorf("a hold's second line begins at %d", at)
	}
}

// TestNothingIsAllocated: once an event has its size, holding, confirming,
// giving back and forgetting allocate nothing, and looking never does.
func TestNothingIsAllocated(t *testing.T) {
	d := newDriver(Config{Remembered: 2000})
	d.create(t, 1, benchManifest())
	n := 0
	cycle := func() {
		d.ops = d.ops[:0]
		h := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seats: wire.SeatList(d.body[:0]).Append(wire.SeatID(n%50), wire.SeatID(n%50+wordBits))}
		d.body = h.Seats[:0]
		d.ops = wire.AppendRecordHeader(d.ops, bodySeats+8, wire.KindHold, 0, 0)
		d.ops = h.Append(d.ops)
		o := wire.OnHold{Mutation: wire.Mutation{Event: 1, ID: h.ID}, Fence: d.s.Event(1).Version() + 1}
		kinds := []wire.Kind{wire.KindConfirm, wire.KindRelease}
		d.ops = wire.AppendRecordHeader(d.ops, 42, kinds[n%2], 0, 0)
		d.ops = o.Append(d.ops)
		if n%2 == 0 {
			c := wire.Cancel{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Booking: h.ID}
			d.ops = wire.AppendRecordHeader(d.ops, 50, wire.KindCancel, 0, 0)
			d.ops = c.Append(d.ops)
		}
		d.now++
		n++
		d.apply(d.ops, nil)
	}
	for range 10_000 {
		cycle()
	}
	if allocs := testing.AllocsPerRun(2000, cycle); allocs != 0 {
		t.Errorf("%v allocations for a cycle", allocs)
	}
	verifyShard(t, d.s)
	if v := d.s.Event(1).Version().Counter(); v < 25_000 {
		t.Errorf("version %d: the cycles did nothing", v)
	}
	hold := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seats: wire.MakeSeatList(0, 0+wordBits)}
	d.ops = wire.Record{Kind: wire.KindHold, Body: hold.Append(nil)}.Append(d.ops[:0])
	d.apply(d.ops, nil)
	other := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seats: hold.Seats}
	r := wire.Record{Kind: wire.KindHold, Body: other.Append(nil)}
	dst := make([]byte, 0, 64)
	if allocs := testing.AllocsPerRun(1000, func() {
		if _, _, decided := d.s.Look(r, d.now, dst); !decided {
			t.Error("not decided")
		}
	}); allocs != 0 {
		t.Errorf("%v allocations for a look", allocs)
	}
}
