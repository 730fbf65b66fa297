package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/usher-seats/usher/wire"
)

// decoder is a body of package wire. What it decodes aliases the answer, which
// nothing else uses.
type decoder interface{ Decode(body []byte) error }

// A verdict is what to do after an attempt.
type verdict uint8

const (
	over       verdict = iota // the request has its end
	onward                    // try where q.at says; whoever says this bounds how often
	again                     // try again, after a while
	atOnce                    // try again; after a while if something was done at once before
	find                      // after a while, find out where to go
	findAtOnce                // find out where to go; after a while, likewise
)

const (
	backoffLeast = 4 * time.Millisecond
	backoffMost  = 256 * time.Millisecond

	// denialPatience is how long nodes that refuse the key are asked again before
	// that is believed: one that was just stored is not known everywhere yet.
	denialPatience = time.Second

	// leaderPatience is how long a read that any replica can answer waits for the
	// event's leader to be found.
	leaderPatience = 100 * time.Millisecond
)

// ask carries q to its end: it tries until there is an answer that ends it, or
// ctx is over. Every attempt of an operation has the same id, unless none can
// have been applied. into may be nil if nothing of the answer matters.
func (c *Client) ask(ctx context.Context, q *request, into decoder) error {
	end, bounded := ctx.Deadline()
	if !bounded {
		end = time.Now().Add(c.o.RequestTimeout)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end)
		defer cancel()
	}
	a := c.pool.Get().(*call)
	defer c.recycle(a)
	for pauses, hurried := 0, false; ; {
		n := c.target(q)
		q.prepare(c, a, end)
		err := n.roundTrip(ctx, a)
		q.got = time.Now()
		next, err := c.judge(ctx, q, n, a, err, into)
		a.answer = nil // into has it
		switch {
		case next == over:
			return err
		case next == onward:
			continue
		case (next == atOnce || next == findAtOnce) && !hurried:
			hurried = true
		default:
			if err := c.pause(ctx, pauses); err != nil {
				return q.gaveUp(err)
			}
			pauses++
		}
		if next == find || next == findAtOnce {
			if err := c.refresh(ctx, q, n); err != nil {
				return err
			}
		}
	}
}

// maxKeptBody is how large a call's buffer may have grown to be kept, in bytes.
const maxKeptBody = 4 << 10

func (c *Client) recycle(a *call) {
	if cap(a.body) > maxKeptBody {
		a.body = nil
	}
	c.pool.Put(a)
}

// target chooses the node of the next attempt.
func (c *Client) target(q *request) *node {
	if q.event != nil && q.at == nil {
		q.route = q.event.route.Load()
		return q.route.node
	}
	if q.at == nil {
		q.at = c.anyNode()
		q.turn = q.at
	}
	return q.at
}

func (c *Client) judge(ctx context.Context, q *request, n *node, a *call, err error, into decoder) (verdict, error) {
	if err != nil {
		c.seek(q)
		return q.broken(ctx, a, err)
	}
	switch s := a.status; {
	case s == wire.StatusOK:
		return q.done(a, into)
	case hasClock(s):
		return q.offTime(a)
	case s == wire.StatusMoved:
		q.lastStatus, q.lastText = s, ""
		if q.hint = c.named(a.answer); q.hint != nil {
			return findAtOnce, nil
		}
		return find, nil // it is on its way
	case s == wire.StatusStopping:
		n.doubt()
		q.lastStatus, q.lastText = s, ""
		return findAtOnce, nil
	}
	return q.refused(a)
}

// done judges an answer that is OK.
func (q *request) done(a *call, into decoder) (verdict, error) {
	if into == nil {
		return over, nil
	}
	if err := into.Decode(a.answer); err != nil {
		q.mayBeApplied()
		return over, q.fail(wire.StatusBadFrame, nil, err)
	}
	if q.accept != nil {
		return q.accept(), nil
	}
	return over, nil
}

// broken judges an attempt that got no answer.
func (q *request) broken(ctx context.Context, a *call, err error) (verdict, error) {
	if a.sent {
		q.mayBeApplied()
	}
	var hello *Error
	switch {
	case errors.Is(err, ErrClosed):
		return over, q.gaveUp(ErrClosed)
	case ctx.Err() != nil:
		return over, q.gaveUp(ctx.Err())
	case errors.As(err, &hello) && (hello.Status == wire.StatusUnauthorized || hello.Status == wire.StatusBadVersion):
		return q.deny(q.fail(hello.Status, nil, err))
	}
	q.lastStatus, q.lastText = wire.StatusUnavailable, err.Error()
	return findAtOnce, nil
}

// deny judges that a node does not take the client's key or version, or does not
// let the key do this. Others may.
func (q *request) deny(e *Error) (verdict, error) {
	if q.denied.IsZero() {
		q.denied = q.got
	}
	if q.got.Sub(q.denied) >= denialPatience {
		return over, e
	}
	q.lastStatus, q.lastText = e.Status, e.Text
	return find, nil
}

// refused judges an answer without a decision about seats or time.
func (q *request) refused(a *call) (verdict, error) {
	switch s := a.status; s {
	case wire.StatusUnknown:
		q.mayBeApplied()
		q.lastStatus, q.lastText = s, ""
		return again, nil
	case wire.StatusOverloaded:
		q.lastStatus, q.lastText = s, ""
		return again, nil
	case wire.StatusUnavailable:
		q.lastStatus, q.lastText = s, ""
		return find, nil
	case wire.StatusUnauthorized, wire.StatusForbidden:
		return q.deny(q.fail(s, a.answer, nil))
	case wire.StatusUnknownEvent:
		if next := q.unknownEvent(); next != over {
			q.lastStatus, q.lastText = s, ""
			return next, nil
		}
	}
	if q.mutate != nil && q.ownID && !q.maybe && hasSeats(a.status) {
		var lost wire.SeatsLost
		if lost.Decode(a.answer) == nil {
			q.learn(lost.Now)
		}
	}
	return over, q.fail(a.status, a.answer, nil)
}

// unknownEvent judges that a node does not know an event of which it may not
// have heard yet: over if that is for certain.
func (q *request) unknownEvent() verdict {
	switch {
	case q.kind == wire.KindLocate && !q.consistent:
		q.consistent = true // the node must ask those who know
		return onward
	case q.event != nil && q.at != nil:
		return find // it does not lead the event's shard
	}
	return over
}

// offTime judges an answer that says that the client's idea of event time is
// wrong, and with it the request's deadline or id. Such an answer is made anew
// each time, so the time in it is always fresh.
func (q *request) offTime(a *call) (verdict, error) {
	var k wire.Clock
	if err := k.Decode(a.answer); err != nil || q.event == nil {
		return over, q.fail(a.status, nil, err)
	}
	q.event.clock.learn(k.Now, q.sent, q.got)
	q.lastStatus, q.lastText = a.status, ""
	if a.status == wire.StatusLate {
		q.tooLate()
		return atOnce, nil
	}
	if !q.ownID || q.maybe {
		return over, q.fail(a.status, nil, nil)
	}
	q.id = wire.ID{}
	return atOnce, nil
}

// refresh looks for a node that can take q after n could not.
func (c *Client) refresh(ctx context.Context, q *request, n *node) error {
	next := q.hint
	if next == nil {
		next = c.nextTurn(q, n)
	}
	q.hint = nil
	switch {
	case q.event == nil:
		q.at = next
		return nil
	case q.anywhere():
		return c.refreshRead(ctx, q, next)
	}
	return q.moved(ctx, q.event.refind(ctx, q.route, next))
}

// refreshRead has a read that any replica can answer go to the event's leader if
// that is found soon, or else to next.
func (c *Client) refreshRead(ctx context.Context, q *request, next *node) error {
	short, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	err := q.event.refind(short, q.route, next)
	switch {
	case err == nil:
		q.at = nil
	case short.Err() != nil && ctx.Err() == nil:
		q.at = next
	default:
		return q.moved(ctx, err)
	}
	return nil
}

// nextTurn gives the node to ask after n could not help: all get their turn,
// those first that are known to be there.
func (c *Client) nextTurn(q *request, n *node) *node {
	if q.turn == nil {
		q.turn = c.nodeAfter(n, true)
	} else {
		q.turn = c.nodeAfter(q.turn, false)
	}
	c.home.CompareAndSwap(n, q.turn)
	return q.turn
}

// moved makes the failure to find an event the end of q.
func (q *request) moved(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	e, known := errors.AsType[*Error](err)
	if known {
		q.lastStatus, q.lastText = e.Status, e.Text
	}
	switch {
	case ctx.Err() != nil:
		return q.gaveUp(ctx.Err())
	case known && !errors.Is(err, ErrClosed):
		f := q.fail(e.Status, nil, e.Err)
		f.Text = e.Text
		return f
	}
	return q.gaveUp(err)
}

// backoff is how long the next pause is after so many: longer each time and never
// as long as others, so that those refused together do not come back together.
func backoff(pauses int) time.Duration {
	d := min(backoffLeast<<min(pauses, 10), backoffMost)
	return d/2 + rand.N(d/2)
}

// pause waits before another try.
func (c *Client) pause(ctx context.Context, pauses int) error {
	timer := time.NewTimer(backoff(pauses))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.life.Done():
		return ErrClosed
	}
}
