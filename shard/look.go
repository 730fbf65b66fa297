package shard

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

// looks is how often Look reads the words of a request before it leaves the
// decision to the log.
const looks = 4

// Look decides requests for seats that are gone without the log: most of what
// comes in a stampede. Any goroutine, no lock, no allocation if dst has room. If
// decided is true the answer is status and what was appended to dst; now is the
// shard time at which it is given. Otherwise the log has to decide; Look never
// grants.
//
// It decides that seats are taken for a hold, that places are not enough for an
// area, and that a hold wants a pass, as things are at one moment during the call. It does not decide what the
// log would have refused for another reason, nor anything about an id that may
// have been decided before, so a retry of a request that won gets its seats. The
// answer is not remembered: the same request may be granted later.
func (s *Shard) Look(r wire.Record, now wire.Millis, dst []byte) (status wire.Status, body []byte, decided bool) {
	if r.Flags&wire.FlagRepeat != 0 {
		return 0, dst, false
	}
	switch r.Kind {
	case wire.KindHold:
		return s.lookHold(r.Body, now, dst)
	case wire.KindHoldArea:
		return s.lookArea(r.Body, now, dst)
	case wire.KindHoldBest:
		return s.lookBest(r.Body, now, dst)
	}
	return 0, dst, false
}

// Offsets in the body of a Hold.
const (
	bodyID       = 8
	bodyDeadline = 24
	bodyChannel  = 40
	bodyPass     = 48
	bodyTTL      = 56
	bodyFlags    = 60
	bodyCount    = 62
	bodySeats    = 64
)

func (s *Shard) lookHold(b []byte, now wire.Millis, dst []byte) (wire.Status, []byte, bool) {
	if len(b) < bodySeats || b[bodyFlags] != 0 || b[bodyFlags+1] != 0 {
		return 0, dst, false
	}
	n := int(binary.LittleEndian.Uint16(b[bodyCount:]))
	if n == 0 || n > wire.MaxHoldSeats || len(b) != bodySeats+4*n {
		return 0, dst, false
	}
	e := s.Event(wire.EventID(binary.LittleEndian.Uint64(b)))
	if e == nil {
		return 0, dst, false
	}
	now, ok := e.lookable(b, now)
	if !ok {
		return 0, dst, false
	}
	seats := wire.SeatList(b[bodySeats:])
	if e.wantsPass(b) {
		return wire.StatusPassRequired, dst, distinct(seats) && e.stillNew(b)
	}
	if rules := e.rules.Load(); n > int(rules.SeatsPerHold) || binary.LittleEndian.Uint32(b[bodyTTL:]) > rules.MaxTTL || e.guarded.Load() {
		return 0, dst, false
	}
	lost, ok := e.lostSeats(seats)
	if !ok || lost == 0 || !distinct(seats) || !e.stillNew(b) {
		return 0, dst, false
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(now))
	return wire.StatusTaken, append(appendMasked(dst, seats, lost), 0, 0), true
}

// lookable checks what the log would look at before it comes to seats, and tells
// the event's time when it is so late in the shard.
func (e *Event) lookable(b []byte, shard wire.Millis) (now wire.Millis, ok bool) {
	if e.life.Load() != lifeOn || e.Sale() != wire.SaleOpen {
		return 0, false
	}
	now = e.Now(shard)
	id := wire.ID(b[bodyID : bodyID+16])
	if !id.Valid() {
		return now, false
	}
	if deadline := wire.Millis(binary.LittleEndian.Uint64(b[bodyDeadline:])); deadline != 0 && now > deadline {
		return now, false
	}
	t, timed := id.Time()
	return now, !timed || t <= now+maxAhead
}

// wantsPass reports whether the event has a waiting room and the request neither a
// pass nor what might be the key of a channel.
func (e *Event) wantsPass(b []byte) bool {
	return e.guarded.Load() && binary.LittleEndian.Uint64(b[bodyPass:]) == 0 && binary.LittleEndian.Uint64(b[bodyChannel:]) == 0
}

// stillNew is asked after the seats were looked at. If the event is on, it was so
// all the time, or has been frozen and goes on where it stood.
func (e *Event) stillNew(b []byte) bool {
	id := wire.ID(b[bodyID : bodyID+16])
	return !e.everSeen(&id) && e.life.Load() == lifeOn
}

// lostSeats has a bit for each seat that is taken, all at one moment. ok is false
// if there was no such moment, or a seat is no place of the event. What one load
// of one word says is true of one moment; of several words it is if nothing moved
// meanwhile.
func (e *Event) lostSeats(seats wire.SeatList) (lost uint64, ok bool) {
	for range looks {
		before := e.seq.Load()
		last, loads := -1, 0
		var value, pad uint64
		lost = 0
		for i := range seats.Len() {
			seat := seats.At(i)
			if word := int(seat / wordBits); word != last {
				if word >= len(e.taken) {
					return 0, false
				}
				value, pad = e.taken[word].Load(), e.lay.pad(word)
				last = word
				loads++
			}
			if pad>>(seat%wordBits)&1 != 0 {
				return 0, false
			}
			lost |= value >> (seat % wordBits) & 1 << i
		}
		if loads == 1 || before&1 == 0 && e.seq.Load() == before {
			return lost, true
		}
	}
	return 0, false
}

// distinct reports whether no seat is in the list twice. Lists are short.
func distinct(seats wire.SeatList) bool {
	n := seats.Len()
	for i := range n {
		for j := i + 1; j < n; j++ {
			if seats.At(i) == seats.At(j) {
				return false
			}
		}
	}
	return true
}

// Offsets in the body of a HoldArea.
const (
	bodyArea      = 60
	bodyAreaCount = 62
	bodyAreaEnd   = 64
)

func (s *Shard) lookArea(b []byte, now wire.Millis, dst []byte) (wire.Status, []byte, bool) {
	if len(b) != bodyAreaEnd {
		return 0, dst, false
	}
	area := int(binary.LittleEndian.Uint16(b[bodyArea:]))
	count := int(binary.LittleEndian.Uint16(b[bodyAreaCount:]))
	e := s.Event(wire.EventID(binary.LittleEndian.Uint64(b)))
	if e == nil || area >= len(e.lay.areas) {
		return 0, dst, false
	}
	if _, ok := e.lookable(b, now); !ok {
		return 0, dst, false
	}
	if e.wantsPass(b) {
		return wire.StatusPassRequired, dst, count >= 1 && count <= wire.MaxHoldSeats && e.stillNew(b)
	}
	rules := e.rules.Load()
	if count < 1 || count > int(rules.SeatsPerHold) || e.guarded.Load() || binary.LittleEndian.Uint32(b[bodyTTL:]) > rules.MaxTTL {
		return 0, dst, false
	}
	before := e.seq.Load()
	if e.lay.areas[area].hasFree(e.taken, count) || before&1 != 0 || e.seq.Load() != before || !e.stillNew(b) {
		return 0, dst, false
	}
	return wire.StatusNotEnough, dst, true
}

// Offsets in the body of a HoldBest.
const (
	bodyBestCount = 62
	bodyBestEnd   = 74
)

// lookBest knows nothing about seats; the log chooses them.
func (s *Shard) lookBest(b []byte, now wire.Millis, dst []byte) (wire.Status, []byte, bool) {
	if len(b) != bodyBestEnd {
		return 0, dst, false
	}
	count := int(binary.LittleEndian.Uint16(b[bodyBestCount:]))
	e := s.Event(wire.EventID(binary.LittleEndian.Uint64(b)))
	if e == nil || count < 1 || count > wire.MaxHoldSeats {
		return 0, dst, false
	}
	if _, ok := e.lookable(b, now); !ok || !e.wantsPass(b) || !e.stillNew(b) {
		return 0, dst, false
	}
	return wire.StatusPassRequired, dst, true
}

// hasFree reports whether the area has count free places, of whatever channel.
func (a *area) hasFree(taken []atomic.Uint64, count int) bool {
	for word := a.word; word < a.word+a.words; word++ {
		count -= bits.OnesCount64(^taken[word].Load())
		if count <= 0 {
			return true
		}
	}
	return false
}
