package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/usher-seats/usher/wire"
)

func unpack(t *testing.T, coding string, body []byte) []byte {
	t.Helper()
	var err error
	switch coding {
	case "gzip":
		r, e := gzip.NewReader(bytes.NewReader(body))
		if e != nil {
			t.Fatal(e)
		}
		body, err = io.ReadAll(r)
	case "zstd":
		r, e := zstd.NewReader(nil)
		if e != nil {
			t.Fatal(e)
		}
		defer r.Close()
		body, err = r.DecodeAll(body, nil)
	case "s2":
		body, err = s2.Decode(nil, body)
	case "":
	default:
		t.Fatalf("coding %q", coding)
	}
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestHTTPSeatMap proves that the map shows every state in both forms and every
// coding, and that its tag is its version.
func TestHTTPSeatMap(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	h := s.post(e+"/holds", obj{"seats": []string{"A-1-2", "A-1-3"}}).ok(201)
	s.post(e+"/holds/"+h.str("id")+"/confirm", obj{"fence": h.str("fence"), "seats": []string{"A-1-3"}}).ok(200)
	s.post(e+"/block", obj{"seats": []string{"B-1-10", "Floor-1", "Floor-2"}}).ok(200)
	s.post(e+"/holds", obj{"area": "Floor", "count": 3}).ok(201)
	read := func(accept, coding string) *answer {
		t.Helper()
		return s.do(call{method: "GET", url: s.api + e + "/seats?consistent=1", header: map[string]string{"Accept": accept, "Accept-Encoding": coding}}).ok(200)
	}

	a := read("", "")
	var m seatMapJSON
	if err := json.Unmarshal(a.raw, &m); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(m.Sections); got != "[{A [{1 .hb.......}]} {B [{1 .........x}]}]" {
		t.Errorf("sections are %s", got)
	}
	if got := fmt.Sprint(m.Areas); got != "[{Floor 15 3 0 2}]" {
		t.Errorf("areas are %s, want 15 free, 3 held, none booked, 2 blocked", got)
	}
	version := a.header.Get(headerVersion)
	if a.header.Get("Etag") != `W/"`+version+`"` || m.Version != version || version == "0" {
		t.Errorf("ETag %s, header %s, body %s should name one version", a.header.Get("Etag"), version, m.Version)
	}

	packed := read(packedMedia, "")
	if packed.header.Get("Content-Type") != packedMedia || len(packed.raw) != 3*16 {
		t.Fatalf("packed: %s of %d bytes, want 48", packed.header.Get("Content-Type"), len(packed.raw))
	}
	sm := wire.SeatMap{Planes: packed.raw}
	for seat, want := range map[wire.SeatID]wire.SeatState{0: wire.SeatFree, 1: wire.SeatHeld, 2: wire.SeatBooked, 10: wire.SeatBlocked, 64 + 9: wire.SeatBlocked, 128: wire.SeatBlocked} {
		if got := sm.State(seat); got != want {
			t.Errorf("packed: seat %d is %v, want %v", seat, got, want)
		}
	}

	for _, coding := range []string{"gzip", "zstd", "s2"} {
		for _, form := range []*answer{a, packed} {
			for range 2 { // made, then out of the cache
				b := read(form.header.Get("Content-Type"), coding)
				if got := b.header.Get("Content-Encoding"); got != coding {
					t.Errorf("asked for %s, got %q", coding, got)
				} else if !bytes.Equal(unpack(t, coding, b.raw), form.raw) {
					t.Errorf("%s of %s is another body", coding, form.header.Get("Content-Type"))
				}
				if vary := b.header.Get("Vary"); !strings.Contains(vary, "Accept-Encoding") {
					t.Errorf("Vary is %q", vary)
				}
			}
		}
	}

	again := func(tag string) *answer {
		t.Helper()
		return s.do(call{method: "GET", url: s.api + e + "/seats", header: map[string]string{"If-None-Match": tag}})
	}
	for _, tag := range []string{a.header.Get("Etag"), `"` + version + `"`, `"x", W/"` + version + `"`, "*"} {
		if b := again(tag).ok(304); len(b.raw) != 0 || b.header.Get("Etag") != a.header.Get("Etag") {
			t.Errorf("304 for %s has %d bytes and the tag %s", tag, len(b.raw), b.header.Get("Etag"))
		}
	}
	again(`"17"`).ok(200)
	s.post(e+"/holds", obj{"seats": []string{"A-1-1"}}).ok(201)
	b := s.do(call{method: "GET", url: s.api + e + "/seats?consistent=1", header: map[string]string{"If-None-Match": a.header.Get("Etag")}}).ok(200)
	if b.header.Get(headerVersion) == version || !strings.Contains(string(b.raw), `"hhb.......`) {
		t.Errorf("after a hold the map is still %s", b.raw)
	}
	s.do(call{method: "GET", url: s.api + e + "/seats", header: map[string]string{"Accept": "image/png"}}).problem("not_acceptable").says(packedMedia)
	s.do(call{method: "GET", url: s.api + e + "/seats?consistent=maybe", bad: true}).problem("bad_request").field("consistent")
}

// seatMapJSON is what a client makes of the map.
type seatMapJSON struct {
	Version  string
	Sections []struct {
		Name string
		Rows []struct{ Name, Seats string }
	}
	Areas []struct {
		Name                        string
		Free, Held, Booked, Blocked int
	}
}

// TestHTTPManifest proves that a manifest comes back as it was sent, in a form that
// makes the same event again, and that its tag is strong.
func TestHTTPManifest(t *testing.T) {
	s := newSite(t, nil)
	sent := `{"key":"m","name":"M & <co>","categories":["gold","tin"],"sections":[{"name":"S","category":"tin","rows":[
		{"name":"1","seats":3,"focal":1.5},
		{"name":"2","seats":[{"label":"a","category":"gold","access":["wheelchair","aisle"]},{"label":"b","guid":"x-7"}]}]}],
		"areas":[{"name":"F","category":"gold","capacity":7}],"rules":{"seats_per_hold":6,"opens_at":"2026-06-01T09:00:00Z"}}`
	s.post("/v1/events", sent).ok(201)
	a := s.get("/v1/events/m/manifest").ok(200)
	want, err := wire.ParseManifest([]byte(sent))
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.ParseManifest(a.raw)
	if err != nil {
		t.Fatalf("%v: %s", err, a.raw)
	}
	if !bytes.Equal(got.Encode(), want.Encode()) {
		t.Errorf("the manifest came back as %s", a.raw)
	}
	read := func(accept, coding, tag string) *answer {
		t.Helper()
		return s.do(call{method: "GET", url: s.api + "/v1/events/m/manifest", header: map[string]string{"Accept": accept, "Accept-Encoding": coding, "If-None-Match": tag}})
	}
	if b := read(packedMedia, "", "").ok(200); !bytes.Equal(b.raw, want.Encode()) {
		t.Error("the packed form is not the encoded manifest")
	}
	tags := make(map[string]bool)
	for _, accept := range []string{jsonMedia, packedMedia} {
		for _, coding := range []string{"identity", "gzip", "zstd", "s2"} {
			b := read(accept, coding, "").ok(200)
			tag := b.header.Get("Etag")
			if strings.HasPrefix(tag, "W/") || tags[tag] {
				t.Errorf("%s in %s has the tag %s, which is weak or another form's", accept, coding, tag)
			}
			tags[tag] = true
			read(accept, coding, tag).ok(304)
		}
	}
}

// TestHTTPNegotiation proves how Accept and Accept-Encoding are read.
func TestHTTPNegotiation(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	for _, test := range []struct{ accept, codings, media, coding string }{
		{"", "", jsonMedia, ""},
		{"*/*", "*", jsonMedia, "zstd"},
		{"application/*", "gzip", jsonMedia, "gzip"},
		{"application/octet-stream", "br, gzip", packedMedia, "gzip"},
		{"application/octet-stream;q=0.5, application/json;q=0.4", "gzip;q=1, zstd;q=0.5", packedMedia, "gzip"},
		{"APPLICATION/JSON; q=1.0, application/octet-stream", "gzip, deflate, br, zstd", jsonMedia, "zstd"},
		{"text/html, */*;q=0.1", "s2, gzip;q=0", jsonMedia, "s2"},
		{"application/json;q=0, */*", "gzip;q=0, *", packedMedia, "zstd"},
		{"application/json", "identity", jsonMedia, ""},
		{"application/json", "identity;q=1, gzip;q=0.2", jsonMedia, ""},
		{"application/json", "identity, gzip", jsonMedia, "gzip"},
		{"application/json", "br", jsonMedia, ""},
		{"application/json", "gzip;q=nonsense", jsonMedia, ""},
		{",,;q=1,application/json", ",,gzip", jsonMedia, "gzip"},
	} {
		a := s.do(call{method: "GET", url: s.api + e + "/seats", header: map[string]string{"Accept": test.accept, "Accept-Encoding": test.codings}}).ok(200)
		if a.header.Get("Content-Type") != test.media || a.header.Get("Content-Encoding") != test.coding {
			t.Errorf("Accept %q and Accept-Encoding %q give %s in %q, want %s in %q", test.accept, test.codings,
				a.header.Get("Content-Type"), a.header.Get("Content-Encoding"), test.media, test.coding)
		}
	}
}

// TestHTTPLabelsRoundTrip proves that the frontend's walk over a manifest gives ids
// the way the manifest's own index does.
func TestHTTPLabelsRoundTrip(t *testing.T) {
	m, err := wire.ParseManifest([]byte(`{"key":"k","sections":[{"name":"S","category":"c","rows":[{"name":"1","seats":65},{"name":"2","seats":64},{"name":"3","seats":1}]},
		{"name":"T","category":"c","rows":[{"name":"1","seats":[{"label":"x"},{"label":"y"}]}]}],"areas":[{"name":"F","category":"c","capacity":130},{"name":"G","category":"c","capacity":3}]}`))
	if err != nil {
		t.Fatal(err)
	}
	p := m.Places()
	n := 0
	for s := range stretches(m) {
		for i := range s.places {
			n++
			seat := s.first + wire.SeatID(i)
			label := p.Label(seat)
			if back, ok := p.Seat(label); !ok || back != seat {
				t.Errorf("seat %d is %q, which is seat %d", seat, label, back)
			}
			if s.section >= 0 && !strings.HasPrefix(label, m.Sections[s.section].Name+"-"+m.Sections[s.section].Rows[s.row].Name+"-") {
				t.Errorf("seat %d of section %d row %d is called %q", seat, s.section, s.row, label)
			}
		}
	}
	if n != m.Seats() {
		t.Errorf("walked over %d places of %d", n, m.Seats())
	}
	for range stretches(m) {
		break // a walk may end early
	}
	if _, p := seatsNamed(p, "seats", make([]string, 1000)); p == nil || len(p.extra[1].value.([]string)) > maxNamedLabels {
		t.Error("a problem repeats more labels than it may")
	}
}
