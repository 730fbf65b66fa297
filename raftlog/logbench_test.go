package raftlog

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// BenchmarkStoreLogs compares the node's log with raft-boltdb as raft's log
// store, one file per group: groups that store one entry after the other, each
// on disk before the next, and truncate now and then.
//
//	go test -run '^$' -bench StoreLogs -benchtime 3s ./raftlog
func BenchmarkStoreLogs(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10} {
		for _, groups := range []int{1, 8} {
			name := fmt.Sprintf("%dKiB/groups=%d/", size>>10, groups)
			b.Run(name+"pebble", func(b *testing.B) {
				n, err := Open(Options{Dir: b.TempDir(), NodeID: "n1", Log: quiet(), TrailingLogBytes: 1 << 20})
				if err != nil {
					b.Fatal(err)
				}
				defer n.Close()
				benchStores(b, groups, size, func(group uint64) (raft.LogStore, error) {
					logs, _, _, err := n.openGroupStores(group)
					if err == nil {
						logs.taken = func() uint64 { return math.MaxUint64 } // all is in a snapshot
					}
					return logs, err
				})
			})
			b.Run(name+"boltdb", func(b *testing.B) {
				dir := b.TempDir()
				benchStores(b, groups, size, func(group uint64) (raft.LogStore, error) {
					s, err := raftboltdb.NewBoltStore(filepath.Join(dir, fmt.Sprint(group)))
					if err == nil {
						b.Cleanup(func() { s.Close() })
					}
					return s, err
				})
			})
		}
	}
}

func benchStores(b *testing.B, groups, size int, open func(group uint64) (raft.LogStore, error)) {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	var stores []raft.LogStore
	for g := range groups {
		s, err := open(uint64(g))
		if err != nil {
			b.Fatal(err)
		}
		stores = append(stores, s)
	}
	b.SetBytes(int64(size))
	b.ResetTimer()
	var wg sync.WaitGroup
	for g, s := range stores {
		wg.Go(func() {
			const keep = 512
			for i := uint64(1); i <= uint64((b.N+groups-1-g)/groups); i++ {
				err := s.StoreLog(&raft.Log{Index: i, Term: 1, Data: data})
				if err == nil && i%keep == 0 && i > keep {
					err = s.DeleteRange(i-2*keep+1, i-keep)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkSnapshot stores and reads 100 MB of state in 1,000 parts that pack to
// about half.
//
//	go test -run '^$' -bench Snapshot ./raftlog
func BenchmarkSnapshot(b *testing.B) {
	const parts, size = 1_000, 100_000
	n, err := Open(Options{Dir: b.TempDir(), NodeID: "n1", Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	_, _, snaps, err := n.openGroupStores(1)
	if err != nil {
		b.Fatal(err)
	}
	s := newTestState()
	for id := range uint64(parts) {
		s.set(id, append(testEntry(id, 1, size/2).Data, make([]byte, size/2)...))
	}
	change := func(b *testing.B, changed uint64) {
		b.SetBytes(int64(changed * size))
		for b.Loop() {
			s.at++
			for id := range changed {
				s.changed[(s.at*changed+id)%parts] = s.at
			}
			if err := s.take(snaps); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("all parts", func(b *testing.B) { change(b, parts) })
	b.Run("one part in a hundred", func(b *testing.B) { change(b, parts/100) })
	b.Run("read", func(b *testing.B) {
		b.SetBytes(parts * size)
		for b.Loop() {
			list, err := snaps.List()
			if err != nil {
				b.Fatal(err)
			}
			_, r, err := snaps.Open(list[0].ID)
			if err != nil {
				b.Fatal(err)
			}
			err = readSnapshot(r, func(snapshotHeader) error { return nil }, func(uint64, []byte) error { return nil })
			if err := errors.Join(err, r.Close()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
