package client

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/usher-seats/usher/wire"
)

// ErrClosed is the cause of errors of a client, or pipe, that was closed.
var ErrClosed = errors.New("the client is closed")

// Applied says what a failed request did.
type Applied uint8

const (
	// AppliedNo: it changed nothing and will not.
	AppliedNo Applied = iota
	// AppliedUnknown: it may have been done. Repeat it with the same id to learn
	// which, or look at the hold.
	AppliedUnknown
)

func (a Applied) String() string {
	if a == AppliedNo {
		return "not applied"
	}
	return "unknown whether applied"
}

// An Error is why a call did not do what it was asked to. Immutable.
type Error struct {
	Op      string        // what was asked: "hold", "confirm", …
	Event   string        // key of the event, if there is one
	Status  wire.Status   // how it ended; below wire.StatusMoved the shard decided so
	Text    string        // what the server adds for people
	Lost    []wire.SeatID // the seats that stood in the way
	Labels  []string      // of Lost, if the client has the event's manifest
	Offer   []wire.SeatID // best free seats instead, if the request asked for them
	Applied Applied       // whether the request may have been done all the same
	ID      wire.ID       // of the request; repeating with it is safe. Zero for reads.
	Err     error         // what stopped the client, such as context.DeadlineExceeded; or nil

	place *wire.QueuePlace // of wire.StatusNotCalled; NotCalledError shows it
}

// Error says it in a sentence.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Event != "" && !strings.HasSuffix(e.Op, " event") {
		b.WriteString(" in event")
	}
	if e.Event != "" {
		fmt.Fprintf(&b, " %q", e.Event)
	}
	b.WriteString(": ")
	b.WriteString(sentence(e.Status))
	if e.Text != "" {
		b.WriteString(": ")
		b.WriteString(e.Text)
	}
	if len(e.Lost) > 0 {
		b.WriteString(": ")
		e.writeSeats(&b)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, " (%v)", e.Err)
	}
	if e.Applied == AppliedUnknown {
		fmt.Fprintf(&b, "; it may or may not have been applied: repeat it with id %v to learn which", e.ID)
	} else if !e.Status.Decided() && e.ID != (wire.ID{}) {
		b.WriteString("; nothing was changed")
	}
	return b.String()
}

// maxSeatsInMessage keeps a message readable; Lost has them all.
const maxSeatsInMessage = 8

func (e *Error) writeSeats(b *strings.Builder) {
	for i, seat := range e.Lost {
		if i == maxSeatsInMessage {
			fmt.Fprintf(b, " and %d more", len(e.Lost)-i)
			return
		}
		if i > 0 {
			b.WriteString(", ")
		}
		if i < len(e.Labels) && e.Labels[i] != "" {
			b.WriteString(e.Labels[i])
		} else {
			b.WriteString("seat ")
			b.WriteString(strconv.FormatUint(uint64(seat), 10))
		}
	}
}

// Unwrap gives what stopped the client.
func (e *Error) Unwrap() error { return e.Err }

// StatusOf is the status of the Error in err's chain: wire.StatusOK for nil,
// wire.StatusUnknown for an error that is of another kind.
func StatusOf(err error) wire.Status {
	if err == nil {
		return wire.StatusOK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return wire.StatusUnknown
}

var sentences = map[wire.Status]string{
	wire.StatusTaken:           "somebody else has seats of this request",
	wire.StatusNotEnough:       "there are no such seats left",
	wire.StatusOrphan:          "the event does not allow leaving single seats over",
	wire.StatusExpired:         "the hold's time is over",
	wire.StatusReleased:        "these seats were given back",
	wire.StatusBooked:          "these seats are booked: cancel them instead",
	wire.StatusLost:            "confirmed too late, the seats have gone to somebody else: refund the buyer",
	wire.StatusFenceMismatch:   "the fence is not this hold's: it is not the grant you were given",
	wire.StatusBuyerLimit:      "more seats than the event allows a buyer",
	wire.StatusHoldLimit:       "more seats than the event allows in one hold",
	wire.StatusNotOpen:         "the sale is not open",
	wire.StatusChannelRequired: "some of these seats are sold only through a channel with a key",
	wire.StatusLate:            "the request reached the shard after its deadline",
	wire.StatusTooOld:          "the id is older than what the shard remembers",
	wire.StatusIDReused:        "the id was used for another request",
	wire.StatusIDAhead:         "the id is ahead of the shard's time",
	wire.StatusUnknownEvent:    "there is no such event",
	wire.StatusUnknownHold:     "there is no such hold",
	wire.StatusUnknownSeat:     "some of these are no seats of this event or hold",
	wire.StatusUnknownPlace:    "there is no such section, category, area or channel",
	wire.StatusBadRequest:      "the request makes no sense",
	wire.StatusNoExtension:     "the hold cannot be extended again",
	wire.StatusExists:          "it exists already, with other content",
	wire.StatusCancelled:       "the booking was cancelled",
	wire.StatusNotBooked:       "the hold is not booked",
	wire.StatusNoRoom:          "the event has no waiting room, or not the one that this ticket is for",
	wire.StatusNotCalled:       "the number has not been called yet",
	wire.StatusLapsed:          "the number was called and nobody came in time",
	wire.StatusPassRequired:    "the event has a waiting room, so a hold needs a pass",
	wire.StatusPassEnded:       "the pass is over, or is none of this event",
	wire.StatusPassLimit:       "more seats than the pass is for",
	wire.StatusRoomClosed:      "the waiting room takes nobody any more",
	wire.StatusLeft:            "the number was given back",
	wire.StatusMoved:           "the event is moving between nodes",
	wire.StatusOverloaded:      "the server is overloaded",
	wire.StatusUnavailable:     "no node could take the request",
	wire.StatusUnknown:         "the outcome is unknown",
	wire.StatusStopping:        "the server is shutting down",
	wire.StatusUnauthorized:    "the API key is missing or wrong",
	wire.StatusForbidden:       "the API key's role does not allow this",
	wire.StatusBadFrame:        "the two sides do not understand each other",
	wire.StatusBadVersion:      "the server speaks another version of the protocol",
	wire.StatusUnknownKind:     "the server does not know this kind of request",
	wire.StatusTooLarge:        "the request is beyond a limit",
	wire.StatusDiskFull:        "the server's disk is full and takes no new holds",
}

func sentence(s wire.Status) string {
	if text, ok := sentences[s]; ok {
		return text
	}
	return s.String()
}

// hasSeats tells the statuses whose body is a wire.SeatsLost.
func hasSeats(s wire.Status) bool {
	switch s {
	case wire.StatusTaken, wire.StatusOrphan, wire.StatusChannelRequired, wire.StatusUnknownSeat, wire.StatusLost:
		return true
	}
	return false
}

// hasClock tells the statuses whose body is a wire.Clock.
func hasClock(s wire.Status) bool {
	return s == wire.StatusLate || s == wire.StatusTooOld || s == wire.StatusIDAhead
}

// maxErrorText bounds what of a server's text goes into an error, in bytes.
const maxErrorText = 1024

// explain fills an error from the body that came with its status. A body that
// cannot be read leaves the status to speak for itself.
func (e *Error) explain(body []byte) {
	switch {
	case hasSeats(e.Status):
		var lost wire.SeatsLost
		if lost.Decode(body) == nil {
			e.Lost, e.Offer = lost.Seats.IDs(), lost.Offer.IDs()
		}
	case hasClock(e.Status):
	case e.Status == wire.StatusNotCalled:
		if place := new(wire.QueuePlace); place.Decode(body) == nil {
			e.place = place
		}
	case utf8.Valid(body) && bytes.IndexFunc(body, unicode.IsControl) < 0:
		e.Text = string(body[:min(len(body), maxErrorText)])
	}
}
