package onsale

import (
	"time"

	"github.com/usher-seats/usher/bench/audit"
	"github.com/usher-seats/usher/bench/scenario"
)

// A phase is where a user is who is not inside.
type phase uint8

const (
	unborn   phase = iota
	looking        // asked for the queue's state before joining
	arriving       // has seen it, will join
	joining        // asked for a ticket
	waiting        // has a ticket
	called         // is a visitor's matter now, or did not come
	gone
)

// flags of a user, beside his phase.
const (
	hasTicket  = 0x10
	isEarly    = 0x20 // the ticket has an entry number
	hasAsked   = 0x40 // for his place
	isWatching = 0x80 // has a stream
	phaseBits  = 0x0f
)

// A crowd is all users, 42 bytes each with the index of numbers. A user's entries
// belong to his lane and are guarded by its mutex, but for what is fixed: which
// event he wants and when he comes follow from the dice and are not stored.
type crowd struct {
	next   []uint32   // link of the wheel
	state  []uint8    // phase and flags
	number []uint32   // of the ticket
	mac    [][16]byte // the rest of the ticket; see family
	family []uint8    // of the ticket, in the event's list
	sent   []uint32   // the join, in microseconds of the run
	acked  []uint32   // its answer
	place  []uint32   // queue number he was told later; audit.NoPlace: none
}

func newCrowd(users int) *crowd {
	c := &crowd{
		next:   make([]uint32, users),
		state:  make([]uint8, users),
		number: make([]uint32, users),
		mac:    make([][16]byte, users),
		family: make([]uint8, users),
		sent:   make([]uint32, users),
		acked:  make([]uint32, users),
		place:  make([]uint32, users),
	}
	for i := range c.place {
		c.place[i] = audit.NoPlace
	}
	return c
}

func (c *crowd) phase(user uint32) phase { return phase(c.state[user] & phaseBits) }

func (c *crowd) setPhase(user uint32, p phase) { c.state[user] = c.state[user]&^phaseBits | uint8(p) }

func (c *crowd) is(user uint32, flag uint8) bool { return c.state[user]&flag != 0 }

// ticket is what the audit wants to know of the user's.
func (c *crowd) ticket(user uint32) audit.Ticket {
	return audit.Ticket{
		Number: c.number[user], Early: c.is(user, isEarly), Place: c.place[user],
		Sent: micros(c.sent[user]), Acked: micros(c.acked[user]),
	}
}

func micros(n uint32) time.Duration { return time.Duration(n) * time.Microsecond }

// habits are what follows from the dice alone.
type habits struct {
	s     *scenario.Scenario
	dice  dice
	curve *scenario.Curve
	share []float64 // by event: of all users who want it or one before; rising to 1
}

func newHabits(s *scenario.Scenario) *habits {
	return &habits{s: s, dice: dice(mix(s.Seed)), curve: s.Arrivals.Curve(), share: s.Events.Shares()}
}

// event is the index of the event that the user wants.
func (h *habits) event(user uint32) int {
	if len(h.share) == 1 {
		return 0
	}
	u := h.dice.unit(user, whichEvent, 0)
	low, high := 0, len(h.share)-1
	for low < high {
		if mid := (low + high) / 2; h.share[mid] <= u {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// arrives is when the user comes, in time of the run.
func (h *habits) arrives(user uint32) time.Duration {
	return h.s.Wall(h.s.Arrivals.Before + h.curve.Arrival(h.dice.unit(user, whenArrives, 0)))
}

// A carrier is how a user's requests travel.
type carrier uint8

const (
	byBinary carrier = iota
	byHTTP
	bySSE       // requests as byBinary, the queue's state through server-sent events
	byWebSocket // likewise, through a WebSocket
)

func (h *habits) carrier(user uint32) carrier {
	u, c := h.dice.unit(user, howCarried, 0), &h.s.Carriers
	switch {
	case u < c.HTTP:
		return byHTTP
	case u >= 1-c.SSE:
		return bySSE
	case u >= 1-c.SSE-c.WebSocket:
		return byWebSocket
	}
	return byBinary
}

// party is how many seats the user wants.
func (h *habits) party(user uint32) int {
	var sum float64
	for _, w := range h.s.Visit.Party {
		sum += w
	}
	u := h.dice.unit(user, howMany, 0) * sum
	last := 1
	for i, w := range h.s.Visit.Party {
		if w <= 0 {
			continue
		}
		last = i + 1
		if u -= w; u < 0 {
			break
		}
	}
	return last
}

func (h *habits) chance(user uint32, m matter, nth uint32, share float64) bool {
	return h.dice.unit(user, m, nth) < share
}

// pause is a random wait with this mean of the on-sale, in time of the run.
func (h *habits) pause(user uint32, m matter, nth uint32, mean time.Duration) time.Duration {
	return h.s.Wall(h.dice.wait(user, m, nth, mean))
}
