package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// operate changes the directory.
func (c *crew) operate(k wire.Kind, body []byte) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), testPatience)
	defer cancel()
	a := c.up()[0].insist(ctx, 0, wire.Record{Kind: k, Body: body})
	if a.status != wire.StatusOK {
		c.t.Fatalf("kind %d: %v %s", k, a.status, a.body)
	}
}

// place is where a node is in the crew.
func (c *crew) place(n *Node) int { return slices.Index(c.nodes, n) }

// TestLeaderCutOff: a leader that is cut off from its followers refuses within a
// second; the others go on; nothing that was acknowledged is lost, and when the
// network is back the old leader says what the others say.
func TestLeaderCutOff(t *testing.T) {
	c := newCrew(t, 3, func(c *Config) { c.Shards = 2 })
	c.settled()
	event := openHall(t, c.nodes[0], hall("gala", 3, 20))
	old := c.leader(event)
	c.hold(old, event, 1)
	c.cutOff(c.place(old), true)
	refuse := func(consistent wire.Flags) (wire.Status, time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), testPatience)
		defer cancel()
		began := time.Now()
		r := wire.Record{Kind: wire.KindMap, Flags: consistent, Body: (&wire.EventRef{Event: event}).Append(nil)}
		a := old.decide(ctx, r)
		return a.status, time.Since(began)
	}
	if s, took := refuse(wire.FlagConsistent); s != wire.StatusUnavailable || took > time.Second+testElection {
		t.Errorf("a read on the leader that is cut off: %v after %v", s, took)
	}
	if s, took := refuse(wire.FlagConsistent); s != wire.StatusUnavailable || took > time.Second {
		t.Errorf("the next read there: %v after %v", s, took)
	}
	if s, _ := refuse(0); s != wire.StatusOK {
		t.Errorf("a map that may be old: %v", s)
	}
	var others []*Node
	for _, n := range c.nodes {
		if n != old {
			others = append(others, n)
		}
	}
	c.hold(others[0], event, 2)
	if m := mapOf(t, others[1], event); m.State(1) != wire.SeatHeld || m.State(2) != wire.SeatHeld {
		t.Errorf("the others see seat 1 %v, seat 2 %v", m.State(1), m.State(2))
	}
	c.cutOff(c.place(old), false)
	c.settled()
	if m := mapOf(t, old, event); m.State(2) != wire.SeatHeld {
		t.Errorf("the old leader sees seat 2 %v", m.State(2))
	}
}

// TestFollowerFarBehind: a follower that was cut off for longer than the log
// reaches comes back through a snapshot.
func TestFollowerFarBehind(t *testing.T) {
	c := newCrew(t, 3, func(c *Config) { c.Shards, c.SnapshotLogBytes, c.TrailingLogBytes = 1, 32<<10, 8<<10 })
	c.settled()
	event := openHall(t, c.nodes[0], hall("gala", 10, 60))
	lead := c.leader(event)
	away := c.nodes[0]
	if away == lead {
		away = c.nodes[1]
	}
	c.cutOff(c.place(away), true)
	restores := away.local(1).log.Stats().Restores
	for i := range 8 { // manifests are what fills a log fastest
		m := hall(fmt.Sprintf("filler %d", i), 100, 60)
		for r := range m.Sections[0].Rows {
			for seat := range m.Sections[0].Rows[r].Seats {
				m.Sections[0].Rows[r].Seats[seat].Label = fmt.Sprintf("seat %x", seat*7919)
			}
		}
		openHall(t, lead, m)
	}
	c.hold(lead, event, 1)
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	if err := lead.local(1).log.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	c.cutOff(c.place(away), false)
	eventually(t, "the follower has caught up", func() bool {
		return away.local(1).log.Stats().Applied >= lead.local(1).log.Stats().Applied
	})
	if now := away.local(1).log.Stats().Restores; now == restores {
		t.Error("the follower was sent no snapshot")
	}
	eventually(t, "the replicas are the same", func() bool { return away.local(1).log.Hash() == lead.local(1).log.Hash() })
}

// TestDrain moves everything off a node while sales go on, and removes it.
func TestDrain(t *testing.T) {
	c := newCrew(t, 4, func(c *Config) { c.Shards = 4 })
	c.settled()
	event := openHall(t, c.nodes[0], hall("gala", 8, 60))
	sale := c.sale(event, 8)
	gone := c.nodes[2]
	c.operate(wire.KindDrainNode, (&wire.DrainNode{Mutation: c.nodes[0].begin(0), Name: []byte("n3"), Drain: true}).Append(nil))
	c.settled()
	eventually(t, "the node has no replicas", func() bool {
		left := 0
		for range gone.groups.Load().shards {
			left++
		}
		return left == 0
	})
	eventually(t, "the node has no data of the shards", func() bool {
		groups, err := gone.store.Holds()
		return err == nil && slices.Equal(groups, []uint64{0})
	})
	c.operate(wire.KindRemoveNode, (&wire.RemoveNode{Mutation: c.nodes[0].begin(0), Name: []byte("n3")}).Append(nil))
	c.settled()
	sale.end()
	if voters := c.nodes[0].table().Voters(); !slices.Equal(voters, []string{"n1", "n2", "n4"}) {
		t.Errorf("the directory's voters are %v", voters)
	}
	holds(t, "the node that was removed is back", func() bool { return c.nodes[0].table().Node("n3") == nil })
}

// TestReplace: a node is lost with its disk; another takes its place while sales go
// on.
func TestReplace(t *testing.T) {
	c := newCrew(t, 3, func(c *Config) { c.Shards = 3 })
	c.settled()
	event := openHall(t, c.nodes[0], hall("gala", 8, 60))
	sale := c.sale(event, 4)
	c.cutOff(2, true)
	c.stop(2)
	c.operate(wire.KindRemoveNode, (&wire.RemoveNode{Mutation: c.nodes[0].begin(0), Name: []byte("n3"), Force: true}).Append(nil))
	c.join(nil)
	c.settled()
	sale.end()
	for id := uint32(1); id <= 3; id++ {
		for _, n := range c.up() {
			if n.local(id) == nil {
				t.Errorf("%s has no replica of shard %d", n.cfg.Node, id)
			}
		}
	}
}

// TestMoveBetweenNodes moves an event from shard to shard while its shards change
// their leaders, and buyers notice nothing.
func TestMoveBetweenNodes(t *testing.T) {
	c := newCrew(t, 3, func(c *Config) { c.Shards = 3 })
	c.settled()
	event := openHall(t, c.nodes[0], hall("gala", 8, 60))
	sale := c.sale(event, 8)
	for range 6 {
		// The preferred leader of where the event is changes while it goes.
		s := c.nodes[0].table().Shard(c.nodes[0].table().Event(event).Shard)
		op := wire.SetReplicas{Mutation: c.nodes[0].begin(0), Shard: s.ID}
		for i := range s.Replicas {
			op.Nodes = append(op.Nodes, []byte(s.Replicas[(i+1)%len(s.Replicas)].Node))
		}
		c.operate(wire.KindSetReplicas, op.Append(nil))
		moveTo(t, c.nodes[0], event, otherShard(c.nodes[0], event))
	}
	sale.end()
	pause := time.Duration(0)
	for _, n := range c.nodes {
		pause = max(pause, time.Duration(n.moves.longest.Load()))
	}
	t.Logf("nobody decided for the event for %v at the longest", pause)
}

// TestSleepingMover: a leader that falls asleep in the middle of a move and wakes
// up when the event has been to another shard and back changes nothing.
func TestSleepingMover(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Shards = 2 })
	event := openHall(t, n, hall("gala", 1, 10))
	first := n.table().Event(event)
	to := otherShard(n, event)
	op := wire.Move{Mutation: n.begin(0), To: to}
	op.Event = event
	// The sleeper has got so far as to have copied the event.
	at := *first
	at.To, at.Number = to, first.Number+1
	sleeper := move{n: n, from: n.local(first.Shard), event: &at, attempt: 1}
	image, err := sleeper.image()
	if err != nil {
		t.Fatal(err)
	}
	moveTo(t, n, event, to)
	moveTo(t, n, event, first.Shard)
	h := wire.Hold{Mutation: n.begin(event), Seats: wire.MakeSeatList(1)}
	if s, body := n.do(t.Context(), wire.Record{Kind: wire.KindHold, Body: h.Append(nil)}); s != wire.StatusOK {
		t.Fatalf("hold: %v %s", s, body)
	}
	at.Number = n.table().Event(event).Number - 1 // the first move
	steps := map[string]func() error{
		"image":   func() error { return sleeper.sendImage(t.Context(), image) },
		"cutover": func() error { return sleeper.cutOver(t.Context(), &wire.Frozen{Index: sleeper.sent, Epoch: 1}) },
		"drop":    func() error { return n.steps(t.Context(), sleeper.from, event, at.Number, wire.KindDrop) },
		"thaw":    func() error { return n.steps(t.Context(), sleeper.from, event, at.Number, wire.KindThaw) },
	}
	for name, step := range steps {
		_ = step() // refused, or without effect: that is the question
		e := n.table().Event(event)
		if m := mapOf(t, n, event); e.Shard != first.Shard || e.To != 0 || m.State(1) != wire.SeatHeld {
			t.Errorf("after the sleeper's %s the event is in shard %d going to %d, seat 1 is %v", name, e.Shard, e.To, m.State(1))
		}
	}
	h = wire.Hold{Mutation: n.begin(event), Seats: wire.MakeSeatList(2)}
	if s, body := n.do(t.Context(), wire.Record{Kind: wire.KindHold, Body: h.Append(nil)}); s != wire.StatusOK {
		t.Errorf("a hold after all that: %v %s", s, body)
	}
}

// A crewSale is buyers who hold and release seats of an event, through all nodes,
// and tolerate no refusal.
type crewSale struct {
	c      *crew
	event  wire.EventID
	stop   context.CancelFunc
	work   sync.WaitGroup
	cycles atomic.Int64
}

// sale begins a sale with buyers, each with a row of its own.
func (c *crew) sale(event wire.EventID, buyers int) *crewSale {
	ctx, stop := context.WithCancel(c.t.Context())
	s := &crewSale{c: c, event: event, stop: stop}
	c.t.Cleanup(stop)
	up := c.up()
	for i := range buyers {
		s.work.Go(func() { s.buy(ctx, up, wire.SeatID(64*i)) })
	}
	eventually(c.t, "the sale is on", func() bool { return s.cycles.Load() > int64(buyers) || c.t.Failed() })
	return s
}

func (s *crewSale) buy(ctx context.Context, nodes []*Node, row wire.SeatID) {
	for i := 0; ctx.Err() == nil; i++ {
		n := nodes[i%len(nodes)]
		if n.stopping.Load() || n.cutOff() {
			continue // it is the one that was taken away
		}
		patience, cancel := context.WithTimeout(context.Background(), testPatience)
		if !s.cycle(patience, n, row+wire.SeatID(i%60)) {
			cancel()
			return
		}
		cancel()
		s.cycles.Add(1)
	}
}

// cycle holds and releases a seat. A node that is taken away in the middle may
// leave the question open; then another answers it.
func (s *crewSale) cycle(ctx context.Context, n *Node, seat wire.SeatID) bool {
	h := wire.Hold{Mutation: n.begin(s.event), Seats: wire.MakeSeatList(seat)}
	status, body := s.insist(ctx, n, wire.Record{Kind: wire.KindHold, Body: h.Append(nil)})
	var granted wire.Granted
	if status != wire.StatusOK || granted.Decode(body) != nil {
		s.c.t.Errorf("hold through %s: %v %s", n.cfg.Node, status, body)
		return false
	}
	r := wire.OnHold{Mutation: wire.Mutation{Event: s.event, ID: h.ID}, Fence: granted.Fence}
	if status, body := s.insist(ctx, n, wire.Record{Kind: wire.KindRelease, Body: r.Append(nil)}); status != wire.StatusOK {
		s.c.t.Errorf("release through %s: %v %s", n.cfg.Node, status, body)
		return false
	}
	return true
}

func (s *crewSale) insist(ctx context.Context, n *Node, r wire.Record) (status wire.Status, body []byte) {
	for ctx.Err() == nil {
		status, body = n.do(ctx, r)
		if status.Decided() && status != wire.StatusLate {
			return status, body
		}
		r.Flags |= wire.FlagRepeat
		for _, other := range s.c.up() {
			if other != n && !other.stopping.Load() && !other.cutOff() {
				n = other
				break
			}
		}
	}
	return status, body
}

// end ends the sale: no seat is held any more.
func (s *crewSale) end() {
	s.c.t.Helper()
	before := s.cycles.Load()
	eventually(s.c.t, "buyers go on", func() bool { return s.cycles.Load() > before+10 || s.c.t.Failed() })
	s.stop()
	s.work.Wait()
	m := mapOf(s.c.t, s.c.up()[0], s.event)
	for seat := range wire.SeatID(8 * 64) {
		if m.State(seat) == wire.SeatHeld {
			s.c.t.Errorf("seat %d is held at the end", seat)
		}
	}
	s.c.t.Logf("%d holds and releases", s.cycles.Load())
}
