package raftlog

import (
	"testing"

	"github.com/usher-seats/usher/wire"
)

// readyBatch makes a batch of one finished answer, as of now.
func (m *member) readyBatch(to Receiver, tag uint64) *Batch {
	b := m.group.NewBatch(Ready, to)
	b.Add(tag, 0, wire.Record{Status: wire.StatusTaken, Body: tallyAnswer{times: 99}.append(nil)})
	return b
}

// TestPassengers: reads and finished answers come back once an entry has been
// committed, all those that wait share one, and no operation enters the log.
func TestPassengers(t *testing.T) {
	forVoters(t, func(t *testing.T, c *cluster) {
		c.do(1)
		lead := c.leader()
		before := lead.group.Stats()
		to := newCatcher()
		if s := lead.submitMode(Read, to, 0, 1, 2); s != wire.StatusOK {
			t.Fatal(s)
		}
		if s := lead.group.Submit(lead.readyBatch(to, 3)); s != wire.StatusOK {
			t.Fatal(s)
		}
		for op, want := range map[uint64]outcome{
			1: {wire.StatusOK, tallyAnswer{times: 1}},
			2: {wire.StatusOK, tallyAnswer{times: 0}},
			3: {wire.StatusTaken, tallyAnswer{times: 99}},
		} {
			if got := to.await(t, op); got.status != want.status || got.answer.times != want.answer.times {
				t.Errorf("passenger %d got %+v, want %+v", op, got, want)
			}
		}
		after := lead.group.Stats()
		if after.Ops != before.Ops || after.Passengers != before.Passengers+3 || after.Barriers == before.Barriers {
			t.Errorf("before %+v, after %+v", before, after)
		}
	})
}

// TestDeposedLeaderAnswersNobody: a leader that is cut off, or whose process
// stands still, while another commits a change, must not give out what it had
// looked up: neither while it does not know, nor when it is back.
func TestDeposedLeaderAnswersNobody(t *testing.T) {
	for _, stand := range []struct {
		name    string
		stopped bool // its raft does nothing at all, as after SIGSTOP
	}{{"cut off", false}, {"stopped", true}} {
		t.Run(stand.name, func(t *testing.T) {
			c := newCluster(t, 3, clusterOptions{gated: true})
			c.do(1)
			old := c.leader()
			to := newCatcher()
			ready := old.readyBatch(to, 100)
			if stand.stopped {
				old.gate.shut()
				defer old.gate.open()
			}
			old.isolate()
			if s := old.group.Submit(ready); s != wire.StatusOK {
				t.Fatalf("the old leader noticed too early: %v", s)
			}
			if s := old.submitMode(Read, to, 0, 2); s != wire.StatusOK {
				t.Fatalf("the old leader noticed too early: %v", s)
			}
			c.do(2) // by another leader: both answers are stale from here on
			if stand.stopped {
				if n := to.count(); n != 0 {
					t.Fatalf("%d answers while stopped", n)
				}
				old.heal()
				old.gate.open()
			}
			for _, op := range []uint64{100, 2} {
				if o := to.await(t, op); o.status != wire.StatusUnavailable {
					t.Errorf("passenger %d of the deposed leader got %+v", op, o)
				}
			}
			old.heal()
			c.settle()
		})
	}
}

// TestAnswersOfAnEarlierReign: answers looked up in one reign are not given out
// in another of the same leader, since somebody else led in between.
func TestAnswersOfAnEarlierReign(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	c.do(1)
	first := c.leader()
	to := newCatcher()
	ready := first.readyBatch(to, 100)
	for op := uint64(2); ; op++ {
		lead := c.leader()
		if op > 2 && lead == first {
			break
		}
		reign := lead.group.Reign()
		lead.group.raft.LeadershipTransferToServer("n0", "n0")
		if lead == c.members[0] {
			lead.group.raft.LeadershipTransfer()
		}
		eventually(t, "another reign", func() bool { m := c.leader(); return m != lead || m.group.Reign() != reign })
		c.tryDo(op)
	}
	eventually(t, "the batch to be taken", func() bool { return first.group.Submit(ready) == wire.StatusOK })
	if o := to.await(t, 100); o.status != wire.StatusUnavailable {
		t.Fatalf("an answer of an earlier reign was given out: %+v", o)
	}
}

// TestReadsSeeWhatWasAcknowledged: whoever leads, a read that starts after an
// operation was acknowledged sees it, while the leader is cut off again and
// again.
func TestReadsSeeWhatWasAcknowledged(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	for op := uint64(1); op <= 60; op++ {
		lead := c.leader()
		if op%10 == 0 {
			lead.isolate()
		}
		acknowledged := c.tryDo(op)
		for _, m := range c.members {
			to := newCatcher()
			if m.submitMode(Read, to, 0, op) != wire.StatusOK {
				continue
			}
			o := to.await(t, op)
			if o.status == wire.StatusOK && acknowledged && o.answer.times != 1 {
				t.Fatalf("operation %d was acknowledged, %s read %+v", op, m.id, o)
			}
		}
		if op%10 == 0 {
			lead.heal()
		}
	}
}

// tryDo has whoever leads try an operation, and reports whether it was
// acknowledged.
func (c *cluster) tryDo(op uint64) bool {
	to := newCatcher()
	if c.leader().submit(to, op) != wire.StatusOK {
		return false
	}
	return to.await(c.t, op).status == wire.StatusOK
}
