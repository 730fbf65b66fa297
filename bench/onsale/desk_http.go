package onsale

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/usher-seats/usher/wire"
)

// An httpDesk asks over HTTP, with keys by which every call can be repeated.
type httpDesk struct{ run *run }

func (d *httpDesk) http() bool { return true }

// any is a number by which requests are spread over the nodes.
func (d *httpDesk) any() uint32 { return uint32(mix(uint64(d.run.now()))) }

// post asks a node for something of an event's.
func (d *httpDesk) post(ctx context.Context, e *event, rest, key string, body, into any) error {
	return d.run.web.call(ctx, http.MethodPost, d.run.web.path(e, d.any(), rest), key, body, into)
}

func (d *httpDesk) admit(ctx context.Context, e *event, ticket string) (pass, wire.Status, error) {
	var got struct {
		Pass      string
		ExpiresIn int64 `json:"expires_in_ms"`
		Number    uint64
	}
	first := d.run.now()
	status, err := d.run.insist(opAdmit, func(wire.ID) error {
		return d.post(ctx, e, "/queue/pass", "admit-"+ticket[len(ticket)-20:], map[string]any{"ticket": ticket}, &got)
	})
	until := first + time.Duration(got.ExpiresIn)*time.Millisecond
	return pass{id: wire.Pass(ticket), token: got.Pass, number: got.Number, until: until}, status, err
}

func (d *httpDesk) leave(ctx context.Context, e *event, p pass) (wire.Status, error) {
	return d.run.insist(opLeave, func(wire.ID) error {
		return d.post(ctx, e, "/queue/leave", fmt.Sprintf("leave-%x", p.id), map[string]any{"pass": p.token}, nil)
	})
}

func (d *httpDesk) seats(ctx context.Context, e *event) (*seatMap, error) {
	var planes []byte
	status, err := d.run.insist(opMap, func(wire.ID) (err error) {
		planes, _, err = d.run.web.do(ctx, http.MethodGet, d.run.web.path(e, d.any(), "/seats"), "", "application/octet-stream", nil)
		return err
	})
	if err == nil {
		err = unexpected(opMap, status, wire.StatusOK)
	}
	if err != nil {
		return nil, err
	}
	return &seatMap{planes, e.row}, nil
}

func (d *httpDesk) hold(ctx context.Context, e *event, w want) (*grant, wire.Status, error) {
	body := map[string]any{"ttl_ms": d.run.s.Millis(d.run.s.Visit.HoldTTL)}
	o := opBest
	if w.pass.token != "" {
		body["pass"] = w.pass.token
	}
	if w.seats == nil {
		body["best"] = map[string]any{"count": w.count}
	} else {
		o = opPick
		labels := make([]string, len(w.seats))
		for i, s := range w.seats {
			labels[i] = e.label(s)
		}
		body["seats"] = labels
	}
	var got struct {
		ID        string
		Fence     string
		Seats     []string
		ExpiresIn int64 `json:"expires_in_ms"`
	}
	first := d.run.now()
	status, err := d.run.insist(o, func(wire.ID) error { return d.post(ctx, e, "/holds", "hold-"+w.key, body, &got) })
	if err != nil || status != wire.StatusOK {
		return nil, status, err
	}
	g := &grant{until: first + time.Duration(got.ExpiresIn)*time.Millisecond}
	if g.id, err = wire.ParseID(got.ID); err != nil {
		return nil, status, fmt.Errorf("a hold's id: %w", err)
	}
	fence, err := strconv.ParseUint(got.Fence, 10, 64)
	if err != nil {
		return nil, status, fmt.Errorf("a fence that is no number: %w", err)
	}
	g.fence = wire.Fence(fence)
	for _, label := range got.Seats {
		s, err := parseLabel(label)
		if err != nil {
			return nil, status, err
		}
		g.seats = append(g.seats, s)
	}
	return g, status, nil
}

// parseLabel is the inverse of event.label.
func parseLabel(label string) (wire.SeatID, error) {
	parts := strings.Split(label, "-")
	if len(parts) == 3 {
		row, err := strconv.Atoi(parts[1])
		seat, err2 := strconv.Atoi(parts[2])
		if err == nil && err2 == nil && row > 0 && seat > 0 {
			return wire.SeatID((row-1)*64 + seat - 1), nil
		}
	}
	return 0, fmt.Errorf("a seat with the label %q", label)
}

// onHold does one thing with a hold.
func (d *httpDesk) onHold(ctx context.Context, e *event, o op, g *grant, into any) (wire.Status, error) {
	body := map[string]any{"fence": strconv.FormatUint(uint64(g.fence), 10)}
	rest := "/holds/" + g.id.String() + "/" + o.String()
	return d.run.insist(o, func(wire.ID) error { return d.post(ctx, e, rest, "", body, into) })
}

func (d *httpDesk) pay(ctx context.Context, e *event, g *grant) (wire.Status, error) {
	var got struct {
		ExpiresIn int64 `json:"expires_in_ms"`
	}
	first := d.run.now()
	status, err := d.onHold(ctx, e, opPay, g, &got)
	if err == nil && status == wire.StatusOK {
		g.until = first + time.Duration(got.ExpiresIn)*time.Millisecond
	}
	return status, err
}

func (d *httpDesk) confirm(ctx context.Context, e *event, g *grant) (bool, wire.Status, error) {
	var got struct{ Reacquired bool }
	status, err := d.onHold(ctx, e, opConfirm, g, &got)
	return got.Reacquired, status, err
}

func (d *httpDesk) release(ctx context.Context, e *event, g *grant) (wire.Status, error) {
	return d.onHold(ctx, e, opRelease, g, nil)
}
