package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// A Basket holds seats of several events as one purchase. No decision spans two
// events; the basket takes one step after the other and every step has its id,
// so each call may be repeated until it succeeds:
//
//	Hold     all of them, or gives back those it got
//	Pay      keeps them all while the buyer pays
//	Confirm  books them all
//	Release  gives them all back
//
// It belongs to one goroutine at a time.
type Basket struct {
	items  []*basketItem
	failed error // a hold was refused: this basket is over
}

type basketItem struct {
	event *Event
	id    wire.ID // of the request, the same for each repetition; zero before the first
	hold  *Hold   // nil until granted
	ask   func(ctx context.Context, id wire.ID) (*Hold, error)
}

// BasketOf makes a basket of holds that there are, such as those of a basket in
// another process, by Event.ResumeHold.
func BasketOf(holds ...*Hold) *Basket {
	b := new(Basket)
	for _, h := range holds {
		b.items = append(b.items, &basketItem{event: h.event, id: h.id, hold: h})
	}
	return b
}

// Add puts a wish for certain seats into the basket.
func (b *Basket) Add(e *Event, r HoldRequest) {
	b.add(e, r.ID, func(ctx context.Context, id wire.ID) (*Hold, error) {
		r.ID = id
		return e.Hold(ctx, r)
	})
}

// AddBest puts a wish for the best seats into the basket.
func (b *Basket) AddBest(e *Event, r BestRequest) {
	b.add(e, r.ID, func(ctx context.Context, id wire.ID) (*Hold, error) {
		r.ID = id
		return e.HoldBest(ctx, r)
	})
}

// AddArea puts a wish for places of an area into the basket.
func (b *Basket) AddArea(e *Event, r AreaRequest) {
	b.add(e, r.ID, func(ctx context.Context, id wire.ID) (*Hold, error) {
		r.ID = id
		return e.HoldArea(ctx, r)
	})
}

func (b *Basket) add(e *Event, id wire.ID, hold func(context.Context, wire.ID) (*Hold, error)) {
	b.items = append(b.items, &basketItem{event: e, id: id, ask: hold})
}

// Holds are the holds that the basket has, in the order of the wishes.
func (b *Basket) Holds() []*Hold {
	var holds []*Hold
	for _, it := range b.items {
		if it.hold != nil {
			holds = append(holds, it.hold)
		}
	}
	return holds
}

// Hold takes all seats. If a shard refuses one wish, the basket gives back what
// it has, even if ctx is over by then, and is done with: make a new one. If no
// shard could decide, it keeps what it has; call Hold again, or Release.
func (b *Basket) Hold(ctx context.Context) error {
	if b.failed != nil {
		return b.failed
	}
	for _, it := range b.items {
		if it.hold != nil {
			continue
		}
		h, err := it.ask(ctx, it.id)
		if err == nil {
			it.hold = h
			continue
		}
		e, ok := errors.AsType[*Error](err)
		if ok && e.ID != (wire.ID{}) {
			it.id = e.ID
		}
		if !ok || e.Applied == AppliedUnknown || !e.Status.Decided() {
			return err
		}
		b.failed = err
		return errors.Join(err, b.Release(context.WithoutCancel(ctx)))
	}
	return nil
}

// Pay keeps all seats while their buyer pays.
func (b *Basket) Pay(ctx context.Context) error {
	return b.each(func(h *Hold) error { return h.Pay(ctx) })
}

// Confirm books all seats. If some could not be booked, it books the others, and
// the error names each event that failed; those of wire.StatusLost are to be
// refunded.
func (b *Basket) Confirm(ctx context.Context) error {
	return b.each(func(h *Hold) error { return h.Confirm(ctx) })
}

// Release gives all seats back, those of holds that ended with AppliedUnknown
// included. (Not so when their context was cancelled instead of running out: a
// request that arrives later may still be granted, and then expires.) Seats that
// expired are no failure.
func (b *Basket) Release(ctx context.Context) error {
	var failed []error
	for _, it := range b.items {
		if err := it.release(ctx); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (it *basketItem) release(ctx context.Context) error {
	if it.hold == nil {
		if it.id == (wire.ID{}) {
			return nil // was never asked for
		}
		info, err := it.event.GetHold(ctx, it.id)
		switch {
		case StatusOf(err) == wire.StatusUnknownHold:
			return nil
		case err != nil:
			return fmt.Errorf("give back: %w", err)
		}
		it.hold = it.event.ResumeHold(it.id, info.Fence)
	}
	err := it.hold.Release(ctx)
	switch StatusOf(err) {
	case wire.StatusExpired, wire.StatusReleased, wire.StatusUnknownHold:
		err = nil
	}
	if err != nil {
		return fmt.Errorf("give back: %w", err)
	}
	it.hold, it.id = nil, wire.ID{}
	return nil
}

// each takes a step with every hold, whatever becomes of the others.
func (b *Basket) each(step func(*Hold) error) error {
	if len(b.Holds()) < len(b.items) {
		return errors.New("the basket does not hold all its seats: call Hold until it succeeds")
	}
	var failed []error
	for _, it := range b.items {
		if err := step(it.hold); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
