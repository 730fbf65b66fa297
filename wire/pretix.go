package wire

import (
	"encoding/json"
	"errors"
	"fmt"
)

// A seating plan of pretix (pretix.eu), by its public JSON schema: zones become
// sections and keep their rows and seats in the order of the plan; a seat keeps
// its number as label and its seat_guid. Shapes, colours, positions and whatever
// else a plan has are of no concern here and ignored, its areas too: they are
// drawings and have no capacity.
type (
	pretixPlan struct {
		Name       string            `json:"name"`
		Categories []pretixCategory  `json:"categories"`
		Zones      []json.RawMessage `json:"zones"`
	}
	pretixCategory struct {
		Name string `json:"name"`
	}
	pretixZone struct {
		Name string            `json:"name"`
		ID   string            `json:"zone_id"`
		Rows []json.RawMessage `json:"rows"`
	}
	pretixRow struct {
		Number string       `json:"row_number"`
		Seats  []pretixSeat `json:"seats"`
	}
	pretixSeat struct {
		GUID     string `json:"seat_guid"`
		Number   string `json:"seat_number"`
		Category string `json:"category"`
	}
)

func (p *manifestParser) pretix(data []byte) error {
	var plan pretixPlan
	if err := decodeJSON(data, &plan, false); err != nil {
		return err
	}
	if p.m.Name == "" {
		p.m.Name = plan.Name
	}
	names := make([]string, len(plan.Categories))
	for i := range plan.Categories {
		names[i] = plan.Categories[i].Name
	}
	if !p.closed {
		if len(names) == 0 {
			return errors.New("the plan has no categories; each seat needs one")
		}
		if err := p.listCategories(names); err != nil {
			return err
		}
	}
	for i, data := range plan.Zones {
		if err := p.pretixZone(data, i, len(plan.Zones)); err != nil {
			return err
		}
	}
	return nil
}

func (p *manifestParser) pretixZone(data []byte, i, of int) error {
	var zone pretixZone
	if err := decodeJSON(data, &zone, false); err != nil {
		return fmt.Errorf("zone %d of %d: %w", i+1, of, err)
	}
	if len(zone.Rows) == 0 {
		return nil // a stage, a legend
	}
	s := Section{Name: zone.Name, Rows: make([]Row, len(zone.Rows))}
	if s.Name == "" {
		s.Name = zone.ID
	}
	if s.Name == "" {
		s.Name = fmt.Sprintf("Zone %d", i+1)
	}
	for j, data := range zone.Rows {
		if err := p.pretixRow(&s.Rows[j], data, j, len(zone.Rows)); err != nil {
			return fmt.Errorf("zone %q %w", s.Name, err)
		}
	}
	p.m.Sections = append(p.m.Sections, s)
	return nil
}

func (p *manifestParser) pretixRow(r *Row, data []byte, j, of int) error {
	var row pretixRow
	if err := decodeJSON(data, &row, false); err != nil {
		return fmt.Errorf("row %d of %d: %w", j+1, of, err)
	}
	r.Name = row.Number
	if len(row.Seats) == 0 {
		return fmt.Errorf("row %q: %w", row.Number, errRowEmpty)
	}
	if !p.room(len(row.Seats)) {
		return nil
	}
	r.Focal = uint16(min(len(row.Seats)-1, MaxRowSeats))
	r.Seats = make([]Seat, len(row.Seats))
	for k, seat := range row.Seats {
		c, err := p.category(seat.Category)
		if err == nil && seat.GUID == "" {
			err = errors.New("has no seat_guid")
		}
		if err != nil {
			return fmt.Errorf("row %q seat %q: %w", row.Number, seat.Number, err)
		}
		r.Seats[k] = Seat{Label: seat.Number, GUID: seat.GUID, Category: c}
	}
	return nil
}
