package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds whatever a test waits for. Nothing takes nearly as long.
const patience = 20 * time.Second

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
		time.Sleep(time.Millisecond) // the interval of a poll, not a guess at a duration
	}
}

// A script is a source of numbers: at position n all numbers to n were said. It
// remembers those from floor on. Any goroutine.
type script struct {
	mu          sync.Mutex
	pos, floor  uint64
	over, fails bool
	fill        int // bytes beside
	fulls       int // how often everything was asked for
	asked       int // how often news was
}

func newScript() *script { return &script{pos: 1} }

func (s *script) say(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pos += n
}

func (s *script) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

var errScript = errors.New("nothing to be had")

func (s *script) part(event string, from uint64) Part {
	return Part{event, strconv.FormatUint(s.pos, 10), fmt.Appendf(nil, `{"from":%d,"to":%d,"fill":"%s"}`, from, s.pos, strings.Repeat("x", s.fill))}
}

func (s *script) Full(context.Context) (Update, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fulls++
	if s.fails {
		return Update{}, errScript
	}
	return Update{Position: s.pos, Frame: NewFrame(s.part("full", 0))}, nil
}

func (s *script) Since(_ context.Context, pos uint64) (Update, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	switch {
	case s.fails:
		return Update{}, errScript
	case s.over:
		return Update{Position: s.pos + 1, Frame: NewFrame(Part{"over", "", []byte("{}")}), Over: true}, nil
	case pos >= s.pos:
		return Update{Position: pos}, nil
	case pos < s.floor:
		return Update{Position: s.pos, Frame: NewFrame(Part{"resync", "", []byte("{}")}, s.part("full", 0)), Resync: true}, nil
	}
	return Update{Position: s.pos, Frame: NewFrame(s.part("delta", pos))}, nil
}

// A stage is a hub and a listener whose connections join it. It belongs to a test.
type stage struct {
	t      testing.TB
	hub    *Hub
	source *script
	ln     net.Listener
}

// newStage starts a hub; wrap, if not nil, changes what joins.
func newStage(t testing.TB, c Config, framing Framing, wrap func(net.Conn) net.Conn) *stage {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, hub: h, source: newScript(), ln: ln}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if wrap != nil {
				conn = wrap(conn)
			}
			if h.Join("topic", func() Source { return s.source }, Connection{Conn: conn, Framing: framing}) != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
		h.Close()
	})
	return s
}

// A listener is a client who understands event streams. It belongs to the test's
// goroutine.
type listener struct {
	t  testing.TB
	nc net.Conn
	in *bufio.Reader
	at uint64
}

func (s *stage) listen() *listener {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.ln.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	return hear(s.t, nc)
}

func hear(t testing.TB, nc net.Conn) *listener {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &listener{t: t, nc: nc, in: bufio.NewReader(nc)}
}

type said struct {
	event    string
	from, to uint64
}

// next reads one event; comments are passed over.
func (l *listener) next() (e said, err error) {
	for {
		line, err := l.in.ReadString('\n')
		if err != nil {
			return e, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "event":
			e.event = value
		case "data":
			var d struct{ From, To uint64 }
			if err := json.Unmarshal([]byte(value), &d); err != nil {
				return e, err
			}
			e.from, e.to = d.From, d.To
		case "":
			if e.event != "" {
				return e, nil
			}
		}
	}
}

// follow reads until the listener knows a position, and fails if anything he was
// told does not go on where he was.
func (l *listener) follow(to uint64) (events []said) {
	l.t.Helper()
	for l.at < to {
		e, err := l.next()
		if err != nil {
			l.t.Fatalf("at %d, on the way to %d: %v", l.at, to, err)
		}
		if e.event == "delta" && e.from > l.at {
			l.t.Fatalf("at %d there comes a delta from %d: what is between is lost", l.at, e.from)
		}
		if e.to > 0 {
			l.at = e.to
		}
		events = append(events, e)
	}
	return events
}

// closed reads to the end of the connection.
func (l *listener) closed() {
	l.t.Helper()
	if _, err := io.Copy(io.Discard, l.in); errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Fatalf("the connection is still open")
	}
}
