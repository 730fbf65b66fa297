package server

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// decode reads an answer that must be of the form of v.
func decode[T any, P interface {
	*T
	Decode([]byte) error
}](t *testing.T, body []byte) (v T) {
	t.Helper()
	if err := P(&v).Decode(body); err != nil {
		t.Fatalf("answer %x: %v", body, err)
	}
	return v
}

// buyer is a client that holds seats of one event, by frames.
type buyer struct {
	*peer
	n     *Node
	event wire.EventID
}

func (b *buyer) mutation() wire.Mutation {
	now := b.n.now(b.event)
	return wire.Mutation{Event: b.event, ID: b.n.newID(now), Deadline: now + 10_000}
}

// info is what the shard says of a hold.
func (b *buyer) info(id wire.ID) wire.HoldInfo {
	b.t.Helper()
	body := b.want(wire.StatusOK, wire.KindGetHold, (&wire.HoldRef{Event: b.event, ID: id}).Append(nil))
	return decode[wire.HoldInfo](b.t.(*testing.T), body)
}

// TestLifeOfAHold takes holds from grant to every end there is, by binary frames
// through socket, log and back, and after it through a restart.
func TestLifeOfAHold(t *testing.T) {
	c := Config{Data: t.TempDir()}
	n := startOn(t, c)
	event := openHall(t, n, hall("gala", 3, 20))
	b := &buyer{dial(t, n), n, event}

	held := wire.Hold{Mutation: b.mutation(), Buyer: wire.Buyer("ann"), Seats: wire.MakeSeatList(1, 2, 3)}
	granted := decode[wire.Granted](t, b.want(wire.StatusOK, wire.KindHold, held.Append(nil)))
	if !slices.Equal(granted.Seats.IDs(), []wire.SeatID{1, 2, 3}) || granted.Fence == 0 || granted.Deadline <= granted.Now {
		t.Fatalf("granted %+v", granted)
	}

	// The same request again is told the same, whether it is marked or not.
	for _, flags := range []wire.Flags{0, wire.FlagRepeat} {
		s, body := b.ask(wire.KindHold, flags, held.Append(nil))
		if again := decode[wire.Granted](t, body); s != wire.StatusOK || again.Fence != granted.Fence || again.Deadline != granted.Deadline || again.Now != granted.Now {
			t.Fatalf("repeated with flags %d: %v %+v, want %+v", flags, s, again, granted)
		}
	}
	other := wire.Hold{Mutation: held.Mutation, Seats: wire.MakeSeatList(9)}
	b.want(wire.StatusIDReused, wire.KindHold, other.Append(nil))

	// Somebody else loses, and learns which seats are gone: by the early look,
	// and by the log.
	for _, flags := range []wire.Flags{0, wire.FlagRepeat} {
		rival := wire.Hold{Mutation: b.mutation(), Seats: wire.MakeSeatList(3, 4)}
		s, body := b.ask(wire.KindHold, flags, rival.Append(nil))
		if lost := decode[wire.SeatsLost](t, body); s != wire.StatusTaken || !slices.Equal(lost.Seats.IDs(), []wire.SeatID{3}) {
			t.Fatalf("the rival with flags %d: %v %+v", flags, s, lost)
		}
	}
	if got := n.counters.early.Load(); got != 1 {
		t.Errorf("%d holds were answered by the early look, want 1", got)
	}

	// Extend, pay, release one seat, confirm the rest.
	extend := wire.Extend{Mutation: held.Mutation, Fence: granted.Fence, Nth: 1}
	if longer := decode[wire.Timing](t, b.want(wire.StatusOK, wire.KindExtend, extend.Append(nil))); longer.Deadline < granted.Deadline {
		t.Errorf("extended to %d from %d", longer.Deadline, granted.Deadline)
	}
	wrong := wire.Pay{Mutation: held.Mutation, Fence: granted.Fence + 1}
	b.want(wire.StatusFenceMismatch, wire.KindPay, wrong.Append(nil))
	release := wire.OnHold{Mutation: held.Mutation, Fence: granted.Fence, Seats: wire.MakeSeatList(2)}
	b.want(wire.StatusOK, wire.KindRelease, release.Append(nil))
	b.want(wire.StatusOK, wire.KindPay, (&wire.Pay{Mutation: held.Mutation, Fence: granted.Fence}).Append(nil))
	if i := b.info(held.ID); i.State != wire.StatePaying || i.Held.Len() != 2 {
		t.Errorf("while paying: %+v", i)
	}
	confirm := wire.OnHold{Mutation: held.Mutation, Fence: granted.Fence}
	booked := decode[wire.Confirmed](t, b.want(wire.StatusOK, wire.KindConfirm, confirm.Append(nil)))
	if booked.Reacquired || !slices.Equal(booked.Seats.IDs(), []wire.SeatID{1, 3}) {
		t.Errorf("booked %+v", booked)
	}
	exchange := wire.Exchange{Mutation: b.mutation(), Booking: held.ID, Give: wire.MakeSeatList(1), Take: wire.MakeSeatList(4)}
	b.want(wire.StatusOK, wire.KindExchange, exchange.Append(nil))
	b.want(wire.StatusOK, wire.KindCancel, (&wire.Cancel{Mutation: b.mutation(), Booking: held.ID, Seats: wire.MakeSeatList(3)}).Append(nil))

	// A hold of the best seats, and one of the floor; the first expires.
	best := wire.HoldBest{Mutation: b.mutation(), Count: 2, Section: wire.Any, TTL: 50}
	decode[wire.Granted](t, b.want(wire.StatusOK, wire.KindHoldBest, best.Append(nil)))
	floor := wire.HoldArea{Mutation: b.mutation(), Area: 0, Count: 10}
	b.want(wire.StatusOK, wire.KindHoldArea, floor.Append(nil))
	late := wire.HoldArea{Mutation: b.mutation(), Area: 0, Count: 1}
	b.want(wire.StatusNotEnough, wire.KindHoldArea, late.Append(nil))
	for b.info(best.ID).State == wire.StateHeld {
	}
	if i := b.info(best.ID); i.State != wire.StateExpired {
		t.Errorf("after its time the hold is %v", i.State)
	}

	closeNode(t, n)
	n = startOn(t, c)
	b = &buyer{dial(t, n), n, event}
	if i := b.info(held.ID); i.State != wire.StateBooked || i.Fence != granted.Fence || !slices.Equal(i.Booked.IDs(), []wire.SeatID{4}) {
		t.Errorf("after a restart the booking is %+v", i)
	}
	again := decode[wire.Granted](t, b.want(wire.StatusOK, wire.KindHold, held.Append(nil)))
	if again.Fence != granted.Fence || again.Now != granted.Now {
		t.Errorf("after a restart the repeated hold is answered %+v, was %+v", again, granted)
	}
}

// TestReads proves that counts, map, manifest and changes agree with what was
// done, read from memory and read consistently.
func TestReads(t *testing.T) {
	n := startNode(t, nil)
	m := hall("gala", 3, 20)
	event := openHall(t, n, m)
	b := &buyer{dial(t, n), n, event}
	before := decode[wire.SeatMap](t, b.want(wire.StatusOK, wire.KindMap, (&wire.EventRef{Event: event}).Append(nil))).Version
	hold := wire.Hold{Mutation: b.mutation(), Seats: wire.MakeSeatList(5, 6)}
	b.want(wire.StatusOK, wire.KindHold, hold.Append(nil))
	ref := (&wire.EventRef{Event: event}).Append(nil)
	for _, flags := range []wire.Flags{0, wire.FlagConsistent} {
		ask := func(k wire.Kind, body []byte) []byte {
			s, answer := b.ask(k, flags, body)
			if s != wire.StatusOK {
				t.Fatalf("kind %d with flags %d: %v %q", k, flags, s, answer)
			}
			return answer
		}
		if i := decode[wire.EventInfo](t, ask(wire.KindEvent, ref)); i.Total != (wire.Counts{Free: 68, Held: 2}) || i.Sale != wire.SaleOpen {
			t.Errorf("counts %+v, sale %v", i.Total, i.Sale)
		}
		seats := decode[wire.SeatMap](t, ask(wire.KindMap, ref))
		if seats.State(5) != wire.SeatHeld || seats.State(6) != wire.SeatHeld || seats.State(7) != wire.SeatFree || seats.Version <= before {
			t.Errorf("map version %d: seats %v %v %v", seats.Version, seats.State(5), seats.State(6), seats.State(7))
		}
		changes := decode[wire.Changes](t, ask(wire.KindChanges, (&wire.ChangesQuery{Event: event, Since: before}).Append(nil)))
		if changes.Resync || changes.Len() != 2 || changes.At(0).Seat != 5 || changes.At(0).To != wire.SeatHeld {
			t.Errorf("changes %+v", changes)
		}
		got, err := wire.DecodeManifest(ask(wire.KindManifest, ref))
		if err != nil || got.Key != m.Key || got.Seats() != m.Seats() {
			t.Errorf("manifest %v, %v", got, err)
		}
		loc := decode[wire.Location](t, ask(wire.KindLocate, (&wire.Key{Key: []byte("gala")}).Append(nil)))
		if loc.Event != event || loc.Shard == 0 || loc.Now == 0 {
			t.Errorf("location %+v", loc)
		}
		list := decode[wire.EventList](t, ask(wire.KindEvents, (&wire.EventsQuery{}).Append(nil)))
		if len(list.Entries) != 1 || list.Entries[0].Event != event {
			t.Errorf("events %+v", list)
		}
	}
}

// TestEventsByFrames proves that an event is made and ended by frames alone, in
// chunks that may be repeated, and that its key is free again afterwards.
func TestEventsByFrames(t *testing.T) {
	n := startNode(t, nil)
	p := dial(t, n)
	plan := hall("arena", 400, 400)
	for r := range plan.Sections[0].Rows {
		for s := range plan.Sections[0].Rows[r].Seats {
			plan.Sections[0].Rows[r].Seats[s].GUID = fmt.Sprintf("%d/%d", r, s)
		}
	}
	m := plan.Encode()
	if len(m) <= wire.MaxChunk {
		t.Fatalf("a manifest of %d bytes needs no chunks", len(m))
	}
	first := createByFrames(t, n, p, "arena", m)
	mapped := decode[wire.SeatMap](t, p.want(wire.StatusOK, wire.KindMap, (&wire.EventRef{Event: first}).Append(nil)))
	if len(mapped.Planes) != (400*7+1)*16 {
		t.Errorf("the map has %d bytes", len(mapped.Planes))
	}
	if again := createByFrames(t, n, p, "arena", m); again != first {
		t.Errorf("repeated, the creation gave event %d, first %d", again, first)
	}
	end := wire.EventOp{Mutation: wire.Mutation{Event: first, ID: n.newID(n.now(first))}}
	p.want(wire.StatusOK, wire.KindDelete, end.Append(nil))
	p.want(wire.StatusUnknownEvent, wire.KindMap, (&wire.EventRef{Event: first}).Append(nil))
	p.want(wire.StatusOK, wire.KindUnassign, end.Append(nil))
	if second := createByFrames(t, n, p, "arena", m); second == first {
		t.Errorf("event id %d was issued twice", second)
	}
}

// createByFrames does what docs/protocol.md says a client does, each chunk twice.
func createByFrames(t *testing.T, n *Node, p *peer, key string, manifest []byte) wire.EventID {
	t.Helper()
	digest := sha256.Sum256(manifest)
	assign := wire.Assign{Mutation: wire.Mutation{ID: n.newID(0)}, Key: []byte(key), Digest: digest}
	loc := decode[wire.Location](t, p.want(wire.StatusOK, wire.KindAssign, assign.Append(nil)))
	for at := 0; at < len(manifest); at += wire.MaxChunk {
		chunk := wire.Create{
			Mutation: wire.Mutation{Event: loc.Event, ID: n.newID(loc.Now)},
			Offset:   uint32(at),
			Total:    uint32(len(manifest)),
			Digest:   digest,
			Chunk:    manifest[at:min(at+wire.MaxChunk, len(manifest))],
		}
		for range 2 {
			p.want(wire.StatusOK, wire.KindCreate, chunk.Append(nil))
		}
	}
	return loc.Event
}

// TestSaleWindow proves that a sale opens and closes by people's clock, without
// anybody asking, and at once when its rules change.
func TestSaleWindow(t *testing.T) {
	n := startNode(t, nil)
	m := hall("gala", 1, 20)
	opens := time.Now().Add(400 * time.Millisecond)
	closes := opens.Add(2 * time.Second)
	m.Rules.OpensAt, m.Rules.ClosesAt = opens.UnixMilli(), closes.UnixMilli()
	b := &buyer{dial(t, n), n, openHall(t, n, m)}
	hold := func(seat wire.SeatID) wire.Status {
		h := wire.Hold{Mutation: b.mutation(), Seats: wire.MakeSeatList(seat)}
		s, _ := b.ask(wire.KindHold, 0, h.Append(nil))
		return s
	}
	if s := hold(1); s != wire.StatusNotOpen && time.Now().Before(opens) {
		t.Fatalf("before it opens: %v", s)
	}
	for hold(2) != wire.StatusOK {
		if time.Now().After(closes) {
			t.Fatal("the sale did not open")
		}
	}
	if early := time.Until(opens); early > 0 {
		t.Errorf("the sale opened %v early", early)
	}
	seat := wire.SeatID(3)
	for hold(seat) == wire.StatusOK {
		release := wire.SetRules{Mutation: b.mutation(), Rules: m.Rules} // any other work
		b.want(wire.StatusOK, wire.KindSetRules, release.Append(nil))
		seat = 3 + (seat-2)%15
	}
	for hold(19) != wire.StatusNotOpen {
		if time.Now().After(closes.Add(testPatience)) {
			t.Fatal("the sale did not close")
		}
	}
	if early := time.Until(closes); early > 0 {
		t.Errorf("the sale closed %v early", early)
	}
	m.Rules.ClosesAt = 0
	reopen := wire.SetRules{Mutation: b.mutation(), Rules: m.Rules}
	b.want(wire.StatusOK, wire.KindSetRules, reopen.Append(nil))
	for hold(18) != wire.StatusOK {
		if time.Now().After(closes.Add(testPatience)) {
			t.Fatal("the sale did not open again")
		}
	}
}
