package soak

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/internal/proc"
)

const (
	// moveEvents are on sale while they move from moveShards shards to as many new
	// ones.
	moveEvents = 20
	moveShards = 4
	// pauseFactor is how many commits a move may stand still for, at p99: it is
	// three of them, one after the other, in three logs.
	pauseFactor = 6
)

var pauseLine = regexp.MustCompile(`msg="event moved".* pause=(\S+)`)

// testClusterMoves adds two nodes and four shards to a cluster of three with four
// shards, and moves twenty events to the new shards, all while buyers buy in each
// of them. No buyer gets an error, no hold or booking is lost. It tells where the
// events and shards were before and after, how long the events stood still, and
// what a single hold takes on the same machine under the same load.
func testClusterMoves(t *testing.T) {
	seed := clusterSeed(t)
	cl := proc.NewCluster(t, 3, []string{"--shards", fmt.Sprint(moveShards)})
	c := dialAll(t, cl)
	x := newCrowd(t, cl, c, fmt.Sprintf("move-%d", seed), seed, moveEvents)
	begun := time.Now()
	single := lowLatency(t, c, fmt.Sprintf("low-%d", seed), 300)
	before := shardsOf(t, c)
	tellPlaces(t, "before", cl.View())

	for range 2 {
		cl.Enter(proc.NewPlace(t))
		cl.Start(len(cl.Places) - 1)
	}
	ask(t, cl, http.MethodPost, "/admin/shards", map[string]any{"count": moveShards})
	cl.AwaitSettled()
	ask(t, cl, http.MethodPost, "/admin/rebalance", map[string]any{})
	cl.AwaitSettled()
	grown := time.Now()
	for i, h := range x.houses {
		ask(t, cl, http.MethodPost, "/admin/events/"+h.event.Key()+"/move", map[string]any{"shard": moveShards + 1 + i%moveShards})
	}
	cl.AwaitSettled()
	moved := time.Now()
	single = append(single, lowLatency(t, c, fmt.Sprintf("low-%d-after", seed), 300)...)
	x.close(t)
	after := shardsOf(t, c)
	tellPlaces(t, "after", cl.View())
	var table, gaps = new(strings.Builder), []time.Duration(nil)
	for i, h := range x.houses {
		fmt.Fprintf(table, "\n  %s: shard %d → %d", h.event.Key(), before[h.event.Key()], after[h.event.Key()])
		if want := uint32(moveShards + 1 + i%moveShards); after[h.event.Key()] != want {
			t.Errorf("%s is in shard %d, should be in %d", h.event.Key(), after[h.event.Key()], want)
		}
		gaps = append(gaps, slices.Max(h.pulse.gaps(grown, moved)))
	}
	t.Logf("events:%s", table)
	t.Logf("%d acknowledged changes kept; growing took %v, moving %v", x.changes(), grown.Sub(begun).Round(time.Millisecond), moved.Sub(grown).Round(time.Millisecond))
	t.Logf("longest time without an answer, by event, while it moved: %s", spread(gaps))
	pauses := movePauses(t, cl)
	t.Logf("events stood still for %s; a single hold took %s; goal for the former at p99: %v", spread(pauses), spread(single), pauseFactor*at(single, 50))
	if len(pauses) < moveEvents {
		t.Errorf("the logs tell of %d moves", len(pauses))
	}
	cl.StopAll()
}

// movePauses reads from the nodes' logs how long events stood still.
func movePauses(t *testing.T, cl *proc.Cluster) (list []time.Duration) {
	t.Helper()
	for _, n := range cl.Nodes {
		for _, m := range pauseLine.FindAllStringSubmatch(n.Output(), -1) {
			d, err := time.ParseDuration(m[1])
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, d)
		}
	}
	return list
}

func tellPlaces(t *testing.T, when string, v *proc.View) {
	t.Helper()
	var b strings.Builder
	for _, g := range v.Groups {
		fmt.Fprintf(&b, "\n  group %d: %d events, on %s", g.Group, g.Events, strings.Join(g.Nodes(), ", "))
	}
	t.Logf("%s, leaders first:%s", when, b.String())
}

func ask(t *testing.T, cl *proc.Cluster, method, path string, in any) {
	t.Helper()
	if err := cl.Ask(method, path, in, nil); err != nil {
		t.Fatal(err)
	}
}

// testClusterRolling drains a node of four and takes it back, and then restarts one
// node after the other, under load: SIGTERM, start, ready, the next. No buyer gets
// an error.
func testClusterRolling(t *testing.T, shards int) {
	seed := clusterSeed(t)
	cl := proc.NewCluster(t, 4, []string{"--shards", fmt.Sprint(shards)})
	c := dialAll(t, cl)
	x := newCrowd(t, cl, c, fmt.Sprintf("roll-%d", seed), seed, shards)
	<-time.After(calmBefore)
	begun := time.Now()
	calm := x.longest(begun.Add(-calmBefore), begun)
	ask(t, cl, http.MethodPost, "/admin/nodes/n4/drain", map[string]any{})
	cl.Await("n4 has no replicas", func(v *proc.View) bool { return v.Nodes[3].Replicas == 0 && v.Settled })
	drained := time.Now()
	ask(t, cl, http.MethodPost, "/admin/nodes/n4/drain", map[string]any{"drain": false})
	var each []time.Duration
	for i := range cl.Nodes {
		from := time.Now()
		cl.Stop(i)
		cl.Start(i)
		each = append(each, x.longest(from, time.Now())...)
	}
	cl.AwaitSettled()
	t.Logf("longest gaps between answers, by shard: in %v before %s; while n4 was drained in %v %s; while a node restarted %s",
		calmBefore, spread(calm), drained.Sub(begun).Round(time.Millisecond), spread(x.longest(begun, drained)), spread(each))
	x.close(t)
	t.Logf("%d acknowledged changes kept; HTTP frontends could not take %d requests and left %d unknown, all repeated",
		x.changes(), x.counts.refused.Load(), x.counts.unknown.Load())
	cl.StopAll()
}

// longest are the longest gaps of each event in [from, to).
func (x *crowd) longest(from, to time.Time) (list []time.Duration) {
	for _, h := range x.houses {
		list = append(list, slices.Max(h.pulse.gaps(from, to)))
	}
	return list
}
