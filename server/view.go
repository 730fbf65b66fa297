package server

import (
	"context"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/wire"
)

// viewPatience is how long a view of the cluster waits for a node.
const viewPatience = time.Second

// A nodeAnswer is what a node says of itself and its replicas.
type nodeAnswer struct {
	Uptime  int64         `json:"uptime_s"`
	DiskLow bool          `json:"disk_low"`
	Version uint64        `json:"version"` // of its directory
	Groups  []replicaJSON `json:"groups"`
}

// replicaJSON is a replica of a group as its node sees it. Group 0 is the
// directory, the others are shards.
type replicaJSON struct {
	Group       uint32      `json:"group"`
	Replica     uint64      `json:"replica"`
	Leading     bool        `json:"leading"`
	Leader      string      `json:"leader"`
	Term        uint64      `json:"term"`
	Applied     uint64      `json:"applied_index"`
	Now         wire.Millis `json:"now_ms"`
	Queued      int64       `json:"queued_operations"`
	LogBytes    int64       `json:"log_bytes"`
	Snapshot    uint64      `json:"snapshot_index"`
	SnapshotAge *int64      `json:"snapshot_age_s,omitempty"` // of one taken or restored since the node's start

	Members []raftlog.Member `json:"members,omitempty"` // between nodes only: of a group that is led there
}

func (n *Node) nodeAnswer() *nodeAnswer {
	a := &nodeAnswer{Uptime: int64(time.Since(n.began).Seconds()), DiskLow: n.store.DiskLow(), Version: n.table().Version()}
	for g := range n.groups.Load().all {
		s := g.log.Stats()
		r := replicaJSON{
			Group: g.id, Replica: g.replica, Leading: s.Leading, Leader: g.log.Leader(), Term: s.Term, Applied: s.Applied,
			Now: g.log.Now(), Queued: s.QueuedOps, LogBytes: s.LogBytes, Snapshot: s.SnapshotIndex,
		}
		if s.Leading {
			r.Members, _ = g.log.Members()
		}
		if !s.SnapshotAt.IsZero() {
			age := int64(time.Since(s.SnapshotAt).Seconds())
			r.SnapshotAge = &age
		}
		a.Groups = append(a.Groups, r)
	}
	return a
}

// clusterAnswer answers GET /admin/cluster: what the directory wants, and what the
// nodes say there is.
type clusterAnswer struct {
	Cluster     string       `json:"cluster"`
	Version     uint64       `json:"version"` // grows with every change of the directory
	Node        string       `json:"node"`    // that answers
	Replication int          `json:"replication"`
	Events      int          `json:"events"`
	Settled     bool         `json:"settled"` // all groups have the members and leaders they are to have
	Nodes       []nodeJSON   `json:"nodes"`
	Groups      []groupJSON  `json:"groups"` // the directory first
	Moving      []movingJSON `json:"moving"`
}

type nodeJSON struct {
	Name     string        `json:"name"`
	Up       bool          `json:"up"` // it has answered
	Draining bool          `json:"draining"`
	Addrs    addressesJSON `json:"addresses"`
	Uptime   int64         `json:"uptime_s"`
	DiskLow  bool          `json:"disk_low"`
	Replicas int           `json:"replicas"` // of shards that it has
	Leading  int           `json:"leading"`  // of which it leads
}

type addressesJSON struct {
	Peer   string `json:"peer"`
	Binary string `json:"binary,omitempty"`
	HTTP   string `json:"http,omitempty"`
	Admin  string `json:"admin,omitempty"`
}

// groupJSON is a group with its members.
type groupJSON struct {
	Group     uint32       `json:"group"`
	Role      string       `json:"role"`   // directory, shard
	Leader    string       `json:"leader"` // empty: nobody leads it
	Preferred string       `json:"preferred,omitempty"`
	Events    int          `json:"events"`
	Settled   bool         `json:"settled"`
	Members   []memberJSON `json:"members"`
}

// memberJSON is a member of a group: one that it is to have, or that it has.
type memberJSON struct {
	Node   string `json:"node"`
	Voter  bool   `json:"voter"`
	Wanted bool   `json:"wanted"`
	Lag    uint64 `json:"lag_entries"` // behind the leader
	replicaJSON
}

type movingJSON struct {
	Event  string `json:"event"`
	From   uint32 `json:"from"`
	To     uint32 `json:"to"`
	Number uint64 `json:"number"`
}

// askAll asks all nodes for their view, at once. Those that do not answer in time
// are missing, this node not excepted: its own replicas may be waiting for the disk.
func (n *Node) askAll(ctx context.Context) map[string]*nodeAnswer {
	ctx, cancel := context.WithTimeout(ctx, viewPatience)
	defer cancel()
	type answer struct {
		node string
		said *nodeAnswer // nil: it is shown as down
	}
	nodes := n.table().Nodes()
	answers := make(chan answer, len(nodes)) // nobody waits for those that come late
	for _, node := range nodes {
		go func() {
			a, err := callJSON[nodeAnswer](ctx, n, node.Name, callNode, struct{}{})
			if err != nil {
				a = nil
			}
			answers <- answer{node.Name, a}
		}()
	}
	all := make(map[string]*nodeAnswer)
	for range nodes {
		select {
		case a := <-answers:
			if a.said != nil {
				all[a.node] = a.said
			}
		case <-ctx.Done():
			return all
		}
	}
	return all
}

// cluster serves GET /admin/cluster.
func (q *request) cluster() *problem {
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return q.reply(http.StatusOK, q.n.view(q.budget))
}

// view is the cluster as its nodes see it now.
func (n *Node) view(ctx context.Context) clusterAnswer {
	said := n.askAll(ctx)
	t := n.table()
	out := clusterAnswer{
		Cluster: t.Cluster().String(), Version: t.Version(), Node: n.cfg.Node, Replication: t.Replication(),
		Events: t.Len(), Settled: true, Moving: []movingJSON{},
	}
	for _, node := range t.Nodes() {
		j := nodeJSON{Name: node.Name, Draining: node.Draining, Addrs: addressesJSON{node.Peer, node.Addr, node.HTTP, node.Admin}}
		if a := said[node.Name]; a != nil {
			j.Up, j.Uptime, j.DiskLow = true, a.Uptime, a.DiskLow
			for _, r := range a.Groups {
				j.Replicas += oneIf(r.Group != 0)
				j.Leading += oneIf(r.Group != 0 && r.Leading)
			}
		}
		out.Nodes = append(out.Nodes, j)
	}
	for id := 0; id <= t.Shards(); id++ {
		g := n.viewGroup(t, uint32(id), said)
		out.Settled = out.Settled && g.Settled
		out.Groups = append(out.Groups, g)
	}
	for e := range t.Moving() {
		out.Moving = append(out.Moving, movingJSON{e.Key, e.Shard, e.To, e.Number})
	}
	return out
}

// AwaitSettled returns when every group has the members and the leader it is to
// have.
func (n *Node) AwaitSettled(ctx context.Context) error {
	for !n.view(ctx).Settled {
		if !sleep(ctx, keepEvery) {
			return ctx.Err()
		}
	}
	return nil
}

// viewGroup puts together what is wanted of a group and what there is.
func (n *Node) viewGroup(t *directory.Table, id uint32, said map[string]*nodeAnswer) groupJSON {
	g := groupJSON{Group: id, Role: "directory"}
	if id != 0 {
		g.Role, g.Events = "shard", t.Load(id)
		g.Preferred = t.Shard(id).Replicas[0].Node
	}
	there := make(map[string]replicaJSON)
	lead := replicaJSON{Group: id}
	for name, a := range said {
		for _, r := range a.Groups {
			if r.Group != id {
				continue
			}
			there[name] = r
			if r.Leading && r.Term >= lead.Term {
				lead, g.Leader = r, name
			}
		}
	}
	want := n.wanted(t, id)
	g.Settled = g.Leader != "" && len(lead.Members) == len(want) && (id == 0 || g.Leader == g.Preferred)
	m := mending{}
	for _, w := range want {
		at := m.find(lead.Members, w.Node, w.Replica)
		j := memberJSON{Node: w.Node, Wanted: true, Voter: at >= 0 && lead.Members[at].Voter}
		g.Settled = g.Settled && at >= 0 && lead.Members[at].Voter == w.Voter
		g.Members = append(g.Members, j.with(there[w.Node], w.Replica, lead))
	}
	for _, h := range lead.Members {
		if m.find(want, h.Node, h.Replica) < 0 {
			j := memberJSON{Node: h.Node, Voter: h.Voter}
			g.Members = append(g.Members, j.with(there[h.Node], h.Replica, lead))
		}
	}
	return g
}

// with adds what the member's node says of it.
func (j memberJSON) with(r replicaJSON, replica uint64, lead replicaJSON) memberJSON {
	if r.Replica == replica {
		j.replicaJSON = r
		j.Members = nil
	}
	j.Replica, j.Group = replica, lead.Group
	j.Lag = lead.Applied - min(lead.Applied, j.Applied)
	return j
}
