package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/bench"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/server"
	"github.com/usher-seats/usher/wire"
)

func startNode(t *testing.T) *server.Node {
	t.Helper()
	n, err := server.Start(t.Context(), server.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0",
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// Each workload runs against a real node, completes operations and passes its
// audit.
func TestWorkloads(t *testing.T) {
	n := startNode(t)
	for _, line := range bench.Workloads() {
		name, _, _ := strings.Cut(line, " ")
		t.Run(name, func(t *testing.T) {
			r, err := bench.Run(t.Context(), bench.Options{
				Workload: name, Addr: n.Addr(), HTTP: "http://" + n.HTTPAddr(), Metrics: "http://" + n.AdminAddr() + "/metrics",
				Conns: 3, Depth: 16, Seats: 2_000, Duration: 200 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			if !r.OK() || r.Operations == 0 || r.Errors != 0 || r.P50Micros == 0 || r.Server.ResidentMiB == 0 {
				t.Fatalf("%+v, server %+v", r, r.Server)
			}
			var text bytes.Buffer
			if err := r.WriteJSON(&text); err != nil {
				t.Fatal(err)
			}
			var fields map[string]any
			if err := json.Unmarshal(text.Bytes(), &fields); err != nil {
				t.Fatal(err)
			}
			for _, f := range []string{"workload", "ops_per_s", "p50_us", "p99_us", "p999_us", "errors", "audit"} {
				if _, ok := fields[f]; !ok {
					t.Errorf("the JSON has no field %q", f)
				}
			}
		})
	}
}

// Maps by HTTP are measured beside Redis, which answers the same bytes; without Redis
// the result says that the comparison is missing, and stands.
func TestMapHTTPBeside(t *testing.T) {
	n := startNode(t)
	run := func() *bench.Result {
		r, err := bench.Run(t.Context(), bench.Options{
			Workload: "maphttp", Addr: n.Addr(), HTTP: "http://" + n.HTTPAddr(), Conns: 2, Depth: 4, Seats: 2_000, Duration: 200 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	t.Run("with Redis", func(t *testing.T) {
		if _, err := exec.LookPath("redis-server"); err != nil {
			t.Skip("redis-server is not installed")
		}
		r := run()
		if len(r.Beside) != 1 || len(r.Notes) != 0 || r.Beside[0].Operations == 0 || r.Beside[0].Ratio <= 0 {
			t.Fatalf("beside %+v, notes %q", r.Beside, r.Notes)
		}
	})
	t.Run("without Redis", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		r := run()
		if len(r.Beside) != 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "redis-server is not installed") || r.Operations == 0 {
			t.Fatalf("beside %+v, notes %q", r.Beside, r.Notes)
		}
		var text bytes.Buffer
		if err := r.WriteTable(&text); err != nil || !strings.Contains(text.String(), r.Notes[0]) {
			t.Errorf("the table does not tell:\n%s", &text)
		}
	})
	for _, o := range []bench.Options{
		{Workload: "maphttp", Addr: n.Addr()},
		{Workload: "maphttp", Addr: n.Addr(), HTTP: "https://localhost"},
		{Workload: "maphttp", Addr: n.Addr(), HTTP: "http://" + n.HTTPAddr(), Depth: 1000},
	} {
		if _, err := bench.Run(t.Context(), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

// A whole sale: all seats go, each once.
func TestSellout(t *testing.T) {
	n := startNode(t)
	c, err := client.Dial(t.Context(), []string{n.Addr()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := bench.Sellout(t.Context(), c, bench.SelloutOptions{Seats: 2_000, Buyers: 16, HoldTTL: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Booked != 2_000 || r.Bookings == 0 || r.Abandoned == 0 || r.Released == 0 {
		t.Fatalf("%+v", r)
	}
	ev, err := c.Event(t.Context(), r.Event)
	if err != nil {
		t.Fatal(err)
	}
	info, err := ev.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Total != (wire.Counts{Booked: 2_000}) {
		t.Fatalf("counts %+v", info.Total)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []bench.Options{
		{Workload: "rest"},
		{Workload: "hold", Conns: -1},
		{Workload: "hold", Depth: 1 << 20},
		{Workload: "hold", Seats: 999},
		{Workload: "hold", Seats: 1_025},
		{Workload: "hold", Duration: -time.Second},
	} {
		if err := o.Check(); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
	if _, err := bench.Run(t.Context(), bench.Options{Workload: "hold"}); err == nil {
		t.Error("a run without an address was accepted")
	}
}
