package bench

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows on a terminal how far a run is. Its methods are called by the
// goroutine of Run; a ticker of its own redraws.
type progress struct {
	bar  *progressbar.ProgressBar // nil: nothing is shown
	name string
	quit chan struct{}
	gone chan struct{}
}

const redrawEvery = 200 * time.Millisecond

func startProgress(o Options, w workload) *progress {
	p := &progress{name: w.name, quit: make(chan struct{}), gone: make(chan struct{})}
	if o.Progress == nil {
		close(p.gone)
		return p
	}
	p.bar = progressbar.NewOptions64(int64(o.Duration/time.Millisecond),
		progressbar.OptionSetWriter(o.Progress),
		progressbar.OptionSetDescription(w.name+": set-up"),
		progressbar.OptionSetWidth(30),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionClearOnFinish(),
	)
	return p
}

func (p *progress) phase(what string) {
	if p.bar != nil {
		p.bar.Describe(p.name + ": " + what)
	}
}

// measure redraws until stop, with the rate so far.
func (p *progress) measure(d time.Duration, operations *atomic.Int64) {
	if p.bar == nil {
		return
	}
	start := time.Now()
	go func() {
		defer close(p.gone)
		ticker := time.NewTicker(redrawEvery)
		defer ticker.Stop()
		for {
			select {
			case <-p.quit:
				return
			case <-ticker.C:
			}
			elapsed := time.Since(start)
			if elapsed > d {
				continue // answers are still coming in, or the audit runs
			}
			rate := float64(operations.Load()) / elapsed.Seconds()
			p.bar.Describe(fmt.Sprintf("%s: %s/s", p.name, thousands(int64(rate))))
			// A terminal that cannot be written is no reason to stop measuring.
			_ = p.bar.Set64(int64(elapsed / time.Millisecond))
		}
	}()
}

func (p *progress) stop() {
	close(p.quit)
	if p.bar == nil {
		return
	}
	_ = p.bar.Finish()
}
