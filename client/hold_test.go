package client

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usher-seats/usher/wire"
)

// last keeps the body of the latest request of each kind that a test makes.
func last(c *cluster) map[wire.Kind][]byte {
	bodies := make(map[wire.Kind][]byte)
	c.meddle(func(s *session, h wire.Header, body []byte) bool {
		if h.Kind != wire.KindNodes {
			bodies[h.Kind] = slices.Clone(body)
		}
		return false
	})
	return bodies
}

// Every field of a request reaches its place in the frame.
func TestRequestsSayWhatWasAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		bodies := last(c)
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		ctx := t.Context()

		id := wire.KeyID("mine")
		if _, err := ev.Hold(ctx, HoldRequest{Seats: []wire.SeatID{5}, Labels: []string{"A-2-3", "Floor-9"}, Buyer: "b", Channel: "c", TTL: 1500 * time.Microsecond, Alternative: true, ID: id}); err != nil {
			t.Fatal(err)
		}
		var hold wire.Hold
		decode(t, &hold, bodies[wire.KindHold])
		if hold.ID != id || hold.Event != 7 || hold.Buyer != wire.Buyer("b") || hold.Channel != wire.Channel("c") ||
			hold.TTL != 2 || hold.Flags != wire.HoldAlternative || !slices.Equal(hold.Seats.IDs(), []wire.SeatID{5, 66, 136}) {
			t.Errorf("hold: %+v", hold)
		}

		if _, err := ev.HoldBest(ctx, BestRequest{Count: 4, Section: "A", Categories: []string{"silver"}, Access: wire.AccessAisle, Split: true, NoOrphan: true, Buyer: "b", Channel: "c", TTL: time.Second}); err != nil {
			t.Fatal(err)
		}
		var best wire.HoldBest
		decode(t, &best, bodies[wire.KindHoldBest])
		if best.Count != 4 || best.Section != 0 || best.Categories != 2 || best.Access != wire.AccessAisle ||
			best.Flags != wire.HoldSplit|wire.HoldNoOrphan || best.Buyer != wire.Buyer("b") || best.Channel != wire.Channel("c") || best.TTL != 1000 {
			t.Errorf("best: %+v", best)
		}
		if _, err := ev.HoldBest(ctx, BestRequest{Count: 1}); err != nil {
			t.Fatal(err)
		}
		decode(t, &best, bodies[wire.KindHoldBest])
		if best.Section != wire.Any || best.Categories != 0 || best.Flags != 0 {
			t.Errorf("best of anything: %+v", best)
		}

		if _, err := ev.HoldArea(ctx, AreaRequest{Area: "Floor", Count: 3, Buyer: "b", Channel: "c", TTL: time.Second}); err != nil {
			t.Fatal(err)
		}
		var area wire.HoldArea
		decode(t, &area, bodies[wire.KindHoldArea])
		if area.Area != 0 || area.Count != 3 || area.Buyer != wire.Buyer("b") || area.Channel != wire.Channel("c") || area.TTL != 1000 {
			t.Errorf("area: %+v", area)
		}

		if err := ev.SetChannel(ctx, ChannelRequest{Name: "fans", Secret: "s", Labels: []string{"A-1-1"}}); err != nil {
			t.Fatal(err)
		}
		var channel wire.SetChannel
		decode(t, &channel, bodies[wire.KindSetChannel])
		if string(channel.Name) != "fans" || channel.Key != wire.Channel("s") || channel.Seats.Len() != 1 {
			t.Errorf("channel: %+v", channel)
		}

		booking := wire.KeyID("booking")
		if _, err := ev.Booking(booking).Exchange(ctx, ExchangeRequest{Give: []wire.SeatID{1}, TakeLabels: []string{"A-1-3"}, Channel: "c"}); err != nil {
			t.Fatal(err)
		}
		var exchange wire.Exchange
		decode(t, &exchange, bodies[wire.KindExchange])
		if exchange.Booking != booking || exchange.ID == booking || exchange.Channel != wire.Channel("c") ||
			exchange.Give.IDs()[0] != 1 || exchange.Take.IDs()[0] != 2 {
			t.Errorf("exchange: %+v", exchange)
		}
	})
}

func decode(t *testing.T, d decoder, body []byte) {
	t.Helper()
	if err := d.Decode(body); err != nil {
		t.Fatal(err)
	}
}

// A hold's handle follows what was done with it.
func TestLifeOfAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		bodies := last(c)
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		ctx := t.Context()
		start := time.Now()
		h, err := ev.Hold(ctx, twoSeats)
		if err != nil {
			t.Fatal(err)
		}
		until := func(want time.Duration) {
			t.Helper()
			if off := h.ExpiresAt().Sub(start) - want; off > 0 || off < -2*time.Millisecond {
				t.Errorf("expires after %v, want %v", h.ExpiresAt().Sub(start), want)
			}
		}
		until(15 * time.Minute)
		if !slices.Equal(h.Seats(), twoSeats.Seats) || len(h.Booked()) != 0 || h.Fence() == 0 {
			t.Errorf("seats %v, booked %v, fence %d", h.Seats(), h.Booked(), h.Fence())
		}
		time.Sleep(time.Minute)
		for nth := uint8(1); nth <= 2; nth++ {
			if err := h.Extend(ctx, 20*time.Minute); err != nil {
				t.Fatal(err)
			}
			var extend wire.Extend
			decode(t, &extend, bodies[wire.KindExtend])
			if extend.Nth != nth || extend.ID != h.ID() || extend.Fence != h.Fence() || extend.TTL != 20*60_000 {
				t.Errorf("extension %d: %+v", nth, extend)
			}
		}
		until(21 * time.Minute)
		if err := h.Pay(ctx); err != nil {
			t.Fatal(err)
		}
		if err := h.Confirm(ctx); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(h.Booked(), twoSeats.Seats) || !slices.Equal(h.Seats(), twoSeats.Seats) {
			t.Errorf("seats %v, booked %v", h.Seats(), h.Booked())
		}
		if err := h.Confirm(ctx); err != nil || len(h.Booked()) != 2 {
			t.Errorf("confirmed again: %v, booked %v", err, h.Booked())
		}
		info, err := ev.Booking(h.ID()).Info(ctx)
		if err != nil || info.State != wire.StateBooked || info.Booked.Len() != 2 {
			t.Errorf("booking: %+v, %v", info, err)
		}
	})
}

// A hold is resumed with its id and fence. Extending it asks first how often that
// was done, so that a repetition is told from a new extension.
func TestResumedHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		bodies := last(c)
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		ctx := t.Context()
		first, err := ev.Hold(ctx, twoSeats)
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Extend(ctx, time.Minute); err != nil {
			t.Fatal(err)
		}
		h := ev.ResumeHold(first.ID(), first.Fence())
		if !h.ExpiresAt().IsZero() || len(h.Seats()) != 0 {
			t.Errorf("a handle that asked nobody knows %v, %v", h.ExpiresAt(), h.Seats())
		}
		if err := h.Extend(ctx, time.Minute); err != nil {
			t.Fatal(err)
		}
		var extend wire.Extend
		decode(t, &extend, bodies[wire.KindExtend])
		if extend.Nth != 2 || !slices.Equal(h.Seats(), twoSeats.Seats) {
			t.Errorf("extension %d of a hold with seats %v", extend.Nth, h.Seats())
		}
		stale := ev.ResumeHold(first.ID(), first.Fence()-1)
		if err := stale.Refresh(ctx); StatusOf(err) != wire.StatusFenceMismatch {
			t.Errorf("refreshed with another fence: %v", err)
		}
		if err := stale.Confirm(ctx); StatusOf(err) != wire.StatusFenceMismatch {
			t.Errorf("confirmed with another fence: %v", err)
		}
		if err := h.Release(ctx); err != nil {
			t.Fatal(err)
		}
		if err := h.Refresh(ctx); StatusOf(err) != wire.StatusReleased || len(h.Seats()) != 0 {
			t.Errorf("refreshed after release: %v, seats %v", err, h.Seats())
		}
	})
}

// Who loses seats learns which, by label if the manifest is there, and what there
// is instead.
func TestTakenNamesTheSeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		if _, err := ev.Hold(t.Context(), twoSeats); err != nil {
			t.Fatal(err)
		}
		_, err := ev.Hold(t.Context(), HoldRequest{Labels: []string{"A-1-5", "A-1-6"}, Alternative: true})
		var e *Error
		if !errors.As(err, &e) || e.Status != wire.StatusTaken || e.Applied != AppliedNo {
			t.Fatalf("error is %v", err)
		}
		if !slices.Equal(e.Lost, []wire.SeatID{4}) || !slices.Equal(e.Labels, []string{"A-1-5"}) || !slices.Equal(e.Offer, []wire.SeatID{64, 65}) {
			t.Errorf("lost %v %v, offered %v", e.Lost, e.Labels, e.Offer)
		}
		if labels, err := ev.Labels(t.Context(), e.Offer...); err != nil || !slices.Equal(labels, []string{"A-2-1", "A-2-2"}) {
			t.Errorf("offered %v, %v", labels, err)
		}
	})
}

// What cannot be asked is refused before it is sent, with what to do about it.
func TestMisuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		sent := 0
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind.Mutates() || h.Kind.Directory() {
				sent++
			}
			return false
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		ctx := t.Context()
		hold := func(r HoldRequest) error { _, err := ev.Hold(ctx, r); return err }
		best := func(r BestRequest) error { _, err := ev.HoldBest(ctx, r); return err }
		area := func(r AreaRequest) error { _, err := ev.HoldArea(ctx, r); return err }
		create := func(m wire.Manifest) error { _, err := cl.CreateEvent(ctx, &m); return err }
		cases := []struct {
			err  error
			says string
		}{
			{hold(HoldRequest{Labels: []string{"B-9-9"}}), `no seat labelled "B-9-9"`},
			{hold(HoldRequest{Seats: make([]wire.SeatID, 65)}), "65 seats"},
			{hold(HoldRequest{Seats: []wire.SeatID{1}, TTL: -time.Second}), "-1s"},
			{hold(HoldRequest{Seats: []wire.SeatID{1}, TTL: 60 * 24 * time.Hour}), "1440h"},
			{best(BestRequest{}), "0 seats; a hold has 1 to 64"},
			{best(BestRequest{Count: -1}), "-1 seats"},
			{best(BestRequest{Count: 2, Section: "Z"}), `section "Z"`},
			{best(BestRequest{Count: 2, Categories: []string{"bronze"}}), `category "bronze"`},
			{area(AreaRequest{Area: "A", Count: 1}), `area "A"`},
			{area(AreaRequest{Area: "Floor", Count: 65}), "65 seats"},
			{ev.Block(ctx, SeatsRequest{Seats: make([]wire.SeatID, 4097)}), "4097 seats"},
			{ev.SetRules(ctx, wire.Rules{}), "hold_ttl_ms"},
			{ev.SetChannel(ctx, ChannelRequest{Name: strings.Repeat("n", 65)}), "at most 64 bytes"},
			{create(wire.Manifest{Key: "k"}), "categories"},
			{cl.AddKey(ctx, "", "secret", wire.RoleRead), "name"},
			{cl.AddKey(ctx, "till", "", wire.RoleRead), "empty"},
			{cl.DropKey(ctx, ""), "name"},
		}
		for _, tc := range cases {
			var e *Error
			if !errors.As(tc.err, &e) || e.Applied != AppliedNo || !strings.Contains(tc.err.Error(), tc.says) {
				t.Errorf("error is %v, want one with %q", tc.err, tc.says)
			}
		}
		if sent != 0 {
			t.Errorf("%d requests were sent", sent)
		}
	})
}

// The list of events comes in pages and ends.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		cl, _ := dialFake(t, c, nil)
		defer cl.Close()
		var keys []string
		for e, err := range cl.Events(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, e.Key)
		}
		if len(keys) != 25 || !slices.IsSorted(keys) || keys[24] != "event-24" {
			t.Errorf("listed %v", keys)
		}
		for range cl.Events(t.Context()) {
			break
		}
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			s.reply(h, wire.StatusOK, (&wire.EventList{Entries: []wire.EventEntry{{Key: []byte("same")}}}).Append(nil))
			return true
		})
		n, failed := 0, 0
		for _, err := range cl.Events(t.Context()) {
			if n++; err != nil {
				failed++
			}
		}
		if n != 2 || failed != 1 {
			t.Errorf("a list without end gave %d entries, %d errors", n, failed)
		}
	})
}

// A manifest larger than a chunk arrives whole, also when connections break in
// between; an event is deleted in the shard and then in the directory.
func TestCreateAndDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.hall.exists = false
		cut := 0
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind == wire.KindCreate {
				if cut++; cut%2 == 1 {
					s.apply(h, body)
					s.nc.Close()
					return true
				}
			}
			return false
		})
		cl, err := Dial(t.Context(), []string{"a"}, c.options())
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		m := bigManifest()
		ev, err := cl.CreateEvent(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if m.Rules != (wire.Rules{}) {
			t.Error("the caller's manifest was changed")
		}
		got, err := wire.DecodeManifest(c.hall.chunks)
		if err != nil || got.Seats() != m.Seats() || len(c.hall.chunks) <= wire.MaxChunk || got.Rules != wire.DefaultRules() {
			t.Errorf("%d bytes arrived: %v", len(c.hall.chunks), err)
		}
		if places, err := ev.Places(t.Context()); err != nil || places.Label(0) == "" {
			t.Errorf("places: %v", err)
		}
		if err := cl.DeleteEvent(t.Context(), m.Key); err != nil {
			t.Fatal(err)
		}
		if c.hall.exists || c.hall.key != "" {
			t.Error("the event is still there")
		}
		c.hall.key = m.Key // the process died after the shard had deleted it
		if err := cl.DeleteEvent(t.Context(), m.Key); err != nil || c.hall.key != "" {
			t.Errorf("deleted again: %v", err)
		}
	})
}

// bigManifest has seats whose names do not compress to nothing.
func bigManifest() *wire.Manifest {
	m := &wire.Manifest{Key: "stadium", Categories: []string{"all"}}
	var rows []wire.Row
	for r := range 200 {
		seats := make([]wire.Seat, 100)
		for i := range seats {
			seats[i] = wire.Seat{Label: strings.Repeat("x", 10) + string(rune('A'+i%26)) + string(rune('A'+i/26)), GUID: ""}
		}
		rows = append(rows, wire.Row{Name: strings.Repeat("r", 1+r%60) + string(rune('A'+r/60)), Focal: 99, Seats: seats})
	}
	m.Sections = []wire.Section{{Name: "S", Rows: rows}}
	return m
}

// Messages are for people who sell tickets.
func TestErrorMessages(t *testing.T) {
	id := wire.KeyID("x")
	many := make([]wire.SeatID, 10)
	cases := []struct {
		e    Error
		want string
	}{
		{Error{Op: "hold", Event: "gala", Status: wire.StatusTaken, ID: id, Lost: []wire.SeatID{4, 5}, Labels: []string{"A-1-5", ""}},
			`hold in event "gala": somebody else has seats of this request: A-1-5, seat 5`},
		{Error{Op: "hold", Event: "gala", Status: wire.StatusTaken, ID: id, Lost: many},
			`hold in event "gala": somebody else has seats of this request: seat 0, seat 0, seat 0, seat 0, seat 0, seat 0, seat 0, seat 0 and 2 more`},
		{Error{Op: "confirm", Event: "gala", Status: wire.StatusUnknown, Applied: AppliedUnknown, ID: id, Err: errors.New("time is over")},
			`confirm in event "gala": the outcome is unknown (time is over); it may or may not have been applied: repeat it with id ` + id.String() + ` to learn which`},
		{Error{Op: "hold", Event: "gala", Status: wire.StatusOverloaded, ID: id},
			`hold in event "gala": the server is overloaded; nothing was changed`},
		{Error{Op: "find event", Event: "gala", Status: wire.StatusUnknownEvent}, `find event "gala": there is no such event`},
		{Error{Op: "list events", Status: wire.StatusForbidden, Text: "needs the role read"},
			`list events: the API key's role does not allow this: needs the role read`},
		{Error{Op: "hold", Status: 999, ID: id}, `hold: status_999; nothing was changed`},
	}
	for _, tc := range cases {
		if got := tc.e.Error(); got != tc.want {
			t.Errorf("message is\n%s\nwant\n%s", got, tc.want)
		}
	}
	for s := range wire.Status(400) {
		if s != wire.StatusOK && !strings.HasPrefix(s.String(), "status_") && sentences[s] == "" {
			t.Errorf("status %v has no sentence", s)
		}
	}
	if StatusOf(nil) != wire.StatusOK || StatusOf(errors.New("x")) != wire.StatusUnknown || StatusOf(errors.Join(&cases[0].e)) != wire.StatusTaken {
		t.Error("StatusOf does not find the status")
	}
}
