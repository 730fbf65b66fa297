package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usher-seats/usher/server"
)

// A desk is somebody who looks after a node.
type desk struct {
	t    *testing.T
	node *server.Node
	more []string // flags that all calls end with
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	node, err := server.Start(t.Context(), server.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", HTTP: server.Off, Admin: "127.0.0.1:0", Peer: "127.0.0.1:0", Shards: 2, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &desk{t, node, []string{"--addr", node.Addr(), "--admin-url", "http://" + node.AdminAddr()}}
}

// does fails the test unless the call succeeds and prints want.
func (d *desk) does(want string, args ...string) string {
	d.t.Helper()
	stdout, stderr, code := d.call(args)
	if code != exitDone || stderr != "" || !strings.Contains(stdout, want) {
		d.t.Errorf("%v: exit %d, %s%s; want %q", args, code, stdout, stderr, want)
	}
	return stdout
}

// fails fails the test unless the call fails with one line that says want.
func (d *desk) fails(want string, args ...string) {
	d.t.Helper()
	stdout, stderr, code := d.call(args)
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
		d.t.Errorf("%v: exit %d, stdout %q, stderr %q; want exit 1 and %q", args, code, stdout, stderr, want)
	}
}

func (d *desk) call(args []string) (stdout, stderr string, code int) {
	d.t.Helper()
	args = append([]string{"admin"}, args...)
	return invoke(d.t, append(args, d.more...)...)
}

// gala creates an event.
func (d *desk) gala() {
	d.t.Helper()
	file := filepath.Join(d.t.TempDir(), "gala.json")
	manifest := `{"key":"gala","sections":[{"name":"A","category":"stalls","rows":[{"name":"1","seats":10}]}],"areas":[{"name":"Floor","category":"standing","capacity":5}]}`
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.does("event gala has 15 places", "create-event", file)
}

// TestAdmin looks after a node: an event from a file, and an API key that is
// wanted from then on.
func TestAdmin(t *testing.T) {
	d := newDesk(t)
	d.gala()
	d.does("gala", "events")
	d.does("section A", "event", "gala")
	secret := strings.TrimSpace(d.does("", "add-key", "boss", "operate"))
	d.more = append(d.more, "--key", secret)
	d.does("boss", "keys")
	d.does("", "delete-event", "gala")
	d.does("[]", "events", "--json")
	d.does("", "drop-key", "boss")
}

// TestAdminChanges proves that each change of the cluster that a single node can
// make is made, waited for, and made again without harm, and that refusals are
// told in a line.
func TestAdminChanges(t *testing.T) {
	d := newDesk(t)
	d.gala()
	d.does("made shards 3 to 4", "add-shards", "2", "--wait")
	d.does("made shards 5 to 5", "add-shards", "--wait")
	d.fails("no room for 1024", "add-shards", "1024")
	table := d.does("directory", "cluster", "--wait")
	for _, want := range []string{"settled", "n1", "leads", d.node.PeerAddr(), "SNAPSHOT", "\n5 "} {
		if !strings.Contains(table, want) {
			t.Errorf("the cluster is\n%s\nwithout %q", table, want)
		}
	}
	var view clusterView
	if err := json.Unmarshal([]byte(d.does("", "cluster", "--json")), &view); err != nil || len(view.Groups) != 6 || !view.Settled {
		t.Errorf("the cluster in JSON: %v, %+v", err, view)
	}
	for range 2 {
		d.does("event gala is in shard 2", "move-event", "gala", "2", "--wait")
		d.does("event gala is not moving", "cancel-move", "gala", "--wait")
		d.does("shard 1 is led by n1", "transfer", "1", "n1", "--wait")
		d.does("shard 1 is on n1", "place", "1", "n1", "--wait")
		d.does("even", "rebalance", "--wait")
		d.does("even", "rebalance", "--dry-run")
		d.does("takes replicas", "undrain-node", "n1")
		d.does("there is no node n9", "remove-node", "n9", "--wait")
	}
	d.does(`"to": 3`, "move-event", "gala", "3", "--wait", "--json")
	d.fails("no shard 9", "move-event", "gala", "9")
	d.fails("no such event", "move-event", "nope", "1")
	d.fails("no shard 9", "transfer", "9", "n1")
	d.fails("n9", "place", "1", "n1,n9")
	d.fails("cannot be drained", "drain-node", "n1", "--wait")
	d.fails("n9", "drain-node", "n9")
	d.fails("Drain the node", "remove-node", "n1")
	d.fails("only node", "remove-node", "n1", "--force")
	d.does("local", "audit")
	d.does("move event gala from shard 1 to 2", "audit", "--json")
	d.does("signs", "signing-keys")
	d.does("2", "rotate-signing-key")
	d.does(`"id": 3`, "rotate-signing-key", "--json")
}

// TestAdminSeveralNodes proves that the first node that answers is asked, that its
// answer counts even if it refuses, and that all are named if none answers.
func TestAdminSeveralNodes(t *testing.T) {
	d := newDesk(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	refuses := httptest.NewServer(http.NotFoundHandler())
	defer refuses.Close()
	node := "http://" + d.node.AdminAddr()
	for _, urls := range [][]string{{nobody + "," + node}, {nobody, node + "/"}, {node, refuses.URL}} {
		d.more = nil
		for _, u := range urls {
			d.more = append(d.more, "--admin-url", u)
		}
		d.does("signs", "signing-keys")
	}
	d.more = []string{"--admin-url", nobody + "," + refuses.URL + "," + node}
	d.fails("404", "signing-keys")
	d.more = []string{"--admin-url", nobody + "," + nobody}
	d.fails("refused", "signing-keys")
}

// TestAdminWaitEnds proves that waiting ends with the time it was given, and then
// says what is missing.
func TestAdminWaitEnds(t *testing.T) {
	stuck := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = w.Write([]byte(`{"node":"n2","draining":true}`))
			return
		}
		_, _ = w.Write([]byte(`{"node":"n1","nodes":[{"name":"n2","draining":true}],"groups":[{"group":1,"leader":"n1","members":[{"node":"n2","voter":true}]}]}`))
	}))
	defer stuck.Close()
	_, stderr, code := invoke(t, "admin", "drain-node", "n2", "--wait", "--timeout", "300ms", "--admin-url", stuck.URL)
	if code != exitFailed || !strings.Contains(stderr, "shard 1 still has a replica on n2") || !strings.Contains(stderr, "--timeout 300ms") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// TestGoals proves that a goal is met by the cluster as it is to be, and neither by
// the way there nor by the view of a node that has not heard of the change.
func TestGoals(t *testing.T) {
	member := func(node string, more ...string) memberView {
		m := memberView{Node: node, Voter: true, Wanted: true}
		for _, what := range more {
			switch what {
			case "arrives":
				m.Voter = false
			case "leaves":
				m.Wanted = false
			}
		}
		return m
	}
	group := func(id uint32, leader string, settled bool, members ...memberView) groupView {
		g := groupView{Group: id, Leader: leader, Settled: settled, Members: members}
		if id > 0 {
			g.Preferred = members[0].Node
		}
		return g
	}
	n1, n2, n3 := nodeView{Name: "n1", Up: true}, nodeView{Name: "n2", Up: true}, nodeView{Name: "n3", Up: true}
	n2d := n2
	n2d.Draining = true
	all := group(0, "n1", true, member("n1"), member("n2"), member("n3"))
	two := group(0, "n1", true, member("n1"), member("n3"))
	view := func(nodes []nodeView, groups ...groupView) *clusterView {
		return &clusterView{Node: "n1", Nodes: nodes, Groups: groups}
	}
	nodes, draining, without := []nodeView{n1, n2, n3}, []nodeView{n1, n2d, n3}, []nodeView{n1, n3}
	on12, on13, on23 := group(1, "n1", true, member("n1"), member("n2")), group(1, "n1", true, member("n1"), member("n3")), group(1, "n2", true, member("n2"), member("n3"))
	for _, c := range []struct {
		what string
		goal goal
		view *clusterView
		want string // missing; empty: it is reached
	}{
		{"shards: there", shardsThere(1, 1), view(nodes, all, on12), ""},
		{"shards: not heard of", shardsThere(1, 2), view(nodes, all, on12), "does not know shard 2"},
		{"shards: nobody leads", shardsThere(1, 1), view(nodes, all, group(1, "", false, member("n1"))), "no leader"},
		{"shards: a replica learns", shardsThere(1, 1), view(nodes, all, group(1, "n1", false, member("n1"), member("n2", "arrives"))), "no vote"},

		{"drain: done", drained("n2"), view(draining, all, on13), ""},
		{"drain: not heard of", drained("n2"), view(nodes, all, on13), "does not drain"},
		{"drain: not begun", drained("n2"), view(draining, all, on12), "still has"},
		{"drain: under way", drained("n2"), view(draining, all, group(1, "n1", false, member("n1"), member("n3", "arrives"), member("n2", "leaves"))), "no vote"},
		{"drain: nearly done", drained("n2"), view(draining, all, group(1, "n1", false, member("n1"), member("n3"), member("n2", "leaves"))), "still has"},
		{"drain: nobody says", drained("n2"), view(draining, all, group(1, "", false, member("n1", "arrives"), member("n3", "arrives"))), "no leader"},

		{"remove: done", removed("n2"), view(without, two, on13), ""},
		{"remove: not heard of", removed("n2"), view(nodes, all, on13), "still knows"},
		{"remove: in the directory", removed("n2"), view(without, group(0, "n1", false, member("n1"), member("n3"), member("n2", "leaves")), on13), "directory"},
		{"remove: in a shard", removed("n2"), view(without, two, group(1, "n1", false, member("n1"), member("n3"), member("n2", "leaves"))), "still has"},

		{"transfer: done", ledBy(1, "n2"), view(nodes, all, on23), ""},
		{"transfer: under way", ledBy(1, "n2"), view(nodes, all, group(1, "n3", false, member("n2"), member("n3"))), "led by n3"},
		{"transfer: not heard of", ledBy(1, "n2"), view(nodes, all, group(1, "n2", true, member("n3"), member("n2"))), "led by n2"},
		{"transfer: nobody leads", ledBy(1, "n2"), view(nodes, all, group(1, "", false, member("n2"))), "nobody"},

		{"place: done", placedAs(placed{Shard: 1, Nodes: []string{"n1", "n3"}}), view(nodes, all, on13), ""},
		{"place: not heard of", placedAs(placed{Shard: 1, Nodes: []string{"n1", "n3"}}), view(nodes, all, on12), "not settled"},
		{"place: under way", placedAs(placed{Shard: 1, Nodes: []string{"n1", "n3"}}), view(nodes, all, group(1, "n1", false, member("n1"), member("n3"), member("n2", "leaves"))), "not settled"},

		{"rebalance: done", allSettled([]placed{{Shard: 1, Nodes: []string{"n2", "n3"}}}), view(nodes, all, on23), ""},
		{"rebalance: not heard of", allSettled([]placed{{Shard: 1, Nodes: []string{"n2", "n3"}}}), view(nodes, all, on12), "shard 1"},
		{"at rest", atRest, view(nodes, all, on12), ""},
		{"at rest: a node is down", atRest, view([]nodeView{n1, {Name: "n2"}}, all, on12), "n2 is down"},
		{"at rest: a replica is behind", atRest, view(nodes, all, group(1, "n1", true, memberView{Node: "n3", Voter: true, Wanted: true, Lag: 1000})), "behind"},
		{"at rest: a group is not settled", atRest, view(nodes, group(0, "", false), on12), "group 0"},
		{"rebalance: another group", allSettled(nil), view(nodes, group(0, "", false), on12), "group 0"},
	} {
		missing, err := c.goal(c.view)
		if err != nil || (missing == "") != (c.want == "") || !strings.Contains(missing, c.want) {
			t.Errorf("%s: %q, %v; want %q", c.what, missing, err, c.want)
		}
	}
	if _, err := drained("n2")(view(without, two, on13)); err == nil {
		t.Error("a node that was removed is waited for")
	}
}

// TestWaitForMove proves of what a node says about an event that it is waited on, that
// it has moved, or that it never will.
func TestWaitForMove(t *testing.T) {
	var status int
	var answer string
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	defer node.Close()
	a := &adminCall{}
	a.admins.values = []string{node.URL}
	for what, c := range map[string]struct {
		status              int
		answer              string
		missing, impossible string // what is said; both "": it has moved
	}{
		"the node is behind":   {200, `{"event":"gala","shard":1,"number":3}`, "does not know", ""},
		"under way":            {200, `{"event":"gala","shard":1,"to":2,"number":7}`, "is moving", ""},
		"there":                {200, `{"event":"gala","shard":2,"number":7}`, "", ""},
		"cancelled":            {200, `{"event":"gala","shard":1,"number":7}`, "", "stays in shard 1"},
		"it moves on":          {200, `{"event":"gala","shard":2,"to":3,"number":9}`, "", "moves to shard 3"},
		"deleted":              {404, `{}`, "", "deleted"},
		"not allowed":          {403, `{"title":"Not with this key"}`, "", "Not with this key"},
		"the node has trouble": {503, `{"title":"No leader"}`, "No leader", ""},
	} {
		status, answer = c.status, c.answer
		missing, err := a.eventIn(t.Context(), "gala", 2, 7)(nil)
		switch {
		case !strings.Contains(missing, c.missing) || (missing == "") != (c.missing == ""):
			t.Errorf("%s: %q is missing, want %q", what, missing, c.missing)
		case (err == nil) != (c.impossible == "") || err != nil && !strings.Contains(err.Error(), c.impossible):
			t.Errorf("%s: %v, want %q", what, err, c.impossible)
		}
	}
}
