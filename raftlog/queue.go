package raftlog

import "sync/atomic"

const (
	// maxQueueOps and maxQueueBytes bound what a group has taken and not yet put
	// into an entry. A batch beyond them is refused before anything is done for it.
	maxQueueOps   = 65_536
	maxQueueBytes = 16 << 20
)

// closedQueue at the head says that nothing is taken any more.
var closedQueue = new(Batch)

// A queue takes batches from any number of producers and gives all of them to
// one consumer. It is a stack that producers push onto with one compare-and-swap
// and that the consumer swaps for an empty one and reverses, so nobody ever
// waits for a lock. Pushing only needs the head to be the new batch's next, so a
// head that was taken, recycled and pushed again in between does no harm.
//
// What is queued counts until the consumer calls done, which it does when the
// batches are in an entry: a consumer that has swapped but cannot propose yet
// does not make room.
type queue struct {
	head atomic.Pointer[Batch]
	_    [56]byte // producers write both words: keep them on two cache lines

	// load is ops<<32 | bytes. Both are below their bounds at any time, because
	// room is taken by compare-and-swap and not added and taken back.
	load atomic.Uint64
	_    [56]byte
}

func loadOf(ops, bytes int) uint64 { return uint64(ops)<<32 | uint64(bytes) }

// reserve takes room for a batch; ok is false if there is none. worth tells that
// with it the queue has become worth an entry of its own.
func (q *queue) reserve(b *Batch) (worth, ok bool) {
	add := loadOf(len(b.tags), len(b.buf))
	for {
		old := q.load.Load()
		sum := old + add
		if sum>>32 > maxQueueOps || sum&(1<<32-1) > maxQueueBytes {
			return false, false
		}
		if q.load.CompareAndSwap(old, sum) {
			return worthEntry(sum) && !worthEntry(old), true
		}
	}
}

// worth reports whether there is enough for an entry of its own although
// another one is under way.
func (q *queue) worth() bool { return worthEntry(q.load.Load()) }

func worthEntry(load uint64) bool {
	return load>>32 >= maxEntryOps/2 || load&(1<<32-1) >= maxEntryBytes/2
}

// push adds a batch for which room was reserved. first tells that the queue was
// empty, so that the consumer must be woken; open is false if it is closed.
func (q *queue) push(b *Batch) (first, open bool) {
	for {
		old := q.head.Load()
		if old == closedQueue {
			return false, false
		}
		b.next = old
		if q.head.CompareAndSwap(old, b) {
			return old == nil, true
		}
	}
}

func (q *queue) empty() bool {
	head := q.head.Load()
	return head == nil || head == closedQueue
}

// take gives the consumer what is queued, the oldest first.
func (q *queue) take() *Batch {
	if q.empty() {
		return nil
	}
	return reverse(q.head.Swap(nil)) // only the consumer closes: there is a batch
}

// close lets no more batches in and gives the consumer the last ones.
func (q *queue) close() *Batch {
	if last := q.head.Swap(closedQueue); last != closedQueue {
		return reverse(last)
	}
	return nil
}

func reverse(b *Batch) (first *Batch) {
	for b != nil {
		next := b.next
		b.next, first = first, b
		b = next
	}
	return first
}

// done gives back the room of batches that left for an entry or were answered.
func (q *queue) done(ops, bytes int) { q.load.Add(-loadOf(ops, bytes)) }

// queued is the number of records and their bytes for which room is taken.
func (q *queue) queued() (ops, bytes int) {
	load := q.load.Load()
	return int(load >> 32), int(load & (1<<32 - 1))
}

// A batchList is a first-in-first-out list, owned by whoever holds it.
type batchList struct{ first, last *Batch }

func (l *batchList) empty() bool { return l.first == nil }

func (l *batchList) push(b *Batch) {
	b.next = nil
	if l.last == nil {
		l.first = b
	} else {
		l.last.next = b
	}
	l.last = b
}

func (l *batchList) pop() *Batch {
	b := l.first
	if l.first = b.next; l.first == nil {
		l.last = nil
	}
	b.next = nil
	return b
}
