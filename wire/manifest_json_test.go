package wire

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

const playJSON = `{
  "key": "hamlet-1",
  "name": "Hamlet",
  "categories": ["Stalls", "Circle", "Standing"],
  "sections": [
    {"name": "Stalls", "category": "Stalls", "rows": [
      {"name": "1", "seats": 5, "focal": 1.5},
      {"name": "2", "seats": 3, "category": "Circle"}
    ]},
    {"name": "Circle", "rows": [
      {"name": "A", "category": "Circle", "seats": [
        {"label": "101", "guid": "g1", "access": ["wheelchair", "step_free"]},
        {"label": "103", "category": "Stalls"}
      ]}
    ]}
  ],
  "areas": [{"name": "Floor", "category": "Standing", "capacity": 130}],
  "rules": {"hold_ttl_ms": 60000, "refuse_orphans": true, "opens_at": "2026-06-01T11:00:00.5+02:00"}
}`

func play() *Manifest {
	rules := DefaultRules()
	rules.HoldTTL, rules.RefuseOrphans, rules.OpensAt = 60_000, true, 1780304400500
	m := &Manifest{
		Key: "hamlet-1", Name: "Hamlet", Categories: []string{"Stalls", "Circle", "Standing"},
		Sections: []Section{
			{Name: "Stalls", Rows: []Row{row("1", 5, 0), row("2", 3, 1)}},
			{Name: "Circle", Rows: []Row{{Name: "A", Focal: 1, Seats: []Seat{
				{Label: "101", GUID: "g1", Category: 1, Access: AccessWheelchair | AccessStepFree},
				{Label: "103", Category: 0},
			}}}},
		},
		Areas: []Area{{Name: "Floor", Category: 2, Capacity: 130}},
		Rules: rules,
	}
	m.Sections[0].Rows[0].Focal = 1
	return m
}

func TestParseManifest(t *testing.T) {
	got, err := ParseManifest([]byte(playJSON))
	if err != nil {
		t.Fatal(err)
	}
	if want := play(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestManifestJSONRoundTrip(t *testing.T) {
	for _, m := range []*Manifest{play(), theatre(), hall(1000), hall(1)} {
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseManifest(data)
		if err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s came back changed, from %s", m.Key, data)
		}
	}
}

// TestShortestManifest is the one of the README: whatever may be left out is.
func TestShortestManifest(t *testing.T) {
	m, err := ParseManifest([]byte(`{"key":"k","sections":[{"name":"A","category":"C","rows":[{"name":"1","seats":2}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if m.Rules != DefaultRules() || m.Categories[0] != "C" || m.Seats() != 2 {
		t.Errorf("%+v", m)
	}
}

func TestCategoriesInOrderOfAppearance(t *testing.T) {
	m, err := ParseManifest([]byte(strings.Replace(playJSON, `"categories": ["Stalls", "Circle", "Standing"],`, "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"Stalls", "Circle", "Standing"}; !reflect.DeepEqual(m.Categories, want) {
		t.Errorf("%q, want %q", m.Categories, want)
	}
}

// TestManifestJSONMistakes replaces a piece of a good manifest and expects an
// error that says where and what.
func TestManifestJSONMistakes(t *testing.T) {
	cases := []struct{ from, to, want string }{
		{`"capacity": 130`, `"capasity": 130`, `area 1 of 1: unknown field "capasity"; known are name, category, capacity`},
		{`"focal"`, `"focus"`, `section "Stalls", row 1 of 2: unknown field "focus"; known are name, category, focal, seats`},
		{`"guid"`, `"id"`, `section "Circle" row "A": seats: unknown field "id"; known are label, category, guid, access`},
		{`"rows": [
      {"name": "A"`, `"row": [
      {"name": "A"`, `section 2 of 2: unknown field "row"; known are name, category, rows`},
		{`"hold_ttl_ms"`, `"hold_ttl"`, `rules: unknown field "hold_ttl"; known are hold_ttl_ms`},
		{`"areas"`, `"area"`, `unknown field "area"; known are key, name, categories, sections, areas, rules, pretix`},
		{`"key": "hamlet-1"`, `"key": 5`, `key: got number, want text in quotes`},
		{`"key": "hamlet-1"`, `"key": ""`, `key of the event is empty`},
		{`"seats": 5`, `"seats": "5"`, `section "Stalls" row "1": seats: got string, want a whole number from 0 to 4294967295, or a list of seats`},
		{`"seats": 5`, `"seats": -5`, `section "Stalls" row "1": seats: got -5, want a whole number`},
		{`"seats": 5, `, ``, `section "Stalls" row "1": seats is missing; it is a number or a list of seats`},
		{`"seats": 5, "focal": 1.5`, `"seats": 0`, `section "Stalls" row "1": a row needs at least one seat`},
		{`"seats": 5`, `"seats": 5000`, `section "Stalls" row "1": 5000 seats; a row has at most 4096`},
		{`"focal": 1.5`, `"focal": 1.25`, `section "Stalls" row "1": focal is 1.25; it must be a position in the row from 1 to 5, or halfway between two`},
		{`"focal": 1.5`, `"focal": 5.5`, `focal is 5.5;`},
		{`"focal": 1.5`, `"focal": 0.5`, `focal is 0.5;`},
		{`"focal": 1.5`, `"focal": "x"`, `section "Stalls", row 1 of 2: focal: got string, want a number`},
		{`"category": "Circle", "seats": [`, `"seats": [`, `section "Circle" row "A": seat "101": has no category; give one to the section, the row or the seat`},
		{`"category": "Stalls"}`, `"category": "Stals"}`, `section "Circle" row "A": seat "103": category "Stals" is unknown; the event has "Stalls", "Circle", "Standing"`},
		{`"category": "Stalls", "rows"`, `"rows"`, `section "Stalls" row "1": has no category`},
		{`"category": "Standing"`, `"category": "Sitting"`, `area "Floor": category "Sitting" is unknown`},
		{`"category": "Standing", `, ``, `area "Floor": has no category`},
		{`"Circle", "Standing"]`, `"Circle", "Circle"]`, `category "Circle" appears twice`},
		{`"label": "103"`, `"label": "101"`, `section "Circle" row "A": seat label "101" appears twice (places 1 and 2); labels must be unique`},
		{`"step_free"`, `"stepfree"`, `section "Circle" row "A": seat "101": access "stepfree" is unknown; known are wheelchair, companion, step_free, aisle, hearing, sight`},
		{`"capacity": 130`, `"capacity": 199991`, `the event has 200001 places; it may have at most 200000`},
		{`"capacity": 130`, `"capacity": 1e20`, `area 1 of 1: capacity: got 1e20, want a whole number from 0 to 4294967295`},
		{`"capacity": 130`, `"capacity": 0`, `area "Floor" has no places`},
		{`60000`, `0`, `rules: hold_ttl_ms is 0; it must be between 1 and 604800000`},
		{`"2026-06-01T11:00:00.5+02:00"`, `"tomorrow"`, `rules: opens_at: "tomorrow" is no time; write it as "2026-06-01T09:00:00Z"`},
		{`"2026-06-01T11:00:00.5+02:00"`, `7`, `rules: opens_at: 7 is no time`},
		{`"rules": {`, `"pretix": {}, "rules": {`, `sections and pretix are both given`},
		{`"rules": {`, `"rules" {`, `line 18, column 11: invalid character '{' after object key`},
		{`"sections": [`, `"sections": {}, "x": [`, `sections: got object, want a list`},
		{playJSON, `[]`, `got array, want an object`},
		{playJSON, ``, `the JSON ends too early`},
		{playJSON, playJSON[:100], `the JSON ends too early`},
		{playJSON, playJSON + "\n x", `line 20, column 1: something follows the end of the JSON`},
		{playJSON, `null`, `key of the event is empty`},
	}
	for i, c := range cases {
		if !strings.Contains(playJSON, c.from) {
			t.Fatalf("case %d replaces nothing", i)
		}
		_, err := ParseManifest([]byte(strings.Replace(playJSON, c.from, c.to, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("case %d: got  %v\n         want %s", i, err, c.want)
		}
	}
}

// TestManySeatsAreCountedNotMade parses a manifest that would take 8 GB.
func TestManySeatsAreCountedNotMade(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"key":"k","sections":[{"name":"A","category":"C","rows":[`)
	const rows = 50_000
	for i := range rows {
		fmt.Fprintf(&b, `{"name":"%d","seats":4096},`, i)
	}
	text := strings.TrimSuffix(b.String(), ",") + "]}]}"
	_, err := ParseManifest([]byte(text))
	if want := fmt.Sprintf("the event has %d places; it may have at most 200000", rows*4096); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestRulesPatch(t *testing.T) {
	base := DefaultRules()
	base.OpensAt, base.ClosesAt = 1_000_000, 2_000_000
	got, err := ParseRulesPatch(base, []byte(`{"seats_per_hold":4,"closes_at":null,"opens_at":"1970-01-01T00:33:20Z"}`))
	want := base
	want.SeatsPerHold, want.OpensAt, want.ClosesAt = 4, 2_000_000, 0
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseRulesPatch(DefaultRules(), data); err != nil || again != got {
		t.Errorf("%s came back as %+v, %v", data, again, err)
	}
	for text, want := range map[string]string{
		`{"seats_per_hold":300}`:                   `seats_per_hold: got 300, want a whole number from 0 to 255`,
		`{"seats_per_hold":65}`:                    `seats_per_hold is 65; it must be between 1 and 64`,
		`{"closes_at":"1970-01-01T00:00:01Z"}`:     `closes_at must be after opens_at`,
		`{"opens_at":"1969-12-31T23:59:59Z"}`:      `must be in the years 1970 to 9999`,
		`{"refuse_orphans":1}`:                     `refuse_orphans: got number, want true or false`,
		`{"max_ttl_ms":1000}`:                      `max_ttl_ms is 1000; it must not be below hold_ttl_ms, which is 900000`,
		`7`:                                        `rules: got number, want an object`,
		`{"opens_at":{"year":2026}}`:               `opens_at: {"year":2026} is no time`,
		`{"hold_ttl_ms":5} {"hold_ttl_ms":"five"}`: `line 1, column`,
	} {
		got, err := ParseRulesPatch(base, []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
		if got != base {
			t.Errorf("%s: changed the rules in spite of %v", text, err)
		}
	}
}

func pretixSample(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("testdata/pretix.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPretixPlan(t *testing.T) {
	got, err := ParseManifest([]byte(pretixSample(t)))
	if err != nil {
		t.Fatal(err)
	}
	want := &Manifest{
		Key: "summer-gala", Name: "Riverside Hall", Categories: []string{"Front", "Back", "Lawn"},
		Sections: []Section{
			{Name: "Hall", Rows: []Row{
				{Name: "1", Focal: 2, Seats: []Seat{{"1", "hall-1-1", 0, 0}, {"2", "hall-1-2", 0, 0}, {"3", "hall-1-3", 1, 0}}},
				{Name: "1", Focal: 1, Seats: []Seat{{"4", "hall-1-4", 1, 0}, {"5", "hall-1-5", 1, 0}}},
				{Name: "2", Focal: 0, Seats: []Seat{{"1", "hall-2-1", 1, 0}}},
			}},
			{Name: "box-east", Rows: []Row{{Name: "A", Focal: 0, Seats: []Seat{{"7", "box-east-7", 0, 0}}}}},
		},
		Areas: []Area{{Name: "Lawn", Category: 2, Capacity: 40}},
		Rules: DefaultRules(),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	p := got.Places()
	for label, want := range map[string]SeatID{"Hall-1-3": 2, "Hall-1-4": 64, "box-east-A-7": 192, "Lawn-40": 295} {
		if s, ok := p.Seat(label); !ok || s != want {
			t.Errorf("%s is %d, %v; want %d", label, s, ok, want)
		}
	}
}

func TestPretixMistakes(t *testing.T) {
	sample := pretixSample(t)
	cases := []struct{ from, to, want string }{
		{`"seat_number": "2", "category": "Front"`, `"seat_number": "2", "category": "Frnt"`, `pretix: zone "Hall" row "1" seat "2": category "Frnt" is unknown; the event has "Front", "Back"`},
		{`"seat_number": "2", "category": "Front"`, `"seat_number": "2"`, `pretix: zone "Hall" row "1" seat "2": category "" is unknown`},
		{`"seat_number": "2", "category": "Front"`, `"seat_number": "2", "category": "Lawn"`, `category "Lawn" is unknown`},
		{`"seat_number": "2"`, `"seat_number": 2`, `pretix: zone "Hall" row 1 of 3: seats.seat_number: got number, want text in quotes`},
		{`"seat_guid": "hall-1-2", `, ``, `pretix: zone "Hall" row "1" seat "2": has no seat_guid`},
		{`"seat_guid": "hall-1-2"`, `"seat_guid": "hall-1-1"`, `section "Hall" row "1" seat "2": guid "hall-1-1" is another seat's too`},
		{`"seat_number": "2"`, `"seat_number": "1"`, `section "Hall" row "1": seat label "1" appears twice (places 1 and 2); labels must be unique`},
		{`"seat_number": "4"`, `"seat_number": "3"`, `section "Hall" row "1": appears twice (rows 1 and 2 of the section) and seat label "3" is in both`},
		{`"row_number": "2"`, `"row_number": ""`, `section "Hall", row 3 of 3: name of a row is empty`},
		{`"row_number": "2"`, `"row_number": {}`, `pretix: zone "Hall" row 3 of 3: row_number: got object, want text in quotes`},
		{`"seats": [{"seat_guid": "box-east-7"`, `"seats": [], "x": [{"seat_guid": "box-east-7"`, `pretix: zone "box-east" row "A": a row needs at least one seat`},
		{`"name": "Back"`, `"name": "Front"`, `pretix: category "Front" appears twice`},
		{`"categories": [`, `"kinds": [`, `pretix: the plan has no categories`},
		{`"zone_id": "box-east"`, `"name": "Hall"`, `section "Hall" appears twice`},
		{`"zones": [`, `"zones": 5, "x": [`, `pretix: zones: got number, want a list`},
	}
	for i, c := range cases {
		if !strings.Contains(sample, c.from) {
			t.Fatalf("case %d replaces nothing", i)
		}
		_, err := ParseManifest([]byte(strings.Replace(sample, c.from, c.to, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("case %d: got  %v\n         want %s", i, err, c.want)
		}
	}
}

func BenchmarkParseManifest(b *testing.B) {
	for name, m := range map[string]*Manifest{"plain": hall(MaxSeats), "worst": worst()} {
		data, err := json.Marshal(m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseManifest(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("pretix", func(b *testing.B) {
		data := bigPretix(MaxSeats)
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := ParseManifest(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func bigPretix(seats int) []byte {
	var b strings.Builder
	b.WriteString(`{"key":"k","pretix":{"name":"n","categories":[{"name":"c"}],"zones":[{"name":"z","rows":[`)
	for i := range seats {
		if i%50 == 0 {
			if i > 0 {
				b.WriteString(`]},`)
			}
			fmt.Fprintf(&b, `{"row_number":"%d","seats":[`, i/50)
		} else {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `{"seat_guid":"g%d","seat_number":"%d","category":"c","position":{"x":%d,"y":0}}`, i, i%50+1, i%50*22)
	}
	b.WriteString(`]}]}]}}`)
	return []byte(b.String())
}
