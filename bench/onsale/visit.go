package onsale

import (
	"context"
	"fmt"
	"time"

	"github.com/usher-seats/usher/bench/audit"
	"github.com/usher-seats/usher/wire"
)

// A visit is one person inside an event, from being called to leaving. It belongs
// to the goroutine that plays its step, or to the schedule between two.
type visit struct {
	run   *run
	desk  desk
	event *event
	user  uint32
	due   time.Duration // when step is meant to be taken
	step  func(*visit, context.Context) (next, error)

	party  uint8 // seats wanted
	tries  uint8 // races lost since seats were seen
	looks  uint8 // for returned seats
	asked  uint8 // times that seats were asked for
	pass   pass
	picked []wire.SeatID // from the map; none: the best available
	grant  *grant
	entry  *audit.Hold // of grant, in the ledger
	late   bool        // will confirm after the time is over
}

// next is what a visit does after a step. The zero value ends it.
type next struct {
	step  func(*visit, context.Context) (next, error)
	after time.Duration // of the run
}

// play takes one step. An error is a broken promise of the API and ends the run.
func (v *visit) play(ctx context.Context) {
	then, err := v.step(v, ctx)
	vs := v.run.visits
	switch {
	case err != nil:
		v.run.fail(err)
	case then.step == nil:
		vs.over()
	default:
		v.step, v.due = then.step, v.run.now()+then.after
		vs.schedule(v)
	}
}

// pause is a random wait of the visitor's.
func (v *visit) pause(m matter, nth uint8, mean time.Duration) time.Duration {
	return v.run.habits.pause(v.user, m, uint32(nth), mean)
}

func (v *visit) chance(m matter, nth uint8, share float64) bool {
	return v.run.habits.chance(v.user, m, uint32(nth), share)
}

// measure counts the answer to the step's request.
func (v *visit) measure(o op, at time.Duration) {
	vs := v.run.visits
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.meter.answered(o, v.desk.http(), v.due, at)
}

// enter exchanges the ticket for a pass.
func (v *visit) enter(ctx context.Context) (next, error) {
	if !v.run.s.Room.Enabled {
		return v.look(ctx)
	}
	sent := v.run.now()
	p, status, err := v.desk.admit(ctx, v.event, string(v.run.ticket(nil, v.user)))
	acked := v.run.now()
	if err != nil {
		return next{}, err
	}
	v.measure(opAdmit, acked)
	place, known := v.event.placeOf(v.run.crowd.number[v.user], v.run.crowd.is(v.user, isEarly))
	switch status {
	case wire.StatusOK:
		v.pass = p
		v.run.ledger.admitted(v.event, p, sent, acked)
		v.run.visits.note(func(t *visitTally) { t.admitted++ })
		return next{(*visit).look, 0}, nil
	case wire.StatusNotCalled, wire.StatusLapsed:
		if known {
			v.run.ledger.refused(v.event, audit.Refusal{Number: uint32(place), Lapsed: status == wire.StatusLapsed, Sent: sent, Acked: acked})
		}
		v.run.visits.note(func(t *visitTally) { t.lapsed++ })
		return next{}, nil
	}
	v.run.visits.note(func(t *visitTally) { t.refused++ })
	return next{}, unexpected(opAdmit, status, wire.StatusRoomClosed, wire.StatusLeft)
}

// look reads the map, and decides what to ask for.
func (v *visit) look(ctx context.Context) (next, error) {
	m, err := v.desk.seats(ctx, v.event)
	at := v.run.now()
	if err != nil {
		return next{}, err
	}
	v.measure(opMap, at)
	free := m.count(wire.SeatFree)
	if free == 0 {
		if m.count(wire.SeatHeld) == 0 {
			return v.depart(), nil // sold out
		}
		return v.comeBack(), nil
	}
	v.picked = nil
	if !v.chance(howSeats, v.asked, v.run.s.Visit.Best) {
		v.picked = v.pick(m)
	}
	return next{(*visit).ask, v.pause(whenThinks, v.asked, v.run.s.Visit.Think)}, nil
}

// comeBack waits for returned seats, or leaves.
func (v *visit) comeBack() next {
	s := &v.run.s.Visit
	if v.looks == 0 && !v.chance(whetherReturns, 0, s.Return) || int(v.looks) >= s.Looks {
		v.run.visits.note(func(t *visitTally) { t.nothing++ })
		return v.depart()
	}
	v.looks++
	v.tries = 0
	return next{(*visit).look, v.pause(whenLooks, v.looks, s.Look)}
}

// pick chooses neighbours that are free, in a row that everybody wants; none if
// there are none in that row or a few behind it.
func (v *visit) pick(m *seatMap) []wire.SeatID {
	const further = 5 // rows
	h, party := v.run.habits, int(v.party)
	rows := v.event.places / v.event.row
	row := wanted(h.dice.unit(v.user, whichRow, uint32(v.asked)), v.run.s.Visit.GoodRows, rows)
	from := int(h.dice.unit(v.user, whichSeat, uint32(v.asked)) * float64(v.event.row-party+1))
	for r := row; r < min(row+further, rows); r++ {
		if seats := m.together(r, from, party); seats != nil {
			return seats
		}
	}
	return nil
}

// ask asks for seats.
func (v *visit) ask(ctx context.Context) (next, error) {
	o := opBest
	if v.picked != nil {
		o = opPick
	}
	w := want{seats: v.picked, count: int(v.party), pass: v.pass, key: fmt.Sprintf("%d-%d", v.user, v.asked)}
	v.asked++
	sent := v.run.now()
	g, status, err := v.desk.hold(ctx, v.event, w)
	acked := v.run.now()
	if err != nil {
		return next{}, err
	}
	v.measure(o, acked)
	switch status {
	case wire.StatusOK:
		v.grant = g
		v.entry = v.run.ledger.granted(v.event, w, g, sent, acked)
		return v.decide(), nil
	case wire.StatusTaken, wire.StatusNotEnough:
		return v.raceLost(status), nil
	case wire.StatusPassEnded, wire.StatusPassRequired:
		return next{}, nil // he took too long
	}
	return next{}, unexpected(o, status)
}

// raceLost lets the visitor try again, with less if there is not as much, or give
// up.
func (v *visit) raceLost(status wire.Status) next {
	v.run.visits.note(func(t *visitTally) { t.races++ })
	v.tries++
	if status == wire.StatusNotEnough {
		if v.party == 1 {
			return v.comeBack()
		}
		v.party--
	}
	if int(v.tries) >= v.run.s.Visit.Tries {
		return v.comeBack()
	}
	return next{(*visit).look, v.pause(whenAgain, v.asked, v.run.s.Visit.Again)}
}

// decide is what becomes of a hold.
func (v *visit) decide() next {
	s := &v.run.s.Visit
	u := v.run.habits.dice.unit(v.user, howEnds, uint32(v.asked))
	pay := v.pause(whenPays, v.asked, s.Pay)
	switch {
	case u < s.Abandon:
		v.run.visits.note(func(t *visitTally) { t.abandoned++ })
		return next{}
	case u < s.Abandon+s.Release:
		return next{(*visit).release, pay}
	case u < s.Abandon+s.Release+s.Late:
		v.late = true
		return next{(*visit).confirm, v.run.s.Wall(s.HoldTTL) + pay/4}
	}
	return next{(*visit).pay, pay / 4}
}

// release gives the seats back.
func (v *visit) release(ctx context.Context) (next, error) {
	sent := v.run.now()
	status, err := v.desk.release(ctx, v.event, v.grant)
	acked := v.run.now()
	if err != nil {
		return next{}, err
	}
	v.measure(opRelease, acked)
	switch status {
	case wire.StatusOK:
		v.run.ledger.ended(v.entry, audit.EndReleased, sent, acked)
		v.run.visits.note(func(t *visitTally) { t.released++ })
	case wire.StatusExpired:
		v.run.ledger.ended(v.entry, audit.EndExpired, acked, acked)
	default:
		return next{}, unexpected(opRelease, status)
	}
	return v.depart(), nil
}

// pay keeps the seats while the payment is made.
func (v *visit) pay(ctx context.Context) (next, error) {
	sent := v.run.now()
	status, err := v.desk.pay(ctx, v.event, v.grant)
	acked := v.run.now()
	if err != nil {
		return next{}, err
	}
	v.measure(opPay, acked)
	switch status {
	case wire.StatusOK:
		v.run.ledger.retimed(v.entry, v.grant.until, v.run.s.Millis(v.run.s.Visit.PayCap), sent, acked)
	case wire.StatusExpired:
		v.run.ledger.ended(v.entry, audit.EndExpired, acked, acked)
		return v.raceLost(status), nil
	default:
		return next{}, unexpected(opPay, status)
	}
	return next{(*visit).confirm, v.pause(whenPays, v.asked, v.run.s.Visit.Pay) * 3 / 4}, nil
}

// confirm books the seats.
func (v *visit) confirm(ctx context.Context) (next, error) {
	sent := v.run.now()
	reacquired, status, err := v.desk.confirm(ctx, v.event, v.grant)
	acked := v.run.now()
	if err != nil {
		return next{}, err
	}
	v.measure(opConfirm, acked)
	switch status {
	case wire.StatusOK:
		end := audit.EndBooked
		if reacquired {
			end = audit.EndReacquired
		}
		v.run.ledger.ended(v.entry, end, sent, acked)
		if len(v.grant.seats) == v.run.s.SeatsPerPass() {
			v.run.ledger.left(v.event, v.pass, sent) // a pass ends with its last seat
		}
		v.run.visits.note(func(t *visitTally) {
			t.booked++
			t.seats += int64(len(v.grant.seats))
			if reacquired {
				t.reacquired++
			}
			if v.late {
				t.late++
			}
			if v.looks > 0 {
				t.returned++
			}
		})
	case wire.StatusLost, wire.StatusExpired:
		v.run.ledger.ended(v.entry, audit.EndLost, acked, acked)
		v.run.visits.note(func(t *visitTally) { t.lost++ })
		return v.raceLost(status), nil
	default:
		return next{}, unexpected(opConfirm, status)
	}
	return v.depart(), nil
}

// depart leaves, so that somebody else may come in.
func (v *visit) depart() next {
	if !v.run.s.Room.Enabled {
		return next{}
	}
	return next{(*visit).leave, 0}
}

func (v *visit) leave(ctx context.Context) (next, error) {
	sent := v.run.now()
	status, err := v.desk.leave(ctx, v.event, v.pass)
	if err != nil {
		return next{}, err
	}
	v.measure(opLeave, v.run.now())
	v.run.ledger.left(v.event, v.pass, sent)
	return next{}, unexpected(opLeave, status, wire.StatusOK, wire.StatusPassEnded, wire.StatusRoomClosed, wire.StatusLeft)
}
