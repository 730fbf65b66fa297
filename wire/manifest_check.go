package wire

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Validate reports the first thing that is wrong with the manifest, in a
// sentence that names the place.
func (m *Manifest) Validate() error {
	if err := checkName("key of the event", m.Key, MaxKeyLen); err != nil {
		return err
	}
	if m.Name != "" {
		if err := checkName("name of the event", m.Name, MaxTitleLen); err != nil {
			return err
		}
	}
	if err := m.Rules.Validate(); err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	for _, check := range []func() error{m.checkSizes, m.checkNames, m.checkSections, m.checkAreas, m.checkLabels, m.checkGUIDs} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkSizes bounds all that is counted, before anything is done for each.
func (m *Manifest) checkSizes() error {
	switch n := len(m.Categories); {
	case n == 0:
		return errors.New("the event has no categories; at least one is needed")
	case n > MaxCategories:
		return fmt.Errorf("the event has %d categories; it may have at most %d", n, MaxCategories)
	}
	switch n := len(m.Sections) + len(m.Areas); {
	case n == 0:
		return errors.New("the event has no sections and no areas; there is nothing to sell")
	case n > MaxSections:
		return fmt.Errorf("the event has %d sections and areas; it may have at most %d", n, MaxSections)
	}
	for i := range m.Sections {
		s := &m.Sections[i]
		for j := range s.Rows {
			if n := len(s.Rows[j].Seats); n > MaxRowSeats {
				return fmt.Errorf("section %q row %q has %d seats; a row has at most %d", s.Name, s.Rows[j].Name, n, MaxRowSeats)
			}
		}
	}
	return checkPlaces(m.Seats())
}

func checkPlaces(n int) error {
	if n > MaxSeats {
		return fmt.Errorf("the event has %d places; it may have at most %d, so split it into several events", n, MaxSeats)
	}
	return nil
}

// checkNames looks at the names of categories, sections and areas. Sections and
// areas share one namespace: people say "Floor" without saying which it is.
func (m *Manifest) checkNames() error {
	seen := make(map[string]string, len(m.Categories))
	for _, name := range m.Categories {
		if err := checkNew("category", name, seen); err != nil {
			return err
		}
	}
	clear(seen)
	for i := range m.Sections {
		if err := checkNew("section", m.Sections[i].Name, seen); err != nil {
			return err
		}
	}
	for i := range m.Areas {
		if err := checkNew("area", m.Areas[i].Name, seen); err != nil {
			return err
		}
	}
	return nil
}

func checkNew(what, name string, seen map[string]string) error {
	if err := checkName("name of a "+what, name, MaxKeyLen); err != nil {
		return err
	}
	if other, ok := seen[name]; ok && other != what {
		return fmt.Errorf("%s %q has the name of a %s; they must differ", what, name, other)
	} else if ok {
		return fmt.Errorf("%s %q appears twice; names must be unique", what, name)
	}
	seen[name] = what
	return nil
}

func (m *Manifest) checkSections() error {
	var labels distinct
	parts := make(map[string]rowParts)
	for i := range m.Sections {
		s := &m.Sections[i]
		if len(s.Rows) == 0 {
			return fmt.Errorf("section %q has no rows; leave it out or give it some", s.Name)
		}
		clear(parts)
		for j := range s.Rows {
			r := &s.Rows[j]
			if err := checkName("name of a row", r.Name, MaxKeyLen); err != nil {
				return fmt.Errorf("section %q, row %d of %d: %w", s.Name, j+1, len(s.Rows), err)
			}
			if err := m.checkRow(r, &labels); err != nil {
				return fmt.Errorf("section %q row %q: %w", s.Name, r.Name, err)
			}
			if err := checkParts(s, j, parts); err != nil {
				return fmt.Errorf("section %q row %q: %w", s.Name, r.Name, err)
			}
		}
	}
	return nil
}

// rowParts are the rows of a section that share a name.
type rowParts struct {
	first  int
	number int
	labels map[string]int // row that has the label; nil for a single row
}

// checkParts looks at a row that has the name of an earlier one: the two sides
// of an aisle. Their seats must still be told apart by label.
func checkParts(s *Section, j int, parts map[string]rowParts) error {
	r := &s.Rows[j]
	p, again := parts[r.Name]
	if !again {
		parts[r.Name] = rowParts{first: j, number: 1}
		return nil
	}
	if p.number++; p.number > MaxRowParts {
		return fmt.Errorf("more than %d rows of the section have this name", MaxRowParts)
	}
	if p.labels == nil {
		p.labels = make(map[string]int)
		for i := range s.Rows[p.first].Seats {
			p.labels[s.Rows[p.first].Seats[i].Label] = p.first
		}
	}
	for i := range r.Seats {
		label := r.Seats[i].Label
		if other, twice := p.labels[label]; twice {
			return fmt.Errorf("appears twice (rows %d and %d of the section) and seat label %q is in both; labels must be unique", other+1, j+1, label)
		}
		p.labels[label] = j
	}
	parts[r.Name] = p
	return nil
}

var errRowEmpty = errors.New("a row needs at least one seat")

func (m *Manifest) checkRow(r *Row, labels *distinct) error {
	n := len(r.Seats)
	if n == 0 {
		return errRowEmpty
	}
	if int(r.Focal) > 2*(n-1) {
		return fmt.Errorf("focal point %g is not in the row; it may be from 1 to %d", float64(r.Focal)/2+1, n)
	}
	for i := range r.Seats {
		s := &r.Seats[i]
		if err := checkName("label of a seat", s.Label, MaxKeyLen); err != nil {
			return fmt.Errorf("place %d: %w", i+1, err)
		}
		if int(s.Category) >= len(m.Categories) {
			return fmt.Errorf("seat %q: category number %d is unknown; the event has %d", s.Label, s.Category, len(m.Categories))
		}
		if s.Access&^accessAll != 0 {
			return fmt.Errorf("seat %q: access flags %#x are unknown", s.Label, s.Access&^accessAll)
		}
		if s.GUID != "" {
			if err := checkName("guid", s.GUID, MaxKeyLen); err != nil {
				return fmt.Errorf("seat %q: %w", s.Label, err)
			}
		}
	}
	return checkSeatLabels(r.Seats, labels)
}

// checkSeatLabels finds a label that a row has twice.
func checkSeatLabels(seats []Seat, labels *distinct) error {
	labels.reset(len(seats))
	for i := range seats {
		if j, twice := labels.add(seats[i].Label); twice {
			return fmt.Errorf("seat label %q appears twice (places %d and %d); labels must be unique", seats[i].Label, j+1, i+1)
		}
	}
	return nil
}

// compareLabels orders numbers as numbers.
func compareLabels(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func (m *Manifest) checkAreas() error {
	for i := range m.Areas {
		a := &m.Areas[i]
		if a.Capacity == 0 {
			return fmt.Errorf("area %q has no places; its capacity must be at least 1", a.Name)
		}
		if int(a.Category) >= len(m.Categories) {
			return fmt.Errorf("area %q: category number %d is unknown; the event has %d", a.Name, a.Category, len(m.Categories))
		}
	}
	return nil
}

// checkLabels finds two places whose whole labels are the same although their
// names differ: section "A", row "1-2" and section "A-1", row "2". Of two such
// places, the name of one's section, area or row is the other's, a dash and
// more; only places under such a longer name are looked up.
func (m *Manifest) checkLabels() error {
	if !m.dashed() {
		return nil
	}
	p := m.Places()
	for i := range p.runs {
		r := &p.runs[i]
		if !p.shadowed(r) {
			continue
		}
		for bit := range r.places {
			s := SeatID(r.word*64 + bit)
			label := p.Label(s)
			if other, twice := p.find(label, s); twice {
				return fmt.Errorf("%s and %s are both called %q; labels must be unique", p.describe(s), p.describe(other), label)
			}
		}
	}
	return nil
}

// dashed tells whether a name has a dash, without which labels cannot be read
// in two ways.
func (m *Manifest) dashed() bool {
	for i := range m.Areas {
		if strings.Contains(m.Areas[i].Name, "-") {
			return true
		}
	}
	for i := range m.Sections {
		s := &m.Sections[i]
		if strings.Contains(s.Name, "-") {
			return true
		}
		for j := range s.Rows {
			if strings.Contains(s.Rows[j].Name, "-") {
				return true
			}
		}
	}
	return false
}

// checkGUIDs finds a GUID that two seats have.
func (m *Manifest) checkGUIDs() error {
	var guids distinct
	for i := range m.Sections {
		s := &m.Sections[i]
		for j := range s.Rows {
			for k := range s.Rows[j].Seats {
				seat := &s.Rows[j].Seats[k]
				if seat.GUID == "" {
					continue
				}
				if guids.items == nil {
					guids.reset(m.Seats())
				}
				if _, twice := guids.add(seat.GUID); twice {
					return fmt.Errorf("section %q row %q seat %q: guid %q is another seat's too; guids must be unique",
						s.Name, s.Rows[j].Name, seat.Label, seat.GUID)
				}
			}
		}
	}
	return nil
}

// checkName refuses what cannot be printed in one line or is too long.
func checkName(what, name string, most int) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty", what)
	case len(name) > most:
		return fmt.Errorf("%s %q has %d bytes; it may have at most %d", what, name[:min(len(name), 2*MaxKeyLen)], len(name), most)
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < ' ' || c >= 0x7f {
			return checkRunes(what, name)
		}
	}
	return nil
}

func checkRunes(what, name string) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("%s %q is not UTF-8", what, name)
	}
	if i := strings.IndexFunc(name, unicode.IsControl); i >= 0 {
		return fmt.Errorf("%s %q has a control character at byte %d", what, name, i)
	}
	return nil
}
