package onsale

import (
	"context"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A binaryDesk asks through the Go client, which retries, routes and watches over
// ids by itself.
type binaryDesk struct{ run *run }

func (d *binaryDesk) http() bool { return false }

func (d *binaryDesk) admit(ctx context.Context, e *event, ticket string) (pass, wire.Status, error) {
	var p client.Pass
	status, err := d.run.insist(opAdmit, func(wire.ID) (err error) {
		p, err = e.handle.Admit(ctx, client.Ticket{Token: ticket})
		return err
	})
	if err != nil || status != wire.StatusOK {
		return pass{}, status, err
	}
	return pass{id: p.ID, token: p.Token, number: p.Number, until: d.run.at(p.ExpiresAt)}, status, nil
}

func (d *binaryDesk) leave(ctx context.Context, e *event, p pass) (wire.Status, error) {
	return d.run.insist(opLeave, func(wire.ID) error { return e.handle.Leave(ctx, p.token) })
}

func (d *binaryDesk) seats(ctx context.Context, e *event) (*seatMap, error) {
	var m *client.SeatMap
	status, err := d.run.insist(opMap, func(wire.ID) (err error) {
		m, err = e.handle.Map(ctx, client.Latest)
		return err
	})
	if err == nil {
		err = unexpected(opMap, status, wire.StatusOK)
	}
	if err != nil {
		return nil, err
	}
	return &seatMap{m.Planes, e.row}, nil
}

func (d *binaryDesk) hold(ctx context.Context, e *event, w want) (*grant, wire.Status, error) {
	var h *client.Hold
	o := opPick
	if w.seats == nil {
		o = opBest
	}
	status, err := d.run.insist(o, func(id wire.ID) (err error) {
		if w.seats == nil {
			h, err = e.handle.HoldBest(ctx, client.BestRequest{Count: w.count, ID: id, Pass: w.pass.id})
		} else {
			h, err = e.handle.Hold(ctx, client.HoldRequest{Seats: w.seats, ID: id, Pass: w.pass.id})
		}
		return err
	})
	if err != nil || status != wire.StatusOK {
		return nil, status, err
	}
	return &grant{id: h.ID(), fence: h.Fence(), seats: h.Seats(), until: d.run.at(h.ExpiresAt()), hold: h}, status, nil
}

func (d *binaryDesk) pay(ctx context.Context, _ *event, g *grant) (wire.Status, error) {
	status, err := d.run.insist(opPay, func(wire.ID) error { return g.hold.Pay(ctx) })
	g.until = d.run.at(g.hold.ExpiresAt())
	return status, err
}

func (d *binaryDesk) confirm(ctx context.Context, _ *event, g *grant) (bool, wire.Status, error) {
	status, err := d.run.insist(opConfirm, func(wire.ID) error { return g.hold.Confirm(ctx) })
	return g.hold.Reacquired(), status, err
}

func (d *binaryDesk) release(ctx context.Context, _ *event, g *grant) (wire.Status, error) {
	return d.run.insist(opRelease, func(wire.ID) error { return g.hold.Release(ctx) })
}

// at is a moment in time of the run.
func (r *run) at(t time.Time) time.Duration { return t.Sub(r.start) }
