package shard

import (
	"math/bits"

	"github.com/usher-seats/usher/wire"
)

const wordBits = 64

// A layout is where the places of an event are: what its manifest says, turned
// into words. Immutable, and so safe on any goroutine.
//
// Sections come first, their rows in manifest order, each row on words of its
// own; then the areas. So the words of a row, of a section and of an area are
// ranges, and a seat's neighbours are the neighbouring bits.
type layout struct {
	words      int // 64-seat words
	seats      int // places, areas included
	categories int
	rows       []row // in manifest order
	areas      []area
	sections   []section
	rowAt      []int32  // by word: index in rows; -1-i for area i
	pads       []uint64 // by word: bits that are no places
	order      order    // the rows as best available prefers them
}

// A section is a range of rows.
type section struct{ from, to int32 }

// A row is a run of neighbouring seats. Its seat i is bit i%64 of word
// word+i/64.
type row struct {
	word     int32 // the first
	words    int32
	seats    int32
	section  uint16
	focal    uint16   // where its best seat is, in half seats from the first
	category uint8    // of every seat, unless there is a side table; then the worst
	side     *rowSide // nil for most rows
}

// mixed reports whether the row has seats of several categories.
func (r *row) mixed() bool { return r.side != nil && r.side.categories != nil }

// A rowSide is what only some rows have: seats of several categories, seats
// with access flags. Each mask has a bit per seat of the row.
type rowSide struct {
	categories []categoryMask // by category; nil if all seats are of one
	access     []accessMask   // a flag each; nil if no seat has a flag
}

type categoryMask struct {
	category uint8
	mask     []uint64
}

type accessMask struct {
	flag wire.Access
	mask []uint64
}

// An area is general admission: places that are all the same. Place i is bit
// i%64 of word word+i/64.
type area struct {
	word     int32 // the first
	words    int32
	places   int32
	category uint8
}

// newLayout lays out a valid manifest.
func newLayout(m *wire.Manifest) *layout {
	l := &layout{categories: len(m.Categories)}
	for i := range m.Sections {
		from := len(l.rows)
		for j := range m.Sections[i].Rows {
			l.addRow(uint16(i), &m.Sections[i].Rows[j])
		}
		l.sections = append(l.sections, section{int32(from), int32(len(l.rows))})
	}
	for i := range m.Areas {
		l.addArea(&m.Areas[i])
	}
	l.order = newOrder(l)
	return l
}

func (l *layout) addRow(section uint16, w *wire.Row) {
	word, words := l.addWords(len(w.Seats), int32(len(l.rows)))
	r := row{
		word: word, words: words, seats: int32(len(w.Seats)),
		section: section, focal: w.Focal,
	}
	for _, s := range w.Seats {
		r.category = max(r.category, uint8(s.Category))
	}
	r.side = newRowSide(w, int(words))
	l.rows = append(l.rows, r)
}

func (l *layout) addArea(a *wire.Area) {
	word, words := l.addWords(int(a.Capacity), int32(-1-len(l.areas)))
	l.areas = append(l.areas, area{
		word: word, words: words, places: int32(a.Capacity), category: uint8(a.Category),
	})
}

// addWords appends the words of n places and says whose they are.
func (l *layout) addWords(n int, owner int32) (word, words int32) {
	word, words = int32(l.words), int32((n+wordBits-1)/wordBits)
	for i := range int(words) {
		pad := uint64(0)
		if rest := n - i*wordBits; rest < wordBits {
			pad = ^uint64(0) << rest
		}
		l.pads = append(l.pads, pad)
		l.rowAt = append(l.rowAt, owner)
	}
	l.words += int(words)
	l.seats += n
	return word, words
}

// newRowSide builds the masks that the row needs, or nil if it needs none.
func newRowSide(w *wire.Row, words int) *rowSide {
	side := &rowSide{}
	first, mixed := w.Seats[0].Category, false
	for i, s := range w.Seats {
		mixed = mixed || s.Category != first
		for rest := s.Access; rest != 0; rest &= rest - 1 {
			side.markAccess(rest&-rest, i, words)
		}
	}
	if mixed {
		for i, s := range w.Seats {
			side.markCategory(uint8(s.Category), i, words)
		}
	}
	if !mixed && side.access == nil {
		return nil
	}
	return side
}

func (s *rowSide) markAccess(flag wire.Access, seat, words int) {
	for i := range s.access {
		if s.access[i].flag == flag {
			setBit(s.access[i].mask, seat)
			return
		}
	}
	s.access = append(s.access, accessMask{flag, make([]uint64, words)})
	setBit(s.access[len(s.access)-1].mask, seat)
}

// markCategory keeps the masks in the order of categories.
func (s *rowSide) markCategory(category uint8, seat, words int) {
	at := 0
	for at < len(s.categories) && s.categories[at].category < category {
		at++
	}
	if at == len(s.categories) || s.categories[at].category != category {
		s.categories = append(s.categories, categoryMask{})
		copy(s.categories[at+1:], s.categories[at:])
		s.categories[at] = categoryMask{category, make([]uint64, words)}
	}
	setBit(s.categories[at].mask, seat)
}

func setBit(mask []uint64, i int) { mask[i/wordBits] |= 1 << (i % wordBits) }

// pad is the word's bits that are no places: taken and blocked for ever.
func (l *layout) pad(word int) uint64 { return l.pads[word] }

// valid reports whether s is a place of the event.
func (l *layout) valid(s wire.SeatID) bool {
	word := int(s / wordBits)
	return word < l.words && l.pads[word]>>(s%wordBits)&1 == 0
}

// rowOf is the index of the row that has the word, or -1 in an area.
func (l *layout) rowOf(word int) int { return max(int(l.rowAt[word]), -1) }

// areaOf is the index of the area that has the word, or -1 in a row.
func (l *layout) areaOf(word int) int { return max(-1-int(l.rowAt[word]), -1) }

// counts adds up the seats by state into info's Total, Sections (sections, then
// areas) and Categories, whose slices it reuses. The planes have all words of
// the event and must be copies that are consistent with each other.
func (l *layout) counts(taken, booked, blocked []uint64, info *wire.EventInfo) {
	info.Total = wire.Counts{}
	info.Sections = zeroed(info.Sections, len(l.sections)+len(l.areas))
	info.Categories = zeroed(info.Categories, l.categories)
	p := planes{taken, booked, blocked, l.pads}
	for i := range l.rows {
		r := &l.rows[i]
		c := p.count(r.word, r.words, nil)
		addCounts(&info.Total, c)
		addCounts(&info.Sections[r.section], c)
		if !r.mixed() {
			addCounts(&info.Categories[r.category], c)
			continue
		}
		for _, m := range r.side.categories {
			addCounts(&info.Categories[m.category], p.count(r.word, r.words, m.mask))
		}
	}
	for i := range l.areas {
		a := &l.areas[i]
		c := p.count(a.word, a.words, nil)
		addCounts(&info.Total, c)
		addCounts(&info.Sections[len(l.sections)+i], c)
		addCounts(&info.Categories[a.category], c)
	}
}

// planes are consistent copies of an event's words, and its padding. No seat is
// both booked and blocked, and those that are either are taken.
type planes struct{ taken, booked, blocked, pads []uint64 }

// count counts the places in words, of those in mask if there is one.
func (p *planes) count(word, words int32, mask []uint64) (c wire.Counts) {
	for i := range words {
		places := ^p.pads[word+i]
		if mask != nil {
			places = mask[i]
		}
		taken := p.taken[word+i] & places
		booked := p.booked[word+i] & places
		blocked := p.blocked[word+i] & places
		c.Free += uint32(bits.OnesCount64(places &^ taken))
		c.Booked += uint32(bits.OnesCount64(booked))
		c.Blocked += uint32(bits.OnesCount64(blocked))
		c.Held += uint32(bits.OnesCount64(taken &^ booked &^ blocked))
	}
	return c
}

func addCounts(to *wire.Counts, c wire.Counts) {
	to.Free += c.Free
	to.Held += c.Held
	to.Booked += c.Booked
	to.Blocked += c.Blocked
}

func zeroed(c []wire.Counts, n int) []wire.Counts {
	if cap(c) < n {
		return make([]wire.Counts, n)
	}
	c = c[:n]
	clear(c)
	return c
}
