package server

import (
	"sync"

	"github.com/usher-seats/usher/wire"
)

// An outbox collects the answers to one submitted batch as frames, and gives
// them to the connection when the batch is done. It belongs to the reader until
// the batch is submitted, then to the goroutine that answers the batch. It is a
// raftlog.Receiver.
type outbox struct {
	c       *conn
	buf     []byte
	room    int       // of the requests in the batch
	gathers []*gather // batch frames that have records in the batch
	tally   tally
}

var outboxes = sync.Pool{New: func() any { return new(outbox) }}

// What a record's aux says: its kind, and for a record of a batch frame which of
// the outbox's gathers it belongs to, counted from 1, and its place there.
const (
	auxPlaceShift  = 8
	auxGatherShift = 18
	auxPlaceMask   = 1<<(auxGatherShift-auxPlaceShift) - 1
)

// aux makes a record's aux. g is nil for a frame of its own.
func (o *outbox) aux(k wire.Kind, g *gather, place int) uint32 {
	if g == nil {
		return uint32(k)
	}
	if len(o.gathers) == 0 || o.gathers[len(o.gathers)-1] != g {
		o.gathers = append(o.gathers, g)
	}
	return uint32(k) | uint32(place)<<auxPlaceShift | uint32(len(o.gathers))<<auxGatherShift
}

// Outcome appends the answer to one record.
func (o *outbox) Outcome(tag uint64, aux uint32, s wire.Status, body []byte) {
	kind := wire.Kind(aux)
	o.tally.count(&o.c.n.counters.answers, int(s))
	if g := aux >> auxGatherShift; g != 0 {
		o.gather(o.gathers[g-1], int(aux>>auxPlaceShift&auxPlaceMask), kind, s, body)
		return
	}
	body = o.c.n.complete(kind, s, body)
	o.buf = wire.Header{Body: len(body), Kind: kind, Flags: wire.FlagAnswer, Status: s, Request: tag}.Append(o.buf)
	o.buf = append(o.buf, body...)
}

func (o *outbox) gather(g *gather, place int, k wire.Kind, s wire.Status, body []byte) {
	if done := g.answer(o.c.n, place, k, s, body); done {
		o.buf = g.append(o.buf)
	}
}

// Flush hands everything to the connection.
func (o *outbox) Flush() {
	o.tally.flush(&o.c.n.counters.answers)
	o.c.out.deliver(o.buf, o.room)
	o.recycle()
}

// recycle gives the outbox back to the pool.
func (o *outbox) recycle() {
	buf := o.buf[:0]
	if cap(buf) > maxKept {
		buf = nil
	}
	clear(o.gathers)
	*o = outbox{buf: buf, gathers: o.gathers[:0]}
	outboxes.Put(o)
}

// A gather collects the answers to the records of one batch frame, which may
// come from several groups and from the reader.
type gather struct {
	request uint64

	mu      sync.Mutex
	missing int
	spans   [][2]uint32 // begin and end in buf, by the record's place
	buf     []byte      // answer records in the order they came
}

// answer takes one answer and reports whether it was the last.
func (g *gather) answer(n *Node, place int, k wire.Kind, s wire.Status, body []byte) (done bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	body = n.complete(k, s, body)
	begin := len(g.buf)
	g.buf = wire.Record{Kind: k, Flags: wire.FlagAnswer, Status: s, Body: body}.Append(g.buf)
	g.spans[place] = [2]uint32{uint32(begin), uint32(len(g.buf))}
	g.missing--
	return g.missing == 0
}

// append appends the frame with all answers, in the order of the requests.
func (g *gather) append(b []byte) []byte {
	b = wire.Header{Body: len(g.buf), Kind: wire.KindBatch, Flags: wire.FlagAnswer, Request: g.request}.Append(b)
	for _, s := range g.spans {
		b = append(b, g.buf[s[0]:s[1]]...)
	}
	return b
}

// complete puts into an answer what whoever gave it does not know: into a
// wire.Location the event's time and who leads its shard, into a wire.Admitted the
// pass's token. Other bodies are left as they are.
func (n *Node) complete(k wire.Kind, s wire.Status, body []byte) []byte {
	switch {
	case s != wire.StatusOK:
	case k == wire.KindAdmit:
		return n.admission(body)
	case k == wire.KindAssign || k == wire.KindLocate:
		return n.finishLocation(body)
	}
	return body
}

func (n *Node) finishLocation(body []byte) []byte {
	var l wire.Location
	if l.Decode(body) != nil {
		return body
	}
	if g := n.local(l.Shard); g != nil && g.log.Leading() {
		l.Now = g.eventNow(l.Event)
	} else {
		l.Leader = []byte(n.elsewhere(l.Shard))
	}
	return l.Append(nil)
}
