package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usher-seats/usher/internal/proc"
	"github.com/usher-seats/usher/server"
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

// TestToolsWrongUsage proves that mistakes cost nothing and are explained.
func TestToolsWrongUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"bench"}, "usher bench -h"},
		{[]string{"bench", "sleep"}, "there are"},
		{[]string{"bench", "hold", "--seats", "7"}, "1,000 to 200,000"},
		{[]string{"bench", "hold", "now"}, `"now"`},
		{[]string{"demo", "--seats", "1"}, "1,000 to 200,000"},
		{[]string{"demo", "--buyers", "0"}, "1 to 10,000"},
		{[]string{"admin"}, "usher admin -h"},
		{[]string{"admin", "dance"}, `"dance"`},
		{[]string{"admin", "event"}, "usher admin event KEY"},
		{[]string{"admin", "add-key", "web", "boss"}, "read, sell or operate"},
	} {
		stdout, stderr, code := invoke(t, c.args...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit %d, stdout %q, stderr %q; want exit 2 and %q", c.args, code, stdout, stderr, c.want)
		}
	}
}

// TestAdmin looks after a node: an event from a file, and an API key that is
// wanted from then on.
func TestAdmin(t *testing.T) {
	node, err := server.Start(t.Context(), server.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", HTTP: server.Off, Admin: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	var key []string
	admin := func(want string, args ...string) string {
		t.Helper()
		args = append(append([]string{"admin"}, args...), "--addr", node.Addr(), "--admin-url", "http://"+node.AdminAddr())
		stdout, stderr, code := invoke(t, append(args, key...)...)
		if code != exitDone || !strings.Contains(stdout, want) {
			t.Errorf("%v: exit %d, %s%s; want %q", args, code, stdout, stderr, want)
		}
		return stdout
	}
	file := filepath.Join(t.TempDir(), "gala.json")
	manifest := `{"key":"gala","sections":[{"name":"A","category":"stalls","rows":[{"name":"1","seats":10}]}],"areas":[{"name":"Floor","category":"standing","capacity":5}]}`
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	admin("event gala has 15 places", "create-event", file)
	admin("gala", "events")
	admin("section A", "event", "gala")
	admin("directory", "cluster")
	secret := strings.TrimSpace(admin("", "add-key", "boss", "operate"))
	key = []string{"--key", secret}
	admin("boss", "keys")
	admin("", "delete-event", "gala")
	admin("[]", "events", "--json")
	admin("", "drop-key", "boss")
}
