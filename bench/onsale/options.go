package onsale

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/usher-seats/usher/bench/scenario"
	"github.com/usher-seats/usher/client"
)

// Options of a run.
type Options struct {
	Scenario *scenario.Scenario
	Addrs    []string       // nodes' binary listeners, at least one; the others are learned
	HTTP     []string       // base URLs of the nodes' HTTP frontends, such as http://127.0.0.1:8080; needed for carriers.http and streams
	Metrics  []string       // URLs of the nodes' metrics; none: no server figures
	Client   client.Options // key, TLS
	Progress io.Writer      // where the progress bar goes; nil: nowhere
	Log      io.Writer      // where connections that break are told; nil: nowhere
}

const (
	// lanes is into how many parts the crowd is divided: senders and readers of
	// each share a lock. Each writes to each node, so more lanes mean more and smaller
	// writes.
	lanes = 2

	// pace is how often a lane looks who is due. It counts as latency.
	pace = 2 * time.Millisecond

	// drainTime is how long a run waits, after its end, without any answer coming.
	// As long as some come it goes on until all users who woke have been served.
	drainTime = 60 * time.Second

	// headStart is the time between the last preparation and the first arrival.
	headStart = 50 * time.Millisecond
)

// Check refuses what Run would, but for the addresses.
func (o *Options) Check() error {
	if o.Scenario == nil {
		return errors.New("there is no scenario")
	}
	return o.Scenario.Check()
}

func (o *Options) check() error {
	if err := o.Check(); err != nil {
		return err
	}
	c := o.Scenario.Carriers
	if len(o.Addrs) == 0 {
		return errors.New("no address to put load on")
	}
	if len(o.HTTP) == 0 && c.HTTP+c.SSE+c.WebSocket > 0 {
		return fmt.Errorf("the scenario wants %.1f %% of its users over HTTP, and no HTTP address is given", 100*(c.HTTP+c.SSE+c.WebSocket))
	}
	return nil
}
