package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/wire"
)

const (
	// maxBackups bounds the backups and restores that a node works at: each has a
	// few images in memory.
	maxBackups = 2
	// stallPatience is how long the client of a backup or a restore may not read, or
	// send, anything.
	stallPatience = 30 * time.Second
)

// backupState is what a node has for backups and restores. Safe on any goroutine.
type backupState struct {
	running atomic.Int32
	images  keptImages
}

// enter makes room for one more backup or restore. Whoever gets no problem calls
// leave at its end.
func (b *backupState) enter() *problem {
	if b.running.Add(1) <= maxBackups {
		return nil
	}
	b.leave()
	p := statusProblem(wire.StatusOverloaded)
	p.detail = fmt.Sprintf("This node works at %d backups or restores already. Nothing changed. Wait until one of them has ended, or ask another node.", maxBackups)
	return p
}

func (b *backupState) leave() { b.running.Add(-1) }

type backupBody struct {
	Events []string `json:"events"` // none: all
}

// backup serves POST /admin/backup: the answer is the backup. What fails before the
// first byte is a problem; if something fails later, the answer ends without a
// trailer, and not as an answer should.
func (q *request) backup() *problem {
	var b backupBody
	if p := q.body(&b); p != nil {
		return p
	}
	keys := slices.Compact(slices.Sorted(slices.Values(b.Events)))
	for _, key := range keys {
		switch _, s, text := q.n.find(q.budget, key); s {
		case wire.StatusOK:
		case wire.StatusUnknownEvent:
			p := statusProblem(s)
			p.detail = fmt.Sprintf("There is no event %q, so nothing was backed up. GET /v1/events lists those there are.", key)
			return p.with("key", key)
		default:
			return unread(s, []byte(text), nil)
		}
	}
	if p := q.n.backups.enter(); p != nil {
		return p
	}
	ctx, cancel := context.WithCancel(context.Background())
	from, to := io.Pipe()
	go func() {
		defer q.n.backups.leave()
		defer cancel()
		err := q.n.writeBackup(ctx, to, keys)
		if err != nil {
			q.f.log.Warn("a backup failed", "request", q.id, "error", err)
		}
		_ = to.CloseWithError(err) // always nil
	}()
	q.ctx.SetContentType(packedMedia)
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	q.ctx.SetStatusCode(http.StatusOK)
	q.ctx.SetBodyStream(&patientReader{PipeReader: from, ctx: q.ctx, cancel: cancel}, -1)
	return nil
}

// A patientReader gives the client new time for every piece that it is sent. It
// belongs to the connection's goroutine.
type patientReader struct {
	*io.PipeReader
	ctx    *fasthttp.RequestCtx
	cancel context.CancelFunc // ends the backup
}

func (r *patientReader) Read(p []byte) (int, error) {
	n, err := r.PipeReader.Read(p)
	if err == nil {
		err = r.ctx.SetWriteDeadline(time.Now().Add(stallPatience))
	}
	return n, err
}

func (r *patientReader) Close() error {
	r.cancel()
	return r.PipeReader.Close()
}

// errStopping ends backups and restores of a node that is stopping.
var errStopping = errors.New("the node is stopping")

// writeBackup writes a backup of all events, or of some, which are sorted. One event
// is being written while the next is being had, so two are in memory.
func (n *Node) writeBackup(ctx context.Context, to io.Writer, keys []string) error {
	ctx, cancel := context.WithCancel(ctx)
	w, err := newBackupWriter(to, n.cluster(), time.Now())
	if err != nil {
		cancel()
		return err
	}
	events := make(chan *BackupEvent)
	had := make(chan error, 1)
	go func() {
		defer close(events)
		had <- n.eachBackup(ctx, keys, events)
	}()
	for e := range events {
		if err != nil {
			continue // until the other goroutine has noticed
		}
		if err = w.event(e); err != nil {
			cancel()
		}
	}
	cancel()
	if err = errors.Join(err, <-had); err != nil {
		return err
	}
	return w.end()
}

// eachBackup hands out the events to be backed up, one after the other.
func (n *Node) eachBackup(ctx context.Context, keys []string, to chan<- *BackupEvent) error {
	for after := ""; ; {
		page, err := n.nextEvents(ctx, keys, after)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, e := range page {
			after = string(e.Key)
			if n.stopping.Load() {
				return errStopping
			}
			p, err := n.image(ctx, after, e.Event)
			if errors.Is(err, errNoContent) {
				continue
			}
			if err != nil {
				return err
			}
			b, err := newBackupEvent(p)
			if err != nil {
				return fmt.Errorf("event %q: its image cannot be restored: %w", after, err)
			}
			select {
			case to <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// nextEvents are the next events to be backed up, in the order of their keys, as
// the directory has them now.
func (n *Node) nextEvents(ctx context.Context, keys []string, after string) ([]wire.EventEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, imagePatience)
	defer cancel()
	if len(keys) == 0 {
		q := wire.EventsQuery{After: []byte(after)}
		s, body := n.do(ctx, wire.Record{Kind: wire.KindEvents, Flags: wire.FlagConsistent, Body: q.Append(nil)})
		if s != wire.StatusOK {
			return nil, fmt.Errorf("list the events: %v %s", s, body)
		}
		var list wire.EventList
		err := list.Decode(body)
		return list.Entries, err
	}
	for _, key := range keys {
		if key <= after {
			continue
		}
		loc, s, text := n.find(ctx, key)
		switch s {
		case wire.StatusOK:
			return []wire.EventEntry{{Key: []byte(key), Event: loc.Event}}, nil
		case wire.StatusUnknownEvent: // it was deleted meanwhile
		default:
			return nil, fmt.Errorf("find event %q: %v %s", key, s, text)
		}
	}
	return nil, nil
}
