package audit

import (
	"cmp"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// Check holds every history against every rule.
func Check(histories ...*History) *Report {
	r := newReporter()
	for _, h := range histories {
		r.event = h.Event
		r.bookings(h)
		r.grants(h)
		r.seats(h)
		r.changes(h)
		r.looked("unknown", len(h.Holds)+len(h.Open))
		for _, open := range h.Open {
			r.broke("unknown", "%s", open)
		}
		if h.Room != nil {
			r.room(h)
		}
	}
	return &Report{Rules: r.list}
}

// bookings compares the ledger with what the server has.
func (r *reporter) bookings(h *History) {
	holds := make(map[wire.ID]*Hold, len(h.Holds))
	owner := make(map[wire.SeatID]*Hold, len(h.Seats))
	for i := range h.Holds {
		hold := &h.Holds[i]
		holds[hold.ID] = hold
		if !hold.End.booked() {
			continue
		}
		for _, seat := range hold.Seats {
			if other := owner[seat]; other != nil {
				r.broke("seat", "seat %d is in the acknowledged bookings %v and %v", seat, other.ID, hold.ID)
			}
			owner[seat] = hold
		}
	}
	read := make(map[wire.ID]bool, len(h.Read))
	for i := range h.Read {
		got := &h.Read[i]
		if read[got.ID] {
			r.broke("booking", "booking %v is there twice", got.ID)
		}
		read[got.ID] = true
		if hold := holds[got.ID]; hold != nil {
			r.booking(hold, got)
		} else if len(got.Booked) > 0 {
			r.broke("stranger", "booking %v was not acknowledged", got.ID)
		}
	}
	for i := range h.Holds {
		if hold := &h.Holds[i]; hold.End.booked() {
			r.looked("booking", 1)
			if !read[hold.ID] {
				r.broke("booking", "booking %v with %d seats was acknowledged and is not there", hold.ID, len(hold.Seats))
			}
		}
	}
	if h.Map != nil {
		r.ownership(h, owner)
	}
}

// booking compares one hold of the ledger with what the server says of it.
func (r *reporter) booking(hold *Hold, got *Read) {
	if !hold.End.booked() {
		if len(got.Booked) > 0 {
			r.broke("stranger", "hold %v is booked, its client was told that it is %v", hold.ID, hold.End)
		}
		return
	}
	switch {
	case got.State != wire.StateBooked:
		r.broke("booking", "booking %v is %v", hold.ID, got.State)
	case got.Fence != hold.Fence && hold.End != EndReacquired: // a grant anew has a fence of its own
		r.broke("booking", "booking %v has fence %d, acknowledged was %d", hold.ID, got.Fence, hold.Fence)
	case !sameSeats(got.Booked, hold.Seats) || len(got.Held) > 0:
		r.broke("booking", "booking %v has seats %v, acknowledged were %v", hold.ID, got.Booked, hold.Seats)
	}
}

// ownership compares the final map with the ledger.
func (r *reporter) ownership(h *History, owner map[wire.SeatID]*Hold) {
	holder := make(map[wire.SeatID]*Hold)
	for i := range h.Holds {
		hold := &h.Holds[i]
		if hold.End == EndNone {
			for _, seat := range hold.Seats {
				if last := holder[seat]; last == nil || last.Fence < hold.Fence {
					holder[seat] = hold
				}
			}
		}
	}
	r.looked("stranger", len(h.Seats))
	for _, seat := range h.Seats {
		booking, state := owner[seat], h.Map.State[seat]
		switch {
		case state == wire.SeatBooked && booking == nil:
			r.broke("stranger", "seat %d is booked, and in no acknowledged booking", seat)
		case state != wire.SeatBooked && booking != nil:
			r.broke("booking", "seat %d of booking %v is %v", seat, booking.ID, state)
		case state == wire.SeatHeld && holder[seat] == nil:
			r.broke("stranger", "seat %d is held, and by no acknowledged hold", seat)
		case state == wire.SeatHeld:
			r.looked("late", 1)
			if hold := holder[seat]; h.Map.Sent > hold.DueBy+h.Allowed.Tick+h.Allowed.Commit {
				r.broke("late", "seat %d is held by %v, which was over %v before the map was read", seat, hold.ID, h.Map.Sent-hold.DueBy)
			}
		}
	}
}

// grants looks at each grant by itself.
func (r *reporter) grants(h *History) {
	fences := make(map[wire.Fence]wire.ID, len(h.Holds))
	for i := range h.Holds {
		hold := &h.Holds[i]
		r.looked("whole", 1)
		if len(hold.Seats) != hold.Count || hold.Named != nil && !sameSeats(hold.Named, hold.Seats) {
			r.broke("whole", "hold %v asked for %d seats %v and has %v", hold.ID, hold.Count, hold.Named, hold.Seats)
		}
		r.looked("fence", 1)
		if other, twice := fences[hold.Fence]; twice && other != hold.ID {
			r.broke("fence", "holds %v and %v have the fence %d", other, hold.ID, hold.Fence)
		}
		fences[hold.Fence] = hold.ID
		r.looked("early", 1)
		if hold.End == EndExpired || hold.End == EndLost || hold.End == EndReacquired {
			// Its client was told, by an answer that came at Ended, that it had expired.
			if hold.Ended < hold.Until {
				r.broke("early", "hold %v was %v at %v, its time was not over before %v", hold.ID, hold.End, hold.Ended, hold.Until)
			}
		}
	}
}

// seats looks at the grants of each seat in the order of their fences: each must
// have ended before the next began.
func (r *reporter) seats(h *History) {
	bySeat := make(map[wire.SeatID][]*Hold, len(h.Seats))
	for i := range h.Holds {
		for _, seat := range h.Holds[i].Seats {
			bySeat[seat] = append(bySeat[seat], &h.Holds[i])
		}
	}
	for seat, grants := range bySeat {
		r.looked("seat", len(grants))
		slices.SortFunc(grants, func(a, b *Hold) int { return cmp.Compare(a.Fence, b.Fence) })
		for i, next := range grants[1:] {
			r.handover(seat, grants[i], next)
		}
	}
}

// handover checks that a seat can have gone from one grant to the next, which
// was decided before next.Acked.
func (r *reporter) handover(seat wire.SeatID, last, next *Hold) {
	switch {
	case last.End == EndBooked:
		r.broke("seat", "seat %d is booked by %v and was granted to %v after it", seat, last.ID, next.ID)
	case last.End == EndReacquired && next.Acked < last.Until:
		r.broke("early", "seat %d was granted to %v at %v, though %v had it until %v", seat, next.ID, next.Acked, last.ID, last.Until)
	case last.End == EndReleased && next.Acked < min(last.Ending, last.Until):
		r.broke("seat", "seat %d was granted to %v before %v released it", seat, next.ID, last.ID)
	case last.End != EndReleased && last.End != EndReacquired && next.Acked < last.Until:
		r.broke("early", "seat %d was granted to %v at %v, though %v had it until %v", seat, next.ID, next.Acked, last.ID, last.Until)
	}
}

func sameSeats(a, b []wire.SeatID) bool {
	if len(a) != len(b) {
		return false
	}
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
