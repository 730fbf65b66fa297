package server

import (
	"fmt"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/wire"
)

// ticketRoom is what a thousand tickets count towards a connection's MaxInFlight: an
// answer has 73 bytes for each.
const ticketRoom = 72

// visit handles what a visitor with a ticket asks. The reader reads the ticket, which
// takes a microsecond, and what the shard answers is the answer, but for the pass's
// token, which Node.complete adds. Only joins are answered by others: signing many
// tickets would hold the applier up.
func (c *conn) visit(l *lane, request uint64, place int, rule *kindRule, r wire.Record) {
	if r.Kind == wire.KindJoin {
		c.join(request, rule, r)
		return
	}
	if m, err := wire.ParseMutation(r.Body); r.Kind != wire.KindPlace && err == nil && !m.ID.Valid() {
		c.fail(request, place, r.Kind, wire.StatusBadFrame, fmt.Sprintf("id %v is not a UUID of version 7 or 8", m.ID))
		return
	}
	inner, fault := c.n.visit(r)
	if fault != nil {
		c.fail(request, place, r.Kind, fault.status, fault.text)
		return
	}
	mode := raftlog.Write
	switch r.Kind {
	case wire.KindPlace:
		mode = raftlog.Read
	case wire.KindAdmit:
		if body, early := notCalled(l.shard, l.now, inner, exactly); early {
			c.n.queue.early.Add(1)
			c.answer(request, place, r.Kind, wire.StatusNotCalled, body)
			return
		}
	}
	c.enqueue(l, mode, request, place, rule, r.Kind, inner)
}

// join hands a join to those who gather them.
func (c *conn) join(request uint64, rule *kindRule, r wire.Record) {
	w, err := readJoin(r)
	if err != nil {
		c.fail(request, 0, r.Kind, wire.StatusBadFrame, err.Error())
		return
	}
	room := min(int(rule.room)+ticketRoom*int(w.count)/wire.MaxJoins, c.n.cfg.MaxInFlight)
	if c.budget < room {
		c.answer(request, 0, r.Kind, wire.StatusOverloaded, nil)
		return
	}
	n, out := c.n, c.out
	w.done = func(s wire.Status, body []byte) {
		if int(s) < maxCounted {
			n.counters.answers[s].Add(1)
		}
		h := wire.Header{Body: len(body), Kind: wire.KindJoin, Flags: wire.FlagAnswer, Status: s, Request: request}
		out.deliver(append(h.Append(make([]byte, 0, wire.HeaderSize+len(body))), body...), room)
	}
	out.take(room)
	if s := n.joins.add(w); s != wire.StatusOK {
		w.done(s, nil)
		return
	}
	c.budget -= room
}

// readJoin reads a wire.Join.
func readJoin(r wire.Record) (join, error) {
	var j wire.Join
	if err := j.Decode(r.Body); err != nil {
		return join{}, err
	}
	switch {
	case !j.ID.Valid():
		return join{}, fmt.Errorf("id %v is not a UUID of version 7 or 8", j.ID)
	case j.Count < 1 || j.Count > wire.MaxJoins:
		return join{}, fmt.Errorf("a join is for 1 to %d tickets, not %d", wire.MaxJoins, j.Count)
	case len(j.Visitor) > 0 && j.Count != 1:
		return join{}, fmt.Errorf("a visitor who is named gets one ticket, not %d", j.Count)
	}
	w := join{op: j.Mutation, flags: r.Flags, count: j.Count, named: len(j.Visitor) > 0}
	if w.named {
		w.visitor = wire.Visitor(string(j.Visitor))
	}
	// A visitor who is named gets the same number again without help.
	w.alone = !w.named && (j.Count > 1 || r.Flags&wire.FlagRepeat != 0)
	return w, nil
}
