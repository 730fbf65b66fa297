package server

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// once is a call with an Idempotency-Key.
func (s *site) once(path, key string, body any) *answer {
	s.t.Helper()
	return s.do(call{method: http.MethodPost, url: s.admin + path, body: body, header: map[string]string{headerIdemKey: key}})
}

func (s *site) put(path string, body any, bad bool) *answer {
	s.t.Helper()
	return s.do(call{method: http.MethodPut, url: s.admin + path, body: body, bad: bad})
}

func (s *site) drop(path string, bad bool) *answer {
	s.t.Helper()
	return s.do(call{method: http.MethodDelete, url: s.admin + path, bad: bad})
}

// shardOf is where the list of events has an event.
func (s *site) shardOf(key string) float64 {
	s.t.Helper()
	for _, e := range s.get("/v1/events").ok(200).json["events"].([]any) {
		if e := e.(obj); e["key"] == key {
			return e["shard"].(float64)
		}
	}
	s.t.Fatalf("there is no event %s", key)
	return 0
}

func (s *site) moving() int {
	s.t.Helper()
	return len(s.get("/admin/cluster").ok(200).json["moving"].([]any))
}

func (s *site) shards() int {
	s.t.Helper()
	return len(s.get("/admin/cluster").ok(200).json["groups"].([]any)) - 1
}

// TestAdminAddShards proves that new shards come into being, are led, and get the
// next events, and that the same key makes them once.
func TestAdminAddShards(t *testing.T) {
	s := newSite(t, nil)
	s.event("a", 1, nil)
	s.event("b", 1, nil)
	s.post("/admin/shards", obj{}).ok(201).want("first", 3).want("count", 1)
	for range 2 {
		s.once("/admin/shards", "two more", obj{"count": 2}).ok(201).want("first", 4).want("count", 2)
	}
	s.once("/admin/shards", "two more", obj{"count": 1}).problem("id_reused")
	if n := s.shards(); n != 5 {
		t.Errorf("%d shards, want 5", n)
	}
	until(t, "all shards are led", func() bool { return s.get("/admin/cluster").ok(200).json["settled"] == true })
	s.event("c", 1, nil)
	if at := s.shardOf("c"); at != 3 {
		t.Errorf("the next event went to shard %v", at)
	}
	s.postBad("/admin/shards", obj{"count": 0}).problem("bad_request").says("at least 1")
	s.postBad("/admin/shards", obj{"count": -1}).problem("bad_request").field("count")
	s.postBad("/admin/shards", obj{"shards": 1}).problem("bad_request").field("shards")
	s.post("/admin/shards", obj{"count": 1024}).problem("too_large").says("has 5 shards")
	s.once("/admin/shards", strings.Repeat("k", 255), obj{}).ok(201).want("first", 6)
}

// TestAdminPlacement proves that shards are put only where they can be, and that
// what is so already is asked for in vain but not refused.
func TestAdminPlacement(t *testing.T) {
	s := newSite(t, nil)
	for range 2 {
		s.post("/admin/shards/1/transfer", obj{"node": "n1"}).ok(200).want("shard", 1).want("nodes", "n1")
		s.put("/admin/shards/2/replicas", obj{"nodes": []string{"n1"}}, false).ok(200).want("shard", 2).want("nodes", "n1")
		s.post("/admin/rebalance", obj{}).ok(200).want("changes", "").want("done", true)
	}
	s.post("/admin/rebalance", obj{"dry_run": true}).ok(200).want("changes", "").want("done", false)

	s.post("/admin/shards/1/transfer", obj{"node": "n9"}).problem("bad_request").field("node").says("n9")
	s.postBad("/admin/shards/1/transfer", obj{}).problem("bad_request").field("node")
	s.post("/admin/shards/3/transfer", obj{"node": "n1"}).problem("not_found").says("1 to 2")
	for _, shard := range []string{"0", "-1", "x", "4294967297"} {
		s.postBad("/admin/shards/"+shard+"/transfer", obj{"node": "n1"}).problem("not_found")
		s.put("/admin/shards/"+shard+"/replicas", obj{"nodes": []string{"n1"}}, true).problem("not_found")
	}
	s.put("/admin/shards/1/replicas", obj{"nodes": []string{"n9"}}, false).problem("unknown_place").says("n9")
	s.put("/admin/shards/1/replicas", obj{"nodes": []string{"n1", "n1"}}, false).problem("bad_request").says("twice")
	s.put("/admin/shards/1/replicas", obj{"nodes": []string{}}, true).problem("bad_request").says("replicas")
	s.put("/admin/shards/1/replicas", obj{"nodes": "n1"}, true).problem("bad_request").field("nodes")
	s.postBad("/admin/rebalance", obj{"force": true}).problem("bad_request").field("force")
	before := s.get("/admin/cluster").ok(200).num("version")
	s.post("/admin/rebalance", obj{}).ok(200)
	if now := s.get("/admin/cluster").ok(200).num("version"); now != before {
		t.Errorf("a rebalance with nothing to do took the directory from version %v to %v", before, now)
	}
}

// TestAdminNodes proves that the last node can neither be drained nor removed, and
// that strangers are no nodes.
func TestAdminNodes(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	s.post("/admin/nodes/n1/drain", obj{}).problem("exists").says("cannot be drained")
	s.post("/admin/nodes/n1/drain", obj{"drain": true}).problem("exists")
	for range 2 {
		s.post("/admin/nodes/n1/drain", obj{"drain": false}).ok(200).want("node", "n1").want("draining", false)
	}
	s.drop("/admin/nodes/n1", false).problem("exists").says("replica on n1", "Drain")
	s.drop("/admin/nodes/n1?force=1", false).problem("exists").says("only node")
	s.drop("/admin/nodes/n1?force=yes", true).problem("bad_request").field("force")
	for _, path := range []string{"/admin/nodes/n9", "/admin/nodes/n9?force=1"} {
		s.drop(path, false).problem("unknown_place").says("n9")
	}
	s.post("/admin/nodes/n9/drain", obj{}).problem("unknown_place").says("n9")
	s.postBad("/admin/nodes/n%201/drain", obj{}).problem("unknown_place")
	s.get("/admin/cluster").ok(200).want("settled", true)
	s.post(e+"/holds", obj{"seats": []string{"A-1-1"}}).ok(201)
}

// TestAdminMoveEvent proves that an event arrives in another shard with its holds
// and bookings, that its versions go on above those before, and that it can go
// back.
func TestAdminMoveEvent(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("gala", 2, nil)
	version := func() wire.Version {
		t.Helper()
		v, err := strconv.ParseUint(s.get(e+"/seats?consistent=1").ok(200).str("version"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return wire.Version(v)
	}
	held := s.post(e+"/holds", obj{"seats": []string{"A-1-1", "A-1-2"}, "buyer": "ada"}).ok(201)
	given := s.post(e+"/holds", obj{"area": "Floor", "count": 3}).ok(201)
	last, number := version(), 0.0
	for _, to := range []float64{2, 1} {
		move := s.post("/admin/events/gala/move", obj{"shard": to}).ok(202).want("event", "gala").want("to", to)
		if n := move.num("number"); n <= number {
			t.Errorf("move %v comes after %v", n, number)
		} else {
			number = n
		}
		until(t, "the event has arrived", func() bool { return s.moving() == 0 })
		if at := s.shardOf("gala"); at != to {
			t.Fatalf("the event is in shard %v, want %v", at, to)
		}
		// It is there, so it is not moved again.
		s.post("/admin/events/gala/move", obj{"shard": to}).ok(202).want("number", number)
		now := version()
		if now.Epoch() <= last.Epoch() {
			t.Errorf("the map's version went from epoch %d to %d", last.Epoch(), now.Epoch())
		}
		last = now
		s.get(e+"/holds/"+held.str("id")).ok(200).want("state", "held").want("held", "A-1-1 A-1-2")
		s.post(e+"/holds", obj{"seats": []string{"A-1-2"}}).problem("taken")
	}
	s.post(e+"/holds/"+held.str("id")+"/confirm", obj{"fence": held.str("fence")}).ok(200).want("seats", "A-1-1 A-1-2").want("reacquired", false)
	s.post(e+"/holds/"+given.str("id")+"/release", obj{"fence": given.str("fence")}).ok(200)
	s.get(e + "/bookings/" + held.str("id")).ok(200)
	until(t, "what the moves have left behind is gone", func() bool {
		for g := range s.n.groups.Load().shards {
			for ev := range g.shard.Load().Events {
				if at := s.n.table().Event(ev.ID()); at == nil || at.Shard != g.id {
					return false
				}
			}
		}
		return true
	})

	s.post("/admin/events/nope/move", obj{"shard": 1}).problem("unknown_event")
	s.post("/admin/events/gala/move", obj{"shard": 9}).problem("bad_request").says("no shard 9", "2")
	s.postBad("/admin/events/gala/move", obj{}).problem("bad_request").says("no shard 0")
	s.postBad("/admin/events/gala/move", obj{"to": 2}).problem("bad_request").field("to")
	s.drop("/admin/events/nope/move", false).problem("unknown_event")
	s.drop("/admin/events/gala/move", false).ok(204) // it does not move
}

// TestAdminCancelMove proves that an event on its way is shown, that it goes to one
// place at a time, and that it stays on sale where it is when its move is cancelled.
func TestAdminCancelMove(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Shards = 3 })
	e := s.event("gala", 1, nil)
	s.n.keeper.stop() // nobody moves anything now
	first := s.post("/admin/events/gala/move", obj{"shard": 2}).ok(202).num("number")
	s.post("/admin/events/gala/move", obj{"shard": 2}).ok(202).want("number", first)
	s.post("/admin/events/gala/move", obj{"shard": 3}).problem("exists").says("moving to shard 2", "cancel")
	move := s.get("/admin/cluster").ok(200).json["moving"].([]any)[0].(obj)
	if move["event"] != "gala" || move["from"] != 1.0 || move["to"] != 2.0 || move["number"] != first {
		t.Errorf("the move is %v", move)
	}
	s.get("/admin/events/gala/move").ok(200).want("shard", 1.0).want("to", 2.0).want("number", first)
	s.get("/admin/events/nope/move").problem("unknown_event")
	for range 2 {
		s.drop("/admin/events/gala/move", false).ok(204)
		if n, at := s.moving(), s.shardOf("gala"); n != 0 || at != 1 {
			t.Fatalf("%d moves, the event is in shard %v", n, at)
		}
	}
	if there := s.get("/admin/events/gala/move").ok(200).want("shard", 1.0).want("number", first); there.json["to"] != nil {
		t.Errorf("it is going to shard %v", there.json["to"])
	}
	s.post(e+"/holds", obj{"seats": []string{"A-1-1"}}).ok(201)
	if again := s.post("/admin/events/gala/move", obj{"shard": 2}).ok(202).num("number"); again <= first {
		t.Errorf("move %v after move %v", again, first)
	}
}

// TestAdminAudit proves that the audit log has what was changed, by whom and when,
// the latest first, and nothing that was refused or changed nothing.
func TestAdminAudit(t *testing.T) {
	s := newSite(t, nil)
	began := time.Now().Add(-time.Second)
	s.post("/admin/shards", obj{}).ok(201)
	s.post("/admin/nodes/n1/drain", obj{}).problem("exists")
	s.post("/admin/nodes/n1/drain", obj{"drain": false}).ok(200)
	s.key = s.post("/admin/keys", obj{"name": "ruth", "role": "operate"}).ok(201).str("key")
	s.event("gala", 1, nil)
	s.post("/admin/events/gala/move", obj{"shard": 2}).ok(202)
	until(t, "the event has arrived", func() bool { return s.moving() == 0 })

	a := s.get("/admin/audit").ok(200)
	if a.header.Get("Cache-Control") != "no-store" {
		t.Error("the audit log may be cached")
	}
	changes := a.json["changes"].([]any)
	var lines []string
	version := 0.0
	for _, c := range slices.Backward(changes) {
		c := c.(obj)
		if v := c["version"].(float64); v <= version {
			t.Errorf("version %v comes after %v", v, version)
		} else {
			version = v
		}
		at, err := time.Parse(time.RFC3339, c["at"].(string))
		if err != nil || at.Before(began.Add(-time.Minute)) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("a change happened at %v: %v", c["at"], err)
		}
		lines = append(lines, c["by"].(string)+": "+c["what"].(string))
	}
	rest := lines
	for _, want := range []string{
		"node n1: ", // the cluster is made
		"local: add shards 3 to 3",
		"local: store API key ruth (operate)",
		"ruth: create event gala in shard 1",
		"ruth: move event gala from shard 1 to 2",
		"node n1: event gala is in shard 2 now",
	} {
		at := slices.IndexFunc(rest, func(line string) bool { return strings.HasPrefix(line, want) })
		if at < 0 {
			t.Fatalf("no %q in its place; the log is\n%s", want, strings.Join(lines, "\n"))
		}
		rest = rest[at+1:]
	}
	if all := strings.Join(lines, "\n"); strings.Contains(all, "drain") || strings.Contains(all, "takes replicas") || strings.Contains(all, s.key) {
		t.Errorf("the log has what it should not have:\n%s", all)
	}
}

// TestAdminSigningKeys proves that a new key signs, that the one before stays good,
// and that the same Idempotency-Key makes one.
func TestAdminSigningKeys(t *testing.T) {
	s := newSite(t, nil)
	ids := func(a *answer) (ids []float64) {
		t.Helper()
		if strings.Contains(string(a.raw), "ecret") {
			t.Errorf("the answer has a secret: %s", a.raw)
		}
		for _, k := range a.ok(200).json["keys"].([]any) {
			ids = append(ids, k.(obj)["id"].(float64))
		}
		return ids
	}
	for _, step := range []struct {
		what string
		got  []float64
		want []float64
	}{
		{"at first", ids(s.get("/admin/signing-keys")), []float64{1}},
		{"rotated", ids(s.post("/admin/signing-keys", nil)), []float64{2, 1}},
		{"rotated with a key", ids(s.once("/admin/signing-keys", "today", nil)), []float64{3, 2}},
		{"repeated", ids(s.once("/admin/signing-keys", "today", nil)), []float64{3, 2}},
		{"listed", ids(s.get("/admin/signing-keys")), []float64{3, 2}},
	} {
		if !slices.Equal(step.got, step.want) {
			t.Errorf("%s: keys %v, want %v", step.what, step.got, step.want)
		}
	}
}
