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
	over    verdict = iota // the request has its end
	again                  // try again, after a while
	atOnce                 // try again; after a while if that was done before
	refresh                // find out where to go, then try again, after a while
)

const (
	backoffLeast = 4 * time.Millisecond
	backoffMost  = 256 * time.Millisecond
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
	for tries, hasty := 0, false; ; tries++ {
		n := c.target(q)
		q.prepare(c, a, end)
		err := n.roundTrip(ctx, a)
		q.got = time.Now()
		next, err := c.judge(ctx, q, a, err, into)
		a.answer = nil // into has it
		if next == over {
			return err
		}
		if next == atOnce && !hasty {
			hasty = true
			continue
		}
		if next == refresh {
			if err := c.refresh(ctx, q, n); err != nil {
				return err
			}
		}
		if err := c.pause(ctx, tries); err != nil {
			return q.gaveUp(err)
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
	if q.event != nil {
		q.route = q.event.route.Load()
		return q.route.node
	}
	if q.at == nil {
		q.at = c.home.Load()
	}
	return q.at
}

func (c *Client) judge(ctx context.Context, q *request, a *call, err error, into decoder) (verdict, error) {
	if err != nil {
		return q.broken(ctx, a, err)
	}
	switch s := a.status; {
	case s == wire.StatusOK:
		if into == nil {
			return over, nil
		}
		if err := into.Decode(a.answer); err != nil {
			q.mayBeApplied()
			return over, q.fail(wire.StatusBadFrame, nil, err)
		}
		return over, nil
	case hasClock(s):
		return q.offTime(a)
	case s == wire.StatusMoved:
		q.lastStatus, q.lastText = s, ""
		if err := c.follow(ctx, q, string(a.answer)); err != nil {
			return over, err
		}
		return atOnce, nil
	}
	return q.refused(a)
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
		return over, q.fail(hello.Status, nil, err)
	}
	q.lastStatus, q.lastText = wire.StatusUnavailable, err.Error()
	return refresh, nil
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
	case wire.StatusUnavailable, wire.StatusStopping:
		q.lastStatus, q.lastText = s, ""
		return refresh, nil
	}
	if q.mutate != nil && q.ownID && !q.maybe && hasSeats(a.status) {
		var lost wire.SeatsLost
		if lost.Decode(a.answer) == nil {
			q.learn(lost.Now)
		}
	}
	return over, q.fail(a.status, a.answer, nil)
}

// offTime judges an answer that says that the client's idea of shard time is
// wrong, and with it the request's deadline or id. Such an answer is made anew
// each time, so the time in it is always fresh.
func (q *request) offTime(a *call) (verdict, error) {
	var k wire.Clock
	if err := k.Decode(a.answer); err != nil || q.route == nil {
		return over, q.fail(a.status, nil, err)
	}
	q.route.clock.learn(k.Now, q.sent, q.got)
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
	if q.event == nil {
		q.at = c.nodeAfter(n)
		c.home.CompareAndSwap(n, q.at)
		return nil
	}
	return q.moved(ctx, q.event.refind(ctx, q.route, nil))
}

// follow goes where a node that does not lead the event's shard says it is.
func (c *Client) follow(ctx context.Context, q *request, addr string) error {
	var n *node
	if addr != "" {
		n = c.node(addr)
	}
	if q.event == nil {
		q.at = n
		return nil
	}
	return q.moved(ctx, q.event.refind(ctx, q.route, n))
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

// pause waits before another try, longer each time and never for the same time
// as others, so that those refused together do not come back together.
func (c *Client) pause(ctx context.Context, tries int) error {
	d := min(backoffLeast<<min(tries, 10), backoffMost)
	d = d/2 + rand.N(d/2)
	timer := time.NewTimer(d)
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
