package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/server/directory"
)

const (
	// keepEvery is how often a node compares what it does with what the directory
	// wants. Nothing to do costs a few loads.
	keepEvery = 100 * time.Millisecond
	// mendEvery is how often the leader of a group looks after its members.
	mendEvery = 250 * time.Millisecond
	// mendPatience bounds one step of that.
	mendPatience = 5 * time.Second
	// leaderRest is for how many election timeouts a group must have been led here
	// before its leadership is handed to where it is preferred: a node that comes and
	// goes does not drag it along.
	leaderRest = 5
	// catchUpEntries is how many entries a replica may be behind to count as one that has
	// caught up.
	catchUpEntries = 512
)

// A keeper makes the node do what the directory says: it starts and drops replicas,
// changes the members of the groups that are led here, moves events that are to
// leave them, and tells the directory where the node is. Everything it does can be
// done again, by it or by whoever leads next; whoever leads no more, or was asleep
// meanwhile, is refused by raft or by the number of the move.
//
// Its fields belong to its goroutine; the work that takes time is on others.
type keeper struct {
	n      *Node
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	table  *directory.Table // as of the last look
	undone bool             // something failed then
	mended time.Time        // when members were last looked after
	swept  time.Time        // when what moves have left behind was last looked for
	led    map[uint32]reign // of the groups led here, since when
}

// A reign is since when a group is led here.
type reign struct {
	term  uint64
	since time.Time
}

func startKeeper(n *Node) *keeper {
	k := &keeper{n: n, led: make(map[uint32]reign)}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.work.Go(k.run)
	return k
}

func (k *keeper) stop() {
	k.cancel()
	k.work.Wait()
}

func (k *keeper) run() {
	for sleep(k.ctx, raftlog.UntilStep(keepEvery)) {
		k.look()
	}
}

func (k *keeper) look() {
	n, t := k.n, k.n.table()
	fresh := t != k.table
	due := time.Since(k.mended) >= mendEvery
	if fresh || k.undone && due {
		k.table = t
		k.undone = false
		if err := n.startReplicas(k.ctx, t); err != nil {
			k.undone = true
			n.log.Error("cannot start a replica", "error", err)
		}
		if err := n.acquaint(t); err != nil {
			k.undone = true
			n.log.Error("cannot note the addresses of the other nodes", "error", err)
		}
	}
	if fresh || due {
		k.moveEvents(t)
	}
	if !due {
		return
	}
	k.mended = time.Now()
	for g := range n.groups.Load().all {
		k.mend(t, g)
	}
	if time.Since(k.swept) >= sweepEvery {
		k.swept = time.Now()
		k.sweep(t)
	}
	if !n.announced(t) {
		k.announce()
	}
}

// announce tells the directory the node's addresses.
func (k *keeper) announce() {
	ctx, cancel := context.WithTimeout(k.ctx, mendPatience)
	defer cancel()
	a, err := callJSON[joinAnswer](ctx, k.n, k.n.cfg.Node, callJoin, k.n.joinCall())
	if err == nil && a.Status.Decided() && a.Text != "" {
		k.n.log.Error("the cluster does not take this node's addresses", "reason", a.Text)
	}
}

// startReplicas starts the replicas of shards that the directory gives to the node
// and that do not run yet. Each writes and syncs, so when ctx ends it leaves the rest.
func (n *Node) startReplicas(ctx context.Context, t *directory.Table) error {
	var errs []error
	for id := uint32(1); int(id) <= t.Shards() && ctx.Err() == nil; id++ {
		s := t.Shard(id)
		at := slices.IndexFunc(s.Replicas, func(r directory.Replica) bool { return r.Node == n.cfg.Node })
		if at < 0 || n.local(id) != nil {
			continue
		}
		number := s.Replicas[at].Number
		err := n.startShardGroup(id, number, number == s.Founder)
		if errors.Is(err, raftlog.ErrOtherReplica) {
			// What is here is of a replica that has left the shard.
			if err = n.store.DropGroup(uint64(id)); err == nil {
				err = n.startShardGroup(id, number, number == s.Founder)
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// mend looks after one replica: if it leads, after the group's members; if it is
// to go, whether it may.
func (k *keeper) mend(t *directory.Table, g *group) {
	if !g.log.Leading() {
		delete(k.led, g.id)
	} else if term := g.log.Reign(); k.led[g.id].term != term {
		k.led[g.id] = reign{term, time.Now()}
	}
	m := mending{n: k.n, g: g, want: k.n.wanted(t, g.id)}
	m.rested = g.log.Leading() && time.Since(k.led[g.id].since) >= leaderRest*k.n.cfg.ElectionTimeout
	switch {
	case g.log.Leading() && m.settled():
		return
	case !g.log.Leading() && m.wants(k.n.cfg.Node, g.replica):
		return
	case g.mending.Swap(true):
		return
	}
	k.work.Go(func() {
		defer g.mending.Store(false)
		ctx, cancel := context.WithTimeout(k.ctx, mendPatience)
		defer cancel()
		if err := m.step(ctx); err != nil && ctx.Err() == nil {
			k.n.log.Warn("changing the members of a group failed, will be tried again", "group", g.id, "error", err)
		}
	})
}

// wanted are the members that a group is to have, its preferred leader first.
func (n *Node) wanted(t *directory.Table, id uint32) (want []raftlog.Member) {
	if id != 0 {
		if s := t.Shard(id); s != nil {
			for _, r := range s.Replicas {
				want = append(want, raftlog.Member{Node: r.Node, Replica: r.Number, Voter: true})
			}
		}
		return want
	}
	for _, node := range t.Nodes() {
		want = append(want, raftlog.Member{Node: node.Name, Replica: node.Number, Voter: slices.Contains(t.Voters(), node.Name)})
	}
	return want
}

// closeGroups closes the node's replicas, all at once, each after it has handed over
// what it leads.
func (n *Node) closeGroups(ctx context.Context) error {
	var mu sync.Mutex
	var errs []error
	var closed sync.WaitGroup
	for g := range n.groups.Load().all {
		closed.Go(func() {
			n.handOver(ctx, g)
			if err := g.log.Close(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	closed.Wait()
	return errors.Join(errs...)
}
