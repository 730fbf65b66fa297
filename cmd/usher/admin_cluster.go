package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// A clusterView is what GET /admin/cluster answers: what the directory wants, and
// what the nodes say there is.
type clusterView struct {
	Cluster     string      `json:"cluster"`
	Version     uint64      `json:"version"`
	Node        string      `json:"node"` // that answers
	Replication int         `json:"replication"`
	Events      int         `json:"events"`
	Settled     bool        `json:"settled"`
	Nodes       []nodeView  `json:"nodes"`
	Groups      []groupView `json:"groups"`
	Moving      []moveView  `json:"moving"`
}

type nodeView struct {
	Name     string `json:"name"`
	Up       bool   `json:"up"`
	Draining bool   `json:"draining"`
	Uptime   int64  `json:"uptime_s"`
	DiskLow  bool   `json:"disk_low"`
	Replicas int    `json:"replicas"`
	Leading  int    `json:"leading"`
	Addrs    struct {
		Peer   string `json:"peer"`
		Binary string `json:"binary"`
	} `json:"addresses"`
}

// A groupView is the directory (group 0) or a shard.
type groupView struct {
	Group     uint32       `json:"group"`
	Role      string       `json:"role"`
	Leader    string       `json:"leader"`
	Preferred string       `json:"preferred"`
	Events    int          `json:"events"`
	Settled   bool         `json:"settled"`
	Members   []memberView `json:"members"`
}

type memberView struct {
	Node        string `json:"node"`
	Voter       bool   `json:"voter"`
	Wanted      bool   `json:"wanted"`
	Leading     bool   `json:"leading"`
	Lag         uint64 `json:"lag_entries"`
	Term        uint64 `json:"term"`
	Applied     uint64 `json:"applied_index"`
	Queued      int64  `json:"queued_operations"`
	LogBytes    int64  `json:"log_bytes"`
	SnapshotAge *int64 `json:"snapshot_age_s"`
}

type moveView struct {
	Event  string `json:"event"`
	From   uint32 `json:"from"`
	To     uint32 `json:"to"`
	Number uint64 `json:"number"`
}

// look is the cluster as a node sees it now.
func (a *adminCall) look(ctx context.Context) (*clusterView, json.RawMessage, error) {
	c := new(clusterView)
	answer, err := a.ask(ctx, http.MethodGet, "/admin/cluster", nil, c)
	return c, answer, err
}

// node is the node with that name, or nil.
func (c *clusterView) node(name string) *nodeView {
	at := slices.IndexFunc(c.Nodes, func(n nodeView) bool { return n.Name == name })
	if at < 0 {
		return nil
	}
	return &c.Nodes[at]
}

// group is the group with that number, or nil.
func (c *clusterView) group(id uint32) *groupView {
	at := slices.IndexFunc(c.Groups, func(g groupView) bool { return g.Group == id })
	if at < 0 {
		return nil
	}
	return &c.Groups[at]
}

func (a *adminCall) cluster(ctx context.Context) error {
	if err := a.await(ctx, atRest); err != nil {
		return err
	}
	c, answer, err := a.look(ctx)
	if err != nil {
		return err
	}
	return a.print(answer, func(w io.Writer) {
		state := "settled"
		if !c.Settled {
			state = "not settled"
		}
		fmt.Fprintf(w, "cluster %s as %s sees it: %s, version %d, %d replicas wanted, %d events\n", c.Cluster, c.Node, state, c.Version, c.Replication, c.Events)
		c.printNodes(w)
		c.printGroups(w)
		for _, m := range c.Moving {
			fmt.Fprintf(w, "\nevent %s moves from shard %d to %d (number %d)", m.Event, m.From, m.To, m.Number)
		}
		if len(c.Moving) > 0 {
			fmt.Fprintln(w)
		}
	})
}

func (c *clusterView) printNodes(w io.Writer) {
	fmt.Fprintln(w, "\nNODE\tUP\tDRAINING\tREPLICAS\tLEADS\tDISK\tCLIENTS\tPEERS")
	for _, n := range c.Nodes {
		up, disk := "no", "-"
		if n.Up {
			up, disk = (time.Duration(n.Uptime) * time.Second).String(), "ok"
		}
		if n.DiskLow {
			disk = "low"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", n.Name, up, yesNo(n.Draining), n.Replicas, n.Leading, disk, orDash(n.Addrs.Binary), orDash(n.Addrs.Peer))
	}
}

// printGroups prints a line for each member, the first with what the group has.
func (c *clusterView) printGroups(w io.Writer) {
	fmt.Fprintln(w, "\nGROUP\tLEADER\tEVENTS\tSETTLED\tMEMBER\tSTATE\tTERM\tAPPLIED\tLAG\tQUEUED\tLOG\tSNAPSHOT")
	for _, g := range c.Groups {
		name, events := fmt.Sprint(g.Group), fmt.Sprint(g.Events)
		if g.Group == 0 {
			name, events = g.Role, "-"
		}
		lead := fmt.Sprintf("%s\t%s\t%s\t%s", name, orDash(g.Leader), events, yesNo(g.Settled))
		for _, m := range g.Members {
			fmt.Fprintf(w, "%s\t%s\t%s\n", lead, m.Node, c.memberLine(&m))
			lead = "\t\t\t"
		}
	}
}

// memberLine is what there is to say of a member. Of one whose replica says
// nothing, only whether it votes is known.
func (c *clusterView) memberLine(m *memberView) string {
	state := "follows" // without a vote
	switch {
	case m.Leading:
		state = "leads"
	case m.Voter:
		state = "votes"
	}
	if !m.Wanted {
		state += ", leaves"
	}
	if n := c.node(m.Node); n == nil || !n.Up || m.Term == 0 {
		return state + ", silent\t-\t-\t-\t-\t-\t-"
	}
	snapshot := "-"
	if m.SnapshotAge != nil {
		snapshot = (time.Duration(*m.SnapshotAge) * time.Second).String() + " ago"
	}
	return fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%.1f MiB\t%s", state, m.Term, m.Applied, m.Lag, m.Queued, float64(m.LogBytes)/(1<<20), snapshot)
}

func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}
