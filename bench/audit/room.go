package audit

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// room looks at the waiting room.
func (r *reporter) room(h *History) {
	r.tickets(h.Room)
	r.admissions(h.Room)
	r.crowding(h.Room)
	r.passes(h)
}

// tickets looks at the numbers that joins were given.
func (r *reporter) tickets(room *Room) {
	var n, late uint64
	var lastSent time.Duration // the latest that a join with a lower late number was sent
	var lastNumber uint32
	for t := range room.Tickets {
		r.looked("ticket", 1)
		if n > 0 && t.Number == lastNumber {
			r.broke("ticket", "number %d was given twice", t.Number)
		}
		lastNumber = t.Number
		n++
		if room.Issued > 0 && uint64(t.Number) >= room.Issued {
			r.broke("ticket", "number %d was given, the server has issued %d", t.Number, room.Issued)
		}
		if t.Early {
			r.early(room, &t)
			continue
		}
		late++
		if t.Place != NoPlace && t.Place != t.Number {
			r.broke("order", "queue number %d was %d later", t.Number, t.Place)
		}
		r.looked("order", 1)
		if late > 1 && t.Acked < lastSent {
			r.broke("order", "number %d was acknowledged at %v, and a lower one was joined for at %v", t.Number, t.Acked, lastSent)
		}
		lastSent = max(lastSent, t.Sent)
	}
	if room.Settled && n != room.Issued {
		r.broke("ticket", "%d joins were acknowledged, the server has issued %d numbers", n, room.Issued)
	}
}

// early looks at a ticket with an entry number.
func (r *reporter) early(room *Room, t *Ticket) {
	if room.Draw == nil {
		if t.Place != NoPlace {
			r.broke("draw", "entry %d has place %d, and there was no draw", t.Number, t.Place)
		}
		return
	}
	if uint64(t.Number) >= room.Entries {
		r.broke("draw", "entry %d is beyond the %d that were drawn", t.Number, room.Entries)
		return
	}
	if t.Place == NoPlace {
		return
	}
	r.looked("draw", 1)
	if want := room.Draw(t.Number); want != t.Place {
		r.broke("draw", "entry %d was told that its number is %d, the draw says %d", t.Number, t.Place, want)
	}
}

// admissions compares who was let in, and who was not, with who had been called.
func (r *reporter) admissions(room *Room) {
	served := make([]uint64, len(room.Frames)) // highest serving number up to a frame
	for i, f := range room.Frames {
		served[i] = f.Serving
		if i > 0 {
			served[i] = max(served[i], served[i-1])
		}
	}
	r.looked("called", len(room.Passes)+len(room.Refused))
	for i := range room.Passes {
		p := &room.Passes[i]
		// The first state that was asked for when the pass was there.
		after := sort.Search(len(room.Frames), func(i int) bool { return room.Frames[i].Sent >= p.Acked })
		if after < len(room.Frames) && served[after] <= uint64(p.Number) {
			r.broke("called", "number %d was let in at %v, and later %d was being served", p.Number, p.Acked, served[after])
		}
	}
	for i := range room.Refused {
		r.refusal(room, served, &room.Refused[i])
	}
}

func (r *reporter) refusal(room *Room, served []uint64, no *Refusal) {
	// The first state that has the number called, and so the last that has not.
	called := sort.Search(len(served), func(i int) bool { return served[i] > uint64(no.Number) })
	if !no.Lapsed {
		if called < len(served) && room.Frames[called].Acked < no.Sent {
			r.broke("called", "number %d was refused as not called, and had been called before %v", no.Number, room.Frames[called].Acked)
		}
		return
	}
	r.looked("grace", 1)
	var since time.Duration // not called before that
	if called > 0 {
		since = room.Frames[called-1].Sent
	}
	if no.Acked < since+room.Grace {
		r.broke("grace", "number %d lapsed before %v, and was not called before %v", no.Number, no.Acked, since)
	}
}

// crowding looks at how many were inside at a time: those whose passes were
// surely live, and what the server said itself.
func (r *reporter) crowding(room *Room) {
	for _, f := range room.Frames {
		r.looked("limit", 1)
		if f.Inside > room.Limit {
			r.broke("limit", "the server said that %d were inside, the limit is %d", f.Inside, room.Limit)
		}
	}
	type step struct {
		at time.Duration
		by int
	}
	var steps []step
	for i := range room.Passes {
		if p := &room.Passes[i]; p.Until > p.Acked {
			steps = append(steps, step{p.Acked, 1}, step{p.Until, -1})
		}
	}
	slices.SortFunc(steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) // who leaves makes room first
	})
	inside := 0
	for _, s := range steps {
		inside += s.by
		r.looked("limit", 1)
		if s.by > 0 && inside > room.Limit {
			r.broke("limit", "%d passes were live at %v, the limit is %d", inside, s.at, room.Limit)
		}
	}
}

// passes looks at what was held with each pass.
func (r *reporter) passes(h *History) {
	type use struct {
		booked int
		holds  []*Hold
	}
	uses := make(map[uint64]*use, len(h.Room.Passes))
	numbers := make(map[uint32]uint64, len(h.Room.Passes))
	for _, p := range h.Room.Passes {
		r.looked("pass", 1)
		if uses[p.ID] != nil {
			r.broke("pass", "pass %x was given twice", p.ID)
		}
		if other, twice := numbers[p.Number]; twice {
			r.broke("pass", "number %d has the passes %x and %x", p.Number, other, p.ID)
		}
		uses[p.ID] = new(use)
		numbers[p.Number] = p.ID
	}
	for i := range h.Holds {
		hold := &h.Holds[i]
		u := uses[hold.Pass]
		if u == nil {
			r.broke("pass", "hold %v was granted with the pass %x, which nobody was given", hold.ID, hold.Pass)
			continue
		}
		if len(hold.Seats) > h.Room.SeatsPerPass {
			r.broke("pass", "hold %v has %d seats, a pass is good for %d", hold.ID, len(hold.Seats), h.Room.SeatsPerPass)
		}
		if hold.End.booked() {
			if u.booked += len(hold.Seats); u.booked > h.Room.SeatsPerPass {
				r.broke("pass", "pass %x has booked %d seats, it is good for %d", hold.Pass, u.booked, h.Room.SeatsPerPass)
			}
		}
	}
}
