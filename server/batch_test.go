package server

import (
	"fmt"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// records takes a batch answer apart.
func records(t *testing.T, body []byte) (all []wire.Record) {
	t.Helper()
	for len(body) > 0 {
		r, rest, err := wire.NextRecord(body)
		if err != nil {
			t.Fatal(err)
		}
		all, body = append(all, r), rest
	}
	return all
}

// TestBatchFrame proves that each record of a batch frame is handled like a
// frame of its own, whichever shard it belongs to, and that the answers come
// together, in order.
func TestBatchFrame(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Shards = 3 })
	var events []wire.EventID
	for i := range 3 {
		events = append(events, openHall(t, n, hall(fmt.Sprint("event-", i), 4, 50)))
	}
	p := dial(t, n)
	p.want(wire.StatusOK, wire.KindHold, holdOf(n, events[1], 7))

	var batch []byte
	var want []wire.Status
	add := func(k wire.Kind, body []byte, s wire.Status) {
		batch = wire.Record{Kind: k, Body: body}.Append(batch)
		want = append(want, s)
	}
	for i := range 100 {
		add(wire.KindHold, holdOf(n, events[i%3], wire.SeatID(10+i/3)), wire.StatusOK)
	}
	add(wire.KindHold, holdOf(n, events[1], 7, 8), wire.StatusTaken)
	add(wire.KindLocate, (&wire.Key{Key: []byte("event-2")}).Append(nil), wire.StatusOK)
	add(wire.KindMap, (&wire.EventRef{Event: events[0]}).Append(nil), wire.StatusUnknownKind)
	add(wire.KindBatch, nil, wire.StatusUnknownKind)
	add(wire.KindPing, nil, wire.StatusUnknownKind)
	add(wire.KindHold, nil, wire.StatusBadFrame)
	add(wire.KindHold, holdOf(n, 999, 1), wire.StatusUnknownEvent)
	assign := wire.Assign{Mutation: wire.Mutation{ID: n.newID(0)}, Key: []byte("next")}
	add(wire.KindAssign, assign.Append(nil), wire.StatusOK)
	add(wire.KindGetHold, (&wire.HoldRef{Event: events[0], ID: n.newID(0)}).Append(nil), wire.StatusUnknownHold)

	s, body := p.ask(wire.KindBatch, 0, batch)
	if s != wire.StatusOK {
		t.Fatalf("batch: %v %q", s, body)
	}
	sent := records(t, batch)
	got := records(t, body)
	if len(got) != len(want) {
		t.Fatalf("%d answers to %d records", len(got), len(want))
	}
	for i, r := range got {
		if r.Status != want[i] || r.Kind != sent[i].Kind || r.Flags != wire.FlagAnswer {
			t.Errorf("record %d, kind %d: %v (kind %d, flags %d) %q, want %v", i, sent[i].Kind, r.Status, r.Kind, r.Flags, r.Body, want[i])
		}
	}
	for i := range 100 {
		var g wire.Granted
		if err := g.Decode(got[i].Body); err != nil || g.Seats.Len() != 1 || g.Seats.At(0) != wire.SeatID(10+i/3) {
			t.Fatalf("record %d was granted %v, %v", i, g.Seats.IDs(), err)
		}
	}
	var loc wire.Location
	if err := loc.Decode(got[len(got)-2].Body); err != nil || loc.Now == 0 {
		t.Errorf("the location of an assignment in a batch is %+v, %v", loc, err)
	}
}

// TestBatchLimits proves that a batch frame with too many records is refused as
// a whole, that a full one passes although a group takes it in pieces, and that
// an empty one is answered by an empty one.
func TestBatchLimits(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 40, 50))
	p := dial(t, n)
	if s, body := p.ask(wire.KindBatch, 0, nil); s != wire.StatusOK || len(body) != 0 {
		t.Errorf("an empty batch: %v, %d bytes", s, len(body))
	}
	ref := wire.Record{Kind: wire.KindGetHold, Body: (&wire.HoldRef{Event: event, ID: n.newID(0)}).Append(nil)}.Append(nil)
	var full []byte
	for range wire.MaxBatchOps {
		full = append(full, ref...)
	}
	s, body := p.ask(wire.KindBatch, 0, full)
	if got := records(t, body); s != wire.StatusOK || len(got) != wire.MaxBatchOps {
		t.Errorf("a full batch: %v, %d answers", s, len(got))
	}
	if s, body := p.ask(wire.KindBatch, 0, append(full, ref...)); s != wire.StatusTooLarge {
		t.Errorf("a batch too full: %v %q", s, body)
	}
	// Half a record at the end spoils the whole: nothing of it is done.
	hold := wire.Record{Kind: wire.KindHold, Body: holdOf(n, event, 3)}.Append(nil)
	p.want(wire.StatusBadFrame, wire.KindBatch, append(hold, hold[:20]...))
	p.want(wire.StatusOK, wire.KindHold, holdOf(n, event, 3))

	// More bytes than a group takes at once.
	var wide []byte
	seats := make([]wire.SeatID, 64)
	for i := range seats {
		seats[i] = wire.SeatID(i)
	}
	const records64 = 700
	for range records64 {
		wide = wire.Record{Kind: wire.KindHold, Flags: wire.FlagRepeat, Body: holdOf(n, event, seats...)}.Append(wide)
	}
	s, body = p.ask(wire.KindBatch, 0, wide)
	got := records(t, body)
	if s != wire.StatusOK || len(got) != records64 {
		t.Fatalf("a batch of %d bytes: %v, %d answers", len(wide), s, len(got))
	}
	for i, r := range got {
		if !r.Status.Decided() {
			t.Fatalf("record %d: %v", i, r.Status)
		}
	}
}
