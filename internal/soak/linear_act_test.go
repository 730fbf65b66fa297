package soak

import (
	"fmt"
	"math"
	"strings"

	"github.com/usher-seats/usher/wire"
)

// forever is when an act has ended that nobody got an answer to: it may have its
// effect at any later time, or never.
const forever = math.MaxInt64

// An act is something that was asked about a quartet, and the answer. Whoever
// asks owns it until it is recorded; then it is immutable.
type act struct {
	kind     wire.Kind   // 0: the end, after which nothing happens
	order    int         // which hold of the quartet it is about; unused in maps
	deadline wire.Millis // 0: none, or only the client library knows
	logged   bool        // the answer surely came from the log, not from an early look
	audit    bool        // asked when all was quiet
	forged   bool        // quoted a fence that is not the hold's

	who       int   // for the story only
	call, ret int64 // nanoseconds since the history began

	known      bool // there was an answer, and this is what it said
	status     wire.Status
	now        wire.Millis // stamp of the decision; 0: was not told
	fence      wire.Fence  // 0: was not told
	until      wire.Millis // deadline of the hold; 0: was not told
	seats      uint8       // named as lost, by bit in the quartet; of a hold that was read: held
	booked     uint8
	state      wire.HoldState
	reacquired bool
	version    wire.Version                 // of a map
	seen       [quartetSeats]wire.SeatState // in a map
}

// A stamp is when something was decided, if anybody was told.
type stamp struct {
	sure bool // it did happen
	now  wire.Millis
}

// A verdict is what is known of a hold when all is over. A shard that keeps its
// promises says all of it once: whoever asks again gets the same.
type verdict struct {
	mask uint8 // seats asked for, by bit in the quartet

	granted stamp
	fence   wire.Fence
	until   wire.Millis // 0: unknown, which is as good as never

	rejected stamp // in the log, and so for ever
	lost     uint8

	final               byte // phase when all was quiet; 0: not granted, or nobody looked
	confirmed, released stamp
	kept, reacquired    bool  // how it was booked: while it was held, or granted anew
	missed              stamp // confirmed too late, and lost for ever
	missing             uint8
}

// judge gathers the verdicts from all answers about a quartet whose orders want
// the seats in masks. An error is two answers that cannot both be true.
func judge(masks []uint8, acts []*act) ([]verdict, error) {
	verdicts := make([]verdict, len(masks))
	for i, m := range masks {
		verdicts[i].mask = m
	}
	for _, a := range acts {
		if a.known && a.kind != wire.KindMap && a.kind != 0 {
			if err := verdicts[a.order].hear(a); err != nil {
				return nil, fmt.Errorf("order %d was answered twice and not the same: %w", a.order, err)
			}
		}
	}
	for i := range verdicts {
		switch v := &verdicts[i]; {
		case v.granted.sure && v.rejected.sure:
			return nil, fmt.Errorf("order %d was granted, and rejected by the log", i)
		case v.kept && v.reacquired || v.confirmed.sure && v.missed.sure:
			return nil, fmt.Errorf("order %d was booked in time: %v, reacquired: %v, lost: %v", i, v.kept, v.reacquired, v.missed.sure)
		}
	}
	return verdicts, nil
}

func (v *verdict) hear(a *act) error {
	switch {
	case a.kind == wire.KindHold && a.status == wire.StatusOK:
		return firstOf(same(&v.fence, a.fence), same(&v.until, a.until), v.granted.hear(a.now))
	case a.kind == wire.KindHold && a.status == wire.StatusTaken && a.logged:
		return firstOf(same(&v.lost, a.seats), v.rejected.hear(a.now))
	case a.kind == wire.KindGetHold && a.status == wire.StatusOK:
		v.book(a.reacquired, a.state == wire.StateBooked || a.state == wire.StateCancelled)
		v.missed.sure = v.missed.sure || a.state == wire.StateLost
		if a.audit {
			v.final = phaseOf[a.state]
		}
		return firstOf(same(&v.fence, a.fence), v.granted.hear(0))
	case a.kind == wire.KindConfirm && a.status == wire.StatusOK:
		v.book(a.reacquired, true)
		return v.confirmed.hear(a.now)
	case a.kind == wire.KindRelease && a.status == wire.StatusOK:
		return v.released.hear(a.now)
	case a.status == wire.StatusLost:
		return firstOf(same(&v.missing, a.seats), v.missed.hear(a.now))
	}
	return nil
}

func (v *verdict) book(reacquired, booked bool) {
	v.reacquired = v.reacquired || reacquired
	v.kept = v.kept || booked && !reacquired
}

func (s *stamp) hear(now wire.Millis) error {
	s.sure = true
	return same(&s.now, now)
}

// same notes what was told, if it was, and compares it with what had been.
func same[T ~uint8 | ~int64 | ~uint64](known *T, told T) error {
	if *known != 0 && told != 0 && *known != told {
		return fmt.Errorf("%d and %d", *known, told)
	}
	if told != 0 {
		*known = told
	}
	return nil
}

// heard leaves out the acts without an answer that certainly had no effect: at
// some time after the last of them the log decided the hold anew, or nothing of
// the kind had become of it. What remains is few, or the search would try each
// wherever it fits. quiet is a stamp after all of them.
func heard(acts []*act, verdicts []verdict, quiet wire.Millis) (list []*act) {
	for _, a := range acts {
		if a.known || a.kind == 0 || verdicts[a.order].mayHear(a.kind, quiet) {
			list = append(list, a)
		}
	}
	return list
}

func (v *verdict) mayHear(k wire.Kind, quiet wire.Millis) bool {
	switch {
	case quiet == wire.Never: // nobody has looked
		return true
	case k == wire.KindHold:
		return max(v.granted.now, v.rejected.now) < quiet
	case k == wire.KindConfirm:
		return v.final == booked || v.final == cancelled || v.final == missed
	case k == wire.KindRelease:
		return v.final == released
	default:
		return v.final == cancelled
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *act) String() string {
	var b strings.Builder
	switch a.kind {
	case 0:
		return "the end"
	case wire.KindMap:
		fmt.Fprintf(&b, "%8.3f–%.3f ms [%d] map", float64(a.call)/1e6, float64(a.ret)/1e6, a.who)
	default:
		names := map[wire.Kind]string{
			wire.KindHold: "hold", wire.KindConfirm: "confirm", wire.KindRelease: "release",
			wire.KindCancel: "cancel", wire.KindGetHold: "get",
		}
		fmt.Fprintf(&b, "%8.3f–%.3f ms [%d] %s order %d", float64(a.call)/1e6, float64(a.ret)/1e6, a.who, names[a.kind], a.order)
	}
	if a.logged {
		b.WriteString(" logged")
	}
	if a.forged {
		b.WriteString(" forged")
	}
	if a.deadline != 0 {
		fmt.Fprintf(&b, " by %d", a.deadline)
	}
	if !a.known {
		b.WriteString(": nobody knows")
		return b.String()
	}
	fmt.Fprintf(&b, ": %v at %d fence %x until %d seats %04b booked %04b %v reacquired %v version %x %v",
		a.status, a.now, uint64(a.fence), a.until, a.seats, a.booked, a.state, a.reacquired, uint64(a.version), a.seen)
	return b.String()
}
