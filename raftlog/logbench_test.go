package raftlog

import (
	"fmt"
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
