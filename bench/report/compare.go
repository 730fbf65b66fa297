package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// figures are what results of all workloads have in common.
type figures struct {
	Workload     string   `json:"workload"`
	Scenario     string   `json:"scenario"`
	OpsPerSecond *float64 `json:"ops_per_s"`
	P50          *float64 `json:"p50_us"`
	P99          *float64 `json:"p99_us"`
	P999         *float64 `json:"p999_us"`
	Errors       *float64 `json:"errors"`
	Audit        string   `json:"audit"`
	Users        float64  `json:"users"`
	Compression  float64  `json:"compression"`
	PerUser      float64  `json:"requests_per_user"`
	Ops          []Op     `json:"ops"`
}

// Compare writes what two results have in common, side by side, with the second's
// ratio to the first. The files are what --json wrote, of any workload.
func Compare(w io.Writer, a, b string) error {
	var sides [2]figures
	for i, path := range []string{a, b} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &sides[i]); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if sides[i].Workload == "" || sides[i].OpsPerSecond == nil {
			return fmt.Errorf("%s is no result: give what `usher bench … --json` wrote", path)
		}
	}
	x, y := &sides[0], &sides[1]
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "\t%s\t%s\tratio\t\n", filepath.Base(a), filepath.Base(b))
	fmt.Fprintf(tw, "workload\t%s\t%s\t\t\n", x.name(), y.name())
	line := func(name string, p, q *float64) {
		if p != nil && q != nil {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t\n", name, number(*p), number(*q), ratio(*p, *q))
		}
	}
	line("operations/s", x.OpsPerSecond, y.OpsPerSecond)
	line("p50, µs", x.P50, y.P50)
	line("p99, µs", x.P99, y.P99)
	line("p99.9, µs", x.P999, y.P999)
	line("errors", x.Errors, y.Errors)
	if x.Users > 0 && y.Users > 0 {
		line("users", &x.Users, &y.Users)
		line("compression", &x.Compression, &y.Compression)
		line("requests for a user", &x.PerUser, &y.PerUser)
	}
	for _, o := range x.Ops {
		for _, p := range y.Ops {
			if o.Name == p.Name && o.Carrier == p.Carrier {
				was, is := float64(o.P99), float64(p.P99)
				line(fmt.Sprintf("%s %s p99, µs", o.Carrier, o.Name), &was, &is)
			}
		}
	}
	fmt.Fprintf(tw, "audit\t%s\t%s\t\t\n", brief(x.Audit), brief(y.Audit))
	if err := tw.Flush(); err != nil {
		return err
	}
	if x.name() != y.name() {
		_, err := fmt.Fprintf(w, "\nThese are different workloads: their figures say nothing about each other.\n")
		return err
	}
	return nil
}

func (f *figures) name() string {
	if f.Scenario != "" {
		return f.Workload + " " + f.Scenario
	}
	return f.Workload
}

func number(v float64) string {
	if v == math.Trunc(v) || v >= 1000 {
		return thousands(int64(math.Round(v)))
	}
	return fmt.Sprintf("%.3g", v)
}

func ratio(a, b float64) string {
	if a == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", b/a)
}

// brief is the first word of an audit's outcome.
func brief(audit string) string {
	if audit == "ok" {
		return audit
	}
	return "failed"
}
