package server

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/server/live"
)

const (
	streamMedia = "text/event-stream"

	headerOrigin      = "Origin"
	headerLastEventID = "Last-Event-ID"

	// headPatience bounds writing the head of a stream's answer, which fits in any
	// socket's buffer.
	headPatience = time.Second
	// A browser whose stream has ended comes back after a time between these, so that
	// not all come back at once when a node dies.
	leastReturn, mostReturn = 500 * time.Millisecond, 4 * time.Second
	// sparedFiles are left for requests, stores and other nodes when streams take
	// the rest.
	sparedFiles = 1024
)

// validateLive reports what cannot be about live updates.
func (c *Config) validateLive() error {
	if c.LiveCPU < 0 || c.LiveCPU > 1024 {
		return fmt.Errorf("live updates cannot use %v cores: give a number such as 0.5", c.LiveCPU)
	}
	if c.MaxSubscribers < 0 || c.MaxSubscribersPerEvent < 0 || c.MaxSubscribersPerIP < 0 {
		return errors.New("limits of subscribers cannot be negative")
	}
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || o != u.Scheme+"://"+u.Host {
			return fmt.Errorf("%q is no origin: want https://host or https://host:port and nothing after it", o)
		}
	}
	return nil
}

// startLive starts what pushes live updates.
func (n *Node) startLive() (err error) {
	most := n.cfg.MaxSubscribers
	if files := int(live.FileLimit()); files > 0 && most > files-sparedFiles {
		most = max(1, files-sparedFiles)
		n.log.Info("the limit of open files allows fewer streams than are configured: raise it with ulimit -n or LimitNOFILE",
			"open_files", files, "streams", most, "configured", n.cfg.MaxSubscribers)
	}
	n.live, err = live.New(live.Config{
		CPU: n.cfg.LiveCPU, MaxSubscribers: most, MaxPerTopic: n.cfg.MaxSubscribersPerEvent,
		MaxPerAddress: n.cfg.MaxSubscribersPerIP, WriteTimeout: n.cfg.WriteTimeout, Log: n.log,
	})
	return err
}

// stream serves GET …/stream: the map, and then what changes.
func (q *request) stream() *problem {
	if p := q.locate(); p != nil {
		return p
	}
	n, event, key := q.n, q.event, q.key
	return q.subscribe(fmt.Sprintf("seats/%d", event), func() live.Source { return n.seatSource(event, key) })
}

// subscribe makes a subscriber of a topic of the connection: an event stream, or a
// WebSocket if the request asks to upgrade to one.
func (q *request) subscribe(topic string, source func() live.Source) *problem {
	if p := q.originAllowed(); p != nil {
		return p
	}
	var sub live.Connection
	head, p := q.streamHead(&sub)
	if p == nil {
		p = q.position(&sub)
	}
	if p != nil || q.ctx.IsHead() {
		q.ctx.SetContentType(streamMedia)
		return p
	}
	c, ok := underlying(q.ctx.Conn()).(*gatedConn)
	if !ok {
		return httpProblem(codeInternal)
	}
	place, err := q.n.live.Reserve(topic, c.from)
	if err != nil {
		return fullProblem(err)
	}
	c.subscribe(place) // given back when the connection is closed, whatever happens until then
	hub := q.n.live
	// With a response of fasthttp's the hijack would be skipped on "Connection: close",
	// which is what proxies send.
	q.ctx.HijackSetNoResponse(true)
	q.ctx.Hijack(func(hijacked net.Conn) {
		sub.Conn = hijacked.(interface{ UnsafeConn() net.Conn }).UnsafeConn()
		if sub.Framing == live.WebSocket {
			sub.Input = buffered(hijacked)
		}
		if err := writeHead(sub.Conn, head); err != nil {
			_ = sub.Conn.Close() // it is broken
			return
		}
		_ = hub.Join(topic, source, sub) // an error has closed it: its client comes back
	})
	return nil
}

// buffered takes what the client has sent after its request. What waits in the socket
// stays there.
func buffered(c net.Conn) []byte {
	if c.SetReadDeadline(time.Unix(1, 0)) != nil { // long ago: only what has been read
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(c, maxHTTPHeader)) // ends with the deadline's error
	_ = c.SetReadDeadline(time.Time{})                   // a broken connection says so when it is used
	return b
}

func writeHead(c net.Conn, head []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(headPatience)); err != nil {
		return err
	}
	if _, err := c.Write(head); err != nil {
		return err
	}
	return c.SetWriteDeadline(time.Time{})
}

func fullProblem(err error) *problem {
	code := codeSubscribers
	if full, ok := errors.AsType[*live.FullError](err); ok && full.Scope == live.OneAddress {
		code = codeYourOwn
	}
	return httpProblem(code)
}

// streamHead is the head of the answer, and sets the framing.
func (q *request) streamHead(sub *live.Connection) ([]byte, *problem) {
	get := func(name string) string { return string(q.ctx.Request.Header.Peek(name)) }
	b := []byte("HTTP/1.1 ")
	if get("Upgrade") == "" {
		b = append(b, "200 OK\r\nContent-Type: "+streamMedia+"\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\nConnection: close\r\n"...)
	} else {
		accept, wrong := live.Accept(get)
		if wrong != "" {
			q.ctx.Response.Header.Set("Sec-WebSocket-Version", "13")
			return nil, badRequest("Upgrade", wrong)
		}
		sub.Framing = live.WebSocket
		q.ctx.SetStatusCode(http.StatusSwitchingProtocols)
		b = append(b, "101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+accept+"\r\n"...)
	}
	for _, name := range []string{fasthttp.HeaderAccessControlAllowOrigin, fasthttp.HeaderVary} {
		if v := q.ctx.Response.Header.Peek(name); len(v) > 0 {
			b = fmt.Appendf(b, "%s: %s\r\n", name, v)
		}
	}
	b = fmt.Appendf(b, "%s: %s\r\n\r\n", headerRequestID, q.id)
	if sub.Framing == live.SSE {
		back := leastReturn + time.Duration(rand.Int64N(int64(mostReturn-leastReturn)))
		b = fmt.Appendf(b, "retry: %d\n\n", back.Milliseconds())
	}
	return b, nil
}

// position is where the client wants to go on: the id of the last event that it had.
// A header that is none is passed over, because browsers send what they were told by
// whoever was here before.
func (q *request) position(sub *live.Connection) *problem {
	const since = "since"
	text, said := string(q.ctx.Request.Header.Peek(headerLastEventID)), false
	if text == "" && q.ctx.QueryArgs().Has(since) {
		text, said = string(q.ctx.QueryArgs().Peek(since)), true
	}
	if text == "" && !said {
		return nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil && said {
		return badRequest(since, "The parameter \"since\" must be a version: the digits in the \"id\" of an event of the stream, or in Usher-Version.")
	}
	sub.Position, sub.Resume = v, err == nil
	return nil
}

// originAllowed refuses pages of origins that are neither the node's own nor
// allowed. Requests that are not made by pages have none.
func (q *request) originAllowed() *problem {
	h := &q.ctx.Request.Header
	origin := string(h.Peek(headerOrigin))
	if origin == "" || slices.Contains(q.n.cfg.Origins, origin) {
		return nil
	}
	if _, host, ok := strings.Cut(origin, "://"); ok && strings.EqualFold(host, string(h.Host())) {
		return nil
	}
	return httpProblem(codeOrigin)
}

// shareWithOrigin tells browsers that pages of an allowed origin may read the
// answer.
func (q *request) shareWithOrigin() {
	if len(q.n.cfg.Origins) == 0 {
		return
	}
	h := &q.ctx.Response.Header
	h.Add(fasthttp.HeaderVary, headerOrigin)
	if origin := string(q.ctx.Request.Header.Peek(headerOrigin)); slices.Contains(q.n.cfg.Origins, origin) {
		h.Set(fasthttp.HeaderAccessControlAllowOrigin, origin)
	}
}
