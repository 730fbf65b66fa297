package raftlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// A rig is some nodes with a transport each on loopback, and raft groups on
// them whose logs are in memory.
type rig struct {
	t     testing.TB
	nodes []*rigNode
}

type rigNode struct {
	name  string
	addr  string
	peers *Peers
	logs  *lines

	mu    sync.Mutex
	wires map[string]*rigWire // by the address they lead to
}

// newRig starts n nodes, n0 and so on. tune, if given, changes their configs.
func newRig(t testing.TB, n int, tune func(i int, c *PeerConfig)) *rig {
	r := &rig{t: t}
	var listeners []net.Listener
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, ln)
		r.nodes = append(r.nodes, &rigNode{
			name: fmt.Sprintf("n%d", i), addr: ln.Addr().String(), logs: new(lines), wires: make(map[string]*rigWire),
		})
	}
	for i, node := range r.nodes {
		c := PeerConfig{
			Node:        node.name,
			Incarnation: [16]byte{byte(i + 1)},
			Cluster:     func() [16]byte { return [16]byte{0xc1} },
			Addr:        r.addr,
			Admit:       func(PeerHello) error { return nil },
			Serve: func(_ context.Context, h PeerHello, body []byte) ([]byte, error) {
				return fmt.Appendf(nil, "%s hears %s from %s", node.name, body, h.Node), nil
			},
			Dial: node.dial,
			Log:  slog.New(slog.NewTextHandler(node.logs, nil)),
		}
		if tune != nil {
			tune(i, &c)
		}
		var err error
		if node.peers, err = ListenPeers(listeners[i], c); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	for _, n := range r.nodes {
		if err := n.peers.Close(); err != nil {
			r.t.Errorf("close %s: %v", n.name, err)
		}
	}
	eventually(r.t, "no goroutine of a transport left", func() bool { return peerGoroutines() == "" })
}

// peerGoroutines are the stacks of goroutines in which a transport is at work.
func peerGoroutines() string {
	all := make([]byte, 4<<20)
	all = all[:runtime.Stack(all, true)]
	var left []string
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		for _, part := range []string{"Peers", "link", "stream", "output", "inbound", "PeerTransport"} {
			if strings.Contains(stack, "raftlog.(*"+part+").") && !strings.Contains(stack, "peerGoroutines") {
				left = append(left, stack)
				break
			}
		}
	}
	return strings.Join(left, "\n\n")
}

func (r *rig) addr(node string) string {
	for _, n := range r.nodes {
		if n.name == node {
			return n.addr
		}
	}
	return ""
}

// lines is a log that tests look into.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// with returns the lines that have all the words.
func (l *lines) with(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			found = append(found, line)
		}
	}
	return found
}

// A rigWire is the network from one node to another. While it is cut, nothing
// passes in either direction and nobody is told.
type rigWire struct {
	mu     sync.Mutex
	healed chan struct{} // closed while the network works
	dials  int
	breaks int // if positive: the next connection that has written as much breaks
	broke  int // how often one did
}

func (w *rigWire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.healed = make(chan struct{})
}

func (w *rigWire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.healed)
}

// pass waits while the network is cut.
func (w *rigWire) pass(giveUp <-chan struct{}) error {
	w.mu.Lock()
	healed := w.healed
	w.mu.Unlock()
	select {
	case <-healed:
		return nil
	case <-giveUp:
		return errors.New("the network is cut")
	}
}

// breakAt has the next connection that writes n bytes break then.
func (w *rigWire) breakAt(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.breaks = n
}

func (w *rigWire) broken() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broke
}

func (w *rigWire) breaksNow(written int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.breaks == 0 || written < w.breaks {
		return false
	}
	w.breaks = 0
	w.broke++
	return true
}

// wire is the network from a node to an address.
func (n *rigNode) wire(addr string) *rigWire {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.wires[addr]
	if w == nil {
		w = &rigWire{healed: make(chan struct{})}
		close(w.healed)
		n.wires[addr] = w
	}
	return w
}

// between are the wires from and to a node.
func (r *rig) between(node *rigNode) (all []*rigWire) {
	for _, n := range r.nodes {
		if n != node {
			all = append(all, n.wire(node.addr), node.wire(n.addr))
		}
	}
	return all
}

func (r *rig) isolate(node *rigNode) {
	for _, w := range r.between(node) {
		w.cut()
	}
}

func (r *rig) heal(node *rigNode) {
	for _, w := range r.between(node) {
		w.heal()
	}
}

func (n *rigNode) dial(ctx context.Context, addr string) (net.Conn, error) {
	w := n.wire(addr)
	w.mu.Lock()
	w.dials++
	w.mu.Unlock()
	if err := w.pass(ctx.Done()); err != nil {
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &rigConn{Conn: c, wire: w, closed: make(chan struct{})}, nil
}

type rigConn struct {
	net.Conn
	wire    *rigWire
	written int // the writer's
	once    sync.Once
	closed  chan struct{}
}

func (c *rigConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if cut := c.wire.pass(c.closed); cut != nil {
		return 0, cut
	}
	return n, err
}

func (c *rigConn) Write(b []byte) (int, error) {
	if err := c.wire.pass(c.closed); err != nil {
		return 0, err
	}
	if c.written += len(b); c.wire.breaksNow(c.written) {
		_ = c.Close() // what it says does not matter
		return 0, errors.New("the connection breaks")
	}
	return c.Conn.Write(b)
}

func (c *rigConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A rigGroup is a raft group with a replica on each node.
type rigGroup struct {
	t        testing.TB
	replicas []*rigReplica
	disk     time.Duration // how long a log takes to store
	once     sync.Once
}

type rigReplica struct {
	node  *rigNode
	id    raft.ServerID
	trans raft.Transport
	raft  *raft.Raft
	fsm   *rigFSM
	snaps *raft.InmemSnapshotStore
	logs  *raft.InmemStore
}

// group starts a group of raft on the nodes. wrap, if given, replaces the
// transport; tune changes raft's configuration.
func (r *rig) group(id uint64, tune func(*raft.Config)) *rigGroup {
	r.t.Helper()
	g := &rigGroup{t: r.t}
	g.ours(r, id)
	g.start(tune)
	return g
}

func (g *rigGroup) start(tune func(*raft.Config)) {
	g.t.Helper()
	var servers raft.Configuration
	for _, rep := range g.replicas {
		servers.Servers = append(servers.Servers, raft.Server{ID: rep.id, Address: rep.trans.LocalAddr()})
	}
	for _, rep := range g.replicas {
		rep.start(g.t, servers, g.disk, tune)
	}
	g.t.Cleanup(g.stop)
}

func (rep *rigReplica) start(t testing.TB, servers raft.Configuration, disk time.Duration, tune func(*raft.Config)) {
	t.Helper()
	rep.fsm, rep.snaps, rep.logs = new(rigFSM), raft.NewInmemSnapshotStore(), raft.NewInmemStore()
	conf := raft.DefaultConfig()
	conf.LocalID = rep.id
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = defaultElectionTimeout, defaultElectionTimeout, defaultElectionTimeout*4/5
	conf.MaxAppendEntries = appendEntries
	conf.BatchApplyCh = true
	conf.NoLegacyTelemetry = true
	conf.Logger = hclog.NewNullLogger()
	if tune != nil {
		tune(conf)
	}
	if len(servers.Servers) > 0 {
		if err := raft.BootstrapCluster(conf, rep.logs, rep.logs, rep.snaps, rep.trans, servers); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if rep.raft, err = raft.NewRaft(conf, rep.fsm, slowLog{rep.logs, disk}, rep.logs, rep.snaps, rep.trans); err != nil {
		t.Fatal(err)
	}
	if p, ok := rep.trans.(*PeerTransport); ok {
		ask := beater(rep.raft)
		p.onBeat.Store(&ask)
	}
}

func (g *rigGroup) stop() { g.once.Do(g.shutdown) }

func (g *rigGroup) shutdown() {
	var all sync.WaitGroup
	for _, rep := range g.replicas {
		all.Go(func() {
			if c, ok := rep.trans.(raft.WithClose); ok {
				_ = c.Close() // so that raft does not wait for answers
			}
			if err := rep.raft.Shutdown().Error(); err != nil {
				g.t.Errorf("shut down %s: %v", rep.id, err)
			}
		})
	}
	all.Wait()
}

// leader waits for a replica that leads and is not cut off.
func (g *rigGroup) leader() (lead *rigReplica) {
	g.t.Helper()
	eventually(g.t, "a leader", func() bool {
		lead = nil
		for _, rep := range g.replicas {
			if rep.raft.State() == raft.Leader && (lead == nil || rep.raft.CurrentTerm() > lead.raft.CurrentTerm()) {
				lead = rep
			}
		}
		return lead != nil
	})
	return lead
}

// apply has whoever leads take an entry. It tries until one has.
func (g *rigGroup) apply(data []byte) {
	g.t.Helper()
	eventually(g.t, "an entry committed", func() bool {
		return g.leader().raft.Apply(data, time.Second).Error() == nil
	})
}

// settle waits until all replicas have applied as much as the leader.
func (g *rigGroup) settle() {
	g.t.Helper()
	eventually(g.t, "all replicas equal", func() bool {
		want := g.leader().fsm.state()
		return !slices.ContainsFunc(g.replicas, func(rep *rigReplica) bool { return rep.fsm.state() != want })
	})
}

// A rigFSM sums up what it is given, and has a snapshot of any size.
type rigFSM struct {
	mu  sync.Mutex
	n   int
	sum uint64
	pad int // bytes that a snapshot has on top
	had int // restores
}

type rigState struct {
	n   int
	sum uint64
}

func (f *rigFSM) state() rigState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return rigState{f.n, f.sum}
}

func (f *rigFSM) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	f.sum = f.sum*1099511628211 + xxhash.Sum64(l.Data)
	return nil
}

func (f *rigFSM) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return rigSnap{rigState{f.n, f.sum}, f.pad}, nil
}

func (f *rigFSM) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.had++
	_, err = fmt.Sscanf(string(b[:min(len(b), 64)]), "%d %d\n", &f.n, &f.sum)
	return err
}

func (f *rigFSM) restored() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.had
}

type rigSnap struct {
	rigState
	pad int
}

func (s rigSnap) Persist(sink raft.SnapshotSink) error {
	b := fmt.Appendf(nil, "%d %d\n", s.n, s.sum)
	b = append(b, make([]byte, s.pad)...)
	if _, err := sink.Write(b); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (s rigSnap) Release() {}

// rawStream opens a stream by hand.
func rawStream(t testing.TB, addr, node string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := introduce(conn, hello{PeerHello: PeerHello{Node: node}, purpose: forStream}); err != nil {
		t.Fatal(err)
	}
	return conn
}
