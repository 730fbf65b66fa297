package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A site is a node with its HTTP listeners, and a client that holds every
// answer against docs/openapi.yaml. It belongs to one test.
type site struct {
	t      *testing.T
	n      *Node
	api    string // base URL of the frontend
	admin  string // base URL of the admin listener
	key    string // API key to send; empty: none
	client *http.Client
	doc    *contract
}

// newSite starts a node in an empty directory.
func newSite(t *testing.T, edit func(*Config)) *site {
	t.Helper()
	c := Config{
		Data:   t.TempDir(),
		Listen: Off,
		HTTP:   "127.0.0.1:0",
		Admin:  "127.0.0.1:0",
		Peer:   "127.0.0.1:0",
		Shards: 2,
		Log:    slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if edit != nil {
		edit(&c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	n, err := Start(ctx, c)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	transport := &http.Transport{DisableCompression: true}
	scheme := "http://"
	if c.TLSCert != "" {
		scheme = "https://"
		transport.TLSClientConfig = &tls.Config{RootCAs: rootsIn(t, c.TLSCert)}
	}
	s := &site{
		t: t, n: n, api: scheme + n.HTTPAddr(), admin: scheme + n.AdminAddr(),
		client: &http.Client{Transport: transport, Timeout: 30 * time.Second}, doc: theContract(t),
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// rootsIn trusts the certificate in a file.
func rootsIn(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("the certificate cannot be read")
	}
	return roots
}

// logWriter sends a node's log to the test's.
type logWriter struct{ t *testing.T }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// An answer is what came back: a JSON object, or something else in raw.
type answer struct {
	t      *testing.T
	what   string // the request, for messages
	code   int
	header http.Header
	raw    []byte
	json   map[string]any
}

// A call is a request with all that may be said of it.
type call struct {
	method, url string
	body        any // string: as it is; nil: none; else marshalled
	header      map[string]string
	// bad says that the request itself does not fit the contract, on purpose;
	// alien, that the listener is not the one that the contract has the path for.
	bad, alien bool
}

// do sends a call and checks the answer against the contract.
func (s *site) do(c call) *answer {
	s.t.Helper()
	var body []byte
	switch b := c.body.(type) {
	case nil:
	case string:
		body = []byte(b)
	default:
		var err error
		if body, err = json.Marshal(b); err != nil {
			s.t.Fatal(err)
		}
	}
	req, err := http.NewRequest(c.method, c.url, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", jsonMedia)
	}
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", c.method, c.url, err)
	}
	defer resp.Body.Close()
	a := &answer{t: s.t, what: c.method + " " + req.URL.Path + " " + string(body[:min(len(body), 200)]), code: resp.StatusCode, header: resp.Header}
	if a.raw, err = io.ReadAll(resp.Body); err != nil {
		s.t.Fatalf("%s: reading the answer: %v", a.what, err)
	}
	if strings.HasSuffix(strings.Split(resp.Header.Get("Content-Type"), ";")[0], "json") && resp.Header.Get("Content-Encoding") == "" && len(a.raw) > 0 {
		if err := json.Unmarshal(a.raw, &a.json); err != nil {
			s.t.Fatalf("%s: answer is not JSON: %v\n%s", a.what, err, a.raw)
		}
	}
	if !c.alien {
		s.doc.check(s.t, req, body, resp, a.raw, c.bad)
	}
	return a
}

func (s *site) get(path string) *answer {
	s.t.Helper()
	return s.do(call{method: http.MethodGet, url: s.base(path) + path})
}

func (s *site) post(path string, body any) *answer {
	s.t.Helper()
	return s.do(call{method: http.MethodPost, url: s.base(path) + path, body: body})
}

// postBad posts what does not fit the contract.
func (s *site) postBad(path string, body any) *answer {
	s.t.Helper()
	return s.do(call{method: http.MethodPost, url: s.base(path) + path, body: body, bad: true})
}

func (s *site) base(path string) string {
	if strings.HasPrefix(path, "/v1/") {
		return s.api
	}
	return s.admin
}

// ok fails the test unless the answer has the code.
func (a *answer) ok(code int) *answer {
	a.t.Helper()
	if a.code != code {
		a.t.Fatalf("%s: got %d, want %d: %s", a.what, a.code, code, a.raw)
	}
	return a
}

// problem fails the test unless the answer is the problem with this code, with
// the HTTP status that the table gives it.
func (a *answer) problem(code string) *answer {
	a.t.Helper()
	if a.str("code") != code {
		a.t.Fatalf("%s: got %d %s, want the problem %s", a.what, a.code, a.raw, code)
	}
	if want := explanations()[code].http; a.code != want {
		a.t.Fatalf("%s: problem %s came with status %d, want %d", a.what, code, a.code, want)
	}
	return a
}

// says fails the test unless the detail contains all of the words.
func (a *answer) says(words ...string) *answer {
	a.t.Helper()
	for _, w := range words {
		if !strings.Contains(a.str("detail"), w) {
			a.t.Errorf("%s: detail %q does not say %q", a.what, a.str("detail"), w)
		}
	}
	return a
}

// field fails the test unless the problem names the field.
func (a *answer) field(name string) *answer {
	a.t.Helper()
	if a.str("field") != name {
		a.t.Errorf("%s: problem names field %q, want %q: %s", a.what, a.str("field"), name, a.raw)
	}
	return a
}

func (a *answer) str(name string) string {
	s, _ := a.json[name].(string)
	return s
}

func (a *answer) num(name string) float64 {
	a.t.Helper()
	f, ok := a.json[name].(float64)
	if !ok {
		a.t.Fatalf("%s: %q is no number: %s", a.what, name, a.raw)
	}
	return f
}

// list joins a list of strings by spaces.
func (a *answer) list(name string) string {
	items, _ := a.json[name].([]any)
	parts := make([]string, len(items))
	for i := range items {
		parts[i] = fmt.Sprint(items[i])
	}
	return strings.Join(parts, " ")
}

// want fails the test unless a field of the answer is as told; lists are joined
// by spaces.
func (a *answer) want(name string, value any) *answer {
	a.t.Helper()
	got := a.json[name]
	if _, isList := got.([]any); isList {
		got = a.list(name)
	}
	if fmt.Sprint(got) != fmt.Sprint(value) {
		a.t.Errorf("%s: %q is %v, want %v: %s", a.what, name, got, value, a.raw)
	}
	return a
}

// obj is an object in the making.
type obj = map[string]any

// event creates an event of two sections with rows of seats, an area, and rules.
// A-1 to A-rows and B-1 to B-rows have 10 seats each; Floor has 20 places.
func (s *site) event(key string, rows int, rules obj) string {
	s.t.Helper()
	section := func(name, category string) obj {
		list := make([]obj, rows)
		for i := range list {
			list[i] = obj{"name": fmt.Sprint(i + 1), "seats": 10}
		}
		return obj{"name": name, "category": category, "rows": list}
	}
	m := obj{
		"key": key, "name": "Event " + key, "categories": []string{"gold", "silver", "standing"},
		"sections": []obj{section("A", "gold"), section("B", "silver")},
		"areas":    []obj{{"name": "Floor", "category": "standing", "capacity": 20}},
	}
	if rules != nil {
		m["rules"] = rules
	}
	s.post("/v1/events", m).ok(http.StatusCreated)
	return "/v1/events/" + url.PathEscape(key)
}

// until calls f until it answers true, for things that happen by themselves
// within a known time.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		runtime.Gosched()
	}
}

// explanations are all codes a problem can have.
func explanations() map[string]explanation {
	all := make(map[string]explanation)
	for s, e := range statusProblems {
		all[s.String()] = e
	}
	for code, e := range httpProblems {
		all[code] = e
	}
	return all
}

// timedID is a fresh id in an event's time, shifted.
func (s *site) timedID(event string, shift wire.Millis) string {
	s.t.Helper()
	return s.n.newID(wire.Millis(s.get(event).ok(http.StatusOK).num("now_ms")) + shift).String()
}

// newSiteClient is an HTTP client of a test that has nodes of its own.
func newSiteClient(t *testing.T) *http.Client {
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}
