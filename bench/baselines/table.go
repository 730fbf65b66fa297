package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// A report is all that a comparison found.
type report struct {
	StartedAt time.Time `json:"started_at"`
	Cores     int       `json:"cores"`
	LoadAvg   string    `json:"load_average_before"` // of the machine: what else went on
	HugePages bool      `json:"postgres_has_huge_pages"`
	Seconds   float64   `json:"seconds_of_each_run"`
	Runs      int       `json:"runs"`
	Cells     []*cell   `json:"cells"`
}

func newReport(o options) *report {
	return &report{
		StartedAt: time.Now().UTC().Truncate(time.Second), Cores: runtime.NumCPU(), LoadAvg: loadAverage(),
		Seconds: o.duration.Seconds(), Runs: o.runs,
	}
}

// loadAverage is how many processes have wanted a core lately; empty if the system
// does not say.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func (r *report) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// writeTable writes one table that reads well in a terminal and in Markdown: a row
// for each system, and for each workload how much it does, how far its runs were
// apart, how many times as much Usher does, and what an operation costs the server.
func (r *report) writeTable(w io.Writer, o options) error {
	head := append([]string{"operations/s"}, o.workloads...)
	rows := [][]string{head}
	for _, s := range o.systems {
		row := []string{s.name + ", " + s.load.String()}
		for _, workload := range o.workloads {
			row = append(row, r.entry(s, workload))
		}
		rows = append(rows, row)
	}
	width := make([]int, len(head))
	for _, row := range rows {
		for i, text := range row {
			width[i] = max(width[i], len([]rune(text)))
		}
	}
	for i, row := range rows {
		fmt.Fprintln(w, line(row, width))
		if i == 0 {
			fmt.Fprintln(w, rule(width))
		}
	}
	if !r.HugePages {
		fmt.Fprintf(w, "\nPostgreSQL had no huge pages (see vm.nr_hugepages; root gets them from this program), which costs it up to half of what it can do.\n")
	}
	_, err := fmt.Fprintf(w, "\n%d runs of %v s each, medians, ± half of the distance between most and least; ×: how many times as much %s does; µs: processor time of the server, or of all three, for an operation. %d cores, clients included; load average before: %s.\nEvery audit passed.\n",
		r.Runs, r.Seconds, yardstick, r.Cores, r.LoadAvg)
	return err
}

func (r *report) entry(s system, workload string) string {
	for _, c := range r.Cells {
		if c.System != s.name || c.Workload != workload {
			continue
		}
		text := fmt.Sprintf("%s ±%.0f %%", thousands(c.Median), 50*c.Spread)
		if c.Ratio > 0 {
			text += fmt.Sprintf(" %s×", short(c.Ratio))
		}
		text += fmt.Sprintf(" %s µs", short(c.Micros))
		if l := s.loadFor(workload); l != s.load {
			text += fmt.Sprintf(" (%v)", l)
		}
		return text
	}
	return "–"
}

func line(row []string, width []int) string {
	var b strings.Builder
	for i, text := range row {
		pad := strings.Repeat(" ", width[i]-len([]rune(text)))
		if i == 0 {
			text += pad
		} else {
			text = pad + text
		}
		b.WriteString("| " + text + " ")
	}
	return b.String() + "|"
}

func rule(width []int) string {
	var b strings.Builder
	for i, n := range width {
		if i == 0 {
			b.WriteString("|" + strings.Repeat("-", n+2))
		} else {
			b.WriteString("|" + strings.Repeat("-", n+1) + ":")
		}
	}
	return b.String() + "|"
}

// short writes a number with two digits or all before the point: 0.93, 5.2, 132.
func short(x float64) string {
	switch {
	case x < 1:
		return fmt.Sprintf("%.2f", x)
	case x < 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}

// thousands writes 1234567 as 1,234,567.
func thousands(x float64) string {
	s := fmt.Sprintf("%.0f", x)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
