package server

import (
	"math"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A roomAt is what a room says of itself at a second.
func roomAt(second int, serving, issued uint64, state wire.QueueState) *wire.QueueInfo {
	info := &wire.QueueInfo{Room: 1, Now: wire.Millis(1000 * second), State: state, Serving: serving, Issued: issued}
	info.Config = wire.RoomConfig{Limit: 100, Rate: 10_000, Grace: 60_000, PassTTL: 600_000}
	return info
}

// TestRateMeter proves that a rate is measured while somebody waits and the room is
// open, over the last half minute and from enough of it.
func TestRateMeter(t *testing.T) {
	const open, paused = wire.QueueOpen, wire.QueuePaused
	feed := func(rooms ...*wire.QueueInfo) (float64, bool) {
		var m rateMeter
		for _, info := range rooms {
			m.add(info)
		}
		return m.perSecond()
	}
	for _, c := range []struct {
		name  string
		rooms []*wire.QueueInfo
		rate  float64
		known bool
	}{
		{"nothing", nil, 0, false},
		{"one look", []*wire.QueueInfo{roomAt(0, 0, 100, open)}, 0, false},
		{"a second is too little", []*wire.QueueInfo{roomAt(0, 0, 100, open), roomAt(1, 5, 100, open)}, 0, false},
		{"two", []*wire.QueueInfo{roomAt(0, 0, 100, open), roomAt(2, 10, 100, open)}, 5, true},
		{"nobody is called", []*wire.QueueInfo{roomAt(0, 0, 100, open), roomAt(4, 0, 100, open)}, 0, true},
		{"nobody waited", []*wire.QueueInfo{roomAt(0, 5, 5, open), roomAt(4, 9, 9, open)}, 0, false},
		{"a pause does not count", []*wire.QueueInfo{
			roomAt(0, 0, 100, open), roomAt(2, 10, 100, open), roomAt(3, 10, 100, paused), roomAt(9, 10, 100, paused), roomAt(10, 10, 100, open), roomAt(12, 20, 100, open),
		}, 5, true},
		{"long ago", []*wire.QueueInfo{roomAt(0, 0, 1000, open), roomAt(2, 500, 1000, open), roomAt(40, 500, 1000, paused)}, 0, false},
		{"another room", []*wire.QueueInfo{roomAt(0, 0, 100, open), roomAt(5, 50, 100, open), {Room: 2, Now: 6000, State: open, Issued: 9}}, 0, false},
		{"a replica that is behind", []*wire.QueueInfo{roomAt(0, 0, 100, open), roomAt(5, 50, 100, open), roomAt(6, 40, 100, open)}, 0, false},
	} {
		if rate, known := feed(c.rooms...); rate != c.rate || known != c.known {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, rate, known, c.rate, c.known)
		}
	}
	var m rateMeter
	for second := range 100 {
		m.add(roomAt(second, uint64(3*second), 1000, open))
		m.add(roomAt(second, uint64(3*second), 1000, open)) // within the second
	}
	if rate, known := m.perSecond(); rate != 3 || !known || len(m.samples) > rateSamples {
		t.Errorf("of %d samples: %v, %v", len(m.samples), rate, known)
	}
}

// TestOutlook proves what visitors are told to expect.
func TestOutlook(t *testing.T) {
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	var m rateMeter
	info := roomAt(0, 0, 100, wire.QueueOpen)
	info.Free = 30
	o := m.outlook(info)
	near("without measuring: milliseconds between calls", o.msPer, 1500) // visits of a quarter of a pass's life
	near("without visitors: who comes", o.show, 1)
	near("without visitors: seats of each", o.seats, 2)
	near("chance of the first", o.chance(info, 0), 1)
	near("chance behind 29", o.chance(info, 29), 0.5)
	if got := o.wait(50); got != 75*time.Second {
		t.Errorf("wait behind 50 is %v", got)
	}
	if got := o.wait(math.MaxUint64); got <= 0 {
		t.Errorf("the longest wait is %v", got)
	}

	// A third do not come; those who came and left have booked a seat each. 35 places
	// became free and 15 were taken at the end: 7.5 on average for ten seconds.
	m.add(info)
	info = roomAt(10, 50, 100, wire.QueueOpen)
	info.Redeemed, info.Lapsed, info.Inside, info.Outstanding, info.Booked, info.Free = 90, 50, 10, 5, 80, 21
	m.add(info)
	o = m.outlook(info)
	near("measured rate", o.measured, 5)
	near("milliseconds between calls", o.msPer, 1000*(7.5*10+2*150)/(35+2)/100)
	near("who comes", o.show, 100.0/150)
	near("seats of each", o.seats, 100.0/90)
	near("chance behind 39", o.chance(info, 39), 21/((45*100.0/150+10)*100/90))

	// Nobody leaves, but everybody inside does so some time.
	m = rateMeter{}
	var stuck *wire.QueueInfo
	for second := range 100 {
		stuck = roomAt(20*second, 100, 200, wire.QueueOpen)
		stuck.Inside = 100
		m.add(stuck)
	}
	o = m.outlook(stuck)
	near("milliseconds between calls of a room that stands", o.msPer, 6600)
	stuck.Config.SeatsPerPass = 1
	near("seats of each, of at most one", m.outlook(stuck).seats, 1)
	if o := m.outlook(roomAt(21, 0, 100, wire.QueueWaiting)); math.IsInf(o.msPer, 0) || math.IsNaN(o.msPer) {
		t.Errorf("milliseconds between calls: %v", o.msPer)
	}
}

// TestOutlookIsCalm proves that the expected wait of a small room goes from what is
// assumed to what is so without jumps: it neither takes the rush at its opening for
// its rate, nor despairs while its first visitors are still inside.
func TestOutlookIsCalm(t *testing.T) {
	const places, stay = 20, 40 // seconds on average, from half of that on
	var m rateMeter
	left := make(map[int]int) // at which second how many leave
	inside, serving, last := 0, 0, 0.0
	for second := range 600 {
		inside -= left[second]
		for inside < places {
			inside, serving = inside+1, serving+1
			left[second+stay/2+serving%stay]++
		}
		info := roomAt(second, uint64(serving), 10_000, wire.QueueOpen)
		info.Config.Limit, info.Inside = places, uint32(inside)
		m.add(info)
		ms := m.outlook(info).msPer
		if second > 0 && (ms > 1.5*last || ms < last/1.5) {
			t.Fatalf("after %d s the pace goes from %v to %v ms", second, last, ms)
		}
		last = ms
	}
	if want := 1000.0 * stay / places; math.Abs(last-want) > want/5 {
		t.Errorf("in the end the pace is %v ms, visits of %d s in %d places make %v", last, stay, places, want)
	}
}
