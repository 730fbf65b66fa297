package shard

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// addRoom gives event 1 a room that takes entries for ever.
func (d *driver) addRoom(tb testing.TB, onePerVisitor bool) {
	tb.Helper()
	op := wire.SetRoom{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seed: [32]byte{1}, Config: wire.DefaultRoom()}
	op.Config.OnePerVisitor, op.Config.OpensAt = onePerVisitor, 1
	d.must(tb, wire.KindSetRoom, op.Append(nil))
}

func (d *driver) must(tb testing.TB, kind wire.Kind, body []byte) {
	tb.Helper()
	d.apply(wire.Record{Kind: kind, Body: body}.Append(nil), func(_ int, s wire.Status, body []byte) {
		if s != wire.StatusOK {
			tb.Fatalf("kind %d: %v %s", kind, s, body)
		}
	})
}

// issueBody is a request of so many numbers, for visitors from one on if there are any.
func (d *driver) issueBody(count int, from uint64, named bool) []byte {
	op := wire.Issue{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Count: uint16(count)}
	if named {
		for k := range uint64(count) {
			op.Visitors = appendVisitor(op.Visitors, from+k)
		}
	}
	return op.Append(nil)
}

// appendVisitor appends a fingerprint that is as good as a hash's.
func appendVisitor(b []byte, n uint64) []byte {
	h := (n + 1) * 0x9e3779b97f4a7c15
	h ^= h >> 31
	h *= 0xbf58476d1ce4e5b9
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(b, h^h>>29), uint32(n))
}

func (d *driver) joinVisitors(tb testing.TB, from, to uint64) {
	tb.Helper()
	for ; from < to; from += wire.MaxJoins {
		d.must(tb, wire.KindIssue, d.issueBody(int(min(wire.MaxJoins, to-from)), from, true))
	}
}

// parts encodes what a snapshot would write: all parts, or those that are not
// stored as they are.
func (d *driver) parts(stored map[uint64]storedPart) (todo []uint64, changed map[uint64]uint64) {
	changed = make(map[uint64]uint64)
	d.s.Parts(func(id, entry uint64) {
		changed[id] = entry
		if have, ok := stored[id]; !ok || have.changed != entry {
			todo = append(todo, id)
		}
	})
	return todo, changed
}

type storedPart struct {
	changed uint64
	data    []byte
}

func (d *driver) snapshot(tb testing.TB, stored map[uint64]storedPart) (written int) {
	tb.Helper()
	todo, changed := d.parts(stored)
	for _, id := range todo {
		data, ok := d.s.EncodePart(nil, id)
		if !ok {
			tb.Fatalf("part %#x has gone", id)
		}
		stored[id] = storedPart{changed[id], data}
		written += len(data)
	}
	for id := range stored {
		if _, still := changed[id]; !still {
			delete(stored, id)
		}
	}
	return written
}

func load(tb testing.TB, stored map[uint64]storedPart, index uint64, stamp wire.Millis) *Shard {
	tb.Helper()
	s := New(Config{})
	for id, p := range stored {
		if err := s.LoadPart(id, p.data); err != nil {
			tb.Fatal(err)
		}
	}
	if err := s.Start(index, stamp); err != nil {
		tb.Fatal(err)
	}
	return s
}

// TestPagesAreWrittenOnce proves that a page of visitors is written by the first
// snapshot after it was full and by no other, and that a snapshot can be loaded
// when the room ends, or another one begins, while it is taken.
func TestPagesAreWrittenOnce(t *testing.T) {
	d := newDriver(Config{})
	d.create(t, 1, benchManifest())
	d.addRoom(t, true)
	stored := make(map[uint64]storedPart)
	const some = 1000
	d.joinVisitors(t, 0, pageVisitors+some)
	d.snapshot(t, stored)
	first := stored[pagePart(1, 0)]
	if len(first.data) != 1+8+8+pageBytes {
		t.Fatalf("the page is written with %d bytes", len(first.data))
	}
	check := func() {
		t.Helper()
		s := load(t, stored, d.index, d.now)
		verifyShard(t, s)
		if s.Hash() != d.s.Hash() {
			t.Fatal("another hash after loading")
		}
	}
	check()
	d.joinVisitors(t, 0, some) // they have numbers
	d.joinVisitors(t, pageVisitors+some, pageVisitors+2*some)
	if written := d.snapshot(t, stored); written > 3*some*wire.VisitorSize {
		t.Errorf("the second snapshot writes %d bytes", written)
	}
	check()
	if stored[pagePart(1, 0)].changed != first.changed {
		t.Error("the page was written twice")
	}
	// An image has all of it.
	image, ok := d.s.AppendImage(nil, 1)
	if !ok || len(image) < pageBytes {
		t.Fatalf("the image has %d bytes, %v", len(image), ok)
	}
	moved, err := openImage(Config{}, 1, image)
	if err != nil {
		t.Fatal(err)
	}
	verifyShard(t, moved)
	if moved.Event(1).hash() != d.s.Event(1).hash() {
		t.Error("another hash after a move")
	}
	// A page is full, is in a state that does not have it, and its room ends before
	// the page's turn comes.
	d.joinVisitors(t, pageVisitors+2*some, 2*pageVisitors)
	d.snapshot(t, make(map[uint64]storedPart)) // abandoned
	todo, changed := d.parts(stored)
	at, stamp := d.index, d.now
	data, _ := d.s.EncodePart(nil, statePart(1))
	stored[statePart(1)] = storedPart{changed[statePart(1)], data}
	off := wire.DirectRoom{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Action: wire.RoomOff}
	d.must(t, wire.KindDirectRoom, off.Append(nil))
	d.addRoom(t, true)
	d.joinVisitors(t, 7, 7+2*pageVisitors)
	for _, id := range todo {
		if id != statePart(1) {
			data, ok := d.s.EncodePart(nil, id)
			if !ok {
				t.Fatalf("part %#x has gone", id)
			}
			stored[id] = storedPart{changed[id], data}
		}
	}
	verifyShard(t, load(t, stored, at, stamp))
	// The next snapshot is of the new room.
	d.snapshot(t, stored)
	check()
	d.joinVisitors(t, 1<<20, 1<<20+1) // so that the next state is without the pages
	d.snapshot(t, stored)
	check()
	missing := stored[pagePart(1, 1)]
	delete(stored, pagePart(1, 1))
	s := New(Config{})
	for id, p := range stored {
		if err := s.LoadPart(id, p.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Start(d.index, d.now); err == nil {
		t.Errorf("a snapshot without a page of %d bytes is loaded", len(missing.data))
	}
}

// BenchmarkJoin lets b.N visitors join one event: by single requests, by requests
// of a thousand, and with their names. Run it with -benchtime 10000000x. Once the
// answers have been forgotten it reports what the room takes in memory (mem-B and
// mem-B/visitor) and in an image (room-B), and what the event's state has (state-B).
func BenchmarkJoin(b *testing.B) {
	for _, c := range []struct {
		count int
		named bool
	}{{1, false}, {wire.MaxJoins, false}, {1, true}, {wire.MaxJoins, true}} {
		b.Run(fmt.Sprintf("count=%d/named=%v", c.count, c.named), func(b *testing.B) {
			d := newDriver(Config{})
			d.create(b, 1, benchManifest())
			d.addRoom(b, c.named)
			const batch = 4096 // operations of an entry
			before := liveHeap()
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				b.StopTimer()
				d.ops = d.ops[:0]
				size := 0
				for range batch {
					if k := min(c.count, b.N-n); k > 0 && size < 192<<10 {
						body := d.issueBody(k, uint64(n), c.named)
						d.add(wire.KindIssue, body)
						n += k
						size += len(body)
					}
				}
				d.now += 5
				b.StartTimer()
				d.apply(d.ops, nil)
			}
			b.StopTimer()
			if r := d.s.Event(1).room; r.next != uint64(b.N) {
				b.Fatalf("%d numbers were issued for %d visitors", r.next, b.N)
			}
			d.now += 10 * 60_000 // answers are forgotten
			for range b.N/c.count/forgetPerApply + 2 {
				d.apply(nil, nil)
				d.now += wakeEvery
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "joins/s")
			mem := float64(liveHeap() - before)
			b.ReportMetric(mem, "mem-B")
			b.ReportMetric(mem/float64(b.N), "mem-B/visitor")
			state, _ := d.s.EncodePart(nil, statePart(1))
			b.ReportMetric(float64(len(d.s.Event(1).appendRoom(nil, true))), "room-B")
			b.ReportMetric(float64(len(state)), "state-B")
			b.ReportMetric(0, "ns/op")
			runtime.KeepAlive(d)
		})
	}
}

// liveHeap is how many bytes of memory are in use.
func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkRedeem is what a redemption costs whose ticket has to go through the draw
// of ten million.
func BenchmarkRedeem(b *testing.B) {
	d := newDriver(Config{})
	d.create(b, 1, benchManifest())
	op := wire.SetRoom{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seed: [32]byte{1}, Config: wire.RoomConfig{
		Limit: wire.MaxRoomLimit, Rate: wire.MaxRoomRate, Grace: 60_000, PassTTL: 1, SeatsPerPass: 1, OpensAt: 1,
	}}
	d.must(b, wire.KindSetRoom, op.Append(nil))
	for range 10_000 {
		d.must(b, wire.KindIssue, d.issueBody(wire.MaxJoins, 0, false))
	}
	wall := wire.WallClock{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Wall: 1}
	d.must(b, wire.KindWallClock, wall.Append(nil))
	d.now += roomStep
	d.apply(nil, nil)
	r := d.s.Event(1).room
	n := uint64(0)
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		if n == r.serving {
			d.now += 100_000
			d.apply(nil, nil)
			d.now += roomStep
			d.apply(nil, nil)
		}
		op := wire.Redeem{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Room: r.id, Number: r.draw.Entry(n), Pass: wire.PassID(n + 1)}
		n++
		body := op.Append(d.body[:0])
		b.StartTimer()
		d.must(b, wire.KindRedeem, body)
	}
}
