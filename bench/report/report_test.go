package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usher-seats/usher/bench/audit"
)

func sample() *Result {
	return &Result{
		Workload: "onsale", Scenario: "stadium", About: "a </script> sale", Users: 1_234_567, Audit: "ok", WaitingRoom: true,
		OpsPerSecond: 1000, P50Micros: 100, P99Micros: 20_000, P999Micros: 2_000_000, Operations: 5000, Seconds: 5, RequestsPerUser: 3.5,
		Ops:     []Op{{Name: "join", Carrier: "binary", Count: 7, P99: 300, Curve: [][2]float64{{0, 1}, {50, 2}, {100, 3}}}},
		Mishaps: []Mishap{{"join", "overloaded", 3}},
		Rules:   []audit.Rule{{Name: "seat", Promise: "no seat twice", Checked: 9}},
		Nodes:   []Node{{Name: "node 1", CPUSeconds: 2}},
		Series:  Series{Second: []float64{0, 1}, Arrivals: []float64{5, 6}, NodeCPU: [][]float64{{1, 2}}},
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1,234,567 users", "3.50 for a user", "p99.9 2s", "join overloaded 3; all asked again", "seat", "audit: ok"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, b.String())
		}
	}
}

// The page loads nothing from elsewhere, and text from outside cannot break out of
// where it stands.
func TestPageStandsAlone(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, never := range []string{" src=", "href=", "@import", "url(", "a </script>"} {
		if strings.Contains(text, never) {
			t.Errorf("the page has %q", never)
		}
	}
	if n := strings.Count(text, "</script>"); n != 3 {
		t.Errorf("%d ends of scripts", n)
	}
	_, data, _ := strings.Cut(text, `id="data">`)
	data, _, _ = strings.Cut(data, "</script>")
	var back Result
	if err := json.Unmarshal([]byte(data), &back); err != nil || back.About != "a </script> sale" {
		t.Errorf("the page's data: %v, %q", err, back.About)
	}
}

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, change func(r *Result)) string {
		r := sample()
		change(r)
		var b bytes.Buffer
		if err := r.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := write("a.json", func(*Result) {})
	b := write("b.json", func(r *Result) { r.OpsPerSecond, r.Ops[0].P99, r.Audit = 2500, 600, "failed: seat" })
	other := write("c.json", func(r *Result) { r.Workload, r.Scenario = "hold", "" })
	var out bytes.Buffer
	if err := Compare(&out, a, b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"operations/s 1,000 2,500 2.50", "binary join p99, µs 300 600 2.00", "audit ok failed"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("the comparison has no %q:\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := Compare(&out, a, other); err != nil || !strings.Contains(out.String(), "different workloads") {
		t.Errorf("%v\n%s", err, out.String())
	}
	nothing := filepath.Join(dir, "d.json")
	if err := os.WriteFile(nothing, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Compare(&out, a, nothing); err == nil || !strings.Contains(err.Error(), "is no result") {
		t.Error(err)
	}
}
