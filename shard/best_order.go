package shard

import (
	"cmp"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// An entry is a row as a place to look for seats of a category and better ones
// of that row. A row whose seats are all of one category has one entry, a mixed
// row has one for each of its categories: a group is as good as its worst seat,
// so in a mixed row the better groups stand in an earlier entry.
type entry struct {
	row      int32
	category uint8
}

// An order is the rows of a layout as best available prefers them: by category,
// then by row. Immutable.
type order struct {
	entries []entry
	all     []span   // by category
	section [][]span // by section, then by category
	from    []int32  // by row: where its entries begin in at; one more at the end
	at      []int32  // indexes in entries; those of a row by category
}

// A span is a range of entries that have the same category.
type span struct {
	category uint8
	from, to int32
}

func newOrder(l *layout) order {
	var o order
	for i := range l.rows {
		o.addRow(int32(i), &l.rows[i])
	}
	slices.SortFunc(o.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.category, b.category), cmp.Compare(a.row, b.row))
	})
	o.section = make([][]span, len(l.sections))
	for i, e := range o.entries {
		o.all = addToSpan(o.all, e.category, int32(i))
		s := &o.section[l.rows[e.row].section]
		*s = addToSpan(*s, e.category, int32(i))
	}
	o.indexRows(len(l.rows))
	return o
}

func (o *order) addRow(i int32, r *row) {
	if !r.mixed() {
		o.entries = append(o.entries, entry{i, r.category})
		return
	}
	for _, m := range r.side.categories {
		o.entries = append(o.entries, entry{i, m.category})
	}
}

// addToSpan extends the last span by entry i or begins a new one. Rows of a
// section follow each other, so its entries of one category do too.
func addToSpan(spans []span, category uint8, i int32) []span {
	if n := len(spans); n > 0 && spans[n-1].category == category {
		spans[n-1].to = i + 1
		return spans
	}
	return append(spans, span{category, i, i + 1})
}

// indexRows finds the entries of each row. Going through the entries in order
// leaves those of a row in the order of their categories.
func (o *order) indexRows(rows int) {
	o.from = make([]int32, rows+1)
	for _, e := range o.entries {
		o.from[e.row+1]++
	}
	for i := range rows {
		o.from[i+1] += o.from[i]
	}
	o.at = make([]int32, len(o.entries))
	next := slices.Clone(o.from)
	for i, e := range o.entries {
		o.at[next[e.row]] = int32(i)
		next[e.row]++
	}
}

// spans are the entries of a section, or of all with wire.Any. A section that
// does not exist has none.
func (o *order) spans(section uint16) []span {
	if section == wire.Any {
		return o.all
	}
	if int(section) < len(o.section) {
		return o.section[section]
	}
	return nil
}

// ofRow are the indexes of a row's entries, by category.
func (o *order) ofRow(row int) []int32 { return o.at[o.from[row]:o.from[row+1]] }

// widest is the row's entry that has all its seats.
func (o *order) widest(row int) int { return int(o.at[o.from[row+1]-1]) }
