package shard

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

const (
	// maxExpiries bounds the holds of one event that expire in one Apply; the
	// rest does in the next. It is a bound per event and not per shard, because
	// what happens to an event must not depend on other events: after a restore
	// their parts may have been loaded from different places in the log.
	maxExpiries = 8192

	// maxAhead is how far an id may be ahead of its event's time, in milliseconds.
	maxAhead = 60_000

	// lastTime is the end of shard time, and of the time that an event may have
	// when it arrives, so that the sum of both fits the wheel.
	lastTime = maxTime/2 - wire.MaxRuleTime
)

// A request is an operation that is being decided.
type request struct {
	wire.Mutation
	kind   wire.Kind
	body   []byte
	event  *Event // nil if there is none
	fp     uint32 // of the id
	digest uint64 // of what is asked for
}

// Apply first ends what is due at stamp and then decides the operations in ops,
// a sequence of records, in order. Entries come in the order of their index; what
// an event was loaded from already contains some of them, and these pass it by.
// Time is the largest stamp so far.
//
// out, if not nil, is called once for each record, in order; body is valid only
// during the call. Records that are no operations, or cannot be read, are
// answered and change nothing. If a header is damaged there is no next record.
//
// In one Apply an event has at most 8,192 holds expire and forgets at most 1,024
// ids because of their age, and two for each operation on it.
func (s *Shard) Apply(index uint64, stamp wire.Millis, ops []byte, out func(i int, status wire.Status, body []byte)) {
	if index <= s.index {
		panic(fmt.Sprintf("shard: entry %d applied after entry %d", index, s.index))
	}
	if stamp > lastTime {
		panic(fmt.Sprintf("shard: stamp %d is beyond the end of time", stamp))
	}
	s.busy.Store(true)
	s.index = index
	s.stamp = max(s.stamp, stamp)
	s.wake()
	for i := 0; len(ops) > 0; i++ {
		r, rest, err := wire.NextRecord(ops)
		if err != nil {
			s.answer(out, i, wire.StatusBadRequest, []byte(err.Error()))
			break
		}
		status, body := s.decide(r)
		s.answer(out, i, status, body)
		ops = rest
	}
	s.settle()
	if s.index >= s.loadedTo {
		clear(s.loaded)
	}
	s.busy.Store(false)
	s.serveCopies()
}

func (s *Shard) answer(out func(int, wire.Status, []byte), i int, status wire.Status, body []byte) {
	if out != nil {
		out(i, status, body)
	}
}

// wake ends what is due.
func (s *Shard) wake() {
	for {
		e := s.agenda.first()
		if e == nil || e.due > s.stamp {
			break
		}
		s.agenda.remove(e)
		s.now = e.Now(s.stamp)
		s.touch(e)
		s.expire(e)
		s.advanceRoom(e)
		// Being here says nothing: due may have been too early, and then was not so
		// on other replicas.
		if s.forgetDue(e) <= s.now {
			s.forget(e, forgetPerApply)
		}
	}
	if s.stamp >= s.staleDue {
		s.sweep()
	}
}

// unwait puts events on the agenda that contain no entry after this one.
func (s *Shard) unwait() {
	still := s.waiting[:0]
	for _, e := range s.waiting {
		switch {
		case !e.Live():
		case e.loadedAt <= s.index:
			s.agenda.set(e, s.nextDue(e))
		default:
			still = append(still, e)
		}
	}
	clear(s.waiting[len(still):])
	s.waiting = still
}

// touch notes that the event may have become due at another time.
func (s *Shard) touch(e *Event) {
	if e.settled != s.index {
		e.settled = s.index
		s.settling = append(s.settling, e)
	}
}

// settle brings the agenda up to date with what was touched.
func (s *Shard) settle() {
	if len(s.waiting) > 0 {
		s.unwait()
	}
	for i, e := range s.settling {
		if due := s.nextDue(e); due != e.due && e.Live() {
			s.agenda.set(e, due)
		}
		e.publishQueue()
		s.settling[i] = nil
	}
	s.settling = s.settling[:0]
}

// NextDue is the shard time at which something is due: a hold expires, a waiting
// room calls, or something is forgotten or given up. It is never too late. It is too early if
// what it is for has ended some other way, or somebody went on with it; then the
// Apply that it causes finds the right time. wire.Never if nothing is due.
func (s *Shard) NextDue() wire.Millis {
	due := s.staleDue
	if e := s.agenda.first(); e != nil {
		due = min(due, e.due)
	}
	return due
}

// decide decides one operation. The body is good until the next call.
func (s *Shard) decide(r wire.Record) (wire.Status, []byte) {
	q := &s.req
	if !q.read(r) {
		if !onEvent(r.Kind) {
			return s.text(wire.StatusUnknownKind, "kind %d is no operation on an event", r.Kind)
		}
		return s.malformed(wire.ErrShort)
	}
	e := s.find(q.Event)
	q.event, s.now = e, s.stamp
	if e != nil {
		s.now = e.Now(s.stamp)
	}
	switch {
	case ofMove(q.kind):
		return s.decideMove(q)
	case q.kind == wire.KindCreate || q.kind == wire.KindDelete:
		return s.decideLife(q)
	case e != nil && e.loadedAt >= s.index:
		return wire.StatusUnknown, nil // contained in what was loaded; nobody waits for it
	case s.away(q.Event, e):
		return wire.StatusMoved, nil
	case e != nil:
		s.touch(e)
	}
	status, body := s.dispatch(q)
	if e != nil && e.memory.count > 0 {
		s.forget(e, forgetPerOp)
	}
	return status, body
}

// read takes a record apart as far as all operations are alike.
func (q *request) read(r wire.Record) bool {
	q.kind, q.body = r.Kind, r.Body
	if len(r.Body) < wire.MutationSize || !onEvent(r.Kind) {
		return false
	}
	q.Event = wire.EventID(binary.LittleEndian.Uint64(r.Body))
	q.ID = wire.ID(r.Body[8:24])
	q.Deadline = wire.Millis(binary.LittleEndian.Uint64(r.Body[24:]))
	return true
}

// onEvent reports whether the kind is an operation on an event.
func onEvent(k wire.Kind) bool {
	return k.Mutates() || k.Room() || k == wire.KindWallClock || ofMove(k)
}

func (s *Shard) dispatch(q *request) (wire.Status, []byte) {
	switch q.kind {
	case wire.KindHold:
		return s.hold(q)
	case wire.KindHoldBest:
		return s.holdBest(q)
	case wire.KindHoldArea:
		return s.holdArea(q)
	case wire.KindExtend:
		return s.extend(q)
	case wire.KindPay:
		return s.pay(q)
	case wire.KindConfirm:
		return s.confirm(q)
	case wire.KindRelease:
		return s.release(q)
	case wire.KindCancel:
		return s.cancel(q)
	case wire.KindExchange:
		return s.exchange(q)
	case wire.KindBlock, wire.KindUnblock:
		return s.block(q)
	case wire.KindSetChannel:
		return s.setChannel(q)
	case wire.KindSetRules:
		return s.setRules(q)
	case wire.KindSetRoom:
		return s.setRoom(q)
	case wire.KindDirectRoom:
		return s.directRoom(q)
	case wire.KindIssue:
		return s.issue(q)
	case wire.KindRedeem:
		return s.redeem(q)
	case wire.KindLeave:
		return s.leave(q)
	default:
		return s.wallClock(q)
	}
}

// admit does what all operations with an id of their own have in common, once
// their body has been found well formed: it finds the event, gives the first
// answer to a request that was decided before, and refuses what is late or too
// old. done says that status and body are the answer.
func (s *Shard) admit(q *request) (status wire.Status, body []byte, done bool) {
	if !q.ID.Valid() {
		status, body = s.invalidID()
		return status, body, true
	}
	e := q.event
	if e == nil {
		return wire.StatusUnknownEvent, nil, true
	}
	q.fp = fingerprint(&q.ID)
	q.digest = digestOf(q.kind, q.body)
	if r := e.lookup(&q.ID, q.fp); r != none {
		status, body = s.firstAnswer(q, r)
		return status, body, true
	}
	if s.late(q) {
		status, body = s.clock(wire.StatusLate)
		return status, body, true
	}
	if t, timed := q.ID.Time(); timed {
		switch {
		case t > s.now+maxAhead:
			status, body = s.clock(wire.StatusIDAhead)
			return status, body, true
		case t <= wire.Millis(e.floor.Load()):
			status, body = s.clock(wire.StatusTooOld)
			return status, body, true
		}
	}
	return 0, nil, false
}

// digestOf tells requests with different content apart, whatever their id and
// deadline.
func digestOf(kind wire.Kind, body []byte) uint64 {
	if kind == wire.KindSetRoom { // its seed is of the node that took the attempt
		body = body[wire.SeedSize:]
	}
	return xxhash.Sum64(body[wire.MutationSize:]) + uint64(kind)*0x9e3779b97f4a7c15
}

// late reports whether the request's deadline has passed.
func (s *Shard) late(q *request) bool { return q.Deadline != 0 && s.now > q.Deadline }

// firstAnswer repeats what the request with this id was answered at first.
func (s *Shard) firstAnswer(q *request, r ref) (wire.Status, []byte) {
	if r&memoRef != 0 {
		m := q.event.memos.at(r &^ memoRef)
		if m.digest != q.digest {
			return wire.StatusIDReused, nil
		}
		return s.memoAnswer(q, m)
	}
	h := q.event.holds.at(r)
	if h.digest != q.digest {
		return wire.StatusIDReused, nil
	}
	return s.granted(q, h)
}

// reply gives a body that answer has appended to the shard's buffer.
func (s *Shard) reply(status wire.Status, body []byte) (wire.Status, []byte) {
	s.buf = body[:0]
	return status, body
}

func (s *Shard) text(status wire.Status, format string, args ...any) (wire.Status, []byte) {
	return s.reply(status, fmt.Appendf(s.buf[:0], format, args...))
}

func (s *Shard) malformed(err error) (wire.Status, []byte) {
	return s.text(wire.StatusBadRequest, "%v", err)
}

func (s *Shard) invalidID() (wire.Status, []byte) {
	return s.text(wire.StatusBadRequest, "the id is not a UUID of version 7 (timed) or 8 (hashed key)")
}

func (s *Shard) clock(status wire.Status) (wire.Status, []byte) {
	c := wire.Clock{Now: s.now}
	return s.reply(status, c.Append(s.buf[:0]))
}
