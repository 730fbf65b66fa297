package raftlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/raft"
)

const (
	defaultElectionTimeout = 600 * time.Millisecond
	defaultAnswerTimeout   = 10 * time.Second

	// commitTimeout is after how long raft tells a follower what is committed if nothing
	// follows, up to twice as long. It does so whether there is something to tell or
	// not, so the batcher has an empty entry follow instead: see chaseAfter and remind.
	commitTimeout = 3 * time.Second

	// appendEntries bounds the entries in one message to a follower, each of up to
	// 256 KiB, and raft's own batches of committed ones.
	appendEntries = 32
	// cachedEntries is how many entries raft finds in memory. Followers read what
	// they just stored in order to apply it, and leaders in order to send it.
	cachedEntries = 32

	// stopPatience is how long a node that closes lets each group finish.
	stopPatience = 10 * time.Second
)

// storage are what a group needs to outlive its process.
type storage struct {
	logs   raft.LogStore
	stable raft.StableStore
	snaps  raft.SnapshotStore
}

// groupEnv is what a group shares with the others of its node.
type groupEnv struct {
	node          string
	fatal         func(msg string)
	snapshotBytes int64
	turn          chan struct{} // holds one token; a group that takes a snapshot has it
	commit        time.Duration // raft's CommitTimeout
}

// StartGroup starts a group on this node's stores and returns when its state
// machine is loaded from the last snapshot. If it is to lead, it has applied the
// rest of its log and leads some milliseconds later.
func (n *Node) StartGroup(c GroupConfig) (*Group, error) {
	logs, stable, snaps, err := n.openGroupStores(c.ID)
	if err != nil {
		return nil, err
	}
	if err := stable.claim(c.Replica); err != nil {
		return nil, err
	}
	g, err := startGroup(c, groupEnv{
		node:          n.opts.NodeID,
		fatal:         n.fail,
		snapshotBytes: n.opts.SnapshotLogBytes,
		turn:          n.snapshotTurn,
		commit:        n.opts.commit,
	}, storage{logs, stable, snaps})
	if err != nil {
		return nil, err
	}
	g.detach = func() { n.detach(c.ID) }
	if err := n.attach(c.ID, func() { g.stop() }); err != nil {
		g.detach = nil // the name belongs to another
		return nil, errors.Join(err, g.stop())
	}
	return g, nil
}

func (g *Group) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	return g.Close(ctx)
}

func (c *GroupConfig) validate(node string) error {
	if c.New == nil || c.Publish == nil {
		return errors.New("a group needs New and Publish")
	}
	if len(c.Peers) > 1 && c.Transport == nil {
		return fmt.Errorf("group %d has %d voters and no transport", c.ID, len(c.Peers))
	}
	if c.ElectionTimeout == 0 {
		c.ElectionTimeout = defaultElectionTimeout
	}
	if c.AnswerTimeout == 0 {
		c.AnswerTimeout = defaultAnswerTimeout
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if len(c.Peers) == 0 {
		c.Peers = []string{string(ServerID(node, c.Replica))}
	}
	return nil
}

func startGroup(c GroupConfig, env groupEnv, s storage) (*Group, error) {
	if err := c.validate(env.node); err != nil {
		return nil, err
	}
	if c.Transport == nil {
		c.Transport = loopback(env.node)
	}
	c.Log = c.Log.With("group", c.ID)
	g := &Group{id: c.ID, node: env.node, cfg: c, logs: s.logs, snaps: s.snaps, closed: make(chan struct{})}
	peers, _ := c.Transport.(*PeerTransport)
	if peers != nil {
		peers.Empty = func() bool { return emptyStores(s) }
	}
	g.wire(env)
	g.fsm.start()

	conf := g.raftConfig(ServerID(env.node, c.Replica), env.commit)
	cache, err := raft.NewLogCache(cachedEntries, s.logs)
	if err != nil {
		return nil, err
	}
	if c.Bootstrap {
		err := raft.BootstrapCluster(conf, cache, s.stable, s.snaps, c.Transport, c.voters())
		if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
			return nil, fmt.Errorf("begin group %d: %w", c.ID, err)
		}
	}
	g.lag.logs = cache
	g.raft, err = raft.NewRaft(conf, &g.fsm, cache, s.stable, s.snaps, c.Transport)
	if err != nil {
		return nil, fmt.Errorf("start group %d: %w", c.ID, err)
	}
	g.lag.heard = g.raft.LastContact
	if peers != nil {
		g.lag.heard = peers.Heard
		ask := beater(g.raft)
		peers.onBeat.Store(&ask)
		back := g.proposer.remind
		peers.onBack.Store(&back)
	}
	g.proposer.raft = g.raft
	g.snapshotter.raft = g.raft
	go g.proposer.run()
	go g.snapshotter.run()
	g.electSoleVoter()
	return g, nil
}

// emptyStores reports that a replica has nothing yet: no entry and no snapshot.
func emptyStores(s storage) bool {
	last, err := s.logs.LastIndex()
	if err != nil || last != 0 {
		return false
	}
	snaps, err := s.snaps.List()
	return err == nil && len(snaps) == 0
}

// wire connects the parts of a group.
func (g *Group) wire(env groupEnv) {
	token := rand.Uint64()
	p, f, s := &g.proposer, &g.fsm, &g.snapshotter
	g.clock.init(g.cfg.Clock, g.cfg.WallClock)

	s.fsm, s.turn, s.log = f, env.turn, g.cfg.Log
	s.init(env.snapshotBytes, env.node, g.id)

	f.token, f.newSM, f.publish, f.fatal = token, g.cfg.New, g.cfg.Publish, env.fatal
	f.flights, f.clock = &g.flights, &g.clock
	f.ahead, f.logged = p.signal, s.logged
	f.elected = func(r *reign) { p.elected.Store(r) }

	p.token, p.answer, p.chase = token, g.cfg.AnswerTimeout, chaseAfter
	if g.cfg.Chase {
		p.chase = 0
	}
	p.queue, p.flights, p.fsm, p.clock = &g.queue, &g.flights, f, &g.clock
	p.wake = make(chan struct{}, 1)
	p.abort = make(chan struct{})
	p.ended = make(chan struct{})
}

func (g *Group) raftConfig(self raft.ServerID, commit time.Duration) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = self
	conf.HeartbeatTimeout = g.cfg.ElectionTimeout
	conf.ElectionTimeout = g.cfg.ElectionTimeout
	conf.LeaderLeaseTimeout = g.cfg.ElectionTimeout // not what answers depend on: see Passengers
	conf.MaxAppendEntries = appendEntries
	conf.CommitTimeout = commit
	conf.BatchApplyCh = true
	conf.ShutdownOnRemove = false
	conf.NoLegacyTelemetry = true
	conf.Logger = raftLogger(g.cfg.Log)
	// Snapshots are asked for by bytes and not by entries, and the log store keeps
	// its tail by bytes: raft's own measures are out of the way.
	conf.SnapshotThreshold = math.MaxUint64
	conf.SnapshotInterval = 24 * time.Hour
	conf.TrailingLogs = 0
	return conf
}

func (c *GroupConfig) voters() raft.Configuration {
	var conf raft.Configuration
	for _, id := range c.Peers {
		conf.Servers = append(conf.Servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(nodeOf(id)),
		})
	}
	return conf
}

// loopback is the transport of a node that has nobody to talk to but itself.
func loopback(node string) raft.Transport {
	addr, t := raft.NewInmemTransport(raft.ServerAddress(node))
	t.Connect(addr, t)
	return t
}

// electSoleVoter lets a group whose only voter is here elect it now and not when
// it has waited in vain for a leader's heartbeat, which takes up to two election
// timeouts. TimeoutNow is the message by which a leader hands over: stand for
// election at once. It is sound at any time, since it only starts an election,
// and leaves the timeouts as they are for the day other voters come.
func (g *Group) electSoleVoter() {
	if !g.Alone() {
		return
	}
	self := g.raft.GetConfiguration().Configuration().Servers[0]
	req := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
	err := g.cfg.Transport.TimeoutNow(self.ID, self.Address, &req, new(raft.TimeoutNowResponse))
	if err != nil {
		g.cfg.Log.Warn("election of the only voter waits for its timeout", "error", err)
	}
}
