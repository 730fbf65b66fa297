package server

import (
	"math"
	"net/http"

	"github.com/usher-seats/usher/wire"
)

// onHoldBody is what extend, pay, confirm and release say.
type onHoldBody struct {
	Fence *decimal `json:"fence"`
}

type someSeatsBody struct {
	Fence *decimal `json:"fence"`
	Seats []string `json:"seats"`
}

type extendBody struct {
	Fence *decimal `json:"fence"`
	TTL   int64    `json:"ttl_ms"`
	Nth   int      `json:"nth"`
}

// timed answers extend and pay.
type timed struct {
	ID        string `json:"id"`
	ExpiresIn int64  `json:"expires_in_ms"`
	ExpiresAt string `json:"expires_at"`
}

// confirmed answers confirm and exchange.
type confirmed struct {
	ID         string   `json:"id"`
	Seats      []string `json:"seats"`
	Reacquired bool     `json:"reacquired"`
}

// freed answers release and cancel.
type freed struct {
	ID    string   `json:"id"`
	Seats []string `json:"seats"`
}

// A step is a request on a hold or booking.
type step struct {
	hold   wire.ID
	op     operationID  // of the request itself: the hold's, unless it has its own
	places *wire.Places // of the event
}

// step reads the body, then finds the event and the hold of the path.
func (q *request) step(body any) (step, *problem) {
	if p := q.body(body); p != nil {
		return step{}, p
	}
	if p := q.locate(); p != nil {
		return step{}, p
	}
	id, p := q.pathID()
	if p != nil {
		return step{}, p
	}
	_, places, p := q.manifest()
	return step{id, operationID{id: id}, places}, p
}

// send sends a step's operation and reads the answer into v.
func (q *request) send(s step, r wire.Record, v interface{ Decode([]byte) error }) *problem {
	r.Flags |= s.op.flags
	status, body := q.do(r)
	if status != wire.StatusOK {
		return refusal(status, body, s.places).with("id", s.op.id.String())
	}
	if err := v.Decode(body); err != nil {
		return q.broken(r.Kind, err)
	}
	return nil
}

func fenceOf(d *decimal) (wire.Fence, *problem) {
	if d == nil {
		return 0, badRequest("fence", "Send the \"fence\" that came with the hold: it proves that you speak of that grant and not of a later one.")
	}
	return wire.Fence(*d), nil
}

// extend serves POST …/holds/{id}/extend.
func (q *request) extend() *problem {
	var b extendBody
	s, p := q.step(&b)
	if p != nil {
		return p
	}
	fence, p := fenceOf(b.Fence)
	switch {
	case p != nil:
		return p
	case b.TTL < 0 || b.TTL > math.MaxUint32:
		return badRequest("ttl_ms", "The field \"ttl_ms\" must be a number of milliseconds above 0; leave it out for the event's own.")
	case b.Nth < 0 || b.Nth > math.MaxUint8:
		return badRequest("nth", "The field \"nth\" must be 1 for the hold's first extension, 2 for its second, and so on.")
	}
	op := wire.Extend{Mutation: q.mutation(s.hold), Fence: fence, TTL: uint32(b.TTL), Nth: uint8(b.Nth)}
	return q.timing(s, wire.Record{Kind: wire.KindExtend, Body: op.Append(nil)})
}

// pay serves POST …/holds/{id}/pay.
func (q *request) pay() *problem {
	var b onHoldBody
	s, p := q.step(&b)
	if p != nil {
		return p
	}
	fence, p := fenceOf(b.Fence)
	if p != nil {
		return p
	}
	op := wire.Pay{Mutation: q.mutation(s.hold), Fence: fence}
	return q.timing(s, wire.Record{Kind: wire.KindPay, Body: op.Append(nil)})
}

func (q *request) timing(s step, r wire.Record) *problem {
	var t wire.Timing
	if p := q.send(s, r, &t); p != nil {
		return p
	}
	in, at := q.expiry(t.Deadline)
	return q.reply(http.StatusOK, timed{s.hold.String(), in, at})
}

// confirm serves POST …/holds/{id}/confirm.
func (q *request) confirm() *problem {
	s, r, p := q.onHold(wire.KindConfirm)
	if p != nil {
		return p
	}
	var c wire.Confirmed
	if p := q.send(s, r, &c); p != nil {
		return p
	}
	return q.reply(http.StatusOK, confirmed{s.hold.String(), labelsOf(s.places, c.Seats), c.Reacquired})
}

// release serves POST …/holds/{id}/release.
func (q *request) release() *problem {
	s, r, p := q.onHold(wire.KindRelease)
	if p != nil {
		return p
	}
	return q.freeing(s, r)
}

func (q *request) freeing(s step, r wire.Record) *problem {
	var free wire.SeatsLost
	if p := q.send(s, r, &free); p != nil {
		return p
	}
	return q.reply(http.StatusOK, freed{s.hold.String(), labelsOf(s.places, free.Seats)})
}

// onHold makes a confirm or release of a hold's seats, or of some of them.
func (q *request) onHold(k wire.Kind) (step, wire.Record, *problem) {
	var b someSeatsBody
	s, p := q.step(&b)
	if p != nil {
		return s, wire.Record{}, p
	}
	fence, p := fenceOf(b.Fence)
	if p != nil {
		return s, wire.Record{}, p
	}
	seats, p := someSeats(s.places, "seats", b.Seats)
	if p != nil {
		return s, wire.Record{}, p
	}
	op := wire.OnHold{Mutation: q.mutation(s.hold), Fence: fence, Seats: seats}
	return s, wire.Record{Kind: k, Body: op.Append(nil)}, nil
}

// someSeats are the seats a field names; none if it is absent, which means all.
// An empty list is refused, because it looks like none and would mean all.
func someSeats(places *wire.Places, field string, labels []string) (wire.SeatList, *problem) {
	if labels == nil {
		return nil, nil
	}
	if len(labels) == 0 || len(labels) > wire.MaxHoldSeats {
		return nil, badRequest(field, "The field \""+field+"\" must name at least one seat and no more than a hold has; leave it out to mean all.")
	}
	seats, p := seatsNamed(places, field, labels)
	return wire.MakeSeatList(seats...), p
}

// booking answers GET …/bookings/{id}.
type booking struct {
	ID         string   `json:"id"`
	State      string   `json:"state"`
	Fence      decimal  `json:"fence"`
	Seats      []string `json:"seats"`
	Reacquired bool     `json:"reacquired"`
}

// getBooking serves GET …/bookings/{id}. A hold of which nothing was ever
// booked is no booking.
func (q *request) getBooking() *problem {
	id, info, places, p := q.readHold()
	if p != nil {
		return p
	}
	if info.Booked.Len() == 0 && info.State != wire.StateCancelled {
		return statusProblem(wire.StatusNotBooked).with("id", id.String()).with("state", info.State.String())
	}
	q.ctx.Response.Header.Set("Cache-Control", "no-store")
	return q.reply(http.StatusOK, booking{id.String(), info.State.String(), decimal(info.Fence), labelsOf(places, info.Booked), info.Reacquired})
}

type cancelBody struct {
	ID    string   `json:"id"`
	Seats []string `json:"seats"`
}

// cancel serves POST …/bookings/{id}/cancel.
func (q *request) cancel() *problem {
	var b cancelBody
	s, p := q.step(&b)
	if p != nil {
		return p
	}
	seats, p := someSeats(s.places, "seats", b.Seats)
	if p != nil {
		return p
	}
	if s.op, p = q.operationID("cancel", b.ID); p != nil {
		return p
	}
	op := wire.Cancel{Mutation: q.mutation(s.op.id), Booking: s.hold, Seats: seats}
	return q.freeing(s, wire.Record{Kind: wire.KindCancel, Body: op.Append(nil)})
}

type exchangeBody struct {
	ID      string   `json:"id"`
	Channel string   `json:"channel"`
	Give    []string `json:"give"`
	Take    []string `json:"take"`
}

// exchange serves POST …/bookings/{id}/exchange.
func (q *request) exchange() *problem {
	var b exchangeBody
	s, p := q.step(&b)
	if p != nil {
		return p
	}
	if len(b.Give) == 0 || len(b.Take) == 0 {
		return badRequest("give", "Name seats of the booking in \"give\" and free ones in \"take\".")
	}
	give, p := someSeats(s.places, "give", b.Give)
	if p != nil {
		return p
	}
	take, p := someSeats(s.places, "take", b.Take)
	if p != nil {
		return p
	}
	if s.op, p = q.operationID("exchange", b.ID); p != nil {
		return p
	}
	op := wire.Exchange{Mutation: q.mutation(s.op.id), Booking: s.hold, Channel: wire.Channel(b.Channel), Give: give, Take: take}
	var c wire.Confirmed
	if p := q.send(s, wire.Record{Kind: wire.KindExchange, Body: op.Append(nil)}, &c); p != nil {
		return p
	}
	return q.reply(http.StatusOK, confirmed{s.hold.String(), labelsOf(s.places, c.Seats), c.Reacquired})
}
