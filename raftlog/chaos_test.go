package raftlog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestChaos: under load, members are cut off, stopped at once, started again,
// lose leadership and take snapshots, in random order. In the end every operation
// was answered once, the answers are true, and all members have the same state.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("RAFTLOG_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("again: RAFTLOG_SEED=%d go test -run '^TestChaos$' ./raftlog", seed)
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	for _, voters := range []int{1, 3} {
		t.Run(fmt.Sprintf("voters=%d", voters), func(t *testing.T) {
			c := newCluster(t, voters, clusterOptions{snapshotBytes: 128 << 10, trailingBytes: 64 << 10})
			r := rand.New(rand.NewPCG(seed, uint64(voters)))
			l := c.load(3)
			for range rounds {
				c.upset(r)
				before := l.to.count()
				eventually(t, "the load to go on", func() bool {
					c.mend(r)
					return l.to.count() > before+100
				})
			}
			for _, m := range c.members {
				m.heal()
				if m.node == nil {
					m.start()
				}
			}
			l.finish()
		})
	}
}

// upset does something to a member, so that at least two of three can go on.
func (c *cluster) upset(r *rand.Rand) {
	m := c.members[r.IntN(len(c.members))]
	for _, o := range c.members {
		if o != m && (o.node == nil || o.cut) {
			m = o // the one that is in trouble already
		}
	}
	switch {
	case m.node == nil:
		m.start()
	case m.cut:
		m.heal()
	default:
		switch r.IntN(4) {
		case 0:
			if len(c.members) > 1 {
				m.isolate()
			}
		case 1:
			m.kill()
			if len(c.members) == 1 || r.IntN(2) == 0 {
				m.start()
			}
		case 2:
			m.group.raft.LeadershipTransfer()
		case 3:
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = m.group.Snapshot(ctx) // may be refused: its turn comes again
			cancel()
		}
	}
}

// mend brings back, now and then, whoever is away.
func (c *cluster) mend(r *rand.Rand) {
	if r.IntN(500) > 0 {
		return
	}
	for _, m := range c.members {
		if m.node == nil {
			m.start()
		} else if m.cut {
			m.heal()
		}
	}
}

// kill ends the member without finishing anything.
func (m *member) kill() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.group.Close(ctx); err != nil {
		m.c.t.Errorf("close group of %s: %v", m.id, err)
	}
	m.stop()
}
