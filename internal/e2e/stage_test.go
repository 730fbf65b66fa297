package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

type obj = map[string]any

// ask makes a call of the API.
func ask(t testing.TB, method, url string, in any) (code int, answer []byte) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// send is ask for a call that must succeed. Its answer is read into out, which may be
// nil.
func send(t testing.TB, method, url string, in, out any) {
	t.Helper()
	code, answer := ask(t, method, url, in)
	if code >= http.StatusBadRequest {
		t.Fatalf("%s %s: %d %s", method, url, code, answer)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(answer, out); err != nil {
		t.Fatalf("%s %s: %v: %s", method, url, err, answer)
	}
}

// arena makes an event of 50,000 places, as large houses have them: a floor, a ring of
// good blocks and two of cheaper ones.
func arena(t testing.TB, api, key string) {
	t.Helper()
	var sections []obj
	block := func(name, category string, rows, seats, grow int) {
		var list []obj
		for r := range rows {
			list = append(list, obj{"name": fmt.Sprint(r + 1), "seats": seats + grow*r})
		}
		sections = append(sections, obj{"name": name, "category": category, "rows": list})
	}
	for i := range 6 {
		block(fmt.Sprintf("1%02d", i+1), "platinum", 24, 28, 1)
	}
	for i := range 9 {
		block(fmt.Sprintf("2%02d", i+1), "gold", 30, 30, 1)
	}
	for i := range 12 {
		block(fmt.Sprintf("3%02d", i+1), "silver", 40, 34, 1)
	}
	send(t, http.MethodPost, api+"/v1/events", obj{
		"key": key, "name": "The Arena, opening night", "categories": []string{"platinum", "gold", "silver", "standing"},
		"sections": sections, "areas": []obj{{"name": "Floor", "category": "standing", "capacity": 2000}},
	}, nil)
}

// hall makes a small event: rows of 10 seats in two sections, and a floor.
func hall(t testing.TB, api, key string, rows int, rules obj) {
	t.Helper()
	section := func(name, category string) obj {
		var list []obj
		for r := range rows {
			list = append(list, obj{"name": fmt.Sprint(r + 1), "seats": 10})
		}
		return obj{"name": name, "category": category, "rows": list}
	}
	m := obj{
		"key": key, "name": "A small hall", "categories": []string{"gold", "silver", "standing"},
		"sections": []obj{section("A", "gold"), section("B", "silver")},
		"areas":    []obj{{"name": "Floor", "category": "standing", "capacity": 30}},
	}
	if rules != nil {
		m["rules"] = rules
	}
	send(t, http.MethodPost, api+"/v1/events", m, nil)
}

// A hold is what the API grants.
type hold struct {
	ID    string
	Fence string
	Seats []string
}

// take holds seats through the API, as somebody else.
func take(t testing.TB, api, key string, seats ...string) (h hold) {
	t.Helper()
	send(t, http.MethodPost, api+"/v1/events/"+key+"/holds", obj{"seats": seats}, &h)
	return h
}

// book is take, and pays.
func book(t testing.TB, api, key string, seats ...string) {
	t.Helper()
	h := take(t, api, key, seats...)
	send(t, http.MethodPost, api+"/v1/events/"+key+"/holds/"+h.ID+"/confirm", obj{"fence": h.Fence}, nil)
}

// room makes or changes the waiting room of an event.
func room(t testing.TB, api, key string, config obj) {
	t.Helper()
	send(t, http.MethodPut, api+"/v1/events/"+key+"/queue", config, nil)
}

// A ticket is a place in the queue, or what it was redeemed for.
type ticket struct {
	Ticket string
	Kind   string
	Number int
	Pass   string
}

// join takes a place in the queue through the API, as somebody else.
func join(t testing.TB, api, key string) (k ticket) {
	t.Helper()
	send(t, http.MethodPost, api+"/v1/events/"+key+"/queue", obj{}, &k)
	return k
}

// enter redeems the ticket once it is called.
func (k *ticket) enter(t testing.TB, api, key string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(lookEvery) {
		code, answer := ask(t, http.MethodPost, api+"/v1/events/"+key+"/queue/pass", obj{"ticket": k.Ticket})
		if code == http.StatusTooEarly {
			continue
		}
		if err := json.Unmarshal(answer, k); err != nil || code != http.StatusOK {
			t.Fatalf("redeeming a ticket: %d %s", code, answer)
		}
		return
	}
	t.Fatalf("number %d is never called", k.Number)
}

// leave gives the pass back, or else the place.
func (k *ticket) leave(t testing.TB, api, key string) {
	t.Helper()
	body := obj{"ticket": k.Ticket}
	if k.Pass != "" {
		body = obj{"pass": k.Pass}
	}
	send(t, http.MethodPost, api+"/v1/events/"+key+"/queue/leave", body, nil)
}

// grab takes seats as soon as they are free.
func grab(t testing.TB, api, key string, seats ...string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(lookEvery) {
		if code, _ := ask(t, http.MethodPost, api+"/v1/events/"+key+"/holds", obj{"seats": seats}); code == http.StatusCreated {
			return
		}
	}
	t.Fatalf("%v never became free", seats)
}
