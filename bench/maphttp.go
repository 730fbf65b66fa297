package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// mapHTTPShow is everybody reading the whole map of one event by HTTP, packed,
// with nothing of it kept: what a node carries if no cache stands before it.
// Beside it the same bytes are read from Redis by the same client.
type mapHTTPShow struct {
	*mapShow
	ask *question
}

// mapRounds is in how many turns the two servers are measured, so that what else
// the machine does meanwhile meets both.
const mapRounds = 5

// maxMapDepth keeps the requests in flight on a connection small enough for its
// buffers: a client that writes without reading, to a server that does the same,
// would wait for ever.
const maxMapDepth = 256

func newMapHTTPShow(s *stage) (show, error) {
	base, err := url.Parse(s.o.HTTP)
	if err != nil || base.Scheme != "http" || base.Host == "" {
		return nil, fmt.Errorf("%q is not the address of an HTTP frontend: give one like http://127.0.0.1:8080, without TLS", s.o.HTTP)
	}
	if s.o.Depth > maxMapDepth {
		return nil, fmt.Errorf("%d requests in flight: want at most %d", s.o.Depth, maxMapDepth)
	}
	plain, err := newMapShow(s)
	if err != nil {
		return nil, err
	}
	m := &mapHTTPShow{mapShow: plain.(*mapShow)}
	sm, err := m.event.Map(s.ctx, client.Consistent)
	if err != nil {
		return nil, fmt.Errorf("read the map: %w", err)
	}
	m.ask = mapQuestion(base.Host, m.event.Key(), s.o.Client.Key, sm.Planes)
	return m, nil
}

// mapQuestion asks for an event's map, packed.
func mapQuestion(host, event, key string, planes []byte) *question {
	request := fmt.Appendf(nil, "GET /v1/events/%s/seats HTTP/1.1\r\nHost: %s\r\nAccept: application/octet-stream\r\n", url.PathEscape(event), host)
	if key != "" {
		request = fmt.Appendf(request, "Authorization: Bearer %s\r\n", key)
	}
	addr := host
	if _, _, err := net.SplitHostPort(host); err != nil {
		addr = net.JoinHostPort(host, "80")
	}
	return &question{name: "maps by HTTP", addr: addr, request: append(request, "\r\n"...), answer: readHTTP, want: planes}
}

// readHTTP reads an answer that has a Content-Length, and takes only a 200.
func readHTTP(in *bufio.Reader, body []byte) (int, error) {
	line, err := readLine(in)
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		return 0, fmt.Errorf("answered %q", line)
	}
	length := -1
	for {
		if line, err = readLine(in); err != nil {
			return 0, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("answered without a Content-Length")
	}
	return length, readBody(in, body, length)
}

// measure reads by turns from the node and from Redis.
func (m *mapHTTPShow) measure(ctx context.Context, o Options, r *Result, bar *progress) error {
	node, err := dialChorus(ctx, m.ask, o)
	if err != nil {
		return err
	}
	defer node.close()
	other, stop, err := m.beside(ctx, o)
	if err != nil && !errors.Is(err, errNoRedis) {
		return err
	}
	defer stop()
	if err != nil {
		r.Notes = append(r.Notes, err.Error())
	}
	var total, aside atomic.Int64
	rounds := mapRounds
	if other != nil {
		rounds *= 2
	}
	bar.measure(o.Duration*time.Duration(rounds/mapRounds), &total)
	for range mapRounds {
		if err := node.ask(ctx, o.Duration/mapRounds, &total); err != nil {
			return err
		}
		if other == nil {
			continue
		}
		if err := other.ask(ctx, o.Duration/mapRounds, &aside); err != nil {
			return err
		}
	}
	r.Operations, r.Requests = node.answers(), node.answers()
	r.Answers[wire.StatusOK.String()] = r.Requests
	r.finish(node.spent, node.latency())
	if other != nil {
		r.Beside = append(r.Beside, besideOf("redis GETRANGE of the same bytes", other, r.OpsPerSecond))
	}
	return nil
}

// beside starts Redis with the map's bytes in it. stop is never nil.
func (m *mapHTTPShow) beside(ctx context.Context, o Options) (c *chorus, stop func(), err error) {
	server, err := startRedis(ctx)
	if err != nil {
		return nil, func() {}, err
	}
	if err := server.keep(ctx, "map", m.ask.want); err != nil {
		return nil, server.stop, err
	}
	if c, err = dialChorus(ctx, server.getRange("map", m.ask.want), o); err != nil {
		return nil, server.stop, err
	}
	return c, func() { c.close(); server.stop() }, nil
}

func besideOf(name string, c *chorus, ours float64) Beside {
	latency := c.latency()
	b := Beside{
		Name: name, Operations: c.answers(), OpsPerSecond: float64(c.answers()) / c.spent.Seconds(),
		P50Micros: latency.ValueAtQuantile(50), P99Micros: latency.ValueAtQuantile(99),
	}
	b.Ratio = ours / b.OpsPerSecond
	return b
}
