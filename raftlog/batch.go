package raftlog

import (
	"sync"

	"github.com/usher-seats/usher/wire"
)

const (
	// MaxBatchOps bounds the records of a Batch.
	MaxBatchOps = 1024
	// MaxBatchBytes bounds the encoded records of a Batch: the largest operation
	// there is, a chunk of a manifest, fits, and an entry takes a whole batch.
	MaxBatchBytes = 192 << 10
	// MaxEntryRecords bounds the encoded records of a Batch that is made to be an
	// entry of its own. It has room for the records of any entry that was made of
	// batches within MaxBatchBytes, and what is to be said of them.
	MaxEntryRecords = maxEntryBytes - entryHeader
)

// Mode says what the records of a Batch are.
type Mode uint8

const (
	// Write: operations for the log, decided by Apply.
	Write Mode = iota
	// Read: queries, answered by StateMachine.Read right after an entry that was
	// proposed after Submit.
	Read
	// Ready: finished answers, status and body, given out once an entry proposed
	// after Submit is committed in the reign in which the batch was made.
	Ready
)

// A Receiver takes the outcomes of the batches addressed to it, on the applier's
// goroutine or, for failures, on one of the group's own. It may be called from
// several goroutines at once, if it submits to several groups or has several
// batches under way, and it must not block. Receivers are compared with ==, so
// they should be pointers.
type Receiver interface {
	// Outcome is one record's answer. body is only valid during the call.
	Outcome(tag uint64, aux uint32, s wire.Status, body []byte)
	// Flush follows the last Outcome of a batch, so that what was collected is
	// written once.
	Flush()
}

// A Batch carries records from one caller to one group. The caller owns it until
// Submit takes it; from then on the group does, and recycles it after the last
// answer.
type Batch struct {
	mode  Mode
	to    Receiver
	reign uint64 // the term in which the group led when the batch was made; 0: it did not

	buf  []byte   // encoded records
	tags []uint64 // per record, what the caller knows it by
	aux  []uint32

	next *Batch // in the queue, then in the batcher's lists and the entry's
}

var batchPool = sync.Pool{New: func() any { return new(Batch) }}

// NewBatch takes a batch from the pool, to be filled and submitted to g or
// released. The answers in a Ready batch must come from looks made after this
// call: they are given out only if the group led without interruption from here
// to the commit of the entry that carries them.
func (g *Group) NewBatch(m Mode, to Receiver) *Batch {
	b := batchPool.Get().(*Batch)
	b.mode, b.to, b.reign = m, to, g.Reign()
	return b
}

// Add copies r into the batch. tag and aux come back with its outcome. It
// panics if the record does not fit into an entry.
func (b *Batch) Add(tag uint64, aux uint32, r wire.Record) {
	if len(b.tags) == MaxBatchOps || len(b.buf)+wire.RecordSize+len(r.Body) > MaxEntryRecords {
		panic("raftlog: batch is full; ask Fits before Add")
	}
	b.buf = r.Append(b.buf)
	b.tags = append(b.tags, tag)
	b.aux = append(b.aux, aux)
}

// Fits reports whether a record with a body of n bytes still fits.
func (b *Batch) Fits(n int) bool {
	return len(b.tags) < MaxBatchOps && len(b.buf)+wire.RecordSize+n <= MaxBatchBytes
}

// Len is the number of records.
func (b *Batch) Len() int { return len(b.tags) }

// Bytes is the length of the encoded records.
func (b *Batch) Bytes() int { return len(b.buf) }

// Refuse answers every record with s and releases the batch. It is for batches
// that Submit has refused.
func (b *Batch) Refuse(s wire.Status) {
	b.answerAll(s)
	b.to.Flush()
	b.Release()
}

// answerAll gives every record the same outcome.
func (b *Batch) answerAll(s wire.Status) {
	for i, tag := range b.tags {
		b.to.Outcome(tag, b.aux[i], s, nil)
	}
}

// Release gives a batch that is not going to be submitted back to the pool.
func (b *Batch) Release() {
	b.to, b.next = nil, nil
	b.buf, b.tags, b.aux = b.buf[:0], b.tags[:0], b.aux[:0]
	batchPool.Put(b)
}
