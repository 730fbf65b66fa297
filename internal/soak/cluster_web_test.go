package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

const (
	// webPatience bounds one attempt at one frontend, which answers within 5 s.
	webPatience = 6 * time.Second
	// webPause is between two attempts.
	webPause = 20 * time.Millisecond
)

// webCounts are what all web shops of a crowd have met. Atomic.
type webCounts struct {
	refused atomic.Int64 // attempts that no frontend took, or that it refused with 503: nothing changed
	unknown atomic.Int64 // attempts that may have been done, and were repeated with the same key
}

// A web is a shop that goes through the HTTP frontends: to one as long as it
// answers, then to the next. It belongs to its buyer.
type web struct {
	event  *client.Event
	fronts []string
	at     int
	keys   int
	name   string // different from those of all other webs
	http   *http.Client
	counts *webCounts
}

// A webAnswer is what frontends say, of a hold or of a problem.
type webAnswer struct {
	ID    string
	Fence string
	Code  string
	Seats []string
}

func (w *web) hold(ctx context.Context, e *entry) (*client.Hold, error) {
	body := map[string]any{"ttl_ms": e.asked.TTL.Milliseconds()}
	if e.best > 0 {
		body["best"] = map[string]any{"count": e.best, "split": true}
	} else {
		var labels []string
		for _, s := range e.asked.Seats {
			labels = append(labels, labelOf(s))
		}
		body["seats"] = labels
	}
	w.keys++
	a, err := w.post(ctx, "hold", "/holds", fmt.Sprintf("%s-%d", w.name, w.keys), body)
	if err != nil {
		return nil, err
	}
	id, err := wire.ParseID(a.ID)
	if err != nil {
		return nil, err
	}
	fence, err := strconv.ParseUint(a.Fence, 10, 64)
	if err != nil {
		return nil, err
	}
	if e.best > 0 {
		e.asked.Seats = nil
		for _, label := range a.Seats {
			s, err := seatOf(label)
			if err != nil {
				return nil, err
			}
			e.asked.Seats = append(e.asked.Seats, s)
		}
	}
	return w.event.ResumeHold(id, wire.Fence(fence)), nil
}

func (w *web) step(ctx context.Context, e *entry, k wire.Kind) error {
	body := map[string]any{"fence": strconv.FormatUint(uint64(e.fence), 10)}
	name := map[wire.Kind]string{
		wire.KindConfirm: "confirm", wire.KindRelease: "release", wire.KindPay: "pay", wire.KindExtend: "extend",
	}[k]
	if k == wire.KindExtend {
		body["ttl_ms"], body["nth"] = e.asked.TTL.Milliseconds(), 1
	}
	_, err := w.post(ctx, name, "/holds/"+e.hold.ID().String()+"/"+name, "", body)
	return err
}

// post asks frontends until one says what was decided.
func (w *web) post(ctx context.Context, op, path, key string, body any) (*webAnswer, error) {
	sent, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	for {
		a, status, err := w.try(ctx, path, key, sent)
		switch {
		case err == nil && status < http.StatusBadRequest:
			return a, nil
		case err == nil && status != http.StatusServiceUnavailable:
			return nil, &client.Error{Op: op, Status: statusNamed(a.Code), Text: fmt.Sprintf("%d %s", status, a.Code)}
		case errors.Is(err, syscall.ECONNREFUSED) || err == nil && a.Code != wire.StatusUnknown.String():
			w.counts.refused.Add(1)
		default:
			w.counts.unknown.Add(1)
		}
		w.at++
		select {
		case <-time.After(webPause):
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: the last frontend said %d %v %v", op, status, a, err)
		}
	}
}

// try asks one frontend once.
func (w *web) try(ctx context.Context, path, key string, body []byte) (*webAnswer, int, error) {
	ctx, cancel := context.WithTimeout(ctx, webPatience)
	defer cancel()
	url := w.fronts[w.at%len(w.fronts)] + "/v1/events/" + w.event.Key() + path
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	resp, err := w.http.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, 0, err
	}
	a := new(webAnswer)
	if err := json.Unmarshal(text, a); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", resp.Status, err)
	}
	return a, resp.StatusCode, nil
}

// statusNamed is the status that a problem's code names; unknown codes are bad
// requests, which no buyer makes.
func statusNamed(code string) wire.Status {
	for s := range wire.Status(256) {
		if s.String() == code {
			return s
		}
	}
	return wire.StatusBadRequest
}

// labelOf is the label of a seat of a house, seatOf the seat of a label.
func labelOf(s wire.SeatID) string { return fmt.Sprintf("A-%d-%d", s/64+1, s%64+1) }

func seatOf(label string) (wire.SeatID, error) {
	var row, seat int
	if _, err := fmt.Sscanf(strings.ReplaceAll(label, "-", " "), "A %d %d", &row, &seat); err != nil {
		return 0, fmt.Errorf("label %q: %w", label, err)
	}
	return wire.SeatID((row-1)*64 + seat - 1), nil
}
