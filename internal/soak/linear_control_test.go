package soak

import (
	"errors"
	"maps"
	"math/bits"
	"slices"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// TestLinearModel shows that the checker allows what is promised and nothing
// else: of each pair of little histories one is possible.
func TestLinearModel(t *testing.T) {
	const both, left, right = 0b11, 0b01, 0b10
	ok := func(order int, call, ret int64, fence wire.Fence, now, until wire.Millis) *act {
		return &act{kind: wire.KindHold, order: order, call: call, ret: ret, known: true, fence: fence, now: now, until: until}
	}
	taken := func(order int, call, ret int64, seats uint8, logged bool) *act {
		return &act{kind: wire.KindHold, order: order, call: call, ret: ret, known: true, status: wire.StatusTaken, seats: seats, logged: logged, now: 50}
	}
	does := func(kind wire.Kind, order int, call, ret int64, s wire.Status, now wire.Millis) *act {
		return &act{kind: kind, order: order, call: call, ret: ret, known: true, status: s, now: now}
	}
	silent := func(kind wire.Kind, order int, call int64, deadline wire.Millis) *act {
		return &act{kind: kind, order: order, call: call, ret: forever, deadline: deadline}
	}
	seen := func(call, ret int64, version wire.Version, now wire.Millis, seats ...wire.SeatState) *act {
		a := &act{kind: wire.KindMap, call: call, ret: ret, known: true, version: version, now: now}
		copy(a.seen[:], seats)
		return a
	}
	release := func(order int, call, ret int64) *act {
		return does(wire.KindRelease, order, call, ret, wire.StatusOK, 20)
	}
	for _, tc := range []struct {
		name  string
		masks []uint8
		right []*act
		wrong []*act
	}{{
		"a seat is granted again when it was released", []uint8{left, left},
		[]*act{ok(0, 0, 1, 1, 10, 999), release(0, 2, 5), ok(1, 3, 4, 3, 30, 999)},
		[]*act{ok(0, 0, 1, 1, 10, 999), release(0, 5, 6), ok(1, 3, 4, 3, 30, 999)},
	}, {
		"a rejection is true at some moment", []uint8{left, left},
		[]*act{ok(0, 2, 5, 1, 10, 999), taken(1, 3, 4, left, false)},
		[]*act{ok(0, 2, 5, 1, 10, 999), taken(1, 0, 1, left, false)},
	}, {
		"a rejection names all seats that are lost and no others", []uint8{left, both},
		[]*act{ok(0, 0, 1, 1, 10, 999), taken(1, 2, 3, left, true)},
		[]*act{ok(0, 0, 1, 1, 10, 999), taken(1, 2, 3, both, true)},
	}, {
		"a rejection by the log stands, one by the early look does not", []uint8{left, left},
		[]*act{ok(0, 0, 1, 1, 10, 999), taken(1, 2, 3, left, false), release(0, 4, 5), ok(1, 6, 7, 4, 60, 999)},
		[]*act{ok(0, 0, 1, 1, 10, 999), taken(1, 2, 3, left, true), release(0, 4, 5), ok(1, 6, 7, 4, 60, 999)},
	}, {
		"a repeated id has one answer", []uint8{left},
		[]*act{ok(0, 0, 1, 1, 10, 999), ok(0, 2, 3, 1, 10, 999)},
		[]*act{ok(0, 0, 1, 1, 10, 999), ok(0, 2, 3, 2, 20, 999)},
	}, {
		"a hold ends at its deadline, not a millisecond before", []uint8{left, left},
		[]*act{ok(0, 0, 1, 1, 10, 100), ok(1, 2, 3, 3, 100, 999)},
		[]*act{ok(0, 0, 1, 1, 10, 100), ok(1, 2, 3, 3, 99, 999)},
	}, {
		"nor does it last longer", []uint8{left, left},
		[]*act{ok(0, 0, 1, 1, 10, 51), taken(1, 2, 3, left, true)},
		[]*act{ok(0, 0, 1, 1, 10, 50), taken(1, 2, 3, left, true)},
	}, {
		"who got no answer may have been heard", []uint8{left, left},
		[]*act{silent(wire.KindHold, 0, 0, 40), taken(1, 2, 3, left, false), ok(0, 4, 5, 1, 30, 999)},
		[]*act{silent(wire.KindHold, 0, 0, 40), taken(1, 2, 3, left, false), ok(0, 4, 5, 1, 41, 999)},
	}, {
		"so may a release", []uint8{left, left},
		[]*act{ok(0, 0, 1, 1, 10, 999), silent(wire.KindRelease, 0, 2, 0), ok(1, 3, 4, 3, 30, 999)},
		[]*act{ok(0, 0, 1, 1, 10, 999), silent(wire.KindRelease, 0, 5, 0), ok(1, 3, 4, 3, 30, 999)},
	}, {
		"an acknowledged release is not forgotten", []uint8{left, left},
		[]*act{ok(0, 0, 1, 1, 10, 999), silent(wire.KindRelease, 0, 2, 0), taken(1, 3, 4, left, true)},
		[]*act{ok(0, 0, 1, 1, 10, 999), release(0, 2, 3), taken(1, 4, 5, left, true)},
	}, {
		"a map is of one version", []uint8{left, right},
		[]*act{ok(0, 0, 3, 1, 10, 999), ok(1, 0, 3, 2, 10, 999), seen(1, 2, 1, 10, wire.SeatHeld)},
		[]*act{ok(0, 0, 3, 1, 10, 999), ok(1, 0, 3, 2, 10, 999), seen(1, 2, 1, 10, wire.SeatFree, wire.SeatHeld)},
	}, {
		"what was read is not unread", []uint8{left},
		[]*act{ok(0, 0, 9, 1, 10, 999), seen(1, 2, 0, 10, wire.SeatFree), seen(3, 4, 1, 10, wire.SeatHeld)},
		[]*act{ok(0, 0, 9, 1, 10, 999), seen(1, 2, 1, 10, wire.SeatHeld), seen(3, 4, 1, 10, wire.SeatFree)},
	}, {
		"fences rise", []uint8{left, right},
		[]*act{ok(0, 0, 1, 1, 10, 999), ok(1, 2, 3, 2, 10, 999)},
		[]*act{ok(0, 0, 1, 2, 10, 999), ok(1, 2, 3, 1, 10, 999)},
	}, {
		"a release frees the seats once", []uint8{left, left},
		[]*act{ok(0, 0, 1, 1, 10, 999), release(0, 2, 3), ok(1, 4, 5, 3, 30, 999), release(0, 6, 7), seen(8, 9, 5, 60, wire.SeatHeld)},
		[]*act{ok(0, 0, 1, 1, 10, 999), release(0, 2, 3), ok(1, 4, 5, 3, 30, 999), release(0, 6, 7), seen(8, 9, 5, 60, wire.SeatFree)},
	}, {
		"a booking is not released", []uint8{left},
		[]*act{ok(0, 0, 1, 1, 10, 999), does(wire.KindConfirm, 0, 2, 5, wire.StatusOK, 20), does(wire.KindRelease, 0, 2, 5, wire.StatusBooked, 0)},
		[]*act{ok(0, 0, 1, 1, 10, 999), does(wire.KindConfirm, 0, 2, 5, wire.StatusOK, 20), release(0, 2, 5)},
	}} {
		if err := checkActs(tc.masks, ended(tc.right), wire.Never, checkTime); err != nil {
			t.Errorf("%s: what is right is refused: %v", tc.name, err)
		}
		if checkActs(tc.masks, ended(tc.wrong), wire.Never, checkTime) == nil {
			t.Errorf("%s: what is wrong passes", tc.name)
		}
	}
}

func ended(acts []*act) []*act {
	const last = 1000
	return append(slices.Clone(acts), &act{call: last, ret: last})
}

// A forgery changes a true history so that a promise is broken, and returns the
// masks of its orders and its acts; nil if this history has no place for it.
type forgery struct {
	name  string
	forge func(q *quartet) ([]uint8, []*act)
}

var forgeries = []forgery{
	{"a seat is granted twice", grantTwice},
	{"a free seat is said to be taken", refuseFree},
	{"a rejection does not name a seat", nameTooFew},
	{"a grant is forgotten", forgetGrant},
	{"half of a hold is there", halveHold},
	{"a hold is read as it was before", readStale},
	{"a hold expires early", expireEarly},
	{"fences fall", swapFences},
	{"a repeated id gets another answer", answerAnew},
}

// forge tries all forgeries on the quartets' histories.
func (l *linear) forge(t *testing.T) {
	t.Helper()
	for _, f := range forgeries {
		tried := 0
		for _, s := range l.shows {
			for i, q := range s.quartets {
				masks, acts := f.forge(q)
				if acts == nil {
					continue
				}
				err := checkActs(masks, acts, s.quiet, forgedTime)
				if err == nil {
					t.Errorf("%s, quartet %d: not noticed: %s", s.event.Key(), i, f.name)
				}
				if !errors.Is(err, errUndecided) {
					tried++
				}
			}
		}
		if tried == 0 {
			t.Errorf("there is no history in which it could be tried that %s", f.name)
		}
	}
}

// replace gives the acts with a changed copy of each that f wants to change.
func replace(acts []*act, f func(a *act) bool) []*act {
	acts = slices.Clone(acts)
	changed := false
	for i, a := range acts {
		if forged := *a; f(&forged) {
			acts[i] = &forged
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return acts
}

// A tenure is a time in which an order surely has its seats.
type tenure struct {
	order    int
	mask     uint8
	from, to int64
}

// tenures are those of the holds that do not expire.
func (q *quartet) tenures() (list []tenure) {
	from, to := make(map[int]int64), make(map[int]int64)
	for _, a := range q.acts {
		gone := !a.known || a.status == wire.StatusOK
		switch {
		case a.kind == wire.KindHold && a.known && a.status == wire.StatusOK:
			if f, seen := from[a.order]; !seen || a.ret < f {
				from[a.order] = a.ret
			}
		case (a.kind == wire.KindRelease || a.kind == wire.KindCancel) && gone:
			if f, seen := to[a.order]; !seen || a.call < f {
				to[a.order] = a.call
			}
		}
	}
	for o, f := range from {
		end, ends := to[o]
		if !ends {
			end = forever
		}
		if q.orders[o].ttl == uint32(longTTL/time.Millisecond) && f < end {
			list = append(list, tenure{o, q.orders[o].mask, f, end})
		}
	}
	slices.SortFunc(list, func(a, b tenure) int { return a.order - b.order })
	return list
}

// during is the seats that surely had somebody all the time.
func (q *quartet) during(call, ret int64) (mask uint8) {
	for _, n := range q.tenures() {
		if n.from < call && ret < n.to {
			mask |= n.mask
		}
	}
	return mask
}

// only is the first act that f wants.
func (q *quartet) only(f func(a *act) bool) *act {
	for _, a := range q.acts {
		if f(a) {
			return a
		}
	}
	return nil
}

func (q *quartet) actsOn(order int) (n int) {
	for _, a := range q.acts {
		if a.kind != 0 && a.kind != wire.KindMap && a.order == order {
			n++
		}
	}
	return n
}

func refusal(a *act) bool {
	return a.kind == wire.KindHold && a.known && a.status == wire.StatusTaken
}

func grantTwice(q *quartet) ([]uint8, []*act) {
	it := q.only(func(a *act) bool {
		return refusal(a) && q.actsOn(a.order) == 1 && q.orders[a.order].mask&q.during(a.call, a.ret) != 0
	})
	return q.masks(), replace(q.acts, func(a *act) bool {
		if it == nil || *a != *it {
			return false
		}
		a.status, a.seats, a.now = wire.StatusOK, 0, 0
		return true
	})
}

func refuseFree(q *quartet) ([]uint8, []*act) {
	masks := append(q.masks(), 1)
	first := &act{kind: wire.KindHold, order: len(masks) - 1, call: -2, ret: -1, known: true, status: wire.StatusTaken, seats: 1}
	return masks, append([]*act{first}, q.acts...)
}

func nameTooFew(q *quartet) ([]uint8, []*act) {
	it := q.only(func(a *act) bool {
		return refusal(a) && q.actsOn(a.order) == 1 && bits.OnesCount8(a.seats) > 1 && a.seats&q.during(a.call, a.ret) != 0
	})
	return q.masks(), replace(q.acts, func(a *act) bool {
		if it == nil || *a != *it {
			return false
		}
		a.seats &^= q.during(a.call, a.ret)
		return true
	})
}

func forgetGrant(q *quartet) ([]uint8, []*act) {
	it := q.only(func(a *act) bool { return a.kind == wire.KindMap && q.during(a.call, a.ret) != 0 })
	return q.masks(), replace(q.acts, func(a *act) bool {
		if it == nil || *a != *it {
			return false
		}
		a.seen[bits.TrailingZeros8(q.during(a.call, a.ret))] = wire.SeatFree
		return true
	})
}

func halveHold(q *quartet) ([]uint8, []*act) {
	it := q.only(func(a *act) bool { return a.kind == wire.KindGetHold && bits.OnesCount8(a.seats) > 1 })
	return q.masks(), replace(q.acts, func(a *act) bool {
		if it == nil || *a != *it {
			return false
		}
		a.seats &= a.seats - 1
		return true
	})
}

func readStale(q *quartet) ([]uint8, []*act) {
	var it, end *act
	for _, end = range q.acts {
		if end.kind != wire.KindRelease || !end.known || end.status != wire.StatusOK {
			continue
		}
		it = q.only(func(a *act) bool {
			return a.kind == wire.KindGetHold && a.order == end.order && a.state == wire.StateHeld
		})
		if it != nil {
			break
		}
	}
	return q.masks(), replace(q.acts, func(a *act) bool {
		if it == nil || *a != *it {
			return false
		}
		a.call, a.ret, a.now = end.ret+1, end.ret+2, 0
		return true
	})
}

func expireEarly(q *quartet) ([]uint8, []*act) {
	it := q.only(func(a *act) bool { return a.kind == wire.KindGetHold && a.state == wire.StateExpired })
	return q.masks(), replace(q.acts, func(a *act) bool {
		if it == nil || a.until == 0 || a.order != it.order {
			return false
		}
		a.until += 3_600_000
		return true
	})
}

// swapFences exchanges the fences of two grants of which one was answered before
// the other was asked for.
func swapFences(q *quartet) ([]uint8, []*act) {
	asked, answered := make(map[int]int64), make(map[int]*act)
	for _, a := range q.acts {
		if a.kind != wire.KindHold {
			continue
		}
		if at, seen := asked[a.order]; !seen || a.call < at {
			asked[a.order] = a.call
		}
		if f := answered[a.order]; a.fence != 0 && (f == nil || a.ret < f.ret) {
			answered[a.order] = a
		}
	}
	var first, second *act
	for _, order := range slices.Sorted(maps.Keys(answered)) {
		switch a := answered[order]; {
		case first == nil:
			first = a
		case second == nil && first.ret < asked[order]:
			second = a
		}
	}
	return q.masks(), replace(q.acts, func(a *act) bool {
		if second == nil || a.fence == 0 || a.order != first.order && a.order != second.order {
			return false
		}
		a.fence = first.fence + second.fence - a.fence
		return true
	})
}

func answerAnew(q *quartet) ([]uint8, []*act) {
	it := q.only(func(a *act) bool {
		return a.kind == wire.KindHold && a.known && a.status == wire.StatusOK && q.only(func(b *act) bool { return b != a && b.order == a.order && b.fence != 0 }) != nil
	})
	return q.masks(), replace(q.acts, func(a *act) bool {
		if it == nil || *a != *it {
			return false
		}
		a.fence++
		return true
	})
}
