package client

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// BenchmarkHold measures holds of many goroutines over the shared connections,
// against a node that does nothing.
func BenchmarkHold(b *testing.B) {
	for _, p := range []int{1, 64, 512} {
		b.Run(map[int]string{1: "alone", 64: "64", 512: "512"}[p], func(b *testing.B) {
			c, err := Dial(b.Context(), []string{echoNode(b, granted())}, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			ev := newEvent(c, "bench")
			ev.id = 1
			ev.clock.learn(1, c.base, c.base)
			ev.route.Store(&route{c.everyNode()[0]})
			seats := []wire.SeatID{1, 2}
			ctx := context.Background()
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan error)
			for range p {
				go func() {
					for left.Add(-1) >= 0 {
						if _, err := ev.Hold(ctx, HoldRequest{Seats: seats}); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range p {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
