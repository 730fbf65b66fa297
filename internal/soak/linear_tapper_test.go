package soak

import (
	"context"
	"fmt"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A tapper asks over two pipes of its own, several things at once. It sends some
// holds on both, the second time marked as a repetition, and repeats nothing else:
// what is not answered remains unknown.
//
// A pipe stays with its node, whatever that answers, until it says that another
// one leads: then the next of the nodes gets its turn.
type tapper struct {
	asker
	pipes   [2]*client.Pipe
	at      [2]int      // which node
	left    [2]bool     // it does not lead
	waiting [2][]asking // by request id
}

func (k *tapper) run(ctx context.Context) error {
	defer k.hangUp()
	for ctx.Err() == nil {
		for range 1 + k.rand.IntN(volleySize) {
			x := k.think()
			if x.act.kind == wire.KindHold {
				x.act.order = x.quartet.place(x.order)
			}
			k.ask(x)
		}
		if err := k.volley(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ask puts a request into the next volley, perhaps twice.
func (k *tapper) ask(x asking) {
	a := x.act
	a.who = k.who
	if a.kind != wire.KindMap && a.kind != wire.KindGetHold && !a.audit && k.rand.IntN(8) == 0 {
		a.deadline = x.show.event.Now() + wire.Millis(k.rand.IntN(30)-10)
	}
	pipe := k.rand.IntN(2)
	if a.kind == wire.KindHold && !a.audit && k.rand.IntN(3) == 0 {
		again := *a
		again.logged = true
		if again.deadline != 0 {
			again.deadline += wire.Millis(k.rand.IntN(20))
		}
		k.waiting[1-pipe] = append(k.waiting[1-pipe], asking{x.show, x.quartet, x.order, &again})
	}
	a.logged = a.logged || a.kind == wire.KindHold && x.order.flags != 0
	k.waiting[pipe] = append(k.waiting[pipe], x)
}

// volley sends what was asked and waits for the answers. A connection that breaks
// leaves the rest of them unknown. An error is an answer that makes no sense.
func (k *tapper) volley(ctx context.Context) error {
	defer func() { k.waiting = [2][]asking{} }()
	for i := range k.pipes {
		if k.left[i] {
			k.left[i] = false
			k.drop(i)
			k.at[i]++
			<-time.After(redial) // perhaps nobody leads
		}
		if len(k.waiting[i]) > 0 && !k.connect(ctx, i) {
			return nil // nothing was sent
		}
	}
	// At times the second pipe waits for the first, so that what was sent twice
	// arrives late the second time: after its repetition.
	apart := k.rand.IntN(3) == 0
	for i := range k.waiting {
		k.flush(i)
		if apart {
			if err := k.collect(i); err != nil {
				return err
			}
		}
	}
	if apart {
		return nil
	}
	for i := range k.waiting {
		if err := k.collect(i); err != nil {
			return err
		}
	}
	return nil
}

// flush sends what was asked of one pipe.
func (k *tapper) flush(i int) {
	list := k.waiting[i]
	for n := range list {
		k.send(k.pipes[i], &list[n], uint64(n))
	}
	now := k.l.now()
	for _, x := range list {
		x.act.call = now
	}
	if len(list) > 0 && k.pipes[i].Flush() != nil {
		k.drop(i)
	}
}

// collect reads the answers of one pipe.
func (k *tapper) collect(i int) error {
	list := k.waiting[i]
	for range list {
		if k.pipes[i] == nil {
			break
		}
		h, body, err := k.pipes[i].Next()
		if err != nil {
			k.drop(i)
			break
		}
		if h.Request >= uint64(len(list)) || list[h.Request].act.ret != 0 {
			return fmt.Errorf("an answer to request %d of %d", h.Request, len(list))
		}
		x := &list[h.Request]
		x.act.ret = k.l.now()
		if h.Status == wire.StatusMoved || h.Status == wire.StatusUnavailable {
			k.left[i] = len(k.l.addrs) > 1
		}
		if err := x.answer(h, body); err != nil {
			return fmt.Errorf("%v: %w", x.act, err)
		}
	}
	for n := range list {
		if list[n].act.ret == 0 {
			list[n].settle()
		}
	}
	return nil
}

func (k *tapper) send(p *client.Pipe, x *asking, request uint64) {
	a := x.act
	h := wire.Header{Kind: a.kind, Request: request}
	m := wire.Mutation{Event: x.show.event.ID(), Deadline: a.deadline}
	if x.order != nil {
		m.ID = x.order.id
	}
	b := p.Begin()
	switch a.kind {
	case wire.KindHold:
		if a.logged {
			h.Flags = wire.FlagRepeat
		}
		hold := wire.Hold{Mutation: m, TTL: x.order.ttl, Flags: x.order.flags, Seats: wire.MakeSeatList(x.order.seats...)}
		b = hold.Append(b)
	case wire.KindConfirm, wire.KindRelease:
		op := wire.OnHold{Mutation: m, Fence: a.fence}
		b = op.Append(b)
		a.fence = 0 // is what an answer says
	case wire.KindCancel:
		m.ID = k.newID(x.show)
		op := wire.Cancel{Mutation: m, Booking: x.order.id}
		b = op.Append(b)
	case wire.KindGetHold:
		ref := wire.HoldRef{Event: m.Event, ID: m.ID}
		b = ref.Append(b)
	case wire.KindMap:
		h.Flags = wire.FlagConsistent
		ref := wire.EventRef{Event: m.Event}
		b = ref.Append(b)
	}
	p.End(h, b)
}

// answer takes an answer apart and records the act.
func (x *asking) answer(h wire.Header, body []byte) error {
	a := x.act
	a.known, a.status = true, h.Status
	switch {
	case h.Kind != a.kind:
		return fmt.Errorf("the answer is of kind %d", h.Kind)
	case h.Status == wire.StatusUnknown:
		a.known = false
	case h.Status == wire.StatusUnavailable || h.Status == wire.StatusStopping || h.Status == wire.StatusOverloaded || h.Status == wire.StatusMoved:
		return nil // not applied, and will not be: it is no part of the history
	case !h.Status.Decided():
		return fmt.Errorf("%v %s", h.Status, body)
	}
	if a.kind == wire.KindMap {
		var m wire.SeatMap
		if err := m.Decode(body); err != nil {
			return err
		}
		x.settleMap(&m)
		return nil
	}
	if a.known {
		if err := x.decode(body); err != nil {
			return err
		}
	}
	x.settle()
	return nil
}

func (x *asking) decode(body []byte) (err error) {
	a := x.act
	switch {
	case a.status == wire.StatusLate:
		var c wire.Clock
		err = c.Decode(body)
		a.now = c.Now
	case a.status == wire.StatusTaken || a.status == wire.StatusLost:
		var lost wire.SeatsLost
		if err = lost.Decode(body); err == nil {
			a.seats, err = x.quartet.maskOf(lost.Seats)
			a.now = lost.Now
		}
	case a.status != wire.StatusOK:
	case a.kind == wire.KindHold:
		var g wire.Granted
		if err = g.Decode(body); err == nil {
			a.fence, a.until, a.now = g.Fence, g.Deadline, g.Now
			err = x.wholeHold(g.Seats)
		}
		if err == nil && g.Deadline != g.Now+wire.Millis(x.order.ttl) {
			err = fmt.Errorf("granted at %d until %d, asked for %d ms", g.Now, g.Deadline, x.order.ttl)
		}
	case a.kind == wire.KindConfirm:
		var c wire.Confirmed
		if err = c.Decode(body); err == nil {
			a.now, a.reacquired = c.Now, c.Reacquired
			err = x.wholeHold(c.Seats)
		}
	case a.kind == wire.KindGetHold:
		var info wire.HoldInfo
		if err = info.Decode(body); err == nil {
			err = x.hear(&info)
		}
	default:
		var freed wire.SeatsLost
		if err = freed.Decode(body); err == nil {
			a.now = freed.Now
			err = x.wholeHold(freed.Seats)
		}
	}
	return err
}

// connect dials until it succeeds; false if ctx is over.
func (k *tapper) connect(ctx context.Context, i int) bool {
	retry := time.NewTicker(redial)
	defer retry.Stop()
	for k.pipes[i] == nil {
		p, err := client.DialPipe(ctx, k.l.addrs[k.at[i]%len(k.l.addrs)], nil)
		if err == nil {
			k.pipes[i] = p
			return p.SetDeadline(time.Now().Add(killTimeout)) == nil
		}
		k.at[i]++
		// It is not there yet, or went away while it said hello.
		select {
		case <-retry.C:
		case <-ctx.Done():
			return false
		}
	}
	return k.pipes[i].SetDeadline(time.Now().Add(killTimeout)) == nil
}

func (k *tapper) drop(i int) {
	if p := k.pipes[i]; p != nil {
		p.Close()
		k.pipes[i] = nil
	}
}

func (k *tapper) hangUp() {
	for i := range k.pipes {
		k.drop(i)
	}
}
