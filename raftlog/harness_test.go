package raftlog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"github.com/usher-seats/usher/wire"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// testElection is short, so that tests are, and long enough for machines that
// run several of them at once.
const testElection = 250 * time.Millisecond

// testCommit is within what time followers hear of the very last entry, and tests see
// all of them settled.
const testCommit = 200 * time.Millisecond

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
		time.Sleep(time.Millisecond) // the interval of a poll, not a guess at a duration
	}
}

// forVoters runs a test with one voter and with three.
func forVoters(t *testing.T, test func(t *testing.T, c *cluster)) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("voters=%d", n), func(t *testing.T) { test(t, newCluster(t, n, clusterOptions{})) })
	}
}

type clusterOptions struct {
	snapshotBytes int64
	trailingBytes int64
	answer        time.Duration
	snapOnClose   bool
	clock         func() time.Duration
	wall          func(member int) wire.Millis
	gated         bool // members' logs have a gate
	prepare       func(*tally)
	disk          bool // the Pebbles are on the real disk
	commit        time.Duration
}

// A cluster is the voters of one group, each with a node of its own on an
// in-memory file system, in one process.
type cluster struct {
	t       testing.TB
	opts    clusterOptions
	members []*member
}

// A member is one voter. It can be stopped and started again on its disk, and
// cut off from the others.
type member struct {
	c     *cluster
	id    string
	dir   string
	fs    vfs.FS // of the Pebbles; survives restarts
	node  *Node
	group *Group
	trans *raft.InmemTransport
	cut   bool

	replica uint64
	joins   bool // it is added to the group by its leader

	sm   atomic.Pointer[tally] // the current one
	live atomic.Pointer[Group] // group, for goroutines that go on while it is started again
	gate *gate
}

func newCluster(t testing.TB, voters int, o clusterOptions) *cluster {
	if o.commit == 0 {
		o.commit = testCommit
	}
	c := &cluster{t: t, opts: o}
	for i := range voters {
		c.members = append(c.members, &member{
			c: c, id: fmt.Sprintf("n%d", i), dir: t.TempDir(), fs: vfs.NewMem(), gate: new(gate),
		})
		if o.disk {
			c.members[i].fs = vfs.Default
		}
	}
	for _, m := range c.members {
		m.start()
	}
	t.Cleanup(c.close)
	return c
}

func (c *cluster) close() {
	for _, m := range c.members {
		m.stop()
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func (m *member) start() {
	c := m.c
	c.t.Helper()
	var err error
	m.node, err = Open(Options{
		Dir: m.dir, FS: m.fs, NodeID: m.id, Log: quiet(),
		Fatal:            func(msg string) { panic(msg) },
		SnapshotLogBytes: c.opts.snapshotBytes,
		TrailingLogBytes: c.opts.trailingBytes,
		commit:           c.opts.commit,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	m.startGroup()
}

func (m *member) startGroup() {
	c := m.c
	var peers []string
	for _, o := range c.members {
		if !o.joins {
			peers = append(peers, string(ServerID(o.id, o.replica)))
		}
	}
	_, m.trans = raft.NewInmemTransportWithTimeout(raft.ServerAddress(m.id), 2*time.Second)
	m.cut = false
	c.connect()
	conf := GroupConfig{
		ID: 1,
		New: func() StateMachine {
			sm := newTally()
			if c.opts.prepare != nil {
				c.opts.prepare(sm)
			}
			return sm
		},
		Publish:         func(sm StateMachine) { m.sm.Store(sm.(*tally)) },
		Bootstrap:       !m.joins,
		Replica:         m.replica,
		Peers:           peers,
		Transport:       m.trans,
		SnapshotOnClose: c.opts.snapOnClose,
		ElectionTimeout: testElection,
		AnswerTimeout:   c.opts.answer,
		Clock:           c.opts.clock,
		Log:             quiet(),
	}
	if c.opts.wall != nil {
		i := slices.Index(c.members, m)
		conf.WallClock = func() wire.Millis { return c.opts.wall(i) }
	}
	var err error
	if c.opts.gated {
		m.group, err = m.startGated(conf)
	} else {
		m.group, err = m.node.StartGroup(conf)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	m.live.Store(m.group)
}

// startGated is StartGroup with a gate before the log.
func (m *member) startGated(conf GroupConfig) (*Group, error) {
	logs, stable, snaps, err := m.node.openGroupStores(conf.ID)
	if err != nil {
		return nil, err
	}
	return startGroup(conf, groupEnv{
		node: m.id, fatal: m.node.fail, snapshotBytes: 64 << 20, turn: m.node.snapshotTurn, commit: m.node.opts.commit,
	}, storage{&gatedLog{logs, m.gate}, stable, snaps})
}

// A gate stops a member's writes to its log while it is shut, and with them the
// goroutine that raft does everything on.
type gate struct {
	mu   sync.RWMutex
	down bool // the test's alone
}

func (g *gate) shut() {
	g.mu.Lock()
	g.down = true
}

func (g *gate) open() {
	if g.down {
		g.down = false
		g.mu.Unlock()
	}
}

type gatedLog struct {
	raft.LogStore
	gate *gate
}

func (l *gatedLog) StoreLogs(logs []*raft.Log) error {
	l.gate.mu.RLock()
	defer l.gate.mu.RUnlock()
	return l.LogStore.StoreLogs(logs)
}

// stop closes the member in an orderly way.
func (m *member) stop() {
	if m.node == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.group.Close(ctx); err != nil {
		m.c.t.Errorf("close group of %s: %v", m.id, err)
	}
	if err := m.node.Close(); err != nil {
		m.c.t.Errorf("close %s: %v", m.id, err)
	}
	m.node = nil
	m.isolate() // else the others' messages to it wait for their timeout
}

// connect makes the network what the members' cut says.
func (c *cluster) connect() {
	for _, a := range c.members {
		for _, b := range c.members {
			if a.trans == nil || b.trans == nil {
				continue
			}
			if a == b || (!a.cut && !b.cut) {
				a.trans.Connect(raft.ServerAddress(b.id), b.trans)
			} else {
				a.trans.Disconnect(raft.ServerAddress(b.id))
			}
		}
	}
}

// isolate cuts a member off, heal lets it talk to the others again.
func (m *member) isolate() { m.cut = true; m.c.connect() }
func (m *member) heal()    { m.cut = false; m.c.connect() }

// leader waits for a member that leads and is not cut off.
func (c *cluster) leader() *member {
	c.t.Helper()
	var lead *member
	eventually(c.t, "a leader", func() bool {
		for _, m := range c.members {
			if m.node != nil && !m.cut && m.group.Leading() {
				lead = m
				return true
			}
		}
		return false
	})
	return lead
}

// settle waits until all running members have applied the same entries, and
// compares their state.
func (c *cluster) settle() {
	c.t.Helper()
	eventually(c.t, "all members at the same entry", func() bool {
		index := c.leader().group.raft.LastIndex()
		for _, m := range c.members {
			if m.node != nil && m.group.fsm.applied.Load() != index {
				return false
			}
		}
		return true
	})
	lead := c.leader()
	for _, m := range c.members {
		if m.node != nil && m.group.Hash() != lead.group.Hash() {
			c.t.Fatalf("state of %s differs from that of %s, the leader", m.id, lead.id)
		}
	}
}

// holds fails if cond does not hold at every look for a while. It is for what
// must not happen, which no condition can announce.
func holds(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * testElection); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if !cond() {
			t.Fatal(what)
		}
	}
}

// An outcome is what a catcher was told.
type outcome struct {
	status wire.Status
	answer tallyAnswer
}

// A catcher receives outcomes and finds every record that is answered twice.
type catcher struct {
	mu      sync.Mutex
	got     map[uint64]outcome
	twice   []uint64
	flushes int
	aux     map[uint64]uint32
}

func newCatcher() *catcher {
	return &catcher{got: make(map[uint64]outcome), aux: make(map[uint64]uint32)}
}

func (c *catcher) Outcome(tag uint64, aux uint32, s wire.Status, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.got[tag]; ok {
		c.twice = append(c.twice, tag)
	}
	o := outcome{status: s}
	if len(body) > 0 {
		o.answer = parseTallyAnswer(body)
	}
	c.got[tag] = o
	c.aux[tag] = aux
}

func (c *catcher) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushes++
}

func (c *catcher) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got)
}

func (c *catcher) outcome(tag uint64) (outcome, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.got[tag]
	return o, ok
}

// await waits for one record's outcome.
func (c *catcher) await(t testing.TB, tag uint64) outcome {
	t.Helper()
	eventually(t, fmt.Sprintf("outcome of %d", tag), func() bool {
		_, ok := c.outcome(tag)
		return ok
	})
	o, _ := c.outcome(tag)
	return o
}

// submit hands the group one batch of operations and returns the refusal, if it
// was one.
func (m *member) submit(to Receiver, ops ...uint64) wire.Status {
	return m.submitMode(Write, to, 0, ops...)
}

func (m *member) submitMode(mode Mode, to Receiver, after wire.Millis, ops ...uint64) wire.Status {
	b := m.group.NewBatch(mode, to)
	for _, op := range ops {
		b.Add(op, uint32(op), tallyRecord(op, after))
	}
	s := m.group.Submit(b)
	if s != wire.StatusOK {
		b.Release()
	}
	return s
}

// do has whoever leads decide one operation. It tries again as long as the
// operation is certainly not applied: on a busy machine leaders come and go.
func (c *cluster) do(op uint64) outcome {
	c.t.Helper()
	for {
		to := newCatcher()
		s := c.leader().submit(to, op)
		if s == wire.StatusOK {
			o := to.await(c.t, op)
			if o.status == wire.StatusOK {
				return o
			}
			s = o.status
		}
		if s != wire.StatusUnavailable {
			c.t.Fatalf("operation %d ended %v", op, s)
		}
	}
}
