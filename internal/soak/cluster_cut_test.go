package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/internal/proc"
	"github.com/usher-seats/usher/wire"
)

const (
	// refusedWithin is how long clients of a node that is cut off may wait until it
	// says that it cannot decide: until it no longer leads, and its connections to the
	// others have been silent for as long.
	refusedWithin = time.Second
	// cutFor is how long a leader is cut off, at least.
	cutFor = 3 * time.Second
)

// testClusterCuts cuts the node that leads off from the others, but not from its
// clients, and heals the cut when another one leads. What all clients were told is
// one linearizable history; clients of the node that is cut off are soon
// refused; it catches up.
func testClusterCuts(t *testing.T, cuts int) {
	seed := clusterSeed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	w, places := layWires(t, 3)
	cl := proc.Found(t, places, []string{"--shards", "1"})
	c := dialAll(t, cl)
	for i := range cuts {
		testLinearAcross(t, cl, c, seed+uint64(i), i == 0, func(l *linear) {
			at := cl.LeaderOf(1)
			alone := cl.Nodes[at]
			l.lives.Add(1)
			w.cut(at)
			begun := time.Now()
			refused := complain(t, alone, l.shows[0].event, begun.Add(cutFor+time.Duration(r.Int64N(int64(time.Second)))))
			cl.Nodes[at] = nil // its view is not the cluster's
			cl.Await("another node leads", func(v *proc.View) bool {
				for _, g := range v.Groups {
					if g.Group == 1 && g.Leader != "" && cl.At(g.Leader) != at {
						return true
					}
				}
				return false
			})
			cl.Nodes[at] = alone
			l.lives.Add(1)
			w.heal(at)
			healed := time.Now()
			cl.AwaitSettled()
			t.Logf("cut %d: n%d alone for %v: %s; settled %v after", i+1, at+1,
				healed.Sub(begun).Round(time.Millisecond), refused, time.Since(healed).Round(time.Millisecond))
		})
	}
	cl.StopAll()
}

// complain asks a node that is cut off for holds, over the binary protocol and over
// HTTP, until a time, and fails the test if an answer takes too long, or is no clear
// refusal.
func complain(t *testing.T, n *proc.Node, ev *client.Event, until time.Time) string {
	t.Helper()
	said := make(map[string]int)
	var slowest [2]time.Duration
	pipe, err := client.DialPipe(t.Context(), n.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	for number := uint64(0); time.Now().Before(until); number++ {
		begun := time.Now()
		hold := wire.Hold{
			Mutation: wire.Mutation{Event: ev.ID(), ID: idOf(ev.Now(), rand.Uint64()>>8)},
			TTL:      1, Seats: wire.MakeSeatList(63), // of which the row has none: it cannot be granted
		}
		pipe.Add(wire.KindHold, 0, hold.Append(nil))
		if err := pipe.Flush(); err != nil {
			t.Fatal(err)
		}
		h, _, err := pipe.Next()
		if err != nil {
			t.Fatal(err)
		}
		slowest[0] = max(slowest[0], time.Since(begun))
		said[h.Status.String()]++
		begun = time.Now()
		resp, err := http.Post(n.HTTP+"/v1/events/"+ev.Key()+"/holds", "application/json", strings.NewReader(`{"best":{"count":9},"ttl_ms":1}`))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		slowest[1] = max(slowest[1], time.Since(begun))
		var a webAnswer
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatalf("%s %s: %v", resp.Status, text, err)
		}
		said[fmt.Sprintf("HTTP %d %s", resp.StatusCode, a.Code)]++
	}
	if slowest[0] > refusedWithin || slowest[1] > refusedWithin {
		t.Errorf("clients of the node that is cut off waited for %v, over HTTP for %v", slowest[0], slowest[1])
	}
	if said[wire.StatusUnavailable.String()]+said[wire.StatusMoved.String()] == 0 {
		t.Errorf("no client was told that the node cannot decide: %v", said)
	}
	return fmt.Sprintf("its clients were told %v, after %v at most, over HTTP %v", said, slowest[0].Round(time.Millisecond), slowest[1].Round(time.Millisecond))
}

// testFollowerCut cuts a follower off while more is decided than the log of the
// others keeps. It comes back through a snapshot, and then has the same maps.
func testFollowerCut(t *testing.T) {
	clusterSeed(t)
	w, places := layWires(t, 3, "--snapshot-log-bytes", "1048576")
	cl := proc.Found(t, places, []string{"--shards", "1"})
	c := dialAll(t, cl)
	h, err := newHall(t.Context(), c, "hall", 256*hallRow, hallRow)
	if err != nil {
		t.Fatal(err)
	}
	lead := cl.LeaderOf(1)
	at := (lead + 1) % 3
	before := proc.Sum(cl.Nodes[at].Metrics(), "usher_group_restores_total")
	w.cut(at)
	begun := time.Now()
	cy := &cycler{halls: []*hall{h}, first: 0, perHold: 1, left: followerLog}
	playAll(t, cl.Nodes[lead].Addr, spareSeats, []*cycler{cy})
	w.heal(at)
	healed := time.Now()
	cl.AwaitSettled()
	took := time.Since(healed)
	restores := proc.Sum(cl.Nodes[at].Metrics(), "usher_group_restores_total") - before
	if restores == 0 {
		t.Errorf("n%d came back without a snapshot: the test does not do what it says", at+1)
	}
	sameMaps(t, cl, &crowd{houses: []*house{{t: t, event: h.event}}})
	ctx, cancel := context.WithTimeout(t.Context(), killTimeout)
	defer cancel()
	if err := cy.released(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("n%d was cut off for %v, in which %d holds were made and released; it came back through %v snapshots and had everything %v after",
		at+1, healed.Sub(begun).Round(time.Millisecond), cy.cycles, restores, took.Round(time.Millisecond))
	cl.StopAll()
}

// followerLog is more log than nodes keep for one that is away, in bytes.
const followerLog = 48 << 20
