package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// A LiveResult is what a measurement of live updates found.
type LiveResult struct {
	Workload           string     `json:"workload"`
	Transport          string     `json:"transport"`
	Subscribers        int        `json:"subscribers"`
	Nodes              int        `json:"nodes"`
	Cores              int        `json:"cores"`
	ArrivalSeconds     float64    `json:"arrival_s"`
	BytesPerSubscriber float64    `json:"bytes_per_subscriber"` // resident memory of the nodes
	Parts              []LivePart `json:"parts"`
	Lost               int        `json:"lost"`
	LostBecause        string     `json:"lost_because,omitempty"`
	Audit              string     `json:"audit"`
	StartedAt          time.Time  `json:"started_at"`
}

// A LivePart is one part of it. Latencies are from the acknowledgement of a change, in
// milliseconds: to each subscriber, and to the last one.
type LivePart struct {
	Name           string  `json:"name"`
	Subscribers    bool    `json:"subscribers"`
	Seconds        float64 `json:"seconds"`
	ChangesPerS    float64 `json:"changes_per_s"`
	HoldsPerSecond float64 `json:"holds_per_s,omitempty"`
	HoldP99Micros  int64   `json:"hold_p99_us,omitempty"`
	Audit          string  `json:"audit,omitempty"` // of the holds

	FramesPerS  float64 `json:"frames_per_s"` // made by a node
	DeliveredPS float64 `json:"delivered_per_s"`
	MegabytesPS float64 `json:"mb_per_s"`
	LiveCores   float64 `json:"live_cores"`   // that a node used for pushing
	ServerCores float64 `json:"server_cores"` // that all nodes used in all
	Skipped     int64   `json:"skipped"`
	Dropped     int64   `json:"dropped"`
	Resyncs     int64   `json:"resyncs"`
	P50Ms       int     `json:"p50_ms"`
	P99Ms       int     `json:"p99_ms"`
	LastP50Ms   int     `json:"last_p50_ms"`
	LastP99Ms   int     `json:"last_p99_ms"`
	CommitP99Ms int     `json:"commit_p99_ms"` // from sending a change to its acknowledgement
	Missed      int     `json:"missed"`        // changes that some subscriber was not told of in time

	changes []change
	seen    []Sighting
	framed  float64
}

func newLiveResult(o LiveOptions) *LiveResult {
	transport := "sse"
	if o.WebSocket {
		transport = "ws"
	}
	return &LiveResult{
		Workload: "live", Transport: transport, Subscribers: o.Subscribers, Nodes: len(o.HTTP), Cores: runtime.NumCPU(),
		StartedAt: time.Now().UTC().Truncate(time.Second), Audit: "ok",
	}
}

// figures are what the nodes say of a part.
func (p *LivePart) figures(before, after map[string]float64) {
	per := func(name string) float64 { return (after[name] - before[name]) / p.Seconds }
	p.framed = per("usher_live_frames_total")
	p.DeliveredPS = per("usher_live_frames_sent_total")
	p.MegabytesPS = per("usher_live_bytes_total") / 1e6
	p.LiveCores = per("usher_live_cpu_seconds_total")
	p.ServerCores = per("process_cpu_seconds_total")
	p.Skipped = int64(after["usher_live_frames_skipped_total"] - before["usher_live_frames_skipped_total"])
	p.Dropped = int64(after["usher_live_dropped_total"] - before["usher_live_dropped_total"])
	p.ChangesPerS = float64(len(p.changes)) / p.Seconds
}

// add takes what one crowd saw.
func (r *LiveResult) add(c *CrowdReport) {
	r.Lost += c.Lost
	if r.LostBecause == "" {
		r.LostBecause = c.Error
	}
	for _, part := range c.Parts {
		for i := range r.Parts {
			if p := &r.Parts[i]; p.Name == part.Name {
				p.seen = append(p.seen, part.Seen...)
				p.Resyncs += part.Resyncs
			}
		}
	}
}

// finish works out the latencies and whether everybody was told of everything.
func (r *LiveResult) finish() {
	for i := range r.Parts {
		p := &r.Parts[i]
		p.FramesPerS = p.framed / float64(r.Nodes)
		p.LiveCores /= float64(r.Nodes)
		p.commits()
		if p.Subscribers {
			p.latencies(r.Subscribers - r.Lost)
		}
		switch {
		case p.Audit != "" && p.Audit != "ok":
			r.Audit = p.Audit
		case p.Missed > 0:
			r.Audit = fmt.Sprintf("failed: in part %q %d changes did not reach everybody within %v of its end", p.Name, p.Missed, afterglow)
		}
	}
	if r.Lost > 0 {
		r.Audit = fmt.Sprintf("failed: %d streams ended early: %s", r.Lost, r.LostBecause)
	}
}

func (p *LivePart) commits() {
	var took []int
	for _, c := range p.changes {
		took = append(took, int(c.acked-c.sent))
	}
	slices.Sort(took)
	if n := len(took); n > 0 {
		p.CommitP99Ms = took[n*99/100]
	}
}

// latencies combines when changes were acknowledged with when subscribers were told:
// a sighting from one version to another is about all changes between.
func (p *LivePart) latencies(subscribers int) {
	slices.SortFunc(p.changes, func(a, b change) int { return int(int64(a.version) - int64(b.version)) })
	told := make([]int, len(p.changes)) // subscribers
	last := make([]int64, len(p.changes))
	var each tally
	for _, s := range p.seen {
		from := p.after(s.From)
		for i := from; i < p.after(s.To); i++ {
			late := s.First - p.changes[i].acked
			for ms, n := range s.At {
				if n > 0 {
					each.add(int(late)+ms, n)
					told[i] += n
				}
			}
			last[i] = max(last[i], s.First+int64(len(s.At)-1))
		}
	}
	var lasts tally
	for i, c := range p.changes {
		if told[i] < subscribers {
			p.Missed++
		}
		lasts.add(int(last[i]-c.acked), 1)
	}
	p.P50Ms, p.P99Ms = each.quantile(0.5), each.quantile(0.99)
	p.LastP50Ms, p.LastP99Ms = lasts.quantile(0.5), lasts.quantile(0.99)
}

// after is the index of the first change later than a version.
func (p *LivePart) after(version uint64) int {
	i, _ := slices.BinarySearchFunc(p.changes, version, func(c change, v uint64) int {
		if c.version <= v {
			return -1
		}
		return 1
	})
	return i
}

// A tally counts by milliseconds. Negative ones count as 0: a subscriber may hear of
// a change before the one who made it has its answer.
type tally struct {
	counts []int
	total  int
}

func (t *tally) add(ms, n int) {
	ms = max(0, ms)
	for len(t.counts) <= ms {
		t.counts = append(t.counts, make([]int, ms+1-len(t.counts))...)
	}
	t.counts[ms] += n
	t.total += n
}

func (t *tally) quantile(q float64) int {
	rank, sum := int(q*float64(t.total)), 0
	for ms, n := range t.counts {
		if sum += n; sum > rank {
			return ms
		}
	}
	return max(0, len(t.counts)-1)
}

// OK reports whether the run stands: everybody was told of every change.
func (r *LiveResult) OK() bool { return r.Audit == "ok" }

// WriteJSON writes the result as one JSON object.
func (r *LiveResult) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteTable writes the result for people.
func (r *LiveResult) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "live\t%s subscribers by %s at %d nodes on %d cores, client included; they came in %.1f s\n",
		thousands(int64(r.Subscribers)), r.Transport, r.Nodes, r.Cores, r.ArrivalSeconds)
	fmt.Fprintf(tw, "memory\t%s bytes a subscriber on the server\n", thousands(int64(r.BytesPerSubscriber)))
	for _, p := range r.Parts {
		fmt.Fprintf(tw, "%s\t%.0f changes/s, acknowledged in p99 %d ms", p.Name, p.ChangesPerS, p.CommitP99Ms)
		if p.HoldsPerSecond > 0 {
			fmt.Fprintf(tw, "; %s holds/s, p99 %s", thousands(int64(p.HoldsPerSecond)), micros(p.HoldP99Micros))
		}
		fmt.Fprintln(tw)
		if !p.Subscribers {
			continue
		}
		fmt.Fprintf(tw, "\t%.2f frames/s at a node, %s delivered/s, %.0f MB/s; %.2f cores a node for pushing, %.1f for all the nodes do\n",
			p.FramesPerS, thousands(int64(p.DeliveredPS)), p.MegabytesPS, p.LiveCores, p.ServerCores)
		fmt.Fprintf(tw, "\tfrom acknowledgement to a subscriber p50 %d ms, p99 %d ms; to the last one p50 %d ms, p99 %d ms\n", p.P50Ms, p.P99Ms, p.LastP50Ms, p.LastP99Ms)
		fmt.Fprintf(tw, "\t%d frames skipped, %d subscribers dropped, %d resyncs\n", p.Skipped, p.Dropped, p.Resyncs)
	}
	fmt.Fprintf(tw, "audit\t%s\n", r.Audit)
	return tw.Flush()
}
