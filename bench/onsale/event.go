package onsale

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/bench/audit"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// An event is one event on sale, with what the run knows of it. Safe for all
// goroutines.
type event struct {
	key    string
	id     wire.EventID
	handle *client.Event
	places int          // seats in rows of row
	row    int          // seats of a row
	first  wire.Version // before the sale

	node     atomic.Int32 // index of the node that leads it, as far as the run knows
	serving  atomic.Uint64
	draw     atomic.Pointer[wire.Draw]
	families families
	numbers  *numbers

	mu       sync.Mutex // guards what follows
	doubly   []audit.Ticket
	frames   []audit.Frame
	looks    []look          // rising in both
	queue    *wire.QueueInfo // the newest
	change   []audit.Change
	recorded wire.Version // change has all up to it
	lost     bool         // the event no longer remembers what follows
}

// A look is a linearizable read of the event.
type look struct {
	version wire.Version
	sent    time.Duration
}

// seatID is the i-th seat of an event: each row begins with a word.
func (e *event) seatID(i int) wire.SeatID { return wire.SeatID(i/e.row*64 + i%e.row) }

func (e *event) allSeats() []wire.SeatID {
	seats := make([]wire.SeatID, e.places)
	for i := range seats {
		seats[i] = e.seatID(i)
	}
	return seats
}

// twice notes a ticket whose number somebody else has.
func (e *event) twice(t audit.Ticket) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.doubly = append(e.doubly, t)
}

// placeOf is the queue number of a ticket; false if it is not drawn yet.
func (e *event) placeOf(number uint32, early bool) (uint64, bool) {
	if !early {
		return uint64(number), true
	}
	d := e.draw.Load()
	if d == nil || uint64(number) >= d.Entries() {
		return 0, false
	}
	return d.Number(uint64(number)), true
}

// userOf is whose queue number that is; false if nobody's who is known yet.
func (e *event) userOf(number uint64) (uint32, bool) {
	if d := e.draw.Load(); d != nil && number < d.Entries() {
		number = d.Entry(number)
	}
	if number > math.MaxUint32 {
		return 0, false
	}
	return e.numbers.user(uint32(number))
}

// tickets yields all tickets in the order of their numbers.
func (e *event) tickets(c *crowd) func(yield func(audit.Ticket) bool) {
	return func(yield func(audit.Ticket) bool) {
		doubly := slices.Clone(e.doubly)
		slices.SortFunc(doubly, func(a, b audit.Ticket) int { return int(int64(a.Number) - int64(b.Number)) })
		for user := range e.numbers.all {
			t := c.ticket(user)
			for len(doubly) > 0 && doubly[0].Number <= t.Number {
				if !yield(doubly[0]) {
					return
				}
				doubly = doubly[1:]
			}
			if !yield(t) {
				return
			}
		}
		for _, t := range doubly {
			if !yield(t) {
				return
			}
		}
	}
}

// manifest is an event of even rows, the front row first.
func manifest(key, name string, seats, row int, rules wire.Rules) *wire.Manifest {
	list := make([]wire.Seat, row)
	for i := range list {
		list[i].Label = fmt.Sprint(i + 1)
	}
	rows := make([]wire.Row, seats/row)
	for i := range rows {
		rows[i] = wire.Row{Name: fmt.Sprint(i + 1), Focal: uint16(row - 1), Seats: list}
	}
	return &wire.Manifest{
		Key: key, Name: name, Categories: []string{"standard"},
		Sections: []wire.Section{{Name: "A", Rows: rows}}, Rules: rules,
	}
}

// label is what a seat is called: A-row-seat.
func (e *event) label(s wire.SeatID) string { return fmt.Sprintf("A-%d-%d", s/64+1, s%64+1) }
