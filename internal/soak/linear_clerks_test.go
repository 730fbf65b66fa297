package soak

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

const (
	mostHeld   = 3     // seats of a hold
	volleySize = 4     // requests of a volley, at most
	recent     = 5     // orders that others still meddle with
	mostOrders = 2_000 // of a quartet, about: that bounds the search
	redial     = 10 * time.Millisecond
)

// An asker thinks of something to ask. It belongs to the goroutine of its client.
type asker struct {
	l    *linear
	who  int
	rand *rand.Rand
}

// An asking is an act that has not been answered.
type asking struct {
	show    *show
	quartet *quartet // nil: all of the show's
	order   *order   // nil: no hold
	act     *act
}

// think makes up a request. Half of all goes to two quartets, so that clients
// meet there.
func (k *asker) think() asking {
	s := k.l.shows[k.rand.IntN(len(k.l.shows))]
	q := s.quartets[k.rand.IntN(len(s.quartets))]
	if k.rand.IntN(2) == 0 {
		q = s.quartets[k.rand.IntN(2)]
	}
	if k.rand.IntN(64) == 0 {
		return asking{show: s, act: &act{kind: wire.KindMap}}
	}
	x := asking{show: s, quartet: q, act: new(act)}
	o, fence := k.someOrder(q)
	switch n := k.rand.IntN(20); {
	case o == nil || n < 7 && o.number < mostOrders:
		x.act.kind = wire.KindHold
		x.order = k.newOrder(s, q)
		return x
	case n < 10 || fence == 0:
		x.act.kind = wire.KindGetHold
	case n < 13:
		x.act.kind, x.act.fence = wire.KindConfirm, fence
	case n < 17:
		x.act.kind, x.act.fence = wire.KindRelease, fence
	default:
		x.act.kind = wire.KindCancel
	}
	x.order, x.act.order = o, o.number
	if x.act.fence != 0 && k.rand.IntN(16) == 0 {
		x.act.fence++
		x.act.forged = true
	}
	return x
}

// someOrder picks one of the recent orders, mostly one that was granted; nil if
// there is none.
func (k *asker) someOrder(q *quartet) (*order, wire.Fence) {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.granted
	if k.rand.IntN(8) == 0 || len(list) == 0 {
		list = q.orders
	}
	n := len(list)
	if n == 0 {
		return nil, 0
	}
	o := list[n-1-k.rand.IntN(min(n, recent))]
	return o, o.fence
}

// newOrder makes up a hold that has no number yet.
func (k *asker) newOrder(s *show, q *quartet) *order {
	o := &order{id: k.newID(s), ttl: uint32(longTTL / time.Millisecond)}
	if s.short && k.rand.IntN(4) > 0 {
		o.ttl = uint32(1 + k.rand.IntN(150))
	}
	if k.rand.IntN(8) == 0 {
		o.flags = wire.HoldAlternative // goes through the log
	}
	for _, i := range k.rand.Perm(quartetSeats)[:1+k.rand.IntN(mostHeld)] {
		o.mask |= 1 << i
		o.seats = append(o.seats, q.seats[i])
	}
	return o
}

func (k *asker) newID(s *show) wire.ID {
	var random [10]byte
	binary.LittleEndian.PutUint64(random[:], k.rand.Uint64())
	binary.LittleEndian.PutUint16(random[8:], uint16(k.rand.Uint32()))
	return wire.NewID(s.event.Now(), random)
}

// settle records an act that was answered, or will not be.
func (x *asking) settle() {
	a := x.act
	switch {
	case !a.known && (a.kind == wire.KindGetHold || a.kind == wire.KindMap):
		return // a read that nobody heard of
	case !a.known:
		a.ret = forever
	}
	if x.quartet != nil {
		if a.kind == wire.KindHold || a.kind == wire.KindGetHold {
			x.quartet.learn(x.order, a)
		}
		x.quartet.record(a)
	}
}

// settleMap cuts a map into the quartets.
func (x *asking) settleMap(m *wire.SeatMap) {
	for _, q := range x.show.quartets {
		a := *x.act
		a.known, a.version, a.now = true, m.Version, m.Now
		for i, seat := range q.seats {
			a.seen[i] = m.State(seat)
		}
		q.record(&a)
	}
}

// hear takes in an answer to a hold's reading.
func (x *asking) hear(info *wire.HoldInfo) (err error) {
	a := x.act
	a.fence, a.until, a.now = info.Fence, info.Deadline, info.Now
	a.state, a.reacquired = info.State, info.Reacquired
	if a.seats, err = x.quartet.maskOf(info.Held); err == nil {
		a.booked, err = x.quartet.maskOf(info.Booked)
	}
	return err
}

// wholeHold checks that an answer that names seats names all of the hold's.
func (x *asking) wholeHold(seats wire.SeatList) error {
	mask, err := x.quartet.maskOf(seats)
	if err == nil && (mask != x.order.mask || seats.Len() != bits.OnesCount8(mask)) {
		err = fmt.Errorf("the answer names seats %v, the hold has %v", seats.IDs(), x.order.seats)
	}
	return err
}

// A teller asks through the client library, which repeats requests by itself.
type teller struct{ asker }

func (k *teller) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := k.ask(k.think()); err != nil {
			return err
		}
	}
	return nil
}

// ask makes one call. Some are given up soon, and holds that may have been made
// are then repeated at once with their id.
func (k *teller) ask(x asking) error {
	patience := killTimeout
	if k.rand.IntN(12) == 0 {
		patience = time.Duration(1+k.rand.IntN(20_000)) * time.Microsecond
	}
	for again := false; ; again = true {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		x.act.who, x.act.call = k.who, k.l.now()
		lives := k.l.lives.Load()
		err := k.call(ctx, &x, again)
		cancel()
		if lives != k.l.lives.Load() || len(k.l.addrs) > 1 { // of several nodes any may cease to lead unseen
			k.twice(&x, err)
		}
		repeat, err := k.judge(&x, err)
		if err != nil {
			return fmt.Errorf("%v: %w", x.act, err)
		}
		if !repeat {
			return nil
		}
		x.act = &act{kind: wire.KindHold, order: x.order.number, logged: true}
		patience = killTimeout
	}
}

// twice allows for what the library may have done in a call during which the node
// died: confirmed without an answer, and been told when it confirmed again that
// the booking had been cancelled by then.
func (k *teller) twice(x *asking, err error) {
	if x.act.kind == wire.KindConfirm && client.StatusOf(err) == wire.StatusCancelled {
		x.quartet.record(&act{kind: wire.KindConfirm, order: x.act.order, forged: x.act.forged, who: k.who, call: x.act.call, ret: forever})
	}
}

// call makes the call; again says that it repeats an order that has a number.
func (k *teller) call(ctx context.Context, x *asking, again bool) error {
	ev, a := x.show.event, x.act
	if a.kind == wire.KindMap {
		m, err := ev.Map(ctx, client.Consistent)
		a.ret = k.l.now()
		if err == nil {
			x.settleMap(&m.SeatMap)
		}
		return err
	}
	var h *client.Hold
	if a.kind != wire.KindHold {
		h = ev.ResumeHold(x.order.id, a.fence)
		a.fence = 0
	}
	var err error
	switch a.kind {
	case wire.KindHold:
		ask := client.HoldRequest{Seats: x.order.seats, TTL: time.Duration(x.order.ttl) * time.Millisecond, Alternative: x.order.flags != 0}
		if again {
			ask.ID = x.order.id
		}
		h, err = ev.Hold(ctx, ask)
		a.ret = k.l.now()
		if err == nil {
			a.fence = h.Fence()
			if !again { // then others know it by now, and read it
				x.order.id = h.ID()
			}
		}
	case wire.KindGetHold:
		var info *wire.HoldInfo
		info, err = ev.GetHold(ctx, x.order.id)
		a.ret = k.l.now()
		if err == nil {
			err = x.hear(info)
		}
	case wire.KindConfirm:
		err = h.Confirm(ctx)
		a.reacquired = h.Reacquired()
	case wire.KindRelease:
		err = h.Release(ctx)
	case wire.KindCancel:
		_, err = ev.Booking(x.order.id).Cancel(ctx, client.SeatsRequest{})
	}
	if a.ret == 0 {
		a.ret = k.l.now()
	}
	return err
}

// judge records how a call ended. It asks for a repetition of some holds that may
// have been made.
func (k *teller) judge(x *asking, err error) (repeat bool, _ error) {
	a := x.act
	if a.kind == wire.KindMap {
		return false, nil
	}
	a.known, a.status = true, client.StatusOf(err)
	var e *client.Error
	if err != nil && !errors.As(err, &e) {
		return false, err
	}
	switch {
	case e != nil && e.Applied == client.AppliedUnknown:
		a.known = false
	case e != nil && (!a.status.Decided() || a.status == wire.StatusLate):
		return false, nil // not applied, and will not be: it is no part of the history
	case e != nil && len(e.Lost) > 0:
		var wrong error
		if a.seats, wrong = x.quartet.maskOf(wire.MakeSeatList(e.Lost...)); wrong != nil {
			return false, wrong
		}
	}
	if a.kind == wire.KindHold && !a.logged {
		if e != nil {
			x.order.id = e.ID
		}
		a.order = x.quartet.place(x.order)
	}
	x.settle()
	return a.kind == wire.KindHold && !a.known && !a.logged && k.rand.IntN(2) == 0, nil
}
