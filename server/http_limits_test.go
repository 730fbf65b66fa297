package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// serveFrontend lets a frontend of a test's own serve on loopback.
func serveFrontend(t *testing.T, f *frontend) {
	t.Helper()
	if f.gate == nil {
		if err := f.listen("127.0.0.1:0", 100, 0); err != nil {
			t.Fatal(err)
		}
	}
	f.start(nil)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := f.stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
}

// talk writes raw bytes to an address and reads the answer's head and body.
func talk(t *testing.T, addr, text string) *answer {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return hear(t, c)
}

// hear reads one answer and checks that the connection is then closed.
func hear(t *testing.T, c net.Conn) *answer {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	a := &answer{t: t, what: "raw request", code: resp.StatusCode, header: resp.Header}
	if a.raw, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(a.raw, &a.json); err != nil {
		t.Fatalf("answer is not JSON: %s", a.raw)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after the answer: %v, want the end of the connection", err)
	}
	return a
}

// TestHTTPUnreadableRequests proves that what is no request, or too large a one, is
// answered with a problem and costs the node no more than its limits.
func TestHTTPUnreadableRequests(t *testing.T) {
	s := newSite(t, nil)
	addr := s.n.HTTPAddr()
	t.Run("not HTTP", func(t *testing.T) {
		talk(t, addr, "\x16\x03\x01hello\r\n\r\n").problem("bad_request")
	})
	t.Run("long header", func(t *testing.T) {
		talk(t, addr, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", maxHTTPHeader)+"\r\n\r\n").problem("header_too_large")
	})
	t.Run("long body announced", func(t *testing.T) {
		talk(t, addr, fmt.Sprintf("POST /v1/events/x/holds HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", maxHTTPBody+1)).problem("too_large")
	})
	t.Run("long body in chunks", func(t *testing.T) {
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<16, strings.Repeat("x", 1<<16))
		talk(t, addr, "POST /v1/events/x/holds HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.Repeat(chunk, 17)).problem("too_large")
	})
	t.Run("long body sent to its end", func(t *testing.T) {
		// The client writes all before it reads. It gets the answer and no reset.
		body := strings.Repeat("x", 3<<20)
		talk(t, addr, fmt.Sprintf("POST /v1/events/x/holds HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body)).problem("too_large")
	})
	t.Run("manifests may be longer", func(t *testing.T) {
		body := strings.Repeat(" ", 2<<20) + `{"key":"big","areas":[{"name":"F","category":"c","capacity":5}]}`
		s.post("/v1/events", body).ok(201)
		talk(t, addr, fmt.Sprintf("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", maxManifestBody+1)).problem("too_large")
	})
	t.Run("strangers may not send long manifests", func(t *testing.T) {
		s.post("/admin/keys", obj{"name": "root", "role": "operate"}).ok(201)
		talk(t, addr, fmt.Sprintf("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", maxHTTPBody+1)).problem("too_large")
	})
}

// TestHTTPSlowClients proves that a client who sends a byte now and then keeps a
// connection no longer than the time for a whole request.
func TestHTTPSlowClients(t *testing.T) {
	s := newSite(t, nil)
	f := newFrontend(s.n, "slow", apiRoutes())
	f.server.ReadTimeout = 500 * time.Millisecond
	f.server.IdleTimeout = 500 * time.Millisecond
	serveFrontend(t, f)
	for _, begin := range []string{"", "GET /v1/events HTTP/1.1\r\nHost: lo", "POST /v1/events/x/holds HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"} {
		t.Run(fmt.Sprintf("%.4q", begin), func(t *testing.T) {
			c, err := net.Dial("tcp", f.address())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, begin); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if begin != "" {
				hear(t, c).problem("request_timeout")
			} else if _, err := io.Copy(io.Discard, c); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("a silent client kept its connection for %v", took)
			}
		})
	}
	t.Run("idle", func(t *testing.T) {
		c, err := net.Dial("tcp", f.address())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if all, err := io.ReadAll(c); err != nil || !bytes.HasPrefix(all, []byte("HTTP/1.1 200 OK")) {
			t.Errorf("after one request and then silence: %v, %q", err, all)
		}
	})
	if n := f.gate.connections(); n != 0 {
		until(t, "all connections are counted out", func() bool { return f.gate.connections() == 0 })
	}
}

// TestHTTPConnectionLimits proves that connections beyond a limit are told so, and
// that places become free again.
func TestHTTPConnectionLimits(t *testing.T) {
	s := newSite(t, nil)
	for _, limit := range []struct{ most, perIP int }{{3, 0}, {100, 3}} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			f := newFrontend(s.n, "small", apiRoutes())
			if err := f.listen("127.0.0.1:0", limit.most, limit.perIP); err != nil {
				t.Fatal(err)
			}
			serveFrontend(t, f)
			var open []net.Conn
			for range 3 {
				c, err := net.Dial("tcp", f.address())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				open = append(open, c)
			}
			until(t, "three connections are in", func() bool { return f.gate.connections() == 3 })
			c, err := net.Dial("tcp", f.address())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			a := hear(t, c).problem("too_many_connections")
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			if got := f.gate.refused.Load(); got != 1 {
				t.Errorf("%d connections counted as refused, want 1", got)
			}
			open[0].Close()
			until(t, "a place is free again", func() bool { return f.gate.connections() < 3 })
			s.do(call{method: "GET", url: "http://" + f.address() + "/v1/events"}).ok(200)
		})
	}
}

// TestHTTPPanic proves that a handler that panics costs its request and nothing
// else.
func TestHTTPPanic(t *testing.T) {
	s := newSite(t, nil)
	f := newFrontend(s.n, "panics", []route{
		{"GET", "/boom", "boom", wire.RoleRead, keyed, func(q *request) *problem {
			q.ctx.Response.Header.Set("Secret", "half an answer")
			var none map[string]int
			none["x"] = 1
			return nil
		}},
		{"GET", "/v1/events", "listEvents", wire.RoleRead, keyed, (*request).listEvents},
	})
	serveFrontend(t, f)
	a := s.do(call{method: "GET", url: "http://" + f.address() + "/boom", header: map[string]string{headerRequestID: "abc"}, alien: true})
	a.problem("internal").want("request_id", "abc")
	if a.header.Get("Secret") != "" {
		t.Error("the answer has headers of the handler that failed")
	}
	if f.panics.Load() != 1 || f.stats["boom"].codes[500-firstCode].Load() != 1 {
		t.Errorf("%d panics and %d answers 500 counted, want one each", f.panics.Load(), f.stats["boom"].codes[500-firstCode].Load())
	}
	s.do(call{method: "GET", url: "http://" + f.address() + "/v1/events"}).ok(200)
}

// TestHTTPEveryStatus proves that each status has an explanation and comes
// out of a socket as the problem it explains.
func TestHTTPEveryStatus(t *testing.T) {
	s := newSite(t, nil)
	status := wire.Status(0)
	f := newFrontend(s.n, "statuses", []route{{"GET", "/v1/events", "listEvents", wire.RoleRead, keyed, func(*request) *problem {
		return refusal(status, nil, nil)
	}}})
	serveFrontend(t, f)
	known := 0
	for status = 1; status < 1000; status++ {
		if strings.HasPrefix(status.String(), "status_") {
			continue
		}
		known++
		e, ok := statusProblems[status]
		if !ok {
			t.Errorf("%v has no explanation", status)
			continue
		}
		a := s.do(call{method: "GET", url: "http://" + f.address() + "/v1/events"}).problem(status.String())
		a.want("type", "docs/http.md#"+status.String()).want("title", e.title).want("status", e.http).want("detail", e.detail)
		if (a.header.Get("Retry-After") != "") != (e.retry > 0) {
			t.Errorf("%v: Retry-After is %q", status, a.header.Get("Retry-After"))
		}
		if a.header.Get("Content-Type") != problemMedia {
			t.Errorf("%v: Content-Type is %q", status, a.header.Get("Content-Type"))
		}
	}
	if known != len(statusProblems) {
		t.Errorf("%d statuses are known and %d explained", known, len(statusProblems))
	}
	for s, e := range statusProblems {
		// Whoever was refused by a system that did not decide may try again.
		if !s.Decided() && e.http == 503 && e.retry == 0 {
			t.Errorf("%v is 503 without Retry-After", s)
		}
	}
}

// TestHTTPOverTLS proves that both listeners speak TLS, that silent or plain
// clients do not stop others, and that a connection too many is closed.
func TestHTTPOverTLS(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.TLSCert, c.TLSKey = writeCertificate(t)
		c.MaxHTTPConns = 3
	})
	for range 2 {
		silent, err := net.Dial("tcp", s.n.HTTPAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	until(t, "two connections are in", func() bool { return s.n.http.gate.connections() == 2 })
	e := s.event("a", 1, nil)
	s.post(e+"/holds", obj{"seats": []string{"A-1-1"}}).ok(201)
	s.get("/readyz").ok(200)

	// The client above keeps the third place.
	c, err := net.Dial("tcp", s.n.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("a connection too many got %d bytes and %v, want its end", n, err)
	}
	plain := strings.Replace(s.admin, "https:", "http:", 1)
	if resp, err := s.client.Get(plain + "/healthz"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == 200 {
			t.Error("the admin listener answers without TLS")
		}
	}
	s.get("/readyz").ok(200)
}

// TestHTTPStopAtOnce proves that a listener can be stopped right after it was
// started, when fasthttp does not know it yet.
func TestHTTPStopAtOnce(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Listen, c.HTTP, c.Admin = Off, Off, Off })
	for range 200 {
		f := newFrontend(n, "brief", apiRoutes())
		if err := f.listen("127.0.0.1:0", 10, 0); err != nil {
			t.Fatal(err)
		}
		f.start(nil)
		ctx, cancel := context.WithTimeout(t.Context(), testPatience)
		if err := f.stop(ctx); err != nil {
			t.Fatalf("stop: %v", err)
		}
		cancel()
	}
}
