package raftlog

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// BenchmarkTwoInFlight is one group on three nodes with two entries under way,
// as the proposer keeps them: per transport, and per time that a log takes to
// store. It is what the decision against pipelining rests on.
func BenchmarkTwoInFlight(b *testing.B) {
	for _, disk := range []time.Duration{0, time.Millisecond} {
		for _, kind := range []string{"ours", "stock, one RPC", "stock, pipelined"} {
			b.Run(fmt.Sprintf("%s/disk=%v", kind, disk), func(b *testing.B) {
				r := newRig(b, 3, nil)
				g := &rigGroup{t: b}
				switch kind {
				case "ours":
					g.ours(r, 1)
				case "stock, one RPC":
					g.stock(3, 1, 1)
				default:
					g.stock(3, 1, raft.DefaultMaxRPCsInFlight)
				}
				g.disk = disk
				g.start(nil)
				lead := g.leader().raft
				data := make([]byte, 4<<10)
				window := make(chan raft.ApplyFuture, 1)
				done := make(chan error, 1)
				b.ResetTimer()
				go func() {
					for range b.N {
						if err := (<-window).Error(); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
				for range b.N {
					window <- lead.Apply(data, 0)
				}
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// ours gives the group a PeerTransport per replica.
func (g *rigGroup) ours(r *rig, id uint64) {
	for i, n := range r.nodes {
		rep := fmt.Sprintf("%s@%d", n.name, 10*id+uint64(i))
		g.replicas = append(g.replicas, &rigReplica{node: n, id: raft.ServerID(rep), trans: n.peers.Transport(id, rep)})
	}
}

// stock gives the group a raft.NetworkTransport per replica.
func (g *rigGroup) stock(n int, id uint64, inFlight int) {
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			g.t.Fatal(err)
		}
		trans := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: stockLayer{ln}, MaxPool: 3, MaxRPCsInFlight: inFlight, Timeout: 2 * time.Second, Logger: hclog.NewNullLogger(),
		})
		g.t.Cleanup(func() { _ = trans.Close() })
		g.replicas = append(g.replicas, &rigReplica{id: raft.ServerID(fmt.Sprintf("n%d@%d", i, id)), trans: trans})
	}
}

type stockLayer struct{ net.Listener }

func (s stockLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(addr), timeout)
}

// A slowLog takes its time to store.
type slowLog struct {
	raft.LogStore
	disk time.Duration
}

func (l slowLog) StoreLogs(logs []*raft.Log) error {
	if l.disk > 0 {
		time.Sleep(l.disk) // it is the disk
	}
	return l.LogStore.StoreLogs(logs)
}
