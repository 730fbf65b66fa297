package bench

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/server"
	"github.com/usher-seats/usher/wire"
)

// A desk is a stage on a real node, for histories that are broken on purpose.
func desk(t *testing.T, seats int) *stage {
	t.Helper()
	n, err := server.Start(t.Context(), server.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", HTTP: server.Off, Admin: server.Off, Peer: "127.0.0.1:0",
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), []string{n.Addr()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t.Context(), c, Options{Workload: "audit", Seats: seats, Seed: 1, Depth: 1})
	t.Cleanup(func() {
		s.close()
		c.Close()
		if err := n.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func mustFail(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the audit says %v, want something about %q", err, want)
	}
}

// The audit of holds finds what was acknowledged and is not there, what is there
// and was not acknowledged, and holds that are not what they were said to be.
func TestPairAuditFindsLies(t *testing.T) {
	s := desk(t, 1_000)
	ev, err := s.event(0)
	if err != nil {
		t.Fatal(err)
	}
	ledger := newSale(0, ev, 1_000)
	if err := ledger.audit(t.Context()); err != nil {
		t.Fatalf("an empty event: %v", err)
	}
	hold, err := ev.Hold(t.Context(), client.HoldRequest{Seats: []wire.SeatID{seatID(2), seatID(3)}})
	if err != nil {
		t.Fatal(err)
	}
	mustFail(t, ledger.audit(t.Context()), "seat 2 is held, acknowledged was free")
	note(ledger.held, 1)
	if err := ledger.audit(t.Context()); err != nil {
		t.Fatalf("a hold that was acknowledged: %v", err)
	}
	note(ledger.held, 7)
	mustFail(t, ledger.audit(t.Context()), "seat 14 is free, acknowledged was held")

	r := receipt{pairSlot{sale: ledger, pair: 1, id: hold.ID(), fence: hold.Fence()}, false}
	if err := r.audit(t.Context()); err != nil {
		t.Fatalf("a receipt: %v", err)
	}
	for what, lie := range map[string]func(*receipt){
		"fence":                   func(r *receipt) { r.fence++ },
		"acknowledged was booked": func(r *receipt) { r.booked = true },
		"has seats":               func(r *receipt) { r.pair = 2 },
		"no such":                 func(r *receipt) { r.id[15]++ },
	} {
		altered := r
		lie(&altered)
		mustFail(t, altered.audit(t.Context()), what)
	}
}

// What a script is told is checked as it comes: a seat that is granted twice, or
// lost seats that nobody asked for, end the run.
func TestScriptsFindLies(t *testing.T) {
	s := desk(t, 1_000)
	l, err := newLine(s)
	if err != nil {
		t.Fatal(err)
	}
	pairs := &pairScript{show: &pairShow{stage: s, line: l}, rand: newRand(s.o, 0), slots: make([]pairSlot, 1)}
	pairs.next(0, time.Now(), nil)
	ok := wire.Header{Kind: wire.KindHold}
	granted := (&wire.Granted{Fence: 1, Seats: wire.MakeSeatList(0, 1)}).Append(nil)
	if _, err := pairs.done(0, ok, granted); err != nil {
		t.Fatal(err)
	}
	_, err = pairs.done(0, ok, granted)
	mustFail(t, err, "granted twice")
	_, err = pairs.done(0, wire.Header{Kind: wire.KindHold, Status: wire.StatusTaken}, nil)
	mustFail(t, err, "taken")

	show, err := newStampedeShow(s)
	if err != nil {
		t.Fatal(err)
	}
	crowd := show.script(0).(*stampedeScript)
	crowd.next(0, time.Now(), nil)
	other := wire.SeatID(0)
	for other == seatID(crowd.asked[0][0]) || other == seatID(crowd.asked[0][1]) {
		other++
	}
	lost := (&wire.SeatsLost{Seats: wire.MakeSeatList(other)}).Append(nil)
	_, err = crowd.done(0, wire.Header{Kind: wire.KindHold, Status: wire.StatusTaken}, lost)
	mustFail(t, err, "lost, asked were")
	if err := show.audit(t.Context()); err != nil {
		t.Fatal(err)
	}
	crowd.show.taken[0].Store(^crowd.show.taken[0].Load())
	mustFail(t, show.audit(t.Context()), "want")
}

// The audit of best available finds a seat that two have, and one that nobody
// gave back.
func TestBestFindsLies(t *testing.T) {
	s := desk(t, 1_000)
	show, err := newBestShow(s)
	if err != nil {
		t.Fatal(err)
	}
	b := show.script(0).(*bestScript)
	b.next(0, time.Now(), nil)
	var free []wire.SeatID
	for i := range 1_000 {
		if !noted(b.event.taken, i) {
			free = append(free, seatID(i))
		}
	}
	apart := (&wire.Granted{Fence: 1, Seats: wire.MakeSeatList(free[0], free[2], free[4], free[6])}).Append(nil)
	_, err = b.done(0, wire.Header{Kind: wire.KindHoldBest}, apart)
	mustFail(t, err, "not together")
	mustFail(t, show.audit(t.Context()), "acknowledged was true")
	somebodys := (&wire.Granted{Fence: 1, Seats: wire.MakeSeatList(free[0], free[0]+1, free[0]+2, free[0]+3)}).Append(nil)
	_, err = b.done(0, wire.Header{Kind: wire.KindHoldBest}, somebodys)
	mustFail(t, err, "somebody has it")
}
