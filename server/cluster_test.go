package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/wire"
)

// testElection is short, so that tests are, and long enough for a busy machine.
const testElection = 500 * time.Millisecond

// A crew is the nodes of a cluster in one process, over real sockets.
type crew struct {
	t     testing.TB
	confs []Config

	mu    sync.Mutex
	nodes []*Node // by place; nil: stopped; written by the test's goroutine
	wires []*wiring
}

// A wiring is a node's network: cut, it reaches nobody and nobody reaches it.
type wiring struct {
	cut   bool
	conns map[net.Conn]struct{}
}

// cutOff takes a node's network away, or gives it back.
func (c *crew) cutOff(i int, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wires[i].cut = cut
	if cut {
		for conn := range c.wires[i].conns {
			conn.Close()
		}
	}
}

// dial opens a connection from a node to whoever has the address.
func (c *crew) dial(ctx context.Context, from int, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ends := []*wiring{c.wires[from]}
	for i := range c.confs {
		if c.confs[i].Peer == addr {
			ends = append(ends, c.wires[i])
		}
	}
	for _, w := range ends {
		if w.cut {
			conn.Close()
			return nil, errors.New("the network is cut")
		}
		w.conns[conn] = struct{}{}
	}
	return conn, nil
}

// newCrew starts nodes n1, n2, …: the first makes a cluster, the others join.
func newCrew(t testing.TB, nodes int, change func(*Config)) *crew {
	t.Helper()
	c := &crew{t: t}
	for range nodes {
		c.join(change)
	}
	return c
}

// join starts another node.
func (c *crew) join(change func(*Config)) *Node {
	c.t.Helper()
	t, i := c.t, len(c.nodes)
	conf := Config{
		Data: t.TempDir(), Node: fmt.Sprintf("n%d", i+1), ElectionTimeout: testElection,
		Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: freeAddr(t),
		Log: slog.New(slog.DiscardHandler),
	}
	if testing.Verbose() {
		conf.Log = slog.New(slog.NewTextHandler(testLog{t}, nil)).With("node", conf.Node)
	}
	conf.dial = func(ctx context.Context, addr string) (net.Conn, error) { return c.dial(ctx, i, addr) }
	if change != nil {
		change(&conf)
	}
	if i > 0 {
		conf.Join, conf.Shards, conf.Replicas = []string{c.confs[0].Peer}, 0, 0
	}
	c.mu.Lock()
	c.confs, c.wires = append(c.confs, conf), append(c.wires, &wiring{conns: make(map[net.Conn]struct{})})
	c.mu.Unlock()
	c.mu.Lock()
	c.nodes = append(c.nodes, nil)
	c.mu.Unlock()
	return c.start(i)
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(p))
	return len(p), nil
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (c *crew) start(i int) *Node {
	c.t.Helper()
	n := startOn(c.t, c.confs[i])
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[i] = n
	return n
}

func (c *crew) stop(i int) {
	n := c.nodes[i]
	c.mu.Lock()
	c.nodes[i] = nil
	c.mu.Unlock()
	closeNode(c.t, n)
}

// up are the nodes that run.
func (c *crew) up() (up []*Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if n != nil {
			up = append(up, n)
		}
	}
	return up
}

// settled waits until all groups have the members and leaders they are to have.
func (c *crew) settled() {
	c.t.Helper()
	var last clusterAnswer
	eventually(c.t, "the cluster is settled", func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), testPatience)
		defer cancel()
		last = c.up()[0].view(ctx)
		return last.Settled
	})
}

// leader is the node that leads an event's shard.
func (c *crew) leader(event wire.EventID) *Node {
	c.t.Helper()
	var lead *Node
	eventually(c.t, "a leader", func() bool {
		for _, n := range c.up() {
			if e := n.table().Event(event); e != nil {
				if g := n.local(e.Shard); g != nil && g.log.Leading() {
					lead = n
					return true
				}
			}
		}
		return false
	})
	return lead
}

// hold holds seats through a node and returns the hold's id and fence.
func (c *crew) hold(n *Node, event wire.EventID, seats ...wire.SeatID) (wire.ID, wire.Fence) {
	c.t.Helper()
	h := wire.Hold{Mutation: n.begin(event), Seats: wire.MakeSeatList(seats...)}
	ctx, cancel := context.WithTimeout(c.t.Context(), testPatience)
	defer cancel()
	status, body := n.do(ctx, wire.Record{Kind: wire.KindHold, Body: h.Append(nil)})
	var g wire.Granted
	if status != wire.StatusOK || g.Decode(body) != nil {
		c.t.Fatalf("hold %v through %s: %v %s", seats, n.cfg.Node, status, body)
	}
	return h.ID, g.Fence
}

// TestCluster forms a cluster of three, and sells through every node.
func TestCluster(t *testing.T) {
	c := newCrew(t, 3, func(c *Config) { c.Shards = 4 })
	c.settled()
	event := openHall(t, c.nodes[1], hall("gala", 3, 20))
	for i, n := range c.nodes {
		eventually(t, "every node knows the event", func() bool { return n.table().Event(event) != nil })
		c.hold(n, event, wire.SeatID(64*i), wire.SeatID(64*i+1))
	}
	for _, n := range c.nodes {
		if m := mapOf(t, n, event); m.State(0) != wire.SeatHeld || m.State(128) != wire.SeatHeld || m.State(2) != wire.SeatFree {
			t.Errorf("%s sees seats 0 %v, 128 %v, 2 %v", n.cfg.Node, m.State(0), m.State(128), m.State(2))
		}
	}
	led := make(map[string]int)
	for id := uint32(1); id <= 4; id++ {
		led[c.nodes[0].leaderOf(id)]++
	}
	if len(led) != 3 {
		t.Errorf("shards are led by %v", led)
	}
}

// TestNodeLost: what was acknowledged is there, and goes on, when a node is gone;
// and the node catches up when it is back.
func TestNodeLost(t *testing.T) {
	c := newCrew(t, 3, func(c *Config) { c.Shards = 3 })
	c.settled()
	event := openHall(t, c.nodes[0], hall("gala", 3, 20))
	lead := c.leader(event)
	id, fence := c.hold(lead, event, 1, 2)
	lost := 0
	for i, n := range c.nodes {
		if n == lead {
			lost = i
		}
	}
	c.cutOff(lost, true)
	c.stop(lost)
	other := c.up()[0]
	confirm := wire.OnHold{Mutation: wire.Mutation{Event: event, ID: id}, Fence: fence}
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	if status, body := other.do(ctx, wire.Record{Kind: wire.KindConfirm, Body: confirm.Append(nil)}); status != wire.StatusOK {
		t.Fatalf("confirm: %v %s", status, body)
	}
	c.cutOff(lost, false)
	c.start(lost)
	c.settled()
	if m := mapOf(t, c.nodes[lost], event); m.State(1) != wire.SeatBooked {
		t.Errorf("seat 1 is %v", m.State(1))
	}
	hashes := make(map[uint64]bool)
	eventually(t, "replicas are the same", func() bool {
		clear(hashes)
		shard := c.nodes[0].table().Event(event).Shard
		for _, n := range c.nodes {
			hashes[n.local(shard).log.Hash()] = true
		}
		return len(hashes) == 1
	})
}

// TestStrangers: who does not belong to the cluster is turned away in a sentence.
func TestStrangers(t *testing.T) {
	c := newCrew(t, 2, nil)
	conf := c.confs[0]
	conf.Data, conf.Node, conf.Peer, conf.Shards, conf.Replicas = t.TempDir(), "n2", freeAddr(t), 0, 0
	conf.Join = []string{c.confs[0].Peer}
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	_, err := Start(ctx, conf)
	if err == nil || !containsAll(err.Error(), "n2", "another name", "remove") {
		t.Errorf("a node with a name that is taken: %v", err)
	}
	h := raftlog.PeerHello{Cluster: c.nodes[0].cluster(), Node: "n9"}
	if err := c.nodes[0].admitPeer(h); err == nil || !containsAll(err.Error(), "n9", "not in this cluster") {
		t.Errorf("an unknown node: %v", err)
	}
	h.Node = "n2"
	if err := c.nodes[0].admitPeer(h); err == nil || !containsAll(err.Error(), "other data", "remove-node n2") {
		t.Errorf("a known node with other data: %v", err)
	}
}

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
