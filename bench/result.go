package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/usher-seats/usher/wire"
)

// A Result is what a run measured.
type Result struct {
	Workload      string           `json:"workload"`
	Conns         int              `json:"conns"`
	Depth         int              `json:"depth"`
	Seconds       float64          `json:"seconds"`
	Operations    int64            `json:"operations"`
	OpsPerSecond  float64          `json:"ops_per_s"`
	Requests      int64            `json:"requests"` // an operation may take more than one
	P50Micros     int64            `json:"p50_us"`   // of a request, closed loop
	P90Micros     int64            `json:"p90_us"`
	P99Micros     int64            `json:"p99_us"`
	P999Micros    int64            `json:"p999_us"`
	MaxMicros     int64            `json:"max_us"`
	Errors        int64            `json:"errors"` // answers by which the system did not decide
	Answers       map[string]int64 `json:"answers"`
	Audit         string           `json:"audit"` // "ok", or "failed: " and what broke
	Server        *ServerFigures   `json:"server,omitempty"`
	Cores         int              `json:"cores"`
	StartedAt     time.Time        `json:"started_at"`
	SeatsPerEvent int              `json:"seats_per_event"`
	RequestedSpan string           `json:"duration"`
	Beside        []Beside         `json:"beside,omitempty"` // measured in the same run
	Notes         []string         `json:"notes,omitempty"`  // what could not be measured, and why
}

// Beside is another server that was asked the same by the same client, by turns
// with the node.
type Beside struct {
	Name         string  `json:"name"`
	Operations   int64   `json:"operations"`
	OpsPerSecond float64 `json:"ops_per_s"`
	P50Micros    int64   `json:"p50_us"`
	P99Micros    int64   `json:"p99_us"`
	Ratio        float64 `json:"ratio"` // operations/s of the node for one of this server
}

func newResult(o Options) *Result {
	return &Result{
		Workload:      o.Workload,
		Conns:         o.Conns,
		Depth:         o.Depth,
		Answers:       make(map[string]int64),
		Cores:         runtime.NumCPU(),
		StartedAt:     time.Now().UTC().Truncate(time.Second),
		SeatsPerEvent: o.Seats,
		RequestedSpan: o.Duration.String(),
	}
}

func (r *Result) add(p *player) {
	r.Operations += p.operations
	r.Requests += p.requests
	for i, n := range p.statuses {
		if n == 0 {
			continue
		}
		status := wire.Status(i)
		r.Answers[status.String()] += n
		if !status.Decided() {
			r.Errors += n
		}
	}
}

func (r *Result) finish(elapsed time.Duration, latency *hdrhistogram.Histogram) {
	r.Seconds = elapsed.Seconds()
	r.OpsPerSecond = float64(r.Operations) / r.Seconds
	r.P50Micros = latency.ValueAtQuantile(50)
	r.P90Micros = latency.ValueAtQuantile(90)
	r.P99Micros = latency.ValueAtQuantile(99)
	r.P999Micros = latency.ValueAtQuantile(99.9)
	r.MaxMicros = latency.Max()
}

// OK reports whether the run stands: its audit passed and every request was
// decided.
func (r *Result) OK() bool { return r.Audit == "ok" }

// WriteJSON writes the result as one JSON object.
func (r *Result) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteTable writes the result for people.
func (r *Result) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "workload\t%s, %d × %d, %.1f s on %d cores, client included\n", r.Workload, r.Conns, r.Depth, r.Seconds, r.Cores)
	fmt.Fprintf(tw, "operations\t%s/s  (%s in %s requests)\n", thousands(int64(r.OpsPerSecond)), thousands(r.Operations), thousands(r.Requests))
	fmt.Fprintf(tw, "latency\tp50 %s  p90 %s  p99 %s  p99.9 %s  max %s\n",
		micros(r.P50Micros), micros(r.P90Micros), micros(r.P99Micros), micros(r.P999Micros), micros(r.MaxMicros))
	fmt.Fprintf(tw, "answers\t%s\n", r.answerLine())
	fmt.Fprintf(tw, "errors\t%d\n", r.Errors)
	if s := r.Server; s != nil {
		fmt.Fprintf(tw, "server\t%.0f MiB resident, %.1f cores, %d snapshots during the run\n", s.ResidentMiB, s.CPUSeconds/r.Seconds, s.Snapshots)
	}
	for _, b := range r.Beside {
		fmt.Fprintf(tw, "beside\t%s: %s/s  p50 %s  p99 %s; the node does %.2f of one\n",
			b.Name, thousands(int64(b.OpsPerSecond)), micros(b.P50Micros), micros(b.P99Micros), b.Ratio)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(tw, "note\t%s\n", note)
	}
	fmt.Fprintf(tw, "audit\t%s\n", r.Audit)
	return tw.Flush()
}

func (r *Result) answerLine() string {
	var parts []string
	for code, n := range r.Answers {
		parts = append(parts, fmt.Sprintf("%s %s", code, thousands(n)))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func micros(n int64) string {
	return (time.Duration(n) * time.Microsecond).String()
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
