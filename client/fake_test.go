package client

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// A cluster is the fake nodes of a test and the wires to them, which are
// in memory, so that time can be virtual.
type cluster struct {
	hall *hall
	id   wire.ID

	mu       sync.Mutex
	nodes    map[string]bool // whether it takes connections
	sessions []*session
	dials    int

	// meddler, if set, sees each request before it is answered. It may answer it
	// or do something worse; false lets it be answered as usual. Called on the
	// session's goroutine.
	meddler meddler
	// welcomer, if set, answers a hello in place of the usual.
	welcomer func(s *session, h wire.Header, body []byte)
	// wrap, if set, is put around the client's end of each connection.
	wrap func(net.Conn) net.Conn
}

type meddler func(s *session, h wire.Header, body []byte) bool

func (c *cluster) meddle(f meddler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.meddler = f
}

func (c *cluster) welcome(f func(s *session, h wire.Header, body []byte)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.welcomer = f
}

func newCluster(addrs ...string) *cluster {
	c := &cluster{hall: newHall(), id: wire.KeyID("cluster"), nodes: make(map[string]bool)}
	for _, a := range addrs {
		c.nodes[a] = true
	}
	c.hall.leader = addrs[0]
	return c
}

// options are those of a client of this cluster.
func (c *cluster) options() *Options {
	return &Options{Conns: 1, Dialer: c.dial}
}

var errRefused = errors.New("connection refused")

func (c *cluster) dial(ctx context.Context, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dials++
	if !c.nodes[addr] {
		return nil, errRefused
	}
	here, there := net.Pipe()
	s := &session{cluster: c, addr: addr, nc: there}
	c.sessions = append(c.sessions, s)
	go s.serve()
	if c.wrap != nil {
		return c.wrap(here), nil
	}
	return here, nil
}

// stop ends a node: its connections break and it takes no new ones.
func (c *cluster) stop(addr string) {
	c.restart(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[addr] = false
}

// restart breaks all connections of a node.
func (c *cluster) restart(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		if s.addr == addr {
			s.nc.Close()
		}
	}
}

func (c *cluster) dialed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dials
}

// A session is a connection as a node sees it.
type session struct {
	cluster *cluster
	addr    string
	nc      net.Conn

	mu sync.Mutex // serializes writes
}

func (s *session) serve() {
	defer s.nc.Close()
	var head [wire.HeaderSize]byte
	for {
		if _, err := io.ReadFull(s.nc, head[:]); err != nil {
			return
		}
		h, err := wire.ParseHeader(head[:], wire.MaxRequestBody)
		if err != nil {
			return
		}
		body := make([]byte, h.Body)
		if _, err := io.ReadFull(s.nc, body); err != nil {
			return
		}
		s.request(h, body)
	}
}

func (s *session) request(h wire.Header, body []byte) {
	c := s.cluster
	c.mu.Lock()
	meddle, welcome := c.meddler, c.welcomer
	c.mu.Unlock()
	switch {
	case h.Kind == wire.KindHello && welcome != nil:
		welcome(s, h, body)
	case h.Kind == wire.KindHello:
		w := wire.Welcome{Version: wire.ProtocolVersion, MaxInFlight: 1 << 14, Cluster: c.id, Node: []byte(s.addr)}
		s.reply(h, wire.StatusOK, w.Append(nil))
	case meddle != nil && meddle(s, h, body):
	case h.Kind == wire.KindPing:
		s.reply(h, wire.StatusOK, body)
	default:
		s.usual(h, body)
	}
}

// usual answers a request as a sound node would.
func (s *session) usual(h wire.Header, body []byte) {
	status, out := s.cluster.hall.answer(s.addr, h.Kind, body)
	s.reply(h, status, out)
}

// apply decides a request and keeps the answer to itself.
func (s *session) apply(h wire.Header, body []byte) {
	s.cluster.hall.answer(s.addr, h.Kind, body)
}

func (s *session) reply(h wire.Header, status wire.Status, body []byte) {
	h.Flags, h.Status, h.Body = wire.FlagAnswer, status, len(body)
	s.raw(append(h.Append(nil), body...))
}

func (s *session) raw(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nc.Write(b) // a client that has gone is no failure of a node
}

// dialFake makes a client of the cluster and finds its event.
func dialFake(t *testing.T, c *cluster, o *Options) (*Client, *Event) {
	t.Helper()
	if o == nil {
		o = c.options()
	}
	cl, err := Dial(t.Context(), slices.Sorted(maps.Keys(c.nodes)), o)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := cl.Event(t.Context(), c.hall.key)
	if err != nil {
		t.Fatal(err)
	}
	return cl, ev
}
