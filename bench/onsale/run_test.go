package onsale_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-seats/usher/bench/audit"
	"github.com/usher-seats/usher/bench/onsale"
	"github.com/usher-seats/usher/bench/report"
	"github.com/usher-seats/usher/bench/scenario"
	"github.com/usher-seats/usher/server"
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

// users is how many come in a test: with the race detector on a busy machine fewer.
func users() int {
	if testing.Short() {
		return 1_000
	}
	return 20_000
}

// compressions of the tests: the first that sells something will do. At 100 a grace of
// two minutes lasts for more than a second, and a machine may be busier than that.
var compressions = []float64{100, 30, 10}

// preset is a scenario that takes some seconds: people come and lose patience in a
// fraction of the time, and are called as much faster. Inside they hurry, but have
// all the time that they had.
func preset(t *testing.T, name string, fraction time.Duration, compression float64) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	s = s.Scale(users())
	s.Compression = compression
	for _, d := range []*time.Duration{
		&s.Arrivals.Before, &s.Arrivals.After, &s.Arrivals.Close, &s.Arrivals.HalfLife,
		&s.Crowd.AskWithin, &s.Crowd.PollEvery, &s.Crowd.Patience,
	} {
		*d /= fraction
	}
	const hurry = 5
	for _, d := range []*time.Duration{&s.Crowd.Reaction, &s.Visit.Think, &s.Visit.Again, &s.Visit.Pay, &s.Visit.Look} {
		*d /= hurry
	}
	s.Arrivals.Close += 2 * time.Second * time.Duration(compression) // of the run
	s.Room.PerMinute *= float64(fraction)
	return s
}

func play(t *testing.T, n *server.Node, o onsale.Options) *report.Result {
	t.Helper()
	o.Addrs, o.HTTP = []string{n.Addr()}, []string{"http://" + n.HTTPAddr()}
	o.Metrics = []string{"http://" + n.AdminAddr() + "/metrics"}
	r, err := onsale.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := r.WriteTable(&text); err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() || !r.OK() {
		t.Log(text.String())
	}
	if !r.OK() {
		t.Error(r.Audit)
	}
	return r
}

func outcome(t *testing.T, r *report.Result, name string) int64 {
	t.Helper()
	for _, c := range r.Outcomes {
		if c.Name == name {
			return c.Count
		}
	}
	t.Fatalf("the result does not say how many %s", name)
	return 0
}

func rule(t *testing.T, r *report.Result, name string) audit.Rule {
	t.Helper()
	for _, x := range r.Rules {
		if x.Name == name {
			return x
		}
	}
	t.Fatalf("the audit has no rule %q", name)
	return audit.Rule{}
}

// sell plays a preset, changed, until somebody has had the time to buy something.
func sell(t *testing.T, name string, fraction time.Duration, change func(*scenario.Scenario, *onsale.Options)) (*scenario.Scenario, *report.Result) {
	t.Helper()
	n := startNode(t)
	for _, compression := range compressions {
		s := preset(t, name, fraction, compression)
		o := onsale.Options{Scenario: s}
		change(s, &o)
		if r := play(t, n, o); outcome(t, r, "booked") > 0 || t.Failed() {
			return s, r
		}
	}
	t.Fatal("nobody booked anything")
	return nil, nil
}

// Every preset, small and fast, against a real node over all carriers: everybody
// comes, seats are sold, the audit passes and has looked at what there was. Short
// tests have one with a waiting room and one without.
func TestPresets(t *testing.T) {
	for name, fraction := range map[string]time.Duration{
		"stadium": 12, "arena": 6, "theatre-week": 4, "ten-stadium-day": 10,
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "stadium" && name != "theatre-week" {
				t.Skip("short")
			}
			s, r := sell(t, name, fraction, func(s *scenario.Scenario, _ *onsale.Options) {
				if s.Room.Enabled {
					s.Carriers = scenario.Carriers{HTTP: 0.05, SSE: 0.01, WebSocket: 0.01, Streams: 50}
				} else {
					s.Events.Count, s.Events.Seats = s.Events.Count/10, s.Events.Seats*10 // as many seats
				}
			})
			if n := outcome(t, r, "came"); n != int64(s.Users) {
				t.Errorf("%d of %d users came", n, s.Users)
			}
			if r.RequestsPerUser < 1 || r.P50Micros == 0 || r.Load.PeakMiB == 0 || len(r.Series.Second) == 0 {
				t.Errorf("%v requests for a user, median %d µs, %v MiB, %d seconds", r.RequestsPerUser, r.P50Micros, r.Load.PeakMiB, len(r.Series.Second))
			}
			looked := []string{"booking", "seat", "early", "records"}
			if s.Room.Enabled {
				looked = append(looked, "ticket", "order", "draw", "called", "limit", "pass")
				if r.Load.Streams == 0 || r.Load.Frames == 0 {
					t.Error("nothing was pushed to anybody")
				}
			}
			for _, name := range looked {
				if rule(t, r, name).Checked == 0 {
					t.Errorf("the rule %q looked at nothing", name)
				}
			}
		})
	}
}

// A brittle is a connection that breaks when so many bytes have come.
type brittle struct {
	net.Conn
	left *atomic.Int64
}

func (b brittle) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if b.left.Add(-int64(n)) < 0 {
		_ = b.Conn.Close() // to the other side it breaks, too
		return 0, errors.New("broken on purpose")
	}
	return n, err
}

// Connections that break all the time cost time and are counted, and nothing that
// was told is untrue.
func TestBrokenConnections(t *testing.T) {
	const bytesEach = 200_000
	_, r := sell(t, "arena", 6, func(s *scenario.Scenario, o *onsale.Options) {
		s.Carriers = scenario.Carriers{}
		o.Client.Dialer = func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			left := new(atomic.Int64)
			left.Store(bytesEach)
			return brittle{c, left}, nil
		}
	})
	if r.Errors == 0 || len(r.Mishaps) == 0 {
		t.Error("no connection broke")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	s := preset(t, "arena", 1, 100)
	for want, o := range map[string]onsale.Options{
		"no scenario":      {},
		"no address":       {Scenario: s},
		"no HTTP address":  {Scenario: s, Addrs: []string{"127.0.0.1:1"}},
		"users is 0":       {Scenario: &scenario.Scenario{Name: "x"}},
		"the run takes 5h": {Scenario: func() *scenario.Scenario { s := *s; s.Compression = 1; s.Arrivals.Close *= 9; return &s }()},
	} {
		if _, err := onsale.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want something about %q", err, want)
		}
	}
}
