package raftlog

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// TestOneOperation: an operation goes through queue, entry, log and applier, and
// its outcome comes back with what the caller knows it by.
func TestOneOperation(t *testing.T) {
	forVoters(t, func(t *testing.T, c *cluster) {
		c.do(1) // the reign has settled
		to := newCatcher()
		lead := c.leader()
		if s := lead.submit(to, 7); s != wire.StatusOK {
			t.Fatal(s)
		}
		o := to.await(t, 7)
		if o.status != wire.StatusOK || o.answer.times != 1 || to.aux[7] != 7 {
			t.Fatalf("outcome %+v, aux %d", o, to.aux[7])
		}
		eventually(t, "a flush", func() bool { to.mu.Lock(); defer to.mu.Unlock(); return to.flushes == 1 })
		c.settle()
	})
}

// A load submits batches to whoever leads until it is told to stop, and keeps
// what became of each.
type load struct {
	c       *cluster
	to      *catcher
	wg      sync.WaitGroup
	stop    atomic.Bool
	after   uint64        // operations are numbered from here
	next    atomic.Uint64 // the last one
	taken   atomic.Int64
	refused sync.Map // op → status, not taken
}

func (c *cluster) load(writers int) *load {
	l := &load{c: c, to: newCatcher()}
	l.start(writers)
	return l
}

func (l *load) start(writers int) {
	for w := range writers {
		l.wg.Add(1)
		go l.write(rand.New(rand.NewPCG(uint64(w), 1)))
	}
}

func (l *load) write(r *rand.Rand) {
	defer l.wg.Done()
	for !l.stop.Load() {
		g := l.c.members[r.IntN(len(l.c.members))].live.Load()
		if !g.Leading() && r.IntN(100) > 0 {
			time.Sleep(50 * time.Microsecond) // paces attempts that are refused anyway
			continue
		}
		n := 1 + r.IntN(20)
		last := l.next.Add(uint64(n))
		b := g.NewBatch(Write, l.to)
		for op := last - uint64(n) + 1; op <= last; op++ {
			b.Add(op, 0, tallyRecord(op, wire.Millis(r.IntN(2)*(1+r.IntN(1000)))))
		}
		if s := g.Submit(b); s == wire.StatusOK {
			l.taken.Add(int64(n))
		} else {
			for op := last - uint64(n) + 1; op <= last; op++ {
				l.refused.Store(op, s)
			}
			b.Release()
		}
		for l.taken.Load()-int64(l.to.count()) > 2000 && !l.stop.Load() {
			time.Sleep(100 * time.Microsecond) // a client's window
		}
	}
}

// finish ends the load, waits for all answers and for what is still due, and
// holds the answers against the state.
func (l *load) finish() {
	t := l.c.t
	t.Helper()
	l.stop.Store(true)
	l.wg.Wait()
	eventually(t, "every record answered", func() bool { return int64(l.to.count()) == l.taken.Load() })
	eventually(t, "nothing due", func() bool { return l.c.leader().sm.Load().NextDue() == wire.Never })
	l.c.settle()
	l.check(l.c.leader().sm.Load())
}

func (l *load) check(sm *tally) {
	t := l.c.t
	t.Helper()
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	if len(l.to.twice) > 0 {
		t.Fatalf("%d records were answered twice, the first is %d", len(l.to.twice), l.to.twice[0])
	}
	counts := make(map[wire.Status]int)
	for op := l.after + 1; op <= l.next.Load(); op++ {
		state, applied := sm.op(op)
		o, answered := l.to.got[op]
		_, refused := l.refused.Load(op)
		switch {
		case answered == refused:
			t.Fatalf("operation %d: answered %v, refused %v", op, answered, refused)
		case refused && applied:
			t.Fatalf("operation %d was refused and applied", op)
		case applied && state.times != 1:
			t.Fatalf("operation %d was applied %d times", op, state.times)
		case answered && o.status == wire.StatusOK && (!applied || o.answer.stamp != state.stamp):
			t.Fatalf("operation %d was acknowledged at %d and the state says %+v", op, o.answer.stamp, state)
		case answered && o.status != wire.StatusOK && o.status != wire.StatusUnknown && applied:
			t.Fatalf("operation %d was answered %v and applied", op, o.status)
		}
		if answered {
			counts[o.status]++
		}
	}
	t.Logf("outcomes: %v", counts)
}

// TestExactlyOnceUnderTransfer: while leadership moves, each operation is
// answered once, an acknowledged one is in the state once, and one answered not
// applied is not.
func TestExactlyOnceUnderTransfer(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	c.leader()
	l := c.load(4)
	for range 5 {
		lead := c.leader()
		before := l.to.count()
		eventually(t, "load on the leader", func() bool { return l.to.count() > before+500 })
		lead.group.raft.LeadershipTransfer()
		eventually(t, "another reign", func() bool {
			m := c.leader()
			return m != lead || m.group.Reign() != lead.group.Reign()
		})
	}
	l.finish()
}

// TestExactlyOnceUnderPartition: the same while the leader is cut off, its
// entries lost, and comes back.
func TestExactlyOnceUnderPartition(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	c.leader()
	l := c.load(4)
	for range 4 {
		lead := c.leader()
		before := l.to.count()
		eventually(t, "load on the leader", func() bool { return l.to.count() > before+500 })
		lead.isolate()
		c.leader()
		before = l.to.count()
		eventually(t, "load on the next leader", func() bool { return l.to.count() > before+500 })
		lead.heal()
	}
	l.finish()
}

// TestExactlyOnceOverClose: a group that is closed under load finishes or
// answers all it has taken, and its log says the same after a restart.
func TestExactlyOnceOverClose(t *testing.T) {
	for _, abort := range []bool{false, true} {
		name := "orderly"
		if abort {
			name = "at once"
		}
		t.Run(name, func(t *testing.T) {
			forVoters(t, func(t *testing.T, c *cluster) {
				lead := c.leader()
				l := c.load(4)
				eventually(t, "load", func() bool { return l.to.count() > 2000 })
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				if abort {
					cancel()
				}
				defer cancel()
				if err := lead.group.Close(ctx); err != nil {
					t.Fatal(err)
				}
				l.stop.Store(true)
				l.wg.Wait()
				eventually(t, "every record answered", func() bool { return int64(l.to.count()) == l.taken.Load() })
				lead.stop()
				lead.start()
				l.finish()
			})
		})
	}
}
