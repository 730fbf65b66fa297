package inventory

import (
	"context"
	"time"
)

// RowSeats is the length of a row: seat i of an event is in row i / RowSeats.
// Earlier rows are better.
const RowSeats = 50

// DefaultTTL is how long a hold lives that says nothing else.
const DefaultTTL = 15 * time.Minute

// An Inventory is a system that decides who has which seat, running and empty.
// Its methods may be called by several goroutines, but for Close.
type Inventory interface {
	// Create makes an event with the number, all of its seats free. seats is a
	// multiple of RowSeats.
	Create(ctx context.Context, event, seats int) error
	// Settle is called once between set-up and measurement, for what a database
	// wants done after a bulk load.
	Settle(ctx context.Context) error
	// Dial gives a connection, or whatever a worker needs for itself.
	Dial(ctx context.Context) (Conn, error)
	// States decodes the Map of an answer: the state of every seat.
	States(answer []byte, seats int) ([]State, error)
	// Find reads back a hold or booking that was acknowledged, from what the system
	// has under that name, which may be nothing.
	Find(ctx context.Context, event int, r Receipt) (Found, error)
	// CPU is the processor time that its servers have used so far.
	CPU() (time.Duration, error)
	// Close ends the system and removes its data.
	Close()
}

// A Conn belongs to one goroutine.
type Conn interface {
	// Do carries out all requests, which do not depend on each other, and fills as
	// many answers. It keeps as many of them in flight as the system can make use
	// of. An error means that some of them have an unknown outcome.
	Do(ctx context.Context, requests []Request, answers []Answer) error
	Close()
}

// An Operation is what a request wants.
type Operation uint8

const (
	// Hold takes Seats, all or none, for TTL.
	Hold Operation = iota + 1
	// Best takes Count neighbours in the best row that has them, for TTL.
	Best
	// Confirm books the Seats of a hold, for ever.
	Confirm
	// Release gives the Seats of a hold back.
	Release
	// Map reads the state of every seat.
	Map
)

// A Request is one operation on one event.
type Request struct {
	Op     Operation
	Event  int
	Number uint64        // Hold, Best: the name of the hold, never used before, not 0
	Seats  []int         // Hold, Confirm, Release: ascending
	Count  int           // Best
	TTL    time.Duration // Hold, Best; 0: DefaultTTL
	Grant  Grant         // Confirm, Release: from the answer to Hold or Best
}

// Life is how long a hold lives.
func (r *Request) Life() time.Duration {
	if r.TTL == 0 {
		return DefaultTTL
	}
	return r.TTL
}

// A Grant is what a system wants to see again to believe that a hold is one's
// own. Only the system knows what is in it.
type Grant [3]uint64

// A Status is how a request was decided.
type Status uint8

const (
	// OK: done, all of it.
	OK Status = iota + 1
	// Taken: Hold, Best: not all of the seats are free; nothing changed.
	Taken
	// Gone: Confirm, Release: the hold has ended; nothing changed.
	Gone
)

func (s Status) String() string {
	switch s {
	case OK:
		return "ok"
	case Taken:
		return "taken"
	case Gone:
		return "gone"
	}
	return "no answer"
}

// An Answer is what became of a request.
type Answer struct {
	Status Status
	Seats  []int  // Best: which, ascending
	Grant  Grant  // Hold, Best
	Map    []byte // Map: in the system's own encoding; valid until the next Do
}

// A State is that of a seat.
type State uint8

const (
	Free State = iota
	Held
	Booked
)

func (s State) String() string { return [...]string{"free", "held", "booked"}[s] }

// Found is what a system has under the name of a hold.
type Found struct {
	State State // Free: it has nothing
	Seats []int // ascending
}

// A Receipt is a hold, or booking, that was acknowledged.
type Receipt struct {
	Event  int
	Number uint64
	Grant  Grant
	Seats  []int
	Booked bool
}
