package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usher-seats/usher/wire"
)

// Answers that come in any order reach the calls they belong to.
func TestAnswersFindTheirCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind != wire.KindHold {
				return false
			}
			b := bytes.Clone(body)
			// The later a request came, the earlier it is answered.
			time.AfterFunc(time.Second-time.Duration(h.Request&0xffffffff)*time.Millisecond, func() { s.usual(h, b) })
			return true
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				seat := wire.SeatID(i)
				h, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{seat}})
				if err != nil || h.Seats()[0] != seat {
					t.Errorf("asked for seat %d, got %v, %v", seat, h, err)
				}
			})
		}
		all.Wait()
		if n := c.dialed(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A gate holds a client's writes back while it is shut, and counts them.
type gate struct {
	shut   atomic.Pointer[chan struct{}]
	writes atomic.Int32
}

func (g *gate) close() (open func()) {
	c := make(chan struct{})
	g.shut.Store(&c)
	return func() { close(c) }
}

type gated struct {
	net.Conn
	*gate
}

func (g gated) Write(b []byte) (int, error) {
	if c := g.shut.Load(); c != nil {
		<-*c
	}
	g.writes.Add(1)
	return g.Conn.Write(b)
}

func (g gated) Close() error { return g.Conn.Close() }

// What gathers while the socket is busy leaves with one write.
func TestWritesCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		g := new(gate)
		c.wrap = func(nc net.Conn) net.Conn { return gated{nc, g} }
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		open := g.close()
		g.writes.Store(0)
		var all sync.WaitGroup
		for range 500 {
			all.Go(func() {
				if _, err := ev.Info(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // the writer holds the first frame, the others gather
		open()
		all.Wait()
		if n := g.writes.Load(); n > 2 {
			t.Errorf("500 requests took %d writes", n)
		}
	})
}

// A call that was given up leaves its place when its answer comes, and the answer
// reaches nobody else.
func TestAnswerToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.meddle(once(wire.KindHold, func(s *session, h wire.Header, body []byte) {
			b := bytes.Clone(body)
			time.AfterFunc(500*time.Millisecond, func() { s.usual(h, b) })
		}))
		o := c.options()
		o.MaxInFlight = 1
		cl, ev := dialFake(t, c, o)
		defer cl.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := ev.Hold(ctx, twoSeats); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("first call: %v", err)
		}
		start := time.Now()
		if _, err := ev.Info(t.Context()); err != nil {
			t.Errorf("second call: %v", err)
		}
		if waited := time.Since(start); waited != 400*time.Millisecond {
			t.Errorf("the second call waited %v for the only place, want 400ms", waited)
		}
	})
}

// A node that has gone silent without closing its connection is given up after
// deadAfter, and asked again over a new one. One that is only slow to answer a
// request, but answers pings, is not.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		var dead atomic.Pointer[session]
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			if h.Kind == wire.KindHold {
				dead.CompareAndSwap(nil, s)
			}
			return s == dead.Load()
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		start := time.Now()
		if _, err := ev.Hold(t.Context(), twoSeats); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < deadAfter || took > deadAfter+pingAfter {
			t.Errorf("gave the silent node up after %v", took)
		}
		if n := c.dialed(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}

		c.meddle(once(wire.KindEvent, func(s *session, h wire.Header, body []byte) {
			b := bytes.Clone(body)
			time.AfterFunc(10*time.Second, func() { s.usual(h, b) })
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := ev.Info(ctx); err != nil {
			t.Errorf("slow answer: %v", err)
		}
		if n := c.dialed(); n != 2 {
			t.Errorf("%d connections: a slow answer cost one", n)
		}
	})
}

// A client that was paused does not take its own absence for the node's.
func TestOwnPauseIsNoSilence(t *testing.T) {
	c := newConn(nil, "a", peer{maxInFlight: 1}, &Options{MaxInFlight: 1})
	q := &call{kind: wire.KindEvent, done: make(chan struct{}, 1)}
	index, err := c.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.enqueue(t.Context(), index, q); err != nil {
		t.Fatal(err)
	}
	c.watch(c.born.Add(time.Hour)) // the first look after the pause
	c.watch(c.born.Add(time.Hour + pingAfter/2))
	if c.cause() != nil {
		t.Errorf("given up without a ping's time to answer: %v", c.cause())
	}
	if c.appended != 2 {
		t.Errorf("%d frames, want the request and one ping", c.appended)
	}
}

// Bytes that are no answer end the connection, not the client.
func TestGarbage(t *testing.T) {
	frame := func(h wire.Header, body string) []byte {
		h.Body = len(body)
		return append(h.Append(nil), body...)
	}
	cases := []struct {
		name   string
		bytes  func(h wire.Header) []byte
		broken bool // the connection is
	}{
		{"noise", func(h wire.Header) []byte { return bytes.Repeat([]byte{0xfe}, 64) }, true},
		{"length below the header", func(h wire.Header) []byte { return make([]byte, 16) }, true},
		{"half a frame", func(h wire.Header) []byte {
			return binary.LittleEndian.AppendUint32(nil, wire.MaxAnswerBody)
		}, false},
		{"a request", func(h wire.Header) []byte { h.Flags = 0; return frame(h, "") }, true},
		{"another kind", func(h wire.Header) []byte {
			h.Flags, h.Kind = wire.FlagAnswer, wire.KindMap
			return frame(h, "")
		}, true},
		{"an answer to a request that was never made", func(h wire.Header) []byte {
			h.Flags, h.Request = wire.FlagAnswer, h.Request+1<<32
			return frame(h, "")
		}, true},
		{"an answer to a place that does not exist", func(h wire.Header) []byte {
			h.Flags, h.Request = wire.FlagAnswer, 1<<31
			return frame(h, "")
		}, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a")
				c.meddle(once(wire.KindHold, func(s *session, h wire.Header, body []byte) {
					s.raw(tc.bytes(h))
					if !tc.broken {
						s.nc.Close()
					}
				}))
				cl, ev := dialFake(t, c, nil)
				defer cl.Close()
				h, err := ev.Hold(t.Context(), twoSeats)
				if err != nil {
					t.Fatal(err)
				}
				if n := c.hall.effects(h.ID()); n != 1 || c.dialed() != 2 {
					t.Errorf("took effect %d times over %d connections", n, c.dialed())
				}
			})
		})
	}
}

// A body that is not what its kind says is an error of its call only, and leaves
// open what happened.
func TestUnreadableAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.meddle(once(wire.KindHold, func(s *session, h wire.Header, body []byte) {
			s.apply(h, body)
			s.reply(h, wire.StatusOK, []byte("?"))
		}))
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		_, err := ev.Hold(t.Context(), twoSeats)
		var e *Error
		if !errors.As(err, &e) || e.Status != wire.StatusBadFrame || e.Applied != AppliedUnknown || !errors.Is(err, wire.ErrShort) {
			t.Fatalf("error is %v", err)
		}
		again := twoSeats
		again.ID = e.ID
		if _, err := ev.Hold(t.Context(), again); err != nil || c.dialed() != 1 {
			t.Errorf("repeated: %v, %d connections", err, c.dialed())
		}
	})
}

// An answer that comes twice is taken once.
func TestAnswerTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.meddle(func(s *session, h wire.Header, body []byte) bool {
			s.usual(h, body)
			s.usual(h, body)
			return true
		})
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		for i := range 50 {
			seat := wire.SeatID(i)
			h, err := ev.Hold(t.Context(), HoldRequest{Seats: []wire.SeatID{seat}})
			if err != nil || h.Seats()[0] != seat {
				t.Fatalf("asked for seat %d, got %v, %v", seat, h, err)
			}
		}
		if n := c.dialed(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// Answers larger than any buffer arrive whole, compressed or not.
func TestLargeAnswers(t *testing.T) {
	for _, compress := range []bool{false, true} {
		t.Run(fmt.Sprintf("compressed %v", compress), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				planes := make([]byte, 16*200_000)
				for i := range planes {
					planes[i] = byte(i * i >> 7)
				}
				c := newCluster("a")
				var offered wire.Compression
				c.welcome(func(s *session, h wire.Header, body []byte) {
					var hello wire.Hello
					if _, err := hello.Decode(body); err != nil {
						t.Error(err)
					}
					offered = hello.Compression
					w := wire.Welcome{Version: 1, MaxInFlight: 10, Compression: offered}
					s.reply(h, wire.StatusOK, w.Append(nil))
				})
				c.meddle(func(s *session, h wire.Header, body []byte) bool {
					if h.Kind != wire.KindMap {
						return false
					}
					out := (&wire.SeatMap{Version: 9, Planes: planes}).Append(nil)
					h.Flags = wire.FlagAnswer
					if offered == wire.CompressGzip {
						h.Flags |= wire.FlagCompressed
						var z bytes.Buffer
						w := gzip.NewWriter(&z)
						w.Write(out)
						w.Close()
						out = z.Bytes()
					}
					h.Body = len(out)
					s.raw(append(h.Append(nil), out...))
					return true
				})
				o := c.options()
				o.Compression = compress
				cl, ev := dialFake(t, c, o)
				defer cl.Close()
				m, err := ev.Map(t.Context(), Latest)
				if err != nil || m.Version != 9 || !bytes.Equal(m.Planes, planes) {
					t.Errorf("the map did not arrive as it was sent: %v", err)
				}
				if (offered == wire.CompressGzip) != compress {
					t.Errorf("offered compression %d", offered)
				}
			})
		})
	}
}

// What is wrong at hello is told at once, not tried again until time is over.
func TestHelloRefused(t *testing.T) {
	cases := []struct {
		name    string
		welcome func(s *session, h wire.Header, body []byte)
		says    string
	}{
		{"key", func(s *session, h wire.Header, body []byte) { s.reply(h, wire.StatusUnauthorized, nil) }, "API key"},
		{"version", func(s *session, h wire.Header, body []byte) {
			s.reply(h, wire.StatusBadVersion, []byte("speaks 2 to 4"))
		}, "speaks 2 to 4"},
		{"web server", func(s *session, h wire.Header, body []byte) {
			s.raw([]byte("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"))
		}, "does not speak Usher's protocol"},
		{"old welcome", func(s *session, h wire.Header, body []byte) { s.reply(h, wire.StatusOK, []byte("hi")) }, "too short"},
		{"closed", func(s *session, h wire.Header, body []byte) { s.nc.Close() }, "no answer to hello"},
		{"silence", func(s *session, h wire.Header, body []byte) {}, "deadline exceeded"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster("a")
				c.welcome(tc.welcome)
				start := time.Now()
				_, err := Dial(t.Context(), []string{"a"}, c.options())
				if err == nil || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("error is %v, want one with %q", err, tc.says)
				}
				if took := time.Since(start); took > dialTimeout {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// A key that is revoked while the client runs ends calls at once.
func TestKeyRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		c.welcome(func(s *session, h wire.Header, body []byte) { s.reply(h, wire.StatusUnauthorized, nil) })
		c.restart("a")
		_, err := ev.Info(t.Context())
		if StatusOf(err) != wire.StatusUnauthorized {
			t.Errorf("error is %v", err)
		}
	})
}

// A node of another cluster is not asked about events of this one.
func TestAnotherCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a", "b")
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		c.id = wire.KeyID("another")
		c.hall.lead("b")
		_, err := ev.Hold(t.Context(), twoSeats)
		if err == nil || !strings.Contains(err.Error(), "belongs to cluster") {
			t.Errorf("error is %v", err)
		}
	})
}

// Dial takes the first node that answers.
func TestDialPassesDeadNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("b")
		cl, err := Dial(t.Context(), []string{"a", "b"}, c.options())
		if err != nil {
			t.Fatal(err)
		}
		cl.Close()
		if _, err := Dial(t.Context(), []string{"x", "y"}, c.options()); !errors.Is(err, errRefused) {
			t.Errorf("no node answers: %v", err)
		}
	})
}

// Close ends calls that wait and leaves no goroutine behind: the bubble of the
// test would not end with one.
func TestCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		c.meddle(func(s *session, h wire.Header, body []byte) bool { return h.Kind == wire.KindHold })
		o := c.options()
		o.Conns = 3
		cl, ev := dialFake(t, c, o)
		errs := make(chan error)
		for range 20 {
			go func() {
				_, err := ev.Hold(t.Context(), twoSeats)
				errs <- err
			}()
		}
		synctest.Wait()
		cl.Close()
		for range 20 {
			err := <-errs
			var e *Error
			if !errors.Is(err, ErrClosed) || !errors.As(err, &e) || e.Applied != AppliedUnknown {
				t.Errorf("a call under way: %v", err)
			}
		}
		_, err := ev.Hold(t.Context(), twoSeats)
		var e *Error
		if !errors.Is(err, ErrClosed) || !errors.As(err, &e) || e.Applied != AppliedNo {
			t.Errorf("a call afterwards: %v", err)
		}
		if err := cl.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
	})
}

// Callers wait when too much is unsent, and go on when it is.
func TestUnsentBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("a")
		g := new(gate)
		c.wrap = func(nc net.Conn) net.Conn { return gated{nc, g} }
		cl, ev := dialFake(t, c, nil)
		defer cl.Close()
		open := g.close()
		conn := cl.everyNode()[0].conns()[0]
		var all sync.WaitGroup
		for range 2000 {
			all.Go(func() {
				q := ev.read("test", wire.KindEvent, func(b []byte) []byte {
					return (&wire.EventRef{Event: 7}).Append(append(b, make([]byte, 4096-8)...))[:4096]
				})
				if err := cl.ask(t.Context(), q, nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		conn.mu.Lock()
		unsent := len(conn.out)
		conn.mu.Unlock()
		if unsent < maxUnsent || unsent > maxUnsent+8192 {
			t.Errorf("%d bytes are unsent, the bound is %d", unsent, maxUnsent)
		}
		open()
		all.Wait()
	})
}
