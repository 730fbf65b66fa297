package onsale

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A desk is where visitors ask: the Go client, or HTTP. A call gives the status by
// which the shard decided. What the system could not decide a desk asks again, with
// the same id, until it has; an error says that it could not to the end of the run,
// or that an answer makes no sense.
type desk interface {
	http() bool
	admit(ctx context.Context, e *event, ticket string) (pass, wire.Status, error)
	seats(ctx context.Context, e *event) (*seatMap, error)
	hold(ctx context.Context, e *event, w want) (*grant, wire.Status, error)
	pay(ctx context.Context, e *event, g *grant) (wire.Status, error)
	confirm(ctx context.Context, e *event, g *grant) (reacquired bool, s wire.Status, err error)
	release(ctx context.Context, e *event, g *grant) (wire.Status, error)
	leave(ctx context.Context, e *event, p pass) (wire.Status, error)
}

// A pass is what a visitor was let in with.
type pass struct {
	id     wire.PassID
	token  string
	number uint64        // queue number
	until  time.Duration // surely not over before, in time of the run
}

// A want is what a visitor asks for.
type want struct {
	seats []wire.SeatID // these; none: the best
	count int
	pass  pass
	key   string // names the request, for HTTP
}

// A grant is a hold as the desk knows it.
type grant struct {
	id    wire.ID
	fence wire.Fence
	seats []wire.SeatID
	until time.Duration // surely held until then, in time of the run
	hold  *client.Hold  // of the binary desk
}

// undecided is the error of a request that the run ended without an answer to.
type undecided struct {
	op  op
	id  wire.ID
	err error
}

func (u *undecided) Error() string {
	return fmt.Sprintf("nobody knows what became of the %v %v: %v", u.op, u.id, u.err)
}

func (u *undecided) Unwrap() error { return u.err }

// unexpected is the error of a status that the run cannot explain; nil if it is one
// of those that may be.
func unexpected(o op, s wire.Status, may ...wire.Status) error {
	if slices.Contains(may, s) {
		return nil
	}
	return fmt.Errorf("%v was answered %v", o, s)
}

// askAgainAfter is the pause before what the system could not decide is asked again.
const askAgainAfter = 50 * time.Millisecond

// insist asks until the system has decided, or patience is over: the run's end and
// the time it gives to answers that are late. ask is given the id under which an
// attempt before may have been applied; zero: none was.
func (r *run) insist(o op, ask func(id wire.ID) error) (wire.Status, error) {
	var id wire.ID
	for {
		err := ask(id)
		if err == nil {
			return wire.StatusOK, nil
		}
		e, ok := errors.AsType[*client.Error](err)
		if !ok {
			return 0, fmt.Errorf("%v: %w", o, err)
		}
		switch {
		case e.Applied == client.AppliedUnknown:
			id = e.ID
		case e.Status == wire.StatusLate || e.Status == wire.StatusIDAhead:
			// It was not applied, and may be asked anew.
		case e.Status.Decided():
			return e.Status, nil
		}
		r.visits.failed(o, e.Status)
		if since := time.Duration(r.closed.Load()); since > 0 && r.now() > since+drainTime {
			u := &undecided{o, id, err}
			r.ledger.unknown(u.Error())
			return e.Status, u
		}
		time.Sleep(askAgainAfter)
	}
}
