package shard

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// The event of the benchmarks has 50,000 seats: 1,000 rows of 50.
const (
	benchRows  = 1000
	benchSeats = 50
	benchPairs = benchRows * benchSeats / 2
	benchBatch = 256 // operations of an entry
)

func benchManifest() *wire.Manifest {
	m := &wire.Manifest{Key: "bench", Categories: []string{"A"}, Rules: wire.DefaultRules()}
	s := wire.Section{Name: "A"}
	for i := range benchRows {
		r := wire.Row{Name: fmt.Sprint(i + 1), Focal: benchSeats - 1}
		for k := range benchSeats {
			r.Seats = append(r.Seats, wire.Seat{Label: fmt.Sprint(k + 1)})
		}
		s.Rows = append(s.Rows, r)
	}
	m.Sections = []wire.Section{s}
	return m
}

// pair is the n-th pair of neighbours of the event.
func pair(n int) wire.SeatList {
	row, at := n/(benchSeats/2), n%(benchSeats/2)
	seat := wire.SeatID(row*wordBits + 2*at)
	return wire.MakeSeatList(seat, seat+1)
}

// A holdRun is entries of holds of two neighbours, prepared before the clock
// starts, and then what it takes to go on with those holds.
type holdRun struct {
	*driver
	entries [][]byte
	ids     []wire.ID
	events  []wire.EventID // of each hold
	fences  []wire.Fence
}

func newHoldRun(b *testing.B, c Config, n int) *holdRun {
	b.Helper()
	r := &holdRun{driver: newDriver(c)}
	m := benchManifest()
	event := wire.EventID(0)
	for i := range n {
		if i%benchPairs == 0 {
			event++
			r.create(b, event, m)
		}
		h := wire.Hold{Mutation: wire.Mutation{Event: event, ID: r.id()}, Seats: pair(i % benchPairs)}
		r.ids, r.events = append(r.ids, h.ID), append(r.events, event)
		r.add(wire.KindHold, h.Append(nil))
		if (i+1)%benchBatch == 0 || i+1 == n {
			r.entries = append(r.entries, r.ops)
			r.ops = nil
		}
	}
	r.fences = make([]wire.Fence, 0, n)
	return r
}

// hold applies the holds.
func (r *holdRun) hold(b *testing.B) {
	for _, ops := range r.entries {
		r.now++
		r.apply(ops, func(_ int, s wire.Status, body []byte) {
			if s != wire.StatusOK {
				b.Fatalf("%v %s", s, body)
			}
			var g wire.Granted
			if err := g.Decode(body); err != nil {
				b.Fatal(err)
			}
			r.fences = append(r.fences, g.Fence)
		})
	}
}

// onHolds prepares entries of an operation on each hold.
func (r *holdRun) onHolds(kind wire.Kind) (entries [][]byte) {
	for i, id := range r.ids {
		o := wire.OnHold{Mutation: wire.Mutation{Event: r.events[i], ID: id}, Fence: r.fences[i]}
		r.add(kind, o.Append(nil))
		if (i+1)%benchBatch == 0 || i+1 == len(r.ids) {
			entries = append(entries, r.ops)
			r.ops = nil
		}
	}
	return entries
}

// measure starts the clocks. Beside the time on the wall a benchmark reports the
// time that all threads ran, which other programs on the machine disturb less.
func measure(b *testing.B) (stop func()) {
	b.ReportAllocs()
	b.ResetTimer()
	before := processTime(b)
	return func() {
		b.ReportMetric(float64(processTime(b)-before)/float64(b.N), "cpu-ns/op")
	}
}

func processTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func (r *holdRun) applyAll(b *testing.B, entries [][]byte) {
	for _, ops := range entries {
		r.now++
		r.apply(ops, func(_ int, s wire.Status, body []byte) {
			if s != wire.StatusOK {
				b.Fatalf("%v %s", s, body)
			}
		})
	}
}

func BenchmarkHold(b *testing.B) {
	r := newHoldRun(b, Config{}, b.N)
	defer measure(b)()
	r.hold(b)
}

func BenchmarkConfirm(b *testing.B) {
	r := newHoldRun(b, Config{}, b.N)
	r.hold(b)
	entries := r.onHolds(wire.KindConfirm)
	defer measure(b)()
	r.applyAll(b, entries)
}

// BenchmarkCycle holds and confirms: two operations.
func BenchmarkCycle(b *testing.B) {
	// The fence of a hold is its place in the event: nothing else changes seats
	// before all are held.
	r := newHoldRun(b, Config{}, b.N)
	for i := range b.N {
		r.fences = append(r.fences, wire.MakeVersion(firstEpoch, uint64(i%benchPairs)+1))
	}
	entries := r.onHolds(wire.KindConfirm)
	r.fences = r.fences[:0]
	defer measure(b)()
	r.hold(b)
	r.applyAll(b, entries)
}

// BenchmarkTaken refuses holds in the log, and remembers that.
func BenchmarkTaken(b *testing.B) {
	r := newHoldRun(b, Config{Remembered: 100_000}, benchPairs)
	r.hold(b)
	var entries [][]byte
	for range 400 {
		for range benchBatch {
			h := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: r.id()}, Seats: pair(int(r.n*7) % benchPairs)}
			r.add(wire.KindHold, h.Append(nil))
		}
		entries = append(entries, r.ops)
		r.ops = nil
	}
	defer measure(b)()
	// From the second time round the ids have been forgotten and are too old, so
	// the clock is stopped.
	for n := 0; n < b.N; n += benchBatch {
		if k := n / benchBatch % len(entries); k == 0 && n > 0 {
			b.StopTimer()
			r.now += 1000
			for i := range entries {
				renew(r.driver, entries[i])
			}
			b.StartTimer()
		}
		r.apply(entries[n/benchBatch%len(entries)], nil)
	}
}

// renew gives new ids to an entry of holds of two seats.
func renew(d *driver, ops []byte) {
	const size = wire.RecordSize + 64
	for at := 0; at < len(ops); at += size {
		id := d.id()
		copy(ops[at+wire.RecordSize+8:], id[:])
	}
}

func BenchmarkRelease(b *testing.B) {
	r := newHoldRun(b, Config{}, b.N)
	r.hold(b)
	entries := r.onHolds(wire.KindRelease)
	defer measure(b)()
	r.applyAll(b, entries)
}

// BenchmarkSteady holds and releases the same seats for ever, so that as much is
// forgotten as is remembered: nothing is allocated.
func BenchmarkSteady(b *testing.B) {
	d := newDriver(Config{Remembered: 100_000})
	d.create(b, 1, benchManifest())
	var fence wire.Fence
	cycle := func(n int) {
		var ids [benchBatch]wire.ID
		for i := range ids {
			h := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seats: pair((n + i) % benchPairs)}
			ids[i] = h.ID
			d.body = h.Append(d.body[:0])
			d.add(wire.KindHold, d.body)
		}
		d.now++
		fence = d.s.Event(1).Version()
		d.apply(d.ops, nil)
		d.ops = d.ops[:0]
		for i, id := range ids {
			o := wire.OnHold{Mutation: wire.Mutation{Event: 1, ID: id}, Fence: fence + wire.Fence(i) + 1}
			d.body = o.Append(d.body[:0])
			d.add(wire.KindRelease, d.body)
		}
		d.apply(d.ops, nil)
		d.ops = d.ops[:0]
	}
	for n := 0; n < 250_000; n += benchBatch {
		cycle(n)
	}
	defer measure(b)()
	for n := 0; n < b.N; n += benchBatch {
		cycle(n)
	}
}

// BenchmarkExpire lets holds with random deadlines expire, a tick of 50 ms at a
// time.
func BenchmarkExpire(b *testing.B) {
	r := newHoldRun(b, Config{}, b.N)
	for _, ops := range r.entries {
		r.now += 7 // so that deadlines are spread
		r.apply(ops, nil)
	}
	defer measure(b)()
	for due := r.s.NextDue(); due < r.now+15*60_000; due = r.s.NextDue() {
		r.now = due + 50
		r.apply(nil, nil)
	}
}

func BenchmarkLook(b *testing.B) {
	r := newHoldRun(b, Config{}, benchPairs)
	r.hold(b)
	var records []wire.Record
	for i := range 4096 {
		var seats wire.SeatList
		seats = seats.Append(pair(i * 7 % benchPairs).At(0)).Append(pair(i * 13 % benchPairs).At(1))
		h := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: r.id()}, Seats: seats}
		records = append(records, wire.Record{Kind: wire.KindHold, Body: h.Append(nil)})
	}
	dst := make([]byte, 0, 64)
	defer measure(b)()
	for i := range b.N {
		if _, _, decided := r.s.Look(records[i%len(records)], r.now, dst); !decided {
			b.Fatal("not decided")
		}
	}
}

// BenchmarkEncode encodes an event of 50,000 seats that all are held in pairs.
func BenchmarkEncode(b *testing.B) {
	r := newHoldRun(b, Config{}, benchPairs)
	r.hold(b)
	var data []byte
	defer measure(b)()
	for range b.N {
		data, _ = r.s.EncodePart(data[:0], statePart(1))
	}
	b.SetBytes(int64(len(data)))
}

// BenchmarkLoad loads that event again.
func BenchmarkLoad(b *testing.B) {
	r := newHoldRun(b, Config{}, benchPairs)
	r.hold(b)
	manifest, _ := r.s.EncodePart(nil, manifestPart(1))
	state, _ := r.s.EncodePart(nil, statePart(1))
	defer measure(b)()
	for range b.N {
		s := New(Config{})
		if err := s.LoadPart(manifestPart(1), manifest); err != nil {
			b.Fatal(err)
		}
		if err := s.LoadPart(statePart(1), state); err != nil {
			b.Fatal(err)
		}
		if err := s.Start(r.index, r.now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMap(b *testing.B) {
	r := newHoldRun(b, Config{}, benchPairs/2)
	r.hold(b)
	q := wire.Record{Kind: wire.KindMap, Body: (&wire.EventRef{Event: 1}).Append(nil)}
	var dst []byte
	defer measure(b)()
	for range b.N {
		_, dst = r.s.Query(q, r.now, dst[:0])
	}
}

// BenchmarkMove is what a move of that event costs an applier who does nothing else
// meanwhile: image in the old shard, hash at the Freeze, loading in the new one, and
// hash again at the Adopt.
func BenchmarkMove(b *testing.B) {
	r := newHoldRun(b, Config{}, benchPairs)
	r.hold(b)
	image, _ := r.s.AppendImage(nil, 1)
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"image", func() { image, _ = r.s.AppendImage(image[:0], 1) }},
		{"hash", func() { r.s.Event(1).hash() }},
		{"load", func() {
			if _, err := openImage(Config{}, 1, image); err != nil {
				b.Fatal(err)
			}
		}},
	} {
		b.Run(step.name, func(b *testing.B) {
			defer measure(b)()
			for range b.N {
				step.do()
			}
			b.SetBytes(int64(len(image)))
		})
	}
}
