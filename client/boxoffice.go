package client

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// A SeatsRequest names seats to block, unblock or cancel.
type SeatsRequest struct {
	Seats  []wire.SeatID
	Labels []string // more seats, the way tickets name them

	// ID of the request. Zero: the client makes one. Give the ID of an Error to
	// repeat what ended with AppliedUnknown.
	ID wire.ID
}

// Block takes free seats off sale, all or none.
func (e *Event) Block(ctx context.Context, r SeatsRequest) error {
	return e.seatsOp(ctx, "block", wire.KindBlock, r)
}

// Unblock puts blocked seats on sale again, all or none.
func (e *Event) Unblock(ctx context.Context, r SeatsRequest) error {
	return e.seatsOp(ctx, "unblock", wire.KindUnblock, r)
}

func (e *Event) seatsOp(ctx context.Context, op string, kind wire.Kind, r SeatsRequest) error {
	seats, err := e.seats(ctx, op, r.Seats, r.Labels, wire.MaxOpSeats)
	if err != nil {
		return err
	}
	body := wire.SeatsOp{Seats: seats}
	return e.client.ask(ctx, e.change(op, kind, r.ID, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	}), nil)
}

// A ChannelRequest makes a sales channel, changes its secret and gives it seats.
type ChannelRequest struct {
	Name   string        // empty: the seats go back to everybody
	Secret string        // what buyers must show
	Seats  []wire.SeatID // seats for the channel, whichever they were in
	Labels []string      // more seats, the way tickets name them
	ID     wire.ID       // as in SeatsRequest
}

// SetChannel gives seats to a sales channel: only who shows its secret may hold
// them.
func (e *Event) SetChannel(ctx context.Context, r ChannelRequest) error {
	const op = "set channel"
	if len(r.Name) > wire.MaxKeyLen {
		return e.misuse(op, wire.StatusBadRequest, fmt.Sprintf("a channel's name has at most %d bytes", wire.MaxKeyLen))
	}
	seats, err := e.seats(ctx, op, r.Seats, r.Labels, wire.MaxOpSeats)
	if err != nil {
		return err
	}
	body := wire.SetChannel{Name: []byte(r.Name), Key: wire.Channel(r.Secret), Seats: seats}
	return e.client.ask(ctx, e.change(op, wire.KindSetChannel, r.ID, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	}), nil)
}

// SetRules replaces the event's rules. Setting the same rules again changes
// nothing, so after AppliedUnknown it may be called again as it is.
func (e *Event) SetRules(ctx context.Context, rules wire.Rules) error {
	const op = "set rules"
	if err := rules.Validate(); err != nil {
		return e.misuse(op, wire.StatusBadRequest, err.Error())
	}
	body := wire.SetRules{Rules: rules}
	return e.client.ask(ctx, e.change(op, wire.KindSetRules, wire.ID{}, func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	}), nil)
}

// Booking gives a handle of a booking, which has the id of the hold that was
// confirmed. It asks nobody.
func (e *Event) Booking(id wire.ID) *Booking { return &Booking{event: e, id: id} }

// A Booking is seats that are sold. Immutable; safe for all goroutines.
type Booking struct {
	event *Event
	id    wire.ID
}

// Event is the event whose seats these are.
func (b *Booking) Event() *Event { return b.event }

// ID names the booking.
func (b *Booking) ID() wire.ID { return b.id }

// Info reads the booking as it stands.
func (b *Booking) Info(ctx context.Context) (*wire.HoldInfo, error) {
	return b.event.GetHold(ctx, b.id)
}

// Cancel gives these seats of the booking back, or all if none are named, and
// tells which are free again.
func (b *Booking) Cancel(ctx context.Context, r SeatsRequest) ([]wire.SeatID, error) {
	const op = "cancel"
	seats, err := b.event.seats(ctx, op, r.Seats, r.Labels, wire.MaxHoldSeats)
	if err != nil {
		return nil, err
	}
	body := wire.Cancel{Booking: b.id, Seats: seats}
	q := b.event.change(op, wire.KindCancel, r.ID, func(buf []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(buf)
	})
	var freed wire.SeatsLost
	if err := b.event.client.ask(ctx, q, &freed); err != nil {
		return nil, err
	}
	q.learn(freed.Now)
	return freed.Seats.IDs(), nil
}

// An ExchangeRequest swaps seats of a booking.
type ExchangeRequest struct {
	Give, Take             []wire.SeatID
	GiveLabels, TakeLabels []string // more seats, the way tickets name them
	Channel                string   // secret of a sales channel, for seats that want one
	ID                     wire.ID  // as in SeatsRequest
}

// Exchange swaps seats of the booking for free ones, all or nothing, and tells
// all seats that the booking has then.
func (b *Booking) Exchange(ctx context.Context, r ExchangeRequest) ([]wire.SeatID, error) {
	const op = "exchange"
	give, err := b.event.seats(ctx, op, r.Give, r.GiveLabels, wire.MaxHoldSeats)
	if err != nil {
		return nil, err
	}
	take, err := b.event.seats(ctx, op, r.Take, r.TakeLabels, wire.MaxHoldSeats)
	if err != nil {
		return nil, err
	}
	body := wire.Exchange{Booking: b.id, Channel: wire.Channel(r.Channel), Give: give, Take: take}
	q := b.event.change(op, wire.KindExchange, r.ID, func(buf []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(buf)
	})
	var done wire.Confirmed
	if err := b.event.client.ask(ctx, q, &done); err != nil {
		return nil, err
	}
	q.learn(done.Now)
	return done.Seats.IDs(), nil
}

// AddKey stores an API key under a name, replacing the one it had. The cluster
// keeps a hash of it only. Repeating it changes nothing.
func (c *Client) AddKey(ctx context.Context, name, key string, role wire.Role) error {
	const op = "add key"
	if err := checkKeyName(op, name); err != nil {
		return err
	}
	if key == "" {
		return &Error{Op: op, Status: wire.StatusBadRequest, Text: "an API key cannot be empty"}
	}
	body := wire.AddKey{Name: []byte(name), Hash: sha256.Sum256([]byte(key)), Role: role}
	return c.ask(ctx, &request{op: op, kind: wire.KindAddKey, mutate: func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	}}, nil)
}

// DropKey removes an API key by its name.
func (c *Client) DropKey(ctx context.Context, name string) error {
	const op = "drop key"
	if err := checkKeyName(op, name); err != nil {
		return err
	}
	body := wire.DropKey{Name: []byte(name)}
	return c.ask(ctx, &request{op: op, kind: wire.KindDropKey, mutate: func(b []byte, m wire.Mutation) []byte {
		body.Mutation = m
		return body.Append(b)
	}}, nil)
}

func checkKeyName(op, name string) error {
	if name == "" || len(name) > wire.MaxKeyLen {
		return &Error{Op: op, Status: wire.StatusBadRequest, Text: fmt.Sprintf("the name of an API key has 1 to %d bytes", wire.MaxKeyLen)}
	}
	return nil
}
