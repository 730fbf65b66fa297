package raftlog

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/usher-seats/usher/wire"
)

func filledBatch(tag uint64, ops, body int) *Batch {
	b := new(Batch)
	for range ops {
		b.Add(tag, 0, wire.Record{Body: make([]byte, body)})
	}
	return b
}

func reserved(q *queue, b *Batch) bool {
	_, ok := q.reserve(b)
	return ok
}

// TestQueueOrder: the consumer gets each producer's batches in their order, each
// once, while producers go on, and a producer that found the queue empty says so.
func TestQueueOrder(t *testing.T) {
	const producers, each = 4, 5000
	var q queue
	var wakes atomic.Int64
	var wg sync.WaitGroup
	for p := range uint64(producers) {
		wg.Go(func() {
			for i := range uint64(each) {
				b := filledBatch(p<<32|i, 1, 0)
				for !reserved(&q, b) {
					runtime.Gosched()
				}
				if first, open := q.push(b); !open {
					t.Error("queue is closed")
				} else if first {
					wakes.Add(1)
				}
			}
		})
	}
	var next [producers]uint64
	var takes int64
	for got := 0; got < producers*each; {
		b := q.take()
		if b != nil {
			takes++
		}
		for ; b != nil; b = b.next {
			p, i := b.tags[0]>>32, b.tags[0]&(1<<32-1)
			if i != next[p] {
				t.Fatalf("producer %d: batch %d in place of %d", p, i, next[p])
			}
			next[p]++
			got++
			q.done(len(b.tags), len(b.buf))
		}
	}
	wg.Wait()
	if ops, bytes := q.queued(); ops != 0 || bytes != 0 {
		t.Errorf("empty queue counts %d operations, %d bytes", ops, bytes)
	}
	if wakes.Load() != takes {
		t.Errorf("%d times somebody was first, %d times something was there", wakes.Load(), takes)
	}
}

// TestQueueBounds: a batch beyond the bound in operations or bytes is refused
// and changes nothing; there is room again when the consumer is done.
func TestQueueBounds(t *testing.T) {
	for _, size := range []struct{ ops, body int }{{MaxBatchOps, 0}, {3, 60 << 10}} {
		var q queue
		b := filledBatch(1, size.ops, size.body)
		fit := min(maxQueueOps/b.Len(), maxQueueBytes/b.Bytes())
		for i := range fit {
			if !reserved(&q, b) {
				t.Fatalf("batch %d of %d refused", i, fit)
			}
		}
		if reserved(&q, b) {
			t.Errorf("batch beyond the bounds taken")
		}
		if ops, bytes := q.queued(); ops != fit*b.Len() || bytes != fit*b.Bytes() {
			t.Errorf("refusal changed the load: %d operations, %d bytes", ops, bytes)
		}
		q.done(b.Len(), b.Bytes())
		if !reserved(&q, b) {
			t.Errorf("no room after done")
		}
	}
}

// TestQueueClosed: the consumer that closes gets what was in, and nothing comes
// in any more.
func TestQueueClosed(t *testing.T) {
	var q queue
	q.push(filledBatch(1, 1, 0))
	q.push(filledBatch(2, 1, 0))
	last := q.close()
	if last == nil || last.tags[0] != 1 || last.next.tags[0] != 2 || last.next.next != nil {
		t.Fatalf("closing gave %+v", last)
	}
	if _, open := q.push(filledBatch(3, 1, 0)); open {
		t.Error("a closed queue takes batches")
	}
	if q.take() != nil || q.close() != nil || !q.empty() {
		t.Error("a closed queue gives batches")
	}
}

// TestBatchBounds: a batch takes as many records and bytes as it says.
func TestBatchBounds(t *testing.T) {
	b := filledBatch(1, MaxBatchOps, 0)
	if b.Fits(0) {
		t.Error("one record too many fits")
	}
	b = filledBatch(1, 1, MaxBatchBytes-wire.RecordSize)
	if b.Fits(0) || b.Bytes() != MaxBatchBytes {
		t.Error("one byte too many fits")
	}
	// What is an entry of its own may be larger, but not than an entry.
	b = filledBatch(1, 1, MaxEntryRecords-wire.RecordSize)
	defer func() {
		if recover() == nil {
			t.Error("Add takes what does not fit")
		}
	}()
	b.Add(2, 0, wire.Record{})
}

// BenchmarkQueue: a batch in and out again.
func BenchmarkQueue(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		var q queue
		batch := filledBatch(1, 1, 64)
		b.ReportAllocs()
		for b.Loop() {
			q.reserve(batch)
			q.push(batch)
			got := q.take()
			q.done(len(got.tags), len(got.buf))
		}
	})
	b.Run("producers", func(b *testing.B) {
		var q queue
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for !stop.Load() {
				got := q.take()
				if got == nil {
					runtime.Gosched()
				}
				for got != nil {
					next := got.next
					q.done(len(got.tags), len(got.buf))
					batchPool.Put(got)
					got = next
				}
			}
		})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				batch := batchPool.Get().(*Batch)
				if len(batch.tags) == 0 {
					batch.Add(1, 0, wire.Record{Body: make([]byte, 64)})
				}
				for !reserved(&q, batch) {
					runtime.Gosched()
				}
				q.push(batch)
			}
		})
		stop.Store(true)
		wg.Wait()
	})
}
