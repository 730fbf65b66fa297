package bench

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

const (
	fillers   = 64             // goroutines that take seats before a measurement
	fillSeats = 10             // seats of a hold that takes seats
	fillTTL   = 12 * time.Hour // longer than any run
)

// fill holds the seats in taken for longer than the run lasts.
func (s *stage) fill(ev *client.Event, taken []wire.SeatID) error {
	work := make(chan []wire.SeatID)
	errs := make(chan error, fillers)
	var wg sync.WaitGroup
	for range fillers {
		wg.Go(func() {
			var failed error
			for seats := range work {
				if failed == nil {
					_, failed = ev.Hold(s.ctx, client.HoldRequest{Seats: seats, TTL: fillTTL})
				}
			}
			errs <- failed
		})
	}
	for len(taken) > 0 {
		n := min(fillSeats, len(taken))
		work <- taken[:n]
		taken = taken[n:]
	}
	close(work)
	wg.Wait()
	for range fillers {
		if err := <-errs; err != nil {
			return fmt.Errorf("take seats: %w", err)
		}
	}
	return nil
}

// shuffled gives all seats of a bench event in random order.
func shuffled(r *rand.Rand, seats int) []wire.SeatID {
	ids := make([]wire.SeatID, seats)
	for i := range ids {
		ids[i] = seatID(i)
	}
	r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids
}
