package raftlog

import (
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// A delivery hands the outcomes of one entry to those who wait for them. It
// belongs to the applier and is reused from entry to entry, with its two
// callbacks bound once, so that an outcome costs no allocation.
type delivery struct {
	f        *fsm
	decided  func(i int, s wire.Status, body []byte)
	answered func(s wire.Status, body []byte)

	writes batchList // those with records left, the current one first
	next   int       // record of the current batch that is decided next
	count  int       // records decided in this entry

	reader *Batch // whose query is being read
	asked  int    // its position in the batch
}

func (d *delivery) init(f *fsm) {
	d.f = f
	d.decided, d.answered = d.onDecided, d.onAnswered
}

// entry applies e, answers fl, and begins a reign if that is what the entry is
// for. The caller has claimed fl and holds the fsm's mutex.
func (d *delivery) entry(fl *flight, e entry, term uint64) {
	f := d.f
	d.writes, d.next, d.count = fl.writes, 0, 0
	f.sm.Apply(f.index, f.stamp, e.ops, d.decided)
	if d.count != e.count || !d.writes.empty() {
		f.fatal(fmt.Sprintf("entry %d: %d of %d records decided", f.index, d.count, e.count))
		return
	}
	f.show()
	if fl.barrier && fl.term == term {
		f.elected(f.clock.begin(term, f.stamp))
	}
	d.read(fl.reads)
	d.giveOut(fl.ready, term)
}

// onDecided is the outcome of the entry's i-th record.
func (d *delivery) onDecided(i int, s wire.Status, body []byte) {
	if i != d.count || d.writes.empty() {
		d.f.fatal(fmt.Sprintf("entry %d: record %d decided in place of record %d", d.f.index, i, d.count))
		return
	}
	d.count++
	b := d.writes.first
	b.to.Outcome(b.tags[d.next], b.aux[d.next], s, body)
	if d.next++; d.next == len(b.tags) {
		d.next = 0
		finish(d.writes.pop(), d.writes.first)
	}
}

// read asks the queries of the passengers, now that the entry is applied. It
// was proposed after they were submitted, and committed: whatever had been
// acknowledged by then, by whomever, is before it in the log.
func (d *delivery) read(list batchList) {
	for !list.empty() {
		b := list.pop()
		d.reader = b
		rest := b.buf
		for i := range b.tags {
			var q wire.Record
			var err error
			if q, rest, err = wire.NextRecord(rest); err != nil {
				d.f.fatal(fmt.Sprintf("batch that was built here cannot be read: %v", err))
				return
			}
			d.asked = i
			d.f.sm.Read(q, d.answered)
		}
		d.f.passengers.Add(uint64(len(b.tags)))
		finish(b, list.first)
	}
}

func (d *delivery) onAnswered(s wire.Status, body []byte) {
	d.reader.to.Outcome(d.reader.tags[d.asked], d.reader.aux[d.asked], s, body)
}

// giveOut hands out ready answers. They come from looks at the state as of the
// reign in which their batch was made; that this very term has committed an
// entry proposed after the looks proves that nobody else had led by then. After
// an entry of another term they may be stale, and are not given.
func (d *delivery) giveOut(list batchList, term uint64) {
	for !list.empty() {
		b := list.pop()
		if b.reign != term {
			d.f.notApplied.Add(uint64(len(b.tags)))
			b.answerAll(wire.StatusUnavailable)
			finish(b, list.first)
			continue
		}
		rest := b.buf
		for i, tag := range b.tags {
			r, more, err := wire.NextRecord(rest)
			if err != nil {
				d.f.fatal(fmt.Sprintf("batch that was built here cannot be read: %v", err))
				return
			}
			b.to.Outcome(tag, b.aux[i], r.Status, r.Body)
			rest = more
		}
		d.f.passengers.Add(uint64(len(b.tags)))
		finish(b, list.first)
	}
}

// finish ends a batch whose records are all answered. If the next one is for the
// same receiver, they share a flush.
func finish(b, next *Batch) {
	if next == nil || next.to != b.to {
		b.to.Flush()
	}
	b.Release()
}
