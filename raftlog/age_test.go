package raftlog

import (
	"sync"
	"testing"
	"time"
)

// follower waits for a member that does not lead and is up to date.
func (c *cluster) follower() *member {
	c.t.Helper()
	var f *member
	eventually(c.t, "a follower that knows how old it is", func() bool {
		lead := c.leader()
		for _, m := range c.members {
			if m != lead && m.group.Age() < forever {
				f = m
				return true
			}
		}
		return false
	})
	return f
}

// TestAgeOfSilence: a follower of a leader that has written nothing but what raft
// keeps to itself knows that it misses nothing.
func TestAgeOfSilence(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	f := c.follower()
	began := time.Now()
	eventually(t, "word of the leader after the test began", func() bool { return f.group.Age() < time.Since(began) })
	if lead := c.leader().group; lead.Age() != 0 {
		t.Errorf("the leader's view is %v old", lead.Age())
	}
}

// TestAgeOfTheCutOff: who hears nothing of the leader grows older, and is young again
// when he does.
func TestAgeOfTheCutOff(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	c.do(1)
	f := c.follower()
	f.isolate()
	cut := time.Now()
	c.do(2) // the cut-off member does not have it
	holds(t, "a member that is cut off heard of its leader", func() bool {
		passed := time.Since(cut)
		// What was on its way when it was cut off may still come in.
		return f.group.Age() >= passed-testElection
	})
	f.heal()
	eventually(t, "the member hears of its leader", func() bool { return f.group.Leading() || f.group.Age() < testElection })
}

// TestAgeOfTheSlow: to hear of the leader is not enough. Who does not get on with
// applying is as old as the last entry that it had in time.
func TestAgeOfTheSlow(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	c.do(1)
	f := c.follower().group
	f.fsm.mu.Lock() // its applier stands still
	goOn := sync.OnceFunc(f.fsm.mu.Unlock)
	defer goOn()
	c.do(2)
	eventually(t, "the follower hears of an entry that it cannot apply", func() bool { return f.raft.CommitIndex() > f.fsm.applied.Load() && !f.hasApplied(f.raft.CommitIndex()) })
	stuck := time.Now()
	eventually(t, "the follower hears of its leader again", func() bool { return f.raft.LastContact().After(stuck) })
	if age, passed := f.Age(), time.Since(stuck); age < passed {
		t.Errorf("%v after it fell behind, the follower says that its view is %v old", passed, age)
	}
	goOn()
	eventually(t, "the follower catches up", func() bool { return f.Age() < time.Since(stuck) })
}
