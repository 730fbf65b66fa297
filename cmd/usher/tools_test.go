package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usher-seats/usher/internal/proc"
)

func TestMain(m *testing.M) { proc.Main(m) }

// TestDemo proves that the demo sells out and ends after the audit.
func TestDemo(t *testing.T) {
	stdout, stderr, code := invoke(t, "demo", "--once", "--seats", "1000", "--buyers", "8")
	if code != exitDone || !strings.Contains(stdout, "1,000 seats, sold out") || !strings.Contains(stdout, "ok: every seat booked once") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

// TestBenchOwnNode proves that bench without an address starts a node, measures
// it through the program as it is shipped, and removes what it made.
func TestBenchOwnNode(t *testing.T) {
	data := t.TempDir()
	out, err := proc.Command(t, "bench", "hold", "--duration", "200ms", "--conns", "2", "--seats", "1000", "--json", "--data", data).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r struct {
		Workload string
		Ops      float64 `json:"ops_per_s"`
		Audit    string
	}
	if err := json.Unmarshal(out, &r); err != nil || r.Workload != "hold" || r.Ops <= 0 || r.Audit != "ok" {
		t.Errorf("%v: %s", err, out)
	}
	if left, err := os.ReadDir(data); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestBenchLive proves that bench live starts a node with HTTP and processes with
// subscribers, and that everybody was told of everything.
func TestBenchLive(t *testing.T) {
	out, err := proc.Command(t, "bench", "live", "--subscribers", "40", "--processes", "2", "--changes", "100",
		"--duration", "200ms", "--conns", "2", "--seats", "1000", "--json", "--data", t.TempDir()).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var r struct {
		Audit string
		Lost  int
		Parts []struct{ Name string }
	}
	if err := json.Unmarshal(out, &r); err != nil || r.Audit != "ok" || r.Lost != 0 || len(r.Parts) != 3 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestBenchOnsale proves that an on-sale against a cluster that bench starts ends with
// an audit, a page and a result that can be compared, and leaves nothing behind.
func TestBenchOnsale(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	page, result := filepath.Join(dir, "r.html"), filepath.Join(dir, "r.json")
	out, err := proc.Command(t, "bench", "onsale", "--preset", "arena", "--users", "0.5k", "--compression", "1000",
		"--html", page, "--json-file", result, "--json", "--data", data).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r struct {
		Workload, Scenario, Audit string
		Users                     int
		Ops                       float64 `json:"ops_per_s"`
	}
	if err := json.Unmarshal(out, &r); err != nil || r.Workload != "onsale" || r.Scenario != "arena" || r.Users != 500 || r.Ops <= 0 || r.Audit != "ok" {
		t.Errorf("%v: %s", err, out)
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "uPlot") || !strings.Contains(string(text), "arena") {
		t.Errorf("the page: %v, %d bytes", err, len(text))
	}
	stdout, stderr, code := invoke(t, "bench", "compare", result, result)
	if code != exitDone || !strings.Contains(stdout, "1.00") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if left, err := os.ReadDir(data); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestToolsWrongUsage proves that mistakes cost nothing and are explained.
func TestToolsWrongUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"bench"}, "usher bench -h"},
		{[]string{"bench", "sleep"}, "there are"},
		{[]string{"bench", "live", "--transport", "pigeon"}, "sse or ws"},
		{[]string{"bench", "live", "--http", "127.0.0.1:1"}, "together"},
		{[]string{"bench", "hold", "--seats", "7"}, "1,000 to 200,000"},
		{[]string{"bench", "hold", "now"}, `"now"`},
		{[]string{"bench", "onsale"}, "--preset and --scenario"},
		{[]string{"bench", "onsale", "--preset", "opera"}, "theatre-week"},
		{[]string{"bench", "onsale", "--preset", "arena", "--users", "10G"}, "20k or 10M"},
		{[]string{"bench", "onsale", "--preset", "arena", "--nodes", "99"}, "1 to 9"},
		{[]string{"bench", "onsale", "--preset", "arena", "--compression", "0.1"}, "compression is 0.1"},
		{[]string{"bench", "compare", "a.json"}, "A.json B.json"},
		{[]string{"demo", "--seats", "1"}, "1,000 to 200,000"},
		{[]string{"demo", "--buyers", "0"}, "1 to 10,000"},
		{[]string{"admin"}, "usher admin -h"},
		{[]string{"admin", "dance"}, `"dance"`},
		{[]string{"admin", "event"}, "usher admin event KEY"},
		{[]string{"admin", "event", "a", "b"}, "usher admin event KEY"},
		{[]string{"admin", "add-key", "web", "boss"}, "read, sell or operate"},
		{[]string{"admin", "add-shards", "0"}, "from 1"},
		{[]string{"admin", "add-shards", "1", "2"}, "usher admin add-shards [N]"},
		{[]string{"admin", "move-event", "gala", "two"}, `"two" is no shard`},
		{[]string{"admin", "transfer", "0", "n1"}, `"0" is no shard`},
		{[]string{"admin", "place", "x", "n1"}, `"x" is no shard`},
		{[]string{"admin", "drain-node", "n1", "--force"}, "-force"},
		{[]string{"admin", "cluster", "--admin-url", ","}, "empty"},
		{[]string{"admin", "cluster", "--admin-url", ":"}, "--admin-url :"},
	} {
		stdout, stderr, code := invoke(t, c.args...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit %d, stdout %q, stderr %q; want exit 2 and %q", c.args, code, stdout, stderr, c.want)
		}
	}
}
