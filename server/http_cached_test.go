package server

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// TestHTTPCacheHeaders proves what caches on the way are told, that HEAD and 304 say
// the same as GET, and that what was read with a key is nobody else's.
func TestHTTPCacheHeaders(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	versioned := s.get(e).ok(200).str("manifest")
	if made := s.post("/v1/events", obj{"key": "b", "name": "B", "sections": []obj{{"name": "A", "category": "c", "rows": []obj{{"name": "1", "seats": 3}}}}}).ok(201); made.str("manifest") != s.get("/v1/events/b").str("manifest") {
		t.Errorf("the event was made with the manifest %s", made.str("manifest"))
	}
	const asMap, forEver = mapLife, ", max-age=31536000, immutable"
	for _, test := range []struct{ path, life string }{
		{e + "/seats", "public" + asMap},
		{e + "/seats?consistent=1", "no-cache"},
		{e + "/manifest", "public, max-age=10"},
		{versioned, "public" + forEver},
	} {
		for _, media := range []string{jsonMedia, packedMedia} {
			for _, coding := range []string{"identity", "gzip", "zstd", "s2"} {
				header := map[string]string{"Accept": media, "Accept-Encoding": coding}
				get := s.do(call{method: "GET", url: s.api + test.path, header: header}).ok(200)
				if got := get.header.Get("Cache-Control"); got != test.life {
					t.Errorf("%s: Cache-Control is %q, want %q", test.path, got, test.life)
				}
				head := s.head(test.path, header)
				header["If-None-Match"] = get.header.Get("Etag")
				none := s.do(call{method: "GET", url: s.api + test.path, header: header}).ok(304)
				for _, name := range []string{"Etag", "Cache-Control", "Vary", headerVersion} {
					if want := get.header.Get(name); head.Header.Get(name) != want || none.header.Get(name) != want {
						t.Errorf("%s: %s is %q; for HEAD %q; with 304 %q", test.path, name, want, head.Header.Get(name), none.header.Get(name))
					}
				}
				if len(none.raw) != 0 || head.StatusCode != 200 || head.Header.Get("Content-Length") != fmt.Sprint(len(get.raw)) || head.Header.Get("Content-Encoding") != get.header.Get("Content-Encoding") {
					t.Errorf("%s: HEAD says %s bytes in %q, GET gives %d in %q", test.path, head.Header.Get("Content-Length"), head.Header.Get("Content-Encoding"), len(get.raw), get.header.Get("Content-Encoding"))
				}
			}
		}
	}
	s.get(e + "/manifest?v=" + strings.Repeat("0", 32)).problem("not_found").says("another manifest")

	key := s.do(call{method: "POST", url: s.admin + "/admin/keys", body: obj{"name": "k", "role": "operate"}}).ok(201).str("key")
	s.key = key
	for path, life := range map[string]string{e + "/seats": "private" + asMap, versioned: "private" + forEver} {
		if got := s.get(path).ok(200).header.Get("Cache-Control"); got != life {
			t.Errorf("%s, with a key: Cache-Control is %q, want %q", path, got, life)
		}
	}
}

// head sends a HEAD, which the contract does not list, and has no body to it.
func (s *site) head(path string, header map[string]string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodHead, s.api+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) > 0 {
		s.t.Fatalf("HEAD %s: %d bytes, %v", path, len(body), err)
	}
	return resp
}

// TestHTTPManifestOfAnotherLife proves that a manifest's URL never gives another.
func TestHTTPManifestOfAnotherLife(t *testing.T) {
	s := newSite(t, nil)
	body := func(seats int) obj {
		return obj{"key": "m", "name": "M", "sections": []obj{{"name": "A", "category": "c", "rows": []obj{{"name": "1", "seats": seats}}}}}
	}
	first := s.post("/v1/events", body(3)).ok(201).str("manifest")
	s.get(first).ok(200)
	s.do(call{method: "DELETE", url: s.api + "/v1/events/m"}).ok(204)
	s.get(first).problem("unknown_event")
	second := s.post("/v1/events", body(4)).ok(201).str("manifest")
	if first == second {
		t.Fatal("two manifests have one URL")
	}
	s.get(first).problem("not_found")
	s.get(second).ok(200)
}

// TestHTTPMapCostsOneReading proves that readers of an event that stands still cost
// one reading of its map, and 304s not even an encoding.
func TestHTTPMapCostsOneReading(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	packed := map[string]string{"Accept": packedMedia}
	tag := s.do(call{method: "GET", url: s.api + e + "/seats", header: packed}).ok(200).header.Get("Etag")
	id := s.n.table().Find("a").ID
	kept := s.n.bodies.size()
	first, _ := s.n.bodies.kept.get(bodyKey{wire.KindMap, id, packedMedia, identity})
	for range 100 {
		s.do(call{method: "GET", url: s.api + e + "/seats", header: packed}).ok(200)
		s.do(call{method: "GET", url: s.api + e + "/seats", header: map[string]string{"If-None-Match": tag, "Accept-Encoding": "gzip"}}).ok(304)
	}
	again, _ := s.n.bodies.kept.get(bodyKey{wire.KindMap, id, packedMedia, identity})
	if first == nil || again != first || s.n.bodies.size() != kept {
		t.Errorf("after 200 more readers the map is another, or %d bytes are kept instead of %d", s.n.bodies.size(), kept)
	}
}

// TestHTTPMapOfACutOffFollower proves that a replica that does not hear of its leader
// says how old its map is, and tells caches to keep it no longer.
func TestHTTPMapOfACutOffFollower(t *testing.T) {
	c := newCrew(t, 3, func(c *Config) { c.Shards, c.Replicas = 1, 3 })
	c.settled()
	event := openHall(t, c.nodes[0], hall("a", 1, 10))
	at := (c.place(c.leader(event)) + 1) % len(c.nodes)
	n := c.nodes[at]
	eventually(t, "the follower to have the event", func() bool {
		g := n.local(1)
		return g != nil && g.shard.Load().Event(event) != nil
	})
	look := func() (age time.Duration, life string) {
		resp, err := http.Get("http://" + n.HTTPAddr() + "/v1/events/a/seats")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("the follower answers %s", resp.Status)
		}
		ms, err := strconv.Atoi(resp.Header.Get(headerAge))
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ms) * time.Millisecond, resp.Header.Get("Cache-Control")
	}
	eventually(t, "a young map", func() bool { _, life := look(); return life == "public"+mapLife })
	c.cutOff(at, true)
	cut := time.Now()
	eventually(t, "a map that caches must not keep", func() bool {
		passed := time.Since(cut)
		age, life := look()
		if age < passed-testElection { // what was on its way may have come in after
			t.Errorf("%v after it was cut off the follower says that its map is %v old", passed, age)
		}
		if old := age > mapFresh; old != (life == "public, no-cache") {
			t.Errorf("a map of %v has Cache-Control %q", age, life)
		}
		return life == "public, no-cache"
	})
	c.cutOff(at, false)
	eventually(t, "a young map again", func() bool { _, life := look(); return life == "public"+mapLife })
}
