package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
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
		Data: t.TempDir(), Listen: "127.0.0.1:0", HTTP: server.Off, Admin: "127.0.0.1:0", Peer: "127.0.0.1:0",
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
				Workload: name, Addr: n.Addr(), Metrics: "http://" + n.AdminAddr() + "/metrics",
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
