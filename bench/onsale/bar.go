package onsale

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
)

// A bar shows on a terminal how far the run is. Its methods belong to the goroutine
// of Run; a ticker of its own redraws.
type bar struct {
	run  *run
	bar  *progressbar.ProgressBar // nil: nothing is shown
	quit chan struct{}
	gone chan struct{}
}

const redrawEvery = 250 * time.Millisecond

func newBar(r *run) *bar {
	b := &bar{run: r, quit: make(chan struct{}), gone: make(chan struct{})}
	if r.o.Progress == nil {
		close(b.gone)
		return b
	}
	b.bar = progressbar.NewOptions64(r.end.Milliseconds(),
		progressbar.OptionSetWriter(r.o.Progress),
		progressbar.OptionSetDescription(r.s.Name+": set-up"),
		progressbar.OptionSetWidth(20),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionClearOnFinish(),
	)
	return b
}

func (b *bar) phase(what string) {
	if b.bar == nil {
		return
	}
	close(b.quit)
	<-b.gone
	b.bar.Describe(b.run.s.Name + ": " + what)
}

// start redraws until the next phase, or stop.
func (b *bar) start() {
	if b.bar == nil {
		return
	}
	go func() {
		defer close(b.gone)
		ticker := time.NewTicker(redrawEvery)
		defer ticker.Stop()
		var before sample
		for {
			select {
			case <-b.quit:
				return
			case <-ticker.C:
			}
			if x, ok := b.run.samples.newest(); ok && x.at > before.at {
				b.bar.Describe(b.line(before, x))
				before = x
			}
			// A terminal that cannot be written is no reason to stop the sale.
			_ = b.bar.Set64(min(b.run.now(), b.run.end).Milliseconds())
		}
	}()
}

// line says how the sale stands.
func (b *bar) line(before, x sample) string {
	rate := float64(x.requests-before.requests) / (x.at - before.at).Seconds()
	clock := time.Duration(float64(x.at)*b.run.s.Compression) - b.run.s.Arrivals.Before
	return fmt.Sprintf("%s %+4.0f min: %.0f requests/s, %d waiting, %d inside, %d booked",
		b.run.s.Name, clock.Minutes(), rate, x.waiting, x.inside, x.counts.Booked)
}

func (b *bar) stop() {
	if b.bar == nil {
		return
	}
	select {
	case <-b.quit:
	default:
		close(b.quit)
	}
	_ = b.bar.Finish() // likewise
}
