package audit

import (
	"iter"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A History is what is known of one event.
type History struct {
	Event string // its key, for findings
	Seats []wire.SeatID

	Holds   []Hold    // every grant that was acknowledged
	Read    []Read    // holds as the server has them at the end
	Map     *Map      // every seat at the end
	Changes []Change  // of seats, by version
	Open    []string  // requests whose outcome nobody knows, described
	Allowed Allowance // how late may be late

	Room *Room // nil: the event has no waiting room
}

// An Allowance is what may pass between a hold's deadline and the moment its
// seats are free: one tick of the shard and one commit.
type Allowance struct {
	Tick   time.Duration
	Commit time.Duration
}

// An End is how a hold ended as far as its client was told.
type End uint8

const (
	EndNone       End = iota // the client was told nothing: it may be held, or have expired
	EndBooked                // confirmed in time
	EndReacquired            // confirmed after it had expired, granted anew
	EndReleased
	EndExpired // the server said so
	EndLost    // confirmed too late: the seats had moved on
)

var endNames = [...]string{"held", "booked", "reacquired", "released", "expired", "lost"}

func (e End) String() string {
	if int(e) < len(endNames) {
		return endNames[e]
	}
	return "unknown"
}

// booked tells whether the hold became a booking.
func (e End) booked() bool { return e == EndBooked || e == EndReacquired }

// A Hold is a grant that was acknowledged, and what became of it.
type Hold struct {
	ID     wire.ID
	Fence  wire.Fence
	Seats  []wire.SeatID
	Named  []wire.SeatID // the seats the request named; nil: it asked for the best
	Count  int           // how many it asked for
	Pass   uint64        // of the visitor; 0: none
	Sent   time.Duration // the request
	Acked  time.Duration // its answer
	Until  time.Duration // surely held until then: counted from when the last request that set the time was sent
	DueBy  time.Duration // surely due by then: counted from when that request was answered
	End    End
	Ending time.Duration // the request that ended it was sent; EndExpired, EndLost: it was answered
	Ended  time.Duration // that request was answered
}

// A Read is a hold as the server answers for it after the end.
type Read struct {
	ID     wire.ID
	State  wire.HoldState
	Fence  wire.Fence
	Held   []wire.SeatID
	Booked []wire.SeatID
}

// A Map is the state of all seats at the end.
type Map struct {
	Sent  time.Duration // when it was asked for
	State map[wire.SeatID]wire.SeatState
}

// A Change is a change record with the bounds of when it happened.
type Change struct {
	wire.Change
	After  time.Duration // not before: an answer to a request sent then did not have it
	Before time.Duration // not after: an answer that came then had it
}

// A Room is what is known of the event's waiting room.
type Room struct {
	Limit        int
	Grace        time.Duration
	SeatsPerPass int

	// Tickets yields all tickets that were acknowledged in the order of their
	// numbers; two with the same number in any order.
	Tickets iter.Seq[Ticket]
	Entries uint64                    // early tickets, as the draw has them; 0: there was no draw
	Draw    func(entry uint32) uint32 // queue number of an entry number; nil: there was no draw
	Issued  uint64                    // numbers the server says it has issued, at the end
	Settled bool                      // every join was acknowledged or certainly not done: Issued must be their number
	Passes  []Pass
	Refused []Refusal
	Frames  []Frame // the room's state as read, in the order of Sent
}

// NoPlace is the Place of a ticket whose visitor never asked, or was not told.
const NoPlace = ^uint32(0)

// A Ticket is an acknowledged join.
type Ticket struct {
	Number uint32
	Early  bool          // an entry number, to be drawn; otherwise a queue number
	Sent   time.Duration // the join
	Acked  time.Duration // its answer
	Place  uint32        // queue number that the server told its visitor later; NoPlace: none
}

// A Pass is an acknowledged admission.
type Pass struct {
	ID     uint64
	Number uint32        // queue number that it was given for
	Sent   time.Duration // the request
	Acked  time.Duration // its answer
	Until  time.Duration // surely inside until then: leaving, booking the last seat, or the pass's end, whichever is first
}

// A Refusal is an admission that was refused.
type Refusal struct {
	Number uint32 // queue number
	Lapsed bool   // because its time to come was over; otherwise because it had not been called
	Sent   time.Duration
	Acked  time.Duration
}

// A Frame is the room's state as one reader was told.
type Frame struct {
	Sent, Acked time.Duration
	Serving     uint64
	Issued      uint64
	Inside      int
	Redeemed    uint64
}
