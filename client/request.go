package client

import (
	"time"

	"github.com/usher-seats/usher/wire"
)

// A request is one call of the API through all its attempts. It belongs to the
// goroutine that called.
type request struct {
	op         string
	kind       wire.Kind
	event      *Event // whose shard decides; nil: any node answers
	key        string // of the event, for errors; event's own if empty
	consistent bool

	// One of the two makes the body.
	plain  func(b []byte) []byte                  // of a read
	mutate func(b []byte, m wire.Mutation) []byte // of an operation

	id    wire.ID // zero: the client makes one
	ownID bool    // the client made it
	given bool    // the caller gave the request's own id: a call before may have sent it

	// Invariant: while maybe is false, no attempt so far can ever be applied.
	maybe    bool
	latest   wire.Millis // latest deadline of the attempts that may be applied; only if maybe
	deadline wire.Millis // of this attempt, in event time; 0: none
	began    time.Time   // before the first attempt that may be applied was sent
	sent     time.Time   // before this attempt was sent
	got      time.Time   // after its answer came

	at         *node          // where the next attempt goes; nil: where the event is
	turn       *node          // the last that was asked because it was its turn
	hint       *node          // whom the last answer said to ask
	route      *route         // what the attempt knew of the event's place
	accept     func() verdict // looks at an answer that is OK; nil: every such answer will do
	denied     time.Time      // when a node first refused the key; zero: none did
	lastStatus wire.Status
	lastText   string // why the attempt before failed
}

// anywhere tells the reads that any replica of the event may answer.
func (q *request) anywhere() bool { return q.event != nil && q.mutate == nil && !q.consistent }

// prepare makes the next attempt in a, to be given up at end.
func (q *request) prepare(c *Client, a *call, end time.Time) {
	q.sent = time.Now()
	if !q.maybe {
		q.began = q.sent
	}
	a.kind, a.flags = q.kind, 0
	if q.consistent {
		a.flags |= wire.FlagConsistent
	}
	if q.mutate == nil {
		a.body = q.plain(a.body[:0])
		return
	}
	if q.maybe || q.given {
		a.flags |= wire.FlagRepeat
	}
	var m wire.Mutation
	if q.event != nil {
		m.Event = q.event.id
		q.deadline = q.event.clock.at(end)
		m.Deadline = q.deadline
	}
	if q.id == (wire.ID{}) {
		q.id, q.ownID = q.newID(c), true
	}
	m.ID = q.id
	a.body = q.mutate(a.body[:0], m)
}

func (q *request) newID(c *Client) wire.ID {
	if q.event == nil {
		return c.ids.untimed()
	}
	return c.ids.timed(q.event.clock.at(q.sent))
}

// mayBeApplied notes that nobody knows what became of this attempt.
func (q *request) mayBeApplied() {
	if q.mutate == nil {
		return
	}
	q.maybe = true
	q.latest = max(q.latest, q.deadline)
}

// tooLate notes that the shard refused this attempt for its deadline without
// knowing its id. So none before was applied; and none with a deadline as early
// can be any more.
func (q *request) tooLate() {
	if q.deadline >= q.latest {
		q.maybe, q.latest = false, 0
	}
}

// learn takes in the event time of an answer, unless the answer may be an
// earlier one given again.
func (q *request) learn(now wire.Millis) {
	if q.event != nil && (q.mutate == nil || q.ownID && !q.maybe) {
		q.event.clock.learn(now, q.sent, q.got)
	}
}

// expires is a moment at which a hold that ends at deadline is surely not over;
// now is the event time the answer was made at, which may be long ago.
func (q *request) expires(deadline, now wire.Millis) time.Time {
	at := q.began.Add(time.Duration(deadline-now) * time.Millisecond)
	if early := q.event.clock.before(deadline); early.Before(at) {
		return early
	}
	return at
}

// fail makes the error of a request that ends with status.
func (q *request) fail(status wire.Status, body []byte, cause error) *Error {
	e := &Error{Op: q.op, Event: q.key, Status: status, Err: cause}
	if q.mutate != nil {
		e.ID = q.id
	}
	if q.event != nil {
		e.Event = q.event.key
	}
	e.explain(body)
	if q.event != nil && len(e.Lost) > 0 {
		e.Labels = q.event.knownLabels(e.Lost)
	}
	if (q.maybe || q.given) && !settles(status) {
		e.Applied = AppliedUnknown
	}
	return e
}

// settles tells whether status says what became of the earlier attempts, too.
// The others can be true although one of them was applied.
func settles(s wire.Status) bool {
	switch s {
	case wire.StatusTooOld, wire.StatusIDAhead, wire.StatusLate, wire.StatusUnknownEvent, wire.StatusUnknownHold:
		return false
	}
	return s.Decided()
}

// gaveUp makes the error of a request that the client stops trying for cause.
func (q *request) gaveUp(cause error) *Error {
	status := q.lastStatus
	switch {
	case q.maybe:
		status = wire.StatusUnknown
	case status == wire.StatusOK || status == wire.StatusUnknown:
		status = wire.StatusUnavailable
	}
	e := q.fail(status, nil, cause)
	e.Text = q.lastText
	return e
}
