package soak

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/usher-seats/usher/wire"
)

// quartetSeats is how many seats are checked together: enough for operations on
// several to conflict in part, and few enough for the search.
const quartetSeats = 4

// The phases of a hold in the model.
const (
	unborn byte = iota
	refused
	held
	booked
	released
	expired
	missed
	cancelled
)

var phaseOf = map[wire.HoldState]byte{
	wire.StateHeld: held, wire.StateBooked: booked, wire.StateReleased: released,
	wire.StateExpired: expired, wire.StateLost: missed, wire.StateCancelled: cancelled,
}

// A scene is the state of a quartet at a moment of the history. Comparable.
type scene struct {
	now   wire.Millis         // shard time has reached it
	fence wire.Fence          // so has the event's version
	owner [quartetSeats]int16 // order that has the seat, from 1; 0: free
	phase string              // by order
	over  bool
}

// A quartetModel is what a quartet may do, one act after the other. Time is part
// of it: stamps never run backwards, a hold has its seats before its deadline and
// has not from there on. Where an act tells its stamp, expiry is exact. Where it
// does not, time has passed as far as the answer needs, and no further: what is
// possible later is then possible still.
//
// What is known to have been decided at a stamp must have happened when time has
// passed it. Without that the search would notice much later that it forgot the
// effect of an act that nobody got an answer to.
type quartetModel struct {
	verdicts []verdict
	dates    []date // by stamp
}

// A date is a stamp by which an order has left a phase, or reached one.
type date struct {
	now    wire.Millis
	order  int
	phases string // those it may be in afterwards
}

func newQuartetModel(verdicts []verdict) quartetModel {
	m := quartetModel{verdicts: verdicts}
	for i, v := range verdicts {
		for _, d := range []struct {
			stamp
			phases []byte
		}{
			{v.granted, []byte{held, booked, released, expired, missed, cancelled}},
			{v.rejected, []byte{refused}},
			{v.confirmed, []byte{booked, cancelled}},
			{v.released, []byte{released}},
			{v.missed, []byte{missed}},
		} {
			if d.now != 0 {
				m.dates = append(m.dates, date{d.now, i, string(d.phases)})
			}
		}
	}
	slices.SortFunc(m.dates, func(a, b date) int { return cmp.Compare(a.now, b.now) })
	return m
}

func (m quartetModel) model() porcupine.Model {
	seed := maphash.MakeSeed()
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{scene{phase: strings.Repeat(string([]byte{unborn}), len(m.verdicts))}} },
		Step: func(state, input, _ any) (next []any) {
			s, a := state.(scene), input.(*act)
			if m.step(&s, a) {
				next = append(next, s)
			}
			if s = state.(scene); m.look(&s, a) {
				next = append(next, s)
			}
			return next
		},
		Equal:             func(a, b any) bool { return a.(scene) == b.(scene) },
		Hash:              func(s any) uint64 { return maphash.Comparable(seed, s.(scene)) },
		DescribeOperation: func(input, _ any) string { return input.(*act).String() },
	}
	return model.ToModel()
}

// look lets a hold be turned away by the early look: that is true at one moment,
// and nobody remembers it.
func (m quartetModel) look(s *scene, a *act) bool {
	if !a.known || a.kind != wire.KindHold || a.status != wire.StatusTaken || a.logged || s.phase[a.order] != unborn {
		return false
	}
	mask := m.verdicts[a.order].mask
	return m.passFor(s, mask&^a.seats) && s.taken()&mask == a.seats
}

// step lets an act happen in s, and reports whether its answer is possible.
func (m quartetModel) step(s *scene, a *act) bool {
	switch {
	case a.kind == 0:
		s.over = true
		return true
	case !a.known:
		// Without an effect it never happened, and that is told apart at the end
		// only: the search would try it everywhere.
		return s.over || m.effect(s, a)
	case a.kind == wire.KindHold:
		return m.hold(s, a)
	case a.kind == wire.KindGetHold:
		return m.getHold(s, a)
	case a.kind == wire.KindMap:
		return m.seeMap(s, a)
	}
	return m.onHold(s, a)
}

// pass lets time pass until now, if that is known.
func (m quartetModel) pass(s *scene, now wire.Millis) bool {
	if now == 0 {
		return true
	}
	if now < s.now {
		return false
	}
	first, _ := slices.BinarySearchFunc(m.dates, s.now, func(d date, now wire.Millis) int { return cmp.Compare(d.now, now) })
	for _, d := range m.dates[first:] {
		if d.now >= now {
			break
		}
		if strings.IndexByte(d.phases, s.phase[d.order]) < 0 {
			return false
		}
	}
	s.now = now
	for _, o := range s.owner {
		if o == 0 || s.phase[o-1] != held {
			continue
		}
		if until := m.verdicts[o-1].until; until != 0 && until <= now {
			m.end(s, int(o-1), expired)
		}
	}
	return true
}

// passFor lets time pass until no hold has the seats in mask any more.
func (m quartetModel) passFor(s *scene, mask uint8) bool {
	until := s.now
	for seat, o := range s.owner {
		if o == 0 || mask>>seat&1 == 0 {
			continue
		}
		if s.phase[o-1] != held || m.verdicts[o-1].until == 0 {
			return false
		}
		until = max(until, m.verdicts[o-1].until)
	}
	return m.pass(s, until)
}

func (s *scene) taken() (mask uint8) {
	for seat, o := range s.owner {
		if o != 0 {
			mask |= 1 << seat
		}
	}
	return mask
}

func (s *scene) set(order int, phase byte) {
	s.phase = s.phase[:order] + string([]byte{phase}) + s.phase[order+1:]
}

// end takes a hold's seats away.
func (m quartetModel) end(s *scene, order int, phase byte) {
	for seat, o := range s.owner {
		if int(o) == order+1 {
			s.owner[seat] = 0
		}
	}
	s.set(order, phase)
}

// begin gives a hold its seats.
func (m quartetModel) begin(s *scene, order int, phase byte) bool {
	mask := m.verdicts[order].mask
	if s.taken()&mask != 0 {
		return false
	}
	for seat := range s.owner {
		if mask>>seat&1 != 0 {
			s.owner[seat] = int16(order + 1)
		}
	}
	s.set(order, phase)
	return true
}

// inTime reports whether something decided at now may have been asked by a.
func (a *act) inTime(now wire.Millis) bool { return a.deadline == 0 || now <= a.deadline }

// grant is a hold that gets its seats, now.
func (m quartetModel) grant(s *scene, a *act) bool {
	v := &m.verdicts[a.order]
	if !v.granted.sure || !a.inTime(v.granted.now) || v.fence != 0 && v.fence <= s.fence || !m.pass(s, v.granted.now) {
		return false
	}
	s.fence = max(s.fence, v.fence)
	return m.begin(s, a.order, held)
}

// reject is a hold that the log refuses, now.
func (m quartetModel) reject(s *scene, a *act) bool {
	v := &m.verdicts[a.order]
	if !v.rejected.sure || !a.inTime(v.rejected.now) || !m.pass(s, v.rejected.now) || s.taken()&v.mask != v.lost {
		return false
	}
	s.set(a.order, refused)
	return true
}

func (m quartetModel) hold(s *scene, a *act) bool {
	v := &m.verdicts[a.order]
	phase := s.phase[a.order]
	switch a.status {
	case wire.StatusOK:
		return phase != refused && (phase != unborn || m.grant(s, a))
	case wire.StatusLate:
		return phase == unborn && a.deadline != 0 && a.now > a.deadline && m.pass(s, a.now)
	case wire.StatusTaken: // by the log
		told := v.rejected.sure && a.seats == v.lost && (a.now == v.rejected.now || a.now == 0)
		return told && (phase == refused || phase == unborn && m.reject(s, a))
	}
	return false
}

func (m quartetModel) getHold(s *scene, a *act) bool {
	if !m.pass(s, a.now) {
		return false
	}
	v, phase := &m.verdicts[a.order], s.phase[a.order]
	if a.status == wire.StatusUnknownHold {
		return phase == unborn || phase == refused
	}
	var has, sold uint8
	switch phase {
	case held:
		has = v.mask
	case booked:
		sold = v.mask
	}
	if phase == held && v.until != 0 && a.until != v.until {
		return false
	}
	return a.status == wire.StatusOK && phase == phaseOf[a.state] && a.seats == has && a.booked == sold
}

func (m quartetModel) seeMap(s *scene, a *act) bool {
	if !m.pass(s, a.now) || a.version < s.fence {
		return false
	}
	s.fence = a.version
	for seat, o := range s.owner {
		want := wire.SeatFree
		switch {
		case o == 0:
		case s.phase[o-1] == booked:
			want = wire.SeatBooked
		default:
			want = wire.SeatHeld
		}
		if a.seen[seat] != want {
			return false
		}
	}
	return a.status == wire.StatusOK
}

// onHold is confirm, release or cancel.
func (m quartetModel) onHold(s *scene, a *act) bool {
	v, phase := &m.verdicts[a.order], s.phase[a.order]
	if a.forged && phase != unborn && phase != refused {
		return a.status == wire.StatusFenceMismatch
	}
	switch a.status {
	case wire.StatusUnknownHold:
		return phase == unborn || phase == refused
	case wire.StatusCancelled:
		return phase == cancelled
	case wire.StatusReleased:
		return phase == released && a.kind == wire.KindConfirm
	case wire.StatusBooked:
		return phase == booked && a.kind == wire.KindRelease
	case wire.StatusNotBooked:
		return a.kind == wire.KindCancel && phase != unborn && phase != refused && phase != booked && phase != cancelled
	case wire.StatusLate:
		open := phase == held || phase == expired && a.kind == wire.KindConfirm || a.kind == wire.KindCancel
		return open && a.deadline != 0 && a.now > a.deadline && m.pass(s, a.now)
	case wire.StatusExpired:
		return a.kind == wire.KindRelease && (phase == expired || phase == held && m.passFor(s, v.mask))
	case wire.StatusLost:
		return a.kind != wire.KindCancel && (phase == missed || a.kind == wire.KindConfirm && m.effect(s, a) && s.phase[a.order] == missed)
	case wire.StatusOK:
		return m.done(s, a)
	}
	return false
}

// done is an act on a hold that was done, now or before.
func (m quartetModel) done(s *scene, a *act) bool {
	switch phase := s.phase[a.order]; {
	case a.kind == wire.KindConfirm && phase == booked, a.kind == wire.KindRelease && phase == released:
		return true // again; that it says the same is part of the verdict
	case a.kind == wire.KindCancel:
		return phase == booked && a.inTime(a.now) && m.pass(s, a.now) && m.effect(s, a)
	}
	was := s.phase[a.order]
	return m.effect(s, a) && s.phase[a.order] != was && s.phase[a.order] != missed
}

// effect does what an act does, if it can do it now.
func (m quartetModel) effect(s *scene, a *act) bool {
	v, phase := &m.verdicts[a.order], s.phase[a.order]
	switch {
	case a.forged || !a.inTime(s.now):
		return false
	case a.kind == wire.KindHold && phase == unborn:
		return v.granted.sure && m.grant(s, a) || v.rejected.sure && m.reject(s, a)
	case a.kind == wire.KindRelease && phase == held:
		if !a.inTime(v.released.now) || !m.pass(s, v.released.now) || s.phase[a.order] != held {
			return false
		}
		m.end(s, a.order, released)
		return true
	case a.kind == wire.KindCancel && phase == booked:
		m.end(s, a.order, cancelled)
		return true
	case a.kind == wire.KindConfirm && (phase == held || phase == expired):
		return m.confirm(s, a)
	}
	return false
}

// confirm books a hold that is held, or has expired and is granted anew, or is
// lost for ever.
func (m quartetModel) confirm(s *scene, a *act) bool {
	v := &m.verdicts[a.order]
	late := v.missed.sure || v.reacquired
	at := v.confirmed
	if v.missed.sure {
		at = v.missed
	}
	if !a.inTime(at.now) || !m.pass(s, at.now) {
		return false
	}
	if late && s.phase[a.order] == held && !m.passFor(s, v.mask) {
		return false
	}
	switch phase := s.phase[a.order]; {
	case !late:
		if phase != held {
			return false
		}
		s.set(a.order, booked)
		return true
	case phase != expired:
		return false
	case v.missed.sure:
		s.set(a.order, missed)
		if v.missing == 0 {
			return s.taken()&v.mask != 0
		}
		return m.passFor(s, v.mask&^v.missing) && s.taken()&v.mask == v.missing
	}
	return (at.now != 0 || m.passFor(s, v.mask)) && m.begin(s, a.order, booked)
}
