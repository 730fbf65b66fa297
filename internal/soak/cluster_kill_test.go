package soak

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/internal/proc"
)

const (
	// clusterShards are the shards of a cluster of three.
	clusterShards = 8
	// calmBefore is how long buyers are watched before a kill.
	calmBefore = 1500 * time.Millisecond
	// watchedAfter is how long shards that were not led by the dead node are watched.
	watchedAfter = 2 * time.Second
	// takeoverGoal is how long it may take at p99 until a shard whose leader died
	// answers again, on a machine of its own.
	takeoverGoal = 3 * time.Second
	// takeoverMost is when this test does not wait any longer.
	takeoverMost = 30 * time.Second
)

// testClusterKills kills, again and again, the node of three that leads most of
// eight shards, while buyers ask in an event of each shard: through the client
// library with all addresses, and through HTTP at each node. When the others have
// taken over, the node is started again. Then all acknowledged changes are there
// with their fences, once, on every replica; what ended as unknown was repeated
// with its id and had one answer.
//
// It tells how long it took from the kill until each shard that the node led
// answered something that was asked after the kill, and how far apart the answers
// of the other shards were, before the kill and after.
func testClusterKills(t *testing.T, kills int) *takeovers {
	seed := clusterSeed(t)
	cl := proc.NewCluster(t, 3, []string{"--shards", fmt.Sprint(clusterShards)})
	c := dialAll(t, cl)
	r := rand.New(rand.NewPCG(seed, 0))
	m := new(takeovers)
	changes, refused, unknown := 0, int64(0), int64(0)
	for trial := range kills {
		x := newCrowd(t, cl, c, fmt.Sprintf("kill-%d-%d", seed, trial), r.Uint64(), clusterShards)
		// The moment of death is random: that is the test.
		<-time.After(calmBefore + time.Duration(r.Int64N(int64(500*time.Millisecond))))
		m.kill(t, cl, c, x, r)
		x.close(t)
		sameMaps(t, cl, x)
		changes += x.changes()
		refused += x.counts.refused.Load()
		unknown += x.counts.unknown.Load()
		t.Logf("kill %d: %s; %d acknowledged changes kept", trial+1, m.last, x.changes())
	}
	m.report(t)
	t.Logf("%d acknowledged changes kept; HTTP frontends could not take %d requests and left %d unknown, all repeated", changes, refused, unknown)
	cl.StopAll()
	return m
}

// takeovers are the times of all kills so far. Owned by the test.
type takeovers struct {
	back    []time.Duration // per affected shard: from the kill until it answered
	nodes   []time.Duration // per kill: until the last of them did
	before  []time.Duration // per other shard: the longest gap before the kill
	after   []time.Duration // and after it
	home    []time.Duration // per shard: the longest gap while the node started and led again
	typical []time.Duration // gaps of the other shards before kills, all of them
	last    string          // tells of the last kill
}

// kill kills the node that leads most shards, or one of several, and starts it
// again.
func (m *takeovers) kill(t *testing.T, cl *proc.Cluster, c *client.Client, x *crowd, r *rand.Rand) {
	t.Helper()
	v := cl.AwaitSettled()
	r.Shuffle(len(v.Nodes), func(i, j int) { v.Nodes[i], v.Nodes[j] = v.Nodes[j], v.Nodes[i] })
	victim := slices.MaxFunc(v.Nodes, func(a, b proc.NodeView) int { return a.Leading - b.Leading })
	led := make(map[uint32]bool)
	for _, g := range v.Groups {
		led[g.Group] = g.Leader == victim.Name
	}
	shards := shardsOf(t, c)
	at := cl.At(victim.Name)
	died := time.Now()
	cl.Kill(at)
	var slowest time.Duration
	for _, h := range x.houses {
		if !led[shards[h.event.Key()]] {
			continue
		}
		took := awaitBeat(t, h, died).Sub(died)
		m.back = append(m.back, took)
		slowest = max(slowest, took)
	}
	m.nodes = append(m.nodes, slowest)
	<-time.After(time.Until(died.Add(watchedAfter))) // the others are watched as long
	watched := time.Now()
	for _, h := range x.houses {
		if !led[shards[h.event.Key()]] {
			calm := h.pulse.gaps(died.Add(-calmBefore), died)
			m.typical = append(m.typical, calm...)
			m.before = append(m.before, calm[len(calm)-1])
			m.after = append(m.after, slices.Max(h.pulse.gaps(died, watched)))
		}
	}
	restarted := time.Now()
	cl.Start(at)
	cl.AwaitSettled()
	for _, h := range x.houses {
		m.home = append(m.home, slices.Max(h.pulse.gaps(restarted, time.Now())))
	}
	m.last = fmt.Sprintf("%s led %d shards, the last of them answered after %v", victim.Name, victim.Leading, slowest.Round(time.Millisecond))
}

// awaitBeat waits until an event answers what was asked after t0.
func awaitBeat(t *testing.T, h *house, t0 time.Time) time.Time {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for range poll.C {
		if got, ok := h.pulse.since(t0); ok {
			return got
		}
		if time.Since(t0) > takeoverMost || t.Failed() {
			break
		}
	}
	t.Fatalf("%s has not answered for %v", h.event.Key(), takeoverMost)
	return time.Time{}
}

func (m *takeovers) report(t *testing.T) {
	t.Helper()
	t.Logf("shards whose leader was killed answered after %s; the last of each kill after %s", spread(m.back), spread(m.nodes))
	t.Logf("other shards: gaps between answers before the kill %s; the longest of each shard in %v before %s, in %v after %s",
		spread(m.typical), calmBefore, spread(m.before), watchedAfter, spread(m.after))
	t.Logf("all shards, while the node started and took its shards back: longest gaps %s", spread(m.home))
}
