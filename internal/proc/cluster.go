package proc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// settleTimeout is how long a cluster may take until every group has the members
	// and the leader that it is to have, and all of them have all of its log.
	settleTimeout = 60 * time.Second
	// adminTimeout bounds a call of the admin listener.
	adminTimeout = 10 * time.Second
	// lookEvery is how often it is looked whether something has come about.
	lookEvery = 20 * time.Millisecond
)

// A Cluster is nodes that are one cluster, each a process of its own. It belongs
// to one test goroutine.
type Cluster struct {
	Places []*Place
	Nodes  []*Node // by place; nil where none runs

	t testing.TB
}

// NewCluster starts nodes n1, n2, … as one cluster and waits until it has settled.
// made are the flags of the node that makes the cluster, args those of every node.
func NewCluster(t testing.TB, nodes int, made []string, args ...string) *Cluster {
	t.Helper()
	var places []*Place
	for range nodes {
		places = append(places, NewPlace(t, args...))
	}
	return Found(t, places, made)
}

// Found is NewCluster at places that the caller has made.
func Found(t testing.TB, places []*Place, made []string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	t.Cleanup(c.tell)
	for i, p := range places {
		if i == 0 {
			p.args = append(p.args, made...)
		}
		c.Enter(p)
		c.Start(i)
	}
	c.AwaitSettled()
	return c
}

// toldLines is how much of each node's log a failed test shows.
const toldLines = 40

// tell shows the ends of the nodes' logs if the test has failed.
func (c *Cluster) tell() {
	if !c.t.Failed() {
		return
	}
	for i, n := range c.Nodes {
		if n != nil {
			lines := strings.Split(strings.TrimSpace(n.Output()), "\n")
			c.t.Logf("n%d says at the end:\n%s", i+1, strings.Join(lines[max(0, len(lines)-toldLines):], "\n"))
		}
	}
}

// Enter takes a place into the cluster: its first node will make the cluster if it
// is the first place, else join it.
func (c *Cluster) Enter(p *Place) {
	p.args = append(p.args, "--node", fmt.Sprintf("n%d", len(c.Places)+1))
	if len(c.Places) > 0 {
		p.args = append(p.args, "--join", c.Places[0].peer)
	}
	c.Places = append(c.Places, p)
	c.Nodes = append(c.Nodes, nil)
}

// Start runs a node at a place and returns when it is ready.
func (c *Cluster) Start(i int) { c.Nodes[i] = c.Places[i].Start(c.t) }

// Launch runs a node at a place that may become ready only when others run.
func (c *Cluster) Launch(i int) { c.Nodes[i] = c.Places[i].Launch(c.t) }

// AwaitReady waits until all nodes that run are ready.
func (c *Cluster) AwaitReady() {
	c.t.Helper()
	for _, n := range c.Nodes {
		if n != nil {
			n.AwaitReady()
		}
	}
}

// Kill ends the node at a place with SIGKILL.
func (c *Cluster) Kill(i int) {
	c.Nodes[i].Kill()
	c.Nodes[i] = nil
}

// Stop ends the node at a place in good order.
func (c *Cluster) Stop(i int) {
	c.t.Helper()
	c.Nodes[i].Stop()
	c.Nodes[i] = nil
}

// StopAll ends all nodes that run, in good order and at once.
func (c *Cluster) StopAll() {
	c.t.Helper()
	for _, n := range c.Nodes {
		if n != nil {
			n.Signal(syscall.SIGTERM)
		}
	}
	for i, n := range c.Nodes {
		if n != nil {
			n.awaitEnd()
			c.Nodes[i] = nil
		}
	}
}

// KillAll ends all nodes that run with SIGKILL.
func (c *Cluster) KillAll() {
	for i, n := range c.Nodes {
		if n != nil {
			c.Kill(i)
		}
	}
}

// Addrs are the addresses for clients of all places.
func (c *Cluster) Addrs() (addrs []string) {
	for _, p := range c.Places {
		addrs = append(addrs, p.addr)
	}
	return addrs
}

// Fronts are the URLs of the HTTP frontends of all places.
func (c *Cluster) Fronts() (urls []string) {
	for _, p := range c.Places {
		urls = append(urls, "http://"+p.http)
	}
	return urls
}

// At is the place where a node of that name lives, or -1.
func (c *Cluster) At(name string) int {
	for i := range c.Places {
		if name == fmt.Sprintf("n%d", i+1) {
			return i
		}
	}
	return -1
}

// A View is what GET /admin/cluster says.
type View struct {
	Settled bool
	Nodes   []NodeView
	Groups  []GroupView
	Moving  []struct{ Event string }
}

// A NodeView is a node in a View.
type NodeView struct {
	Name              string
	Up, Draining      bool
	Replicas, Leading int
}

// A GroupView is a group in a View.
type GroupView struct {
	Group             uint32
	Leader, Preferred string
	Events            int
	Settled           bool
	Members           []struct {
		Node          string
		Voter, Wanted bool
		Lag           uint64 `json:"lag_entries"`
		Applied       uint64 `json:"applied_index"`
		Snapshot      uint64 `json:"snapshot_index"`
	}
}

// LeaderOf is the place of the node that leads a group, -1 if none does.
func (c *Cluster) LeaderOf(group uint32) int {
	c.t.Helper()
	for _, g := range c.View().Groups {
		if g.Group == group {
			return c.At(g.Leader)
		}
	}
	return -1
}

// Nodes are the names of the group's members, its leader first.
func (g *GroupView) Nodes() (names []string) {
	for _, m := range g.Members {
		if m.Node == g.Leader {
			names = append([]string{m.Node}, names...)
			continue
		}
		names = append(names, m.Node)
	}
	return names
}

// calm reports whether the cluster is as it is to be: all groups have their
// members and leaders, all nodes answer, nothing moves and nobody is behind.
func (v *View) calm() bool {
	ok := v.Settled && len(v.Moving) == 0
	for _, n := range v.Nodes {
		ok = ok && n.Up
	}
	for _, g := range v.Groups {
		for _, m := range g.Members {
			ok = ok && m.Lag < calmLag
		}
	}
	return ok
}

// calmLag is how many entries a member may be behind in a calm cluster: under load
// a follower always is by some.
const calmLag = 64

// View asks one of the nodes that run how the cluster is.
func (c *Cluster) View() *View {
	c.t.Helper()
	var v View
	if err := c.Ask(http.MethodGet, "/admin/cluster", nil, &v); err != nil {
		c.t.Fatal(err)
	}
	return &v
}

// Await looks at the cluster until cond holds.
func (c *Cluster) Await(what string, cond func(v *View) bool) *View {
	c.t.Helper()
	for end := time.Now().Add(settleTimeout); ; {
		v := c.View()
		if cond(v) {
			return v
		}
		if time.Now().After(end) {
			c.t.Fatalf("after %v it is not so that %s: %+v", settleTimeout, what, v)
		}
		<-time.After(lookEvery) // the interval of a poll
	}
}

// AwaitSettled waits until the cluster is as it is to be.
func (c *Cluster) AwaitSettled() *View {
	c.t.Helper()
	return c.Await("the cluster has settled", (*View).calm)
}

var adminClient = &http.Client{Timeout: adminTimeout}

// Ask makes a call of the admin listener of the first node that answers. A nil out
// means that the answer's body does not matter.
func (c *Cluster) Ask(method, path string, in, out any) error {
	var why []error
	for _, n := range c.Nodes {
		if n == nil {
			continue
		}
		status, body, err := n.Ask(method, path, in)
		switch {
		case err != nil:
			why = append(why, err)
			continue
		case status == http.StatusServiceUnavailable:
			why = append(why, fmt.Errorf("%s %s: %s", method, path, body))
			continue
		case status >= http.StatusBadRequest:
			return fmt.Errorf("%s %s: %d %s", method, path, status, body)
		case out == nil:
			return nil
		}
		return json.Unmarshal(body, out)
	}
	return errors.Join(why...)
}

// Ask makes a call of the node's admin listener.
func (n *Node) Ask(method, path string, in any) (status int, body []byte, err error) {
	var sent []byte
	if in != nil {
		if sent, err = json.Marshal(in); err != nil {
			return 0, nil, err
		}
	}
	r, err := http.NewRequest(method, n.Admin+path, bytes.NewReader(sent))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := adminClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
