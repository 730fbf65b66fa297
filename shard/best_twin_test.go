package shard

import (
	"cmp"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// A twin answers best available queries by trying every group there is, seat by
// seat, as docs/best-available.md says. It shares nothing with the code under
// test but the query.
type twin struct {
	sections int
	rows     []twinRow
}

type twinRow struct {
	section, focal int
	first          wire.SeatID
	seats          []twinSeat
}

type twinSeat struct {
	taken, barred bool
	chosen        bool // by an earlier group of the same request
	category      int
	access        wire.Access
}

func newTwin(m *wire.Manifest) *twin {
	t := &twin{sections: len(m.Sections)}
	word := wire.SeatID(0)
	for i, s := range m.Sections {
		for _, r := range s.Rows {
			w := twinRow{section: i, focal: int(r.Focal), first: 64 * word}
			for _, seat := range r.Seats {
				w.seats = append(w.seats, twinSeat{category: int(seat.Category), access: seat.Access})
			}
			t.rows = append(t.rows, w)
			word += wire.SeatID((len(r.Seats) + 63) / 64)
		}
	}
	return t
}

// seat finds a seat by its id; nil if there is none.
func (t *twin) seat(id wire.SeatID) *twinSeat {
	for i := range t.rows {
		r := &t.rows[i]
		if id >= r.first && id < r.first+wire.SeatID(len(r.seats)) {
			return &r.seats[id-r.first]
		}
	}
	return nil
}

func (r *twinRow) free(i int) bool {
	return i >= 0 && i < len(r.seats) && !r.seats[i].taken && !r.seats[i].chosen
}

// twinGroup is a group and all that it is ranked by.
type twinGroup struct {
	row, start, size            int
	orphans, category, distance int
}

func (t *twin) selectable(q *bestQuery, r *twinRow, i int) bool {
	s := r.seats[i]
	return r.free(i) && !s.barred &&
		(q.Section == wire.Any || int(q.Section) == r.section) &&
		(q.Categories == 0 || q.Categories&(1<<s.category) != 0) &&
		s.access&q.Access == q.Access
}

// groups lists all groups of a size, with their distance from the focal points.
func (t *twin) groups(q *bestQuery, size int) (all []twinGroup) {
	for row := range t.rows {
		r := &t.rows[row]
		for start := 0; start+size <= len(r.seats); start++ {
			g := twinGroup{row: row, start: start, size: size}
			ok := true
			for i := start; i < start+size && ok; i++ {
				ok = t.selectable(q, r, i)
				g.category = max(g.category, r.seats[i].category)
			}
			if !ok {
				continue
			}
			if r.free(start-1) && !r.free(start-2) {
				g.orphans++
			}
			if end := start + size; r.free(end) && !r.free(end+1) {
				g.orphans++
			}
			if q.NoOrphan && g.orphans > 0 {
				continue
			}
			g.distance = abs(g.centre() - r.focal)
			all = append(all, g)
		}
	}
	return all
}

// fits reports whether a row has a group of a size, and one that leaves no orphan.
func (t *twin) fits(q *bestQuery, row, size int) (fits, clean bool) {
	one := twin{rows: t.rows[row : row+1]}
	for _, g := range one.groups(q, size) {
		fits = true
		clean = clean || g.orphans == 0
	}
	return fits, clean
}

func (g *twinGroup) centre() int { return 2*g.start + g.size - 1 }

func abs(n int) int { return max(n, -n) }

// together picks the best group of a size.
func (t *twin) together(q *bestQuery, size int) (twinGroup, bool) {
	all := t.groups(q, size)
	if len(all) == 0 {
		return twinGroup{}, false
	}
	return slices.MinFunc(all, func(a, b twinGroup) int {
		return cmp.Or(
			cmp.Compare(a.orphans, b.orphans),
			cmp.Compare(a.category, b.category),
			cmp.Compare(a.row, b.row),
			cmp.Compare(a.distance, b.distance),
			cmp.Compare(a.start, b.start),
		)
	}), true
}

// near picks a further group of a size, by its distance from the first.
func (t *twin) near(q *bestQuery, first twinGroup, size int) (twinGroup, bool) {
	all := t.groups(q, size)
	if len(all) == 0 {
		return twinGroup{}, false
	}
	return slices.MinFunc(all, func(a, b twinGroup) int {
		return cmp.Or(
			cmp.Compare(a.orphans, b.orphans),
			cmp.Compare(t.elsewhere(first, a), t.elsewhere(first, b)),
			cmp.Compare(abs(a.row-first.row), abs(b.row-first.row)),
			cmp.Compare(a.row, b.row),
			cmp.Compare(t.outOfLine(first, a), t.outOfLine(first, b)),
			cmp.Compare(a.start, b.start),
		)
	}), true
}

// elsewhere is 0 in the first group's row, 1 in its section, else 2.
func (t *twin) elsewhere(first, g twinGroup) int {
	switch {
	case g.row == first.row:
		return 0
	case t.rows[g.row].section == t.rows[first.row].section:
		return 1
	default:
		return 2
	}
}

func (t *twin) outOfLine(first, g twinGroup) int {
	place := t.rows[g.row].focal + first.centre() - t.rows[first.row].focal
	return abs(g.centre() - place)
}

// best answers a query with seat ids, group after group.
func (t *twin) best(q bestQuery) ([]wire.SeatID, bool) {
	if g, ok := t.together(&q, q.Count); ok {
		return t.ids([]twinGroup{g}), true
	}
	if !q.Split {
		return nil, false
	}
	for limit := q.Count - 1; limit > 0; {
		groups, ok := t.round(&q, limit)
		if ok {
			return t.ids(groups), true
		}
		if !q.NoOrphan || len(groups) == 0 {
			return nil, false
		}
		limit = groups[0].size - 1
	}
	return nil, false
}

// round chooses groups up to a limit in size; those it found if it fails.
func (t *twin) round(q *bestQuery, limit int) (groups []twinGroup, ok bool) {
	defer t.unchoose()
	for missing := q.Count; missing > 0; {
		g, ok := twinGroup{}, false
		for size := min(missing, limit); size > 0 && !ok; size-- {
			if len(groups) == 0 {
				g, ok = t.together(q, size)
			} else {
				g, ok = t.near(q, groups[0], size)
			}
		}
		if !ok {
			return groups, false
		}
		groups = append(groups, g)
		for i := range g.size {
			t.rows[g.row].seats[g.start+i].chosen = true
		}
		missing -= g.size
		limit = g.size
	}
	return groups, true
}

func (t *twin) unchoose() {
	for i := range t.rows {
		for j := range t.rows[i].seats {
			t.rows[i].seats[j].chosen = false
		}
	}
}

func (t *twin) ids(groups []twinGroup) (ids []wire.SeatID) {
	for _, g := range groups {
		for i := range g.size {
			ids = append(ids, t.rows[g.row].first+wire.SeatID(g.start+i))
		}
	}
	return ids
}

// isOrphan reports whether a seat is free between neighbours that are not.
func (r *twinRow) isOrphan(i int) bool { return r.free(i) && !r.free(i-1) && !r.free(i+1) }

// orphansLeft names the orphans that there are with seats and were not without.
func (t *twin) orphansLeft(seats []wire.SeatID) (left []wire.SeatID) {
	before := t.orphans()
	for _, s := range seats {
		t.seat(s).chosen = true
	}
	after := t.orphans()
	t.unchoose()
	return slices.DeleteFunc(after, func(s wire.SeatID) bool { return slices.Contains(before, s) })
}

func (t *twin) orphans() (all []wire.SeatID) {
	for i := range t.rows {
		r := &t.rows[i]
		for j := range r.seats {
			if r.isOrphan(j) {
				all = append(all, r.first+wire.SeatID(j))
			}
		}
	}
	return all
}
