package onsale

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A web carries requests over HTTP, a connection for each that is under way.
type web struct {
	run    *run
	client *http.Client
	status map[string]wire.Status // by code of a problem

	mu   sync.Mutex // guards what follows
	more sync.Cond
	todo []errand // of the crowd, the oldest first
	open int      // errands that are not done
	shut bool
}

// An errand is a request of a user of the crowd who uses HTTP.
type errand struct {
	lane   *lane
	user   uint32
	op     op
	due    time.Duration
	ticket []byte
}

const (
	// webWorkers is how many of the crowd's HTTP requests are under way at a time.
	webWorkers = 256
	// webTimeout bounds one attempt.
	webTimeout = 10 * time.Second
	// maxWebBody bounds an answer, in bytes.
	maxWebBody = 4 << 20
)

func newWeb(r *run) *web {
	w := &web{run: r, status: make(map[string]wire.Status)}
	w.more.L = &w.mu
	transport := &http.Transport{MaxIdleConnsPerHost: webWorkers + maxAtOnce, DisableCompression: true}
	if r.o.Client.TLS != nil {
		transport.TLSClientConfig = r.o.Client.TLS.Clone()
	}
	w.client = &http.Client{Transport: transport, Timeout: webTimeout}
	const statuses = 512
	for s := range wire.Status(statuses) {
		w.status[s.String()] = s
	}
	return w
}

// push adds an errand.
func (w *web) push(e errand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.todo = append(w.todo, e)
	w.open++
	w.more.Signal()
}

// play runs errands until ctx ends.
func (w *web) play(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.shut = true
		w.more.Broadcast()
	})
	defer stop()
	var wg sync.WaitGroup
	for range webWorkers {
		wg.Go(func() {
			for {
				e, ok := w.next()
				if !ok {
					return
				}
				if err := w.errand(ctx, e); err != nil && ctx.Err() == nil {
					w.run.fail(err)
				}
				w.mu.Lock()
				w.open--
				w.more.Broadcast()
				w.mu.Unlock()
			}
		})
	}
	wg.Wait()
	w.client.CloseIdleConnections()
}

func (w *web) next() (errand, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.todo) == 0 && !w.shut {
		w.more.Wait()
	}
	if w.shut {
		return errand{}, false
	}
	e := w.todo[0]
	w.todo = w.todo[1:]
	return e, true
}

// drain waits until every errand is done.
func (w *web) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.open > 0 && !w.shut {
		w.more.Wait()
	}
}

// errand makes a request and lets its user take in the answer.
func (w *web) errand(ctx context.Context, e errand) error {
	ev := w.run.event(e.user)
	var a answer
	var sent time.Duration
	status, err := w.run.insist(e.op, func(before wire.ID) (err error) {
		if e.op == opJoin && before != (wire.ID{}) {
			w.run.lostJoins.Add(1) // it gets another number
		}
		sent = w.run.now()
		a, err = w.crowd(ctx, ev, &e)
		return err
	})
	if err != nil {
		return err
	}
	a.status = status
	now := w.run.now()
	l := e.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	l.meter.answered(e.op, true, e.due, now)
	return l.settle(e.user, e.op, &a, sent, now)
}

// crowd asks for one of the crowd's ops.
func (w *web) crowd(ctx context.Context, ev *event, e *errand) (a answer, err error) {
	key := fmt.Sprintf("%v-%d", e.op, e.user)
	ticket := map[string]any{"ticket": string(e.ticket)}
	switch e.op {
	case opJoin:
		var got struct {
			Ticket, Kind string
			Number       uint64
		}
		err = w.call(ctx, http.MethodPost, w.path(ev, e.user, "/queue"), "", map[string]any{}, &got)
		a.token, a.number, a.early = []byte(got.Ticket), got.Number, got.Kind == "entry"
	case opPlace:
		var got struct {
			State, Kind string
			Number      uint64
		}
		err = w.call(ctx, http.MethodPost, w.path(ev, e.user, "/queue/place"), "", ticket, &got)
		a.number, a.early = got.Number, got.Kind == "entry"
		for p := wire.PlaceWaiting; p <= wire.PlaceEnded; p++ {
			if p.String() == got.State {
				a.place = p
			}
		}
	case opQuit:
		err = w.call(ctx, http.MethodPost, w.path(ev, e.user, "/queue/leave"), key, ticket, nil)
	case opQueue:
		var got struct{ State string }
		err = w.call(ctx, http.MethodGet, w.path(ev, e.user, "/queue"), "", nil, &got)
		for s := wire.QueueOff; s <= wire.QueueClosed; s++ {
			if s.String() == got.State {
				a.state = s
			}
		}
	}
	return a, err
}

// path is an address of an event's at the node that the user has.
func (w *web) path(ev *event, user uint32, rest string) string {
	base := w.run.o.HTTP[int(user)%len(w.run.o.HTTP)]
	return base + "/v1/events/" + url.PathEscape(ev.key) + rest
}

// call makes one attempt. A problem becomes a client.Error, as the Go client has
// them: of a request with a key it is always safe to ask again.
func (w *web) call(ctx context.Context, method, address, key string, body, into any) error {
	answer, header, err := w.do(ctx, method, address, key, "application/json", body)
	if err != nil {
		return err
	}
	if into == nil || header.Get("Content-Type") == "" {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: %w", method, address, err)
	}
	return nil
}

// do makes one attempt and gives the answer's body.
func (w *web) do(ctx context.Context, method, address, key, accept string, body any) ([]byte, http.Header, error) {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, nil, err
		}
		text = bytes.NewReader(b)
	}
	q, err := http.NewRequestWithContext(ctx, method, address, text)
	if err != nil {
		return nil, nil, err
	}
	w.head(q, accept)
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		q.Header.Set("Idempotency-Key", key)
	}
	lost := &client.Error{Op: method, Status: wire.StatusUnknown, Applied: client.AppliedUnknown, ID: wire.ID{1}}
	resp, err := w.client.Do(q)
	if err != nil {
		lost.Err = err
		return nil, nil, lost
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxWebBody))
	if err != nil {
		lost.Err = err
		return nil, nil, lost
	}
	if resp.StatusCode < 300 {
		return answer, resp.Header, nil
	}
	return nil, nil, w.problem(method, address, resp.StatusCode, answer)
}

func (w *web) head(q *http.Request, accept string) {
	q.Header.Set("Accept", accept)
	q.Header.Set("Usher-Timeout-Ms", strconv.FormatInt((webTimeout-time.Second).Milliseconds(), 10))
	if w.run.o.Client.Key != "" {
		q.Header.Set("Authorization", "Bearer "+w.run.o.Client.Key)
	}
}

// problem makes an error of a problem.
func (w *web) problem(method, address string, code int, answer []byte) error {
	var p struct{ Code, Detail string }
	if err := json.Unmarshal(answer, &p); err != nil {
		return fmt.Errorf("%s %s: %d with a body that is no problem", method, address, code)
	}
	s, known := w.status[p.Code]
	e := &client.Error{Op: method + " " + address, Status: s, Text: p.Detail}
	switch {
	case !known && code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		e.Status, e.Applied, e.ID = wire.StatusUnknown, client.AppliedUnknown, wire.ID{1}
	case !known:
		return fmt.Errorf("%s %s: %d %s: %s", method, address, code, p.Code, p.Detail)
	case !s.Decided():
		e.Applied, e.ID = client.AppliedUnknown, wire.ID{1}
		if s.NotApplied() {
			e.Applied = client.AppliedNo
		}
	}
	return e
}
