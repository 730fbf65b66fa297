package server

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/usher-seats/usher/server/pages"
)

// fetch gets what is no call of the API.
func (s *site) fetch(method, url string, header ...string) *answer {
	s.t.Helper()
	h := make(map[string]string)
	for i := 0; i < len(header); i += 2 {
		h[header[i]] = header[i+1]
	}
	return s.do(call{method: method, url: url, header: h, alien: true})
}

// TestPagesAreServed proves that both listeners have their pages, under a policy that
// lets them load nothing from elsewhere, and never from an old copy.
func TestPagesAreServed(t *testing.T) {
	s := newSite(t, nil)
	for _, page := range []struct{ url, has string }{
		{s.api + "/", `id="events"`},
		{s.api + "/e/gala", `id="map"`},
		{s.api + "/e/Night%20%26%20Day%2F2", `id="map"`},
		{s.api + "/e/gala/draw", `id="checks"`},
		{s.admin + "/", `id="shards"`},
	} {
		a := s.fetch(http.MethodGet, page.url).ok(http.StatusOK)
		if !bytes.Contains(a.raw, []byte(page.has)) {
			t.Errorf("%s lacks %s", page.url, page.has)
		}
		for name, want := range map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": pages.Policy, "Cache-Control": "no-cache",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s has %s %q, want %q", page.url, name, got, want)
			}
		}
		if again := s.fetch(http.MethodGet, page.url, "If-None-Match", a.header.Get("Etag")); again.code != http.StatusNotModified || len(again.raw) > 0 {
			t.Errorf("%s is sent again to somebody who has it: %d", page.url, again.code)
		}
		if head := s.fetch(http.MethodHead, page.url); head.code != http.StatusOK || len(head.raw) > 0 || head.header.Get("Content-Type") != a.header.Get("Content-Type") {
			t.Errorf("HEAD %s answers %d with %d bytes", page.url, head.code, len(head.raw))
		}
	}
	s.fetch(http.MethodPost, s.api+"/").problem(codeMethod)
	s.fetch(http.MethodGet, s.api+"/e/").problem(codeNotFound)
}

// TestAssetsAreKeptForEver proves that the assets a page names are there, packed as the
// browser likes, and may be kept for as long as the page names them.
func TestAssetsAreKeptForEver(t *testing.T) {
	s := newSite(t, nil)
	named := regexp.MustCompile(`"(/assets/[^"]+)"`)
	for _, base := range []string{s.api, s.admin} {
		list := named.FindAllStringSubmatch(string(s.fetch(http.MethodGet, base+"/").ok(http.StatusOK).raw), -1)
		if len(list) < 3 {
			t.Fatalf("the page of %s names %d assets", base, len(list))
		}
		for _, m := range list {
			plain := s.fetch(http.MethodGet, base+m[1]).ok(http.StatusOK)
			if got := plain.header.Get("Cache-Control"); got != assetCaching {
				t.Errorf("%s has Cache-Control %q", m[1], got)
			}
			if plain.header.Get("Content-Type") == "" || plain.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s has headers %v", m[1], plain.header)
			}
			for coding, unpack := range map[string]func([]byte) []byte{"gzip": gunzip(t), "zstd": unzstd(t)} {
				packed := s.fetch(http.MethodGet, base+m[1], "Accept-Encoding", coding).ok(http.StatusOK)
				body := packed.raw
				if packed.header.Get("Content-Encoding") == coding {
					body = unpack(body)
				} else if len(plain.raw) >= minPacked {
					t.Errorf("%s is not packed with %s", m[1], coding)
				}
				if !bytes.Equal(body, plain.raw) {
					t.Errorf("%s is another file with %s", m[1], coding)
				}
			}
		}
	}
	site, err := pages.Load()
	if err != nil {
		t.Fatal(err)
	}
	old := s.fetch(http.MethodGet, s.api+pages.Prefix+"another/api.js").ok(http.StatusOK)
	if got := old.header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("an asset of another version has Cache-Control %q", got)
	}
	for _, path := range []string{"/nothing.js", "/../pages.go", "/..%2fpages.go", "/", ""} {
		s.fetch(http.MethodGet, s.api+pages.Prefix+site.Version()+path).problem(codeNotFound)
	}
}

func gunzip(t *testing.T) func([]byte) []byte {
	return func(b []byte) []byte {
		t.Helper()
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func unzstd(t *testing.T) func([]byte) []byte {
	return func(b []byte) []byte {
		t.Helper()
		r, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		out, err := r.DecodeAll(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// TestPagesNeedNoKeyAndDataDo proves that with keys on everybody gets the pages, which
// ask for the key, and nobody without one gets what they show.
func TestPagesNeedNoKeyAndDataDo(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Admin = "127.0.0.1:0" })
	s.event("gala", 1, nil)
	key := s.post("/admin/keys", obj{"name": "op", "role": "operate"}).ok(http.StatusCreated).str("key")
	for _, path := range []string{"/", "/e/gala", "/e/gala/draw"} {
		s.fetch(http.MethodGet, s.api+path).ok(http.StatusOK)
	}
	for _, path := range []string{"/v1/events", "/v1/events/gala", "/v1/events/gala/manifest", "/v1/events/gala/seats"} {
		s.fetch(http.MethodGet, s.api+path).problem("unauthorized")
	}
	s.n.admin.keyless = false // as where others can reach the listener
	page := s.fetch(http.MethodGet, s.admin+"/").ok(http.StatusOK)
	if !strings.Contains(string(page.raw), `data-view="login"`) {
		t.Error("the operator's page has no place to ask for a key")
	}
	for _, path := range []string{"/admin/cluster", "/metrics", "/v1/events", "/v1/events/gala"} {
		s.fetch(http.MethodGet, s.admin+path).problem("unauthorized")
		s.fetch(http.MethodGet, s.admin+path, "Authorization", "Bearer "+key).ok(http.StatusOK)
	}
	reader := s.fetchKey(key, "reader", "read")
	s.fetch(http.MethodGet, s.admin+"/v1/events", "Authorization", "Bearer "+reader).problem("forbidden")
	s.fetch(http.MethodGet, s.api+"/v1/events", "Authorization", "Bearer "+reader).ok(http.StatusOK)
}

// fetchKey makes a key with another one.
func (s *site) fetchKey(with, name, role string) string {
	s.t.Helper()
	s.key = with
	defer func() { s.key = "" }()
	return s.post("/admin/keys", obj{"name": name, "role": role}).ok(http.StatusCreated).str("key")
}
