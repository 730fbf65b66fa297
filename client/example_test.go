package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// From a manifest to a booking.
func Example() {
	addr, stop := startNode()
	defer stop()

	ctx := context.Background()
	c, err := client.Dial(ctx, []string{addr}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	manifest, err := wire.ParseManifest([]byte(`{
		"key": "summer-night", "name": "A Summer Night",
		"sections": [{"name": "A", "category": "stalls", "rows": [{"name": "1", "seats": 20}, {"name": "2", "seats": 20}]}]
	}`))
	if err != nil {
		log.Fatal(err)
	}
	ev, err := c.CreateEvent(ctx, manifest)
	if err != nil {
		log.Fatal(err)
	}

	hold, err := ev.Hold(ctx, client.HoldRequest{Labels: []string{"A-1-10", "A-1-11"}, Buyer: "ada"})
	if err != nil {
		log.Fatal(err)
	}
	minutes := time.Until(hold.ExpiresAt()).Round(time.Minute).Minutes()
	fmt.Printf("holds %d seats for %v minutes\n", len(hold.Seats()), minutes)

	if err := hold.Pay(ctx); err != nil { // the clock stops while the bank is asked
		log.Fatal(err)
	}
	if err := hold.Confirm(ctx); err != nil {
		log.Fatal(err)
	}

	tickets, err := ev.Labels(ctx, hold.Booked()...)
	if err != nil {
		log.Fatal(err)
	}
	info, err := ev.Info(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("booked %v, %d seats are left\n", tickets, info.Total.Free)
	// Output:
	// holds 2 seats for 15 minutes
	// booked [A-1-10 A-1-11], 38 seats are left
}

// The shard chooses seats, so buyers who ask at the same moment do not collide.
// When there are not as many together, they may sit apart.
func ExampleEvent_HoldBest() {
	c, stop := connect()
	defer stop()
	ctx := context.Background()
	ev := theatre(ctx, c, "best") // A-1 and A-2 have six seats each

	hold, err := ev.HoldBest(ctx, client.BestRequest{Count: 2, Section: "A", Buyer: "ada"})
	if err != nil {
		log.Fatal(err)
	}
	seats, _ := ev.Labels(ctx, hold.Seats()...)
	fmt.Println("two together:", seats)

	_, err = ev.HoldBest(ctx, client.BestRequest{Count: 7, Section: "A", Buyer: "eve"})
	fmt.Println("seven together:", client.StatusOf(err))

	hold, err = ev.HoldBest(ctx, client.BestRequest{Count: 7, Section: "A", Split: true, Buyer: "eve"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("seven apart:", len(hold.Seats()), "seats")
	// Output:
	// two together: [A-1-3 A-1-4]
	// seven together: not_enough
	// seven apart: 7 seats
}

// Whoever is too late learns which seats are gone, and which are the best of
// those that are not.
func ExampleError() {
	c, stop := connect()
	defer stop()
	ctx := context.Background()
	ev := theatre(ctx, c, "taken")

	if _, err := ev.Hold(ctx, client.HoldRequest{Labels: []string{"A-1-3"}, Buyer: "ada"}); err != nil {
		log.Fatal(err)
	}
	_, err := ev.Hold(ctx, client.HoldRequest{Labels: []string{"A-1-3", "A-1-4"}, Buyer: "eve", Alternative: true})
	fmt.Println(err)

	var failed *client.Error
	if errors.As(err, &failed) && failed.Status == wire.StatusTaken {
		instead, _ := ev.Labels(ctx, failed.Offer...)
		fmt.Println("instead:", instead)
	}
	// Output:
	// hold in event "taken": somebody else has seats of this request: A-1-3
	// instead: [A-1-1 A-1-2]
}

// A request whose outcome is unknown is repeated with its id, by the same program
// or by another. It is done once.
func ExampleHoldRequest_retry() {
	c, stop := connect()
	defer stop()
	ctx := context.Background()
	ev := theatre(ctx, c, "retry")

	// A frontend can make the id of what its own visitor sent, here the number of
	// a form. However often the form arrives, it is one hold.
	order := client.HoldRequest{Labels: []string{"A-1-1"}, Buyer: "ada", ID: wire.KeyID("form 4711")}
	first, err := ev.Hold(ctx, order)
	if err != nil {
		log.Fatal(err)
	}
	second, err := ev.Hold(ctx, order)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same hold:", first.ID() == second.ID() && first.Fence() == second.Fence())

	// And this is what to do with an id that the client made.
	wish := client.HoldRequest{Labels: []string{"A-1-2"}, Buyer: "ada"}
	for {
		_, err = ev.Hold(ctx, wish)
		var failed *client.Error
		if errors.As(err, &failed) && failed.Applied == client.AppliedUnknown {
			wish.ID = failed.ID
			continue
		}
		break
	}
	fmt.Println("held:", err == nil)
	// Output:
	// the same hold: true
	// held: true
}

// One purchase of seats for two evenings: all or none.
func ExampleBasket() {
	c, stop := connect()
	defer stop()
	ctx := context.Background()
	friday, saturday := theatre(ctx, c, "friday"), theatre(ctx, c, "saturday")

	var basket client.Basket
	basket.AddBest(friday, client.BestRequest{Count: 2, Buyer: "ada"})
	basket.Add(saturday, client.HoldRequest{Labels: []string{"A-1-3", "A-1-4"}, Buyer: "ada"})
	if err := basket.Hold(ctx); err != nil {
		log.Fatal(err)
	}
	if err := basket.Pay(ctx); err != nil {
		log.Fatal(err)
	}
	if err := basket.Confirm(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("booked for", len(basket.Holds()), "evenings")

	// The next one wants seats that are gone on Saturday, and gets none on Friday.
	var late client.Basket
	late.AddBest(friday, client.BestRequest{Count: 2, Buyer: "eve"})
	late.Add(saturday, client.HoldRequest{Labels: []string{"A-1-4"}, Buyer: "eve"})
	fmt.Println(client.StatusOf(late.Hold(ctx)))
	info, err := friday.Info(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("held on Friday:", info.Total.Held)
	// Output:
	// booked for 2 evenings
	// taken
	// held on Friday: 0
}

// What the box office does: it keeps seats for the house, sells some to members
// only, and takes bookings back or swaps them.
func ExampleBooking() {
	c, stop := connect()
	defer stop()
	ctx := context.Background()
	ev := theatre(ctx, c, "office")

	if err := ev.Block(ctx, client.SeatsRequest{Labels: []string{"A-1-1", "A-1-2"}}); err != nil {
		log.Fatal(err)
	}
	err := ev.SetChannel(ctx, client.ChannelRequest{Name: "members", Secret: "open sesame", Labels: []string{"A-2-1", "A-2-2"}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = ev.Hold(ctx, client.HoldRequest{Labels: []string{"A-2-1"}, Buyer: "eve"})
	fmt.Println("a stranger:", client.StatusOf(err))

	hold, err := ev.Hold(ctx, client.HoldRequest{Labels: []string{"A-2-1", "A-2-2"}, Buyer: "ada", Channel: "open sesame"})
	if err != nil {
		log.Fatal(err)
	}
	if err := hold.Confirm(ctx); err != nil {
		log.Fatal(err)
	}

	booking := ev.Booking(hold.ID())
	seats, err := booking.Exchange(ctx, client.ExchangeRequest{GiveLabels: []string{"A-2-2"}, TakeLabels: []string{"A-2-3"}})
	if err != nil {
		log.Fatal(err)
	}
	labels, _ := ev.Labels(ctx, seats...)
	fmt.Println("after the exchange:", labels)

	freed, err := booking.Cancel(ctx, client.SeatsRequest{Labels: []string{"A-2-3"}})
	if err != nil {
		log.Fatal(err)
	}
	labels, _ = ev.Labels(ctx, freed...)
	fmt.Println("cancelled:", labels)
	// Output:
	// a stranger: channel_required
	// after the exchange: [A-2-1 A-2-3]
	// cancelled: [A-2-3]
}

// A worker that has only a hold's id and fence goes on with it.
func ExampleEvent_ResumeHold() {
	c, stop := connect()
	defer stop()
	ctx := context.Background()
	ev := theatre(ctx, c, "resume")

	hold, err := ev.HoldArea(ctx, client.AreaRequest{Area: "Floor", Count: 3, Buyer: "ada"})
	if err != nil {
		log.Fatal(err)
	}
	id, fence := hold.ID(), hold.Fence() // to a session, a queue, another machine

	resumed := ev.ResumeHold(id, fence)
	if err := resumed.Extend(ctx, 5*time.Minute); err != nil {
		log.Fatal(err)
	}
	if err := resumed.Release(ctx, resumed.Seats()[0]); err != nil { // one friend is ill
		log.Fatal(err)
	}
	if err := resumed.Confirm(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("booked", len(resumed.Booked()), "places")
	fmt.Println("with another fence:", client.StatusOf(ev.ResumeHold(id, fence+1).Confirm(ctx)))
	// Output:
	// booked 2 places
	// with another fence: fence_mismatch
}

// A gateway keeps many requests in flight on one connection.
func ExamplePipe() {
	c, stop := connect()
	defer stop()
	ctx := context.Background()
	ev := theatre(ctx, c, "pipe")

	pipe, err := client.DialPipe(ctx, address(c), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer pipe.Close()
	now := ev.Now()
	for i := range 6 {
		hold := wire.Hold{
			Mutation: wire.Mutation{Event: ev.ID(), ID: wire.NewID(now, [10]byte{byte(i)})},
			Seats:    wire.MakeSeatList(wire.SeatID(i), wire.SeatID((i+1)%6)),
		}
		header := wire.Header{Kind: wire.KindHold, Request: uint64(i)}
		pipe.End(header, hold.Append(pipe.Begin()))
	}
	if err := pipe.Flush(); err != nil { // one write
		log.Fatal(err)
	}
	granted := 0
	for range 6 {
		header, _, err := pipe.Next()
		if err != nil {
			log.Fatal(err)
		}
		if header.Status == wire.StatusOK {
			granted++
		}
	}
	fmt.Println("granted", granted, "of 6")
	// Output:
	// granted 3 of 6
}
