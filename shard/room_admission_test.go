package shard

import (
	"container/heap"
	"math/rand/v2"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// TestAdmission lets a crowd through a room in virtual time: 100,000 visitors, of
// whom three in five come before the draw, and three in ten do not come when they
// are called. Two replicas follow; now and then one of them dies, and comes back
// from a snapshot that another replica took at some time, and from the log; and one
// of them becomes the leader.
//
// It proves that after no entry more are inside than the limit, nor have a place
// reserved; that no more are called than the rate allows; that every number is
// called once and in order; and that whoever comes within his grace gets in.
func TestAdmission(t *testing.T) {
	c := &admission{t: t, driver: newDriver(Config{}), visitors: 100_000, rand: rand.New(rand.NewPCG(1, 2))}
	if testing.Short() {
		c.visitors = 15_000
	}
	c.run()
}

const (
	crowdLimit = 500
	crowdRate  = 200  // a second
	crowdGrace = 2000 // milliseconds
	crowdTTL   = 4000
	crowdTick  = 50
)

type admission struct {
	*driver
	t        *testing.T
	rand     *rand.Rand
	visitors int

	room    *room
	log     []logged
	copies  [2]*Shard
	applied [2]uint64
	stored  *Shard // restored from a snapshot, and not gone on with
	joined  int
	opened  wire.Millis
	called  uint64
	plans   plans
	came    []bool // by queue number
	shows   int    // who will come, of those called
	inside  map[wire.PassID]bool
}

// A plan is what a visitor does at some time.
type plan struct {
	at     wire.Millis
	number uint64 // queue number
	leave  bool   // else come
}

type plans []plan

func (p plans) Len() int           { return len(p) }
func (p plans) Less(i, j int) bool { return p[i].at < p[j].at }
func (p plans) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *plans) Push(x any)        { *p = append(*p, x.(plan)) }

func (p *plans) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// step applies what was added as one entry, and holds the room against its promises.
func (c *admission) step(out func(i int, s wire.Status, body []byte)) {
	before := c.called
	c.log = append(c.log, logged{c.now, append([]byte(nil), c.ops...)})
	c.apply(c.ops, out)
	c.ops = c.ops[:0]
	r := c.s.Event(1).room
	if c.room = r; r == nil {
		return
	}
	if inside := r.passes.len(); inside > crowdLimit || inside+int(r.outstanding) > crowdLimit {
		c.t.Fatalf("at %d %d are inside and %d have a place reserved", c.now, inside, r.outstanding)
	}
	if r.serving < before || r.serving-before > crowdRate || r.serving > uint64(c.now-c.opened)*crowdRate/1000+1 && r.serving > 0 {
		c.t.Fatalf("at %d, open since %d, %d were called, %d before", c.now, c.opened, r.serving, before)
	}
	for ; c.called < r.serving; c.called++ {
		if c.rand.IntN(10) < 3 {
			continue // does not come
		}
		c.shows++
		heap.Push(&c.plans, plan{at: c.now + wire.Millis(c.rand.IntN(crowdGrace-crowdTick)), number: c.called})
	}
}

// issued is the number on the ticket of whoever has a queue number.
func (c *admission) issued(number uint64) uint64 {
	if number < c.room.entries {
		return c.room.draw.Entry(number)
	}
	return number
}

func (c *admission) join(n int) {
	for n > 0 {
		k := min(n, wire.MaxJoins)
		op := wire.Issue{Mutation: wire.Mutation{Event: 1, ID: c.id()}, Count: uint16(k)}
		c.add(wire.KindIssue, op.Append(nil))
		n -= k
		c.joined += k
	}
	c.step(func(i int, s wire.Status, body []byte) {
		if s != wire.StatusOK {
			c.t.Fatalf("join: %v %s", s, body)
		}
	})
}

func (c *admission) run() {
	c.create(c.t, 1, benchManifest())
	for i := range c.copies {
		c.copies[i] = New(Config{})
	}
	c.copies[0], c.copies[1] = restored(c.t, c.s, Config{}), restored(c.t, c.s, Config{})
	c.log = make([]logged, c.index)
	c.applied = [2]uint64{c.index, c.index}
	c.inside = make(map[wire.PassID]bool)
	c.came = make([]bool, c.visitors)

	op := wire.SetRoom{Mutation: wire.Mutation{Event: 1, ID: c.id()}, Seed: [32]byte{1}, Config: wire.RoomConfig{
		Limit: crowdLimit, Rate: crowdRate * 1000, Grace: crowdGrace, PassTTL: crowdTTL, SeatsPerPass: 2, OpensAt: 1000,
	}}
	c.add(wire.KindSetRoom, op.Append(nil))
	c.step(nil)
	c.join(c.visitors * 3 / 5)
	wall := wire.WallClock{Mutation: wire.Mutation{Event: 1, ID: c.id()}, Wall: 1000}
	c.add(wire.KindWallClock, wall.Append(nil))
	c.opened = c.now
	c.step(nil)
	for !c.done() {
		c.now += crowdTick
		c.tick()
		c.follow()
	}
	r := c.room
	came := 0
	for _, yes := range c.came {
		if yes {
			came++
		}
	}
	if r.serving != uint64(c.visitors) || came != c.shows || r.redeemed != uint64(c.shows) || r.lapsed != uint64(c.visitors-c.shows) {
		c.t.Errorf("of %d visitors %d were called, %d wanted to come and %d came in (%d counted), %d lapsed", c.visitors, r.serving, c.shows, came, r.redeemed, r.lapsed)
	}
	c.t.Logf("%d visitors in %d entries and %d s of event time, %d no-shows", c.visitors, c.index, (c.now-c.opened)/1000, r.lapsed)
}

func (c *admission) done() bool {
	r := c.room
	return c.joined == c.visitors && r.serving == r.next && r.outstanding == 0 && len(c.plans) == 0 && r.passes.len() == 0
}

// tick is one entry: who is to come or to leave does, and somebody tries too early.
func (c *admission) tick() {
	var done []plan
	for len(c.plans) > 0 && c.plans[0].at <= c.now {
		p := heap.Pop(&c.plans).(plan)
		done = append(done, p)
		pass := wire.PassID(1 + p.number)
		if p.leave {
			op := wire.Leave{Mutation: wire.Mutation{Event: 1, ID: c.id()}, Room: c.room.id, Pass: pass}
			c.add(wire.KindLeave, op.Append(nil))
			continue
		}
		op := wire.Redeem{Mutation: wire.Mutation{Event: 1, ID: c.id()}, Room: c.room.id, Number: c.issued(p.number), Pass: pass}
		c.add(wire.KindRedeem, op.Append(nil))
	}
	early := uint64(0)
	if waiting := c.room.next - c.room.serving; waiting > crowdRate {
		early = c.room.serving + crowdRate + c.rand.Uint64N(waiting-crowdRate)
		op := wire.Redeem{Mutation: wire.Mutation{Event: 1, ID: c.id()}, Room: c.room.id, Number: c.issued(early), Pass: 1 << 40}
		c.add(wire.KindRedeem, op.Append(nil))
	}
	c.step(func(i int, s wire.Status, body []byte) {
		if i == len(done) {
			if s != wire.StatusNotCalled {
				c.t.Fatalf("at %d number %d comes too early and is answered %v", c.now, early, s)
			}
			return
		}
		p := done[i]
		if p.leave {
			return
		}
		var a wire.Admitted
		if err := a.Decode(body); s != wire.StatusOK || err != nil || a.Number != p.number || c.came[p.number] {
			c.t.Fatalf("at %d number %d comes in time and is answered %v %+v; came before: %v", c.now, p.number, s, a, c.came[p.number])
		}
		c.came[p.number] = true
		if c.rand.IntN(5) > 0 { // else the pass runs out
			heap.Push(&c.plans, plan{at: c.now + wire.Millis(c.rand.IntN(crowdTTL)), number: p.number, leave: true})
		}
	})
	if n := min(c.visitors-c.joined, c.rand.IntN(20)); n > 0 {
		c.join(n)
	}
}

// follow lets the replicas catch up, die and come back.
func (c *admission) follow() {
	for i, s := range c.copies {
		if c.rand.IntN(4) == 0 {
			for ; c.applied[i] < c.index; c.applied[i]++ {
				l := c.log[c.applied[i]]
				s.Apply(c.applied[i]+1, l.stamp, l.ops, nil)
			}
		}
	}
	switch i := c.rand.IntN(2); c.rand.IntN(400) {
	case 0:
		c.stored = restored(c.t, c.copies[i], Config{})
	case 1, 2:
		if c.stored != nil && c.copies[1-i] != c.stored {
			c.copies[i], c.applied[i] = c.stored, c.stored.index
			c.stored = nil
		}
	case 3:
		for i, s := range c.copies {
			for ; c.applied[i] < c.index; c.applied[i]++ {
				l := c.log[c.applied[i]]
				s.Apply(c.applied[i]+1, l.stamp, l.ops, nil)
			}
			if got, want := s.Hash(), c.s.Hash(); got != want {
				c.t.Fatalf("entry %d: replica %d has the hash %#x, want %#x", c.index, i, got, want)
			}
		}
		verifyShard(c.t, c.s)
		// The next leader is a replica that may have died and come back.
		c.s, c.copies[i] = c.copies[i], c.s
	}
}
