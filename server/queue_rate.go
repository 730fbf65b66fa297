package server

import (
	"math"
	"time"

	"github.com/usher-seats/usher/wire"
)

// What visitors are told to expect is an estimate and says so: nothing is decided by
// it. It is made of a few numbers that everybody gets, so that a page computes its
// own visitor's share without asking.

const (
	rateSpan    = 30 * time.Second // that a measured rate is an average over
	rateEvery   = time.Second      // between two samples
	rateLeast   = 2 * time.Second  // of measuring before a rate is believed
	rateSamples = int(rateSpan/rateEvery) + 1

	// What is assumed of visitors before there were any counts as much as this many
	// of them.
	priorVisitors = 10
	// priorSeats is how many seats a visitor books who has come in: assumed.
	priorSeats = 2.0
)

// A rateSample is how far a room was at a time of the event.
type rateSample struct {
	now     wire.Millis
	serving uint64
	calling bool // it was open and somebody waited
}

// A rateMeter measures how fast a room calls visitors while some wait. Its owner is
// whoever holds the lock of the frame it belongs to.
type rateMeter struct {
	room    wire.RoomID
	samples []rateSample // the oldest first; at most rateSamples
}

// add notes what a room says of itself.
func (m *rateMeter) add(info *wire.QueueInfo) {
	last := len(m.samples) - 1
	switch {
	case info.Room != m.room, last >= 0 && (info.Now < m.samples[last].now || info.Serving < m.samples[last].serving):
		m.room, m.samples = info.Room, m.samples[:0] // another room, or another leader's view
	case last >= 0 && time.Duration(info.Now-m.samples[last].now)*time.Millisecond < rateEvery:
		return
	}
	if len(m.samples) == rateSamples {
		m.samples = append(m.samples[:0], m.samples[1:]...)
	}
	calling := info.State == wire.QueueOpen && info.Issued > info.Serving
	m.samples = append(m.samples, rateSample{info.Now, info.Serving, calling})
}

// perSecond is how many visitors per second were called while some waited; false if
// that has not been seen for long enough.
func (m *rateMeter) perSecond() (rate float64, measured bool) {
	var called uint64
	var over time.Duration
	for i := 1; i < len(m.samples); i++ {
		from, to := m.samples[i-1], m.samples[i]
		age := time.Duration(m.samples[len(m.samples)-1].now-from.now) * time.Millisecond
		if from.calling && to.calling && age <= rateSpan {
			called += to.serving - from.serving
			over += time.Duration(to.now-from.now) * time.Millisecond
		}
	}
	if over < rateLeast {
		return 0, false
	}
	return float64(called) / over.Seconds(), true
}

// An outlook is what a room's visitors may expect.
type outlook struct {
	measured  float64 // visitors called per second; 0: not measured
	msPer     float64 // milliseconds between two calls
	seats     float64 // that a visitor who comes in books
	show      float64 // share of those called who come
	perSecond float64 // the operator's rate
}

func (m *rateMeter) outlook(info *wire.QueueInfo) outlook {
	c := &info.Config
	o := outlook{perSecond: float64(c.Rate) / 1000}
	fastest := 1 / o.perSecond
	// Even if nobody leaves early, all who are inside have left after a visit.
	slowest := max(fastest, float64(c.Grace+c.PassTTL)/1000/float64(c.Limit))
	pace := fastest
	if rate, ok := m.perSecond(); ok {
		o.measured = rate
		pace = min(max(1/rate, fastest), slowest) // 1/0 is +Inf
	}
	o.msPer = pace * 1000
	called := info.Redeemed + info.Lapsed
	o.show = float64(info.Redeemed+priorVisitors) / float64(called+priorVisitors)
	visits := float64(info.Redeemed) - float64(info.Inside)
	o.seats = (float64(info.Booked) + priorSeats*priorVisitors) / (max(visits, 0) + priorVisitors)
	if most := c.SeatsPerPass; most > 0 {
		o.seats = min(o.seats, float64(most))
	}
	return o
}

// wait is how long it takes until a number is called that has ahead before it.
func (o *outlook) wait(ahead uint64) time.Duration {
	ms := float64(ahead) * o.msPer
	return time.Duration(min(ms, float64(math.MaxInt64/int64(time.Millisecond)))) * time.Millisecond
}

// chance is the share of what is left for the next ahead+1 visitors, and for those
// inside, that there are seats for: 1 if there are enough for all of them.
func (o *outlook) chance(info *wire.QueueInfo, ahead uint64) float64 {
	visitors := (float64(ahead)+1+float64(info.Outstanding))*o.show + float64(info.Inside)
	return min(1, float64(info.Free)/(visitors*o.seats))
}
