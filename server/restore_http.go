package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/wire"
)

const restorePath = "/admin/restore"

// What has become of an event of a backup.
const (
	eventRestored = "restored"
	eventExists   = "exists"  // it was restored from this backup before
	eventRefused  = "refused" // something else has its key
)

type restoredEvent struct {
	Key      string     `json:"key"`
	Result   string     `json:"result"`
	Reason   string     `json:"reason,omitempty"` // with refused
	Seats    countsJSON `json:"seats"`            // as the backup has them, like all that follows
	Holds    int        `json:"holds"`
	Bookings int        `json:"bookings"`
	Hash     string     `json:"hash"`
}

type restoreAnswer struct {
	Events []restoredEvent `json:"events"`
}

// A restoring is one call of restore. It belongs to the goroutine that serves it.
type restoring struct {
	q       *request
	all     bool
	missing map[string]bool // the events that were asked for and have not come yet
	done    restoreAnswer
}

// restore serves POST /admin/restore, whose body is a backup. It is read as it
// comes: an event is restored when all of it has come and was verified, and before
// the next one is read. The answer tells of each event what has become of it, also
// if it is a problem.
func (q *request) restore() *problem {
	if media := string(q.ctx.Request.Header.ContentType()); media != packedMedia {
		p := httpProblem(codeMediaType)
		p.title, p.detail = "Not a backup", "Send the backup with \"Content-Type: "+packedMedia+"\"."
		return q.unfinished(p)
	}
	if p := q.n.backups.enter(); p != nil {
		return q.unfinished(p)
	}
	defer q.n.backups.leave()
	r := restoring{q: q, missing: make(map[string]bool), done: restoreAnswer{[]restoredEvent{}}}
	for _, key := range q.ctx.QueryArgs().PeekMulti("event") {
		r.missing[string(key)] = true
	}
	r.all = len(r.missing) == 0
	p := r.run()
	if p == nil {
		p = r.refusals()
	}
	if p != nil {
		return q.unfinished(p.with("events", r.done.Events))
	}
	return q.reply(http.StatusOK, r.done)
}

// unfinished ends a request whose body was not read to its end: the connection is
// closed, but not before the client had time to read the answer.
func (q *request) unfinished(p *problem) *problem {
	if c, ok := underlying(q.ctx.Conn()).(*gatedConn); ok {
		c.linger.Store(true)
	}
	q.ctx.SetConnectionClose()
	return p
}

func (r *restoring) run() *problem {
	body := io.Reader(strings.NewReader(""))
	if s := r.q.ctx.RequestBodyStream(); s != nil {
		body = &patientBody{s, r.q.ctx}
	}
	b, err := OpenBackup(body)
	if err != nil {
		return unreadBackup(err)
	}
	for {
		e, err := b.Next()
		switch {
		case errors.Is(err, io.EOF):
			return r.unfound()
		case err != nil:
			return unreadBackup(err)
		case !r.all && !r.missing[e.Key]:
			continue
		}
		delete(r.missing, e.Key)
		if p := r.event(e); p != nil {
			return p
		}
	}
}

// event restores one.
func (r *restoring) event(e *BackupEvent) *problem {
	image, info, err := e.open()
	if err != nil {
		return unreadBackup(err)
	}
	n := r.q.n
	if n.stopping.Load() {
		return statusProblem(wire.StatusStopping)
	}
	// For the audit log it is the caller's doing, but it has a time of its own.
	fresh, err := n.restore(context.WithoutCancel(r.q.budget), e.Key, image, &info)
	out := restoredEvent{
		Key: e.Key, Result: eventRestored, Seats: countsOf(e.Seats), Holds: e.Holds, Bookings: e.Bookings, Hash: fmt.Sprintf("%016x", e.Hash),
	}
	var no *restoreRefused
	switch {
	case errors.As(err, &no):
		out.Result, out.Reason = eventRefused, sentence(no.text)
	case err != nil:
		return failedRestore(e.Key, err)
	case !fresh:
		out.Result = eventExists
	}
	r.done.Events = append(r.done.Events, out)
	return nil
}

// unfound is the problem that events were asked for which the backup does not have.
func (r *restoring) unfound() *problem {
	if len(r.missing) == 0 {
		return nil
	}
	keys := slices.Sorted(maps.Keys(r.missing))
	p := statusProblem(wire.StatusUnknownEvent)
	p.detail = fmt.Sprintf("The backup has no event %q. \"events\" says what became of the others that were asked for; usher admin backup-list lists those it has.", keys[0])
	return p.with("key", keys[0])
}

// refusals is the problem that some events were not restored.
func (r *restoring) refusals() *problem {
	var reason string
	count := 0
	for i := range r.done.Events {
		if e := &r.done.Events[i]; e.Result == eventRefused {
			if count++; count == 1 {
				reason = e.Reason
			}
		}
	}
	if count == 0 {
		return nil
	}
	p := statusProblem(wire.StatusExists)
	p.detail = fmt.Sprintf("%d of %d events were not restored, for reasons that \"events\" has; the others were. The first: %s", count, len(r.done.Events), reason)
	return p
}

// unreadBackup is the problem that a backup cannot be read any further. What was
// restored before is as it should be.
func unreadBackup(err error) *problem {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		p := httpProblem(codeSlow)
		p.detail = fmt.Sprintf("Nothing more of the backup came for %v. The events in \"events\" are restored. Send it again: they are not restored twice.", stallPatience)
		return p
	}
	return badRequest("", sentence(err.Error())+" No more is restored than \"events\" has.")
}

// failedRestore is the problem that the cluster did not take an event.
func failedRestore(key string, err error) *problem {
	status, why := wire.StatusUnavailable, err.Error()
	var failed *restoreFailed
	if errors.As(err, &failed) {
		status, why = failed.status, failed.text
	}
	p := statusProblem(status)
	if why != "" {
		p.detail = sentence(why)
	}
	p.detail = fmt.Sprintf("Event %q was not restored: %s The events in \"events\" are. Send the backup again: they are not restored twice.", key, p.detail)
	return p.with("key", key)
}

// A patientBody gives the client new time for every piece that it sends. It belongs
// to the goroutine that serves the request.
type patientBody struct {
	io.Reader
	ctx *fasthttp.RequestCtx
}

func (b *patientBody) Read(p []byte) (int, error) {
	if err := b.ctx.SetReadDeadline(time.Now().Add(stallPatience)); err != nil {
		return 0, err
	}
	return b.Reader.Read(p)
}

// streaming makes a listener stream the bodies of requests to one path. All others
// get theirs whole, within the limit that they have elsewhere.
func (f *frontend) streaming(path string) {
	next := f.server.Handler
	f.server.StreamRequestBody = true
	f.server.Handler = func(ctx *fasthttp.RequestCtx) {
		body := ctx.RequestBodyStream()
		if body == nil || string(ctx.Path()) == path {
			next(ctx)
			return
		}
		whole, err := io.ReadAll(io.LimitReader(body, maxHTTPBody+1))
		if err == nil && len(whole) > maxHTTPBody {
			err = fasthttp.ErrBodyTooLarge
		}
		if err != nil {
			ctx.SetConnectionClose()
			f.unreadable(ctx, err)
			return
		}
		ctx.Request.SetBodyRaw(whole)
		next(ctx)
	}
}
