package shard

// split chooses several groups when there are no seats for all together: the
// largest first, those after the first as near to it as they can be. It reports
// whether it found groups for all.
//
// The largest groups make the fewest. Only where no orphan may be left can that
// fail though smaller groups would do (six seats out of runs of 5, 2 and 2: not
// 5 and 1, but 2 and 2 and 2), so then it begins again with a smaller first group.
//
// Cost: with limit l there are about Count/l groups, so Count·ln(Count) groups at
// most, each of which may look at a bit of every row.
func (x *bestIndex) split() bool {
	if !x.enough() {
		return false
	}
	for limit := x.q.Count - 1; limit > 0; limit = x.groups[0].size - 1 {
		if x.splitUpTo(limit) {
			return true
		}
		if x.chosen == 0 || !x.q.NoOrphan {
			return false
		}
	}
	return false
}

// enough reports whether there are Count seats at all. At the end of a sale, when
// many ask in vain, it saves choosing groups that will not do. Cost: at most Count
// rows with seats.
func (x *bestIndex) enough() bool {
	missing := x.q.Count
	for _, s := range x.l.order.spans(x.q.Section) {
		if x.q.Categories>>s.category&1 == 0 {
			continue
		}
		x.filter.categories = 1 << s.category // a mixed row comes once for each
		for e := int(s.from); missing > 0; e++ {
			if e = x.view.next(e, int(s.to), plane(1, true)); e < 0 {
				break
			}
			x.scan.load(&x.l.rows[x.l.order.entries[e].row], x.taken, &x.filter)
			missing -= x.scan.count()
			x.refresh(e)
		}
	}
	return missing <= 0
}

// splitUpTo chooses groups of at most limit seats each, none larger than the one
// before it.
func (x *bestIndex) splitUpTo(limit int) bool {
	x.chosen = 0
	for rest := x.q.Count; rest > 0; {
		g, ok := x.largestUpTo(min(rest, limit))
		if !ok {
			return false
		}
		if x.chosen > 0 {
			g = x.near(g)
		}
		x.groups[x.chosen] = g
		x.chosen++
		x.rowChanged(g.row) // the view does not know of groups only chosen
		rest -= g.size
		limit = g.size
	}
	return true
}

// largestUpTo finds the best group of the largest size up to limit.
func (x *bestIndex) largestUpTo(limit int) (group, bool) {
	for size := limit; size > 0; size-- {
		if g, ok := x.together(size); ok {
			return g, true
		}
	}
	return group{}, false
}

// near finds the group that is nearest to the first one among those of g's size
// that leave as many orphans as g, which is one of them: in the first one's row,
// then in the other rows of its section, then elsewhere; each time the fewest
// rows away, and of two rows equally far the earlier one.
func (x *bestIndex) near(g group) group {
	home := x.l.sections[x.l.rows[x.groups[0].row].section]
	everywhere := section{0, int32(len(x.l.rows))}
	for _, rows := range [2]section{home, everywhere} {
		if n, ok := x.outward(rows, g); ok {
			return n
		}
	}
	return g
}

// outward looks for a group like g in rows ever further from the first group's.
func (x *bestIndex) outward(within section, g group) (group, bool) {
	row := x.groups[0].row
	for far := 0; within.has(row-far) || within.has(row+far); far++ {
		for _, r := range [2]int{row - far, row + far} {
			if !within.has(r) {
				continue
			}
			if n, ok := x.inLine(r, g); ok {
				return n, true
			}
		}
	}
	return group{}, false
}

func (s section) has(row int) bool { return row >= int(s.from) && row < int(s.to) }

// inLine finds the group like g in a row that is nearest to the first group's
// place: as far from the row's focal point as the first group is from that of
// its own row.
func (x *bestIndex) inLine(row int, g group) (group, bool) {
	entry := x.l.order.widest(row)
	if !x.view.mayFit(entry, plane(g.size, g.orphans > 0)) {
		return group{}, false
	}
	first := x.groups[0]
	centre := 2*first.start + first.size - 1
	point := int(x.l.rows[row].focal) + centre - int(x.l.rows[first.row].focal)
	return x.inEntry(entry, g.size, g.orphans, point)
}
