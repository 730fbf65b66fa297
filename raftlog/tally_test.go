package raftlog

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"

	"github.com/usher-seats/usher/wire"
)

// A tally is the state machine of the tests. It remembers every operation it
// has applied, with the stamp, in one of a few parts, so that after any history
// a test can say which operations were applied and how often. An operation may
// be given a time after which it is due, and is then ended.
type tally struct {
	mu    sync.Mutex // tests read while the applier writes
	parts map[uint64]*tallyPart
	index uint64
	stamp wire.Millis

	// Hooks of tests, called without mu.
	onApply  func(index uint64, stamp wire.Millis, ops int)
	onEncode func(id uint64)

	applies int // calls of Apply
}

type tallyPart struct {
	changed uint64 // index of the entry that last changed the part
	asOf    uint64 // entries up to here are in the part
	ops     map[uint64]tallyOp
}

type tallyOp struct {
	times uint64 // how often it was applied: 1, or something is wrong
	stamp wire.Millis
	due   wire.Millis // 0: never
	ended wire.Millis // stamp at which it was; 0: it was not
}

const (
	tallyParts  = 16
	tallyEndMax = 100 // ended per part and Apply at most
	tallyKind   = wire.KindHold
)

func newTally() *tally { return &tally{parts: make(map[uint64]*tallyPart)} }

// tallyRecord is an operation of the tests; after is the time until it is due,
// 0 if never.
func tallyRecord(op uint64, after wire.Millis) wire.Record {
	var body [16]byte
	binary.LittleEndian.PutUint64(body[:], op)
	binary.LittleEndian.PutUint64(body[8:], uint64(after))
	return wire.Record{Kind: tallyKind, Body: body[:]}
}

// tallyAnswer is what a tally answers an operation or a read with.
type tallyAnswer struct {
	index uint64
	stamp wire.Millis
	times uint64
}

func (a tallyAnswer) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, a.index)
	b = binary.LittleEndian.AppendUint64(b, uint64(a.stamp))
	return binary.LittleEndian.AppendUint64(b, a.times)
}

func parseTallyAnswer(b []byte) tallyAnswer {
	return tallyAnswer{
		index: binary.LittleEndian.Uint64(b),
		stamp: wire.Millis(binary.LittleEndian.Uint64(b[8:])),
		times: binary.LittleEndian.Uint64(b[16:]),
	}
}

func (t *tally) Apply(index uint64, stamp wire.Millis, ops []byte, out func(i int, s wire.Status, body []byte)) {
	n := 0
	for rest := ops; len(rest) > 0; n++ {
		_, rest, _ = wire.NextRecord(rest)
	}
	if t.onApply != nil {
		t.onApply(index, stamp, n)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if index <= t.index || stamp < t.stamp {
		panic(fmt.Sprintf("entry %d at %d after entry %d at %d", index, stamp, t.index, t.stamp))
	}
	t.applies++
	t.index, t.stamp = index, stamp
	t.endDue()
	var buf []byte
	for i := 0; i < n; i++ {
		var r wire.Record
		r, ops, _ = wire.NextRecord(ops)
		id := binary.LittleEndian.Uint64(r.Body)
		p := t.part(id % tallyParts)
		if p.asOf < index {
			op := p.ops[id]
			op.times++
			op.stamp = stamp
			if after := binary.LittleEndian.Uint64(r.Body[8:]); after > 0 {
				op.due = stamp + wire.Millis(after)
			}
			p.ops[id] = op
			p.changed = index
		}
		if out != nil {
			buf = tallyAnswer{index, stamp, p.ops[id].times}.append(buf[:0])
			out(i, wire.StatusOK, buf)
		}
	}
}

// endDue ends what is due, up to a number per part: a bound over all parts would
// depend on parts that are ahead of the entry when a log is replayed.
func (t *tally) endDue() {
	for id := range uint64(tallyParts) {
		p := t.parts[id]
		if p == nil || p.asOf >= t.index {
			continue
		}
		var due []uint64
		for id, op := range p.ops {
			if op.due != 0 && op.due <= t.stamp {
				due = append(due, id)
			}
		}
		slices.Sort(due)
		for _, id := range due[:min(len(due), tallyEndMax)] {
			op := p.ops[id]
			op.due, op.ended = 0, t.stamp
			p.ops[id] = op
			p.changed = t.index
		}
	}
}

func (t *tally) part(id uint64) *tallyPart {
	p := t.parts[id]
	if p == nil {
		p = &tallyPart{ops: make(map[uint64]tallyOp)}
		t.parts[id] = p
	}
	return p
}

func (t *tally) Read(q wire.Record, out func(s wire.Status, body []byte)) {
	op, _ := t.op(binary.LittleEndian.Uint64(q.Body))
	t.mu.Lock()
	answer := tallyAnswer{t.index, t.stamp, op.times}.append(nil)
	t.mu.Unlock()
	out(wire.StatusOK, answer)
}

// op is what became of an operation; false if it was never applied.
func (t *tally) op(id uint64) (tallyOp, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.parts[id%tallyParts]
	if p == nil {
		return tallyOp{}, false
	}
	op, ok := p.ops[id]
	return op, ok
}

func (t *tally) NextDue() wire.Millis {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := wire.Never
	for _, p := range t.parts {
		for _, op := range p.ops {
			if op.due != 0 {
				next = min(next, op.due)
			}
		}
	}
	return next
}

func (t *tally) Parts(yield func(id, changed uint64)) {
	for id, p := range t.parts {
		yield(id, p.changed)
	}
}

func (t *tally) EncodePart(dst []byte, id uint64) ([]byte, bool) {
	if t.onEncode != nil {
		t.onEncode(id)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.parts[id]
	if p == nil {
		return dst, false
	}
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, t.index)
	dst = le.AppendUint64(dst, p.changed)
	for _, op := range slices.Sorted(maps.Keys(p.ops)) {
		o := p.ops[op]
		dst = le.AppendUint64(dst, op)
		dst = le.AppendUint64(dst, o.times)
		dst = le.AppendUint64(dst, uint64(o.stamp))
		dst = le.AppendUint64(dst, uint64(o.due))
		dst = le.AppendUint64(dst, uint64(o.ended))
	}
	return dst, true
}

func (t *tally) LoadPart(id uint64, data []byte) error {
	le := binary.LittleEndian
	if len(data)%40 != 16 {
		return fmt.Errorf("part %d has %d bytes", id, len(data))
	}
	p := t.part(id)
	p.asOf, p.changed = le.Uint64(data), le.Uint64(data[8:])
	for data = data[16:]; len(data) > 0; data = data[40:] {
		p.ops[le.Uint64(data)] = tallyOp{
			times: le.Uint64(data[8:]),
			stamp: wire.Millis(le.Uint64(data[16:])),
			due:   wire.Millis(le.Uint64(data[24:])),
			ended: wire.Millis(le.Uint64(data[32:])),
		}
	}
	return nil
}

func (t *tally) Start(index uint64, stamp wire.Millis) error {
	t.index, t.stamp = index, stamp
	return nil
}

// Hash covers what the history has decided, in any order.
func (t *tally) Hash() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var sum uint64
	for _, p := range t.parts {
		for id, o := range p.ops {
			h := fnv.New64a()
			fmt.Fprint(h, id, o)
			sum += h.Sum64()
		}
	}
	return sum
}

// applied is the number of operations in the state.
func (t *tally) applied() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.parts {
		n += len(p.ops)
	}
	return n
}
