package server

import (
	"fmt"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/wire"
)

// maxRecordBody is the largest body that fits into a group's batch.
const maxRecordBody = raftlog.MaxBatchBytes - wire.RecordSize

// frames handles all complete frames that were read: one round. It returns an
// error if the stream has no next frame; the peer has been told.
func (c *conn) frames() error {
	c.begin()
	var broken error
	for broken == nil {
		rest := c.in[c.start:c.end]
		if len(rest) < wire.HeaderSize {
			break
		}
		h, err := wire.ParseHeader(rest, wire.MaxRequestBody)
		if err != nil {
			broken = c.lost(h, rest, err)
			break
		}
		size := wire.HeaderSize + h.Body
		if len(rest) < size {
			break
		}
		c.frame(h, rest[wire.HeaderSize:size])
		c.start += size
		if len(c.local) > maxLocal {
			c.sendLocal()
		}
	}
	c.submitAll()
	c.requests.flush(&c.n.counters.requests)
	c.answers.flush(&c.n.counters.answers)
	if c.early > 0 {
		c.n.counters.early.Add(c.early)
		c.early = 0
	}
	c.sendLocal()
	return broken
}

// lost answers a frame after which nobody knows where the next one begins.
func (c *conn) lost(h wire.Header, rest []byte, err error) error {
	status := wire.StatusBadFrame
	if announced := int64(rest[0]) | int64(rest[1])<<8 | int64(rest[2])<<16 | int64(rest[3])<<24; announced > maxFrame-4 {
		status = wire.StatusTooLarge
	}
	c.answer(h.Request, 0, h.Kind, status, []byte(err.Error()+"; the connection ends here"))
	return err
}

// begin looks up what holds for a round.
func (c *conn) begin() {
	c.heard.Store(c.round)
	if t := c.n.table(); t != c.table {
		c.table, c.lane = t, nil
		c.role, _ = c.n.roleIn(t, c.key) // a key that was dropped has no role any more
	}
	if set := c.n.groups.Load(); set != c.groups || len(c.lanes) <= c.table.Shards() {
		c.regroup(set, c.table.Shards())
	}
	c.budget = c.n.cfg.MaxInFlight - c.out.room()
	c.stopping = c.n.stopping.Load()
	c.diskLow = c.n.store.DiskLow()
}

// frame handles one frame. body is part of the read buffer.
func (c *conn) frame(h wire.Header, body []byte) {
	rule := &kindRules[h.Kind]
	c.requests.count(&c.n.counters.requests, int(h.Kind))
	if h.Flags&(wire.FlagAnswer|wire.FlagCompressed) != 0 || h.Status != 0 {
		c.fail(h.Request, 0, h.Kind, wire.StatusBadFrame, "a request has no status, is no answer and is not compressed")
		return
	}
	switch {
	case c.role < rule.role:
		c.forbid(h.Request, 0, rule, h.Kind)
	case rule.way == wayPing:
		c.answer(h.Request, 0, h.Kind, wire.StatusOK, body)
	case rule.way == wayBatch:
		c.batch(h, body)
	default:
		c.handle(h.Request, 0, rule, wire.Record{Kind: h.Kind, Flags: h.Flags, Body: body})
	}
}

// batch takes a batch frame apart. Unless all its records can be read, none is
// handled.
func (c *conn) batch(h wire.Header, body []byte) {
	n := 0
	for rest := body; len(rest) > 0; n++ {
		r, after, err := wire.NextRecord(rest)
		if err == nil && (r.Status != 0 || r.Flags&(wire.FlagAnswer|wire.FlagCompressed) != 0) {
			err = fmt.Errorf("record %d has a status or the flags of an answer", n)
		}
		if err != nil {
			c.fail(h.Request, 0, h.Kind, wire.StatusBadFrame, err.Error())
			return
		}
		rest = after
	}
	if n > wire.MaxBatchOps {
		c.fail(h.Request, 0, h.Kind, wire.StatusTooLarge, fmt.Sprintf("a batch frame has at most %d records, this one has %d", wire.MaxBatchOps, n))
		return
	}
	if n == 0 {
		c.answer(h.Request, 0, h.Kind, wire.StatusOK, nil)
		return
	}
	c.gather = &gather{request: h.Request, missing: n, spans: make([][2]uint32, n)}
	for place := range n {
		r, after, err := wire.NextRecord(body)
		if err != nil {
			panic("server: a batch frame changed while it was read")
		}
		body = after
		c.requests.count(&c.n.counters.requests, int(r.Kind))
		rule := &kindRules[r.Kind]
		if !rule.record {
			c.fail(h.Request, place, r.Kind, wire.StatusUnknownKind, fmt.Sprintf("kind %d cannot be part of a batch frame", r.Kind))
			continue
		}
		c.handle(h.Request, place, rule, r)
	}
	c.gather = nil
}

// handle sends a request on its way. place is the record's in c.gather, if there
// is one.
func (c *conn) handle(request uint64, place int, rule *kindRule, r wire.Record) {
	switch {
	case rule.way == wayUnknown || rule.inner:
		c.fail(request, place, r.Kind, wire.StatusUnknownKind, fmt.Sprintf("kind %d is no request of this version of the protocol", r.Kind))
		return
	case c.role < rule.role:
		c.forbid(request, place, rule, r.Kind)
		return
	case c.stopping:
		c.answer(request, place, r.Kind, wire.StatusStopping, nil)
		return
	case rule.grows && c.diskLow:
		c.answer(request, place, r.Kind, wire.StatusDiskFull, nil)
		return
	}
	switch rule.way {
	case wayTable:
		c.lookup(request, place, rule, r)
	case wayDirectory:
		c.onDirectory(request, place, rule, r)
	default:
		c.onEvent(request, place, rule, r)
	}
}

func (c *conn) forbid(request uint64, place int, rule *kindRule, k wire.Kind) {
	if c.role == 0 {
		c.fail(request, place, k, wire.StatusUnauthorized, "the API key that this connection was opened with was dropped")
		return
	}
	c.fail(request, place, k, wire.StatusForbidden, fmt.Sprintf("this wants a key with the role %v, yours may only %v", rule.role, c.role))
}

// onDirectory puts an operation into the directory's log, with the name of the key
// that it came with.
func (c *conn) onDirectory(request uint64, place int, rule *kindRule, r wire.Record) {
	l := c.enter(&c.lanes[0])
	if !l.leads {
		c.elsewhere(l, request, place, r.Kind)
		return
	}
	if err := checkBody(r.Kind, r.Body); err != nil {
		c.fail(request, place, r.Kind, wire.StatusBadFrame, err.Error())
		return
	}
	c.enqueue(l, raftlog.Write, request, place, rule, r.Kind, signedBy(c.table.KeyName(c.key), r))
}

// elsewhere says who leads the lane's group, when this node does not.
func (c *conn) elsewhere(l *lane, request uint64, place int, k wire.Kind) {
	if addr := c.n.elsewhere(l.id); addr != "" {
		c.fail(request, place, k, wire.StatusMoved, addr)
		return
	}
	c.answer(request, place, k, wire.StatusUnavailable, nil)
}

// onEvent handles what the body's event decides.
func (c *conn) onEvent(request uint64, place int, rule *kindRule, r wire.Record) {
	id, ok := eventOf(r.Body)
	if !ok {
		c.fail(request, place, r.Kind, wire.StatusBadFrame, wire.ErrShort.Error())
		return
	}
	if c.lane == nil || id != c.event {
		e := c.table.Event(id)
		if e == nil && c.n.behind(c.table, id) {
			c.elsewhere(&c.lanes[0], request, place, r.Kind)
			return
		}
		if e == nil {
			c.answer(request, place, r.Kind, wire.StatusUnknownEvent, nil)
			return
		}
		c.event, c.lane = id, &c.lanes[e.Shard]
	}
	l := c.enter(c.lane)
	if rule.way == wayQuery && r.Flags&wire.FlagConsistent == 0 && l.g != nil {
		c.query(l, request, r)
		return
	}
	if !l.leads {
		c.elsewhere(l, request, place, r.Kind)
		return
	}
	switch rule.way {
	case wayHold:
		if r.Flags&wire.FlagRepeat == 0 && c.look(l, request, place, r) {
			return
		}
		c.operation(l, request, place, rule, r)
	case wayShard:
		if r.Kind == wire.KindSetRoom {
			seedRoom(r.Body)
		}
		c.operation(l, request, place, rule, r)
	case wayVisit:
		c.visit(l, request, place, rule, r)
	case wayRead, wayQuery:
		if err := checkQuery(r.Kind, r.Body); err != nil {
			c.fail(request, place, r.Kind, wire.StatusBadFrame, err.Error())
			return
		}
		c.enqueue(l, raftlog.Read, request, place, rule, r.Kind, r)
	}
}

// look answers a hold that the committed seats rule out already.
func (c *conn) look(l *lane, request uint64, place int, r wire.Record) (answered bool) {
	if !l.sole {
		c.board(l)
	}
	at := len(c.local)
	b := append(c.local, make([]byte, wire.HeaderSize)...)
	status, b, decided := l.shard.Look(r, l.now, b)
	c.local = b[:at]
	if !decided {
		return false
	}
	body := b[at+wire.HeaderSize:]
	switch {
	case !l.sole && c.budget < 1:
		c.answer(request, place, r.Kind, wire.StatusOverloaded, nil)
	case !l.sole:
		c.add(l, raftlog.Ready, request, place, r.Kind, wire.Record{Kind: r.Kind, Status: status, Body: body}, 1)
	case c.gather != nil:
		c.answer(request, place, r.Kind, status, body)
	default:
		c.answers.count(&c.n.counters.answers, int(status))
		wire.Header{Body: len(body), Kind: r.Kind, Flags: wire.FlagAnswer, Status: status, Request: request}.Put(b[at:])
		c.local = b
	}
	c.early++
	return true
}

// operation puts an operation into its group's log.
func (c *conn) operation(l *lane, request uint64, place int, rule *kindRule, r wire.Record) {
	if err := checkBody(r.Kind, r.Body); err != nil {
		c.fail(request, place, r.Kind, wire.StatusBadFrame, err.Error())
		return
	}
	c.enqueue(l, raftlog.Write, request, place, rule, r.Kind, r)
}

// enqueue adds a record to the lane's batch, within the connection's limit. kind is
// that of the request, which r may be wrapped around.
func (c *conn) enqueue(l *lane, m raftlog.Mode, request uint64, place int, rule *kindRule, kind wire.Kind, r wire.Record) {
	room := min(int(rule.room), c.n.cfg.MaxInFlight)
	switch {
	case len(r.Body) > maxRecordBody:
		c.fail(request, place, kind, wire.StatusTooLarge, fmt.Sprintf("a request of this kind has at most %d bytes, this one has %d", maxRecordBody, len(r.Body)))
	case c.budget < room:
		c.answer(request, place, kind, wire.StatusOverloaded, nil)
	default:
		c.add(l, m, request, place, kind, r, room)
	}
}

// lookup answers from the routing table, or places the question in the
// directory's log if it must see all that was acknowledged before it.
func (c *conn) lookup(request uint64, place int, rule *kindRule, r wire.Record) {
	if r.Flags&wire.FlagConsistent != 0 {
		l := c.enter(&c.lanes[0])
		if !l.leads {
			c.elsewhere(l, request, place, r.Kind)
			return
		}
		c.enqueue(l, raftlog.Read, request, place, rule, r.Kind, r)
		return
	}
	if r.Kind == wire.KindLocate {
		status, body := c.table.Answer(r, nil)
		c.answer(request, place, r.Kind, status, c.n.complete(r.Kind, status, body))
		return
	}
	at := c.reserve()
	status, b := c.table.Answer(r, c.local)
	c.finish(b, at, request, place, r.Kind, status)
}

// query answers from the shard's memory.
func (c *conn) query(l *lane, request uint64, r wire.Record) {
	if err := checkQuery(r.Kind, r.Body); err != nil {
		c.fail(request, 0, r.Kind, wire.StatusBadFrame, err.Error())
		return
	}
	at := c.reserve()
	status, b := l.shard.Query(r, l.now, c.local)
	if status == wire.StatusUnknownEvent && !l.leads {
		c.local = b[:at] // the event has just come to the shard, and not yet to this replica
		c.elsewhere(l, request, 0, r.Kind)
		return
	}
	markAge(r.Kind, status, b[at+wire.HeaderSize:], l.g.log.Age())
	c.finish(b, at, request, 0, r.Kind, status)
}

// reserve makes room for a header in local and returns where.
func (c *conn) reserve() (at int) {
	at = len(c.local)
	c.local = append(c.local, make([]byte, wire.HeaderSize)...)
	return at
}

// finish completes the answer whose body was appended to b after the header
// reserved at at.
func (c *conn) finish(b []byte, at int, request uint64, place int, k wire.Kind, s wire.Status) {
	body := b[at+wire.HeaderSize:]
	if c.gather != nil {
		c.local = b[:at]
		c.answer(request, place, k, s, body)
		return
	}
	c.answers.count(&c.n.counters.answers, int(s))
	flags := wire.FlagAnswer
	if len(body) >= minPacked && c.packing != wire.CompressNone {
		if packed, ok := c.n.packers.pack(c.packing, body); ok {
			b = append(b[:at+wire.HeaderSize], packed...)
			body = b[at+wire.HeaderSize:]
			flags |= wire.FlagCompressed
		}
	}
	wire.Header{Body: len(body), Kind: k, Flags: flags, Status: s, Request: request}.Put(b[at:])
	c.local = b
}

// fail answers with a text.
func (c *conn) fail(request uint64, place int, k wire.Kind, s wire.Status, text string) {
	c.answer(request, place, k, s, []byte(text))
}

// answer answers on the spot.
func (c *conn) answer(request uint64, place int, k wire.Kind, s wire.Status, body []byte) {
	c.answers.count(&c.n.counters.answers, int(s))
	if c.gather != nil {
		if done := c.gather.answer(c.n, place, k, s, body); done {
			c.local = c.gather.append(c.local)
		}
		return
	}
	c.local = wire.Header{Body: len(body), Kind: k, Flags: wire.FlagAnswer, Status: s, Request: request}.Append(c.local)
	c.local = append(c.local, body...)
}
