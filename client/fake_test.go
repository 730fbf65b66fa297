package client

import (
	"context"
	"encoding/binary"
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
	hall  *hall
	other *hall // the event "encore", of another shard
	id    wire.ID

	mu       sync.Mutex
	nodes    map[string]bool // whether it takes connections
	dark     map[string]bool // whether its machine is off: nobody refuses either
	sessions []*session
	dials    int
	asked    map[wire.Kind]int // requests that came
	list     wire.NodeList     // what nodes say there are

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
	c := &cluster{
		hall:  newHall("gala", 7),
		other: newHall("encore", 9),
		id:    wire.KeyID("cluster"),
		nodes: make(map[string]bool),
		dark:  make(map[string]bool),
		asked: make(map[wire.Kind]int),
	}
	for _, a := range addrs {
		c.nodes[a] = true
	}
	c.hall.leader, c.other.leader = addrs[0], addrs[len(addrs)-1]
	return c
}

// enlist has all nodes say that these are the nodes.
func (c *cluster) enlist(version uint64, addrs ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = wire.NodeList{Version: version}
	for _, a := range addrs {
		c.list.Nodes = append(c.list.Nodes, wire.NodeEntry{Name: []byte("node " + a), Addr: []byte(a)})
	}
}

// count tells how many requests of a kind have come.
func (c *cluster) count(kind wire.Kind) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[kind]
}

// options are those of a client of this cluster.
func (c *cluster) options() *Options {
	return &Options{Conns: 1, Dialer: c.dial}
}

var errRefused = errors.New("connection refused")

func (c *cluster) dial(ctx context.Context, addr string) (net.Conn, error) {
	c.mu.Lock()
	c.dials++
	dark := c.dark[addr]
	c.mu.Unlock()
	if dark {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
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

// start has a node take connections again.
func (c *cluster) start(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[addr] = true
}

// power switches a node's machine off, or on again: while it is off, dials to it
// hang.
func (c *cluster) power(addr string, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dark[addr] = !on
}

// up are the nodes that take connections.
func (c *cluster) up() (addrs []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, addr := range slices.Sorted(maps.Keys(c.nodes)) {
		if c.nodes[addr] {
			addrs = append(addrs, addr)
		}
	}
	return addrs
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
	c.asked[h.Kind]++
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
	c := s.cluster
	if h.Kind == wire.KindNodes {
		c.mu.Lock()
		out := c.list.Append(nil)
		c.mu.Unlock()
		s.reply(h, wire.StatusOK, out)
		return
	}
	status, out := c.hallOf(h.Kind, body).answer(s.addr, h.Kind, h.Flags, body)
	s.reply(h, status, out)
}

// hallOf finds the event that a request is about.
func (c *cluster) hallOf(kind wire.Kind, body []byte) *hall {
	var event wire.EventID
	switch m, err := wire.ParseMutation(body); {
	case kind == wire.KindLocate:
		var k wire.Key
		if k.Decode(body) == nil && string(k.Key) == c.other.key {
			return c.other
		}
	case kind.Mutates() && err == nil:
		event = m.Event
	case len(body) >= 8:
		event = wire.EventID(binary.LittleEndian.Uint64(body))
	}
	if event == c.other.event {
		return c.other
	}
	return c.hall
}

// apply decides a request and keeps the answer to itself.
func (s *session) apply(h wire.Header, body []byte) {
	s.cluster.hallOf(h.Kind, body).answer(s.addr, h.Kind, h.Flags, body)
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
