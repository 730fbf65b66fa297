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
	// maxList bounds the events of one EventList.
	maxList = 1000
)

// Directory is the replicated state. All methods but Table and Hash belong to
// the goroutine that applies the log.
type Directory struct {
	published atomic.Pointer[Table]
	sum       atomic.Uint64 // what Hash says

	applied uint64       // index of the last entry
	changed uint64       // index of the last entry that changed something
	stamp   wire.Millis  // of the last entry
	next    wire.EventID // that will be issued
	draft   draft
	memory  memory
	events  uint64 // sum of the hashes of the events
	keys    uint64 // hash of the API keys
	scratch []byte // an answer under construction
	said    saying // answers that wait for the entry's end
}

// New is an empty directory, without a cluster.
func New() *Directory {
	d := &Directory{next: 1, draft: newDraft(), memory: newMemory()}
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

// decide answers an operation that was decided before as it was answered then,
// refuses one that is too late, and otherwise decides and remembers it.
func (d *Directory) decide(r wire.Record) (wire.Status, []byte) {
	m, err := wire.ParseMutation(r.Body)
	if err != nil {
		return wire.StatusBadRequest, []byte(err.Error())
	}
	if !m.ID.Valid() {
		return wire.StatusBadRequest, []byte("the request's id is not a UUID of version 7 or 8")
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

// Read answers locate and list from what has been applied.
func (d *Directory) Read(q wire.Record, out func(s wire.Status, body []byte)) {
	out(d.draft.Table.Answer(q, d.scratch[:0]))
}

// Answer answers KindLocate and KindEvents, appending the body to dst. The node
// fills in what the directory does not know: shard time and leader.
func (t *Table) Answer(q wire.Record, dst []byte) (wire.Status, []byte) {
	switch q.Kind {
	case wire.KindLocate:
		var key wire.Key
		if err := key.Decode(q.Body); err != nil {
			return wire.StatusBadFrame, append(dst, err.Error()...)
		}
		e := t.Find(string(key.Key))
		if e == nil {
			return wire.StatusUnknownEvent, dst
		}
		return wire.StatusOK, (&wire.Location{Event: e.ID, Shard: e.Shard}).Append(dst)
	case wire.KindEvents:
		var query wire.EventsQuery
		if err := query.Decode(q.Body); err != nil {
			return wire.StatusBadFrame, append(dst, err.Error()...)
		}
		return wire.StatusOK, t.list(query, dst)
	}
	return wire.StatusUnknownKind, append(dst, "the directory does not answer this kind"...)
}

func (t *Table) list(q wire.EventsQuery, dst []byte) []byte {
	limit := int(q.Limit)
	if limit == 0 || limit > maxList {
		limit = maxList
	}
	var l wire.EventList
	for e := range t.After(string(q.After)) {
		if len(l.Entries) == limit {
			break
		}
		l.Entries = append(l.Entries, wire.EventEntry{Key: []byte(e.Key), Event: e.ID, Shard: e.Shard})
	}
	return l.Append(dst)
}

// NextDue is never: nothing in the directory happens by itself.
func (d *Directory) NextDue() wire.Millis { return wire.Never }

// Hash is the same on replicas with the same history. Safe on any goroutine.
func (d *Directory) Hash() uint64 { return d.sum.Load() }

// hash mixes running sums, so that it costs the same for any number of events.
func (d *Directory) hash() uint64 {
	b := append(make([]byte, 0, 80), d.draft.cluster[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.next))
	b = binary.LittleEndian.AppendUint64(b, uint64(d.stamp))
	b = binary.LittleEndian.AppendUint64(b, d.events)
	b = binary.LittleEndian.AppendUint64(b, d.memory.sum)
	b = binary.LittleEndian.AppendUint64(b, d.keys)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(d.draft.loads)))
	return xxhash.Sum64(b)
}
