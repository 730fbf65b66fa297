package server

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// A contract is docs/openapi.yaml, ready to judge requests and answers. Safe on
// any goroutine.
type contract struct {
	doc    *openapi3.T
	router routers.Router

	mu   sync.Mutex
	seen map[string]map[int]int // answers by operation and status code
}

var readContract = sync.OnceValues(func() (*contract, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromFile(filepath.Join("..", "docs", "openapi.yaml"))
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(loader.Context); err != nil {
		return nil, err
	}
	// Tests listen on other ports than the document says.
	doc.Servers = nil
	for _, item := range doc.Paths.Map() {
		item.Servers = nil
	}
	r, err := legacy.NewRouter(doc)
	if err != nil {
		return nil, err
	}
	return &contract{doc: doc, router: r, seen: make(map[string]map[int]int)}, nil
})

func theContract(t *testing.T) *contract {
	t.Helper()
	c, err := readContract()
	if err != nil {
		t.Fatalf("docs/openapi.yaml: %v", err)
	}
	return c
}

// check fails the test if the answer does not fit the document, or if the
// request does not although it was meant to. Paths that the document does not
// have must be answered with a problem.
func (c *contract) check(t *testing.T, req *http.Request, body []byte, resp *http.Response, answer []byte, bad bool) {
	t.Helper()
	judged := req.Clone(req.Context())
	// A segment stays one, whatever it has encoded.
	judged.URL = &url.URL{Path: req.URL.EscapedPath(), RawQuery: req.URL.RawQuery}
	judged.Host = ""
	judged.Body = io.NopCloser(bytes.NewReader(body))
	route, params, err := c.router.FindRoute(judged)
	if err != nil {
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s %s is answered with %d but is not in the document: %v", req.Method, req.URL.Path, resp.StatusCode, err)
		}
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Request: judged, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	err = openapi3filter.ValidateRequest(req.Context(), in)
	if err != nil && !bad {
		t.Errorf("%s %s %s: the request does not fit the document: %v", req.Method, req.URL.Path, body[:min(len(body), 300)], err)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header, Options: in.Options}
	if resp.Header.Get("Content-Encoding") != "" {
		out.Options = &openapi3filter.Options{ExcludeResponseBody: true, IncludeResponseStatus: true}
	}
	out.SetBodyBytes(answer)
	if err := openapi3filter.ValidateResponse(req.Context(), out); err != nil {
		t.Errorf("%s %s: the answer %d does not fit the document: %v\n%s", req.Method, req.URL.Path, resp.StatusCode, err, answer[:min(len(answer), 500)])
	}
	c.count(route.Operation.OperationID, resp.StatusCode)
}

func (c *contract) count(operation string, code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[operation] == nil {
		c.seen[operation] = make(map[int]int)
	}
	c.seen[operation][code]++
}

// TestOpenAPIRoutesAreDocumented proves that the document has every route and no other,
// under the same operation id.
func TestOpenAPIRoutesAreDocumented(t *testing.T) {
	documented := make(map[string]string)
	for path, item := range theContract(t).doc.Paths.Map() {
		for method, op := range item.Operations() {
			documented[method+" "+path] = op.OperationID
		}
	}
	for _, r := range slices.Concat(apiRoutes(), adminRoutes()) {
		call := r.method + " " + strings.ReplaceAll(r.path, ":*}", "}")
		if documented[call] != r.name {
			t.Errorf("%s is operation %q in the document, want %q", call, documented[call], r.name)
		}
		delete(documented, call)
	}
	for call := range documented {
		t.Errorf("the document has %s, which no route serves", call)
	}
}

// TestOpenAPICodesAreDocumented proves that the document and docs/http.md list every
// code of a problem with its status, and no other.
func TestOpenAPICodesAreDocumented(t *testing.T) {
	schema := theContract(t).doc.Components.Schemas["Problem"].Value.Properties["code"].Value
	inYAML := make(map[string]bool)
	for _, v := range schema.Enum {
		inYAML[v.(string)] = true
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "http.md"))
	if err != nil {
		t.Fatal(err)
	}
	inPage := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| <a id=\"([a-z_]+)\"></a>`([a-z_]+)` \\| (\\d+) \\|").FindAllStringSubmatch(string(page), -1) {
		if m[1] != m[2] {
			t.Errorf("docs/http.md: the line of %s has the anchor %s", m[2], m[1])
		}
		inPage[m[2]] = m[3]
	}
	for code, e := range explanations() {
		if code == "ok" {
			t.Error("success is no problem")
		}
		if !inYAML[code] {
			t.Errorf("docs/openapi.yaml does not list %s", code)
		}
		if inPage[code] != strconv.Itoa(e.http) {
			t.Errorf("docs/http.md gives %s the status %q, want %d", code, inPage[code], e.http)
		}
		delete(inYAML, code)
		delete(inPage, code)
	}
	for code := range inYAML {
		t.Errorf("docs/openapi.yaml lists %s, which does not exist", code)
	}
	for code := range inPage {
		t.Errorf("docs/http.md lists %s, which does not exist", code)
	}
}
