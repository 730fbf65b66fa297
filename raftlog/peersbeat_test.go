package raftlog

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// A beatCounter counts the heartbeats that a raft sends.
type beatCounter struct {
	*raft.InmemTransport
	sent atomic.Int64
}

func (b *beatCounter) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(req) {
		b.sent.Add(1)
	}
	return b.InmemTransport.AppendEntries(id, target, req, resp)
}

// TestBeater proves that a leader that is asked for heartbeats sends them then, that
// asking those who follow deposes nobody, and that all of it goes on without being
// asked.
func TestBeater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const voters = 3
		var servers raft.Configuration
		var nets []*beatCounter
		for i := range voters {
			addr, in := raft.NewInmemTransport(raft.ServerAddress(fmt.Sprint("n", i)))
			servers.Servers = append(servers.Servers, raft.Server{ID: raft.ServerID(addr), Address: addr})
			nets = append(nets, &beatCounter{InmemTransport: in})
		}
		for _, a := range nets {
			for _, b := range nets {
				a.Connect(b.LocalAddr(), b.InmemTransport)
			}
		}
		var rafts []*raft.Raft
		for i, s := range servers.Servers {
			conf := raft.DefaultConfig()
			conf.LocalID = s.ID
			conf.HeartbeatTimeout, conf.ElectionTimeout = defaultElectionTimeout, defaultElectionTimeout
			conf.LeaderLeaseTimeout = defaultElectionTimeout
			conf.Logger = hclog.New(&hclog.LoggerOptions{Output: io.Discard})
			store := raft.NewInmemStore()
			snaps := raft.NewInmemSnapshotStore()
			if err := raft.BootstrapCluster(conf, store, store, snaps, nets[i], servers); err != nil {
				t.Fatal(err)
			}
			r, err := raft.NewRaft(conf, new(rigFSM), store, store, snaps, nets[i])
			if err != nil {
				t.Fatal(err)
			}
			rafts = append(rafts, r)
		}
		time.Sleep(10 * defaultElectionTimeout)
		lead := slices.IndexFunc(rafts, func(r *raft.Raft) bool { return r.State() == raft.Leader })
		if lead < 0 {
			t.Fatal("nobody was elected")
		}
		term := rafts[lead].CurrentTerm()

		// By itself it sends a heartbeat to each follower every 60 to 120 ms.
		const span, every = 12 * time.Second, 10 * time.Millisecond
		sent := func(step time.Duration, do func()) int64 {
			before := nets[lead].sent.Load()
			for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(step) {
				do()
			}
			return nets[lead].sent.Load() - before
		}
		const least, most = int64((voters - 1) * span / (120 * time.Millisecond)), int64((voters - 1) * span / (60 * time.Millisecond))
		if n := sent(span, func() {}); n < least-voters || n > most+voters {
			t.Errorf("%d heartbeats by itself, want %d to %d", n, least, most)
		}
		var asks []func()
		for _, r := range rafts {
			asks = append(asks, beater(r))
		}
		const asked = int64((voters - 1) * span / every)
		if n := sent(every, func() {
			for _, ask := range asks {
				ask()
			}
		}); n < asked-voters || n > asked+voters {
			t.Errorf("%d heartbeats when asked every %v, want %d", n, every, asked)
		}
		if rafts[lead].State() != raft.Leader || rafts[lead].CurrentTerm() != term {
			t.Errorf("it is %v in term %d; it led in term %d", rafts[lead].State(), rafts[lead].CurrentTerm(), term)
		}
		var all sync.WaitGroup
		for _, r := range rafts {
			all.Go(func() {
				if err := r.Shutdown().Error(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

// TestBackAgain proves that a group hears of a replica that answers heartbeats again,
// once each time, and not of one that answers all along.
func TestBackAgain(t *testing.T) {
	var told int
	tell := func() { told++ }
	p := &PeerTransport{lost: make(map[raft.ServerID]bool)}
	p.onBack.Store(&tell)
	for i, c := range []struct {
		id       raft.ServerID
		answered bool
		told     int
	}{
		{"n1@1", true, 0}, {"n1@1", false, 0}, {"n2@2", true, 0}, {"n1@1", false, 0},
		{"n1@1", true, 1}, {"n1@1", true, 1}, {"n1@1", false, 1}, {"n1@1", true, 2},
	} {
		if p.noteContact(c.id, c.answered); told != c.told {
			t.Errorf("step %d: told %d times, want %d", i, told, c.told)
		}
	}
}

// TestFollowersAreTold proves that followers hear of an entry that nothing follows
// without raft's own reminders, and that another follows when one of them is back.
func TestFollowersAreTold(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{commit: time.Hour})
	c.do(1)
	for _, m := range c.members {
		eventually(t, m.id+" has the operation", func() bool {
			_, ok := m.sm.Load().op(1)
			return ok
		})
	}
	lead := c.leader()
	before := lead.group.Stats().Entries
	lead.group.proposer.remind()
	eventually(t, "an entry more", func() bool { return lead.group.Stats().Entries > before })
}
