package raftlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// A groupLife drives one group the way raft does, one operation after the other,
// and remembers every state that it went through. Its driver's goroutine writes;
// issued and acked may be read by others, and the states below issued too.
type groupLife struct {
	id     uint64
	r      *rand.Rand
	states []lifeState
	issued atomic.Int64 // operations begun; state i is after i operations
	acked  atomic.Int64 // operations acknowledged
}

// A lifeState is what a group's stores hold after an operation. It is immutable.
type lifeState struct {
	entries map[uint64]*raft.Log
	last    uint64
	term    uint64 // of the vote's record
	voted   string
	snap    *testState // nil: none
}

// maxLife bounds the operations of one life.
const maxLife = 200

func newGroupLife(id, seed uint64) *groupLife {
	l := &groupLife{id: id, r: rand.New(rand.NewPCG(seed, id)), states: make([]lifeState, maxLife+1)}
	l.states[0] = lifeState{entries: make(map[uint64]*raft.Log)}
	return l
}

func (s lifeState) lastIndex() uint64 {
	if s.snap != nil {
		return max(s.last, s.snap.at)
	}
	return s.last
}

func (s lifeState) snapTerm() uint64 {
	if s.snap == nil {
		return 1
	}
	return s.snap.term
}

func (s lifeState) snapIndex() uint64 {
	if s.snap == nil {
		return 0
	}
	return s.snap.at
}

// with is s after logs were stored. Truncated entries stay in the map: they may
// come back with a power loss, and must be right then.
func (s lifeState) with(logs []*raft.Log) lifeState {
	next := s
	next.entries = make(map[uint64]*raft.Log, len(s.entries)+len(logs))
	for i, e := range s.entries {
		if i < logs[0].Index && s.last != 0 {
			next.entries[i] = e
		}
	}
	for _, l := range logs {
		next.entries[l.Index] = l
		next.last = l.Index
	}
	return next
}

// step does the next operation.
func (l *groupLife) step(g *groupStores) error {
	at := l.issued.Load()
	next, do := l.pick(l.states[at], g)
	l.states[at+1] = next
	l.issued.Add(1)
	if err := do(); err != nil {
		return err
	}
	l.acked.Add(1)
	return nil
}

func (l *groupLife) pick(s lifeState, g *groupStores) (lifeState, func() error) {
	r := l.r
	next := s
	switch k := r.IntN(12); {
	case s.term == 0 || k == 0: // a new term
		next.term, next.voted = s.term+1+r.Uint64N(3), ""
		return next, func() error { return g.stable.SetUint64([]byte(keyCurrentTerm), next.term) }
	case k == 1 && s.voted == "":
		next.voted = fmt.Sprint("candidate", r.IntN(3))
		return next, func() error {
			if err := g.stable.SetUint64([]byte(keyLastVoteTerm), next.term); err != nil {
				return err
			}
			return g.stable.Set([]byte(keyLastVoteCand), []byte(next.voted))
		}
	case k == 2 && s.last > s.snapIndex() && s.entries[s.last].Term < s.term: // overruled
		from := s.snapIndex() + 1
		if s.last-from > 20 {
			from = s.last - 20
		}
		from += r.Uint64N(s.last - from + 1)
		// A new leader's entries may be older than those they replace; its own
		// come later.
		low := s.snapTerm()
		if e := s.entries[from-1]; from > s.snapIndex()+1 && e != nil {
			low = e.Term
		}
		logs := l.entries(from, low+r.Uint64N(s.term-low+1))
		return s.with(logs), func() error {
			if err := g.logs.DeleteRange(from, s.last); err != nil {
				return err
			}
			return g.logs.StoreLogs(logs)
		}
	case k <= 4 && s.last > s.snapIndex(): // a snapshot, and truncation
		next.snap = l.nextSnap(s, s.snapIndex()+1+r.Uint64N(s.last-s.snapIndex()))
		next.snap.term = s.entries[next.snap.at].Term
		return next, func() error {
			if err := next.snap.clone().take(g.snaps); err != nil {
				return err
			}
			first, _ := g.logs.FirstIndex()
			return g.logs.DeleteRange(first, next.snap.at)
		}
	case k == 5: // a snapshot of a leader that is ahead
		next.snap = l.nextSnap(s, s.lastIndex()+1+r.Uint64N(5))
		next.snap.term = s.term
		next.entries, next.last = nil, 0
		return next, func() error { return next.snap.clone().install(g.snaps) }
	}
	logs := l.entries(s.lastIndex()+1, s.term)
	return s.with(logs), func() error { return g.logs.StoreLogs(logs) }
}

func (l *groupLife) entries(from, term uint64) []*raft.Log {
	var logs []*raft.Log
	size := 1 + l.r.IntN(200)
	if l.r.IntN(8) == 0 {
		size = 8 << 10
	}
	for i := range 1 + l.r.Uint64N(6) {
		logs = append(logs, testEntry(from+i, term, l.r.IntN(size)))
	}
	return logs
}

func (l *groupLife) nextSnap(s lifeState, at uint64) *testState {
	next := newTestState()
	if s.snap != nil {
		next = s.snap.clone()
	}
	next.apply(l.r)
	next.at = at
	return next
}

// check compares stores with the states that they may be in: of the operations
// begun, those acknowledged are all there, and none is half there.
func (l *groupLife) check(g *groupStores, acked, issued int64) error {
	matches := func(what string, same func(s lifeState) error) error {
		var err error
		for i := issued; i >= acked; i-- {
			if err = same(l.states[i]); err == nil {
				return nil
			}
		}
		return fmt.Errorf("group %d, %s is in none of the states %d to %d: %w", l.id, what, acked, issued, err)
	}
	if err := matches("the log", func(s lifeState) error { return checkLog(g.logs, s.entries, s.last) }); err != nil {
		return err
	}
	if err := matches("the snapshot", func(s lifeState) error { return checkCurrent(g.snaps, s.snap) }); err != nil {
		return err
	}
	return matches("the vote", func(s lifeState) error {
		if v := g.stable.vote; v.term != s.term || string(v.candidate) != s.voted || v.cast != (s.voted != "") {
			return fmt.Errorf("term %d, vote for %q", v.term, v.candidate)
		}
		return nil
	})
}

// A crash is a disk as power loss may have left it, and what was begun and
// acknowledged around that moment.
type crash struct {
	fs            *vfs.MemFS
	bolt          []byte
	acked, issued []int64
}

// crashOf takes one. It gives up, with nil, if bolt wrote meanwhile: copied in the
// middle of a write, its file is no picture of a disk. (TestVotePowerLoss cuts
// bolt's writes short.)
func crashOf(r *rand.Rand, fs *vfs.MemFS, boltPath string, lives []*groupLife) *crash {
	c := &crash{}
	for _, l := range lives {
		c.acked = append(c.acked, l.acked.Load())
	}
	before, _ := os.ReadFile(boltPath)
	percent := []int{0, 100, 10, 50, 90}[r.IntN(5)]
	c.fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: r})
	c.bolt, _ = os.ReadFile(boltPath)
	if !bytes.Equal(before, c.bolt) {
		return nil
	}
	for _, l := range lives {
		c.issued = append(c.issued, l.issued.Load())
	}
	return c
}

// verify starts a node on what the crash has left.
func (c *crash) verify(o Options, lives []*groupLife) error {
	o.FS = c.fs
	if err := os.WriteFile(filepath.Join(o.Dir, boltFile), c.bolt, 0o600); err != nil {
		return err
	}
	for range 2 { // and once more, after that start
		n, err := Open(o)
		if err != nil {
			return err
		}
		for i, l := range lives {
			logs, stable, snaps, err := n.openGroupStores(l.id)
			if err != nil {
				return err
			}
			if err := l.check(&groupStores{logs, stable, snaps}, c.acked[i], c.issued[i]); err != nil {
				return err
			}
		}
		if err := n.Close(); err != nil {
			return err
		}
	}
	return nil
}

// TestPowerLoss cuts the power at random moments of random lives of three
// groups, also while the stores are being opened and closed and in the middle of
// writes, with a random part of what was not synced lost. What was acknowledged
// is there, what was not is there wholly or not at all, and the stores start.
func TestPowerLoss(t *testing.T) {
	seed := testSeed(t)
	r := seeded(seed)
	base := fastDir(t)
	crashes := 0
	for life := 0; crashes < soak(t, 1_000); life++ {
		o := storeOptions(filepath.Join(base, fmt.Sprint(life)), nil)
		o.TrailingLogBytes = 4 << 10
		o.memTable = 64 << 10
		lives, found, err := livePowerLoss(r, o)
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		for i, c := range found {
			if err := c.verify(o, lives); err != nil {
				t.Fatalf("life %d, crash %d of %d: %v", life, i, len(found), err)
			}
			crashes++
		}
	}
	t.Logf("%d power losses", crashes)
}

// livePowerLoss lets three groups live through one to three starts, and takes
// crashes on the way.
func livePowerLoss(r *rand.Rand, o Options) ([]*groupLife, []*crash, error) {
	mem := vfs.NewCrashableMem()
	fs := &hookFS{FS: mem}
	o.FS = fs
	lives := []*groupLife{newGroupLife(0, r.Uint64()), newGroupLife(1, r.Uint64()), newGroupLife(7, r.Uint64())}

	var mu sync.Mutex
	var found []*crash
	crashAt := rand.New(rand.NewPCG(r.Uint64(), 0))
	take := func() {
		fs.cloning.Lock()
		defer fs.cloning.Unlock()
		mu.Lock()
		defer mu.Unlock()
		if c := crashOf(crashAt, mem, filepath.Join(o.Dir, boltFile), lives); c != nil {
			found = append(found, c)
		}
	}
	fs.on(func(op, name string) error {
		mu.Lock()
		hit := crashAt.IntN(60) == 0
		mu.Unlock()
		if hit {
			take()
		}
		return nil
	})
	for range 1 + r.IntN(3) {
		n, err := Open(o)
		if err != nil {
			return nil, nil, err
		}
		var wg sync.WaitGroup
		errs := make([]error, len(lives))
		for i, l := range lives {
			steps := l.r.IntN(25)
			wg.Go(func() {
				logs, stable, snaps, err := n.openGroupStores(l.id)
				for range steps {
					if err == nil {
						err = l.step(&groupStores{logs, stable, snaps})
					}
				}
				errs[i] = err
			})
		}
		wg.Wait()
		for _, err := range append(errs, n.Close()) {
			if err != nil {
				return nil, nil, err
			}
		}
		take()
	}
	return lives, found, nil
}
