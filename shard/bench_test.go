package shard

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// benchRows is a 50,000-seat event: 1,000 rows of 50.
const benchRows, benchSeats = 1000, 50

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

// A driver feeds a shard entries of operations.
type driver struct {
	s     *Shard
	index uint64
	now   wire.Millis
	ops   []byte
	body  []byte
	n     uint64 // ids given
}

func newDriver(c Config) *driver { return &driver{s: New(c), now: 1_000_000} }

func (d *driver) id() wire.ID {
	d.n++
	var random [10]byte
	binary.LittleEndian.PutUint64(random[2:], d.n*0x9e3779b97f4a7c15)
	return wire.NewID(d.now, random)
}

func (d *driver) add(kind wire.Kind, body []byte) {
	d.ops = wire.Record{Kind: kind, Body: body}.Append(d.ops)
}

// flush applies what was added, and gives the last outcome.
func (d *driver) flush(out func(i int, s wire.Status, body []byte)) {
	d.index++
	d.s.Apply(d.index, d.now, d.ops, out)
	d.ops = d.ops[:0]
}

func (d *driver) create(tb testing.TB, event wire.EventID, m *wire.Manifest) {
	tb.Helper()
	b := m.Encode()
	c := wire.Create{Mutation: wire.Mutation{Event: event, ID: d.id()}, Total: uint32(len(b)), Digest: [32]byte{}, Chunk: b}
	c.Digest = sum256(b)
	d.add(wire.KindCreate, c.Append(nil))
	d.flush(func(_ int, s wire.Status, body []byte) {
		if s != wire.StatusOK {
			tb.Fatalf("create: %v %s", s, body)
		}
	})
}

const batch = 256

// holdBatch is a batch of holds of two neighbours, the n-th of an event.
func (d *driver) holds(event wire.EventID, from, n int, ids []wire.ID) []wire.ID {
	for i := from; i < from+n; i++ {
		row, pair := i/(benchSeats/2), i%(benchSeats/2)
		seat := wire.SeatID(row*wordBits + 2*pair)
		h := wire.Hold{Mutation: wire.Mutation{Event: event, ID: d.id()}, Seats: wire.MakeSeatList(seat, seat+1)}
		ids = append(ids, h.ID)
		d.body = h.Append(d.body[:0])
		d.add(wire.KindHold, d.body)
	}
	return ids
}

func BenchmarkHold(b *testing.B) {
	d := newDriver(Config{})
	d.create(b, 1, benchManifest())
	event := wire.EventID(1)
	b.ReportAllocs()
	const perEvent = benchRows * benchSeats / 2
	at := 0
	for done := 0; done < b.N; {
		if at+batch > perEvent {
			b.StopTimer()
			event++
			d.create(b, event, benchManifest())
			at = 0
			b.StartTimer()
		}
		b.StopTimer()
		d.holds(event, at, batch, nil)
		d.now++
		b.StartTimer()
		d.flush(func(_ int, s wire.Status, body []byte) {
			if s != wire.StatusOK {
				b.Fatalf("%v %s", s, body)
			}
		})
		at += batch
		done += batch
	}
}
