package raftlog

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A stallWatch ends the process when a write hangs. It counts its own ticks and
// asks no clock how long a write took: a process that was stopped and continued,
// or starved of CPU, has not seen its disk fail.
type stallWatch struct {
	fail func(msg string)
	done chan struct{}
	gone sync.WaitGroup

	mu    sync.Mutex
	slots []*stallSlot
}

// stallTicks is how often a write must be seen at the same point.
const stallTicks = 8

// A stallSlot belongs to whoever writes to one store, one write at a time.
type stallSlot struct {
	what string
	seq  atomic.Uint64 // odd while a write is under way

	seen  uint64 // seq at the last tick; the watch's alone
	ticks int    // since when it has been seq; the watch's alone
}

func (s *stallSlot) enter() { s.seq.Add(1) }
func (s *stallSlot) leave() { s.seq.Add(1) }

// startStallWatch calls fail once a write takes longer than limit, give or take
// an eighth of it.
func startStallWatch(limit time.Duration, fail func(msg string)) *stallWatch {
	w := &stallWatch{fail: fail, done: make(chan struct{})}
	w.gone.Go(func() {
		tick := time.NewTicker(max(limit/stallTicks, time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.look(limit)
			case <-w.done:
				return
			}
		}
	})
	return w
}

// slot adds a writer; what names it in the sentence that ends the process.
func (w *stallWatch) slot(what string) *stallSlot {
	s := &stallSlot{what: what}
	w.mu.Lock()
	w.slots = append(w.slots, s)
	w.mu.Unlock()
	return s
}

func (w *stallWatch) look(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.slots {
		seq := s.seq.Load()
		if seq%2 == 0 || seq != s.seen {
			s.seen, s.ticks = seq, 0
			continue
		}
		if s.ticks++; s.ticks >= stallTicks {
			w.fail(fmt.Sprintf("a write to %s has been hanging for %v: the disk has stalled, and others must be able to take over", s.what, limit))
			s.ticks = 0
		}
	}
}

func (w *stallWatch) stop() {
	close(w.done)
	w.gone.Wait()
}

// diskCheckEvery is how often free space is looked at.
const diskCheckEvery = time.Second

// A diskGuard watches the free space of a file system.
type diskGuard struct {
	low  atomic.Bool
	done chan struct{}
	gone sync.WaitGroup
}

// startDiskGuard looks once before it returns, then every second.
func startDiskGuard(fs vfs.FS, dir string, reserve int64, log *slog.Logger) *diskGuard {
	g := &diskGuard{done: make(chan struct{})}
	g.look(fs, dir, reserve, log)
	g.gone.Go(func() {
		tick := time.NewTicker(diskCheckEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				g.look(fs, dir, reserve, log)
			case <-g.done:
				return
			}
		}
	})
	return g
}

// look compares free space with the reserve. It clears the alarm only a quarter
// above it, so that the border is not crossed with every file.
func (g *diskGuard) look(fs vfs.FS, dir string, reserve int64, log *slog.Logger) {
	usage, err := fs.GetDiskUsage(dir)
	if err != nil {
		if !errors.Is(err, vfs.ErrUnsupported) {
			log.Error("cannot tell how much disk space is free", "dir", dir, "error", err)
		}
		return
	}
	free := usage.AvailBytes
	switch low := g.low.Load(); {
	case !low && free < uint64(reserve):
		g.low.Store(true)
		log.Warn("disk space is low: no new holds until there is more", "dir", dir, "free_bytes", free, "reserve_bytes", reserve)
	case low && free >= uint64(reserve+reserve/4):
		g.low.Store(false)
		log.Info("disk space is back", "dir", dir, "free_bytes", free)
	}
}

func (g *diskGuard) stop() {
	close(g.done)
	g.gone.Wait()
}
