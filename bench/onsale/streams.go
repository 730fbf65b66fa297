package onsale

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/usher-seats/usher/wire"
)

// streams are connections by which waiting users watch the queue: a goroutine each,
// as many as the scenario allows.
type streams struct {
	run    *run
	client *http.Client
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	free   atomic.Int64

	opened, refused, frames, broken atomic.Int64
}

func newStreams(r *run) *streams {
	s := &streams{run: r}
	s.ctx, s.cancel = context.WithCancel(r.ctx)
	s.free.Store(int64(r.s.Carriers.Streams))
	// No timeout: a stream lasts as long as its user waits.
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, DisableCompression: true}}
	if r.o.Client.TLS != nil {
		s.client.Transport.(*http.Transport).TLSClientConfig = r.o.Client.TLS.Clone()
	}
	return s
}

// open lets a user watch; false: there are as many streams as there may be.
func (s *streams) open(user uint32, k carrier) bool {
	if s.free.Add(-1) < 0 {
		s.free.Add(1)
		s.refused.Add(1)
		return false
	}
	s.work.Go(func() {
		defer s.free.Add(1)
		watch := s.sse
		if k == byWebSocket {
			watch = s.socket
		}
		if err := watch(user); err != nil && s.ctx.Err() == nil {
			s.broken.Add(1)
			s.run.log("stream of %v: %v", k, err)
		}
	})
	return true
}

// stop ends all streams.
func (s *streams) stop() {
	s.cancel()
	s.work.Wait()
}

// waits reports whether the user still has something to wait for.
func (s *streams) waits(user uint32) bool {
	l := s.run.lanes[user%lanes]
	l.mu.Lock()
	defer l.mu.Unlock()
	return s.run.crowd.phase(user) == waiting
}

// frame takes in what was pushed; false: the user has no reason to watch any more.
func (s *streams) frame(user uint32, text []byte) (bool, error) {
	var got struct {
		State   string
		Serving uint64
	}
	if err := json.Unmarshal(text, &got); err != nil {
		return false, fmt.Errorf("a frame that is no JSON: %w", err)
	}
	s.frames.Add(1)
	if got.State == wire.QueueSoldOut.String() || got.State == wire.QueueClosed.String() {
		l := s.run.lanes[user%lanes]
		l.mu.Lock()
		l.finish(user, &l.tally.soldOut)
		l.mu.Unlock()
		return false, nil
	}
	return s.waits(user), nil
}

// maxFrame bounds a pushed state, in bytes.
const maxFrame = 64 << 10

// sse reads server-sent events.
func (s *streams) sse(user uint32) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	w := s.run.web
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, w.path(s.run.event(user), user, "/queue/stream"), nil)
	if err != nil {
		return err
	}
	w.head(q, "text/event-stream")
	resp, err := s.client.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	s.opened.Add(1)
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 2048), maxFrame)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !ok {
			continue
		}
		if more, err := s.frame(user, data); !more || err != nil {
			return err
		}
	}
	return lines.Err()
}

// socketDial bounds connecting.
const socketDial = 10 * time.Second

// socket reads the messages of a WebSocket.
func (s *streams) socket(user uint32) error {
	ctx, cancel := context.WithTimeout(s.ctx, socketDial)
	defer cancel()
	address := strings.Replace(s.run.web.path(s.run.event(user), user, "/queue/ws"), "http", "ws", 1)
	options := &websocket.DialOptions{HTTPClient: s.client, HTTPHeader: http.Header{}}
	if key := s.run.o.Client.Key; key != "" {
		options.HTTPHeader.Set("Authorization", "Bearer "+key)
	}
	c, _, err := websocket.Dial(ctx, address, options)
	if err != nil {
		return err
	}
	defer c.CloseNow()
	s.opened.Add(1)
	c.SetReadLimit(maxFrame)
	for {
		_, text, err := c.Read(s.ctx)
		if err != nil {
			return err
		}
		if more, err := s.frame(user, text); !more || err != nil {
			_ = c.Close(websocket.StatusNormalClosure, "") // he has what he waited for
			return err
		}
	}
}
