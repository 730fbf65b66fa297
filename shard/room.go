package shard

import (
	"bytes"

	"github.com/usher-seats/usher/wire"
)

const (
	// roomStep is how long a waiting room waits between two calls, in milliseconds:
	// an idle one then costs few entries.
	roomStep = 100
	// maxEnds bounds the passes of one event that end in one Apply because of time;
	// the rest does in the next.
	maxEnds = 8192
	// maxLeft bounds the numbers that were given back before they were called.
	// Beyond it whoever leaves is called in vain, like those who do not say so.
	maxLeft = 1 << 16
	// maxWindow bounds the numbers that are called and have not lapsed, came or
	// not: two bits each.
	maxWindow = 1 << 24
	// graceParts is into how many steps of calls a grace is cut at most. A step
	// that is called within a part of the grace after the one before joins it, so
	// that its first numbers have up to that part more.
	graceParts = 1024

	// onePerson is one visitor, as credit is counted: milliseconds times thousandths
	// of a visitor per second.
	onePerson = 1_000_000
)

// A room is the waiting room of an event. What it has is a few numbers, two bits
// for each number whose grace runs, and a record for each visitor who is inside.
// Numbers are one sequence: those below entries are entry numbers, which the draw
// turns into queue numbers; all others are queue numbers.
//
// Owned by the applier; readers see a queueView.
type room struct {
	id      wire.RoomID
	seed    [32]byte
	config  wire.RoomConfig // its Source is the room's own
	entropy []byte          // of the draw, from outside
	draw    wire.Draw       // derived, once drawn
	flags   roomFlags
	step    uint64 // changes of the room, as readers count them

	entries  uint64 // numbers that take part in the draw
	next     uint64 // to be issued
	serving  uint64 // queue numbers below have been called
	lapsedTo uint64 // queue numbers below have no place reserved any more

	// credit is how many visitors may be called at creditAt, in onePerson.
	credit   uint64
	creditAt wire.Millis

	steps  []callStep // whose grace runs, in order
	window window     // of [lapsedTo, serving)
	left   leavers    // numbers from serving on

	// outstanding are the numbers in the window that have neither come nor left.
	// Invariant: no number is called unless passes and outstanding are below the
	// limit.
	outstanding uint32
	passes      passes
	visitors    visitors

	redeemed, lapsed uint64 // numbers that came, and that were called and did not
	booked           uint64 // seats booked with passes, less those cancelled
}

// roomFlags say how far a room has come, and what its operator wants.
type roomFlags uint8

const (
	entriesClosed roomFlags = 1 << iota // whoever joins now does not take part in the draw
	roomDue                             // it is time to open, or past
	roomDrawn                           // the draw has been made
	roomPaused
	roomDraining

	roomFlagsEnd
)

// A callStep is numbers that were called at about the same time.
type callStep struct {
	upTo  uint64      // they are below, and not below those of the step before
	first wire.Millis // when the first of them would have lapsed by itself
	lapse wire.Millis // when they lapse; never before those of the step before
}

func (r *room) is(f roomFlags) bool { return r.flags&f == f }

// opened reports whether numbers are called, unless something keeps it.
func (r *room) opened() bool { return r.is(roomDue | roomDrawn) }

// seatsPerPass is how many seats a pass may hold and book together.
func (e *Event) seatsPerPass() int {
	if n := e.room.config.SeatsPerPass; n > 0 {
		return int(n)
	}
	return int(e.rule.SeatsPerHold)
}

// queueState is what the event's room is doing.
func (e *Event) queueState() wire.QueueState {
	r := e.room
	free, held := e.tally[wire.SeatFree], e.tally[wire.SeatHeld]
	switch {
	case r == nil:
		return wire.QueueOff
	case r.is(roomDraining) && r.serving == r.next && r.outstanding == 0 && r.passes.len() == 0:
		return wire.QueueClosed
	case r.is(roomDue) && !r.is(roomDrawn):
		return wire.QueueDrawing
	case !r.opened():
		return wire.QueueBefore
	case free == 0 && held == 0:
		return wire.QueueSoldOut
	case r.is(roomPaused):
		return wire.QueuePaused
	case free == 0:
		return wire.QueueWaiting
	case r.is(roomDraining):
		return wire.QueueDraining
	default:
		return wire.QueueOpen
	}
}

// makeRoom makes the event's waiting room.
func (s *Shard) makeRoom(e *Event, id wire.ID, o *wire.SetRoom) {
	r := &room{id: wire.NewRoomID(id), seed: o.Seed, creditAt: s.now}
	r.setConfig(&o.Config)
	e.room = r
	e.guarded.Store(true)
	s.roomClock(e)
}

func (r *room) setConfig(c *wire.RoomConfig) {
	r.config = *c
	r.config.Source = bytes.Clone(c.Source)
}

// roomClock closes entries and opens, when the wall clock that the event was last
// told says so.
func (s *Shard) roomClock(e *Event) {
	r := e.room
	if r == nil {
		return
	}
	if !r.is(entriesClosed) && e.wall >= r.config.Entries() {
		s.closeEntries(r)
	}
	if !r.is(roomDue) && e.wall >= r.config.OpensAt {
		s.openRoom(r)
	}
}

// closeEntries fixes who takes part in the draw, and draws unless the entropy has
// yet to come. Without entries there is nothing to be drawn.
func (s *Shard) closeEntries(r *room) {
	r.flags |= entriesClosed
	r.entries = r.next
	if len(r.config.Source) == 0 || r.entries == 0 {
		s.makeDraw(r, nil)
	}
}

func (s *Shard) makeDraw(r *room, entropy []byte) {
	r.flags |= roomDrawn
	r.entropy = bytes.Clone(entropy)
	r.draw = wire.NewDraw(r.seed, r.entropy, r.id, r.entries)
	r.restartCredit(s.now)
}

func (s *Shard) openRoom(r *room) {
	r.flags |= roomDue
	r.restartCredit(s.now)
}

// restartCredit lets time that has passed not count.
func (r *room) restartCredit(now wire.Millis) { r.credit, r.creditAt = 0, now }

// endRoom switches the event's room off. Holds keep their seats, and are nobody's
// pass any more.
func (s *Shard) endRoom(e *Event) {
	s.leavePages(e)
	e.room, e.passOf = nil, nil
	e.guarded.Store(false)
}

// roomChanged notes a change of the room.
func (s *Shard) roomChanged(e *Event) {
	if e.room != nil {
		e.room.step++
	}
	e.changed = s.index
}

// queueNumber turns a number as it was issued into a queue number. entry says that
// it is still an entry number.
func (r *room) queueNumber(number uint64) (_ uint64, entry bool) {
	switch {
	case r.is(entriesClosed) && number >= r.entries:
		return number, false
	case !r.is(roomDrawn):
		return number, true
	default:
		return r.draw.Number(number), false
	}
}
