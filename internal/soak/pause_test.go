package soak

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/internal/proc"
	"github.com/usher-seats/usher/wire"
)

// A pausePlan is how often and how long a node is stopped.
type pausePlan struct {
	rounds    int
	ballast   int           // live holds of an event in each shard, which every snapshot writes anew
	timed     int           // holds of an event in each shard that end around the pause
	min, max  time.Duration // of a pause
	snapBytes string        // of log that ask for a snapshot
}

const (
	pauseShards = 4
	changers    = 4                // of each event of the ballast
	dumpWait    = 20 * time.Second // for a snapshot to be under way
)

// testPauses stops a node with SIGSTOP in the middle of a snapshot, under load and
// with holds whose time ends before, in and after the pause. Every other time it
// lets the process go on; the other times it kills it while it is stopped, and
// starts another. Either way nothing acknowledged is missing, nothing half done,
// nothing expired early.
//
// It also says what happens to shard time. A process that is stopped and goes on
// has led all the while, since nobody else could, and its monotonic clock has gone
// on: shard time is then ahead by the pause, as the buyers' watches are. A process
// that is started anew goes on from the last stamp that was applied: shard time
// has stood still.
func testPauses(t *testing.T, plan pausePlan) {
	place := proc.NewPlace(t, "--snapshot-log-bytes", plan.snapBytes)
	node := place.Start(t)
	c := dial(t, node)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	p := &pauses{plan: plan, place: place, node: node, client: c, rand: rand.New(rand.NewPCG(seed, 0))}
	p.ballast = newHalls(t, c, pauseShards, plan.ballast+hallRow, 1)
	for _, h := range p.ballast {
		h.fill(plan.ballast, func(int) time.Duration { return time.Hour })
	}
	playAll(t, node.Addr, 256, p.ballast)
	stop := p.keepChanging(t)
	for round := range plan.rounds {
		p.round(t, fmt.Sprintf("%d-%d", seed, round), seed+uint64(round), round%2 == 1)
	}
	stop()
	seats := sample(plan.ballast, 500)
	playAll(t, p.node.Addr, 64, []*roll{{halls: p.ballast, seats: seats, check: mustBe(wire.StateHeld)}})
	t.Logf("%d of %d pauses that ended well were seen to lengthen a snapshot", p.inSnapshot, (plan.rounds+1)/2)
	if t.Failed() {
		return
	}
	p.node.Stop()
}

// pauses is the run of a plan. Owned by the test.
type pauses struct {
	plan       pausePlan
	place      *proc.Place
	node       *proc.Node
	client     *client.Client
	rand       *rand.Rand
	ballast    []*hall
	inSnapshot int
}

// keepChanging makes small changes in every event of the ballast again and again,
// so that each snapshot has all of them to write.
func (p *pauses) keepChanging(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for _, h := range p.ballast {
		for i := range changers {
			seats := []wire.SeatID{wire.SeatID(p.plan.ballast + i)}
			work.Go(func() {
				for ctx.Err() == nil {
					hold, err := h.event.Hold(t.Context(), client.HoldRequest{Seats: seats})
					if err == nil {
						err = hold.Release(t.Context())
					}
					if err != nil {
						t.Errorf("change of %s: %v", h.event.Key(), err)
						return
					}
				}
			})
		}
	}
	return func() {
		cancel()
		work.Wait()
	}
}

// round is one pause.
func (p *pauses) round(t *testing.T, name string, seed uint64, kill bool) {
	t.Helper()
	pause := p.plan.min + time.Duration(p.rand.Int64N(int64(p.plan.max-p.plan.min)))
	h := newHouse(t, p.client, "pause-"+name)
	closeHouse := h.open(seed)
	timed := p.timed(t, name, pause)
	before := p.times(t)
	p.awaitSnapshot(t)
	elections := proc.Sum(p.node.Metrics(), "usher_group_elections_total")

	p.node.Signal(syscall.SIGSTOP)
	stopped := time.Now()
	p.awaitStopped(t)
	<-time.After(pause) // the pause is what is tested
	if kill {
		p.node.Kill()
		p.node = p.place.Start(t)
		p.compareTimes(t, before, p.times(t), stopped, p.node.Begun)
	} else {
		p.node.Signal(syscall.SIGCONT)
		p.compareTimes(t, before, p.times(t), time.Time{}, time.Time{})
		p.lengthened(pause)
		if now := proc.Sum(p.node.Metrics(), "usher_group_elections_total"); now != elections {
			t.Errorf("a pause of %v cost the groups their leader: %v elections", pause, now-elections)
		}
	}
	each(t, timed, func(h *hall) error { return outlast(t.Context(), h) })
	closeHouse()
	if t.Failed() {
		t.FailNow()
	}
	if err := h.audit(t.Context()); err != nil {
		t.Fatalf("pause of %v, killed in it: %v: %v", pause, kill, err)
	}
	t.Logf("pause of %v, killed in it: %v; %d acknowledged changes kept", pause.Round(time.Millisecond), kill, h.changes())
}

// timed makes an event in each shard whose holds end from now on until a second
// after the pause.
func (p *pauses) timed(t *testing.T, name string, pause time.Duration) []*hall {
	t.Helper()
	halls := make([]*hall, pauseShards)
	for i := range halls {
		h, err := newHall(t.Context(), p.client, fmt.Sprintf("timed-%s-%d", name, i), p.plan.timed, 1)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(p.rand.Uint64(), 0))
		h.fill(p.plan.timed, func(int) time.Duration { return time.Duration(r.Int64N(int64(pause + 2*time.Second))) })
		halls[i] = h
	}
	playAll(t, p.node.Addr, 64, halls)
	return halls
}

// outlast compares maps of the event with the deadlines that were acknowledged,
// until the last one has passed.
func outlast(ctx context.Context, h *hall) error {
	w := &watcher{hall: h}
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	last := h.deadline[0]
	for _, d := range h.deadline {
		last = max(last, d)
	}
	for {
		now, err := w.compare(ctx)
		if err != nil || now > last {
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awaitSnapshot returns when the node is writing the parts of a snapshot.
func (p *pauses) awaitSnapshot(t *testing.T) {
	t.Helper()
	for begun := time.Now(); !strings.Contains(p.node.Goroutines(), "snapshotSink).writeParts"); {
		if time.Since(begun) > dumpWait {
			t.Fatalf("no snapshot for %v", dumpWait)
		}
	}
}

// awaitStopped returns when no thread of the process runs any more.
func (p *pauses) awaitStopped(t *testing.T) {
	t.Helper()
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.node.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.LastIndex(text, []byte(") ")); bytes.HasPrefix(text[i:], []byte(") T")) {
			return
		}
	}
}

// lengthened looks for a snapshot that took longer than the pause.
func (p *pauses) lengthened(pause time.Duration) {
	for begun := time.Now(); time.Since(begun) < time.Second; {
		for name, seconds := range p.node.Metrics() {
			if strings.HasPrefix(name, "usher_group_snapshot_seconds") && seconds >= pause.Seconds() {
				p.inSnapshot++
				return
			}
		}
	}
}

// A reading is a shard's time, read by the node between sent and got.
type reading struct {
	now       wire.Millis
	sent, got time.Time
}

// times reads the time of every shard.
func (p *pauses) times(t *testing.T) (readings []reading) {
	t.Helper()
	pipe, err := client.DialPipe(t.Context(), p.node.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	for _, h := range p.ballast {
		key := wire.Key{Key: []byte(h.event.Key())}
		pipe.Add(wire.KindLocate, 0, key.Append(nil))
		r := reading{sent: time.Now()}
		if err := pipe.Flush(); err != nil {
			t.Fatal(err)
		}
		_, body, err := pipe.Next()
		if err != nil {
			t.Fatal(err)
		}
		r.got = time.Now()
		var l wire.Location
		if err := l.Decode(body); err != nil {
			t.Fatal(err)
		}
		r.now = l.Now
		readings = append(readings, r)
	}
	return readings
}

// compareTimes holds two readings of each shard against the clock of this
// machine. If the process was stopped at died, and another began at begun, what
// lies between must not count.
func (p *pauses) compareTimes(t *testing.T, before, after []reading, died, begun time.Time) {
	t.Helper()
	for i := range before {
		a, b := before[i], after[i]
		went := time.Duration(b.now-a.now) * time.Millisecond
		most, least := b.got.Sub(a.sent), b.sent.Sub(a.got)
		if !died.IsZero() {
			most, least = died.Sub(a.sent)+b.got.Sub(begun), 0
		}
		if went > most+time.Millisecond || went < least-time.Millisecond {
			t.Errorf("shard %d: its time went on by %v, this machine's by %v to %v", i+1, went, least, most)
		}
	}
}
