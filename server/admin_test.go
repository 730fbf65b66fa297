package server

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/usher-seats/usher/wire"
)

// TestAdminHealth proves what the admin listener says of a node, and that a node that
// is stopping is not ready.
func TestAdminHealth(t *testing.T) {
	s := newSite(t, nil)
	s.get("/healthz").ok(200).want("status", "ok")
	s.get("/readyz").ok(200).want("status", "ok")
	if a := s.get("/readyz"); a.header.Get("Cache-Control") != "no-store" {
		t.Error("health may be cached")
	}
	s.n.stopping.Store(true)
	s.get("/readyz").problem("stopping")
	s.get("/healthz").ok(200)
	s.n.stopping.Store(false)
}

// TestAdminCluster proves that the admin listener tells of nodes, groups and their
// members.
func TestAdminCluster(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Node = "n7"; c.Shards = 3 })
	s.event("a", 1, nil)
	s.event("b", 1, nil)
	a := s.get("/admin/cluster").ok(200).want("node", "n7").want("events", 2).want("settled", true).want("replication", 3).want("moving", "")
	groups := a.json["groups"].([]any)
	if len(groups) != 4 {
		t.Fatalf("%d groups, want the directory and 3 shards", len(groups))
	}
	events := 0.0
	for i, g := range groups {
		g := g.(obj)
		if g["group"] != float64(i) || g["leader"] != "n7" || g["settled"] != true || (g["role"] == "directory") != (i == 0) {
			t.Errorf("group %d is %v", i, g)
		}
		m := g["members"].([]any)
		if len(m) != 1 {
			t.Fatalf("group %d has %d members", i, len(m))
		}
		one := m[0].(obj)
		if one["node"] != "n7" || one["voter"] != true || one["wanted"] != true || one["leading"] != true || one["group"] != float64(i) || one["lag_entries"] != 0.0 || one["term"] == 0.0 {
			t.Errorf("group %d has the member %v", i, one)
		}
		if i > 0 {
			events += g["events"].(float64)
		}
	}
	if events != 2 {
		t.Errorf("the shards have %v events", events)
	}
	node := a.json["nodes"].([]any)[0].(obj)
	if node["name"] != "n7" || node["up"] != true || node["draining"] != false || node["replicas"] != 3.0 || node["leading"] != 3.0 {
		t.Errorf("the node is %v", node)
	}
	// The listeners for clients came up after the cluster was made.
	until(t, "the node tells the cluster its addresses", func() bool {
		node := s.get("/admin/cluster").ok(200).json["nodes"].([]any)[0].(obj)
		addrs := node["addresses"].(obj)
		return addrs["http"] == s.n.HTTPAddr() && addrs["admin"] == s.n.AdminAddr() && addrs["peer"] == s.n.PeerAddr()
	})
}

// TestAdminKeys proves that keys open what their role allows, from the moment they
// are made to the moment they are dropped, and that they are shown once.
func TestAdminKeys(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	s.get("/admin/keys").ok(200).want("keys", "")
	secret := make(map[string]string)
	for _, role := range []string{"operate", "sell", "read"} {
		secret[role] = s.post("/admin/keys", obj{"name": role, "role": role}).ok(201).want("role", role).str("key")
	}
	if a := s.get("/admin/keys").ok(200); strings.Contains(string(a.raw), "usher_") {
		t.Errorf("the list of keys shows them: %s", a.raw)
	}

	roles := map[string]wire.Role{"": 0, "usher_wrong": 0, secret["read"]: wire.RoleRead, secret["sell"]: wire.RoleSell, secret["operate"]: wire.RoleOperate}
	for _, r := range apiRoutes() {
		path := strings.NewReplacer("{event}", "nope", "{id}", wire.KeyID("x").String()).Replace(r.path)
		for key, role := range roles {
			a := s.do(call{method: r.method, url: s.api + path, header: map[string]string{"Authorization": "Bearer " + key, "Content-Type": jsonMedia}, body: "{}", bad: true})
			switch {
			case role == 0:
				a.problem("unauthorized")
				if a.header.Get("WWW-Authenticate") != "Bearer" {
					t.Errorf("401 without WWW-Authenticate")
				}
			case role < r.role:
				a.problem("forbidden").says(r.role.String(), role.String())
			case a.code == 401 || a.code == 403:
				t.Errorf("%s with role %v: %d %s", r.name, role, a.code, a.raw)
			}
		}
	}

	key := func(header, value string) *answer {
		t.Helper()
		return s.do(call{method: "GET", url: s.api + e, header: map[string]string{header: value}})
	}
	key("X-Usher-Key", secret["read"]).ok(200)
	key("Authorization", "bearer "+secret["read"]).ok(200)
	key("Authorization", "Basic "+secret["read"]).problem("unauthorized")

	second := s.post("/admin/keys", obj{"name": "read", "role": "read"}).ok(201).str("key")
	key("X-Usher-Key", secret["read"]).problem("unauthorized")
	key("X-Usher-Key", second).ok(200)
	s.do(call{method: "DELETE", url: s.admin + "/admin/keys/read"}).ok(204)
	key("X-Usher-Key", second).problem("unauthorized")
	s.do(call{method: "DELETE", url: s.admin + "/admin/keys/read"}).problem("not_found")
	s.do(call{method: "DELETE", url: s.admin + "/admin/keys/operate"}).problem("exists").says("drop the others first")

	s.postBad("/admin/keys", obj{"name": "", "role": "read"}).problem("bad_request").field("name")
	s.postBad("/admin/keys", obj{"name": strings.Repeat("x", 65), "role": "read"}).problem("bad_request").field("name")
	s.postBad("/admin/keys", obj{"name": "x", "role": "root"}).problem("bad_request").field("role")
}

// TestAdminFirstKeyMustOperate proves that nobody locks himself out.
func TestAdminFirstKeyMustOperate(t *testing.T) {
	s := newSite(t, nil)
	s.post("/admin/keys", obj{"name": "x", "role": "sell"}).problem("exists").says("operate")
	s.event("still-open", 1, nil)
}

// TestAdminLocalNames proves that a node without keys turns away whoever comes to it
// by another name than its own machine's, as a web page in a browser would.
func TestAdminLocalNames(t *testing.T) {
	s := newSite(t, nil)
	ask := func(base, path, host, key string) *answer {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		if key != "" {
			req.Header.Set("X-Usher-Key", key)
		}
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return &answer{t: t, what: host, code: resp.StatusCode}
	}
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8080": 200, "LOCALHOST:1": 200, "usher.localhost": 200, "127.0.0.1:8080": 200, "127.8.9.1": 200, "[::1]:8080": 200, "[::1]": 200,
		"evil.example": 403, "evil.example:8080": 403, "localhost.evil.example": 403, "10.0.0.1": 403, "127.0.0.1.evil.example": 403, "[::2]:80": 403,
	} {
		ask(s.api, "/v1/events", host, "").ok(want)
		ask(s.admin, "/admin/keys", host, "").ok(want)
		ask(s.api, "/v1/events", host, "any key while there are none").ok(want)
		ask(s.admin, "/healthz", host, "").ok(200)
	}
	key := s.post("/admin/keys", obj{"name": "root", "role": "operate"}).ok(201).str("key")
	ask(s.api, "/v1/events", "usher.example", key).ok(200)
	ask(s.admin, "/admin/keys", "usher.example", key).ok(403) // on loopback the key is not looked at
}

// TestAdminExposed proves that beyond loopback the admin listener wants a key
// that may operate, for all but health.
func TestAdminExposed(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Admin = "0.0.0.0:0"; c.Insecure = true })
	secret := s.post("/admin/keys", obj{"name": "root", "role": "operate"}).ok(201).str("key")
	lesser := func(role string) string {
		t.Helper()
		return s.do(call{method: "POST", url: s.admin + "/admin/keys", body: obj{"name": role, "role": role}, header: map[string]string{"X-Usher-Key": secret}}).ok(201).str("key")
	}
	reader, seller := lesser("read"), lesser("sell")
	for _, r := range adminRoutes() {
		path := strings.NewReplacer("{profile:*}", "cmdline", "{name}", "nobody", "{node}", "n9", "{shard}", "1", "{event}", "nope").Replace(r.path)
		for key, want := range map[string]int{"": 401, "usher_wrong": 401, reader: 403, seller: 403, secret: 0} {
			a := s.do(call{method: r.method, url: s.admin + path, body: "{}", header: map[string]string{"X-Usher-Key": key}, bad: true})
			if r.access == everybody {
				a.ok(200)
			} else if want != 0 {
				a.ok(want)
			} else if a.code == 401 || a.code == 403 {
				t.Errorf("%s with the operator's key: %d", r.name, a.code)
			}
		}
	}
}

// TestAdminMetrics proves that the metrics can be read and count what happened.
func TestAdminMetrics(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	for range 3 {
		s.post(e+"/holds", obj{"seats": []string{"A-1-1"}})
	}
	s.get("/v1/nothing")
	a := s.get("/metrics").ok(200)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(a.raw))
	if err != nil {
		t.Fatal(err)
	}
	value := func(family string, labels ...string) float64 {
		t.Helper()
		f := families[family]
		if f == nil {
			t.Fatalf("no metric %s", family)
		}
		for _, m := range f.Metric {
			var have []string
			for _, l := range m.Label {
				have = append(have, l.GetName()+"="+l.GetValue())
			}
			if slices.Equal(have, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		t.Fatalf("no metric %s with %v", family, labels)
		return 0
	}
	for _, want := range []struct {
		value  float64
		family string
		labels []string
	}{
		{1, "usher_http_requests_total", []string{"code=201", "route=createEvent"}},
		{1, "usher_http_requests_total", []string{"code=201", "route=hold"}},
		{2, "usher_http_requests_total", []string{"code=409", "route=hold"}},
		{3, "usher_http_request_duration_seconds", []string{"route=hold"}},
		{1, "usher_http_refused_total", []string{"listener=http"}},
		{2, "usher_early_look_rejections_total", nil},
		{1, "usher_events", nil},
		{0, "usher_disk_low", nil},
		{1, "usher_group_leading", []string{"group=0"}},
	} {
		if got := value(want.family, want.labels...); got != want.value {
			t.Errorf("%s%v is %v, want %v", want.family, want.labels, got, want.value)
		}
	}
	for _, family := range []string{"usher_group_entries_total", "usher_group_log_bytes", "usher_group_queued_operations", "go_goroutines", "usher_connections"} {
		if families[family] == nil {
			t.Errorf("no metric %s", family)
		}
	}
}

// TestAdminProfiles proves that pprof is served, and only there.
func TestAdminProfiles(t *testing.T) {
	s := newSite(t, nil)
	s.get("/debug/pprof/goroutine?debug=1").ok(200)
	s.get("/debug/pprof/heap").ok(200)
	s.get("/debug/pprof/nonsense").ok(404)
	s.do(call{method: "GET", url: s.api + "/debug/pprof/heap", alien: true}).problem("not_found")
	s.do(call{method: "GET", url: s.api + "/metrics", alien: true}).problem("not_found")
}

// TestAdminStopFinishes proves that a node that stops finishes what it has begun and then
// refuses connections.
func TestAdminStopFinishes(t *testing.T) {
	s := newSite(t, nil)
	inside, finish := make(chan struct{}), make(chan struct{})
	f := newFrontend(s.n, "stops", []route{{"GET", "/v1/events", "listEvents", wire.RoleRead, keyed, func(q *request) *problem {
		close(inside)
		<-finish
		return q.listEvents()
	}}})
	if err := f.listen("127.0.0.1:0", 10, 0); err != nil {
		t.Fatal(err)
	}
	f.start(nil)
	done := make(chan *answer)
	go func() { done <- s.do(call{method: "GET", url: "http://" + f.address() + "/v1/events"}) }()
	<-inside
	stopped := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		stopped <- f.stop(ctx)
	}()
	<-f.served
	if _, err := s.client.Get("http://" + f.address() + "/v1/events"); err == nil {
		t.Error("a stopping listener took another connection")
	}
	close(finish)
	if a := <-done; a.code != 200 {
		t.Errorf("the request under way ended with %d", a.code)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}
