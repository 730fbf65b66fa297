package soak

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/internal/proc"
	"github.com/usher-seats/usher/wire"
)

// acrossPlan is the plan of a history that has a change of leaders in it: two
// events of the one shard of a cluster.
var acrossPlan = linearPlan{life: 800 * time.Millisecond, quartets: 16, tellers: 9, tappers: 6}

// testClusterPauses stops the node that leads with SIGSTOP, for longer than it
// takes until another one leads, and lets it go on. It does not know that it was
// away: what clients had sent to it, and send to it now, must not be answered
// with what it knew. Every answer of every client from before to after is one
// history, which must be linearizable; see testLinear.
func testClusterPauses(t *testing.T, pauses int) {
	seed := clusterSeed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	cl := proc.NewCluster(t, 3, []string{"--shards", "1"})
	c := dialAll(t, cl)
	for i := range pauses {
		testLinearAcross(t, cl, c, seed+uint64(i), i == 0, func(l *linear) {
			at := cl.LeaderOf(1)
			stopped := cl.Nodes[at]
			l.lives.Add(1)
			stopped.Signal(syscall.SIGSTOP)
			begun := time.Now()
			cl.Nodes[at] = nil // it would not answer
			cl.Await("another node leads", func(v *proc.View) bool {
				for _, g := range v.Groups {
					if g.Group == 1 && g.Leader != "" && cl.At(g.Leader) != at {
						return true
					}
				}
				return false
			})
			led := time.Since(begun)
			// How long it goes on like that is random: that is the test.
			<-time.After(time.Duration(r.Int64N(int64(2 * time.Second))))
			cl.Nodes[at] = stopped
			l.lives.Add(1)
			stopped.Signal(syscall.SIGCONT)
			t.Logf("pause %d: n%d stopped for %v, another one led after %v at most",
				i+1, at+1, time.Since(begun).Round(time.Millisecond), led.Round(time.Millisecond))
		})
	}
	cl.StopAll()
}

// testLinearAcross records a history with a disturbance in its middle, audits it
// when the cluster has settled, and checks it. forge says that the history is then
// forged, to show that the check would notice.
func testLinearAcross(t *testing.T, cl *proc.Cluster, c *client.Client, seed uint64, forge bool, disturb func(l *linear)) {
	t.Helper()
	l := newLinear(t, acrossPlan, c, seed, cl.Addrs()...)
	stop := l.open(t, seed)
	<-time.After(acrossPlan.life)
	disturb(l)
	<-time.After(acrossPlan.life)
	stop()
	if t.Failed() {
		t.FailNow()
	}
	cl.AwaitSettled()
	l.leader = cl.LeaderOf(1)
	l.auditAll(t)
	l.check(t)
	if forge {
		l.forge(t)
	}
}

// testClusterOutage kills all nodes at once under load, and starts them again: the
// first time all at once, the next time one after the other, so that the first
// ones wait for a quorum. Everything is back, and the buyers who waited go on.
func testClusterOutage(t *testing.T, rounds int) {
	seed := clusterSeed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	cl := proc.NewCluster(t, 3, []string{"--shards", fmt.Sprint(clusterShards)})
	c := dialAll(t, cl)
	for round := range rounds {
		x := newCrowd(t, cl, c, fmt.Sprintf("outage-%d-%d", seed, round), r.Uint64(), clusterShards)
		<-time.After(calmBefore + time.Duration(r.Int64N(int64(500*time.Millisecond))))
		cl.KillAll()
		for _, i := range r.Perm(len(cl.Places)) {
			cl.Launch(i)
			if round%2 == 1 {
				<-time.After(outageApart)
			}
		}
		started := time.Now()
		cl.AwaitReady()
		ready := time.Since(started)
		var back []time.Duration
		for _, h := range x.houses {
			back = append(back, awaitBeat(t, h, started).Sub(started))
		}
		cl.AwaitSettled()
		x.close(t)
		sameMaps(t, cl, x)
		t.Logf("outage %d, started apart: %v: ready %v after the last start, shards answered after %s; %d acknowledged changes kept",
			round+1, round%2 == 1, ready.Round(time.Millisecond), spread(back), x.changes())
	}
	cl.StopAll()
}

// outageApart is between the starts of two nodes.
const outageApart = 3 * time.Second

// lowLatency measures single holds, one after the other, in an event in which
// nobody else asks.
func lowLatency(t *testing.T, c *client.Client, key string, n int) (list []time.Duration) {
	t.Helper()
	h := newHouse(t, c, key)
	for i := range n {
		sent := time.Now()
		hold, err := h.event.Hold(t.Context(), client.HoldRequest{Seats: []wire.SeatID{wire.SeatID(i % killRow)}})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, time.Since(sent))
		if err := hold.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return list
}
