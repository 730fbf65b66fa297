package server

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(testPatience); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", testPatience, what)
		}
		time.Sleep(time.Millisecond) // the interval of a poll, not a guess at a duration
	}
}

// holds fails if cond does not hold at every look for a while. It is for what must
// not happen, which no condition can announce.
func holds(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * mendEvery); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if !cond() {
			t.Fatal(what)
		}
	}
}

// moveTo has an event go to a shard and waits until it is there.
func moveTo(t testing.TB, n *Node, event wire.EventID, to uint32) {
	t.Helper()
	op := wire.Move{Mutation: n.begin(0), To: to}
	op.Event = event
	a := n.insist(t.Context(), 0, wire.Record{Kind: wire.KindMove, Body: op.Append(nil)})
	if a.status != wire.StatusOK {
		t.Fatalf("move: %v %s", a.status, a.body)
	}
	eventually(t, "the event is in its new shard", func() bool {
		e := n.table().Event(event)
		return e.Shard == to && e.To == 0
	})
}

// otherShard is a shard in which the event is not.
func otherShard(n *Node, event wire.EventID) uint32 {
	return n.table().Event(event).Shard%uint32(n.table().Shards()) + 1
}

// TestMove moves an event with a hold back and forth.
func TestMove(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Shards = 2 })
	event := openHall(t, n, hall("gala", 2, 10))
	hold := wire.Hold{Mutation: n.begin(event), Seats: wire.MakeSeatList(1, 2)}
	status, body := n.do(t.Context(), wire.Record{Kind: wire.KindHold, Body: hold.Append(nil)})
	if status != wire.StatusOK {
		t.Fatalf("hold: %v %s", status, body)
	}
	var granted wire.Granted
	if err := granted.Decode(body); err != nil {
		t.Fatal(err)
	}
	epoch := mapOf(t, n, event).Version.Epoch()
	for range 3 {
		moveTo(t, n, event, otherShard(n, event))
		m := mapOf(t, n, event)
		if m.State(1) != wire.SeatHeld || m.State(3) != wire.SeatFree || m.Version.Epoch() <= epoch {
			t.Fatalf("after the move seat 1 is %v, seat 3 %v, epoch %d after %d", m.State(1), m.State(3), m.Version.Epoch(), epoch)
		}
		epoch = m.Version.Epoch()
		again, answer := n.do(t.Context(), wire.Record{Kind: wire.KindHold, Flags: wire.FlagRepeat, Body: hold.Append(nil)})
		if again != wire.StatusOK || string(answer) != string(body) {
			t.Fatalf("the hold's repetition is answered %v %x, was %x", again, answer, body)
		}
	}
	confirm := wire.OnHold{Mutation: wire.Mutation{Event: event, ID: hold.ID}, Fence: granted.Fence}
	if status, body := n.do(t.Context(), wire.Record{Kind: wire.KindConfirm, Body: confirm.Append(nil)}); status != wire.StatusOK {
		t.Fatalf("confirm: %v %s", status, body)
	}
	for g := range n.groups.Load().shards {
		if here := g.shard.Load().Event(event) != nil; here != (g.id == n.table().Event(event).Shard) {
			t.Errorf("shard %d has the event: %v", g.id, here)
		}
	}
}

func mapOf(t testing.TB, n *Node, event wire.EventID) (m wire.SeatMap) {
	t.Helper()
	r := wire.Record{Kind: wire.KindMap, Flags: wire.FlagConsistent, Body: (&wire.EventRef{Event: event}).Append(nil)}
	status, body := n.do(t.Context(), r)
	if status != wire.StatusOK {
		t.Fatalf("map: %v %s", status, body)
	}
	if err := m.Decode(body); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMoveUnderLoad moves an event to and fro while buyers hold and release its
// seats: nobody is refused, nothing is lost, and at the end nothing is held.
func TestMoveUnderLoad(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Shards = 3 })
	const buyers, moves = 16, 8
	event := openHall(t, n, hall("gala", buyers, 64))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var work sync.WaitGroup
	var cycles atomic.Int64
	for i := range buyers {
		work.Go(func() {
			for seat := wire.SeatID(0); ctx.Err() == nil; seat = (seat + 1) % 64 {
				h := wire.Hold{Mutation: n.begin(event), Seats: wire.MakeSeatList(wire.SeatID(i*64) + seat)}
				status, body := n.do(t.Context(), wire.Record{Kind: wire.KindHold, Body: h.Append(nil)})
				var granted wire.Granted
				if status != wire.StatusOK || granted.Decode(body) != nil {
					t.Errorf("hold: %v %s", status, body)
					return
				}
				r := wire.OnHold{Mutation: wire.Mutation{Event: event, ID: h.ID}, Fence: granted.Fence}
				if status, body := n.do(t.Context(), wire.Record{Kind: wire.KindRelease, Body: r.Append(nil)}); status != wire.StatusOK {
					t.Errorf("release: %v %s", status, body)
					return
				}
				cycles.Add(1)
			}
		})
	}
	for range moves {
		before := cycles.Load()
		moveTo(t, n, event, otherShard(n, event))
		eventually(t, "buyers go on", func() bool { return cycles.Load() > before+buyers || t.Failed() })
	}
	stop()
	work.Wait()
	m := mapOf(t, n, event)
	for seat := range wire.SeatID(buyers * 64) {
		if m.State(seat) != wire.SeatFree {
			t.Fatalf("seat %d is %v at the end", seat, m.State(seat))
		}
	}
	t.Logf("%d cycles over %d moves; nobody decided for %v in all, %v at the longest", cycles.Load(), n.moves.done.Load(),
		time.Duration(n.moves.pause.Load()), time.Duration(n.moves.longest.Load()))
}
