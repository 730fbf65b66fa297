package raftlog

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestIdleCost prints what 64 idle groups on three nodes cost, all in this
// process, per transport and CommitTimeout. It asserts nothing:
//
//	RAFTLOG_IDLE=20s go test ./raftlog -run TestIdleCost -v
func TestIdleCost(t *testing.T) {
	span, err := time.ParseDuration(os.Getenv("RAFTLOG_IDLE"))
	if err != nil {
		t.Skip("RAFTLOG_IDLE says how long to measure each")
	}
	const groups = 64
	for _, commit := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
		for _, kind := range []string{"ours", "raft.NetworkTransport"} {
			t.Run(fmt.Sprintf("%s/commit=%v", kind, commit), func(t *testing.T) {
				r := newRig(t, 3, nil)
				var all []*rigGroup
				for id := range uint64(groups) {
					g := &rigGroup{t: t}
					if kind == "ours" {
						g.ours(r, id)
					} else {
						g.stock(3, id, 0)
					}
					g.start(func(c *raft.Config) {
						c.CommitTimeout = commit
					})
					all = append(all, g)
				}
				for _, g := range all {
					g.leader()
				}
				before := processorTime(t)
				time.Sleep(span) // the measured time itself
				used := processorTime(t) - before
				t.Logf("%d groups on 3 nodes: %.1f %% of a core", groups, 100*used.Seconds()/span.Seconds())
				var stopped sync.WaitGroup
				for _, g := range all {
					stopped.Go(g.stop)
				}
				stopped.Wait()
			})
		}
	}
}

func processorTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
