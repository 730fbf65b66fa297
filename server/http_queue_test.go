package server

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// putRoom makes a waiting room, or changes it.
func (s *site) putRoom(path string, body any) *answer {
	s.t.Helper()
	return s.do(call{method: http.MethodPut, url: s.api + path, body: body})
}

// join joins an event's waiting room, and gives the ticket.
func (s *site) join(e string) string {
	s.t.Helper()
	return s.post(e+"/queue", obj{}).ok(201).str("ticket")
}

// served waits until numbers below n have been called.
func (s *site) served(e string, n float64) {
	s.t.Helper()
	eventually(s.t, "numbers are called", func() bool { return s.get(e+"/queue?consistent=1").ok(200).num("serving") >= n })
}

// TestHTTPLifeOfAVisitor walks visitors through a room for two: they join, wait,
// are called, come in, hold seats and leave.
func TestHTTPLifeOfAVisitor(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("gala", 2, nil)
	s.get(e+"/queue").ok(200).want("state", "off")
	s.post(e+"/queue", obj{}).problem("no_room")
	s.putRoom(e+"/queue", obj{"limit": 2, "rate_per_s": 1000, "seats_per_pass": 3}).ok(200).want("state", "open").want("limit", 2).want("grace_ms", 60000)
	s.post(e+"/holds", obj{"best": obj{"count": 1}}).problem("pass_required").says("POST …/queue")

	var tickets []string
	for i := range 4 {
		a := s.post(e+"/queue", obj{}).ok(201).want("kind", "number").want("number", i)
		tickets = append(tickets, a.str("ticket"))
	}
	s.served(e, 2)
	s.get(e+"/queue?consistent=1").want("serving", 2).want("called", 2).want("issued", 4)
	s.post(e+"/queue/place", obj{"ticket": tickets[0]}).ok(200).want("state", "called")
	third := s.post(e+"/queue/place", obj{"ticket": tickets[3]}).ok(200).want("state", "waiting").want("number", 3).want("ahead", 1)
	if third.num("wait_ms") <= 0 || third.num("chance") != 1 {
		t.Errorf("what a waiting visitor may expect: %s", third.raw)
	}
	early := s.post(e+"/queue/pass", obj{"ticket": tickets[3]}).problem("not_called").want("number", 3).want("ahead", 1).want("serving", 2)
	early.says("number 3", "Keep the ticket")
	if early.header.Get("Retry-After") == "" {
		t.Error("who comes too early is not told when to come again")
	}

	first := s.post(e+"/queue/pass", obj{"ticket": tickets[0]}).ok(200).want("seats", 3).want("number", 0)
	if again := s.post(e+"/queue/pass", obj{"ticket": tickets[0]}).ok(200); again.str("pass") != first.str("pass") {
		t.Errorf("the same ticket again is another pass: %s, %s", first.raw, again.raw)
	}
	s.post(e+"/queue/place", obj{"ticket": tickets[0]}).ok(200).want("state", "inside")
	second := s.post(e+"/queue/pass", obj{"ticket": tickets[1]}).ok(200)
	s.get(e+"/queue?consistent=1").want("inside", 2).want("serving", 2)
	metrics := string(s.get("/metrics").ok(200).raw)
	for _, line := range []string{
		"usher_queue_joins_total 4", "usher_queue_admissions_total 3", `usher_room_inside{event="gala"} 2`, `usher_room_issued_total{event="gala"} 4`,
		`usher_room_serving{event="gala"} 2`, `usher_room_state{event="gala",state="open"} 1`, `usher_room_limit{event="gala"} 2`,
	} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("the metrics do not say %s", line)
		}
	}

	h := s.post(e+"/holds", obj{"best": obj{"count": 2}, "pass": first.str("pass")}).ok(201)
	s.post(e+"/holds", obj{"best": obj{"count": 2}, "pass": first.str("pass")}).problem("pass_limit")
	s.post(e+"/holds", obj{"seats": []string{"A-2-1"}, "pass": first.str("pass")}).ok(201)
	s.post(e+"/holds", obj{"area": "Floor", "count": 1, "pass": second.str("pass")}).ok(201)
	s.post(e+"/holds/"+h.str("id")+"/confirm", obj{"fence": h.str("fence")}).ok(200)

	// Whoever leaves makes room, and what he holds stays his.
	s.post(e+"/queue/leave", obj{"pass": second.str("pass")}).ok(204)
	s.post(e+"/queue/leave", obj{"pass": second.str("pass")}).ok(204)
	s.post(e+"/holds", obj{"best": obj{"count": 1}, "pass": second.str("pass")}).problem("pass_ended")
	s.post(e+"/queue/pass", obj{"ticket": tickets[1]}).problem("pass_ended")
	s.served(e, 3)
	s.post(e+"/queue/leave", obj{"ticket": tickets[2]}).ok(204)
	s.post(e+"/queue/pass", obj{"ticket": tickets[2]}).problem("left")
	s.served(e, 4)
	s.post(e+"/queue/pass", obj{"ticket": tickets[3]}).ok(200)

	s.do(call{method: http.MethodDelete, url: s.api + e + "/queue"}).ok(204)
	s.post(e+"/queue/pass", obj{"ticket": tickets[3]}).problem("no_room")
	s.post(e+"/holds", obj{"best": obj{"count": 1}}).ok(201)
	s.putRoom(e+"/queue", obj{"limit": 1}).ok(200).want("issued", 0)
	s.post(e+"/queue/place", obj{"ticket": tickets[0]}).problem("no_room") // of the room before
}

// TestHTTPTicketsRefused proves that tickets and passes that are none are refused
// with what is wrong.
func TestHTTPTicketsRefused(t *testing.T) {
	s := newSite(t, nil)
	e, other := s.event("gala", 1, nil), s.event("other", 1, nil)
	s.putRoom(e+"/queue", obj{"limit": 1, "rate_per_s": 1000}).ok(200)
	s.putRoom(other+"/queue", obj{"limit": 1, "rate_per_s": 1000}).ok(200)
	ticket := s.join(e)
	s.served(e, 1)
	pass := s.post(e+"/queue/pass", obj{"ticket": ticket}).ok(200).str("pass")
	forged := ticket[:50] + "AAAA" + ticket[54:]

	s.post(e+"/queue/pass", obj{"ticket": forged}).problem("bad_ticket").want("reason", "forged").field("ticket")
	s.post(e+"/queue/place", obj{"ticket": forged}).problem("bad_ticket").want("reason", "forged")
	s.post(e+"/queue/leave", obj{"pass": forged}).problem("bad_ticket").field("pass")
	s.postBad(e+"/queue/pass", obj{"ticket": "me"}).problem("bad_ticket").want("reason", "malformed").says("62 characters")
	s.post(e+"/queue/pass", obj{"ticket": pass}).problem("bad_ticket").want("reason", "kind")
	s.post(e+"/holds", obj{"best": obj{"count": 1}, "pass": ticket}).problem("bad_ticket").want("reason", "kind").field("pass")
	s.post(other+"/queue/pass", obj{"ticket": ticket}).problem("no_room")
	s.post(other+"/queue/place", obj{"ticket": ticket}).problem("no_room")
	s.post(other+"/holds", obj{"best": obj{"count": 1}, "pass": pass}).problem("pass_ended")
	s.post("/v1/events/none/queue/pass", obj{"ticket": ticket}).problem("unknown_event")
	s.postBad(e+"/queue/pass", obj{}).problem("bad_request").field("ticket")
	s.postBad(e+"/queue/pass", obj{"pass": pass}).problem("bad_request").field("pass")
	s.postBad(e+"/queue/leave", obj{}).problem("bad_request")
	s.post(e+"/queue/leave", obj{"pass": pass, "ticket": ticket}).problem("bad_request")
	s.postBad(e+"/queue", obj{"visitor": strings.Repeat("x", maxVisitorKey+1)}).problem("bad_request").field("visitor")

	// Keys change twice: what was signed before is void, and what is signed anew for
	// the same number leads to the same pass.
	s.post("/admin/signing-keys", nil).ok(200)
	if again := s.post(e+"/queue/pass", obj{"ticket": ticket}).ok(200); again.str("pass") == pass {
		t.Error("a pass is not signed with the new key")
	} else {
		s.post(e+"/holds", obj{"best": obj{"count": 1}, "pass": pass}).ok(201)
		s.post(e+"/holds", obj{"best": obj{"count": 1}, "pass": again.str("pass")}).ok(201)
	}
	s.post("/admin/signing-keys", nil).ok(200)
	s.post(e+"/queue/pass", obj{"ticket": ticket}).problem("bad_ticket").want("reason", "key_retired").says("join again")
	s.post(e+"/holds", obj{"best": obj{"count": 1}, "pass": pass}).problem("bad_ticket").want("reason", "key_retired")
}

// TestHTTPQueueFrame proves that the room as everybody sees it is for caches, and
// changes when the room does.
func TestHTTPQueueFrame(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("gala", 1, nil)
	s.putRoom(e+"/queue", obj{"limit": 1, "rate_per_s": 2.5, "opens_at": "2999-01-01T00:00:00Z", "entropy_source": "a beacon"}).ok(200)
	a := s.get(e+"/queue").ok(200).want("state", "before").want("opens_at", "2999-01-01T00:00:00.000Z").want("rate_per_s", 2.5).want("ms_per_visitor", 150000)
	if got := a.header.Get("Cache-Control"); got != "public, max-age=1" {
		t.Errorf("Cache-Control is %q", got)
	}
	if d := a.json["draw"].(obj); d["source"] != "a beacon" || d["seed"] != nil || d["commitment"] == "" {
		t.Errorf("before the draw it is %v", d)
	}
	etag := a.header.Get("ETag")
	match := call{method: http.MethodGet, url: s.api + e + "/queue", header: map[string]string{"If-None-Match": etag}}
	if b := s.do(match).ok(http.StatusNotModified); len(b.raw) != 0 || b.header.Get("ETag") != etag {
		t.Errorf("304 with %q and tag %q, want tag %q", b.raw, b.header.Get("ETag"), etag)
	}
	s.join(e)
	eventually(t, "the frame has the entry", func() bool { return s.get(e+"/queue").num("entries") == 1 })
	s.do(match).ok(http.StatusOK)
	s.get("/v1/events/none/queue").problem("unknown_event")

	f := s.n.frames
	var gets [2]*queueFrame
	for i := range gets {
		gets[i], _, _ = f.get(t.Context(), s.n.table().Find("gala").ID, "gala")
	}
	if time.Since(gets[0].made) < frameEvery && gets[0] != gets[1] {
		t.Error("two readers at the same time have two frames")
	}
	for i := range wire.EventID(2 * maxFrames) {
		f.maker(1_000 + i)
	}
	if len(f.byEvent) > maxFrames {
		t.Errorf("%d frames are kept, at most %d may be", len(f.byEvent), maxFrames)
	}
}

// TestHTTPDraw makes a draw of outside entropy, and computes it again from what is
// published.
func TestHTTPDraw(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("gala", 1, nil)
	s.post(e+"/queue/draw", obj{"entropy": "x"}).problem("no_room")
	s.putRoom(e+"/queue", obj{"limit": 50, "rate_per_s": 1000, "opens_at": "2999-01-01T00:00:00Z", "entropy_source": "round 17 of a beacon"}).ok(200)
	const entries = 40
	tickets := make([]string, entries)
	for i := range tickets {
		tickets[i] = s.post(e+"/queue", obj{}).ok(201).want("kind", "entry").want("number", i).str("ticket")
	}
	s.post(e+"/queue/place", obj{"ticket": tickets[7]}).ok(200).want("state", "waiting").want("kind", "entry").want("wait_ms", nil)
	s.post(e+"/queue/pass", obj{"ticket": tickets[7]}).problem("not_called").says("draw").want("kind", "entry")
	s.post(e+"/queue/draw", obj{"entropy": "x"}).problem("bad_request").says("still open")
	commitment := s.get(e + "/queue?consistent=1").json["draw"].(obj)["commitment"]
	s.post(e+"/queue/open", nil).ok(200).want("state", "drawing").want("entries", entries)
	late := s.post(e+"/queue", obj{}).ok(201).want("kind", "number").want("number", entries).str("ticket")
	s.postBad(e+"/queue/draw", obj{"entropy": ""}).problem("bad_request").field("entropy")
	drawn := s.post(e+"/queue/draw", obj{"entropy": "0x17"}).ok(200).json["draw"].(obj)
	if drawn["commitment"] != commitment || drawn["entropy"] != "0x17" || drawn["count"] != float64(entries) {
		t.Errorf("the draw is %v, promised was %v", drawn, commitment)
	}
	s.post(e+"/queue/draw", obj{"entropy": "0x18"}).problem("bad_request").says("has been made")

	room, err := strconv.ParseUint(drawn["room"].(string), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	seed := hexSeed(t, drawn["seed"].(string))
	draw := wire.NewDraw(seed, []byte("0x17"), wire.RoomID(room), entries)
	for entry, ticket := range tickets {
		s.post(e+"/queue/place", obj{"ticket": ticket}).ok(200).want("kind", "number").want("number", draw.Number(uint64(entry)))
	}
	s.served(e, entries+1)
	s.post(e+"/queue/pass", obj{"ticket": tickets[7]}).ok(200).want("number", draw.Number(7))
	s.post(e+"/queue/pass", obj{"ticket": late}).ok(200).want("number", entries)
}

func hexSeed(t *testing.T, text string) (seed [32]byte) {
	t.Helper()
	for i := range seed {
		b, err := strconv.ParseUint(text[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		seed[i] = byte(b)
	}
	return seed
}

// TestHTTPRoomOpensOnTime: entries close and the room opens when people's clocks say
// so, by itself.
func TestHTTPRoomOpensOnTime(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("gala", 1, nil)
	soon := time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano)
	s.putRoom(e+"/queue", obj{"limit": 5, "rate_per_s": 1000, "opens_at": soon}).ok(200)
	ticket := s.join(e)
	s.served(e, 1)
	if opened := s.get(e+"/queue?consistent=1").want("state", "open"); opened.json["draw"].(obj)["seed"] == nil {
		t.Errorf("the draw is not published: %s", opened.raw)
	}
	s.post(e+"/queue/pass", obj{"ticket": ticket}).ok(200)
}

// TestHTTPRoomMoves: a room goes with its event to another shard before its time, and
// opens there on time; tickets, and the order of the queue, are what they were.
func TestHTTPRoomMoves(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("gala", 1, nil)
	to := 3 - s.shardOf("gala")
	soon := time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339Nano)
	s.putRoom(e+"/queue", obj{"limit": 1, "rate_per_s": 1000, "opens_at": soon}).ok(200)
	ticket := s.join(e)
	commitment := s.get(e + "/queue?consistent=1").json["draw"].(obj)["commitment"]
	s.post("/admin/events/gala/move", obj{"shard": to}).ok(202)
	eventually(t, "the event has moved", func() bool { return s.moving() == 0 && s.shardOf("gala") == to })
	s.served(e, 1)
	opened := s.get(e+"/queue?consistent=1").want("state", "open").want("entries", 1)
	if d := opened.json["draw"].(obj); d["commitment"] != commitment || d["seed"] == nil {
		t.Errorf("the draw is %v, promised was %v", d, commitment)
	}
	pass := s.post(e+"/queue/pass", obj{"ticket": ticket}).ok(200).str("pass")
	s.post(e+"/queue", obj{}).ok(201).want("number", 1)
	s.post("/admin/events/gala/move", obj{"shard": 3 - to}).ok(202)
	eventually(t, "the event is back", func() bool { return s.moving() == 0 && s.shardOf("gala") == 3-to })
	s.post(e+"/holds", obj{"best": obj{"count": 1}, "pass": pass}).ok(201)
	s.get(e+"/queue?consistent=1").want("inside", 1).want("issued", 2).want("serving", 1)
}

// TestHTTPDirectRoom pauses, resumes and drains a room, changes its rate on the way,
// and proves that it says "waiting" while seats may come back and "sold out" only when
// all are booked.
func TestHTTPDirectRoom(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("gala", 1, obj{"seats_per_hold": 40})
	s.post(e+"/queue/pause", obj{}).problem("no_room")
	s.postBad(e+"/queue/pause", obj{"why": "?"}).problem("bad_request").field("why")
	s.postBad(e+"/queue", obj{"limit": 1}).problem("bad_request").field("limit")
	for field, body := range map[string]obj{
		"limit": {"limit": "many"}, "rate_per_s": {"rate_per_s": 0}, "opens_at": {"opens_at": "soon"}, "entries_until": {"entries_until": 7},
	} {
		s.do(call{method: http.MethodPut, url: s.api + e + "/queue", body: body, bad: true}).problem("bad_request").field(field)
	}
	s.do(call{method: http.MethodPut, url: s.api + e + "/queue", body: obj{"limit": 0}, bad: true}).problem("bad_request").says("imit is 0")
	s.putRoom(e+"/queue", obj{"entries_until": "2998-01-01T00:00:00Z"}).problem("bad_request").says("entries_until")

	s.putRoom(e+"/queue", obj{"limit": 10, "rate_per_s": 1000}).ok(200)
	s.post(e+"/queue/pause", nil).ok(200).want("state", "paused")
	tickets := []string{s.join(e), s.join(e), s.join(e)}
	s.putRoom(e+"/queue", obj{"rate_per_s": 500}).ok(200).want("rate_per_s", 500).want("limit", 10).want("state", "paused").want("serving", 0)
	s.post(e+"/queue/resume", obj{}).ok(200)
	s.served(e, 3)
	pass := s.post(e+"/queue/pass", obj{"ticket": tickets[0]}).ok(200).str("pass")
	all := s.post(e+"/holds", obj{"best": obj{"count": 40, "split": true}, "pass": pass})
	if all.code != 201 { // areas are not among the best
		all = s.post(e+"/holds", obj{"best": obj{"count": 20, "split": true}, "pass": pass}).ok(201)
	}
	floor := s.post(e+"/holds", obj{"area": "Floor", "count": 20, "pass": pass}).ok(201)
	s.get(e+"/queue?consistent=1").want("state", "waiting").want("free", 0).want("held", 40)
	s.join(e)
	for _, h := range []*answer{all, floor} {
		s.post(e+"/holds/"+h.str("id")+"/confirm", obj{"fence": h.str("fence")}).ok(200)
	}
	s.get(e+"/queue?consistent=1").want("state", "sold_out").want("booked", 40)
	s.post(e+"/queue", obj{}).problem("room_closed")
	s.post(e+"/bookings/"+floor.str("id")+"/cancel", obj{}).ok(200)
	s.served(e, 4)
	s.post(e+"/queue/drain", obj{}).ok(200).want("state", "draining")
	s.post(e+"/queue", obj{}).problem("room_closed")
	s.post(e+"/queue/resume", obj{}).ok(200).want("state", "open")
}

// TestHTTPOnePerVisitor: in such a room a visitor has one number, however often he
// joins; and only who may sell may say who somebody is.
func TestHTTPOnePerVisitor(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("gala", 1, nil)
	s.putRoom(e+"/queue", obj{"limit": 5, "one_per_visitor": true}).ok(200)
	s.post(e+"/queue", obj{}).problem("bad_request").says("visitor")
	ada := s.post(e+"/queue", obj{"visitor": "ada"}).ok(201).want("number", 0).str("ticket")
	s.post(e+"/queue", obj{"visitor": "bob"}).ok(201).want("number", 1)
	s.post(e+"/queue", obj{"visitor": "ada"}).ok(201).want("number", 0).want("ticket", ada)
	s.putRoom(e+"/queue", obj{"one_per_visitor": false}).problem("bad_request").says("one_per_visitor")

	root := s.post("/admin/keys", obj{"name": "root", "role": "operate"}).ok(201).str("key")
	look := s.post("/admin/keys", obj{"name": "look", "role": "read"}).ok(201).str("key")
	s.key = look
	s.get(e + "/queue").ok(200)
	s.post(e+"/queue/place", obj{"ticket": ada}).ok(200)
	s.post(e+"/queue", obj{"visitor": "eve"}).problem("forbidden")
	s.post(e+"/queue/pause", obj{}).problem("forbidden")
	s.key = root
	s.post(e+"/queue", obj{"visitor": "eve"}).ok(201).want("number", 2)
}

// TestHTTPJoinIsRepeatable: a join under an id of its own gets the same number again.
func TestHTTPJoinIsRepeatable(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("gala", 1, nil)
	s.putRoom(e+"/queue", obj{"limit": 5}).ok(200)
	s.join(e)
	header := map[string]string{"Idempotency-Key": "me"}
	join := call{method: http.MethodPost, url: s.api + e + "/queue", body: obj{}, header: header}
	first := s.do(join).ok(201).want("number", 1)
	s.join(e)
	s.do(join).ok(201).want("number", 1).want("ticket", first.str("ticket"))
	id := s.timedID(e, 0)
	s.post(e+"/queue", obj{"id": id}).ok(201).want("number", 3)
	s.post(e+"/queue", obj{"id": id}).ok(201).want("number", 3)
	s.postBad(e+"/queue", obj{"id": "x"}).problem("bad_request").field("id")
}
