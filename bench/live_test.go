package bench_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/bench"
	"github.com/usher-seats/usher/server"
)

// TestLive has a small crowd watch a real node, over both transports. The audit fails
// if anybody is not told of a change.
func TestLive(t *testing.T) {
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
	for _, ws := range []bool{false, true} {
		r, err := bench.Live(t.Context(), bench.LiveOptions{
			Options: bench.Options{Addr: n.Addr(), Conns: 2, Depth: 4, Duration: 300 * time.Millisecond, Seats: 2_000},
			HTTP:    []string{n.HTTPAddr()}, Metric: []string{"http://" + n.AdminAddr() + "/metrics"},
			Subscribers: 60, Changes: 200, WebSocket: ws, NoHolds: ws,
		})
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK() || r.Lost != 0 {
			t.Errorf("audit %s, %d lost", r.Audit, r.Lost)
		}
		parts := 3
		if ws {
			parts = 1
		}
		if len(r.Parts) != parts {
			t.Fatalf("%d parts, want %d", len(r.Parts), parts)
		}
		for _, p := range r.Parts {
			if p.Subscribers && (p.FramesPerS <= 0 || p.DeliveredPS <= 0 || p.ChangesPerS <= 0 || p.LastP99Ms < p.P50Ms) {
				t.Errorf("%+v", p)
			}
			if strings.Contains(p.Name, "holds") && p.HoldsPerSecond <= 0 {
				t.Errorf("%s: no holds", p.Name)
			}
		}
		var text bytes.Buffer
		if err := r.WriteTable(&text); err != nil || !strings.Contains(text.String(), "to the last one") {
			t.Errorf("%v: %s", err, text.String())
		}
	}
}

// TestLiveRefuses proves that a crowd that is refused, and seats that are too few,
// are told.
func TestLiveRefuses(t *testing.T) {
	n := startNode(t) // without HTTP
	o := bench.LiveOptions{Options: bench.Options{Addr: n.Addr(), Duration: time.Second, Seats: 2_000}, HTTP: []string{"127.0.0.1:1"}}
	if _, err := bench.Live(t.Context(), o); err == nil || !strings.Contains(err.Error(), "need") {
		t.Errorf("too few seats: %v", err)
	}
	o.Changes, o.Subscribers, o.NoHolds = 10, 5, true
	if _, err := bench.Live(t.Context(), o); err == nil || !strings.Contains(err.Error(), "connect") {
		t.Errorf("nobody listens: %v", err)
	}
}
