package shard_test

import (
	"fmt"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// decide checks the outcome that the shard gave to a record against the model,
// and lets the model follow it. It returns what is wrong.
func (m *model) decide(r wire.Record, status wire.Status, body []byte) error {
	mu, err := wire.ParseMutation(r.Body)
	if err != nil {
		return expect(status, wire.StatusBadRequest)
	}
	if !mu.ID.Valid() || malformed(r) {
		return expect(status, wire.StatusBadRequest)
	}
	e := m.events[mu.Event]
	if e == nil {
		return expect(status, wire.StatusUnknownEvent)
	}
	switch r.Kind {
	case wire.KindExtend, wire.KindPay, wire.KindConfirm, wire.KindRelease:
		return m.onHold(e, mu, r, status, body)
	case wire.KindRedeem:
		return m.redeem(e, mu, r.Body, status, body)
	case wire.KindLeave:
		return m.leave(e, mu, r.Body, status)
	case wire.KindWallClock:
		var op wire.WallClock
		if err := op.Decode(r.Body); err != nil {
			return err
		}
		e.wall = op.Wall
		if e.room != nil {
			e.room.clock(e.wall, m.now)
		}
		return expect(status, wire.StatusOK)
	}
	if first := e.answers[mu.ID]; first != nil {
		return m.repeat(e, mu, r, first, status, body)
	}
	if status == wire.StatusTooOld {
		return m.mayBeTooOld(e, mu.ID)
	}
	if t, timed := mu.ID.Time(); timed && t > m.now+modelAhead {
		return expect(status, wire.StatusIDAhead, m.lateOr(mu)...)
	}
	if late := m.lateOr(mu); late != nil {
		return expect(status, late[0])
	}
	if err := m.first(e, mu, r, status, body); err != nil {
		return err
	}
	if status == wire.StatusBadRequest || status == wire.StatusNoRoom || status == wire.StatusRoomClosed {
		return nil // not remembered
	}
	if r.Kind == wire.KindIssue {
		issued := e.room.id
		defer func() { e.answers[mu.ID].room = issued }()
	}
	a := &modelAnswer{kind: r.Kind, body: contentOf(r), status: status, answer: string(body), ended: m.now}
	if h := e.holds[mu.ID]; h != nil {
		a.ended = wire.Never
	}
	e.answers[mu.ID] = a
	return nil
}

// malformed reports whether a request could never be decided, whatever the event.
func malformed(r wire.Record) bool {
	bad := func(list wire.SeatList, least, most int) bool {
		return list.Len() < least || list.Len() > most || duplicates(list.IDs())
	}
	switch r.Kind {
	case wire.KindHold:
		var op wire.Hold
		return op.Decode(r.Body) != nil || bad(op.Seats, 1, wire.MaxHoldSeats)
	case wire.KindHoldBest:
		var op wire.HoldBest
		return op.Decode(r.Body) != nil || op.Count < 1 || op.Count > wire.MaxHoldSeats
	case wire.KindHoldArea:
		var op wire.HoldArea
		return op.Decode(r.Body) != nil || op.Count < 1 || op.Count > wire.MaxHoldSeats
	case wire.KindConfirm, wire.KindRelease:
		var op wire.OnHold
		return op.Decode(r.Body) != nil || bad(op.Seats, 0, wire.MaxHoldSeats)
	case wire.KindCancel:
		var op wire.Cancel
		return op.Decode(r.Body) != nil || bad(op.Seats, 0, wire.MaxHoldSeats)
	case wire.KindExchange:
		var op wire.Exchange
		return op.Decode(r.Body) != nil || bad(op.Give, 1, wire.MaxHoldSeats) || bad(op.Take, 1, wire.MaxHoldSeats) ||
			duplicates(slices.Concat(op.Give.IDs(), op.Take.IDs()))
	case wire.KindBlock, wire.KindUnblock:
		var op wire.SeatsOp
		return op.Decode(r.Body) != nil || bad(op.Seats, 1, wire.MaxOpSeats)
	case wire.KindSetChannel:
		var op wire.SetChannel
		return op.Decode(r.Body) != nil || bad(op.Seats, 0, wire.MaxOpSeats) || len(op.Name) > 0 && op.Key == 0
	case wire.KindSetRoom:
		var op wire.SetRoom
		return op.Decode(r.Body) != nil || op.Config.Validate() != nil
	case wire.KindDirectRoom:
		var op wire.DirectRoom
		return op.Decode(r.Body) != nil || op.Action < 1 || op.Action > wire.RoomDraw || (op.Action == wire.RoomDraw) != (len(op.Entropy) > 0)
	case wire.KindIssue:
		var op wire.Issue
		return op.Decode(r.Body) != nil || op.Count < 1 || len(op.Visitors) > 0 && len(op.Visitors) != wire.VisitorSize*int(op.Count)
	}
	return false
}

// lateOr gives StatusLate if the deadline has passed.
func (m *model) lateOr(mu wire.Mutation) []wire.Status {
	if mu.Deadline != 0 && m.now > mu.Deadline {
		return []wire.Status{wire.StatusLate}
	}
	return nil
}

// executesAgain reports whether an id without a time may have been forgotten, so
// that its request would be a new one. Only such ids have that hole, and it is
// documented: the retry window is all that protects them.
func (m *model) executesAgain(r wire.Record) bool {
	mu, err := wire.ParseMutation(r.Body)
	if _, timed := mu.ID.Time(); err != nil || timed {
		return false
	}
	for _, e := range m.events {
		if a := e.answers[mu.ID]; a != nil && a.ended != wire.Never && m.now-a.ended >= modelWindow/2 {
			return true
		}
	}
	return false
}

// contentOf is what makes two requests with the same id the same.
func contentOf(r wire.Record) string {
	if r.Kind == wire.KindSetRoom {
		return string(r.Body[wire.SeedAt+wire.SeedSize:])
	}
	return string(r.Body[wire.MutationSize:])
}

// repeat holds the outcome against the first answer to the same id.
func (m *model) repeat(e *modelEvent, mu wire.Mutation, r wire.Record, first *modelAnswer, status wire.Status, body []byte) error {
	if first.ended != wire.Never && m.now-first.ended >= modelWindow && (status == wire.StatusTooOld || status == wire.StatusLate) {
		return nil // forgotten
	}
	if first.kind != r.Kind || first.body != contentOf(r) {
		return expect(status, wire.StatusIDReused)
	}
	if r.Kind == wire.KindIssue && (e.room == nil || e.room.id != first.room) {
		return expect(status, wire.StatusNoRoom)
	}
	if status != first.status || string(body) != first.answer {
		return fmt.Errorf("repeat of %v answers %v %x, the first answer was %v %x", mu.ID, status, body, first.status, first.answer)
	}
	return nil
}

// mayBeTooOld allows the answer if an id that is not younger can have been
// forgotten.
func (m *model) mayBeTooOld(e *modelEvent, id wire.ID) error {
	t, timed := id.Time()
	if !timed {
		return fmt.Errorf("id %v has no time and is too old", id)
	}
	for other, a := range e.answers {
		if o, ok := other.Time(); ok && o >= t && a.ended != wire.Never && m.now-a.ended >= modelWindow {
			return nil
		}
	}
	return fmt.Errorf("id %v is too old, though no younger one can have been forgotten", id)
}

// first checks the outcome of a request that the shard sees for the first time.
func (m *model) first(e *modelEvent, mu wire.Mutation, r wire.Record, status wire.Status, body []byte) error {
	switch r.Kind {
	case wire.KindHold:
		return m.hold(e, r.Body, status, body)
	case wire.KindHoldBest:
		return m.holdBest(e, r.Body, status, body)
	case wire.KindHoldArea:
		return m.holdArea(e, r.Body, status, body)
	case wire.KindCancel:
		return m.cancel(e, r.Body, status, body)
	case wire.KindExchange:
		return m.exchange(e, r.Body, status, body)
	case wire.KindBlock, wire.KindUnblock:
		return m.block(e, r, status, body)
	case wire.KindSetChannel:
		return m.setChannel(e, r.Body, status)
	case wire.KindSetRoom:
		return m.setRoom(e, r.Body, status)
	case wire.KindDirectRoom:
		return m.directRoom(e, r.Body, status)
	case wire.KindIssue:
		return m.issue(e, r.Body, status, body)
	case wire.KindSetRules:
		var op wire.SetRules
		if err := op.Decode(r.Body); err != nil {
			return err
		}
		e.rules = op.Rules
		return expect(status, wire.StatusOK)
	}
	return fmt.Errorf("the model does not know kind %d", r.Kind)
}

func expect(got wire.Status, want wire.Status, or ...wire.Status) error {
	if got != want && !slices.Contains(or, got) {
		return fmt.Errorf("answers %v, want %v %v", got, want, or)
	}
	return nil
}

// reasons collects why a request may be refused.
type reasons map[wire.Status][]wire.SeatID

func (r reasons) add(s wire.Status, when bool, seats []wire.SeatID) {
	if when {
		r[s] = seats
	}
}

// judge checks a refusal against the reasons there are, and names the seats.
// granted is true if there are none and the answer is yes.
func (r reasons) judge(status wire.Status, body []byte) (granted bool, err error) {
	if status == wire.StatusOK {
		if len(r) > 0 {
			return false, fmt.Errorf("granted in spite of %v", r)
		}
		return true, nil
	}
	seats, ok := r[status]
	if !ok {
		return false, fmt.Errorf("refused with %v, reasons are %v", status, r)
	}
	if seats == nil {
		return false, nil
	}
	var lost wire.SeatsLost
	if err := lost.Decode(body); err != nil {
		return false, fmt.Errorf("%v: %w", status, err)
	}
	if !sameSeats(lost.Seats.IDs(), seats) {
		return false, fmt.Errorf("%v names seats %v, want %v", status, lost.Seats.IDs(), seats)
	}
	return false, nil
}

func sameSeats(a, b []wire.SeatID) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func duplicates(seats []wire.SeatID) bool {
	sorted := slices.Sorted(slices.Values(seats))
	return len(slices.Compact(sorted)) != len(seats)
}

// wish is what all holds have in common.
func (m *model) wish(e *modelEvent, count int, ttl uint32, buyer wire.BuyerID, key wire.ChannelKey, pass wire.PassID) reasons {
	why := make(reasons)
	e.passReasons(why, count, key, pass)
	why.add(wire.StatusBadRequest, count < 1 || count > wire.MaxHoldSeats || ttl > e.rules.MaxTTL, nil)
	why.add(wire.StatusNotOpen, e.sale != wire.SaleOpen, nil)
	why.add(wire.StatusHoldLimit, count > int(e.rules.SeatsPerHold), nil)
	limit := int(e.rules.SeatsPerBuyer)
	why.add(wire.StatusBuyerLimit, buyer != 0 && limit > 0 && e.buyerSeats(buyer)+count > limit, nil)
	return why
}

// grant takes over a hold that was granted.
func (m *model) grant(e *modelEvent, id wire.ID, buyer wire.BuyerID, key wire.ChannelKey, pass wire.PassID, ttl uint32, body []byte, fits func([]wire.SeatID) error) error {
	var g wire.Granted
	if err := g.Decode(body); err != nil {
		return err
	}
	seats := g.Seats.IDs()
	if err := fits(seats); err != nil {
		return err
	}
	if lost := e.notFree(seats); len(lost) > 0 || duplicates(seats) || len(e.unknown(seats)) > 0 {
		return fmt.Errorf("granted seats %v, of which %v are not free", seats, lost)
	}
	if ttl == 0 {
		ttl = e.rules.HoldTTL
	}
	if g.Fence <= e.fence || g.Deadline != m.now+wire.Millis(ttl) || g.Now != m.now {
		return fmt.Errorf("granted %+v at %d for %d ms, the last fence was %d", g, m.now, ttl, e.fence)
	}
	e.fence = g.Fence
	h := &modelHold{id: id, state: wire.StateHeld, fence: g.Fence, buyer: buyer, deadline: g.Deadline, seats: seats, per: make(map[wire.SeatID]wire.HoldState)}
	for _, s := range seats {
		e.state[s], h.per[s] = wire.SeatHeld, wire.StateHeld
	}
	if e.room != nil && (key == 0 || !slices.Contains(e.keys, key)) {
		h.pass = pass
	}
	e.holds[id] = h
	return nil
}

func (m *model) hold(e *modelEvent, request []byte, status wire.Status, body []byte) error {
	var op wire.Hold
	if err := op.Decode(request); err != nil {
		return expect(status, wire.StatusBadRequest)
	}
	seats := op.Seats.IDs()
	why := m.wish(e, len(seats), op.TTL, op.Buyer, op.Channel, op.Pass)
	unknown := e.unknown(seats)
	why.add(wire.StatusBadRequest, duplicates(seats) || why.has(wire.StatusBadRequest), nil)
	why.add(wire.StatusUnknownSeat, len(unknown) > 0, unknown)
	if len(unknown) == 0 {
		lost, closed := e.notFree(seats), e.closed(seats, op.Channel)
		why.add(wire.StatusTaken, len(lost) > 0, lost)
		why.add(wire.StatusChannelRequired, len(closed) > 0, closed)
		if e.rules.RefuseOrphans && len(lost) == 0 {
			orphans := e.orphans(seats)
			why.add(wire.StatusOrphan, len(orphans) > 0, orphans)
		}
	}
	granted, err := why.judge(status, body)
	if !granted || err != nil {
		return err
	}
	return m.grant(e, op.ID, op.Buyer, op.Channel, op.Pass, op.TTL, body, func(got []wire.SeatID) error {
		if !sameSeats(got, seats) {
			return fmt.Errorf("granted %v, asked were %v", got, seats)
		}
		return nil
	})
}

func (r reasons) has(s wire.Status) bool {
	_, ok := r[s]
	return ok
}

func (m *model) holdBest(e *modelEvent, request []byte, status wire.Status, body []byte) error {
	var op wire.HoldBest
	if err := op.Decode(request); err != nil {
		return expect(status, wire.StatusBadRequest)
	}
	ok := func(s wire.SeatID) bool {
		return e.state[s] == wire.SeatFree && len(e.closed([]wire.SeatID{s}, op.Channel)) == 0
	}
	count := int(op.Count)
	why := m.wish(e, count, op.TTL, op.Buyer, op.Channel, op.Pass)
	if status == wire.StatusNotEnough {
		free := 0
		for s := range e.state {
			if row, _ := e.rowOf(s); row != nil && ok(s) {
				free++
			}
		}
		careful := op.Flags&wire.HoldNoOrphan != 0 || e.rules.RefuseOrphans
		switch {
		case op.Flags&wire.HoldSplit != 0 && free < count, op.Flags&wire.HoldSplit == 0 && !e.together(count, ok), careful:
			return nil
		}
		return fmt.Errorf("not enough, though %d seats are free", free)
	}
	granted, err := why.judge(status, body)
	if !granted || err != nil {
		return err
	}
	return m.grant(e, op.ID, op.Buyer, op.Channel, op.Pass, op.TTL, body, func(got []wire.SeatID) error {
		return e.fitsBest(op, got, ok)
	})
}

// fitsBest checks that seats are what was asked for, if not that they are best.
func (e *modelEvent) fitsBest(op wire.HoldBest, got []wire.SeatID, ok func(wire.SeatID) bool) error {
	if len(got) != int(op.Count) {
		return fmt.Errorf("%d seats, asked were %d", len(got), op.Count)
	}
	sorted := slices.Sorted(slices.Values(got))
	for i, s := range sorted {
		if row, at := e.rowOf(s); row == nil || !ok(s) {
			return fmt.Errorf("seat %d cannot be given", s)
		} else if i > 0 && op.Flags&wire.HoldSplit == 0 && (s != sorted[i-1]+1 || at == 0) {
			return fmt.Errorf("seats %v are not together", sorted)
		}
	}
	if op.Flags&wire.HoldNoOrphan != 0 || e.rules.RefuseOrphans {
		if left := e.orphans(got); len(left) > 0 {
			return fmt.Errorf("seats %v leave orphans %v", got, left)
		}
	}
	return nil
}

func (m *model) holdArea(e *modelEvent, request []byte, status wire.Status, body []byte) error {
	var op wire.HoldArea
	if err := op.Decode(request); err != nil {
		return expect(status, wire.StatusBadRequest)
	}
	why := m.wish(e, int(op.Count), op.TTL, op.Buyer, op.Channel, op.Pass)
	why.add(wire.StatusUnknownPlace, int(op.Area) >= len(e.manifest.Areas), nil)
	var want []wire.SeatID
	for _, s := range e.area(int(op.Area)) {
		if len(want) < int(op.Count) && e.state[s] == wire.SeatFree && len(e.closed([]wire.SeatID{s}, op.Channel)) == 0 {
			want = append(want, s)
		}
	}
	why.add(wire.StatusNotEnough, len(want) < int(op.Count), nil)
	granted, err := why.judge(status, body)
	if !granted || err != nil {
		return err
	}
	return m.grant(e, op.ID, op.Buyer, op.Channel, op.Pass, op.TTL, body, func(got []wire.SeatID) error {
		if !slices.Equal(got, want) {
			return fmt.Errorf("granted %v, the first free places are %v", got, want)
		}
		return nil
	})
}
