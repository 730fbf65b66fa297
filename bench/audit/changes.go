package audit

import (
	"cmp"
	"slices"
	"sort"

	"github.com/usher-seats/usher/wire"
)

// changes replays the change records: each seat's must follow on each other, and
// a seat that becomes free must have been released, or been due.
func (r *reporter) changes(h *History) {
	if h.Changes == nil {
		return
	}
	grants := make(map[wire.SeatID][]*Hold, len(h.Seats))
	for i := range h.Holds {
		for _, seat := range h.Holds[i].Seats {
			grants[seat] = append(grants[seat], &h.Holds[i])
		}
	}
	for _, list := range grants {
		slices.SortFunc(list, func(a, b *Hold) int { return cmp.Compare(a.Fence, b.Fence) })
	}
	state := make(map[wire.SeatID]wire.SeatState, len(h.Seats)) // zero is free
	var last wire.Version
	for i := range h.Changes {
		c := &h.Changes[i]
		r.looked("records", 1)
		if c.Version < last {
			r.broke("records", "version %d comes after %d", c.Version, last)
		}
		last = c.Version
		if c.From != state[c.Seat] || c.From == c.To || c.From == wire.SeatBooked && c.To == wire.SeatHeld {
			r.broke("records", "at version %d seat %d went from %v to %v, and was %v", c.Version, c.Seat, c.From, c.To, state[c.Seat])
		}
		state[c.Seat] = c.To
		if c.To == wire.SeatFree {
			r.freed(h, c, grants[c.Seat])
		}
	}
	if h.Map == nil {
		return
	}
	for _, seat := range h.Seats {
		if got := h.Map.State[seat]; got != state[seat] {
			r.broke("records", "seat %d is %v in the map, and %v by its last change", seat, got, state[seat])
		}
	}
}

// freed looks at one seat that was given back, whose grants are in the order of
// their fences.
func (r *reporter) freed(h *History, c *Change, grants []*Hold) {
	next := sort.Search(len(grants), func(i int) bool { return grants[i].Fence > c.Version })
	if next == 0 {
		r.broke("records", "at version %d seat %d became free, and nobody had been granted it", c.Version, c.Seat)
		return
	}
	hold := grants[next-1]
	r.looked("early", 1)
	switch hold.End {
	case EndBooked:
		r.broke("booking", "seat %d of booking %v became free at version %d", c.Seat, hold.ID, c.Version)
	case EndReleased:
		// It may have expired while the release was on its way; Until then is over.
		if c.Before < min(hold.Ending, hold.Until) {
			r.broke("early", "seat %d became free before %v, which its client released at %v", c.Seat, c.Before, hold.Ending)
		}
	default:
		if c.Before < hold.Until {
			r.broke("early", "seat %d of hold %v became free before %v, its time was not over before %v", c.Seat, hold.ID, c.Before, hold.Until)
		}
		r.looked("late", 1)
		if due := hold.DueBy + h.Allowed.Tick + h.Allowed.Commit; c.After > due {
			r.broke("late", "seat %d of hold %v became free after %v, %v later than it may", c.Seat, hold.ID, c.After, c.After-due)
		}
	}
}
