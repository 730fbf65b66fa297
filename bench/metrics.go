package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ServerFigures are what a node says of itself over a run.
type ServerFigures struct {
	ResidentMiB float64 `json:"resident_mib"` // at the end
	CPUSeconds  float64 `json:"cpu_s"`        // spent during the run
	Snapshots   int64   `json:"snapshots"`    // taken during the run
	Entries     int64   `json:"log_entries"`  // applied during the run
}

const scrapeTimeout = 10 * time.Second

// scrape reads a node's Prometheus metrics, summed over labels.
func scrape(ctx context.Context, url string) (map[string]float64, error) {
	if url == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s answered %s", url, resp.Status)
	}
	return parseMetrics(resp.Body)
}

func parseMetrics(r io.Reader) (map[string]float64, error) {
	sums := make(map[string]float64)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if at < 0 {
			return nil, fmt.Errorf("metrics: cannot read line %q", line)
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: cannot read line %q: %w", line, err)
		}
		name, _, _ := strings.Cut(line[:at], "{")
		sums[name] += value
	}
	return sums, lines.Err()
}

func serverFigures(before, after map[string]float64) *ServerFigures {
	if after == nil {
		return nil
	}
	return &ServerFigures{
		ResidentMiB: after["process_resident_memory_bytes"] / (1 << 20),
		CPUSeconds:  after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"],
		Snapshots:   int64(after["usher_group_snapshots_total"] - before["usher_group_snapshots_total"]),
		Entries:     int64(after["usher_group_entries_total"] - before["usher_group_entries_total"]),
	}
}
