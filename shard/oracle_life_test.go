package shard_test

import (
	"fmt"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// onHold checks extend, pay, confirm and release.
func (m *model) onHold(e *modelEvent, mu wire.Mutation, r wire.Record, status wire.Status, body []byte) error {
	h := e.holds[mu.ID]
	if h == nil {
		if status == wire.StatusTooOld {
			return m.mayBeTooOld(e, mu.ID)
		}
		return expect(status, wire.StatusUnknownHold, wire.StatusBadRequest)
	}
	a := e.answers[mu.ID]
	if a.ended != wire.Never && m.now-a.ended >= modelWindow && (status == wire.StatusUnknownHold || status == wire.StatusTooOld) {
		return nil // forgotten
	}
	fence, err := fenceOf(r)
	if err != nil {
		return expect(status, wire.StatusBadRequest)
	}
	if fence != h.fence {
		return expect(status, wire.StatusFenceMismatch)
	}
	if status == wire.StatusLate {
		if m.lateOr(mu) == nil {
			return fmt.Errorf("late before its deadline")
		}
		return nil
	}
	switch r.Kind {
	case wire.KindPay:
		return m.pay(e, h, mu, status, body)
	case wire.KindExtend:
		return m.extend(e, h, r, mu, status, body)
	case wire.KindConfirm:
		return m.confirm(e, h, r, mu, status, body)
	}
	return m.release(e, h, r, mu, status, body)
}

func fenceOf(r wire.Record) (wire.Fence, error) {
	switch r.Kind {
	case wire.KindPay:
		var op wire.Pay
		err := op.Decode(r.Body)
		return op.Fence, err
	case wire.KindExtend:
		var op wire.Extend
		err := op.Decode(r.Body)
		return op.Fence, err
	}
	var op wire.OnHold
	err := op.Decode(r.Body)
	return op.Fence, err
}

// over is what a hold that is no longer live answers.
func (h *modelHold) over(status wire.Status) error {
	switch h.state {
	case wire.StateBooked:
		return expect(status, wire.StatusBooked)
	case wire.StateReleased:
		return expect(status, wire.StatusReleased)
	case wire.StateExpired:
		return expect(status, wire.StatusExpired)
	case wire.StateLost:
		return expect(status, wire.StatusLost)
	case wire.StateCancelled:
		return expect(status, wire.StatusCancelled, wire.StatusReleased)
	}
	return fmt.Errorf("hold is %v", h.state)
}

func (m *model) timing(h *modelHold, body []byte) error {
	var t wire.Timing
	if err := t.Decode(body); err != nil {
		return err
	}
	if t.Deadline != h.deadline {
		return fmt.Errorf("deadline %d, want %d", t.Deadline, h.deadline)
	}
	return nil
}

func (m *model) pay(e *modelEvent, h *modelHold, mu wire.Mutation, status wire.Status, body []byte) error {
	if !h.live() {
		return h.over(status)
	}
	if h.state == wire.StateHeld {
		if late := m.lateOr(mu); late != nil {
			return expect(status, late[0])
		}
		h.state = wire.StatePaying
		h.deadline = max(h.deadline, m.now+wire.Millis(e.rules.PayCap))
	}
	if err := expect(status, wire.StatusOK); err != nil {
		return err
	}
	return m.timing(h, body)
}

func (m *model) extend(e *modelEvent, h *modelHold, r wire.Record, mu wire.Mutation, status wire.Status, body []byte) error {
	var op wire.Extend
	if err := op.Decode(r.Body); err != nil {
		return err
	}
	if op.Nth != 0 && op.Nth <= h.extensions && h.live() {
		if err := expect(status, wire.StatusOK); err != nil {
			return err
		}
		return m.timing(h, body)
	}
	if !h.live() {
		return h.over(status)
	}
	if late := m.lateOr(mu); late != nil {
		return expect(status, late[0])
	}
	if h.extensions >= e.rules.Extensions || h.state == wire.StatePaying {
		return expect(status, wire.StatusNoExtension)
	}
	if status == wire.StatusBadRequest && op.Nth > h.extensions+1 {
		return nil
	}
	ttl := op.TTL
	if ttl == 0 {
		ttl = e.rules.HoldTTL
	}
	h.extensions++
	h.deadline = max(h.deadline, m.now+wire.Millis(ttl))
	if err := expect(status, wire.StatusOK); err != nil {
		return err
	}
	return m.timing(h, body)
}

// named gives the seats that a call speaks of: those it names, or all that are
// held.
func (h *modelHold) named(list wire.SeatList) (seats []wire.SeatID, strange bool) {
	if list.Len() == 0 {
		return h.in(wire.StateHeld), false
	}
	seats = list.IDs()
	for _, s := range seats {
		if !slices.Contains(h.seats, s) {
			return seats, true
		}
	}
	return seats, false
}

// any reports whether one of seats is in a state.
func (h *modelHold) any(seats []wire.SeatID, s wire.HoldState) bool {
	return slices.ContainsFunc(seats, func(seat wire.SeatID) bool { return h.per[seat] == s })
}

func (m *model) confirm(e *modelEvent, h *modelHold, r wire.Record, mu wire.Mutation, status wire.Status, body []byte) error {
	var op wire.OnHold
	if err := op.Decode(r.Body); err != nil {
		return err
	}
	seats, strange := h.named(op.Seats)
	if strange || duplicates(seats) {
		return expect(status, wire.StatusUnknownSeat, append([]wire.Status{wire.StatusBadRequest}, overStatuses...)...)
	}
	if op.Seats.Len() == 0 && len(seats) == 0 {
		seats = h.in(wire.StateExpired)
	}
	switch {
	case h.any(seats, wire.StateReleased) || h.any(seats, wire.StateCancelled):
		return expect(status, wire.StatusReleased, wire.StatusCancelled)
	case len(seats) == 0 && len(h.in(wire.StateBooked)) == 0:
		return expect(status, wire.StatusReleased, wire.StatusCancelled)
	case h.any(seats, wire.StateExpired):
		return m.confirmLate(e, h, seats, mu, status, body)
	}
	if err := expect(status, wire.StatusOK); err != nil {
		return err
	}
	if h.any(seats, wire.StateHeld) {
		if m.lateOr(mu) != nil {
			return fmt.Errorf("confirmed after the deadline")
		}
	}
	return m.book(e, h, seats, op.Seats.Len() == 0, body)
}

var overStatuses = []wire.Status{wire.StatusExpired, wire.StatusReleased, wire.StatusLost, wire.StatusCancelled, wire.StatusBooked}

func (m *model) book(e *modelEvent, h *modelHold, seats []wire.SeatID, all bool, body []byte) error {
	var c wire.Confirmed
	if err := c.Decode(body); err != nil {
		return err
	}
	booked := 0
	for _, s := range seats {
		if h.per[s] == wire.StateHeld {
			h.per[s], e.state[s] = wire.StateBooked, wire.SeatBooked
			booked++
		}
	}
	e.bookedWith(h, booked)
	want := seats
	if all && len(seats) == 0 {
		want = c.Seats.IDs() // a repeat: it answers what it answered then
		for _, s := range want {
			if h.per[s] != wire.StateBooked {
				return fmt.Errorf("confirm answers seat %d, which is not booked", s)
			}
		}
	}
	if !sameSeats(c.Seats.IDs(), want) {
		return fmt.Errorf("confirm booked %v, want %v", c.Seats.IDs(), want)
	}
	if c.Reacquired != h.reacquired {
		return fmt.Errorf("reacquired is %v, want %v", c.Reacquired, h.reacquired)
	}
	h.settle(e, m.now)
	return nil
}

// confirmLate is the confirm of seats that have expired: all of them or none, and
// if none, then for ever.
func (m *model) confirmLate(e *modelEvent, h *modelHold, seats []wire.SeatID, mu wire.Mutation, status wire.Status, body []byte) error {
	var want []wire.SeatID
	for _, s := range seats {
		if h.per[s] == wire.StateExpired {
			want = append(want, s)
		}
	}
	if h.lost {
		return expect(status, wire.StatusLost)
	}
	if late := m.lateOr(mu); late != nil {
		return expect(status, late[0])
	}
	if lost := e.notFree(want); len(lost) > 0 {
		h.lost = true
		if len(h.in(wire.StateBooked)) == 0 {
			h.state = wire.StateLost
			e.answers[h.id].ended = m.now
		}
		return reasons{wire.StatusLost: lost}.mustRefuse(status, body)
	}
	if err := expect(status, wire.StatusOK); err != nil {
		return err
	}
	h.state, h.reacquired = wire.StateHeld, true
	for _, s := range want {
		h.per[s] = wire.StateHeld
	}
	return m.book(e, h, seats, false, body)
}

// mustRefuse is judge for a request that cannot be granted.
func (r reasons) mustRefuse(status wire.Status, body []byte) error {
	granted, err := r.judge(status, body)
	if granted {
		return fmt.Errorf("granted in spite of %v", r)
	}
	return err
}

func (m *model) release(e *modelEvent, h *modelHold, r wire.Record, mu wire.Mutation, status wire.Status, body []byte) error {
	var op wire.OnHold
	if err := op.Decode(r.Body); err != nil {
		return err
	}
	seats, strange := h.named(op.Seats)
	if strange || duplicates(seats) {
		return expect(status, wire.StatusUnknownSeat, append([]wire.Status{wire.StatusBadRequest}, overStatuses...)...)
	}
	switch {
	case h.any(seats, wire.StateBooked):
		return expect(status, wire.StatusBooked)
	case h.state == wire.StateCancelled:
		return expect(status, wire.StatusCancelled, wire.StatusOK, wire.StatusReleased)
	case op.Seats.Len() == 0 && (h.state == wire.StateExpired || h.state == wire.StateLost):
		return h.over(status)
	case op.Seats.Len() == 0 && !h.live():
		// A repeat, or there is nothing to release.
		return expect(status, wire.StatusOK, wire.StatusBooked)
	case h.any(seats, wire.StateExpired):
		return expect(status, wire.StatusExpired, wire.StatusLost)
	}
	if err := expect(status, wire.StatusOK); err != nil {
		return err
	}
	return m.free(e, h, seats, wire.StateHeld, wire.StateReleased, body)
}

// free gives seats back that are in one state, and checks that the answer names
// what the call is about.
func (m *model) free(e *modelEvent, h *modelHold, seats []wire.SeatID, from, to wire.HoldState, body []byte) error {
	var freed wire.SeatsLost
	if err := freed.Decode(body); err != nil {
		return err
	}
	if !sameSeats(freed.Seats.IDs(), seats) {
		return fmt.Errorf("freed %v, want %v", freed.Seats.IDs(), seats)
	}
	if !h.any(seats, from) {
		return nil // a repeat
	}
	for _, s := range seats {
		if h.per[s] == from {
			h.per[s], e.state[s] = to, wire.SeatFree
			if from == wire.StateBooked {
				e.bookedWith(h, -1)
			}
		}
	}
	h.settle(e, m.now)
	return nil
}

func (m *model) cancel(e *modelEvent, request []byte, status wire.Status, body []byte) error {
	var op wire.Cancel
	if err := op.Decode(request); err != nil {
		return expect(status, wire.StatusBadRequest)
	}
	h := e.holds[op.Booking]
	if h == nil {
		return expect(status, wire.StatusUnknownHold, wire.StatusBadRequest)
	}
	seats := op.Seats.IDs()
	if len(seats) == 0 {
		seats = h.in(wire.StateBooked)
	}
	booked := len(h.in(wire.StateBooked)) > 0
	if status == wire.StatusOK {
		if !booked || slices.ContainsFunc(seats, func(s wire.SeatID) bool { return h.per[s] != wire.StateBooked }) || duplicates(seats) {
			return fmt.Errorf("cancelled %v of a hold that is %v", seats, h.state)
		}
		return m.free(e, h, seats, wire.StateBooked, wire.StateCancelled, body)
	}
	if booked && !duplicates(seats) && !slices.ContainsFunc(seats, func(s wire.SeatID) bool { return h.per[s] != wire.StateBooked }) {
		return fmt.Errorf("refused with %v to cancel %v of a hold that is %v", status, seats, h.state)
	}
	return expect(status, wire.StatusNotBooked, wire.StatusCancelled, wire.StatusUnknownSeat, wire.StatusBadRequest, wire.StatusUnknownHold)
}

func (m *model) exchange(e *modelEvent, request []byte, status wire.Status, body []byte) error {
	var op wire.Exchange
	if err := op.Decode(request); err != nil {
		return expect(status, wire.StatusBadRequest)
	}
	h := e.holds[op.Booking]
	if h == nil {
		return expect(status, wire.StatusUnknownHold, wire.StatusBadRequest)
	}
	give, take := op.Give.IDs(), op.Take.IDs()
	notMine := slices.ContainsFunc(give, func(s wire.SeatID) bool { return h.per[s] != wire.StateBooked })
	if len(h.in(wire.StateBooked)) == 0 || notMine || duplicates(give) || duplicates(take) || len(give) == 0 || len(take) == 0 || len(e.unknown(take)) > 0 {
		if status == wire.StatusOK || !status.Decided() {
			return fmt.Errorf("exchange of %v for %v answers %v, hold is %v", give, take, status, h.state)
		}
		return nil
	}
	why := make(reasons)
	lost, closed := e.notFree(take), e.closed(take, op.Channel)
	why.add(wire.StatusTaken, len(lost) > 0, lost)
	why.add(wire.StatusChannelRequired, len(closed) > 0, closed)
	limit := int(e.rules.SeatsPerBuyer)
	more := len(take) - len(give)
	why.add(wire.StatusBuyerLimit, h.buyer != 0 && limit > 0 && more > 0 && e.buyerSeats(h.buyer)+more > limit, nil)
	left := len(h.in(wire.StateHeld)) + len(h.in(wire.StateBooked)) + more
	why.add(wire.StatusHoldLimit, more > 0 && left > int(e.rules.SeatsPerHold), nil)
	granted, err := why.judge(status, body)
	if !granted || err != nil {
		return err
	}
	for _, s := range give {
		h.per[s], e.state[s] = wire.StateCancelled, wire.SeatFree
	}
	for _, s := range take {
		h.per[s], e.state[s] = wire.StateBooked, wire.SeatBooked
		if !slices.Contains(h.seats, s) {
			h.seats = append(h.seats, s)
		}
	}
	e.bookedWith(h, more)
	var c wire.Confirmed
	if err := c.Decode(body); err != nil {
		return err
	}
	if !sameSeats(c.Seats.IDs(), h.in(wire.StateBooked)) {
		return fmt.Errorf("exchange answers %v, booked are %v", c.Seats.IDs(), h.in(wire.StateBooked))
	}
	return nil
}

func (m *model) block(e *modelEvent, r wire.Record, status wire.Status, body []byte) error {
	var op wire.SeatsOp
	if err := op.Decode(r.Body); err != nil {
		return expect(status, wire.StatusBadRequest)
	}
	seats := op.Seats.IDs()
	from, to := wire.SeatFree, wire.SeatBlocked
	if r.Kind == wire.KindUnblock {
		from, to = to, from
	}
	var wrong, change []wire.SeatID
	for _, s := range seats {
		switch e.state[s] {
		case from:
			change = append(change, s)
		case to:
		default:
			// Unblocking what is not blocked changes nothing and is fine.
			if r.Kind == wire.KindBlock {
				wrong = append(wrong, s)
			}
		}
	}
	why := make(reasons)
	unknown := e.unknown(seats)
	why.add(wire.StatusBadRequest, len(seats) == 0 || duplicates(seats), nil)
	why.add(wire.StatusUnknownSeat, len(unknown) > 0, unknown)
	why.add(wire.StatusTaken, len(unknown) == 0 && len(wrong) > 0, wrong)
	granted, err := why.judge(status, body)
	if !granted || err != nil {
		return err
	}
	for _, s := range change {
		e.state[s] = to
	}
	return nil
}

func (m *model) setChannel(e *modelEvent, request []byte, status wire.Status) error {
	var op wire.SetChannel
	if err := op.Decode(request); err != nil {
		return expect(status, wire.StatusBadRequest)
	}
	seats := op.Seats.IDs()
	if len(e.unknown(seats)) > 0 || duplicates(seats) {
		return expect(status, wire.StatusUnknownSeat, wire.StatusBadRequest)
	}
	if err := expect(status, wire.StatusOK); err != nil {
		return err
	}
	if len(op.Name) == 0 {
		for _, s := range seats {
			delete(e.channel, s)
		}
		return nil
	}
	c := slices.Index(e.names, string(op.Name))
	if c < 0 {
		c = len(e.names)
		e.names, e.keys = append(e.names, string(op.Name)), append(e.keys, 0)
	}
	e.keys[c] = op.Key
	for _, s := range seats {
		e.channel[s] = c
	}
	return nil
}
