package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// wordsFor is the number of words that n places in a run take.
func wordsFor(n uint64) uint64 { return (n + 63) / 64 }

// Words is the number of 64-seat words of the event: its seat ids are below
// 64·Words.
func (m *Manifest) Words() int {
	var n uint64
	for i := range m.Sections {
		for j := range m.Sections[i].Rows {
			n += wordsFor(uint64(len(m.Sections[i].Rows[j].Seats)))
		}
	}
	for i := range m.Areas {
		n += wordsFor(uint64(m.Areas[i].Capacity))
	}
	return int(n)
}

// Seats is the number of places of the event, areas included.
func (m *Manifest) Seats() int {
	var n uint64
	for i := range m.Sections {
		for j := range m.Sections[i].Rows {
			n += uint64(len(m.Sections[i].Rows[j].Seats))
		}
	}
	for i := range m.Areas {
		n += uint64(m.Areas[i].Capacity)
	}
	return int(n)
}

// A run is a row or an area: places with neighbouring ids from a word on.
type run struct {
	word   uint32
	places uint32
	group  uint32 // index of its section, or of its area counted after the sections
	row    uint32 // index within the section
	next   uint32 // number in runs, from 1, of another row of the section with this name; 0: none
	plain  bool   // labels are 1, 2 …
}

// Places finds places by label, and labels by seat id. It is immutable and
// refers to its manifest, which must not change any more.
type Places struct {
	m          *Manifest
	runs       []run
	byWord     []uint32 // index in runs of the run that has the word
	groups     map[string]uint32
	rows       map[rowName]uint32 // number in runs, from 1, of the last row with the name
	categories map[string]uint16
}

type rowName struct {
	section uint32
	name    string
}

// Places builds the index. It takes no memory per seat, but some per row: keep
// it as long as the manifest is in use.
func (m *Manifest) Places() *Places {
	p := &Places{
		m:          m,
		byWord:     make([]uint32, 0, m.Words()),
		groups:     make(map[string]uint32, len(m.Sections)+len(m.Areas)),
		rows:       make(map[rowName]uint32),
		categories: make(map[string]uint16, len(m.Categories)),
	}
	for i := range m.Sections {
		s := &m.Sections[i]
		p.groups[s.Name] = uint32(i)
		for j := range s.Rows {
			r := &s.Rows[j]
			name := rowName{uint32(i), r.Name}
			p.add(run{places: uint32(len(r.Seats)), group: uint32(i), row: uint32(j), next: p.rows[name], plain: r.traits()&rowLabels == 0})
			p.rows[name] = uint32(len(p.runs))
		}
	}
	for i := range m.Areas {
		group := uint32(len(m.Sections) + i)
		p.groups[m.Areas[i].Name] = group
		p.add(run{places: m.Areas[i].Capacity, group: group, plain: true})
	}
	for i, name := range m.Categories {
		p.categories[name] = uint16(i)
	}
	return p
}

func (p *Places) add(r run) {
	r.word = uint32(len(p.byWord))
	for range wordsFor(uint64(r.places)) {
		p.byWord = append(p.byWord, uint32(len(p.runs)))
	}
	p.runs = append(p.runs, r)
}

// Section is the index of a section in the manifest.
func (p *Places) Section(name string) (uint16, bool) {
	g, ok := p.groups[name]
	return uint16(g), ok && int(g) < len(p.m.Sections)
}

// Area is the index of an area in the manifest.
func (p *Places) Area(name string) (uint16, bool) {
	g, ok := p.groups[name]
	return uint16(int(g) - len(p.m.Sections)), ok && int(g) >= len(p.m.Sections)
}

// Category is the index of a category in the manifest.
func (p *Places) Category(name string) (uint16, bool) {
	c, ok := p.categories[name]
	return c, ok
}

// Label is a place's label: section-row-seat, or area-number. It is empty for
// an id that is no place.
func (p *Places) Label(s SeatID) string {
	r, at := p.at(s)
	switch {
	case r == nil:
		return ""
	case p.area(r):
		return p.groupName(r) + "-" + strconv.Itoa(at+1)
	}
	row := p.rowOf(r)
	return p.groupName(r) + "-" + row.Name + "-" + row.Seats[at].Label
}

// Seat is the place that has a label.
func (p *Places) Seat(label string) (SeatID, bool) {
	return p.find(label, noSeat)
}

const noSeat SeatID = 1<<32 - 1

// find reads a label in every way that dashes within names allow. It passes
// over one seat, which makes it find a second one with the same label.
func (p *Places) find(label string, except SeatID) (SeatID, bool) {
	for i := dash(label, 0); i >= 0; i = dash(label, i+1) {
		g, ok := p.groups[label[:i]]
		if !ok {
			continue
		}
		if int(g) >= len(p.m.Sections) {
			if s, ok := p.areaPlace(g, label[i+1:]); ok && s != except {
				return s, true
			}
			continue
		}
		for j := dash(label, i+1); j >= 0; j = dash(label, j+1) {
			for n := p.rows[rowName{g, label[i+1 : j]}]; n != 0; n = p.runs[n-1].next {
				if s, ok := p.rowPlace(&p.runs[n-1], label[j+1:]); ok && s != except {
					return s, true
				}
			}
		}
	}
	return 0, false
}

// dash is the index of the first dash in s[from:], in s; below zero if none.
func dash(s string, from int) int {
	i := strings.IndexByte(s[from:], '-')
	if i < 0 {
		return i
	}
	return from + i
}

func (p *Places) areaPlace(group uint32, number string) (SeatID, bool) {
	areas := len(p.m.Areas)
	r := &p.runs[len(p.runs)-areas+int(group)-len(p.m.Sections)]
	at, ok := plainNumber(number, r.places)
	return SeatID(r.word*64 + at), ok
}

func (p *Places) rowPlace(r *run, label string) (SeatID, bool) {
	if r.plain {
		at, ok := plainNumber(label, r.places)
		return SeatID(r.word*64 + at), ok
	}
	// A scan beats a map here: rows are short and the index costs no memory.
	seats := p.rowOf(r).Seats
	for i := range seats {
		if seats[i].Label == label {
			return SeatID(r.word*64 + uint32(i)), true
		}
	}
	return 0, false
}

// plainNumber reads 1 … most, as strconv.Itoa writes them, and gives one less.
func plainNumber(s string, most uint32) (uint32, bool) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > uint64(most) {
		return 0, false
	}
	return uint32(n - 1), true
}

// at is the run that has a seat and the seat's index in it; nil for padding.
func (p *Places) at(s SeatID) (*run, int) {
	word := int(s / 64)
	if word >= len(p.byWord) {
		return nil, 0
	}
	r := &p.runs[p.byWord[word]]
	at := uint32(s) - r.word*64
	if at >= r.places {
		return nil, 0
	}
	return r, int(at)
}

func (p *Places) area(r *run) bool { return int(r.group) >= len(p.m.Sections) }

func (p *Places) groupName(r *run) string {
	if p.area(r) {
		return p.m.Areas[int(r.group)-len(p.m.Sections)].Name
	}
	return p.m.Sections[r.group].Name
}

func (p *Places) rowOf(r *run) *Row { return &p.m.Sections[r.group].Rows[r.row] }

// shadowed tells whether another section, area or row of the same section has a
// name to which the run's adds a dash and more.
func (p *Places) shadowed(r *run) bool {
	name := p.groupName(r)
	for i := dash(name, 0); i >= 0; i = dash(name, i+1) {
		if _, ok := p.groups[name[:i]]; ok {
			return true
		}
	}
	if p.area(r) {
		return false
	}
	name = p.rowOf(r).Name
	for i := dash(name, 0); i >= 0; i = dash(name, i+1) {
		if _, ok := p.rows[rowName{r.group, name[:i]}]; ok {
			return true
		}
	}
	return false
}

// describe names a place part by part, where its label does not tell them apart.
func (p *Places) describe(s SeatID) string {
	r, at := p.at(s)
	if p.area(r) {
		return fmt.Sprintf("area %q place %d", p.groupName(r), at+1)
	}
	row := p.rowOf(r)
	return fmt.Sprintf("section %q row %q seat %q", p.groupName(r), row.Name, row.Seats[at].Label)
}
