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

	// visitSpan is over about how long the time that visitors stay is an average.
	visitSpan = 5 * time.Minute
	// priorVisits is how much the assumed length of a visit counts: as this many.
	priorVisits = 2
	// priorStay is the share of a pass's life that a visitor is assumed to stay.
	priorStay = 0.25

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
	calling bool   // it was open and somebody waited
	within  uint64 // places taken, by those inside and for those called
}

// A rateMeter measures how fast a room calls visitors while some wait, and how long
// a visitor takes a place. Its owner is whoever holds the lock of the frame it
// belongs to.
type rateMeter struct {
	room    wire.RoomID
	samples []rateSample // the oldest first; at most rateSamples

	// Of the last few minutes, the older the less: seconds that places were taken, and
	// how many became free.
	stay, gone float64
}

// add notes what a room says of itself.
func (m *rateMeter) add(info *wire.QueueInfo) {
	last := len(m.samples) - 1
	switch {
	case info.Room != m.room, last >= 0 && (info.Now < m.samples[last].now || info.Serving < m.samples[last].serving):
		*m = rateMeter{room: info.Room, samples: m.samples[:0]} // another room, or another leader's view
	case last >= 0 && time.Duration(info.Now-m.samples[last].now)*time.Millisecond < rateEvery:
		return
	}
	if len(m.samples) == rateSamples {
		m.samples = append(m.samples[:0], m.samples[1:]...)
	}
	s := rateSample{
		now:     info.Now,
		serving: info.Serving,
		calling: info.State == wire.QueueOpen && info.Issued > info.Serving,
		within:  uint64(info.Inside) + uint64(info.Outstanding),
	}
	if n := len(m.samples); n > 0 {
		m.visits(m.samples[n-1], s)
	}
	m.samples = append(m.samples, s)
}

// visits counts what places were taken and given up between two samples.
func (m *rateMeter) visits(from, to rateSample) {
	seconds := float64(to.now-from.now) / 1000
	keep := math.Exp(-seconds / visitSpan.Seconds())
	m.stay = m.stay*keep + float64(from.within+to.within)/2*seconds
	m.gone = m.gone*keep + max(0, float64(to.serving+from.within)-float64(from.serving+to.within))
}

// visit is how long a place is taken, in seconds.
func (m *rateMeter) visit(c *wire.RoomConfig) float64 {
	assumed := priorStay * float64(c.PassTTL) / 1000
	return (m.stay + priorVisits*assumed) / (m.gone + priorVisits)
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
	o.measured, _ = m.perSecond()
	// A full room calls as many as leave: its places, divided by how long each is
	// taken (Little, "A Proof for the Queuing Formula L = λW", 1961). The rate at which
	// numbers were called would say less: it is that of the rush when a room opens,
	// and none while all of its first visitors are still there.
	full := min(m.visit(c), float64(c.Grace+c.PassTTL)/1000) / float64(c.Limit)
	o.msPer = max(1/o.perSecond, full) * 1000
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
