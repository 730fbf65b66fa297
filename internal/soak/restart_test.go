package soak

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/internal/proc"
	"github.com/usher-seats/usher/wire"
)

// A restartPlan is what a node has in memory when it is restarted, and how long
// that may take.
type restartPlan struct {
	events, holds int           // live holds of an event, one seat each
	pump          int64         // bytes of log of each shard that a start after a kill replays beside the holds'
	limit         time.Duration // from the start of the process to ready; 0: any, on a machine that others use
}

// testRestart starts a node with many live holds again: after SIGTERM, after kill
// -9 with the holds in the log, and after kill -9 with as much log as there can be
// between two snapshots. Each time all holds are there with their fences and
// deadlines, and it says how long it took until the node was ready and until it
// had granted a hold, and what memory it takes.
func testRestart(t *testing.T, plan restartPlan) {
	place := proc.NewPlace(t)
	node := place.Start(t)
	empty := node.Resident()
	r := &restarts{plan: plan, place: place, c: dial(t, node)}
	begun := time.Now()
	r.halls = newHalls(t, r.c, plan.events, plan.holds+spareSeats, hallRow)
	t.Logf("%d events of %d seats made in %v; resident %s, of an empty node %s",
		plan.events, plan.holds+spareSeats, time.Since(begun).Round(time.Millisecond), mega(node.Resident()), mega(empty))
	for _, h := range r.halls {
		h.fill(plan.holds, func(int) time.Duration { return 12 * time.Hour })
	}
	begun = time.Now()
	fillInTurn(t, node.Addr, r.halls)
	t.Logf("%d holds granted in %v; resident %s", plan.events*plan.holds, time.Since(begun).Round(time.Millisecond), mega(node.Resident()))

	r.replayed(t, node)
	node.Kill()
	node = r.again(t, "after kill -9")
	node.Stop()
	node = r.again(t, "after SIGTERM")
	r.pump(t, node)
	r.replayed(t, node)
	node.Kill()
	node = r.again(t, "after kill -9 with a full log")
	node.Stop()
	r.again(t, "after SIGTERM once more").Stop()
}

// spareSeats are the seats of an event that no hold of the plan is on.
const spareSeats = 2 * hallRow

// restarts is the run of a plan. Owned by the test.
type restarts struct {
	plan  restartPlan
	place *proc.Place
	c     *client.Client
	halls []*hall
	first int // holds granted right after a start: one in each of the first events
}

// again starts the node, asks for a hold as soon as it is ready, and then looks
// at what it remembers.
func (r *restarts) again(t *testing.T, when string) *proc.Node {
	t.Helper()
	node := r.place.Start(t)
	h := r.halls[r.first]
	hold, err := firstHold(t.Context(), node, h, r.plan.holds)
	if err != nil {
		t.Fatalf("%s: first hold: %v", when, err)
	}
	took := time.Since(node.Begun)
	if err := hold.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.first++
	t.Logf("%s: ready after %v, first hold granted after %v; resident %s, at most %s",
		when, node.Started.Round(time.Millisecond), took.Round(time.Millisecond), mega(node.Resident()), mega(node.PeakResident()))
	if r.plan.limit > 0 && node.Started > r.plan.limit {
		t.Errorf("%s: the node was ready after %v, it may take %v", when, node.Started, r.plan.limit)
	}
	r.check(t, node)
	t.Logf("%s: everything is there; resident %s", when, mega(node.Resident()))
	return node
}

// firstHold asks for a hold on a connection of its own: the client would wait a
// moment before it tries a node again that was away.
func firstHold(ctx context.Context, node *proc.Node, h *hall, seat int) (*client.Hold, error) {
	c, err := client.Dial(ctx, []string{node.Addr}, &client.Options{RequestTimeout: killTimeout})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ev, err := c.Event(ctx, h.event.Key())
	if err != nil {
		return nil, err
	}
	hold, err := ev.Hold(ctx, client.HoldRequest{Seats: []wire.SeatID{wire.SeatID(seat)}})
	if err != nil {
		return nil, err
	}
	return h.event.ResumeHold(hold.ID(), hold.Fence()), nil
}

// check counts the held seats of every event, and reads some holds of each back.
func (r *restarts) check(t *testing.T, node *proc.Node) {
	t.Helper()
	each(t, r.halls, func(h *hall) error {
		info, err := h.event.Info(t.Context())
		if err == nil && int(info.Total.Held) != r.plan.holds {
			err = fmt.Errorf("%d seats are held, acknowledged were %d", info.Total.Held, r.plan.holds)
		}
		return err
	})
	seats := sample(r.plan.holds, 20)
	playAll(t, node.Addr, 256, []*roll{{halls: r.halls, seats: seats, check: func(h *hall, seat int, info *wire.HoldInfo) error {
		switch {
		case info.State != wire.StateHeld || info.Held.Len() != 1 || info.Held.At(0) != wire.SeatID(seat):
			return fmt.Errorf("it is %v with seats %v", info.State, info.Held.IDs())
		case info.Deadline != h.deadline[seat]:
			return fmt.Errorf("it ends at %d, acknowledged was %d", info.Deadline, h.deadline[seat])
		}
		return nil
	}}})
}

// pump has each shard write more log, by holds that are released again, but not
// so much that it takes a snapshot.
func (r *restarts) pump(t *testing.T, node *proc.Node) {
	t.Helper()
	cyclers := make(map[uint32]*cycler)
	for _, h := range r.halls {
		c := cyclers[h.shard]
		if c == nil {
			c = &cycler{first: r.plan.holds, perHold: 1, left: r.plan.pump}
			cyclers[h.shard] = c
		}
		c.halls = append(c.halls, h)
	}
	var list []*cycler
	cycles := 0
	for _, c := range cyclers {
		list = append(list, c)
	}
	playAll(t, node.Addr, spareSeats, list)
	for _, c := range list {
		cycles += c.cycles
	}
	t.Logf("%d holds made and released again", cycles)
}

// replayed logs what the next start has to replay.
func (r *restarts) replayed(t *testing.T, node *proc.Node) {
	t.Helper()
	m := node.Metrics()
	t.Logf("in the log and in no snapshot: %.0f entries; snapshots so far %.0f, log %s",
		proc.Sum(m, "usher_group_entries_since_snapshot"), proc.Sum(m, "usher_group_snapshots_total"), mega(int64(proc.Sum(m, "usher_group_log_bytes"))))
}

// fillInTurn fills halls on a few pipes, each one event after the other.
func fillInTurn(t *testing.T, addr string, halls []*hall) {
	t.Helper()
	const pipes = 8
	rows := make([]*queue, pipes)
	for i := range rows {
		rows[i] = new(queue)
		for j := i; j < len(halls); j += pipes {
			rows[i].halls = append(rows[i].halls, halls[j])
		}
	}
	playAll(t, addr, 128, rows)
}

// A queue is halls to be filled one after the other.
type queue struct {
	halls []*hall
	asked map[int]*hall // by slot
}

func (q *queue) next(slot int, b []byte) (wire.Kind, []byte) {
	for len(q.halls) > 0 {
		h := q.halls[0]
		if kind, body := h.next(slot, b); kind != 0 {
			if q.asked == nil {
				q.asked = make(map[int]*hall)
			}
			q.asked[slot] = h
			return kind, body
		}
		q.halls = q.halls[1:]
	}
	return 0, nil
}

func (q *queue) done(slot int, head wire.Header, body []byte) error {
	return q.asked[slot].done(slot, head, body)
}
