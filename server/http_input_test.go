package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// TestHTTPBadBodies proves that a body that does not fit is refused with a sentence
// that names the field, and that nothing happens.
func TestHTTPBadBodies(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	id := s.timedID(e, 0)
	for _, test := range []struct {
		name, path, body string
		field            string
		says             string
	}{
		{"empty", "/holds", "", "", "empty"},
		{"not JSON", "/holds", "{seats}", "", "not JSON"},
		{"cut off", "/holds", `{"seats":["A-1-1"`, "", "too early"},
		{"a list", "/holds", `["A-1-1"]`, "", "must be a JSON object, not array"},
		{"a number", "/holds", `7`, "", "must be a JSON object, not number"},
		{"null", "/holds", `null`, "seats", "one way"},
		{"two objects", "/holds", `{"seats":["A-1-1"]}{}`, "", "one object"},
		{"unknown field", "/holds", `{"seets":["A-1-1"]}`, "seets", `no field "seets"`},
		{"unknown field lists known ones", "/holds", `{"seets":["A-1-1"]}`, "seets", "best.count"},
		{"unknown inner field", "/holds", `{"best":{"cuont":1}}`, "cuont", `no field "cuont"`},
		{"seats are a string", "/holds", `{"seats":"A-1-1"}`, "seats", "must be a list, not string"},
		{"a seat is a number", "/holds", `{"seats":[1]}`, "seats", "must be a string, not number"},
		{"no way", "/holds", `{}`, "seats", "one way"},
		{"two ways", "/holds", `{"seats":["A-1-1"],"best":{"count":1}}`, "seats", "one way"},
		{"no seats", "/holds", `{"seats":[]}`, "seats", "1 to 64"},
		{"65 seats", "/holds", `{"seats":["` + strings.Repeat(`A-1-1","`, 64) + `A-1-1"]}`, "seats", "1 to 64"},
		{"seat twice", "/holds", `{"seats":["A-1-1","A-1-2","A-1-1"]}`, "seats", `"A-1-1" is named twice`},
		{"count is zero", "/holds", `{"best":{"count":0}}`, "best.count", "from 1 to 64"},
		{"count is missing", "/holds", `{"best":{}}`, "best.count", "from 1 to 64"},
		{"count is negative", "/holds", `{"best":{"count":-1}}`, "best.count", "from 1 to 64"},
		{"count is too large", "/holds", `{"best":{"count":65537}}`, "best.count", "from 1 to 64"},
		{"count is a string", "/holds", `{"best":{"count":"2"}}`, "best.count", "not string"},
		{"count is a fraction", "/holds", `{"best":{"count":1.5}}`, "best.count", "not number 1.5"},
		{"count is huge", "/holds", `{"best":{"count":1e30}}`, "best.count", "not number"},
		{"area without count", "/holds", `{"area":"Floor"}`, "count", "from 1 to 64"},
		{"area with zero", "/holds", `{"area":"Floor","count":0}`, "count", "from 1 to 64"},
		{"area with negative", "/holds", `{"area":"Floor","count":-3}`, "count", "from 1 to 64"},
		{"count without area", "/holds", `{"seats":["A-1-1"],"count":2}`, "count", "goes with"},
		{"negative ttl", "/holds", `{"seats":["A-1-1"],"ttl_ms":-1}`, "ttl_ms", "milliseconds"},
		{"endless ttl", "/holds", `{"seats":["A-1-1"],"ttl_ms":4294967296}`, "ttl_ms", "milliseconds"},
		{"alternative to the best", "/holds", `{"best":{"count":1},"alternative":true}`, "alternative", "seats"},
		{"together and split", "/holds", `{"best":{"count":2,"together":true,"split":true}}`, "best.split", "opposite"},
		{"category is a number", "/holds", `{"best":{"count":1,"category":5}}`, "best.category", "list of names"},
		{"unknown access", "/holds", `{"best":{"count":1,"access":["helicopter"]}}`, "best.access", "wheelchair"},
		{"id is no UUID", "/holds", `{"seats":["A-1-1"],"id":"7"}`, "id", "UUID"},
		{"id is of version 4", "/holds", `{"seats":["A-1-1"],"id":"7d444840-9dc0-41d1-b245-5ffdce74fad2"}`, "id", "version"},

		{"no fence", "/holds/" + id + "/confirm", `{}`, "fence", "proves"},
		{"fence is a number", "/holds/" + id + "/confirm", `{"fence":7}`, "fence", "string of digits"},
		{"fence is negative", "/holds/" + id + "/confirm", `{"fence":"-7"}`, "fence", "string of digits"},
		{"fence is no number", "/holds/" + id + "/release", `{"fence":"x"}`, "fence", "string of digits"},
		{"fence is too large", "/holds/" + id + "/release", `{"fence":"18446744073709551616"}`, "fence", "string of digits"},
		{"confirm of no seats", "/holds/" + id + "/confirm", `{"fence":"1","seats":[]}`, "seats", "leave it out to mean all"},
		{"nth is negative", "/holds/" + id + "/extend", `{"fence":"1","nth":-1}`, "nth", "first extension"},
		{"exchange for nothing", "/bookings/" + id + "/exchange", `{"give":["A-1-1"]}`, "give", "take"},
		{"cancel of no seats", "/bookings/" + id + "/cancel", `{"seats":[]}`, "seats", "leave it out to mean all"},

		{"block nothing", "/block", `{}`, "seats", "Name the seats"},
		{"block in two ways", "/block", `{"seats":["A-1-1"],"section":"A"}`, "seats", "one way"},
		{"block a row of no section", "/block", `{"row":"1"}`, "row", "section"},
		{"channel without key", "/channels", `{"name":"fans"}`, "key", "key"},
		{"channel without name", "/channels", `{"key":"secret","seats":["A-1-1"]}`, "name", "name"},
		{"channel without anything", "/channels", `{}`, "name", "name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := s.postBad(e+test.path, test.body).problem("bad_request").says(test.says)
			if test.field != "" {
				a.field(test.field)
			}
		})
	}
	if c := s.get(e).json["counts"].(obj); c["free"] != 40.0 {
		t.Errorf("after all these the counts are %v, want 40 free", c)
	}
}

// TestHTTPUnknownThings proves that what does not exist is named.
func TestHTTPUnknownThings(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	id := s.timedID(e, 0)
	fence := obj{"fence": "1"}

	s.get("/v1/events/nope").problem("unknown_event")
	s.post("/v1/events/nope/holds", obj{"seats": []string{"A-1-1"}}).problem("unknown_event")
	s.post("/v1/events/nope/block", obj{"seats": []string{"A-1-1"}}).problem("unknown_event")
	s.get("/v1/events/nope/seats").problem("unknown_event")
	s.get("/v1/events/nope/manifest").problem("unknown_event")
	s.do(call{method: "DELETE", url: s.api + "/v1/events/nope"}).problem("unknown_event")
	s.do(call{method: "PATCH", url: s.api + "/v1/events/nope", body: obj{"rules": obj{}}}).problem("unknown_event")

	s.post(e+"/holds", obj{"seats": []string{"A-1-1", "A-1-11", "C-1-1", "Floor-21", ""}}).problem("unknown_seat").
		field("seats").want("seats", "A-1-11 C-1-1 Floor-21 ")
	s.post(e+"/holds", obj{"best": obj{"count": 1, "section": "C"}}).problem("unknown_place").field("best.section").says(`section "C"`)
	s.post(e+"/holds", obj{"best": obj{"count": 1, "section": "Floor"}}).problem("unknown_place")
	s.post(e+"/holds", obj{"best": obj{"count": 1, "category": "tin"}}).problem("unknown_place").field("best.category")
	s.post(e+"/holds", obj{"area": "A", "count": 1}).problem("unknown_place").field("area")
	s.post(e+"/block", obj{"section": "C"}).problem("unknown_place").field("section")
	s.post(e+"/block", obj{"section": "A", "row": "9"}).problem("unknown_place").field("row")
	s.post(e+"/block", obj{"area": "Roof"}).problem("unknown_place").field("area")
	s.post(e+"/block", obj{"seats": []string{"A-9-9"}}).problem("unknown_seat")

	s.get(e + "/holds/" + id).problem("unknown_hold")
	s.get(e + "/bookings/" + id).problem("unknown_hold")
	for _, step := range []string{"extend", "pay", "confirm", "release"} {
		s.post(e+"/holds/"+id+"/"+step, fence).problem("unknown_hold")
	}
	s.post(e+"/bookings/"+id+"/cancel", obj{}).problem("unknown_hold")
	s.post(e+"/bookings/"+id+"/exchange", obj{"give": []string{"A-1-1"}, "take": []string{"A-1-2"}}).problem("unknown_hold")
	s.do(call{method: "GET", url: s.api + e + "/holds/7", bad: true}).problem("bad_request").field("id")

	s.do(call{method: "GET", url: s.api + "/v2/events"}).problem("not_found")
	s.do(call{method: "GET", url: s.api + "/v1/events/"}).problem("not_found")
	s.do(call{method: "GET", url: s.api + "/e"}).problem("not_found")
	a := s.do(call{method: "PUT", url: s.api + "/v1/events", body: obj{}}).problem("method_not_allowed")
	for _, m := range []string{"GET", "POST"} {
		if !strings.Contains(a.header.Get("Allow"), m) {
			t.Errorf("Allow is %q, want %s in it", a.header.Get("Allow"), m)
		}
	}
}

// TestHTTPHeadersOfRequests proves what the frontend wants of headers.
func TestHTTPHeadersOfRequests(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	hold := func(bad bool, header map[string]string) *answer {
		t.Helper()
		return s.do(call{method: "POST", url: s.api + e + "/holds", body: obj{"best": obj{"count": 1}}, header: header, bad: bad})
	}
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense;;"} {
		hold(true, map[string]string{"Content-Type": media}).problem("unsupported_media_type")
	}
	hold(false, map[string]string{"Content-Type": "application/json; charset=utf-8"}).ok(201)

	for _, ms := range []string{"0", "-1", "30001", "x", "1e3"} {
		hold(true, map[string]string{headerTimeout: ms}).problem("bad_request").field(headerTimeout)
	}
	hold(false, map[string]string{headerTimeout: "30000"}).ok(201)
	hold(true, map[string]string{headerIdemKey: strings.Repeat("k", maxIdemKey+1)}).problem("bad_request").field(headerIdemKey)
	s.do(call{method: "POST", url: s.api + e + "/holds", body: obj{"id": s.timedID(e, 0), "best": obj{"count": 1}},
		header: map[string]string{headerIdemKey: "k"}}).problem("bad_request").field("id")

	if a := hold(false, map[string]string{headerRequestID: "order-17.b"}).ok(201); a.header.Get(headerRequestID) != "order-17.b" {
		t.Errorf("the request id comes back as %q", a.header.Get(headerRequestID))
	}
	made := hold(false, map[string]string{headerRequestID: strings.Repeat("x", maxRequestID+1)}).header.Get(headerRequestID)
	if made == "" || len(made) > maxRequestID {
		t.Errorf("a request id that is too long became %q", made)
	}
	if a := s.get("/v1/events/nope").problem("unknown_event"); a.str("request_id") != a.header.Get(headerRequestID) || a.str("request_id") == "" {
		t.Errorf("the problem's request id is %q and the header's %q", a.str("request_id"), a.header.Get(headerRequestID))
	}
}

// TestHTTPOddKeys proves that an event's key may have any characters, if the path
// has them encoded.
func TestHTTPOddKeys(t *testing.T) {
	s := newSite(t, nil)
	for _, key := range []string{"a/b", "50%", "Größe & <b>", "x y", "é\u0301", "..", "-"} {
		path := s.event(key, 1, nil)
		a := s.post(path+"/holds", obj{"seats": []string{"A-1-1"}}).ok(201)
		s.get(a.header.Get("Location")).ok(200)
		s.get(path).ok(200).want("key", key)
	}
	s.do(call{method: "GET", url: s.api + "/v1/events/%25zz"}).problem("unknown_event")
	if list := s.get("/v1/events").ok(200).json["events"].([]any); len(list) != 7 {
		t.Errorf("%d events are listed, want 7", len(list))
	}
}

// TestHTTPEvents proves creating, listing, reading, patching and deleting.
func TestHTTPEvents(t *testing.T) {
	s := newSite(t, nil)
	if a := s.get("/v1/events").ok(200); string(a.raw) != "{\"events\":[]}\n" {
		t.Errorf("an empty list is %s", a.raw)
	}
	s.post("/v1/events", `{"key":"k","name":"K","areas":[{"name":"F","category":"c","capacity":5}]}`).ok(201).
		want("seats", 5).want("words", 1).want("areas", 1).want("sections", 0)
	s.post("/v1/events", `{"key":"k","name":"K","areas":[{"name":"F","category":"c","capacity":5}]}`).ok(201) // a repeat
	s.post("/v1/events", `{"key":"k","name":"K","areas":[{"name":"F","category":"c","capacity":6}]}`).problem("exists").want("key", "k")
	s.post("/v1/events", `{"key":"p","pretix":{"name":"Plan","categories":[{"name":"c"}],"zones":[{"name":"Z","rows":[
		{"row_number":"1","seats":[{"seat_guid":"g1","seat_number":"1","category":"c"},{"seat_guid":"g2","seat_number":"2","category":"c"}]}]}]}}`).
		ok(201).want("seats", 2).want("name", "Plan")
	s.post("/v1/events/p/holds", obj{"seats": []string{"Z-1-2"}}).ok(201)

	for name, body := range map[string]string{
		"duplicated labels": `{"key":"d","sections":[{"name":"S","category":"c","rows":[{"name":"1","seats":[{"label":"1"},{"label":"1"}]}]}]}`,
		"empty row":         `{"key":"d","sections":[{"name":"S","category":"c","rows":[{"name":"1","seats":[]}]}]}`,
		"unknown category":  `{"key":"d","categories":["c"],"sections":[{"name":"S","category":"x","rows":[{"name":"1","seats":3}]}]}`,
		"too many places":   `{"key":"d","areas":[{"name":"F","category":"c","capacity":200001}]}`,
		"unknown field":     `{"key":"d","aeras":[]}`,
		"no key":            `{"areas":[{"name":"F","category":"c","capacity":5}]}`,
		"no places":         `{"key":"d"}`,
		"not JSON":          `{"key"`,
	} {
		if a := s.postBad("/v1/events", body).problem("bad_request"); len(a.str("detail")) < 20 {
			t.Errorf("%s: detail is only %q", name, a.str("detail"))
		}
	}

	for i := range 5 {
		s.event(fmt.Sprintf("e%d", i), 1, nil)
	}
	var keys []string
	for next, pages := "", 0; ; pages++ {
		a := s.get("/v1/events?limit=3&after=" + url.QueryEscape(next)).ok(200)
		for _, item := range a.json["events"].([]any) {
			keys = append(keys, item.(obj)["key"].(string))
		}
		if next = a.str("next"); next == "" {
			if pages != 2 {
				t.Errorf("seven events came in %d pages of 3", pages+1)
			}
			break
		}
	}
	if got := strings.Join(keys, " "); got != "e0 e1 e2 e3 e4 k p" {
		t.Errorf("listed %s", got)
	}
	for _, q := range []string{"limit=0", "limit=1001", "limit=x", "after=" + strings.Repeat("x", wire.MaxKeyLen+1)} {
		s.do(call{method: "GET", url: s.api + "/v1/events?" + q, bad: true}).problem("bad_request")
	}

	patch := func(body string, bad bool) *answer {
		t.Helper()
		return s.do(call{method: "PATCH", url: s.api + "/v1/events/e0", body: body, bad: bad})
	}
	rules := patch(`{"rules":{"seats_per_hold":3}}`, false).ok(200).json["rules"].(obj)
	if rules["seats_per_hold"] != 3.0 || rules["hold_ttl_ms"] != 900_000.0 {
		t.Errorf("after the patch the rules are %v", rules)
	}
	s.post("/v1/events/e0/holds", obj{"best": obj{"count": 4}}).problem("hold_limit")
	patch(`{"rules":{"seats_per_hold":0}}`, true).problem("bad_request").says("seats_per_hold")
	patch(`{"rules":{"speed":1}}`, true).problem("bad_request").says("speed")
	patch(`{"rules":null}`, true).problem("bad_request").field("rules")
	patch(`{"name":"x"}`, true).problem("bad_request").field("name")

	s.do(call{method: "DELETE", url: s.api + "/v1/events/e0"}).ok(204)
	s.get("/v1/events/e0").problem("unknown_event")
	s.get("/v1/events/e0/seats").problem("unknown_event")
	s.do(call{method: "DELETE", url: s.api + "/v1/events/e0"}).problem("unknown_event")
	s.event("e0", 2, nil) // a new life, with other places
	s.get("/v1/events/e0").ok(200).want("seats", 60)
	s.get("/v1/events/e0/manifest").ok(200)
	s.post("/v1/events/e0/holds", obj{"seats": []string{"B-2-10"}}).ok(201)
}

// TestHTTPBoxOffice proves blocking and channels, in slices where there are many
// seats.
func TestHTTPBoxOffice(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 2, nil)
	counts := func(path string) string {
		c := s.get(path + "?consistent=1").ok(200).json["counts"].(obj)
		return fmt.Sprint(c["free"], " ", c["held"], " ", c["booked"], " ", c["blocked"])
	}
	s.post(e+"/block", obj{"section": "A", "row": "2"}).ok(200).want("seats", 10)
	s.post(e+"/holds", obj{"seats": []string{"A-2-1"}}).problem("taken").want("seats", "A-2-1")
	s.post(e+"/unblock", obj{"seats": []string{"A-2-1", "A-2-2"}}).ok(200).want("seats", 2)
	if got := counts(e); got != "52 0 0 8" {
		t.Errorf("free, held, booked, blocked are %s", got)
	}
	s.post(e+"/holds", obj{"seats": []string{"B-1-1"}}).ok(201)
	s.post(e+"/block", obj{"seats": []string{"B-1-2", "B-1-1"}}).problem("taken").want("seats", "B-1-1").want("applied", 0)
	s.post(e+"/block", obj{"area": "Floor"}).ok(200).want("seats", 20)
	s.post(e+"/holds", obj{"area": "Floor", "count": 1}).problem("not_enough")
	s.post(e+"/unblock", obj{"section": "A"}).ok(200) // some were free: nothing to do for those

	t.Run("channel", func(t *testing.T) {
		s.post(e+"/channels", obj{"name": "fans", "key": "s3cret", "section": "A", "row": "1"}).ok(200).want("seats", 10).want("name", "fans")
		s.get(e).want("channels", "fans")
		s.post(e+"/holds", obj{"seats": []string{"A-1-1"}}).problem("channel_required").want("seats", "A-1-1")
		s.post(e+"/holds", obj{"seats": []string{"A-1-1"}, "channel": "guess"}).problem("channel_required")
		s.post(e+"/holds", obj{"seats": []string{"A-1-1"}, "channel": "s3cret"}).ok(201)
		s.post(e+"/channels", obj{"name": "fans", "key": "new"}).ok(200).want("seats", 0)
		s.post(e+"/holds", obj{"seats": []string{"A-1-2"}, "channel": "s3cret"}).problem("channel_required")
		s.post(e+"/channels", obj{"seats": []string{"A-1-2"}}).ok(200) // back to everybody
		s.post(e+"/holds", obj{"seats": []string{"A-1-2"}}).ok(201)
	})
	t.Run("slices", func(t *testing.T) {
		const rows = 1000 // 10,000 seats a section
		f := s.event("big", rows, nil)
		last := fmt.Sprintf("A-%d-10", rows)
		h := s.post(f+"/holds", obj{"seats": []string{last}}).ok(201)
		a := s.do(call{method: "POST", url: s.api + f + "/block", body: obj{"section": "A"}, header: map[string]string{headerIdemKey: "all of A"}}).
			problem("taken").want("seats", last).want("applied", 2*wire.MaxOpSeats)
		if got := counts(f); got != fmt.Sprint(rows*20+20-2*wire.MaxOpSeats-1, " 1 0 ", 2*wire.MaxOpSeats) {
			t.Errorf("free, held, booked, blocked are %s", got)
		}
		// The same request gets the same answer, and changes nothing.
		s.post(f+"/block", obj{"section": "A", "id": a.str("id")}).problem("taken").want("applied", 2*wire.MaxOpSeats)
		s.post(f+"/holds/"+h.str("id")+"/release", obj{"fence": h.str("fence")}).ok(200)
		s.post(f+"/unblock", obj{"seats": firstSeats("A", 2*wire.MaxOpSeats)}).ok(200).want("seats", 2*wire.MaxOpSeats)
		s.post(f+"/block", obj{"section": "A"}).ok(200).want("seats", rows*10)
		if got := counts(f); got != fmt.Sprint(rows*10+20, " 0 0 ", rows*10) {
			t.Errorf("free, held, booked, blocked are %s", got)
		}
	})
}

// firstSeats are the labels of a section's first n seats, in rows of ten.
func firstSeats(section string, n int) []string {
	labels := make([]string, n)
	for i := range labels {
		labels[i] = fmt.Sprintf("%s-%d-%d", section, i/10+1, i%10+1)
	}
	return labels
}

// TestHTTPSliceIDs proves that slices of a request have ids of their own that
// follow from the request's.
func TestHTTPSliceIDs(t *testing.T) {
	timed := wire.NewID(123456, [10]byte{1, 2, 3})
	for _, id := range []wire.ID{timed, wire.KeyID("key")} {
		seen := make(map[wire.ID]bool)
		for n := range 100 {
			s := sliceID(id, n)
			if !s.Valid() || seen[s] || s != sliceID(id, n) {
				t.Fatalf("slice %d of %v has the id %v", n, id, s)
			}
			seen[s] = true
			was, isTimed := id.Time()
			if now, ok := s.Time(); ok != isTimed || now != was {
				t.Fatalf("slice %d of %v has the time %v", n, id, now)
			}
		}
		if !seen[id] {
			t.Errorf("no slice has the request's own id %v", id)
		}
	}
}

// TestHTTPHead proves that HEAD works where GET does.
func TestHTTPHead(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	for _, path := range []string{"/v1/events", e, e + "/seats", e + "/manifest"} {
		req, err := http.NewRequest(http.MethodHead, s.api+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || resp.ContentLength <= 0 {
			t.Errorf("HEAD %s: %d with %d bytes announced", path, resp.StatusCode, resp.ContentLength)
		}
	}
}
