package raftlog

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// A counting state machine answers every operation with its body and keeps
// nothing, so that a benchmark measures the group and not the state.
type counting struct {
	index uint64
	ops   atomic.Uint64
}

func (c *counting) Apply(index uint64, _ wire.Millis, ops []byte, out func(i int, s wire.Status, body []byte)) {
	c.index = index
	n := 0
	for len(ops) > 0 {
		r, rest, err := wire.NextRecord(ops)
		if err != nil {
			panic(err)
		}
		if out != nil {
			out(n, wire.StatusOK, r.Body)
		}
		ops = rest
		n++
	}
	c.ops.Add(uint64(n))
}

func (c *counting) Read(q wire.Record, out func(s wire.Status, body []byte)) {
	out(wire.StatusOK, q.Body)
}
func (c *counting) NextDue() wire.Millis                           { return wire.Never }
func (c *counting) Parts(yield func(id, changed uint64))           { yield(1, c.index) }
func (c *counting) EncodePart(dst []byte, _ uint64) ([]byte, bool) { return append(dst, 1), true }
func (c *counting) LoadPart(uint64, []byte) error                  { return nil }
func (c *counting) Start(uint64, wire.Millis) error                { return nil }
func (c *counting) Hash() uint64                                   { return c.ops.Load() }

// A window is a client that keeps a number of operations in flight.
type window struct {
	free   chan struct{} // one token per batch that may be under way
	batch  int
	left   atomic.Int64
	failed atomic.Int64
}

func (w *window) Outcome(_ uint64, _ uint32, s wire.Status, _ []byte) {
	if s != wire.StatusOK {
		w.failed.Add(1)
	}
	if w.left.Add(-1)%int64(w.batch) == 0 {
		w.free <- struct{}{}
	}
}

func (w *window) Flush() {}

// BenchmarkGroup: operations of 64 bytes through one group with one voter, with
// real stores on a real disk. ns/op is per operation.
func BenchmarkGroup(b *testing.B) {
	for _, size := range []struct{ clients, batch, depth int }{
		{1, 1, 1}, {64, 1, 1}, {16, 64, 1}, {4, 1024, 4}, {16, 512, 1},
	} {
		b.Run(fmt.Sprintf("clients=%d/batch=%d/depth=%d", size.clients, size.batch, size.depth), func(b *testing.B) {
			benchGroup(b, size.clients, size.batch, size.depth)
		})
	}
}

func benchGroup(b *testing.B, clients, batch, depth int) {
	n, err := Open(Options{Dir: b.TempDir(), NodeID: "n", Log: quiet(), Fatal: func(msg string) { panic(msg) }})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	g, err := n.StartGroup(GroupConfig{
		ID: 1, New: func() StateMachine { return new(counting) }, Publish: func(StateMachine) {},
		Bootstrap: true, Log: quiet(),
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := g.AwaitLeading(b.Context()); err != nil {
		b.Fatal(err)
	}
	record := wire.Record{Kind: wire.KindHold, Body: make([]byte, 64)}
	each := max(1, b.N/clients/batch)
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range clients {
		wg.Go(func() {
			w := &window{free: make(chan struct{}, depth), batch: batch}
			for range depth {
				w.free <- struct{}{}
			}
			for range each {
				<-w.free
				w.left.Add(int64(batch))
				t := g.NewBatch(Write, w)
				for i := range batch {
					t.Add(uint64(i), 0, record)
				}
				if s := g.Submit(t); s != wire.StatusOK {
					b.Error(s)
					return
				}
			}
			for range depth {
				<-w.free
			}
			if n := w.failed.Load(); n > 0 {
				b.Errorf("%d operations failed", n)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	s := g.Stats()
	b.ReportMetric(float64(s.Ops)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(s.Ops)/float64(s.Entries), "ops/entry")
}
