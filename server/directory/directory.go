package directory

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

const (
	// MaxEvents bounds the events of a cluster.
	MaxEvents = 1 << 18
	// MaxKeys bounds the API keys of a cluster.
	MaxKeys = 1024
)

// firstNumber is where the cluster's counter starts. The first node is number 1.
const firstNumber = 2

// Directory is the replicated state. All methods but Table and Hash belong to
// the goroutine that applies the log.
type Directory struct {
	published atomic.Pointer[Table]
	sum       atomic.Uint64 // what Hash says

	applied uint64      // index of the last entry
	changed uint64      // index of the last entry that changed something
	stamp   wire.Millis // of the last entry
	counter uint64      // the next number of a node, replica, change of a shard, assignment or move
	draft   draft
	memory  memory
	events  uint64 // sum of the hashes of the events
	keys    uint64 // hash of the API keys
	layout  uint64 // hash of nodes, shards and signing keys
	audit   uint64 // sum of the hashes of the audit lines
	by      string // on whose behalf the operation under way is done
	wall    int64  // when it was asked for, Unix milliseconds
	scratch []byte // an answer under construction
	said    saying // answers that wait for the entry's end
}

// New is an empty directory, without a cluster.
func New() *Directory {
	d := &Directory{counter: firstNumber, draft: newDraft(), memory: newMemory()}
	d.setKeys(nil)
	d.relayout()
	d.publish()
	return d
}

// Table is what the directory knew after the last entry it applied. Safe on any
// goroutine.
func (d *Directory) Table() *Table { return d.published.Load() }

// Apply decides the records of one entry. Answers are given after the Table that
// they speak of is published: whoever has the answer to an assignment finds the
// event. An entry that the restored part already contains is skipped; nobody
// waits for its answers.
func (d *Directory) Apply(index uint64, stamp wire.Millis, ops []byte, out func(i int, s wire.Status, body []byte)) {
	if index <= d.applied {
		return
	}
	d.applied = index
	d.stamp = max(d.stamp, stamp)
	for i := 0; len(ops) > 0; i++ {
		r, rest, err := wire.NextRecord(ops)
		if err != nil {
			// raftlog checked the entry when it was proposed and raft its checksum:
			// a replica that goes on from here would differ from the others.
			panic(fmt.Sprintf("directory: entry %d, record %d: %v", index, i, err))
		}
		ops = rest
		status, body := d.decide(r)
		if out != nil {
			d.said.add(status, body)
		}
	}
	if d.draft.dirty {
		d.publish()
	}
	d.sum.Store(d.hash())
	d.said.give(out)
}

// saying holds the answers of an entry until they may be given.
type saying struct {
	statuses []wire.Status
	ends     []int // of the bodies in buf
	buf      []byte
}

func (s *saying) add(status wire.Status, body []byte) {
	s.buf = append(s.buf, body...)
	s.statuses = append(s.statuses, status)
	s.ends = append(s.ends, len(s.buf))
}

func (s *saying) give(out func(i int, s wire.Status, body []byte)) {
	begin := 0
	for i, end := range s.ends {
		out(i, s.statuses[i], s.buf[begin:end])
		begin = end
	}
	s.statuses, s.ends, s.buf = s.statuses[:0], s.ends[:0], s.buf[:0]
}

func (d *Directory) publish() {
	d.published.Store(d.draft.publish())
	d.sum.Store(d.hash())
}

// decide takes an operation out of its By, if it comes in one, and answers it.
func (d *Directory) decide(r wire.Record) (wire.Status, []byte) {
	d.by, d.wall = "", 0
	if r.Kind != wire.KindBy {
		return d.answer(r)
	}
	var by wire.By
	if err := by.Decode(r.Body); err != nil {
		return bad("%v", err)
	}
	inner, rest, err := wire.NextRecord(by.Record)
	switch {
	case err != nil:
		return bad("%v", err)
	case len(rest) > 0 || inner.Kind == wire.KindBy:
		return bad("one operation is done on somebody's behalf, not several")
	case len(by.Name) > wire.MaxKeyLen:
		return bad("the name of an API key has at most %d bytes, this one has %d", wire.MaxKeyLen, len(by.Name))
	}
	d.by, d.wall = string(by.Name), by.Wall
	return d.answer(inner)
}

// answer answers an operation that was decided before as it was answered then,
// refuses one that is too late, and otherwise decides and remembers it.
func (d *Directory) answer(r wire.Record) (wire.Status, []byte) {
	m, err := wire.ParseMutation(r.Body)
	if err != nil {
		return bad("%v", err)
	}
	if !m.ID.Valid() {
		return bad("the request's id is not a UUID of version 7 or 8")
	}
	digest := digestOf(r.Kind, r.Body)
	if a := d.memory.find(m.ID); a != nil {
		if a.digest != digest {
			return wire.StatusIDReused, nil
		}
		return a.status, a.body
	}
	if m.Deadline != 0 && d.stamp > m.Deadline {
		return wire.StatusLate, (&wire.Clock{Now: d.stamp}).Append(d.scratch[:0])
	}
	status, body := d.execute(r)
	if status == wire.StatusBadRequest || !status.Decided() {
		return status, body // nothing was decided, so the id is still free
	}
	d.memory.add(answer{id: m.ID, digest: digest, status: status, body: append([]byte(nil), body...)})
	d.changed = d.applied
	return status, body
}

// number issues the next number of the cluster's counter.
func (d *Directory) number() uint64 {
	n := d.counter
	d.counter++
	return n
}

// NextDue is never: nothing in the directory happens by itself.
func (d *Directory) NextDue() wire.Millis { return wire.Never }

// Hash is the same on replicas with the same history. Safe on any goroutine.
func (d *Directory) Hash() uint64 { return d.sum.Load() }

// hash mixes running sums, so that it costs the same for any number of events.
func (d *Directory) hash() uint64 {
	b := append(make([]byte, 0, 96), d.draft.cluster[:]...)
	for _, v := range [...]uint64{
		uint64(d.draft.next), uint64(d.stamp), d.counter, d.draft.version,
		d.events, d.memory.sum, d.keys, d.layout, d.audit,
	} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return xxhash.Sum64(b)
}

// relayout takes the sum of nodes, shards and signing keys anew, after one of
// them has changed.
func (d *Directory) relayout() { d.layout = xxhash.Sum64(appendLayout(nil, &d.draft.Table)) }
