package wire

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// hall is a manifest of plain rows: one section for each 2,500 seats.
func hall(seats int) *Manifest {
	m := &Manifest{Key: "hall", Name: "Hall", Categories: []string{"One", "Two"}, Rules: DefaultRules()}
	for seats > 0 {
		s := Section{Name: "S" + strconv.Itoa(len(m.Sections)+1)}
		for len(s.Rows) < 50 && seats > 0 {
			n := min(50, seats)
			seats -= n
			s.Rows = append(s.Rows, row(strconv.Itoa(len(s.Rows)+1), n, uint16(len(m.Sections)%2)))
		}
		m.Sections = append(m.Sections, s)
	}
	return m
}

func row(name string, n int, category uint16) Row {
	r := Row{Name: name, Focal: uint16(n - 1), Seats: make([]Seat, n)}
	for i := range r.Seats {
		r.Seats[i] = Seat{Label: strconv.Itoa(i + 1), Category: category}
	}
	return r
}

// theatre uses everything a manifest can say.
func theatre() *Manifest {
	m := &Manifest{
		Key: "hamlet-1", Name: "Hamlet – Première", Categories: []string{"Stalls", "Circle", "Standing"},
		Sections: []Section{
			{Name: "Stalls", Rows: []Row{row("1", 5, 0), row("2", 70, 0)}},
			{Name: "Circle", Rows: []Row{row("A", 4, 1), row("B", 1, 1)}},
		},
		Areas: []Area{{Name: "Floor", Category: 2, Capacity: 130}},
		Rules: DefaultRules(),
	}
	m.Sections[0].Rows[0].Focal = 1
	a := m.Sections[1].Rows[0].Seats
	for i := range a {
		a[i].Label = strconv.Itoa(101 + 2*i)
		a[i].GUID = "g-" + strconv.Itoa(i)
	}
	a[3].Category = 0
	a[0].Access = AccessWheelchair | AccessStepFree
	a[1].Access = AccessCompanion
	return m
}

func TestManifestRoundTrip(t *testing.T) {
	for _, m := range []*Manifest{hall(1), hall(50), hall(50_000), theatre()} {
		b := m.Encode()
		got, err := DecodeManifest(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%d seats came back changed", m.Seats())
		}
	}
}

func TestPlainRowsTakeFewBytes(t *testing.T) {
	m := hall(50_000)
	if got := float64(len(m.Encode())) / 1000; got > 7 {
		t.Errorf("a plain row takes %.1f bytes", got)
	}
}

// TestSeatIDs walks all ids: each is a place whose label leads back to it, or
// padding without one.
func TestSeatIDs(t *testing.T) {
	m := theatre()
	p := m.Places()
	if m.Words() != 1+2+1+1+3 || m.Seats() != 5+70+4+1+130 {
		t.Fatalf("%d words, %d seats", m.Words(), m.Seats())
	}
	want := map[SeatID]string{
		0: "Stalls-1-1", 4: "Stalls-1-5", 64: "Stalls-2-1", 64 + 69: "Stalls-2-70",
		192: "Circle-A-101", 195: "Circle-A-107", 256: "Circle-B-1", 320: "Floor-1", 449: "Floor-130",
	}
	for s, label := range want {
		if got := p.Label(s); got != label {
			t.Errorf("seat %d is %q, want %q", s, got, label)
		}
	}
	places := 0
	for s := range SeatID(64*m.Words() + 100) {
		label := p.Label(s)
		if label == "" {
			continue
		}
		places++
		if got, ok := p.Seat(label); !ok || got != s {
			t.Errorf("%q is seat %d (%v), want %d", label, got, ok, s)
		}
	}
	if places != m.Seats() {
		t.Errorf("%d labels for %d seats", places, m.Seats())
	}
}

func TestPlacesKnowsNoOthers(t *testing.T) {
	p := theatre().Places()
	for _, label := range []string{
		"", "-", "--", "Stalls", "Stalls-1", "Stalls-1-0", "Stalls-1-6", "Stalls-1-01", "Stalls-1-+1", "Stalls-3-1",
		"Circle-A-1", "Circle-A-102", "Floor", "Floor-", "Floor-0", "Floor-131", "Floor-1-1", "floor-1", "Floor-99999999999999999999",
	} {
		if s, ok := p.Seat(label); ok {
			t.Errorf("%q is seat %d", label, s)
		}
	}
	if s, ok := p.Section("Circle"); !ok || s != 1 {
		t.Errorf("section Circle is %d, %v", s, ok)
	}
	if a, ok := p.Area("Floor"); !ok || a != 0 {
		t.Errorf("area Floor is %d, %v", a, ok)
	}
	if c, ok := p.Category("Standing"); !ok || c != 2 {
		t.Errorf("category Standing is %d, %v", c, ok)
	}
	if _, ok := p.Section("Floor"); ok {
		t.Error("Floor is a section")
	}
	if _, ok := p.Area("Circle"); ok {
		t.Error("Circle is an area")
	}
	if _, ok := p.Category("Circles"); ok {
		t.Error("Circles is a category")
	}
}

// TestManifestMistakes breaks one thing of a good manifest at a time.
func TestManifestMistakes(t *testing.T) {
	long := strings.Repeat("x", MaxKeyLen+1)
	circle := func(m *Manifest) *Row { return &m.Sections[1].Rows[0] }
	cases := []struct {
		spoil func(m *Manifest)
		want  string
	}{
		{func(m *Manifest) { m.Key = "" }, `key of the event is empty`},
		{func(m *Manifest) { m.Key = long }, `has 65 bytes; it may have at most 64`},
		{func(m *Manifest) { m.Name = strings.Repeat("x", MaxTitleLen+1) }, `has 257 bytes; it may have at most 256`},
		{func(m *Manifest) { m.Name = "a\x85\u0085" }, `is not UTF-8`},
		{func(m *Manifest) { m.Name = "a\nb" }, `name of the event "a\nb" has a control character at byte 1`},
		{func(m *Manifest) { m.Categories = nil }, `no categories; at least one`},
		{func(m *Manifest) { m.Categories = make([]string, 65) }, `65 categories; it may have at most 64`},
		{func(m *Manifest) { m.Categories[1] = "Stalls" }, `category "Stalls" appears twice; names must be unique`},
		{func(m *Manifest) { m.Categories[1] = "" }, `name of a category is empty`},
		{func(m *Manifest) { m.Sections, m.Areas = nil, nil }, `nothing to sell`},
		{func(m *Manifest) { m.Areas = make([]Area, 4095) }, `4097 sections and areas; it may have at most 4096`},
		{func(m *Manifest) { m.Sections[1].Name = "Stalls" }, `section "Stalls" appears twice; names must be unique`},
		{func(m *Manifest) { m.Areas[0].Name = "Stalls" }, `area "Stalls" has the name of a section; they must differ`},
		{func(m *Manifest) { m.Areas[0].Name = "\t" }, `name of a area "\t" has a control character`},
		{func(m *Manifest) { m.Areas = append(m.Areas, m.Areas[0]) }, `area "Floor" appears twice`},
		{func(m *Manifest) { m.Areas[0].Capacity = 0 }, `area "Floor" has no places; its capacity must be at least 1`},
		{func(m *Manifest) { m.Areas[0].Category = 3 }, `area "Floor": category number 3 is unknown; the event has 3`},
		{func(m *Manifest) { m.Areas[0].Capacity = 200_001 - 80 }, `the event has 200001 places; it may have at most 200000`},
		{func(m *Manifest) { m.Sections[0].Rows = nil }, `section "Stalls" has no rows`},
		{func(m *Manifest) { m.Sections[0].Rows[1].Name = "1" }, `section "Stalls" row "1": appears twice (rows 1 and 2 of the section) and seat label "1" is in both; labels must be unique`},
		{func(m *Manifest) { m.Sections[0].Rows[1].Name = "" }, `section "Stalls", row 2 of 2: name of a row is empty`},
		{func(m *Manifest) { m.Sections[0].Rows[1].Seats = nil }, `section "Stalls" row "2": a row needs at least one seat`},
		{func(m *Manifest) { m.Sections[0].Rows[1] = row("2", 4097, 0) }, `section "Stalls" row "2" has 4097 seats; a row has at most 4096`},
		{func(m *Manifest) { circle(m).Focal = 7 }, `section "Circle" row "A": focal point 4.5 is not in the row; it may be from 1 to 4`},
		{func(m *Manifest) { circle(m).Seats[3].Label = "101" }, `section "Circle" row "A": seat label "101" appears twice (places 1 and 4); labels must be unique`},
		{func(m *Manifest) { circle(m).Seats[2].Label = "" }, `section "Circle" row "A": place 3: label of a seat is empty`},
		{func(m *Manifest) { circle(m).Seats[2].Category = 9 }, `section "Circle" row "A": seat "105": category number 9 is unknown; the event has 3`},
		{func(m *Manifest) { circle(m).Seats[2].Access = 64 }, `seat "105": access flags 0x40 are unknown`},
		{func(m *Manifest) { circle(m).Seats[2].GUID = "g-0" }, `section "Circle" row "A" seat "105": guid "g-0" is another seat's too`},
		{func(m *Manifest) { circle(m).Seats[2].GUID = long }, `seat "105": guid "xx`},
		{func(m *Manifest) {
			m.Sections[0].Rows[0].Name, m.Sections[1].Name, m.Sections[1].Rows[0].Seats[0].Label = "A-1", "Stalls-A", "1"
			circle(m).Name = "1"
		},
			`section "Stalls-A" row "1" seat "1" and section "Stalls" row "A-1" seat "1" are both called "Stalls-A-1-1"; labels must be unique`},
		{func(m *Manifest) { m.Areas[0].Name = "Stalls-2" },
			`area "Stalls-2" place 1 and section "Stalls" row "2" seat "1" are both called "Stalls-2-1"`},
		{func(m *Manifest) { m.Sections[0].Rows[0].Name = "2-3"; m.Sections[0].Rows[1].Seats[69].Label = "3-2" },
			`section "Stalls" row "2-3" seat "2" and section "Stalls" row "2" seat "3-2" are both called "Stalls-2-3-2"`},
		{func(m *Manifest) { m.Rules.HoldTTL = 0 }, `rules: hold_ttl_ms is 0; it must be between 1 and 604800000`},
		{func(m *Manifest) { m.Rules.PayCap = MaxRuleTime + 1 }, `rules: pay_cap_ms is 604800001`},
		{func(m *Manifest) { m.Rules.MaxTTL = 5 }, `rules: max_ttl_ms is 5; it must not be below hold_ttl_ms, which is 900000`},
		{func(m *Manifest) { m.Rules.SeatsPerHold = 0 }, `rules: seats_per_hold is 0; it must be between 1 and 64`},
		{func(m *Manifest) { m.Rules.SeatsPerHold = 65 }, `rules: seats_per_hold is 65`},
		{func(m *Manifest) { m.Rules.OpensAt = -1 }, `rules: opens_at and closes_at must be in the years 1970 to 9999`},
		{func(m *Manifest) { m.Rules.OpensAt, m.Rules.ClosesAt = 5, 5 }, `rules: closes_at must be after opens_at`},
	}
	for i, c := range cases {
		m := theatre()
		c.spoil(m)
		err := m.Validate()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("case %d: got %v, want %s", i, err, c.want)
		}
	}
}

// TestDashesAloneAreNoMistake keeps names that look ambiguous and are not.
func TestDashesAloneAreNoMistake(t *testing.T) {
	m := theatre()
	m.Sections[0].Name, m.Sections[1].Name = "A", "A-1"
	m.Sections[0].Rows[0].Name, m.Sections[0].Rows[1].Name = "1-A", "1-B-"
	m.Areas[0].Name = "A-1-X"
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	p := m.Places()
	for s := range SeatID(64 * m.Words()) {
		if label := p.Label(s); label != "" {
			if got, ok := p.Seat(label); !ok || got != s {
				t.Fatalf("%q is seat %d (%v), want %d", label, got, ok, s)
			}
		}
	}
}

// TestRowInParts has a row with two aisles: three rows of one name.
func TestRowInParts(t *testing.T) {
	m := theatre()
	left, middle, right := row("1", 10, 0), row("1", 20, 0), row("1", 10, 0)
	for i := range middle.Seats {
		middle.Seats[i].Label = strconv.Itoa(11 + i)
	}
	for i := range right.Seats {
		right.Seats[i].Label = strconv.Itoa(31 + i)
	}
	m.Sections[0].Rows = []Row{left, row("2", 3, 0), middle, right}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	p := m.Places()
	for label, want := range map[string]SeatID{"Stalls-1-1": 0, "Stalls-2-1": 64, "Stalls-1-11": 128, "Stalls-1-30": 147, "Stalls-1-31": 192} {
		if s, ok := p.Seat(label); !ok || s != want || p.Label(want) != label {
			t.Errorf("%s is %d (%v), want %d", label, s, ok, want)
		}
	}
	if s, ok := p.Seat("Stalls-1-41"); ok {
		t.Errorf("Stalls-1-41 is %d", s)
	}
	for i := range MaxRowParts - 2 {
		part := row("1", 1, 0)
		part.Seats[0].Label = strconv.Itoa(100 + i)
		m.Sections[0].Rows = append(m.Sections[0].Rows, part)
	}
	want := `section "Stalls" row "1": more than 16 rows of the section have this name`
	if err := m.Validate(); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// worst is a manifest of as many seats as there may be, each with everything.
func worst() *Manifest {
	m := hall(MaxSeats)
	for i := range m.Sections {
		for j := range m.Sections[i].Rows {
			seats := m.Sections[i].Rows[j].Seats
			for k := range seats {
				seats[k].Label = fmt.Sprintf("%d%c", k*7919%50, 'a'+k%3)
				seats[k].GUID = fmt.Sprintf("%08x-%d-%d-%d", k*2654435761, i, j, k)
				seats[k].Access = Access(1 << (k % 6))
				seats[k].Category = uint16(k % 2)
			}
		}
	}
	return m
}

func BenchmarkDecodeManifest(b *testing.B) {
	for name, m := range map[string]*Manifest{"plain": hall(MaxSeats), "worst": worst()} {
		b.Run(name, func(b *testing.B) {
			data := m.Encode()
			b.ReportAllocs()
			b.ReportMetric(float64(len(data)), "bytes")
			for b.Loop() {
				if _, err := DecodeManifest(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
