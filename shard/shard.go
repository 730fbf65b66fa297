package shard

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

// Config bounds what a shard remembers. All replicas of a shard must have the
// same, for the whole life of their log: what is forgotten decides what a late
// retry gets.
type Config struct {
	// Remembered bounds the answers that an event keeps for repeated requests,
	// beside those of live holds and bookings. Beyond it the oldest are forgotten
	// before their time. Default 1,048,576: some 130 MB if all are holds.
	Remembered int
	// Window is how long an answer is kept after the request, or the hold it made,
	// has ended, in milliseconds. Default 300,000.
	Window wire.Millis
	// Changes bounds the seat changes that an event remembers for live updates, 8
	// bytes each. Default 65,536. Not part of the replicated state.
	Changes int
}

func (c Config) withDefaults() Config {
	if c.Remembered == 0 {
		c.Remembered = 1 << 20
	}
	if c.Window == 0 {
		c.Window = 300_000
	}
	if c.Changes == 0 {
		c.Changes = 1 << 16
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Remembered < 1 || c.Remembered > 1<<28:
		return fmt.Errorf("remembered answers are %d; want 1..%d", c.Remembered, 1<<28)
	case c.Window < 1 || c.Window > wire.MaxRuleTime:
		return fmt.Errorf("retry window is %d ms; want 1..%d", c.Window, wire.MaxRuleTime)
	case c.Changes < 1 || c.Changes > 1<<24:
		return fmt.Errorf("remembered changes are %d; want 1..%d", c.Changes, 1<<24)
	}
	return nil
}

// A Shard decides for a set of events. Apply, Read, NextDue, AppendImage, Parts,
// EncodePart, LoadPart and Start belong to the goroutine that applies the log; Event, Look,
// Query and the exported methods of Event to anybody.
type Shard struct {
	events atomic.Pointer[eventTable]

	// busy is set while Apply runs; asked are readers who wait for its end to get
	// a copy of an event's planes.
	busy  atomic.Bool
	asked atomic.Pointer[copyRequest]

	// copies are planes that readers copied into, for the next reader.
	copies sync.Pool

	config  Config
	index   uint64      // of the latest entry applied
	stamp   wire.Millis // shard time: the latest stamp applied
	now     wire.Millis // time of the event that is being looked after; shard time if there is none
	agenda  agenda
	waiting []*Event // loaded from later than index, so that nothing expires yet

	// What there is beside events. An id has an event or one of the first three,
	// and may have a stage with it.
	creations  map[wire.EventID]*creation
	deletions  map[wire.EventID]*deletion
	departures map[wire.EventID]*departure
	stages     map[wire.EventID]*stage
	berths     berths
	staleDue   wire.Millis // none of these is to be given up before

	leftovers map[wire.EventID]leftover
	leftPages map[uint64]*visitorPage   // by part: pages of rooms that ended, until the next snapshot begins
	loading   map[wire.EventID]*loading // between LoadPart and Start
	loaded    map[wire.EventID]uint64   // entries that were contained in what was loaded, by id
	loadedTo  uint64                    // the last of them all

	staged bool // this is the shard of a stage: nothing arrives here

	settling []*Event // whose agenda is to be corrected when Apply ends
	latest   *Event   // that an operation was on

	// Scratch of one operation.
	req     request
	buf     []byte
	spots   []spot
	more    []spot
	seats   []wire.SeatID
	orphans []wire.SeatID
	order   []uint32
}

// New makes a shard without events. It panics if the bounds make no sense, which
// is a mistake of the program.
func New(c Config) *Shard {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		panic("shard: " + err.Error())
	}
	s := &Shard{
		config:     c,
		staleDue:   wire.Never,
		creations:  make(map[wire.EventID]*creation),
		deletions:  make(map[wire.EventID]*deletion),
		departures: make(map[wire.EventID]*departure),
		stages:     make(map[wire.EventID]*stage),
		leftovers:  make(map[wire.EventID]leftover),
		leftPages:  make(map[uint64]*visitorPage),
		loading:    make(map[wire.EventID]*loading),
		loaded:     make(map[wire.EventID]uint64),
	}
	s.events.Store(newEventTable(0))
	return s
}

// Event finds an event. Any goroutine, no lock. Nil if there is none.
func (s *Shard) Event(id wire.EventID) *Event { return s.events.Load().find(id) }

// Events calls yield for every event until it returns false. Any goroutine;
// events that come or go meanwhile may be missed.
func (s *Shard) Events(yield func(*Event) bool) {
	t := s.events.Load()
	for i := range t.slots {
		if e := t.slots[i].Load(); e != nil && e != gone && !yield(e) {
			return
		}
	}
}

const leastEvents = 16 // slots of an event table

// gone stands where an event was: whoever looks for another walks on.
var gone = new(Event)

// An eventTable finds events by id: open addressing with linear probing. The
// applier writes slots, and replaces the table when it is too full; readers use
// the one they loaded.
type eventTable struct {
	slots []atomic.Pointer[Event] // a power of two
	used  int                     // slots that are not nil; applier only
	live  int                     // events; applier only
}

func newEventTable(events int) *eventTable {
	return &eventTable{slots: make([]atomic.Pointer[Event], max(leastEvents, ceilPower(2*events)))}
}

func (t *eventTable) home(id wire.EventID) int {
	return int(uint64(id)*0x9e3779b97f4a7c15>>32) & (len(t.slots) - 1)
}

func (t *eventTable) find(id wire.EventID) *Event {
	for at := t.home(id); ; at = (at + 1) & (len(t.slots) - 1) {
		e := t.slots[at].Load()
		if e == nil || e.id == id && e != gone {
			return e
		}
	}
}

// put adds an event whose id is not in the table, which must have room.
func (t *eventTable) put(e *Event) {
	at := t.home(e.id)
	for t.slots[at].Load() != nil {
		at = (at + 1) & (len(t.slots) - 1)
	}
	t.slots[at].Store(e)
	t.used++
	t.live++
}

// addEvent publishes an event.
func (s *Shard) addEvent(e *Event) {
	t := s.events.Load()
	if (t.used+1)*2 > len(t.slots) {
		old := t
		t = newEventTable(2 * (old.live + 1))
		for i := range old.slots {
			if e := old.slots[i].Load(); e != nil && e != gone {
				t.put(e)
			}
		}
		s.events.Store(t)
	}
	e.life.Store(e.journey.life())
	e.publishQueue()
	t.put(e)
}

// removeEvent ends an event. Readers who have it see that it is not live.
func (s *Shard) removeEvent(e *Event) {
	e.life.Store(lifeOver)
	s.leftovers[e.id] = leftover{manifest: e.manifest, created: e.created}
	s.leavePages(e)
	s.agenda.remove(e)
	if s.latest == e {
		s.latest = nil
	}
	t := s.events.Load()
	at := t.home(e.id)
	for t.slots[at].Load() != e {
		at = (at + 1) & (len(t.slots) - 1)
	}
	t.slots[at].Store(gone)
	t.live--
}

// find is Event for the applier, who mostly asks for the same as last time.
func (s *Shard) find(id wire.EventID) *Event {
	if s.latest != nil && s.latest.id == id {
		return s.latest
	}
	e := s.Event(id)
	if e != nil {
		s.latest = e
	}
	return e
}
