package onsale

import (
	"fmt"
	"time"

	"github.com/usher-seats/usher/bench/audit"
	"github.com/usher-seats/usher/wire"
)

// step lets a user do what he woke for; false if his request has to wait for a
// slot, in which case nothing has happened. at is the millisecond he woke in.
func (l *lane) step(user uint32, at int, now time.Duration) bool {
	c, due := l.run.crowd, time.Duration(at)*time.Millisecond
	switch c.phase(user) {
	case unborn:
		return l.arrive(user, due, now)
	case arriving:
		if !l.request(user, opJoin, due, now) {
			return false
		}
		c.setPhase(user, joining)
	case waiting:
		return l.wait(user, due, now)
	}
	return true
}

// arrive is the first thing a user does.
func (l *lane) arrive(user uint32, due, now time.Duration) bool {
	c, h := l.run.crowd, l.run.habits
	first := opJoin
	switch {
	case !l.run.s.Room.Enabled:
		c.setPhase(user, called)
		l.run.visits.begin(user, due)
	case h.chance(user, whetherLooksFirst, 0, l.run.s.Crowd.LookFirst):
		first = opQueue
		fallthrough
	default:
		if !l.request(user, first, due, now) {
			return false
		}
		c.setPhase(user, looking)
		if first == opJoin {
			c.setPhase(user, joining)
		}
	}
	l.tally.arrived++
	l.meter.arrived(due)
	return true
}

// wait is what a user does who has a ticket: he asks for his place once, looks at
// the queue's state from time to time, and gives up some time.
func (l *lane) wait(user uint32, due, now time.Duration) bool {
	c := l.run.crowd
	switch {
	case due >= l.givesUp(user):
		if !l.run.habits.chance(user, whetherGoodbye, 0, l.run.s.Crowd.Goodbye) {
			l.tally.gaveUp++
			c.setPhase(user, gone)
			return true
		}
		if !l.request(user, opQuit, due, now) {
			return false
		}
		l.tally.saidGoodbye++
		c.setPhase(user, gone)
	case !c.is(user, hasAsked):
		if !l.request(user, opPlace, due, now) {
			return false
		}
		c.state[user] |= hasAsked
	default:
		return l.request(user, opQueue, due, now)
	}
	return true
}

// request asks over the user's carrier; false if it has to wait for a slot.
func (l *lane) request(user uint32, o op, due, now time.Duration) bool {
	if l.run.habits.carrier(user) == byHTTP {
		var ticket []byte
		if o == opPlace || o == opQuit {
			ticket = l.run.ticket(nil, user)
		}
		l.run.web.push(errand{lane: l, user: user, op: o, due: due, ticket: ticket})
		return true
	}
	return l.ask(slot{user: user, op: o, due: due}, now)
}

// settle lets a user take in what he was told. The lane's mutex is held.
func (l *lane) settle(user uint32, o op, a *answer, sent, now time.Duration) error {
	c := l.run.crowd
	switch o {
	case opJoin:
		return l.joined(user, a, sent, now)
	case opPlace:
		l.told(user, a, now)
	case opQueue:
		if a.state == wire.QueueSoldOut || a.state == wire.QueueClosed || a.state == wire.QueueDraining {
			l.finish(user, &l.tally.soldOut)
			break
		}
		if c.phase(user) == looking {
			c.setPhase(user, arriving)
			l.wheel.add(user, millis(now+l.run.habits.pause(user, whenJoins, 0, joinPause)))
			break
		}
		l.poll(user, now)
	}
	return nil
}

// joinPause is the mean time of the on-sale between seeing the page and pressing
// its button.
const joinPause = 10 * time.Second

func millis(d time.Duration) int { return int(d / time.Millisecond) }

// finish lets a user go, who is not inside, and counts why.
func (l *lane) finish(user uint32, why *int64) {
	if p := l.run.crowd.phase(user); p != called && p != gone {
		l.run.crowd.setPhase(user, gone)
		*why++
	}
}

// joined takes in the answer to a join.
func (l *lane) joined(user uint32, a *answer, sent, now time.Duration) error {
	c, ev := l.run.crowd, l.run.event(user)
	switch a.status {
	case wire.StatusOK:
	case wire.StatusRoomClosed:
		l.finish(user, &l.tally.turnedAway)
		return nil
	default:
		return fmt.Errorf("a join was answered %v", a.status)
	}
	number, family, mac, err := ev.families.pack(a.token)
	if err != nil {
		return err
	}
	if uint64(number) != a.number {
		return fmt.Errorf("the answer to a join has the number %d, its ticket %d", a.number, number)
	}
	c.number[user], c.family[user], c.mac[user] = number, family, mac
	c.sent[user], c.acked[user] = uint32(sent/time.Microsecond), uint32(now/time.Microsecond)
	c.state[user] |= hasTicket
	if a.early {
		c.state[user] |= isEarly
	}
	c.setPhase(user, waiting)
	l.tally.tickets++
	if !ev.numbers.set(number, user) {
		ev.twice(c.ticket(user))
	}
	from := now
	if a.early {
		from = max(now, l.run.open)
	}
	asks := time.Duration(l.run.habits.dice.unit(user, whenAsks, 0) * float64(l.run.s.Wall(l.run.s.Crowd.AskWithin)))
	l.wheel.add(user, millis(min(from+asks, max(l.givesUp(user), from))))
	l.watch(user)
	// The number may have been called before it was known whose it is.
	if place, ok := ev.placeOf(c.number[user], a.early); ok && place < ev.serving.Load() {
		l.call(user, now)
	}
	return nil
}

// watch opens a stream for a user who has one, if there may be one more.
func (l *lane) watch(user uint32) {
	if k := l.run.habits.carrier(user); (k == bySSE || k == byWebSocket) && l.run.streams.open(user, k) {
		l.run.crowd.state[user] |= isWatching
		l.tally.watching++
	}
}

// told takes in a user's place.
func (l *lane) told(user uint32, a *answer, now time.Duration) {
	c := l.run.crowd
	if a.status != wire.StatusOK {
		l.finish(user, &l.tally.lapsed)
		return
	}
	if !a.early {
		c.place[user] = uint32(min(a.number, uint64(audit.NoPlace-1)))
	}
	switch a.place {
	case wire.PlaceWaiting:
		l.poll(user, now)
	case wire.PlaceCalled:
		l.call(user, now)
	case wire.PlaceLapsed:
		l.finish(user, &l.tally.lapsed)
	}
}

// poll lets a waiting user look again later, or give up.
func (l *lane) poll(user uint32, now time.Duration) {
	if l.run.crowd.phase(user) != waiting {
		return
	}
	at := now + l.run.habits.pause(user, whenPolls, uint32(now/time.Millisecond), l.run.s.Crowd.PollEvery)
	if l.run.crowd.is(user, isWatching) {
		at = l.run.end // who watches need not ask
	}
	l.wheel.add(user, millis(max(min(at, l.givesUp(user)), now)))
}

// givesUp is when a waiting user has had enough.
func (l *lane) givesUp(user uint32) time.Duration {
	from := max(micros(l.run.crowd.acked[user]), l.run.open)
	return from + l.run.habits.pause(user, howPatient, 0, l.run.s.Crowd.Patience)
}

// call lets a user come in whose number is being served, once. The lane's mutex is
// held.
func (l *lane) call(user uint32, now time.Duration) {
	c, h := l.run.crowd, l.run.habits
	switch {
	case c.phase(user) == gone:
		l.tally.unmet++ // he gave up, and did not say so
		return
	case c.phase(user) != waiting:
		return
	}
	c.setPhase(user, called)
	if h.chance(user, whetherComes, 0, l.run.s.Crowd.NoShow) {
		l.tally.noShows++
		return
	}
	l.run.visits.begin(user, now+h.pause(user, whenReacts, 0, l.run.s.Crowd.Reaction))
}

// ticket appends the text of a user's ticket to b.
func (r *run) ticket(b []byte, user uint32) []byte {
	c := r.crowd
	return r.event(user).families.unpack(b, c.number[user], c.family[user], &c.mac[user])
}
