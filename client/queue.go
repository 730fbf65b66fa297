package client

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A Ticket is a place in an event's waiting room. Keep its Token: it is all that
// there is of the place, any node takes it, and it is as good after a restart of
// whoever holds it.
type Ticket struct {
	Token  string
	Number uint64 // as issued
	Entry  bool   // the number takes part in the draw that makes a queue number of it
}

// A JoinRequest takes places in an event's waiting room.
type JoinRequest struct {
	// Count is how many, 1 to wire.MaxJoins. 0 means 1.
	Count int
	// Visitor is whatever names the visitor for the caller, who vouches for him.
	// Rooms with one place per visitor need it; Count is then 1, and asking again
	// gives the same place.
	Visitor string
	// ID of the request, as in HoldRequest: repeating it gives the same places.
	ID wire.ID
}

// Join takes one place. visitor may be empty, unless the room has one place per
// visitor. A place whose answer was lost is not found again without a visitor or an
// id of one's own (see JoinMany): it lapses when its number is called.
func (e *Event) Join(ctx context.Context, visitor string) (Ticket, error) {
	list, err := e.JoinMany(ctx, JoinRequest{Visitor: visitor})
	if err != nil {
		return Ticket{}, err
	}
	return list[0], nil
}

// JoinMany takes as many places as r says, with neighbouring numbers.
func (e *Event) JoinMany(ctx context.Context, r JoinRequest) ([]Ticket, error) {
	const op = "join queue"
	count := max(r.Count, 1)
	switch {
	case r.Count < 0 || count > wire.MaxJoins:
		return nil, e.misuse(op, wire.StatusBadRequest, fmt.Sprintf("%d places; a request is for 1 to %d", r.Count, wire.MaxJoins))
	case r.Visitor != "" && count != 1:
		return nil, e.misuse(op, wire.StatusBadRequest, "a visitor who is named gets one place")
	}
	body := wire.Join{Count: uint16(count), Visitor: []byte(r.Visitor)}
	q := e.change(op, wire.KindJoin, r.ID, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	})
	var t wire.Tickets
	if err := e.client.ask(ctx, q, &t); err != nil {
		return nil, err
	}
	if len(t.List) != count {
		return nil, e.misuse(op, wire.StatusBadFrame, fmt.Sprintf("%d tickets for %d places", len(t.List), count))
	}
	list := make([]Ticket, count)
	for i, k := range t.List {
		list[i] = Ticket{Token: string(k.Token), Number: k.Number, Entry: k.Entry}
	}
	q.learn(t.Now)
	return list, nil
}

// A QueueStatus is a waiting room as everybody may see it.
type QueueStatus struct {
	wire.QueueInfo

	// Age is how long the replica that answered had not heard of its leader by
	// then. 0: it was the leader.
	Age time.Duration
}

// Number is the queue number of a ticket: the draw's, for an entry. False before the
// draw, and for a ticket of another room.
func (s *QueueStatus) Number(t Ticket) (uint64, bool) {
	switch {
	case s.State == wire.QueueOff || t.Number >= s.Issued:
		return 0, false
	case !t.Entry:
		return t.Number, true
	case !s.Drawn || t.Number >= s.Entries:
		return 0, false
	}
	d := wire.NewDraw(s.Seed, s.Entropy, s.Room, s.Entries)
	return d.Number(t.Number), true
}

// Queue reads the event's waiting room, as new as Latest. It asks no log, so it is
// what to poll.
func (e *Event) Queue(ctx context.Context) (*QueueStatus, error) {
	return e.queue(ctx, Latest)
}

// QueueNow reads the event's waiting room with all that was acknowledged before, at
// the price of a turn through the log.
func (e *Event) QueueNow(ctx context.Context) (*QueueStatus, error) {
	return e.queue(ctx, Consistent)
}

func (e *Event) queue(ctx context.Context, f Freshness) (*QueueStatus, error) {
	s := new(QueueStatus)
	q := e.read("read queue", wire.KindQueue, (&wire.EventRef{Event: e.id}).Append)
	q.consistent = bool(f)
	if err := e.client.ask(ctx, q, &s.QueueInfo); err != nil {
		return nil, err
	}
	s.Age = time.Duration(s.QueueInfo.Age) * time.Millisecond
	return s, nil
}

// Place reads where a ticket stands, with all that was acknowledged before.
func (e *Event) Place(ctx context.Context, t Ticket) (*wire.QueuePlace, error) {
	place := new(wire.QueuePlace)
	ref := wire.TicketRef{Event: e.id, Ticket: []byte(t.Token)}
	q := e.read("read place", wire.KindPlace, ref.Append)
	q.consistent = true
	if err := e.client.ask(ctx, q, place); err != nil {
		return nil, err
	}
	return place, nil
}

// A Pass lets its visitor hold seats while the event has a waiting room.
type Pass struct {
	ID     wire.PassID // for holds
	Token  string      // its text, for those who cannot be given the id
	Number uint64      // queue number
	Seats  int         // that may be held and booked with it together
	// ExpiresAt is until when the pass is surely good, as Hold.ExpiresAt is.
	ExpiresAt time.Time
}

// A NotCalledError says that a ticket's number has not been called yet. It wraps the
// Error.
type NotCalledError struct {
	Err     *Error
	Number  uint64 // queue number; of an entry, its number in the draw
	Entry   bool   // the draw is still to come
	Serving uint64 // numbers below have been called
	Ahead   uint64 // that will be called before
}

// Error says it in a sentence.
func (e *NotCalledError) Error() string {
	if e.Entry {
		return fmt.Sprintf("%v: the draw is still to come", e.Err)
	}
	return fmt.Sprintf("%v: number %d, with %d ahead", e.Err, e.Number, e.Ahead)
}

// Unwrap gives the Error.
func (e *NotCalledError) Unwrap() error { return e.Err }

// Admit exchanges a ticket whose number has been called for its pass. Asked again, it
// gives the same pass. Before, the error is a *NotCalledError; wire.StatusLapsed and
// wire.StatusPassEnded mean that the visitor's time has passed and he may join again.
func (e *Event) Admit(ctx context.Context, t Ticket) (Pass, error) {
	body := wire.Admit{Ticket: []byte(t.Token)}
	q := e.change("admit", wire.KindAdmit, wire.ID{}, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	})
	var a wire.Admission
	if err := e.client.ask(ctx, q, &a); err != nil {
		return Pass{}, notCalled(err)
	}
	p := Pass{
		ID: a.Admitted.Pass, Token: string(a.Token), Number: a.Admitted.Number, Seats: int(a.Admitted.Seats),
		ExpiresAt: q.expires(a.Admitted.Deadline, a.Admitted.Now),
	}
	q.learn(a.Admitted.Now)
	return p, nil
}

// notCalled makes the error of an Admit that was refused.
func notCalled(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Status != wire.StatusNotCalled || e.place == nil {
		return err
	}
	n := &NotCalledError{Err: e, Number: e.place.Number, Entry: e.place.Entry, Ahead: e.place.Ahead}
	if !n.Entry {
		n.Serving = n.Number - min(n.Ahead, n.Number)
	}
	return n
}

// Leave gives a ticket or a pass back, by its token. The seats that were held with a
// pass stay held. Place knows at once that a number was given back, Admit when it
// would have been called.
func (e *Event) Leave(ctx context.Context, token string) error {
	body := wire.Quit{Token: []byte(token)}
	return e.client.ask(ctx, e.change("leave queue", wire.KindQuit, wire.ID{}, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	}), nil)
}

// Tokens are the text of 46 bytes; docs/protocol.md has all of them.
const (
	tokenSize     = 46
	tokenKindAt   = 1
	tokenRoomAt   = 6
	tokenNumberAt = 14

	tokenEntry  = 1
	tokenNumber = 2
	tokenPass   = 3
)

func readToken(token string) (raw []byte, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	return raw, err == nil && len(raw) == tokenSize
}

// ParseTicket reads a ticket's token, and of which room it is. It does not check the
// signature, for which there is no need: nodes do, whenever the ticket is used.
func ParseTicket(token string) (Ticket, wire.RoomID, error) {
	raw, ok := readToken(token)
	if !ok || raw[tokenKindAt] != tokenEntry && raw[tokenKindAt] != tokenNumber {
		return Ticket{}, 0, &Error{Op: "read ticket", Status: wire.StatusBadRequest, Text: "this is not the token of a ticket"}
	}
	t := Ticket{Token: token, Number: binary.LittleEndian.Uint64(raw[tokenNumberAt:]), Entry: raw[tokenKindAt] == tokenEntry}
	return t, wire.RoomID(binary.LittleEndian.Uint64(raw[tokenRoomAt:])), nil
}

// PassID reads the id out of a pass's token, for a frontend whose visitors get their
// passes over HTTP and bring them along. It does not check the signature: a shard
// takes no id that it has not given out, and nobody can guess one.
func PassID(token string) (wire.PassID, error) {
	raw, ok := readToken(token)
	if !ok || raw[tokenKindAt] != tokenPass {
		return 0, &Error{Op: "read pass", Status: wire.StatusBadRequest, Text: "this is not the token of a pass"}
	}
	return wire.PassID(binary.LittleEndian.Uint64(raw[tokenNumberAt:])), nil
}

const (
	// AwaitTurn asks at least and at most this often. Between, it waits for half of
	// what is left at the room's rate, which finds it in a few questions.
	turnLeast = 250 * time.Millisecond
	turnMost  = 20 * time.Second
)

// AwaitTurn waits until a ticket's number is called, and admits it. It reads the
// room now and then, more often when the turn is near, which costs the cluster no
// log. It ends with ctx, or when the number has lapsed or was given back, when the
// room was switched off (wire.StatusNoRoom: no pass is needed), or has nothing left
// (wire.StatusRoomClosed). Reads that fail on the way are tried again.
func (e *Event) AwaitTurn(ctx context.Context, t Ticket) (Pass, error) {
	const op = "await turn"
	for {
		s, err := e.Queue(ctx)
		pause := turnMost
		switch {
		case err != nil && StatusOf(err).Decided():
			return Pass{}, err
		case err != nil:
			pause = time.Second
		case s.State == wire.QueueOff:
			return Pass{}, e.misuse(op, wire.StatusNoRoom, "")
		default:
			number, known := s.Number(t)
			if known && number < s.Serving {
				p, err := e.Admit(ctx, t)
				if StatusOf(err).Decided() && StatusOf(err) != wire.StatusNotCalled {
					return p, err
				}
				pause = turnLeast
				break
			}
			if s.State == wire.QueueSoldOut || s.State == wire.QueueClosed {
				return Pass{}, e.misuse(op, wire.StatusRoomClosed, "the room is "+s.State.String())
			}
			if known {
				pause = time.Duration(float64(number-s.Serving+1) / 2 / float64(s.Config.Rate) * 1000 * float64(time.Second))
			}
			pause = min(pause, time.Duration(s.Config.Grace)*time.Millisecond/3) // a turn is not to be slept through
		}
		if err := e.client.linger(ctx, pause); err != nil {
			return Pass{}, &Error{Op: op, Event: e.key, Status: wire.StatusUnavailable, Err: err}
		}
	}
}

// linger waits, within AwaitTurn's bounds, never as long as others do.
func (c *Client) linger(ctx context.Context, d time.Duration) error {
	d = min(max(d, turnLeast), turnMost)
	timer := time.NewTimer(d/2 + rand.N(d/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.life.Done():
		return ErrClosed
	}
}

// SetRoom makes the event's waiting room, or changes the one there is to all that
// config says; wire.DefaultRoom is what to begin with, and Queue has what there is.
func (e *Event) SetRoom(ctx context.Context, config wire.RoomConfig) error {
	body := wire.SetRoom{Config: config}
	return e.client.ask(ctx, e.change("set room", wire.KindSetRoom, wire.ID{}, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	}), nil)
}

// PauseRoom lets nobody be called until ResumeRoom.
func (e *Event) PauseRoom(ctx context.Context) error { return e.direct(ctx, wire.RoomPause, nil) }

// ResumeRoom takes PauseRoom or DrainRoom back.
func (e *Event) ResumeRoom(ctx context.Context) error { return e.direct(ctx, wire.RoomResume, nil) }

// DrainRoom takes nobody new, and calls those who wait.
func (e *Event) DrainRoom(ctx context.Context) error { return e.direct(ctx, wire.RoomDrain, nil) }

// OpenRoom closes entries and opens, whatever the time.
func (e *Event) OpenRoom(ctx context.Context) error { return e.direct(ctx, wire.RoomOpen, nil) }

// EndRoom switches the room off: holds need no pass any more, and tickets are void.
func (e *Event) EndRoom(ctx context.Context) error { return e.direct(ctx, wire.RoomOff, nil) }

// DrawRoom brings the outside entropy of the draw, exactly as its source published
// it. It can be said once, after entries have closed.
func (e *Event) DrawRoom(ctx context.Context, entropy []byte) error {
	return e.direct(ctx, wire.RoomDraw, entropy)
}

func (e *Event) direct(ctx context.Context, action wire.RoomAction, entropy []byte) error {
	body := wire.DirectRoom{Action: action, Entropy: entropy}
	return e.client.ask(ctx, e.change(action.String()+" room", wire.KindDirectRoom, wire.ID{}, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	}), nil)
}
