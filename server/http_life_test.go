package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// TestHTTPLifeOfAHold walks a hold from manifest to booking and back over HTTP.
func TestHTTPLifeOfAHold(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("gala", 2, nil)

	h := s.post(e+"/holds", obj{"seats": []string{"A-1-2", "A-1-1"}, "buyer": "ada"}).ok(201)
	h.want("seats", "A-1-2 A-1-1")
	if in := h.num("expires_in_ms"); in <= 890_000 || in > 900_000 {
		t.Errorf("a hold lives %v ms, want just below the default of 900000", in)
	}
	if at, err := time.Parse(time.RFC3339, h.str("expires_at")); err != nil || time.Until(at) < 880*time.Second {
		t.Errorf("expires_at is %q (%v), want a time in 15 minutes", h.str("expires_at"), err)
	}
	hold := e + "/holds/" + h.str("id")
	if got := h.header.Get("Location"); got != hold {
		t.Errorf("Location is %q, want %q", got, hold)
	}
	fence := obj{"fence": h.str("fence")}
	s.get(hold).ok(200).want("state", "held").want("fence", h.str("fence")).want("held", "A-1-2 A-1-1").want("booked", "").want("extensions", 0)
	s.get(e+"/bookings/"+h.str("id")).problem("not_booked").want("state", "held")

	x := s.post(hold+"/extend", obj{"fence": h.str("fence"), "ttl_ms": 1_500_000, "nth": 1}).ok(200)
	if in := x.num("expires_in_ms"); in <= 1_490_000 || in > 1_500_000 {
		t.Errorf("extended by 1500000 ms it lives %v", in)
	}
	s.post(hold+"/extend", obj{"fence": h.str("fence"), "ttl_ms": 1_500_000, "nth": 1}).ok(200) // a repeat
	s.post(hold+"/extend", obj{"fence": h.str("fence"), "nth": 2}).problem("no_extension")
	s.get(hold).want("extensions", 1)

	s.post(hold+"/pay", fence).ok(200)
	s.get(hold).want("state", "paying")
	s.post(hold+"/confirm", obj{"fence": h.str("fence"), "seats": []string{"A-1-1"}}).ok(200).want("seats", "A-1-1").want("reacquired", false)
	s.get(hold).want("held", "A-1-2").want("booked", "A-1-1")
	s.post(hold+"/confirm", fence).ok(200).want("seats", "A-1-2")
	s.get(hold).want("state", "booked").want("held", "").want("booked", "A-1-2 A-1-1")

	booking := e + "/bookings/" + h.str("id")
	s.get(booking).ok(200).want("state", "booked").want("seats", "A-1-2 A-1-1")
	s.post(booking+"/exchange", obj{"give": []string{"A-1-2"}, "take": []string{"B-2-10"}}).ok(200)
	if got := s.get(booking).list("seats"); !strings.Contains(got, "B-2-10") || strings.Contains(got, "A-1-2") {
		t.Errorf("after the exchange the booking has %q", got)
	}
	s.post(booking+"/cancel", obj{"seats": []string{"B-2-10"}}).ok(200).want("seats", "B-2-10")
	s.get(booking).want("seats", "A-1-1").want("state", "booked")
	s.post(booking+"/cancel", obj{}).ok(200).want("seats", "A-1-1")
	s.get(booking).ok(200).want("state", "cancelled").want("seats", "")
	s.post(booking+"/cancel", obj{}).problem("cancelled")
	s.post(hold+"/confirm", fence).problem("cancelled")

	c := s.get(e + "?consistent=1").ok(200).json["counts"].(obj)
	if c["free"] != 60.0 || c["held"] != 0.0 || c["booked"] != 0.0 {
		t.Errorf("at the end the counts are %v, want 60 free", c)
	}
}

// TestHTTPHoldIsRefused provokes every reason not to grant a hold.
func TestHTTPHoldIsRefused(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, obj{"seats_per_hold": 4, "seats_per_buyer": 5})
	first := s.post(e+"/holds", obj{"seats": []string{"A-1-3", "A-1-4"}, "buyer": "ada"}).ok(201)

	t.Run("taken, with an alternative", func(t *testing.T) {
		s.post(e+"/holds", obj{"seats": []string{"A-1-4", "A-1-5"}, "alternative": true}).
			problem("taken").want("seats", "A-1-4")
		a := s.post(e+"/holds", obj{"seats": []string{"A-1-4", "A-1-5"}, "alternative": true})
		if got := strings.Fields(a.list("alternative")); len(got) != 2 {
			t.Errorf("alternative is %v, want two seats", got)
		}
		if b := s.post(e+"/holds", obj{"seats": []string{"A-1-4", "A-1-5"}}).problem("taken"); b.json["alternative"] != nil {
			t.Errorf("an alternative nobody asked for: %s", b.raw)
		}
	})
	t.Run("limits", func(t *testing.T) {
		s.post(e+"/holds", obj{"best": obj{"count": 5}}).problem("hold_limit")
		s.post(e+"/holds", obj{"best": obj{"count": 4}, "buyer": "ada"}).problem("buyer_limit")
		s.post(e+"/holds", obj{"best": obj{"count": 3}, "buyer": "ada"}).ok(201)
	})
	t.Run("not enough", func(t *testing.T) {
		f := s.event("small", 1, nil)
		s.post(f+"/holds", obj{"best": obj{"count": 10, "section": "B"}}).ok(201)
		s.post(f+"/holds", obj{"best": obj{"count": 1, "section": "B"}}).problem("not_enough")
		s.post(f+"/holds", obj{"best": obj{"count": 1, "category": "silver"}}).problem("not_enough")
		s.post(f+"/holds", obj{"best": obj{"count": 1, "category": []string{"silver", "gold"}}}).ok(201)
		s.post(f+"/holds", obj{"area": "Floor", "count": 10}).ok(201)
		s.post(f+"/holds", obj{"area": "Floor", "count": 10}).ok(201)
		s.post(f+"/holds", obj{"area": "Floor", "count": 1}).problem("not_enough")
		s.post(f+"/holds", obj{"best": obj{"count": 2, "access": []string{"wheelchair"}}}).problem("not_enough")
	})
	t.Run("split", func(t *testing.T) {
		f := s.event("split", 2, nil)
		for row := 1; row <= 2; row++ {
			var kept []string
			for seat := 1; seat <= 10; seat += 2 {
				kept = append(kept, fmt.Sprintf("A-%d-%d", row, seat))
			}
			s.post(f+"/holds", obj{"seats": kept}).ok(201)
		}
		s.post(f+"/holds", obj{"best": obj{"count": 2, "section": "A"}}).problem("not_enough")
		s.post(f+"/holds", obj{"best": obj{"count": 2, "section": "A", "together": true}}).problem("not_enough")
		s.post(f+"/holds", obj{"best": obj{"count": 2, "section": "A", "split": true}}).ok(201)
		s.post(f+"/holds", obj{"best": obj{"count": 2, "section": "A", "together": false}}).ok(201)
	})
	t.Run("orphan", func(t *testing.T) {
		f := s.event("orphans", 1, obj{"refuse_orphans": true})
		s.post(f+"/holds", obj{"seats": []string{"A-1-2", "A-1-3"}}).problem("orphan").want("seats", "A-1-1")
		s.post(f+"/holds", obj{"seats": []string{"A-1-1", "A-1-2"}}).ok(201)
	})
	t.Run("sale window", func(t *testing.T) {
		f := s.event("later", 1, obj{"opens_at": "2999-01-01T00:00:00Z"})
		s.post(f+"/holds", obj{"seats": []string{"A-1-1"}}).problem("not_open")
		s.get(f).want("sale", "before")
		s.do(call{method: "PATCH", url: s.api + f, body: obj{"rules": obj{"opens_at": nil}}}).ok(200)
		until(t, "the sale opens", func() bool { return s.get(f).str("sale") == "open" })
		s.post(f+"/holds", obj{"seats": []string{"A-1-1"}}).ok(201)
	})
	t.Run("the first hold is untouched", func(t *testing.T) {
		s.get(e+"/holds/"+first.str("id")).want("state", "held").want("held", "A-1-3 A-1-4")
	})
}

// TestHTTPEndsOfAHold provokes every answer to a step that comes too late.
func TestHTTPEndsOfAHold(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 2, obj{"hold_ttl_ms": 1000, "max_ttl_ms": 600_000})
	hold := func(ttl int, seats ...string) (string, obj) {
		a := s.post(e+"/holds", obj{"seats": seats, "ttl_ms": ttl}).ok(201)
		return e + "/holds/" + a.str("id"), obj{"fence": a.str("fence")}
	}
	gone := func(path string) {
		until(t, path+" expires", func() bool { return s.get(path).str("state") == "expired" })
	}

	t.Run("released", func(t *testing.T) {
		h, fence := hold(600_000, "A-1-1")
		s.post(h+"/release", fence).ok(200).want("seats", "A-1-1")
		s.post(h+"/release", fence).ok(200).want("seats", "A-1-1") // a repeat
		s.post(h+"/confirm", fence).problem("released")
		s.post(h+"/extend", fence).problem("released")
		s.post(h+"/pay", fence).problem("released")
		s.get(h).want("state", "released")
	})
	t.Run("booked", func(t *testing.T) {
		h, fence := hold(600_000, "A-1-1")
		s.post(h+"/confirm", fence).ok(200)
		s.post(h+"/confirm", fence).ok(200).want("seats", "A-1-1") // a repeat
		s.post(h+"/release", fence).problem("booked")
		s.post(h+"/extend", fence).problem("booked")
	})
	t.Run("expired", func(t *testing.T) {
		h, fence := hold(1000, "A-1-2")
		gone(h)
		s.post(h+"/extend", fence).problem("expired")
		s.post(h+"/pay", fence).problem("expired")
		if s.get(h).json["expires_at"] != nil {
			t.Error("an expired hold still says when it expires")
		}
	})
	t.Run("reacquired", func(t *testing.T) {
		h, fence := hold(1000, "A-1-3", "A-1-4")
		gone(h)
		s.post(h+"/confirm", fence).ok(200).want("reacquired", true).want("seats", "A-1-3 A-1-4")
		s.get(strings.Replace(h, "/holds/", "/bookings/", 1)).ok(200).want("reacquired", true)
	})
	t.Run("lost", func(t *testing.T) {
		h, fence := hold(1000, "A-1-5", "A-1-6")
		gone(h)
		hold(600_000, "A-1-6")
		s.post(h+"/confirm", fence).problem("lost").want("seats", "A-1-6")
		s.post(h+"/confirm", fence).problem("lost")
		s.get(h).want("state", "lost")
	})
	t.Run("foreign fence", func(t *testing.T) {
		h, _ := hold(600_000, "A-1-7")
		_, other := hold(600_000, "A-1-8")
		for _, step := range []string{"extend", "pay", "confirm", "release"} {
			s.post(h+"/"+step, other).problem("fence_mismatch")
		}
		s.get(h).want("state", "held")
	})
	t.Run("seats of others", func(t *testing.T) {
		h, fence := hold(600_000, "A-1-9")
		s.post(h+"/confirm", obj{"fence": fence["fence"], "seats": []string{"A-1-10"}}).problem("unknown_seat").want("seats", "A-1-10")
		s.post(h+"/release", obj{"fence": fence["fence"], "seats": []string{"A-1-10"}}).problem("unknown_seat")
	})
	t.Run("bookings", func(t *testing.T) {
		h, fence := hold(600_000, "B-1-1", "B-1-2")
		b := strings.Replace(h, "/holds/", "/bookings/", 1)
		s.post(b+"/cancel", obj{}).problem("not_booked")
		s.post(b+"/exchange", obj{"give": []string{"B-1-1"}, "take": []string{"B-1-3"}}).problem("not_booked")
		s.post(h+"/confirm", fence).ok(200)
		hold(600_000, "B-1-4")
		s.post(b+"/exchange", obj{"give": []string{"B-1-1"}, "take": []string{"B-1-4"}}).problem("taken").want("seats", "B-1-4")
		s.get(b).want("seats", "B-1-1 B-1-2")
	})
}

// TestHTTPRetries proves that a request repeated by its id or Idempotency-Key has
// one effect and one answer.
func TestHTTPRetries(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 2, nil)
	f := s.event("b", 2, nil)
	withKey := func(path, key string, body any) *answer {
		t.Helper()
		return s.do(call{method: "POST", url: s.api + path, body: body, header: map[string]string{headerIdemKey: key}})
	}
	same := func(a, b *answer) {
		t.Helper()
		if a.str("id") != b.str("id") || a.str("fence") != b.str("fence") || a.list("seats") != b.list("seats") {
			t.Errorf("the repeat answers %s, the first %s", b.raw, a.raw)
		}
	}

	t.Run("id", func(t *testing.T) {
		id := s.timedID(e, 0)
		body := obj{"id": id, "best": obj{"count": 2}}
		a := s.post(e+"/holds", body).ok(201).want("id", id)
		same(a, s.post(e+"/holds", body).ok(201))
		s.post(e+"/holds", obj{"id": id, "best": obj{"count": 3}}).problem("id_reused").want("id", id)
		s.post(e+"/holds", obj{"id": wire.KeyID("order 1").String(), "best": obj{"count": 2}}).ok(201)
		s.post(e+"/holds", obj{"id": s.timedID(e, 3600_000), "best": obj{"count": 2}}).problem("id_ahead").num("now_ms")
	})
	t.Run("Idempotency-Key", func(t *testing.T) {
		body := obj{"best": obj{"count": 2}}
		a := withKey(e+"/holds", "order 7", body).ok(201)
		same(a, withKey(e+"/holds", "order 7", body).ok(201))
		withKey(e+"/holds", "order 7", obj{"best": obj{"count": 1}}).problem("id_reused")
		if b := withKey(f+"/holds", "order 7", body).ok(201); b.str("id") == a.str("id") {
			t.Error("the same key on another event is the same hold")
		}
		// The key means this call only.
		withKey(e+"/block", "order 7", obj{"seats": []string{"B-2-1"}}).ok(200)
		s.get(e+"/holds/"+a.str("id")).want("state", "held")
	})
	t.Run("a rejection", func(t *testing.T) {
		taken := s.post(e+"/holds", obj{"seats": []string{"B-1-1"}}).ok(201)
		withKey(e+"/holds", "loser", obj{"seats": []string{"B-1-1"}}).problem("taken")
		s.post(e+"/holds/"+taken.str("id")+"/release", obj{"fence": taken.str("fence")}).ok(200)
		withKey(e+"/holds", "loser", obj{"seats": []string{"B-1-1"}}).problem("taken") // the first answer
	})
	t.Run("cancel and exchange", func(t *testing.T) {
		h := s.post(e+"/holds", obj{"seats": []string{"B-2-5", "B-2-6"}}).ok(201)
		b := e + "/bookings/" + h.str("id")
		s.post(e+"/holds/"+h.str("id")+"/confirm", obj{"fence": h.str("fence")}).ok(200)
		swap := obj{"give": []string{"B-2-5"}, "take": []string{"B-2-7"}}
		withKey(b+"/exchange", "swap", swap).ok(200)
		withKey(b+"/exchange", "swap", swap).ok(200)
		withKey(b+"/cancel", "end", obj{"seats": []string{"B-2-7"}}).ok(200).want("seats", "B-2-7")
		withKey(b+"/cancel", "end", obj{"seats": []string{"B-2-7"}}).ok(200).want("seats", "B-2-7")
		withKey(b+"/cancel", "end", obj{"seats": []string{"B-2-6"}}).problem("id_reused")
		s.get(b).want("seats", "B-2-6")
	})
}

// TestHTTPUnknownOutcome proves that a request whose answer did not come in time
// names the id with which it can be repeated, and that the repeat has one effect.
func TestHTTPUnknownOutcome(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	impatient := newFrontend(s.n, "impatient", []route{{"POST", "/v1/events/{event}/holds", "hold", wire.RoleSell, keyed, func(q *request) *problem {
		// The request is submitted, but nobody waits for what becomes of it.
		ctx, cancel := context.WithCancel(q.budget)
		cancel()
		q.budget = ctx
		return q.hold()
	}}})
	serveFrontend(t, impatient)
	for range 100 {
		a := s.do(call{method: "POST", url: "http://" + impatient.address() + e + "/holds", body: obj{"seats": []string{"A-1-1"}}})
		if a.code == http.StatusCreated {
			// The outcome was there before anybody looked at the clock.
			s.post(e+"/holds/"+a.str("id")+"/release", obj{"fence": a.str("fence")}).ok(200)
			continue
		}
		a.problem("unknown").says("again")
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		again := s.post(e+"/holds", obj{"seats": []string{"A-1-1"}, "id": a.str("id")}).ok(201)
		again.want("id", a.str("id"))
		s.get(e+"/holds/"+a.str("id")).want("state", "held")
		return
	}
	t.Fatal("no outcome was unknown in 100 attempts")
}

// TestHTTPDeadline proves that a request's time limit goes into the log with it.
func TestHTTPDeadline(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("a", 1, nil)
	q := &request{f: s.n.http, n: s.n}
	loc, _ := s.n.locate("a")
	q.event = loc.Event
	ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
	defer cancel()
	q.budget = ctx
	now := s.n.now(loc.Event)
	ask := wire.Hold{Mutation: q.mutation(wire.KeyID("x")), Seats: wire.MakeSeatList(0)}
	r := withDeadline(q.budget, wire.Record{Kind: wire.KindHold, Body: ask.Append(nil)}, now)
	if m, err := wire.ParseMutation(r.Body); err != nil || m.Deadline < now+6000 || m.Deadline > now+7000 {
		t.Errorf("deadline is %d at %d, want 7 s later: %v", m.Deadline, now, err)
	}
	// Shard time only moves on with the clock: a deadline in the past is late.
	op := wire.Hold{Mutation: wire.Mutation{Event: loc.Event, ID: s.n.newID(s.n.now(loc.Event)), Deadline: 1}, Seats: wire.MakeSeatList(0)}
	status, body := s.n.do(t.Context(), wire.Record{Kind: wire.KindHold, Body: op.Append(nil)})
	if p := refusal(status, body, nil); p.code != "late" || p.http != 503 || len(p.extra) != 1 {
		b, _ := json.Marshal(p)
		t.Errorf("a hold after its deadline is %s", b)
	}
	s.get(e).ok(200)
}
