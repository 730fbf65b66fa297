package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A visitor's life by the client: join, wait, come in, hold with the pass, leave; and
// what he is told when he is too early or too late.
func TestQueue(t *testing.T) {
	addr, _ := node(t, nodeConfig(t.TempDir(), "127.0.0.1:0"))
	c := dial(t, addr, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ev, err := c.CreateEvent(ctx, hall("queue", 4, 50))
	if err != nil {
		t.Fatal(err)
	}
	status := func(want wire.Status, err error) {
		t.Helper()
		if client.StatusOf(err) != want {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	_, err = ev.Join(ctx, "")
	status(wire.StatusNoRoom, err)
	_, err = ev.AwaitTurn(ctx, client.Ticket{})
	status(wire.StatusNoRoom, err)

	config := wire.DefaultRoom()
	config.Limit, config.Rate, config.SeatsPerPass = 2, 1_000_000, 2
	config.OpensAt, config.Source = 4_000_000_000_000, []byte("a beacon")
	status(wire.StatusOK, ev.SetRoom(ctx, config))

	// Entries, and their draw.
	entries, err := ev.JoinMany(ctx, client.JoinRequest{Count: 5})
	status(wire.StatusOK, err)
	_, err = ev.Admit(ctx, entries[0])
	var early *client.NotCalledError
	if !errors.As(err, &early) || !early.Entry || early.Ahead != 5 {
		t.Fatalf("before the draw: %v", err)
	}
	before, err := ev.Queue(ctx)
	status(wire.StatusOK, err)
	if _, known := before.Number(entries[0]); known || before.State != wire.QueueBefore || before.Entries != 5 {
		t.Errorf("before the draw the room is %+v", before)
	}
	status(wire.StatusBadRequest, ev.DrawRoom(ctx, []byte("17")))
	status(wire.StatusOK, ev.OpenRoom(ctx))
	status(wire.StatusOK, ev.DrawRoom(ctx, []byte("17")))
	after, err := ev.Queue(ctx)
	status(wire.StatusOK, err)
	if wire.Commitment(after.Seed, after.Config.Source) != before.Commitment {
		t.Error("the seed is not the one that was promised")
	}
	order := make([]client.Ticket, 5) // by queue number
	for _, k := range entries {
		number, known := after.Number(k)
		place, err := ev.Place(ctx, k)
		if !known || err != nil || place.Number != number {
			t.Fatalf("entry %d has number %d, %v, and its place is %+v, %v", k.Number, number, known, place, err)
		}
		order[number] = k
	}
	late, err := ev.Join(ctx, "")
	status(wire.StatusOK, err)
	if late.Entry || late.Number != 5 {
		t.Errorf("who joins after the draw gets %+v", late)
	}

	// Two are let in, the others are not.
	first, err := ev.AwaitTurn(ctx, order[0])
	status(wire.StatusOK, err)
	if again, err := ev.Admit(ctx, order[0]); err != nil || again.Token != first.Token || again.ID != first.ID {
		t.Errorf("the ticket again: %+v, %v", again, err)
	}
	if id, err := client.PassID(first.Token); err != nil || id != first.ID || first.Seats != 2 || time.Until(first.ExpiresAt) < 9*time.Minute {
		t.Errorf("the pass is %+v, its token that of %v, %v", first, id, err)
	}
	_, err = client.PassID(late.Token)
	status(wire.StatusBadRequest, err)
	if k, room, err := client.ParseTicket(late.Token); err != nil || k != late || room != after.Room {
		t.Errorf("the ticket %+v reads %+v of room %d, %v", late, k, room, err)
	}
	_, _, err = client.ParseTicket(first.Token)
	status(wire.StatusBadRequest, err)
	_, err = ev.Admit(ctx, late)
	if !errors.As(err, &early) || early.Entry || early.Number != 5 || early.Ahead != 5-early.Serving {
		t.Errorf("too early: %v", err)
	}
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != wire.StatusNotCalled {
		t.Errorf("a NotCalledError does not wrap its Error: %v", err)
	}
	_, err = ev.Admit(ctx, client.Ticket{Token: "x"})
	status(wire.StatusBadRequest, err)

	// The pass.
	_, err = ev.HoldBest(ctx, client.BestRequest{Count: 1})
	status(wire.StatusPassRequired, err)
	_, err = ev.HoldBest(ctx, client.BestRequest{Count: 3, Pass: first.ID})
	status(wire.StatusPassLimit, err)
	hold, err := ev.HoldBest(ctx, client.BestRequest{Count: 1, Pass: first.ID})
	status(wire.StatusOK, err)
	_, err = ev.Hold(ctx, client.HoldRequest{Labels: []string{"A-4-1"}, Pass: first.ID})
	status(wire.StatusOK, err)
	_, err = ev.Hold(ctx, client.HoldRequest{Labels: []string{"A-4-2"}, Pass: first.ID})
	status(wire.StatusPassLimit, err)
	status(wire.StatusOK, ev.Leave(ctx, first.Token))
	status(wire.StatusOK, hold.Confirm(ctx))
	_, err = ev.Admit(ctx, order[0])
	status(wire.StatusPassEnded, err)

	// The operator.
	status(wire.StatusOK, ev.PauseRoom(ctx))
	status(wire.StatusOK, ev.ResumeRoom(ctx))
	status(wire.StatusOK, ev.DrainRoom(ctx))
	_, err = ev.Join(ctx, "")
	status(wire.StatusRoomClosed, err)
	status(wire.StatusOK, ev.Leave(ctx, late.Token))
	if place, err := ev.Place(ctx, late); err != nil || place.State != wire.PlaceLeft {
		t.Errorf("who has left is at %+v, %v", place, err)
	}
	status(wire.StatusOK, ev.EndRoom(ctx))
	_, err = ev.Place(ctx, order[1])
	status(wire.StatusNoRoom, err)

	_, err = ev.JoinMany(ctx, client.JoinRequest{Count: wire.MaxJoins + 1})
	status(wire.StatusBadRequest, err)
	_, err = ev.JoinMany(ctx, client.JoinRequest{Count: 2, Visitor: "ada"})
	status(wire.StatusBadRequest, err)
}

// A join is repeated without another number where that is promised: under its id,
// and for a visitor who is named.
func TestJoinAgain(t *testing.T) {
	addr, _ := node(t, nodeConfig(t.TempDir(), "127.0.0.1:0"))
	c := dial(t, addr, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ev, err := c.CreateEvent(ctx, hall("again", 1, 10))
	if err != nil {
		t.Fatal(err)
	}
	config := wire.DefaultRoom()
	config.OnePerVisitor = true
	if err := ev.SetRoom(ctx, config); err != nil {
		t.Fatal(err)
	}
	if _, err := ev.Join(ctx, ""); client.StatusOf(err) != wire.StatusBadRequest {
		t.Errorf("nobody in a room with one place per visitor: %v", err)
	}
	first, err := ev.Join(ctx, "ada")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ev.Join(ctx, "bob"); err != nil {
		t.Fatal(err)
	}
	if again, err := ev.Join(ctx, "ada"); err != nil || again != first {
		t.Errorf("ada has %+v and, when she joins again, %+v, %v", first, again, err)
	}

	if err := ev.EndRoom(ctx); err != nil {
		t.Fatal(err)
	}
	if err := ev.SetRoom(ctx, wire.DefaultRoom()); err != nil {
		t.Fatal(err)
	}
	r := client.JoinRequest{Count: 3, ID: wire.KeyID("a coach")}
	seats, err := ev.JoinMany(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ev.Join(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if again, err := ev.JoinMany(ctx, r); err != nil || !slices.Equal(again, seats) {
		t.Errorf("the same join gets %+v and then %+v, %v", seats, again, err)
	}
}

// A visitor waits for his turn, and shops with a pass.
func ExampleEvent_AwaitTurn() {
	c, stop := connect()
	defer stop()
	ctx := context.Background()
	ev := theatre(ctx, c, "on-sale")
	room := wire.DefaultRoom() // an operator's business
	room.Limit, room.Rate = 100, 50_000
	if err := ev.SetRoom(ctx, room); err != nil {
		log.Fatal(err)
	}

	ticket, err := ev.Join(ctx, "") // keep ticket.Token: it is the place
	if err != nil {
		log.Fatal(err)
	}
	pass, err := ev.AwaitTurn(ctx, ticket)
	if err != nil {
		log.Fatal(err)
	}
	hold, err := ev.HoldBest(ctx, client.BestRequest{Count: 2, Pass: pass.ID})
	if err != nil {
		log.Fatal(err)
	}
	if err := hold.Confirm(ctx); err != nil {
		log.Fatal(err)
	}
	if err := ev.Leave(ctx, pass.Token); err != nil { // let the next one in
		log.Fatal(err)
	}
	_, err = ev.HoldBest(ctx, client.BestRequest{Count: 1})
	fmt.Println("number", ticket.Number, "booked", len(hold.Booked()), "seats; without a pass:", client.StatusOf(err))
	// Output:
	// number 0 booked 2 seats; without a pass: pass_required
}
