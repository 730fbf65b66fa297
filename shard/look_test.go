package shard

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// TestLookSeesWholeExchanges: a booking swaps one seat for its neighbour in the
// same word, back and forth. Whoever asks for both, and for a third that is
// booked, loses that one and one of the two: at no time both or none.
func TestLookSeesWholeExchanges(t *testing.T) {
	d := newDriver(Config{})
	d.create(t, 1, benchManifest())
	booked := func(seats ...wire.SeatID) wire.ID {
		h := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seats: wire.MakeSeatList(seats...)}
		c := wire.OnHold{Mutation: wire.Mutation{Event: 1, ID: h.ID}, Fence: d.s.Event(1).Version() + 1}
		d.ops = nil
		d.add(wire.KindHold, h.Append(nil))
		d.add(wire.KindConfirm, c.Append(nil))
		d.apply(d.ops, func(_ int, s wire.Status, body []byte) {
			if s != wire.StatusOK {
				t.Fatalf("%v %s", s, body)
			}
		})
		return h.ID
	}
	booking := booked(0)
	booked(2)

	var stop atomic.Bool
	var looks atomic.Int64
	var reader sync.WaitGroup
	ask := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seats: wire.MakeSeatList(0, 1, 2)}
	body := ask.Append(nil)
	now := d.now
	reader.Go(func() {
		for !stop.Load() {
			_, answer, decided := d.s.Look(wire.Record{Kind: wire.KindHold, Body: body}, now, nil)
			var lost wire.SeatsLost
			if err := lost.Decode(answer); err != nil || !decided {
				t.Errorf("a seat is booked, and the look decides nothing: %v", err)
				return
			}
			if lost.Seats.Len() != 2 || lost.Seats.At(1) != 2 {
				t.Errorf("look %d says that %v are taken", looks.Load(), lost.Seats.IDs())
				return
			}
			looks.Add(1)
		}
	})
	const atOnce, least = 256, 300_000
	give, take := wire.SeatID(0), wire.SeatID(1)
	defer reader.Wait()
	defer stop.Store(true)
	for looks.Load() < least && !t.Failed() {
		d.ops = nil
		for range atOnce {
			x := wire.Exchange{
				Mutation: wire.Mutation{Event: 1, ID: d.id()}, Booking: booking,
				Give: wire.MakeSeatList(give), Take: wire.MakeSeatList(take),
			}
			d.add(wire.KindExchange, x.Append(nil))
			give, take = take, give
		}
		d.apply(d.ops, func(_ int, s wire.Status, body []byte) {
			if s != wire.StatusOK {
				t.Fatalf("%v %s", s, body)
			}
		})
	}
}
