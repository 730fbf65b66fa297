package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/usher-seats/usher/client"
)

// Options of a run. The zero value of a field means its default.
type Options struct {
	Workload string         // one of Workloads
	Addr     string         // a node's binary listener
	HTTP     string         // URL of its HTTP frontend; for maphttp only
	Metrics  string         // URL of the node's Prometheus metrics; empty: no server figures
	Client   client.Options // key, TLS
	Conns    int            // connections; default 16
	Depth    int            // requests in flight on each; default depends on the workload
	Duration time.Duration  // of the measurement; default 10 s
	Seats    int            // of an event, in rows of 50; default 50,000
	Seed     uint64         // of all that is random; default 1
	Progress io.Writer      // where a progress bar goes; nil: nowhere
}

const (
	defaultConns    = 16
	defaultDuration = 10 * time.Second
	defaultSeats    = 50_000

	maxConns = 10_000
	maxDepth = 16_384 // what a server accepts unanswered on a connection
)

// A workload is a way of putting load on a cluster, by name.
type workload struct {
	name  string
	about string
	depth int // default requests in flight per connection
	stage func(*stage) (show, error)
}

var workloads = []workload{
	{"hold", "hold 2 neighbouring seats of an event; the next event when it is full", 64, newHoldShow},
	{"cycle", "hold 2 neighbouring seats and confirm them; the next event when it is full", 64, newCycleShow},
	{"stampede", "hold 2 random seats of an event that is 99.9 % taken", 512, newStampedeShow},
	{"best", "hold the best 4 together in a map 60 % full at random, give them back later", 64, newBestShow},
	{"map", "read the whole seat map of an event", 8, newMapShow},
	{"maphttp", "read the whole seat map by HTTP, packed and uncached, beside Redis", 8, newMapHTTPShow},
}

// Workloads lists the names of all workloads, each with a line about it.
func Workloads() []string {
	var lines []string
	for _, w := range workloads {
		lines = append(lines, fmt.Sprintf("%-9s %s", w.name, w.about))
	}
	return lines
}

func findWorkload(name string) (workload, error) {
	i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })
	if i < 0 {
		return workload{}, fmt.Errorf("no workload %q; there are:\n  %s", name, strings.Join(Workloads(), "\n  "))
	}
	return workloads[i], nil
}

// Check refuses options that Run would, but for the address.
func (o Options) Check() error {
	w, err := findWorkload(o.Workload)
	if err != nil {
		return err
	}
	if o.Addr == "" {
		o.Addr = "to be known"
	}
	_, err = o.withDefaults(w)
	return err
}

// withDefaults fills what is zero and refuses what cannot be.
func (o Options) withDefaults(w workload) (Options, error) {
	if o.Conns == 0 {
		o.Conns = defaultConns
	}
	if o.Depth == 0 {
		o.Depth = w.depth
	}
	if o.Duration == 0 {
		o.Duration = defaultDuration
	}
	if o.Seats == 0 {
		o.Seats = defaultSeats
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	switch {
	case o.Addr == "":
		return o, fmt.Errorf("no address to put load on")
	case o.Conns < 1 || o.Conns > maxConns:
		return o, fmt.Errorf("%d connections: want 1 to %d", o.Conns, maxConns)
	case o.Depth < 1 || o.Depth > maxDepth:
		return o, fmt.Errorf("%d requests in flight: want 1 to %d", o.Depth, maxDepth)
	case o.Seats < 1_000 || o.Seats > 200_000 || o.Seats%rowSeats != 0:
		return o, fmt.Errorf("%d seats: want 1,000 to 200,000 in rows of %d", o.Seats, rowSeats)
	case o.Duration < 0:
		return o, fmt.Errorf("a run of %v", o.Duration)
	}
	return o, nil
}
