package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The JSON of a manifest. Rows, seats and areas are decoded one by one, so that
// an error can name the place it is in.
type (
	manifestJSON struct {
		Key        string            `json:"key"`
		Name       string            `json:"name"`
		Categories []string          `json:"categories,omitempty"`
		Sections   []json.RawMessage `json:"sections,omitempty"`
		Areas      []json.RawMessage `json:"areas,omitempty"`
		Rules      json.RawMessage   `json:"rules,omitempty"`
		Pretix     json.RawMessage   `json:"pretix,omitempty"`
	}
	sectionJSON struct {
		Name     string            `json:"name"`
		Category string            `json:"category,omitempty"` // of seats that say nothing else
		Rows     []json.RawMessage `json:"rows"`
	}
	rowJSON struct {
		Name     string          `json:"name"`
		Category string          `json:"category,omitempty"`
		Focal    float64         `json:"focal,omitempty"` // position in the row, from 1; n.5 is between two seats
		Seats    json.RawMessage `json:"seats"`           // how many, labelled 1, 2 …, or a list
	}
	seatJSON struct {
		Label    string   `json:"label"`
		Category string   `json:"category,omitempty"`
		GUID     string   `json:"guid,omitempty"`
		Access   []string `json:"access,omitempty"`
	}
	areaJSON struct {
		Name     string `json:"name"`
		Category string `json:"category"`
		Capacity uint32 `json:"capacity"`
	}
)

// ParseManifest reads a manifest from JSON and validates it. docs/http.md
// describes the fields; a seating plan of pretix may stand in place of sections.
// Memory: in proportion to the JSON, and to the places up to MaxSeats.
func ParseManifest(data []byte) (*Manifest, error) {
	var j manifestJSON
	if err := decodeJSON(data, &j, true); err != nil {
		return nil, err
	}
	m := &Manifest{Key: j.Key, Name: j.Name, Rules: DefaultRules()}
	if j.Rules != nil {
		rules, err := ParseRulesPatch(m.Rules, j.Rules)
		if err != nil {
			return nil, err
		}
		m.Rules = rules
	}
	p := manifestParser{m: m, known: make(map[string]uint16)}
	if err := p.parse(&j); err != nil {
		return nil, err
	}
	return m, m.Validate()
}

// A manifestParser fills m. It belongs to one call of ParseManifest.
type manifestParser struct {
	m      *Manifest
	known  map[string]uint16 // categories
	closed bool              // no further categories: they were listed
	places uint64
}

func (p *manifestParser) parse(j *manifestJSON) error {
	if err := p.listCategories(j.Categories); err != nil {
		return err
	}
	listed := p.closed
	if j.Pretix != nil {
		if j.Sections != nil {
			return errors.New("sections and pretix are both given; the event takes its seats from one of them")
		}
		if err := p.pretix(j.Pretix); err != nil {
			return fmt.Errorf("pretix: %w", err)
		}
		p.closed = listed
	}
	for i, data := range j.Sections {
		if err := p.section(data, fmt.Sprintf("section %d of %d", i+1, len(j.Sections))); err != nil {
			return err
		}
	}
	for i, data := range j.Areas {
		if err := p.area(data, fmt.Sprintf("area %d of %d", i+1, len(j.Areas))); err != nil {
			return err
		}
	}
	return checkPlaces(int(min(p.places, math.MaxInt)))
}

// listCategories takes the categories of the event in their order. After a list
// that is not empty no others are known.
func (p *manifestParser) listCategories(names []string) error {
	for _, name := range names {
		if _, twice := p.known[name]; twice {
			return fmt.Errorf("category %q appears twice; names must be unique", name)
		}
		if _, err := p.category(name); err != nil {
			return err
		}
	}
	p.closed = len(names) > 0
	return nil
}

// category gives the index of a category; new ones are added in order of
// appearance unless there was a list.
func (p *manifestParser) category(name string) (uint16, error) {
	c, ok := p.known[name]
	switch {
	case ok:
		return c, nil
	case p.closed:
		return 0, fmt.Errorf("category %q is unknown; the event has %s", name, quoted(p.m.Categories))
	case len(p.m.Categories) == MaxCategories:
		return 0, fmt.Errorf("category %q is one too many; an event has at most %d", name, MaxCategories)
	}
	c = uint16(len(p.m.Categories))
	p.known[name] = c
	p.m.Categories = append(p.m.Categories, name)
	return c, nil
}

func quoted(names []string) string {
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(name))
	}
	return b.String()
}

func (p *manifestParser) section(data []byte, place string) error {
	var j sectionJSON
	if err := decodeJSON(data, &j, true); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	s := Section{Name: j.Name, Rows: makeList[Row](len(j.Rows))}
	for i, data := range j.Rows {
		place := fmt.Sprintf("section %q, row %d of %d", j.Name, i+1, len(j.Rows))
		if err := p.row(&s.Rows[i], data, &j, place); err != nil {
			return err
		}
	}
	p.m.Sections = append(p.m.Sections, s)
	return nil
}

func (p *manifestParser) row(r *Row, data []byte, section *sectionJSON, place string) error {
	var j rowJSON
	if err := decodeJSON(data, &j, true); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	r.Name = j.Name
	if j.Category == "" {
		j.Category = section.Category
	}
	err := p.seats(r, &j)
	if err == nil {
		err = r.setFocal(j.Focal)
	}
	if err != nil {
		return fmt.Errorf("section %q row %q: %w", section.Name, j.Name, err)
	}
	return nil
}

func (p *manifestParser) seats(r *Row, j *rowJSON) error {
	var list []seatJSON
	if len(j.Seats) == 0 {
		return errors.New("seats is missing; it is a number or a list of seats")
	}
	if j.Seats[0] != '[' {
		var n uint32
		if err := decodeJSON(j.Seats, &n, false); err != nil {
			return fmt.Errorf(`seats: %w, or a list of seats`, err)
		}
		return p.plainSeats(r, n, j.Category)
	}
	if err := decodeJSON(j.Seats, &list, true); err != nil {
		return fmt.Errorf("seats: %w", err)
	}
	if !p.room(len(list)) {
		return nil
	}
	r.Seats = makeList[Seat](len(list))
	for i := range list {
		s := &list[i]
		if s.Category == "" {
			s.Category = j.Category
		}
		if err := p.seat(&r.Seats[i], s); err != nil {
			return fmt.Errorf("seat %q: %w", s.Label, err)
		}
	}
	return nil
}

// room counts n places more. When there are too many it is only counted on, so
// that the error can say how many there are.
func (p *manifestParser) room(n int) bool {
	p.places += uint64(n)
	return p.places <= MaxSeats
}

func (p *manifestParser) plainSeats(r *Row, n uint32, category string) error {
	if n > MaxRowSeats {
		return fmt.Errorf("%d seats; a row has at most %d", n, MaxRowSeats)
	}
	c, err := p.category(category)
	if err != nil || category == "" {
		return errCategory(category, err)
	}
	if !p.room(int(n)) {
		return nil
	}
	r.Seats = makeList[Seat](int(n))
	for i := range r.Seats {
		r.Seats[i] = Seat{Label: strconv.Itoa(i + 1), Category: c}
	}
	return nil
}

func (p *manifestParser) seat(s *Seat, j *seatJSON) error {
	c, err := p.category(j.Category)
	if err != nil || j.Category == "" {
		return errCategory(j.Category, err)
	}
	*s = Seat{Label: j.Label, GUID: j.GUID, Category: c}
	for _, name := range j.Access {
		flag, ok := ParseAccess(name)
		if !ok {
			return fmt.Errorf("access %q is unknown; known are %s", name, strings.Join(accessNames[:], ", "))
		}
		s.Access |= flag
	}
	return nil
}

func errCategory(name string, err error) error {
	if name == "" {
		return errors.New("has no category; give one to the section, the row or the seat")
	}
	return err
}

// setFocal takes a position in the row, from 1 and in halves; 0 is the middle.
func (r *Row) setFocal(position float64) error {
	n := len(r.Seats)
	if n == 0 {
		return nil // Validate says what is wrong
	}
	if position == 0 {
		r.Focal = uint16(n - 1)
		return nil
	}
	half := 2 * (position - 1)
	if half != math.Trunc(half) || half < 0 || half > float64(2*(n-1)) {
		return fmt.Errorf("focal is %g; it must be a position in the row from 1 to %d, or halfway between two", position, n)
	}
	r.Focal = uint16(half)
	return nil
}

func (p *manifestParser) area(data []byte, place string) error {
	var j areaJSON
	if err := decodeJSON(data, &j, true); err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	c, err := p.category(j.Category)
	if j.Category == "" {
		err = errors.New("has no category")
	}
	if err != nil {
		return fmt.Errorf("area %q: %w", j.Name, err)
	}
	p.places += uint64(j.Capacity)
	p.m.Areas = append(p.m.Areas, Area{Name: j.Name, Category: c, Capacity: j.Capacity})
	return nil
}

// MarshalJSON writes what ParseManifest reads: parsing it gives the same
// manifest. The manifest must be valid.
func (m *Manifest) MarshalJSON() ([]byte, error) {
	type rowOut struct {
		Name     string  `json:"name"`
		Category string  `json:"category,omitempty"`
		Focal    float64 `json:"focal,omitempty"`
		Seats    any     `json:"seats"`
	}
	type sectionOut struct {
		Name     string   `json:"name"`
		Category string   `json:"category"`
		Rows     []rowOut `json:"rows"`
	}
	out := struct {
		Key        string       `json:"key"`
		Name       string       `json:"name"`
		Categories []string     `json:"categories"`
		Sections   []sectionOut `json:"sections,omitempty"`
		Areas      []areaJSON   `json:"areas,omitempty"`
		Rules      Rules        `json:"rules"`
	}{Key: m.Key, Name: m.Name, Categories: m.Categories, Rules: m.Rules}
	for i := range m.Sections {
		s := &m.Sections[i]
		usual := s.Rows[0].Seats[0].Category
		section := sectionOut{Name: s.Name, Category: m.Categories[usual]}
		for j := range s.Rows {
			r := &s.Rows[j]
			row := rowOut{Name: r.Name, Seats: m.seatsJSON(r)}
			if c := r.Seats[0].Category; c != usual {
				row.Category = m.Categories[c]
			}
			if r.traits()&rowFocal != 0 {
				row.Focal = float64(r.Focal)/2 + 1
			}
			section.Rows = append(section.Rows, row)
		}
		out.Sections = append(out.Sections, section)
	}
	for _, a := range m.Areas {
		out.Areas = append(out.Areas, areaJSON{a.Name, m.Categories[a.Category], a.Capacity})
	}
	return json.Marshal(out)
}

// seatsJSON is a number for a row that differs from a plain one by its focal
// point at most, else a list.
func (m *Manifest) seatsJSON(r *Row) any {
	if r.traits()&^rowFocal == 0 {
		return len(r.Seats)
	}
	list := make([]seatJSON, len(r.Seats))
	for i, s := range r.Seats {
		list[i] = seatJSON{Label: s.Label, GUID: s.GUID, Access: s.Access.Names()}
		if s.Category != r.Seats[0].Category {
			list[i].Category = m.Categories[s.Category]
		}
	}
	return list
}

var accessNames = [...]string{"wheelchair", "companion", "step_free", "aisle", "hearing", "sight"}

// Names lists the properties by their names in JSON.
func (a Access) Names() []string {
	var names []string
	for i, name := range accessNames {
		if a>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return names
}

// ParseAccess reads one name as Names gives it.
func ParseAccess(name string) (Access, bool) {
	for i, known := range accessNames {
		if name == known {
			return 1 << i, true
		}
	}
	return 0, false
}
