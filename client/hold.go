package client

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A HoldRequest names the seats it wants, all or none of them.
type HoldRequest struct {
	Seats  []wire.SeatID
	Labels []string // more seats, the way tickets name them: A-1-12

	Buyer       string        // whose seats per event are counted; empty: nobody's
	Channel     string        // secret of a sales channel, for seats that want one
	Pass        wire.PassID   // of a visitor of the event's waiting room, while it has one
	TTL         time.Duration // how long to hold; 0: as long as the event says
	Alternative bool          // if seats are taken, name the best others in Error.Offer

	// ID of the request and of the hold it makes. Zero: the client makes one.
	// Give the ID of an Error to repeat what ended with AppliedUnknown. A request
	// with an ID counts as a repetition: a call before may have been applied, so
	// what the system could not decide remains AppliedUnknown.
	ID wire.ID
}

// A BestRequest wants the best seats there are, next to each other.
type BestRequest struct {
	Count      int
	Section    string      // empty: any
	Categories []string    // price levels that will do; none: any
	Access     wire.Access // what every seat must have
	Split      bool        // seats apart are better than none
	NoOrphan   bool        // none is better than leaving a single seat over

	Buyer   string        // as in HoldRequest
	Channel string        // as in HoldRequest
	Pass    wire.PassID   // as in HoldRequest
	TTL     time.Duration // as in HoldRequest
	ID      wire.ID       // as in HoldRequest
}

// An AreaRequest wants places without numbers.
type AreaRequest struct {
	Area  string
	Count int

	Buyer   string        // as in HoldRequest
	Channel string        // as in HoldRequest
	Pass    wire.PassID   // as in HoldRequest
	TTL     time.Duration // as in HoldRequest
	ID      wire.ID       // as in HoldRequest
}

// Hold takes the seats that r names, for a time.
func (e *Event) Hold(ctx context.Context, r HoldRequest) (*Hold, error) {
	const op = "hold"
	ttl, err := e.millis(op, r.TTL)
	if err != nil {
		return nil, err
	}
	seats, err := e.seats(ctx, op, r.Seats, r.Labels, wire.MaxHoldSeats)
	if err != nil {
		return nil, err
	}
	body := wire.Hold{Buyer: wire.Buyer(r.Buyer), Channel: wire.Channel(r.Channel), Pass: r.Pass, TTL: ttl, Seats: seats}
	if r.Alternative {
		body.Flags |= wire.HoldAlternative
	}
	return e.grant(ctx, e.change(op, wire.KindHold, r.ID, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	}))
}

// HoldBest takes the best seats that fit r, for a time. The shard chooses, so
// that buyers who ask at the same moment do not collide.
func (e *Event) HoldBest(ctx context.Context, r BestRequest) (*Hold, error) {
	const op = "hold best"
	ttl, err := e.millis(op, r.TTL)
	if err != nil {
		return nil, err
	}
	body := wire.HoldBest{
		Buyer: wire.Buyer(r.Buyer), Channel: wire.Channel(r.Channel), Pass: r.Pass, TTL: ttl,
		Access: r.Access, Section: wire.Any,
	}
	if body.Count, err = e.count(op, r.Count); err != nil {
		return nil, err
	}
	if r.Split {
		body.Flags |= wire.HoldSplit
	}
	if r.NoOrphan {
		body.Flags |= wire.HoldNoOrphan
	}
	if err := e.placeBest(ctx, op, r, &body); err != nil {
		return nil, err
	}
	return e.grant(ctx, e.change(op, wire.KindHoldBest, r.ID, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	}))
}

// placeBest translates the names in r.
func (e *Event) placeBest(ctx context.Context, op string, r BestRequest, body *wire.HoldBest) error {
	if r.Section == "" && len(r.Categories) == 0 {
		return nil
	}
	places, err := e.Places(ctx)
	if err != nil {
		return err
	}
	if r.Section != "" {
		var ok bool
		if body.Section, ok = places.Section(r.Section); !ok {
			return e.misuse(op, wire.StatusUnknownPlace, fmt.Sprintf("section %q", r.Section))
		}
	}
	for _, name := range r.Categories {
		i, ok := places.Category(name)
		if !ok {
			return e.misuse(op, wire.StatusUnknownPlace, fmt.Sprintf("category %q", name))
		}
		body.Categories |= 1 << i
	}
	return nil
}

// HoldArea takes places of an area, for a time.
func (e *Event) HoldArea(ctx context.Context, r AreaRequest) (*Hold, error) {
	const op = "hold area"
	ttl, err := e.millis(op, r.TTL)
	if err != nil {
		return nil, err
	}
	body := wire.HoldArea{Buyer: wire.Buyer(r.Buyer), Channel: wire.Channel(r.Channel), Pass: r.Pass, TTL: ttl}
	if body.Count, err = e.count(op, r.Count); err != nil {
		return nil, err
	}
	places, err := e.Places(ctx)
	if err != nil {
		return nil, err
	}
	var ok bool
	if body.Area, ok = places.Area(r.Area); !ok {
		return nil, e.misuse(op, wire.StatusUnknownPlace, fmt.Sprintf("area %q", r.Area))
	}
	return e.grant(ctx, e.change(op, wire.KindHoldArea, r.ID, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	}))
}

// millis turns a time to live into milliseconds; less than one is one.
func (e *Event) millis(op string, ttl time.Duration) (uint32, error) {
	ms := (ttl + time.Millisecond - 1) / time.Millisecond
	if ttl < 0 || ms > math.MaxUint32 {
		return 0, e.misuse(op, wire.StatusBadRequest, fmt.Sprintf("a hold of %v", ttl))
	}
	return uint32(ms), nil
}

func (e *Event) count(op string, n int) (uint16, error) {
	if n < 1 || n > wire.MaxHoldSeats {
		return 0, e.misuse(op, wire.StatusBadRequest, fmt.Sprintf("%d seats; a hold has 1 to %d", n, wire.MaxHoldSeats))
	}
	return uint16(n), nil
}

func (e *Event) grant(ctx context.Context, q *request) (*Hold, error) {
	var g wire.Granted
	if err := e.client.ask(ctx, q, &g); err != nil {
		return nil, err
	}
	h := &Hold{event: e, id: q.id, fence: g.Fence, seats: g.Seats.IDs(), expires: q.expires(g.Deadline, g.Now), seen: true}
	q.learn(g.Now)
	return h, nil
}

// GetHold reads a hold as it stands, with all that was acknowledged before.
func (e *Event) GetHold(ctx context.Context, id wire.ID) (*wire.HoldInfo, error) {
	info, _, err := e.getHold(ctx, id)
	return info, err
}

func (e *Event) getHold(ctx context.Context, id wire.ID) (*wire.HoldInfo, *request, error) {
	info := new(wire.HoldInfo)
	ref := wire.HoldRef{Event: e.id, ID: id}
	q := e.read("read hold", wire.KindGetHold, ref.Append)
	q.consistent = true
	if err := e.client.ask(ctx, q, info); err != nil {
		return nil, nil, err
	}
	q.learn(info.Now)
	return info, q, nil
}

// ResumeHold makes a handle of a hold that was made elsewhere: a frontend gives
// id and fence to the worker that confirms. It asks nobody; use Refresh for
// seats and time.
func (e *Event) ResumeHold(id wire.ID, fence wire.Fence) *Hold {
	return &Hold{event: e, id: id, fence: fence}
}

// A Hold is seats that a buyer has for a time. It belongs to one goroutine at a
// time. Its calls quote id and fence, so all of them may be repeated: the same
// call gives the same answer.
type Hold struct {
	event      *Event
	id         wire.ID
	fence      wire.Fence
	seats      []wire.SeatID // still held, as far as this handle knows
	booked     []wire.SeatID
	expires    time.Time
	extensions uint8
	reacquired bool
	seen       bool // seats, booked, expires and extensions are what a shard said
}

// Event is the event whose seats these are.
func (h *Hold) Event() *Event { return h.event }

// ID names the hold, and the booking it becomes.
func (h *Hold) ID() wire.ID { return h.id }

// Fence proves that a caller speaks of this grant.
func (h *Hold) Fence() wire.Fence { return h.fence }

// Seats are all seats of the hold, those that are booked after those that are
// not. They do not change when they expire; only the shard knows that.
func (h *Hold) Seats() []wire.SeatID { return slices.Concat(h.seats, h.booked) }

// Booked are the seats that are booked.
func (h *Hold) Booked() []wire.SeatID { return slices.Clone(h.booked) }

// ExpiresAt is until when the seats are surely held, by this machine's monotonic
// clock: counted from before the request was sent, so the shard never ends a
// hold earlier. It is zero for a resumed hold before Refresh or Extend.
func (h *Hold) ExpiresAt() time.Time { return h.expires }

// Reacquired reports that Confirm came after the hold had expired, and its seats
// were free and granted anew.
func (h *Hold) Reacquired() bool { return h.reacquired }

// Refresh reads the hold and fails if it is not held, being paid or booked.
func (h *Hold) Refresh(ctx context.Context) error {
	const op = "refresh hold"
	info, q, err := h.event.getHold(ctx, h.id)
	if err != nil {
		return err
	}
	if info.Fence != h.fence {
		return h.event.misuse(op, wire.StatusFenceMismatch, "")
	}
	h.seats, h.booked = info.Held.IDs(), info.Booked.IDs()
	h.extensions, h.reacquired, h.seen = info.Extensions, info.Reacquired, true
	switch info.State {
	case wire.StateHeld, wire.StatePaying:
		h.expires = q.expires(info.Deadline, info.Now)
	case wire.StateExpired:
		return h.event.misuse(op, wire.StatusExpired, "")
	case wire.StateReleased:
		return h.event.misuse(op, wire.StatusReleased, "")
	case wire.StateLost:
		return h.event.misuse(op, wire.StatusLost, "")
	case wire.StateCancelled:
		return h.event.misuse(op, wire.StatusCancelled, "")
	}
	return nil
}

// Extend lets the hold last for ttl from now, or as long as a new one if ttl is
// zero. Events bound how often. After AppliedUnknown, call it again: the same
// extension is not counted twice.
func (h *Hold) Extend(ctx context.Context, ttl time.Duration) error {
	const op = "extend"
	ms, err := h.event.millis(op, ttl)
	if err != nil {
		return err
	}
	if !h.seen {
		if err := h.Refresh(ctx); err != nil {
			return err
		}
	}
	if h.extensions == math.MaxUint8 {
		return h.event.misuse(op, wire.StatusNoExtension, "")
	}
	body := wire.Extend{Fence: h.fence, TTL: ms, Nth: h.extensions + 1}
	err = h.retime(ctx, op, wire.KindExtend, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	})
	if err == nil {
		h.extensions++
	}
	return err
}

// Pay keeps the seats while their buyer pays: the hold no longer ends after its
// time, but after the event's cap for payments.
func (h *Hold) Pay(ctx context.Context) error {
	body := wire.Pay{Fence: h.fence}
	return h.retime(ctx, "pay", wire.KindPay, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	})
}

func (h *Hold) retime(ctx context.Context, op string, kind wire.Kind, body func([]byte, wire.Mutation) []byte) error {
	var t wire.Timing
	q := h.change(op, kind, body)
	if err := h.event.client.ask(ctx, q, &t); err != nil {
		return err
	}
	h.expires = q.expires(t.Deadline, t.Now)
	return nil
}

// Confirm books these seats of the hold, or all that are still held if none are
// named. A hold that expired is granted anew if all its seats are free, see
// Reacquired; otherwise the error's status is wire.StatusLost, for ever.
func (h *Hold) Confirm(ctx context.Context, seats ...wire.SeatID) error {
	var done wire.Confirmed
	if err := h.event.client.ask(ctx, h.onHold("confirm", wire.KindConfirm, seats), &done); err != nil {
		return err
	}
	h.reacquired = h.reacquired || done.Reacquired
	booked := done.Seats.IDs()
	h.seats = without(h.seats, booked)
	h.booked = append(without(h.booked, booked), booked...)
	return nil
}

// Release gives these seats of the hold back, or all that are still held if none
// are named.
func (h *Hold) Release(ctx context.Context, seats ...wire.SeatID) error {
	var freed wire.SeatsLost
	if err := h.event.client.ask(ctx, h.onHold("release", wire.KindRelease, seats), &freed); err != nil {
		return err
	}
	h.seats = without(h.seats, freed.Seats.IDs())
	return nil
}

func (h *Hold) onHold(op string, kind wire.Kind, seats []wire.SeatID) *request {
	body := wire.OnHold{Fence: h.fence, Seats: wire.MakeSeatList(seats...)}
	return h.change(op, kind, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	})
}

// change is an operation on the hold, which goes by the hold's id.
func (h *Hold) change(op string, kind wire.Kind, body func([]byte, wire.Mutation) []byte) *request {
	return &request{op: op, kind: kind, event: h.event, id: h.id, mutate: body}
}

// without gives the seats of list that are not in gone.
func without(list, gone []wire.SeatID) []wire.SeatID {
	var rest []wire.SeatID
	for _, s := range list {
		if !slices.Contains(gone, s) {
			rest = append(rest, s)
		}
	}
	return rest
}
