package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/internal/proc"
)

const (
	// Of each event: so many buyers use the client library, and one per node HTTP.
	crowdBuyers = 6
	// crowdPause is how long a buyer thinks between two visits, at most. It keeps
	// three nodes and the buyers on two processors just below what they can do, so
	// that what is measured is not a queue.
	crowdPause = 40 * time.Millisecond
)

// A pulse is the answers of one shard, in the order in which they came: what was
// decided, grants and refusals alike.
type pulse struct {
	mu    sync.Mutex
	beats []beat
}

// A beat is an answer. Immutable.
type beat struct{ sent, got time.Time }

// beat notes an answer that is a decision.
func (p *pulse) beat(sent time.Time, err error) {
	if p == nil || !client.StatusOf(err).Decided() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beats = append(p.beats, beat{sent, time.Now()})
}

// since is the first answer to something that was asked after t; false if there is
// none yet.
func (p *pulse) since(t time.Time) (got time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.beats {
		if !b.sent.Before(t) {
			return b.got, true
		}
	}
	return time.Time{}, false
}

// gaps are the times between two answers, of which one came in [from, to), sorted.
// What is cut off by from and to counts as far as it is within.
func (p *pulse) gaps(from, to time.Time) (list []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := from
	for _, b := range p.beats {
		if b.got.After(from) && b.got.Before(to) {
			list = append(list, b.got.Sub(last))
			last = b.got
		}
	}
	list = append(list, to.Sub(last))
	slices.Sort(list)
	return list
}

// answered are how long the answers took that came in [from, to), sorted.
func (p *pulse) answered(from, to time.Time) (list []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.beats {
		if b.got.After(from) && b.got.Before(to) {
			list = append(list, b.got.Sub(b.sent))
		}
	}
	slices.Sort(list)
	return list
}

// A crowd is buyers in one event of each shard or more, through the client library
// and through every frontend. Owned by the test.
type crowd struct {
	houses []*house
	counts webCounts
	stops  []func()
	http   *http.Client
}

// newCrowd makes events until every shard has one, the first so many by all means,
// and lets buyers in.
func newCrowd(t *testing.T, cl *proc.Cluster, c *client.Client, key string, seed uint64, events int) *crowd {
	t.Helper()
	x := &crowd{http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	for i := range events {
		h := newHouse(t, c, fmt.Sprintf("%s-%d", key, i))
		h.pulse = new(pulse)
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		for range crowdBuyers {
			h.invite(library{h.event}, crowdPause, rand.New(rand.NewPCG(r.Uint64(), 0)))
		}
		for at := range cl.Places {
			w := &web{
				event: h.event, fronts: cl.Fronts(), at: at, name: fmt.Sprintf("%s-%d", h.event.Key(), at),
				http: x.http, counts: &x.counts,
			}
			h.invite(w, crowdPause, rand.New(rand.NewPCG(r.Uint64(), 0)))
		}
		x.houses = append(x.houses, h)
	}
	for _, h := range x.houses {
		x.stops = append(x.stops, h.letIn())
	}
	return x
}

// close waits until all buyers have their answers, and audits every event.
func (x *crowd) close(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	for _, stop := range x.stops {
		all.Go(stop)
	}
	all.Wait()
	x.http.CloseIdleConnections()
	if t.Failed() {
		t.FailNow()
	}
	x.audit(t)
}

// audit compares what all buyers were told with what the cluster says now.
func (x *crowd) audit(t *testing.T) {
	t.Helper()
	errs := make([]error, len(x.houses))
	var all sync.WaitGroup
	for i, h := range x.houses {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), killTimeout)
			defer cancel()
			if err := h.audit(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", h.event.Key(), err)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func (x *crowd) changes() (n int) {
	for _, h := range x.houses {
		n += h.changes()
	}
	return n
}

// shardsOf is the shard of each event of the cluster, by its key.
func shardsOf(t *testing.T, c *client.Client) map[string]uint32 {
	t.Helper()
	shards := make(map[string]uint32)
	for e, err := range c.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		shards[e.Key] = e.Shard
	}
	return shards
}

// lastWord is how many entries a replica may lag in a cluster in which nothing happens:
// of the last one, which is empty, it hears with the next.
const lastWord = 1

// sameMaps compares the maps of events as every node has them itself, once all
// replicas have applied the same.
func sameMaps(t *testing.T, cl *proc.Cluster, x *crowd) {
	t.Helper()
	cl.Await("all replicas have applied the same", func(v *proc.View) bool {
		for _, g := range v.Groups {
			for _, m := range g.Members {
				if m.Lag > lastWord {
					return false
				}
			}
		}
		return v.Settled
	})
	for _, h := range x.houses {
		sameMap(t, cl, h.event.Key())
	}
}

// sameMap waits until all nodes give one version of the map, and compares it.
func sameMap(t *testing.T, cl *proc.Cluster, key string) {
	t.Helper()
	for end := time.Now().Add(killTimeout); ; {
		byVersion := make(map[string]string)
		for _, n := range cl.Nodes {
			version, planes, err := replicaMap(n, key)
			if err != nil {
				t.Fatal(err)
			}
			if other, seen := byVersion[version]; seen && other != planes {
				t.Fatalf("two replicas have other maps of %s at version %s", key, version)
			}
			byVersion[version] = planes
		}
		if len(byVersion) == 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the replicas of %s do not come to the same version", key)
		}
	}
}

// replicaMap reads a node's own map of an event.
func replicaMap(n *proc.Node, key string) (version, planes string, err error) {
	r, err := http.NewRequest(http.MethodGet, n.HTTP+"/v1/events/"+key+"/seats", nil)
	if err != nil {
		return "", "", err
	}
	r.Header.Set("Accept", "application/octet-stream")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	buf := new(bytes.Buffer)
	if _, err := buf.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("map of %s: %s %w", key, resp.Status, err)
	}
	return resp.Header.Get("Usher-Version"), buf.String(), nil
}

// clusterSeed is the seed of a test: SEED, or another one each time.
func clusterSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d: rerun with SEED=%d", seed, seed)
	return seed
}

// dialAll is a client that knows all places of a cluster.
func dialAll(t *testing.T, cl *proc.Cluster) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), cl.Addrs(), &client.Options{RequestTimeout: killTimeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// spread tells of many durations, which it sorts.
func spread(list []time.Duration) string {
	if len(list) == 0 {
		return "none"
	}
	slices.Sort(list)
	ms := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	return fmt.Sprintf("p50 %v p99 %v max %v of %d", ms(at(list, 50)), ms(at(list, 99)), ms(at(list, 100)), len(list))
}
