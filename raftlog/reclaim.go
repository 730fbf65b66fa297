package raftlog

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// A reclaimer gives the space of truncated entries back to the file system.
//
// The tombstones of DeleteRange make entries invisible, and drop those that are
// still in a memtable. They do little for entries in tables: keys only grow, so
// neither tables nor tombstones are ever merged with anything, and Pebble drops
// tables only for tombstones in a level above theirs. 4 GiB through three groups
// that hold 288 MiB left 1.6 GiB on disk, and had compacted 1.4 GiB for it. So
// what has been truncated for a while, and must have been flushed since, is cut
// out of the tables by name. That is an edit of the manifest, and moves no data.
type reclaimer struct {
	n     *Node
	flush chan struct{} // a memtable of the log has been flushed
	done  chan struct{}
	gone  sync.WaitGroup

	// Its goroutine's alone: for each group where the log began two flushes ago,
	// and one.
	before, last map[*logStore]uint64
}

// startReclaimer works whenever flush has something to say.
func startReclaimer(n *Node, flush chan struct{}) *reclaimer {
	r := &reclaimer{n: n, flush: flush, done: make(chan struct{})}
	r.gone.Go(func() {
		for {
			select {
			case <-r.flush:
				r.turn()
			case <-r.done:
				return
			}
		}
	})
	return r
}

func (r *reclaimer) stop() {
	close(r.done)
	r.gone.Wait()
}

func (r *reclaimer) turn() {
	for s, first := range r.before {
		if err := s.reclaim(first); err != nil {
			r.n.fail(fmt.Sprintf("reclaiming space in %s failed: %v", r.n.path("log"), err))
		}
	}
	now := make(map[*logStore]uint64)
	for _, s := range r.n.logStores() {
		now[s], _ = s.FirstIndex()
	}
	r.before, r.last = r.last, now
}

// reclaim cuts out everything before first.
func (s *logStore) reclaim(first uint64) error {
	s.mu.Lock()
	lo, hi := s.reclaimed, min(first, s.first)
	s.mu.Unlock()
	if lo >= hi {
		return nil
	}
	span := pebble.KeyRange{Start: logKey(s.group, lo), End: logKey(s.group, hi)}
	if err := s.n.log.Excise(context.Background(), span); err != nil {
		return err
	}
	s.mu.Lock()
	s.reclaimed = max(s.reclaimed, hi)
	s.mu.Unlock()
	return nil
}

// retire leaves nothing to cut out: the group is dropped, and may come back with
// entries of the same indexes.
func (s *logStore) retire() {
	s.mu.Lock()
	s.reclaimed = math.MaxUint64
	s.mu.Unlock()
}

// logStores are the logs in use.
func (n *Node) logStores() (logs []*logStore) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, g := range n.stores {
		logs = append(logs, g.logs)
	}
	return logs
}
