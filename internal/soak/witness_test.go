package soak

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// A witness tells what the machine itself did during a measurement, so that a
// slow disk or busy processors are not taken for a slow node: every few
// milliseconds it notes how late its timer is, and how long a sync of four
// kilobytes takes.
type witness struct {
	stop  context.CancelFunc
	ended sync.WaitGroup
	late  []time.Duration
	syncs []time.Duration
	err   error
}

const (
	witnessEvery = 5 * time.Millisecond
	witnessSyncs = 50 * time.Millisecond
)

// callWitness begins one with a file in dir, which must be on the disk that
// counts.
func callWitness(dir string) *witness {
	ctx, cancel := context.WithCancel(context.Background())
	w := &witness{stop: cancel}
	w.ended.Go(func() { w.timers(ctx) })
	w.ended.Go(func() { w.err = w.disk(ctx, filepath.Join(dir, "witness")) })
	return w
}

func (w *witness) timers(ctx context.Context) {
	for {
		begun := time.Now()
		select {
		case <-time.After(witnessEvery):
			w.late = append(w.late, time.Since(begun)-witnessEvery)
		case <-ctx.Done():
			return
		}
	}
}

func (w *witness) disk(ctx context.Context, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	pace := time.NewTicker(witnessSyncs)
	defer pace.Stop()
	for block := make([]byte, 4096); ; {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return os.Remove(path)
		}
		begun := time.Now()
		if _, err := f.Write(block); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		w.syncs = append(w.syncs, time.Since(begun))
	}
}

// heard ends the witness and logs what it has to say.
func (w *witness) heard(t *testing.T) {
	t.Helper()
	w.stop()
	w.ended.Wait()
	if w.err != nil {
		t.Fatal(w.err)
	}
	slices.Sort(w.late)
	slices.Sort(w.syncs)
	t.Logf("the machine meanwhile: timers late by p50 %v p99 %v max %v; a write and sync of 4 KiB took p50 %v p99 %v max %v",
		at(w.late, 50), at(w.late, 99), at(w.late, 100), at(w.syncs, 50), at(w.syncs, 99), at(w.syncs, 100))
}
