package report

import (
	"encoding/json"
	"io"
	"time"

	"github.com/usher-seats/usher/bench/audit"
)

// A Result is what a run of an on-sale found. Its first fields have the names that
// those of every workload have.
type Result struct {
	Workload     string  `json:"workload"` // "onsale"
	OpsPerSecond float64 `json:"ops_per_s"`
	P50Micros    int64   `json:"p50_us"` // of all requests, from when they were meant to be sent
	P90Micros    int64   `json:"p90_us"`
	P99Micros    int64   `json:"p99_us"`
	P999Micros   int64   `json:"p999_us"`
	MaxMicros    int64   `json:"max_us"`
	Errors       int64   `json:"errors"` // answers by which the system did not decide, repeated until it did
	Audit        string  `json:"audit"`  // "ok", or "failed: " and what broke

	Scenario        string    `json:"scenario"`
	About           string    `json:"about"`
	Users           int       `json:"users"`
	Events          int       `json:"events"`
	SeatsPerEvent   int       `json:"seats_per_event"`
	WaitingRoom     bool      `json:"waiting_room"`
	Seed            uint64    `json:"seed"`
	Compression     float64   `json:"compression"` // seconds of the on-sale in a second of the run
	Opening         float64   `json:"opening_s"`   // of the run
	Seconds         float64   `json:"seconds"`     // of the run, to the last answer
	AuditSeconds    float64   `json:"audit_s"`
	Operations      int64     `json:"operations"` // answered requests
	RequestsPerUser float64   `json:"requests_per_user"`
	PeakPerSecond   int64     `json:"peak_ops_per_s"` // in the busiest second
	StartedAt       time.Time `json:"started_at"`

	Ops      []Op         `json:"ops"`
	Mishaps  []Mishap     `json:"mishaps"`
	Outcomes []Count      `json:"outcomes"` // what became of users
	Rules    []audit.Rule `json:"rules"`
	Fairness Fairness     `json:"fairness"`
	Machine  Machine      `json:"machine"`
	Nodes    []Node       `json:"nodes"`
	Load     Load         `json:"load_generator"`
	Series   Series       `json:"series"`
	Notes    []string     `json:"notes,omitempty"`
}

// An Op is one kind of request over one carrier.
type Op struct {
	Name    string       `json:"name"`
	Carrier string       `json:"carrier"` // binary or http
	Count   int64        `json:"count"`
	P50     int64        `json:"p50_us"`
	P90     int64        `json:"p90_us"`
	P99     int64        `json:"p99_us"`
	P999    int64        `json:"p999_us"`
	Max     int64        `json:"max_us"`
	Curve   [][2]float64 `json:"curve"` // percentile and microseconds, as HdrHistogram spaces them
}

// A Mishap is an answer by which the system did not decide.
type Mishap struct {
	Op     string `json:"op"`
	Status string `json:"status"`
	Count  int64  `json:"count"`
}

// A Count is a number with its name and what it means.
type Count struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
	About string `json:"about"`
}

// Fairness compares the order in which people came with that in which they were
// let in. Points are a sample, evenly spaced.
type Fairness struct {
	// Early visitors: entry number against queue number. A fair draw has no
	// correlation.
	Early            [][2]float64 `json:"early"`
	EarlyCorrelation float64      `json:"early_correlation"`
	// Late visitors: the order of their joins, by when they were acknowledged,
	// against that of their numbers. First come, first served is 1.
	Late            [][2]float64 `json:"late"`
	LateCorrelation float64      `json:"late_correlation"`
	// Everybody who was let in: queue number against the moment, in seconds of the run.
	Admitted [][2]float64 `json:"admitted"`
}

// Machine is where all of it ran.
type Machine struct {
	CPU       string  `json:"cpu"`
	Cores     int     `json:"cores"`
	MemoryGiB float64 `json:"memory_gib"`
	System    string  `json:"system"`
	Go        string  `json:"go"`
	LoadAvg   string  `json:"load_average"` // before the run: what else was going on
}

// Node is what a node used.
type Node struct {
	Name        string  `json:"name"`
	CPUSeconds  float64 `json:"cpu_s"`
	PeakMiB     float64 `json:"peak_mib"`
	ResidentMiB float64 `json:"resident_mib"` // at the end
	Entries     int64   `json:"log_entries"`
	Snapshots   int64   `json:"snapshots"`
}

// Load is what the load generator used.
type Load struct {
	CPUSeconds float64 `json:"cpu_s"`
	PeakMiB    float64 `json:"peak_mib"`
	BytesUser  int     `json:"bytes_per_user"` // arrays and index
	Streams    int64   `json:"streams"`
	Frames     int64   `json:"stream_frames"`
}

// Series are the run over time, a value for each second of the run.
type Series struct {
	Second   []float64   `json:"second"`
	Arrivals []float64   `json:"arrivals"` // users
	Answers  []float64   `json:"answers"`
	P50      []float64   `json:"p50_us"`
	P99      []float64   `json:"p99_us"`
	Waiting  []float64   `json:"waiting"` // numbers that are issued and not called
	Calls    []float64   `json:"calls"`   // numbers called in the second
	Inside   []float64   `json:"inside"`
	Free     []float64   `json:"free"`
	Held     []float64   `json:"held"`
	Booked   []float64   `json:"booked"`
	NodeCPU  [][]float64 `json:"node_cpu"` // by node, in cores
	NodeMiB  [][]float64 `json:"node_mib"`
	LoadCPU  []float64   `json:"load_cpu"`
	LoadMiB  []float64   `json:"load_mib"`
}

// OK reports whether the run stands: its audit passed.
func (r *Result) OK() bool { return r.Audit == "ok" }

// WriteJSON writes the result as one JSON object.
func (r *Result) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(r)
}
