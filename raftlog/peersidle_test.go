package raftlog

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
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
				for id := range uint64(groups) {
					g := &rigGroup{t: t}
					if kind == "ours" {
						for _, n := range r.nodes {
							rep := fmt.Sprintf("%s@%d", n.name, id)
							g.replicas = append(g.replicas, &rigReplica{id: raft.ServerID(rep), trans: n.peers.Transport(id, rep)})
						}
					} else {
						g.stock(3, id)
					}
					g.start(func(c *raft.Config) {
						c.HeartbeatTimeout, c.ElectionTimeout = 600*time.Millisecond, 600*time.Millisecond
						c.LeaderLeaseTimeout = 480 * time.Millisecond
						c.CommitTimeout = commit
					})
					g.leader()
				}
				terms := 0
				before := processorTime(t)
				time.Sleep(span) // the measured time itself
				used := processorTime(t) - before
				t.Logf("%d groups on 3 nodes: %.1f %% of a core", groups, 100*used.Seconds()/span.Seconds())
				_ = terms
			})
		}
	}
}

// stock gives the group a NetworkTransport per replica.
func (g *rigGroup) stock(n int, id uint64) {
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			g.t.Fatal(err)
		}
		trans := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: stockLayer{ln}, MaxPool: 3, Timeout: 2 * time.Second, Logger: hclog.NewNullLogger(),
		})
		g.t.Cleanup(func() { _ = trans.Close() })
		g.replicas = append(g.replicas, &rigReplica{id: raft.ServerID(fmt.Sprintf("n%d@%d", i, id)), trans: trans})
	}
}

type stockLayer struct{ net.Listener }

func (s stockLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(addr), timeout)
}

func processorTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var _ = strings.Contains
