package onsale

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A lane plays a part of the crowd: every lanes-th user. Its sender wakes users
// when their time comes and asks for them over the lane's links; the links'
// readers take the answers.
type lane struct {
	run   *run
	index int
	wake  chan struct{} // capacity 1: answers have come

	mu    sync.Mutex // guards what follows, and the crowd's entries of the lane's users
	wheel *wheel
	due   []batch // users who woke and have not asked yet, the earliest first
	again []slot  // requests to be made once more, before others
	pause time.Duration
	links []*link // by node
	meter *meter
	tally tally
	heard time.Duration // when the last answer came
}

// A batch is a list of users who woke in one millisecond.
type batch struct {
	head uint32
	at   int
}

// A tally counts what becomes of users.
type tally struct {
	arrived, tickets, turnedAway, gaveUp, saidGoodbye, noShows, unmet, lapsed, watching, soldOut int64
}

func (t *tally) add(o *tally) {
	t.arrived += o.arrived
	t.tickets += o.tickets
	t.turnedAway += o.turnedAway
	t.gaveUp += o.gaveUp
	t.saidGoodbye += o.saidGoodbye
	t.noShows += o.noShows
	t.unmet += o.unmet
	t.lapsed += o.lapsed
	t.watching += o.watching
	t.soldOut += o.soldOut
}

func newLane(r *run, index int) *lane {
	l := &lane{run: r, index: index, wake: make(chan struct{}, 1), meter: newMeter(r.end)}
	l.wheel = newWheel(r.crowd.next, int(r.end/time.Millisecond))
	for user := index; user < r.s.Users; user += lanes {
		l.wheel.add(uint32(user), int(r.habits.arrives(uint32(user))/time.Millisecond))
	}
	return l
}

// poke tells the sender that it may go on.
func (l *lane) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// againAfter is how long a request waits that is to be made once more.
const againAfter = 20 * time.Millisecond

// play sends until the run is over, and then until everything is answered.
func (l *lane) play(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := l.run.now()
		l.mu.Lock()
		for {
			head, at, ok := l.wheel.take(int(now / time.Millisecond))
			if !ok {
				break
			}
			l.due = append(l.due, batch{head, at})
		}
		stuck := l.send(now)
		late := now > l.run.end
		done := late && len(l.due) == 0 && len(l.again) == 0 && l.unanswered() == 0
		done = done || late && now > max(l.heard, l.run.end)+drainTime
		links := l.links
		l.mu.Unlock()
		for _, k := range links {
			k.flush()
		}
		if done {
			return
		}
		next := now.Truncate(pace) + pace - l.run.now()
		timer.Reset(max(next, 0))
		if !stuck && next <= 0 {
			continue
		}
		select {
		case <-timer.C:
		case <-l.stuckWake(stuck):
		case <-ctx.Done():
			return
		}
	}
}

// stuckWake is what tells that slots are free, if that is what the sender waits
// for.
func (l *lane) stuckWake(stuck bool) <-chan struct{} {
	if stuck {
		return l.wake
	}
	return nil
}

func (l *lane) unanswered() int {
	n := 0
	for _, k := range l.links {
		n += k.open
	}
	return n
}

// flush sends what was put, unless the connection has gone. Only the lane's
// sender calls it.
func (k *link) flush() {
	k.lane.mu.Lock()
	pipe, down := k.pipe, k.down
	k.lane.mu.Unlock()
	if !down {
		_ = pipe.Flush() // the reader sees that it has ended
	}
}

// send asks for whoever is due, as long as there are slots. true: it could not go
// on.
func (l *lane) send(now time.Duration) (stuck bool) {
	if len(l.again) > 0 && now >= l.pause {
		list := l.again
		l.again = nil
		for i, s := range list {
			if !l.ask(s, now) {
				l.again = append(l.again, list[i:]...)
				return true
			}
		}
	}
	for len(l.due) > 0 {
		b := &l.due[0]
		for b.head != 0 {
			user := b.head - 1
			next := l.run.crowd.next[user]
			if !l.step(user, b.at, now) {
				return true
			}
			b.head = next
		}
		l.due = l.due[1:]
	}
	return false
}

// link finds where to ask: an event's leader for what changes something or needs
// the latest, any node for the queue's state. nil: there is no free slot.
func (l *lane) link(user uint32, o op) *link {
	at := int(l.run.event(user).node.Load())
	if o == opQueue {
		at = int(user>>2) % len(l.links)
	}
	for range l.links {
		k := l.links[at%len(l.links)]
		if !k.down {
			if k.free == noSlot {
				return nil
			}
			return k
		}
		at++
	}
	return nil
}

// ask puts a request on its link; false if there is no free slot.
func (l *lane) ask(s slot, now time.Duration) bool {
	k := l.link(s.user, s.op)
	if k == nil {
		return false
	}
	ev := l.run.event(s.user)
	var flags wire.Flags
	if s.sent == 0 {
		s.sent = now
		if s.op.changes() {
			s.id = l.run.newID(ev, s.user, s.op, s.due)
		}
	} else if s.repeat {
		flags = wire.FlagRepeat
	}
	k.put(s, flags, func(b []byte) []byte { return l.body(b, ev, &s) })
	return true
}

// body appends the body of a request.
func (l *lane) body(b []byte, ev *event, s *slot) []byte {
	m := wire.Mutation{Event: ev.id, ID: s.id}
	var text [64]byte
	switch s.op {
	case opJoin:
		join := wire.Join{Mutation: m, Count: 1}
		return join.Append(b)
	case opQuit:
		quit := wire.Quit{Mutation: m, Token: l.run.ticket(text[:0], s.user)}
		return quit.Append(b)
	case opPlace:
		ref := wire.TicketRef{Event: ev.id, Ticket: l.run.ticket(text[:0], s.user)}
		return ref.Append(b)
	}
	ref := wire.EventRef{Event: ev.id}
	return ref.Append(b)
}

// answer takes the answer to a request that came over a link.
func (l *lane) answer(s slot, h wire.Header, body []byte, now time.Duration) error {
	l.heard = now
	if !h.Status.Decided() {
		l.meter.failed(s.op, h.Status)
		if h.Status == wire.StatusMoved {
			l.run.moved(l.run.event(s.user), string(body))
		}
		if h.Status == wire.StatusUnknown {
			l.mayBeApplied(&s)
		}
		l.repeat(s, now)
		return nil
	}
	a := answer{status: h.Status}
	if err := decode(s.op, body, &a); err != nil {
		return fmt.Errorf("answer to %v: %w", s.op, err)
	}
	switch h.Status {
	case wire.StatusIDAhead, wire.StatusLate, wire.StatusTooOld:
		l.meter.failed(s.op, h.Status)
		s.sent = 0 // it has done nothing, and gets a new id
		l.repeat(s, now)
		return nil
	}
	l.meter.answered(s.op, false, s.due, now)
	return l.settle(s.user, s.op, &a, s.sent, now)
}

// mayBeApplied notes that nobody knows what became of an attempt. A join gets another
// number when it is asked again, because nodes gather joins: it is a new one.
func (l *lane) mayBeApplied(s *slot) {
	if s.op != opJoin {
		s.repeat = true
		return
	}
	s.sent = 0
	l.run.lostJoins.Add(1)
}

// repeat asks once more, a moment later.
func (l *lane) repeat(s slot, now time.Duration) {
	if len(l.again) == 0 {
		l.pause = now + againAfter
	}
	l.again = append(l.again, s)
}

// decode reads the body of an answer that decided.
func decode(o op, body []byte, a *answer) error {
	if a.status != wire.StatusOK {
		return nil
	}
	switch o {
	case opJoin:
		return decodeJoin(body, a)
	case opPlace:
		var p wire.QueuePlace
		if err := p.Decode(body); err != nil {
			return err
		}
		a.place, a.number, a.early = p.State, p.Number, p.Entry
	case opQueue:
		var q wire.QueueInfo
		if err := q.Decode(body); err != nil {
			return err
		}
		a.state = q.State
	}
	return nil
}

// decodeJoin reads a wire.Tickets with one ticket, without allocating.
func decodeJoin(body []byte, a *answer) error {
	const fixed = 8 + 8 + 2 + 1 + 8 + 2 // room, now, count, kind, number, length
	if len(body) < fixed || binary.LittleEndian.Uint16(body[16:]) != 1 {
		return fmt.Errorf("no single ticket in %d bytes", len(body))
	}
	a.early = body[18] == 1
	a.number = binary.LittleEndian.Uint64(body[19:])
	a.token = body[fixed:]
	if n := binary.LittleEndian.Uint16(body[27:]); int(n) != len(a.token) {
		return fmt.Errorf("a ticket of %d bytes in %d", n, len(a.token))
	}
	return nil
}
