package soak

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/usher-seats/usher/internal/proc"
	"github.com/usher-seats/usher/wire"
)

// A diskPlan is how much passes through the log of a node, and how much disk and
// memory it may take meanwhile.
type diskPlan struct {
	bytes        int64 // of operations, all shards together
	slots        int   // holds under way in each shard
	args         []string
	disk, memory int64 // bytes it may take; 0: only logged
	every        time.Duration
}

// testDisk has holds made and released in every shard until so much has passed
// through the log, and looks at the data directory and the process meanwhile. Then
// the node must start again, after kill -9, with all it had acknowledged.
func testDisk(t *testing.T, plan diskPlan) {
	place := proc.NewPlace(t, plan.args...)
	node := place.Start(t)
	const (
		shards  = 4
		perHold = 10 // seats: as many as events allow if nothing is said
	)
	halls := newHalls(t, dial(t, node), shards, plan.slots*perHold+hallRow, perHold)
	cyclers := make([]*cycler, shards)
	for i, h := range halls {
		h.fill(1, func(int) time.Duration { return 12 * time.Hour }) // one that stays
		cyclers[i] = &cycler{halls: halls[i : i+1], first: hallRow, perHold: perHold, left: plan.bytes / shards}
	}
	playAll(t, node.Addr, 1, halls)

	u := &usage{plan: plan, place: place, node: node, begun: time.Now()}
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { u.watch(ctx, t) })
	playAll(t, node.Addr, plan.slots, cyclers)
	stop()
	watching.Wait()
	u.look(t)
	u.report(t)
	for _, c := range cyclers {
		t.Logf("%d holds made and released; the longest time without an answer %v", c.cycles, c.silence.Round(time.Millisecond))
	}

	node.Kill()
	node = place.Start(t)
	t.Logf("after kill -9: ready after %v; resident %s", node.Started.Round(time.Millisecond), mega(node.Resident()))
	for i, h := range halls {
		info, err := h.event.Info(t.Context())
		if err != nil || info.Total.Held != 1 {
			t.Errorf("hall %d: %d seats held, %v", i, info.Total.Held, err)
		}
	}
	playAll(t, node.Addr, 1, []*roll{{halls: halls, seats: []int{0}, check: mustBe(wire.StateHeld)}})
	each(t, cyclers, func(c *cycler) error { return c.released(t.Context()) })
	node.Stop()
	size, err := proc.DirSize(place.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped: data directory %s", mega(size))
}

// usage is what a node takes while it works. The goroutine that watches owns it,
// then the test.
type usage struct {
	plan  diskPlan
	place *proc.Place
	node  *proc.Node
	begun time.Time
	looks []look
}

// A look is what the node takes at a moment. Sizes are in bytes.
type look struct {
	at        time.Duration
	through   int64 // of entries, from the start
	disk      int64 // all of the data directory
	log, snap int64 // its two largest parts
	memory    int64 // resident
	heap      int64 // of it, what the runtime has in use
	snapshots float64
}

func (u *usage) watch(ctx context.Context, t *testing.T) {
	pace := time.NewTicker(u.plan.every)
	defer pace.Stop()
	for {
		u.look(t)
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
	}
}

func (u *usage) look(t *testing.T) {
	m := u.node.Metrics()
	l := look{
		at:        time.Since(u.begun),
		through:   int64(proc.Sum(m, "usher_group_entry_bytes_total")),
		memory:    u.node.Resident(),
		heap:      int64(m["go_memstats_heap_inuse_bytes"]),
		snapshots: proc.Sum(m, "usher_group_snapshots_total"),
	}
	for dir, size := range map[string]*int64{"": &l.disk, "log": &l.log, "snap": &l.snap} {
		var err error
		if *size, err = proc.DirSize(filepath.Join(u.place.Dir, dir)); err != nil {
			t.Error(err)
		}
	}
	u.looks = append(u.looks, l)
}

// report logs some of the looks, and the most of each figure.
func (u *usage) report(t *testing.T) {
	t.Helper()
	const lines = 24
	var most look
	for i, l := range u.looks {
		if i%max(1, len(u.looks)/lines) == 0 || i == len(u.looks)-1 {
			t.Logf("after %5.1f s: through the log %10s, snapshots %3.0f; on disk %9s (log %9s, snapshots %9s); resident %9s (heap %9s)",
				l.at.Seconds(), mega(l.through), l.snapshots, mega(l.disk), mega(l.log), mega(l.snap), mega(l.memory), mega(l.heap))
		}
		most.disk, most.log, most.snap = max(most.disk, l.disk), max(most.log, l.log), max(most.snap, l.snap)
		most.memory, most.heap = max(most.memory, l.memory), max(most.heap, l.heap)
	}
	last := u.looks[len(u.looks)-1]
	t.Logf("in %v %s through the log (%s/s), %.0f snapshots; at most on disk %s (log %s, snapshots %s), resident %s (heap %s)",
		last.at.Round(time.Millisecond), mega(last.through), mega(int64(float64(last.through)/last.at.Seconds())), last.snapshots,
		mega(most.disk), mega(most.log), mega(most.snap), mega(most.memory), mega(most.heap))
	if last.through < u.plan.bytes {
		t.Errorf("only %s passed through the log", mega(last.through))
	}
	if u.plan.disk > 0 && most.disk > u.plan.disk {
		t.Errorf("the data directory took %s, its bound is %s", mega(most.disk), mega(u.plan.disk))
	}
	if u.plan.memory > 0 && most.memory > u.plan.memory {
		t.Errorf("the process took %s, its bound is %s", mega(most.memory), mega(u.plan.memory))
	}
}
