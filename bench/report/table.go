package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteTable writes the result for people.
func (r *Result) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "scenario\t%s: %s\n", r.Scenario, r.About)
	fmt.Fprintf(tw, "on-sale\t%s users, %s × %s seats, %.4g s of it in a second, %.1f s and %.1f s of audit\n",
		thousands(int64(r.Users)), thousands(int64(r.Events)), thousands(int64(r.SeatsPerEvent)), r.Compression, r.Seconds, r.AuditSeconds)
	fmt.Fprintf(tw, "requests\t%s, %.2f for a user, %s/s, in the busiest second %s\n",
		thousands(r.Operations), r.RequestsPerUser, thousands(int64(r.OpsPerSecond)), thousands(r.PeakPerSecond))
	fmt.Fprintf(tw, "latency\tp50 %s  p90 %s  p99 %s  p99.9 %s  max %s, from when they were meant to be sent\n",
		micros(r.P50Micros), micros(r.P90Micros), micros(r.P99Micros), micros(r.P999Micros), micros(r.MaxMicros))
	fmt.Fprintf(tw, "errors\t%s\n", r.mishapLine())
	fmt.Fprintf(tw, "load generator\t%.0f MiB, %.1f cores\n", r.Load.PeakMiB, r.Load.CPUSeconds/r.Seconds)
	for _, n := range r.Nodes {
		fmt.Fprintf(tw, "%s\t%.0f MiB, %.1f cores, %s log entries\n", n.Name, n.PeakMiB, n.CPUSeconds/r.Seconds, thousands(n.Entries))
	}
	fmt.Fprintf(tw, "machine\t%s, %d cores, %.0f GiB, load %s before\n", r.Machine.CPU, r.Machine.Cores, r.Machine.MemoryGiB, r.Machine.LoadAvg)
	for _, n := range r.Notes {
		fmt.Fprintf(tw, "note\t%s\n", n)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(tw, "\nasked\tover\ttimes\tp50\tp99\tp99.9\tmax\n")
	for _, o := range r.Ops {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.Name, o.Carrier, thousands(o.Count), micros(o.P50), micros(o.P99), micros(o.P999), micros(o.Max))
	}
	fmt.Fprintf(tw, "\nof the users\t\n")
	for _, c := range r.Outcomes {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", c.Name, thousands(c.Count), c.About)
	}
	fmt.Fprintf(tw, "\naudit\tlooked at\tbroken\n")
	for _, rule := range r.Rules {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%s\n", rule.Name, thousands(rule.Checked), rule.Broken, rule.Promise)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\naudit: %s\n", r.Audit)
	return err
}

func (r *Result) mishapLine() string {
	if len(r.Mishaps) == 0 {
		return "none"
	}
	var parts []string
	for _, m := range r.Mishaps {
		parts = append(parts, fmt.Sprintf("%s %s %s", m.Op, m.Status, thousands(m.Count)))
	}
	return strings.Join(parts, ", ") + "; all asked again"
}

func micros(n int64) string {
	d := time.Duration(n) * time.Microsecond
	switch {
	case d >= time.Second:
		return d.Round(time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.String()
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
