package shard

import (
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

// A bestQuery says which seats a request for the best available ones will have.
type bestQuery struct {
	Count      int         // 1..wire.MaxHoldSeats
	Section    uint16      // index in the manifest, or wire.Any
	Categories uint64      // bit i: category i will do; 0: every category
	Access     wire.Access // every seat must have all of these
	Split      bool        // seats in several groups are better than none
	NoOrphan   bool        // rather none than leaving an orphan

	// Bars names the content of barred: as long as its mask does not change, a
	// caller may give it the same number, and another number after a change.
	// What was learned about the mask is then used again. 0: it has no name.
	Bars uint32
}

// A bestIndex finds the best available seats of one event, and free places of
// its areas. docs/best-available.md states the order of preference.
//
// It only remembers where it need not look: what it answers depends on the
// layout, the query, taken and barred alone. So it is in no snapshot and starts
// cold. Owned by the applier.
type bestIndex struct {
	l       *layout
	largest int // size of group that the longest row has room for
	views   []view
	clock   uint64   // queries so far
	open    []uint64 // bit per word of areas: 0 says that all its places are taken

	// Scratch of one query.
	taken  []atomic.Uint64
	q      bestQuery
	filter filter // of the query; categories are those of the entry being scanned
	view   *view
	own    filter // of the view
	scan   rowScan
	groups [wire.MaxHoldSeats]group // already chosen, in a split
	chosen int
}

// A group is neighbouring seats of a row.
type group struct {
	row, start, size int // start counts from the row's first seat
	orphans          int // that it leaves
}

func newBestIndex(l *layout) *bestIndex {
	x := &bestIndex{l: l, open: make([]uint64, (l.words+wordBits-1)/wordBits)}
	for i := range x.open {
		x.open[i] = ^uint64(0)
	}
	for i := range l.rows {
		x.largest = max(x.largest, min(int(l.rows[i].seats), wire.MaxHoldSeats))
	}
	return x
}

// changed must be called whenever bits of taken[word] have changed, whether seats
// were taken or became free: taking seats, too, can make room for a group that
// would have left an orphan before.
func (x *bestIndex) changed(word int) {
	i := x.l.rowOf(word)
	if i < 0 {
		x.open[word/wordBits] |= 1 << (word % wordBits)
		return
	}
	x.rowChanged(i)
}

func (x *bestIndex) rowChanged(row int) {
	for _, e := range x.l.order.ofRow(row) {
		for v := range x.views {
			x.views[v].setStale(int(e))
		}
	}
}

// best appends the best seats for the query to dst, group by group and in
// ascending order within a group, or returns dst as it was and false if there
// are none. barred, if not nil, has the seats that the request may not have;
// they count as free for the orphan rule. taken has the padding. Applier only.
func (x *bestIndex) best(q bestQuery, taken []atomic.Uint64, barred []uint64, dst []wire.SeatID) ([]wire.SeatID, bool) {
	if q.Count < 1 || q.Count > wire.MaxHoldSeats {
		return dst, false
	}
	if q.Categories == 0 {
		q.Categories = ^uint64(0)
	}
	x.q, x.taken, x.chosen = q, taken, 0
	x.filter = filter{access: q.Access, barred: barred}
	x.useView(viewKey{bars: q.Bars, access: q.Access}, barred)

	g, ok := x.together(q.Count)
	if ok {
		dst = x.appendSeats(dst, g)
	} else if q.Split && x.split() {
		ok = true
		for _, g := range x.groups[:x.chosen] {
			dst = x.appendSeats(dst, g)
		}
	}
	x.taken, x.filter.barred, x.own.barred = nil, nil, nil
	return dst, ok
}

func (x *bestIndex) appendSeats(dst []wire.SeatID, g group) []wire.SeatID {
	first := wire.SeatID(x.l.rows[g.row].word)*wordBits + wire.SeatID(g.start)
	for i := range g.size {
		dst = append(dst, first+wire.SeatID(i))
	}
	return dst
}

// useView finds or makes the view of a filter. A mask without a name has no view
// of its own: whatever fits under it fits without it too, so the view without
// bars still says where not to look.
func (x *bestIndex) useView(key viewKey, barred []uint64) {
	x.own = filter{access: key.access}
	if key.bars != 0 {
		x.own.barred = barred
	}
	x.clock++
	x.view = x.findView(key)
	x.view.used = x.clock
}

func (x *bestIndex) findView(key viewKey) *view {
	oldest := 0
	for i := range x.views {
		if x.views[i].key == key {
			return &x.views[i]
		}
		if x.views[i].used < x.views[oldest].used {
			oldest = i
		}
	}
	if len(x.views) < maxViews {
		oldest = len(x.views)
		x.views = append(x.views, newView(len(x.l.order.entries), x.largest))
	}
	v := &x.views[oldest]
	v.key = key
	v.forget()
	return v
}

// orphanLimit is how many orphans a group may leave: one on each side at most.
func (x *bestIndex) orphanLimit() int {
	if x.q.NoOrphan {
		return 0
	}
	return 2
}

// together finds the best group of size seats.
func (x *bestIndex) together(size int) (group, bool) {
	if size > x.largest {
		return group{}, false
	}
	for orphans := range x.orphanLimit() + 1 {
		if g, ok := x.bestLeaving(size, orphans); ok {
			return g, true
		}
	}
	return group{}, false
}

// bestLeaving finds the best group among those that leave so many orphans: the
// first entry that has one, and there the one nearest to the focal point.
func (x *bestIndex) bestLeaving(size, orphans int) (group, bool) {
	p := plane(size, orphans > 0)
	for _, s := range x.l.order.spans(x.q.Section) {
		if x.q.Categories>>s.category&1 == 0 {
			continue
		}
		for e := int(s.from); ; e++ {
			if e = x.view.next(e, int(s.to), p); e < 0 {
				break
			}
			point := int(x.l.rows[x.l.order.entries[e].row].focal)
			if g, ok := x.inEntry(e, size, orphans, point); ok {
				return g, true
			}
		}
	}
	return group{}, false
}

// inEntry finds the group of the entry that is nearest to point. If it finds
// none, it sees to it that the view knows.
func (x *bestIndex) inEntry(entry, size, orphans, point int) (group, bool) {
	e := x.l.order.entries[entry]
	x.filter.categories = x.q.Categories & upTo(e.category)
	x.scan.load(&x.l.rows[e.row], x.taken, &x.filter)
	chosenHere := x.takeChosen(int(e.row))
	x.scan.grow(size)
	if start := x.scan.nearest(orphans, point); start >= 0 {
		return group{int(e.row), start, size, orphans}, true
	}
	// A row with chosen groups stays stale: the view is about taken alone.
	if !chosenHere {
		x.refresh(entry)
	}
	return group{}, false
}

// refresh brings an entry of the view up to date if it is stale.
func (x *bestIndex) refresh(entry int) {
	if !x.view.isStale(entry) {
		return
	}
	e := x.l.order.entries[entry]
	x.own.categories = upTo(e.category)
	x.scan.load(&x.l.rows[e.row], x.taken, &x.own)
	x.view.learn(entry, &x.scan)
}

// upTo are a category and the better ones, a bit each.
func upTo(category uint8) uint64 { return 2<<category - 1 }

// takeChosen takes the groups already chosen out of the scan and reports whether
// there are any in the row.
func (x *bestIndex) takeChosen(row int) (any bool) {
	for _, g := range x.groups[:x.chosen] {
		if g.row == row {
			x.scan.take(g)
			any = true
		}
	}
	return any
}
