package raftlog

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// handClock is a monotonic clock that a test turns.
type handClock struct{ at atomic.Int64 }

func (h *handClock) now() time.Duration     { return time.Duration(h.at.Load()) }
func (h *handClock) turn(d time.Duration)   { h.at.Add(int64(d)) }
func (m *member) look()                     { m.group.proposer.signal() }
func millis(d time.Duration) wire.Millis    { return wire.Millis(d / time.Millisecond) }
func within(got, from, to wire.Millis) bool { return from <= got && got <= to }

// TestTimeBeginsAtTheWallClock: the first stamp of a group is the wall clock's
// time; from then on no wall clock matters, nor does time pass while nobody
// leads.
func TestTimeBeginsAtTheWallClock(t *testing.T) {
	const birth wire.Millis = 1_700_000_000_000
	var wall atomic.Int64
	wall.Store(int64(birth))
	var hand handClock
	c := newCluster(t, 1, clusterOptions{
		clock: hand.now,
		wall:  func(int) wire.Millis { return wire.Millis(wall.Load()) },
	})
	m := c.leader()
	if now := m.group.Now(); now != birth {
		t.Errorf("a new group's time is %d, want %d", now, birth)
	}
	hand.turn(250 * time.Millisecond)
	if now := m.group.Now(); now != birth+250 {
		t.Errorf("after 250 ms it is %d, want %d", now, birth+250)
	}
	if o := c.do(1); o.answer.stamp != birth+250 {
		t.Errorf("the first stamp is %d, want %d", o.answer.stamp, birth+250)
	}
	m.stop()
	wall.Store(5)
	hand.turn(time.Hour)
	m.start()
	c.leader()
	if now := m.group.Now(); now != birth+250 {
		t.Errorf("after an hour without a leader it is %d, want %d", now, birth+250)
	}
	hand.turn(time.Second)
	if o := c.do(2); o.answer.stamp != birth+1250 {
		t.Errorf("a second later the stamp is %d, want %d", o.answer.stamp, birth+1250)
	}
}

// TestTimeOverElections: stamps never fall when leadership moves (tally.Apply
// panics if one does) and go on from the last one, whatever the wall clocks of
// the members say.
func TestTimeOverElections(t *testing.T) {
	began := time.Now()
	var wall atomic.Int64 // a thousand seconds later at every look
	c := newCluster(t, 3, clusterOptions{wall: func(int) wire.Millis { return wire.Millis(wall.Add(1_000_000)) }})
	first := c.do(1).answer.stamp
	last := first
	for op := uint64(2); op < 6; op++ {
		lead := c.leader()
		lead.isolate()
		o := c.do(op)
		if o.answer.stamp < last {
			t.Errorf("stamp %d after %d", o.answer.stamp, last)
		}
		last = o.answer.stamp
		if now := c.leader().group.Now(); now < last {
			t.Errorf("leader's time is %d after stamp %d", now, last)
		}
		lead.heal()
	}
	if passed := millis(time.Since(began)); last-first > passed {
		t.Errorf("shard time went on by %d ms in %d ms", last-first, passed)
	}
	c.settle()
	for _, m := range c.members {
		if !m.group.Leading() && m.group.Now() != m.sm.Load().stamp {
			t.Errorf("time of a follower is %d, its last stamp %d", m.group.Now(), m.sm.Load().stamp)
		}
	}
}

// TestTick: what is due ends within a tick of its time although nobody asks for
// anything, not before, and then the log rests.
func TestTick(t *testing.T) {
	forVoters(t, func(t *testing.T, c *cluster) {
		to := newCatcher()
		const after = 120
		if s := c.leader().submitMode(Write, to, after, 1); s != wire.StatusOK {
			t.Fatal(s)
		}
		due := to.await(t, 1).answer.stamp + after
		var ended wire.Millis
		eventually(t, "the end of what is due", func() bool {
			op, _ := c.leader().sm.Load().op(1)
			ended = op.ended
			return ended != 0
		})
		// The stamp is when the entry was proposed. The bound leaves room for a
		// machine that is busy with other tests.
		if !within(ended, due, due+millis(tickInterval)+1000) {
			t.Errorf("due at %d, ended at %d", due, ended)
		}
		c.settle()
		lead := c.leader()
		index := lead.group.raft.LastIndex()
		holds(t, "a group with nothing due appends to its log", func() bool {
			return lead.group.raft.LastIndex() == index
		})
	})
}

// TestTickIsOnTime: an entry is proposed when something is due, not a millisecond
// before.
func TestTickIsOnTime(t *testing.T) {
	var hand handClock
	c := newCluster(t, 1, clusterOptions{clock: hand.now})
	m := c.leader()
	hand.turn(time.Second)
	to := newCatcher()
	if s := m.submitMode(Write, to, 5000, 1); s != wire.StatusOK {
		t.Fatal(s)
	}
	due := to.await(t, 1).answer.stamp + 5000
	index := m.group.raft.LastIndex()
	hand.turn(4999 * time.Millisecond)
	m.look()
	holds(t, "an entry before anything is due", func() bool { return m.group.raft.LastIndex() == index })
	hand.turn(time.Millisecond)
	m.look()
	eventually(t, "the end of what is due", func() bool { op, _ := m.sm.Load().op(1); return op.ended == due })
}

// TestIdleGroupRests: a group that nobody asks anything appends nothing, though
// something is due later.
func TestIdleGroupRests(t *testing.T) {
	forVoters(t, func(t *testing.T, c *cluster) {
		to := newCatcher()
		lead := c.leader()
		if s := lead.submitMode(Write, to, 3_600_000, 1); s != wire.StatusOK {
			t.Fatal(s)
		}
		to.await(t, 1)
		c.settle()
		index := lead.group.raft.LastIndex()
		holds(t, "an idle group appends to its log", func() bool { return lead.group.raft.LastIndex() == index })
	})
}

// TestTimeIsKept: while something is to fall due, a quiet group's time is
// stamped now and then and when the group is closed, so that a restart does not
// give it all back.
func TestTimeIsKept(t *testing.T) {
	var hand handClock
	c := newCluster(t, 1, clusterOptions{clock: hand.now})
	m := c.leader()
	to := newCatcher()
	if s := m.submitMode(Write, to, 3_600_000, 1); s != wire.StatusOK {
		t.Fatal(s)
	}
	began := to.await(t, 1).answer.stamp
	hand.turn(time.Duration(maxUnstamped) * time.Millisecond)
	m.look()
	eventually(t, "a stamp", func() bool { return m.group.Stats().Stamp == began+maxUnstamped })
	hand.turn(7 * time.Second)
	m.stop()
	m.start()
	c.leader()
	if now := m.group.Now(); now != began+maxUnstamped+7000 {
		t.Errorf("time is %d ms after the operation, want %d", now-began, maxUnstamped+7000)
	}
}

// TestCatchUp: after the process stood still, everything that fell due has ended
// before the next operation is decided, in steps of bounded size.
func TestCatchUp(t *testing.T) {
	var hand handClock
	c := newCluster(t, 1, clusterOptions{clock: hand.now})
	m := c.leader()
	to := newCatcher()
	const ops = 5 * tallyEndMax
	for i := range uint64(ops) {
		if s := m.submitMode(Write, to, 10_000, i*tallyParts); s != wire.StatusOK { // all in one part
			t.Fatal(s)
		}
	}
	eventually(t, "all decided", func() bool { return to.count() == ops && m.group.Stats().InFlight == 0 })
	entries := m.group.Stats().AppliedEntries
	hand.turn(time.Minute)
	if s := m.submit(to, 1); s != wire.StatusOK {
		t.Fatal(s)
	}
	to.await(t, 1)
	sm := m.sm.Load()
	for i := range uint64(ops) {
		if op, _ := sm.op(i * tallyParts); op.ended == 0 {
			t.Fatalf("operation %d has not ended", i)
		}
	}
	if n := m.group.Stats().AppliedEntries - entries; n != ops/tallyEndMax+1 {
		t.Errorf("%d entries, want %d ticks and the operation's", n, ops/tallyEndMax)
	}
}
