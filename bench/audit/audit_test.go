package audit

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

const ms = time.Millisecond

func id(n byte) wire.ID { return wire.ID{15: n} }

// tickets are what the history's room has given out.
type tickets []Ticket

func (t tickets) all(yield func(Ticket) bool) {
	for _, one := range t {
		if !yield(one) {
			return
		}
	}
}

// A sound history of six seats: 1 is booked, 2 expires, 3 is released and granted
// again to 4, which pays late and is reacquired, 5 pays too late after 6 has
// booked its seat. A room of three with two early and four late visitors.
func sound() (*History, tickets) {
	h := &History{
		Event: "e", Seats: []wire.SeatID{0, 1, 2, 3, 4, 5},
		Allowed: Allowance{Tick: 50 * ms, Commit: 20 * ms},
		Holds: []Hold{
			{ID: id(1), Fence: 1, Seats: []wire.SeatID{0, 1}, Count: 2, Pass: 0xa, Sent: 100 * ms, Acked: 110 * ms, Until: 400 * ms, DueBy: 410 * ms, End: EndBooked, Ending: 200 * ms, Ended: 210 * ms},
			{ID: id(2), Fence: 2, Seats: []wire.SeatID{2}, Named: []wire.SeatID{2}, Count: 1, Pass: 0xb, Sent: 100 * ms, Acked: 112 * ms, Until: 400 * ms, DueBy: 412 * ms},
			{ID: id(3), Fence: 3, Seats: []wire.SeatID{3}, Count: 1, Pass: 0xc, Sent: 105 * ms, Acked: 115 * ms, Until: 405 * ms, DueBy: 415 * ms, End: EndReleased, Ending: 120 * ms, Ended: 125 * ms},
			{ID: id(4), Fence: 5, Seats: []wire.SeatID{3}, Count: 1, Pass: 0xc, Sent: 130 * ms, Acked: 140 * ms, Until: 430 * ms, DueBy: 440 * ms, End: EndReacquired, Ending: 500 * ms, Ended: 510 * ms},
			{ID: id(5), Fence: 6, Seats: []wire.SeatID{4}, Count: 1, Pass: 0xd, Sent: 131 * ms, Acked: 141 * ms, Until: 431 * ms, DueBy: 441 * ms, End: EndLost, Ending: 620 * ms, Ended: 620 * ms},
			{ID: id(6), Fence: 10, Seats: []wire.SeatID{4}, Count: 1, Pass: 0xe, Sent: 500 * ms, Acked: 505 * ms, Until: 800 * ms, DueBy: 805 * ms, End: EndBooked, Ending: 600 * ms, Ended: 610 * ms},
			{ID: id(7), Fence: 13, Seats: []wire.SeatID{5}, Count: 1, Pass: 0xe, Sent: 700 * ms, Acked: 705 * ms, Until: 1000 * ms, DueBy: 1005 * ms},
		},
		Read: []Read{
			{ID: id(1), State: wire.StateBooked, Fence: 1, Booked: []wire.SeatID{1, 0}},
			{ID: id(4), State: wire.StateBooked, Fence: 11, Booked: []wire.SeatID{3}},
			{ID: id(6), State: wire.StateBooked, Fence: 10, Booked: []wire.SeatID{4}},
			{ID: id(2), State: wire.StateExpired, Fence: 2},
		},
		Map: &Map{Sent: 900 * ms, State: map[wire.SeatID]wire.SeatState{0: wire.SeatBooked, 1: wire.SeatBooked, 3: wire.SeatBooked, 4: wire.SeatBooked, 5: wire.SeatHeld}},
	}
	change := func(v wire.Version, seat wire.SeatID, from, to wire.SeatState, after, before time.Duration) {
		h.Changes = append(h.Changes, Change{wire.Change{Version: v, Seat: seat, From: from, To: to}, after, before})
	}
	const free, held, booked = wire.SeatFree, wire.SeatHeld, wire.SeatBooked
	change(1, 0, free, held, 90*ms, 115*ms)
	change(1, 1, free, held, 90*ms, 115*ms)
	change(2, 2, free, held, 90*ms, 115*ms)
	change(3, 3, free, held, 100*ms, 125*ms)
	change(4, 3, held, free, 115*ms, 135*ms)
	change(5, 3, free, held, 125*ms, 145*ms)
	change(6, 4, free, held, 125*ms, 145*ms)
	change(7, 0, held, booked, 190*ms, 215*ms)
	change(7, 1, held, booked, 190*ms, 215*ms)
	change(8, 2, held, free, 390*ms, 420*ms)
	change(9, 3, held, free, 420*ms, 480*ms)
	change(9, 4, held, free, 420*ms, 480*ms)
	change(10, 4, free, held, 490*ms, 506*ms)
	change(11, 3, free, booked, 500*ms, 515*ms)
	change(12, 4, held, booked, 590*ms, 615*ms)
	change(13, 5, free, held, 690*ms, 715*ms)

	issued := tickets{
		{Number: 0, Early: true, Sent: 1 * ms, Acked: 3 * ms, Place: 1},
		{Number: 1, Early: true, Sent: 2 * ms, Acked: 4 * ms, Place: 0},
		{Number: 2, Sent: 60 * ms, Acked: 65 * ms, Place: NoPlace},
		{Number: 3, Sent: 61 * ms, Acked: 64 * ms, Place: 3},
		{Number: 4, Sent: 70 * ms, Acked: 75 * ms, Place: NoPlace},
		{Number: 5, Sent: 80 * ms, Acked: 85 * ms, Place: NoPlace},
	}
	h.Room = &Room{
		Limit: 3, Grace: 100 * ms, SeatsPerPass: 2, Tickets: issued.all, Issued: 6, Settled: true,
		Entries: 2, Draw: func(e uint32) uint32 { return 1 - e },
		Passes: []Pass{
			{ID: 0xa, Number: 0, Sent: 80 * ms, Acked: 85 * ms, Until: 210 * ms},
			{ID: 0xb, Number: 1, Sent: 80 * ms, Acked: 86 * ms, Until: 450 * ms},
			{ID: 0xc, Number: 2, Sent: 81 * ms, Acked: 87 * ms, Until: 300 * ms},
			{ID: 0xd, Number: 4, Sent: 400 * ms, Acked: 410 * ms, Until: 520 * ms},
			{ID: 0xe, Number: 5, Sent: 400 * ms, Acked: 410 * ms, Until: 620 * ms},
		},
		Refused: []Refusal{
			{Number: 3, Sent: 75 * ms, Acked: 79 * ms},
			{Number: 3, Lapsed: true, Sent: 480 * ms, Acked: 490 * ms},
		},
		Frames: []Frame{
			{Sent: 60 * ms, Acked: 70 * ms, Serving: 0, Issued: 4},
			{Sent: 75 * ms, Acked: 80 * ms, Serving: 3, Issued: 5, Inside: 1},
			{Sent: 360 * ms, Acked: 370 * ms, Serving: 4, Issued: 6, Inside: 1},
			{Sent: 420 * ms, Acked: 425 * ms, Serving: 6, Issued: 6, Inside: 3},
			{Sent: 600 * ms, Acked: 610 * ms, Serving: 6, Issued: 6, Inside: 2},
		},
	}
	return h, issued
}

func TestSoundHistory(t *testing.T) {
	h, _ := sound()
	r := Check(h)
	if !r.OK() {
		t.Fatal(r.Error())
	}
	for _, rule := range r.Rules {
		if rule.Checked == 0 {
			t.Errorf("rule %q looked at nothing", rule.Name)
		}
	}
}

// Every rule finds a history that breaks it, and says where.
func TestBrokenHistories(t *testing.T) {
	broken := []struct {
		rule, want string
		lie        func(h *History, issued tickets)
	}{
		{"booking", "is not there", func(h *History, _ tickets) { h.Read = h.Read[1:] }},
		{"booking", "is there twice", func(h *History, _ tickets) { h.Read = append(h.Read, h.Read[0]) }},
		{"booking", "is cancelled", func(h *History, _ tickets) { h.Read[0].State = wire.StateCancelled }},
		{"booking", "has fence 2", func(h *History, _ tickets) { h.Read[0].Fence = 2 }},
		{"booking", "has seats [0]", func(h *History, _ tickets) { h.Read[0].Booked = []wire.SeatID{0} }},
		{"booking", "is free", func(h *History, _ tickets) { h.Map.State[1] = wire.SeatFree }},
		{"stranger", "was not acknowledged", func(h *History, _ tickets) {
			h.Read = append(h.Read, Read{ID: id(9), State: wire.StateBooked, Booked: []wire.SeatID{2}})
		}},
		{"stranger", "told that it is held", func(h *History, _ tickets) { h.Read[3].Booked = []wire.SeatID{2} }},
		{"stranger", "in no acknowledged booking", func(h *History, _ tickets) { h.Map.State[2] = wire.SeatBooked }},
		{"stranger", "by no acknowledged hold", func(h *History, _ tickets) {
			h.Map.State[0], h.Map.State[3] = wire.SeatBooked, wire.SeatHeld
			h.Holds[3].End = EndReleased
		}},
		{"seat", "in the acknowledged bookings", func(h *History, _ tickets) { h.Holds[5].Seats = []wire.SeatID{0} }},
		{"seat", "granted to", func(h *History, _ tickets) { h.Holds[4].Seats = []wire.SeatID{1} }},
		{"seat", "before 00000000-0000-0000-0000-000000000003 released it", func(h *History, _ tickets) { h.Holds[2].Ending = 150 * ms }},
		{"whole", "asked for 2", func(h *History, _ tickets) { h.Holds[1].Count = 2 }},
		{"whole", "asked for 1 seats [1]", func(h *History, _ tickets) { h.Holds[1].Named = []wire.SeatID{1} }},
		{"early", "was lost at", func(h *History, _ tickets) { h.Holds[4].Ended = 430 * ms }},
		{"early", "was reacquired at", func(h *History, _ tickets) { h.Holds[3].Ended = 429 * ms }},
		{"early", "was granted to", func(h *History, _ tickets) { h.Holds[5].Acked = 430 * ms }},
		{"early", "became free before", func(h *History, _ tickets) { h.Changes[9].Before = 399 * ms }},
		{"early", "which its client released", func(h *History, _ tickets) { h.Changes[4].Before = 119 * ms }},
		{"late", "later than it may", func(h *History, _ tickets) { h.Changes[9].After = 483 * ms }},
		{"late", "before the map was read", func(h *History, _ tickets) { h.Map.Sent = 1076 * ms }},
		{"records", "went from held to booked, and was free", func(h *History, _ tickets) { h.Changes = slices.Delete(h.Changes, 0, 1) }},
		{"records", "by its last change", func(h *History, _ tickets) { h.Changes = h.Changes[:len(h.Changes)-1] }},
		{"records", "comes after", func(h *History, _ tickets) { h.Changes[2], h.Changes[8] = h.Changes[8], h.Changes[2] }},
		{"records", "nobody had been granted it", func(h *History, _ tickets) { h.Changes[9].Version = 1; h.Changes = h.Changes[9:10] }},
		{"booking", "became free at version", func(h *History, _ tickets) {
			h.Changes = append(h.Changes, Change{wire.Change{Version: 14, Seat: 0, From: wire.SeatBooked}, 0, 2000 * ms})
		}},
		{"fence", "have the fence 2", func(h *History, _ tickets) { h.Holds[0].Fence = 2 }},
		{"unknown", "a confirm", func(h *History, _ tickets) { h.Open = []string{"a confirm"} }},
		{"ticket", "was given twice", func(_ *History, issued tickets) { issued[5].Number = 4 }},
		{"ticket", "the server has issued 5", func(h *History, _ tickets) { h.Room.Issued = 5 }},
		{"ticket", "6 joins were acknowledged", func(h *History, _ tickets) { h.Room.Issued = 7 }},
		{"order", "was acknowledged at", func(_ *History, issued tickets) { issued[4].Acked = 59 * ms }},
		{"order", "was 2 later", func(_ *History, issued tickets) { issued[3].Place = 2 }},
		{"draw", "the draw says", func(_ *History, issued tickets) { issued[0].Place = 0 }},
		{"draw", "beyond the 1", func(h *History, _ tickets) { h.Room.Entries = 1 }},
		{"draw", "there was no draw", func(h *History, _ tickets) { h.Room.Draw = nil }},
		{"called", "was let in at", func(h *History, _ tickets) { h.Room.Passes[3].Acked = 300 * ms }},
		{"called", "refused as not called", func(h *History, _ tickets) { h.Room.Refused[0].Sent = 371 * ms }},
		{"grace", "number 3 lapsed before", func(h *History, _ tickets) { h.Room.Refused[1].Acked = 174 * ms }},
		{"limit", "4 passes were live", func(h *History, _ tickets) { h.Room.Passes[2].Until = 415 * ms; h.Room.Passes[0].Until = 411 * ms }},
		{"limit", "said that 4 were inside", func(h *History, _ tickets) { h.Room.Frames[1].Inside = 4 }},
		{"pass", "given twice", func(h *History, _ tickets) { h.Room.Passes[0].ID = 0xb }},
		{"pass", "has the passes", func(h *History, _ tickets) { h.Room.Passes[3].Number = 5 }},
		{"pass", "nobody was given", func(h *History, _ tickets) { h.Holds[0].Pass = 0 }},
		{"pass", "good for 1", func(h *History, _ tickets) { h.Room.SeatsPerPass = 1 }},
		{"pass", "has booked 3 seats", func(h *History, _ tickets) { h.Holds[3].Pass = 0xa }},
	}
	tried := make(map[string]bool)
	for _, b := range broken {
		h, issued := sound()
		b.lie(h, issued)
		r := Check(h)
		i := slices.IndexFunc(r.Rules, func(rule Rule) bool { return rule.Name == b.rule })
		if rule := r.Rules[i]; rule.Broken == 0 || !strings.Contains(strings.Join(rule.Examples, "\n"), b.want) {
			t.Errorf("%s, %q: found was\n%s", b.rule, b.want, r.Error())
		}
		tried[b.rule] = true
	}
	for _, p := range promises {
		if !tried[p.name] {
			t.Errorf("no history breaks the rule %q", p.name)
		}
	}
}

// Of many findings a few are described and all are counted.
func TestFindingsAreBounded(t *testing.T) {
	h, _ := sound()
	for range 1000 {
		h.Open = append(h.Open, "something")
	}
	r := Check(h, h)
	text := r.Error()
	if !strings.Contains(text, "unknown: 2000 of") || strings.Count(text, "something") != examplesKept {
		t.Error(text)
	}
}
