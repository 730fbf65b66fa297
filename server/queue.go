package server

import (
	"crypto/rand"
	"sync/atomic"

	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

// What a visitor asks of a waiting room comes with a ticket. A node reads the
// ticket and asks the event's shard about the number in it, which any node can do:
// nobody remembers tickets. The signature only keeps made-up numbers out of the
// log; what a number is worth, Apply decides.

// queueCounters count what visitors of waiting rooms asked of this node. Any
// goroutine.
type queueCounters struct {
	joins    atomic.Uint64 // numbers given out
	issues   atomic.Uint64 // operations that this took
	admitted atomic.Uint64 // passes given out, repetitions included
	early    atomic.Uint64 // admissions answered "not called" from memory
	faults   atomic.Uint64 // tickets and passes refused because of what they are
}

// A visitFault is why a visitor's request goes no further: a status, with a text for
// people, or a token that is none.
type visitFault struct {
	status wire.Status
	text   string
	token  *tokenFault // nil: the token is not to blame
}

// readTicket reads a token that has to be a ticket.
func (n *Node) readTicket(text []byte) (token, *visitFault) {
	return n.checked(func(s *signer) (token, *tokenFault) { return s.ticket(text) })
}

// readPass reads a token that has to be a pass for the event.
func (n *Node) readPass(event wire.EventID, text []byte) (token, *visitFault) {
	now := n.now(event)
	return n.checked(func(s *signer) (token, *tokenFault) { return s.pass(now, text) })
}

// readToken reads a ticket or a pass.
func (n *Node) readToken(text []byte) (token, *visitFault) {
	return n.checked(func(s *signer) (token, *tokenFault) { return s.read(text) })
}

func (n *Node) checked(read func(*signer) (token, *tokenFault)) (token, *visitFault) {
	s := n.signer()
	if s == nil {
		return token{}, &visitFault{status: wire.StatusUnavailable}
	}
	t, fault := read(s)
	if fault == nil {
		return t, nil
	}
	n.queue.faults.Add(1)
	return t, &visitFault{wire.StatusBadRequest, fault.text, fault}
}

// visit makes of a visitor's request what is asked of the event's shard.
func (n *Node) visit(r wire.Record) (wire.Record, *visitFault) {
	switch r.Kind {
	case wire.KindAdmit:
		return n.visitAdmit(r)
	case wire.KindQuit:
		return n.visitQuit(r)
	case wire.KindPlace:
		return n.visitPlace(r)
	}
	return r, &visitFault{status: wire.StatusUnknownKind}
}

func unreadable(err error) *visitFault {
	return &visitFault{status: wire.StatusBadFrame, text: err.Error()}
}

func (n *Node) visitAdmit(r wire.Record) (wire.Record, *visitFault) {
	var a wire.Admit
	if err := a.Decode(r.Body); err != nil {
		return r, unreadable(err)
	}
	t, fault := n.readTicket(a.Ticket)
	op := wire.Redeem{Mutation: a.Mutation, Room: t.room, Number: t.number, Pass: wire.Pass(string(a.Ticket))}
	return wire.Record{Kind: wire.KindRedeem, Flags: r.Flags, Body: op.Append(nil)}, fault
}

func (n *Node) visitQuit(r wire.Record) (wire.Record, *visitFault) {
	var q wire.Quit
	if err := q.Decode(r.Body); err != nil {
		return r, unreadable(err)
	}
	t, fault := n.readToken(q.Token)
	op := wire.Leave{Mutation: q.Mutation, Room: t.room, Number: t.number}
	if t.kind == tokenPass {
		op.Number, op.Pass = 0, wire.PassID(t.number)
	}
	return wire.Record{Kind: wire.KindLeave, Flags: r.Flags, Body: op.Append(nil)}, fault
}

func (n *Node) visitPlace(r wire.Record) (wire.Record, *visitFault) {
	var p wire.TicketRef
	if err := p.Decode(r.Body); err != nil {
		return r, unreadable(err)
	}
	t, fault := n.readTicket(p.Ticket)
	ref := wire.PlaceRef{Event: p.Event, Room: t.room, Number: t.number}
	return wire.Record{Kind: wire.KindFindPlace, Flags: r.Flags, Body: ref.Append(nil)}, fault
}

// notCalled answers a Redeem of a number that has not been called, as far as this
// node knows, without the log: people who ask every second whether it is their turn
// are to cost a look at memory. As with a hold's early look it is a filter. Unlike
// there nothing waits for an entry: a node that is behind says "not yet" a moment
// too long, which takes nothing from anybody, and so does one that is asked for a
// number that was given back. margin is by how many numbers it may be behind.
func notCalled(s *shard.Shard, now wire.Millis, redeem wire.Record, margin func(*wire.RoomConfig) uint64) (body []byte, early bool) {
	var op wire.Redeem
	if op.Decode(redeem.Body) != nil {
		return nil, false
	}
	e := s.Event(op.Event)
	if e == nil {
		return nil, false
	}
	info := e.Queue()
	if info == nil || info.Room != op.Room || op.Number >= info.Issued {
		return nil, false // this node has not heard of it
	}
	place := wire.QueuePlace{State: wire.PlaceWaiting, Number: op.Number, Now: e.Now(now)}
	switch {
	case op.Number < info.Entries && !info.Drawn:
		place.Entry, place.Ahead = true, info.Entries
		return place.Append(nil), true
	case op.Number < info.Entries:
		d := wire.NewDraw(info.Seed, info.Entropy, info.Room, info.Entries)
		place.Number = d.Number(op.Number)
	}
	if place.Number < info.Serving+margin(&info.Config) {
		return nil, false
	}
	place.Ahead = place.Number - info.Serving
	return place.Append(nil), true
}

// exactly is the margin of a node that leads.
func exactly(*wire.RoomConfig) uint64 { return 0 }

// behindSeconds is by how much a replica that has heard of its leader lately may be
// behind, in seconds, as far as waiting rooms are concerned.
const behindSeconds = 2

// roughly is the margin of a node that follows.
func roughly(c *wire.RoomConfig) uint64 { return 1 + behindSeconds*uint64(c.Rate)/1000 }

// early is notCalled for a request that did not come over a connection.
func (n *Node) early(redeem wire.Record) (body []byte, early bool) {
	event, _ := eventOf(redeem.Body)
	e := n.table().Event(event)
	if e == nil {
		return nil, false
	}
	g := n.local(e.Shard)
	switch {
	case g == nil:
		return nil, false
	case g.log.Leading():
		body, early = notCalled(g.shard.Load(), g.log.Now(), redeem, exactly)
	case g.log.Age().Seconds() < behindSeconds/2:
		body, early = notCalled(g.shard.Load(), g.log.Now(), redeem, roughly)
	}
	if early {
		n.queue.early.Add(1)
	}
	return body, early
}

// admission adds the pass's token to an Admitted.
func (n *Node) admission(body []byte) []byte {
	var a wire.Admission
	s := n.signer()
	if s == nil || a.Admitted.Decode(body) != nil {
		return body
	}
	n.queue.admitted.Add(1)
	pass := token{kind: tokenPass, room: a.Admitted.Room, number: uint64(a.Admitted.Pass), expiry: a.Admitted.Deadline}
	a.Token = s.sign(nil, pass)
	return a.Append(nil)
}

// seedRoom writes a SetRoom's seed over what the client has sent there.
func seedRoom(body []byte) {
	if len(body) >= wire.SeedAt+32 {
		_, _ = rand.Read(body[wire.SeedAt : wire.SeedAt+32]) // never fails: crypto/rand ends the process instead
	}
}
