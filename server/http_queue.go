package server

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/server/live"
	"github.com/usher-seats/usher/wire"
)

// maxVisitorKey bounds what a frontend calls a visitor, in bytes.
const maxVisitorKey = 255

// joinBody asks for a number.
type joinBody struct {
	ID      string `json:"id"`
	Visitor string `json:"visitor"`
}

// ticketJSON answers a join.
type ticketJSON struct {
	Ticket string `json:"ticket"`
	Kind   string `json:"kind"`
	Number uint64 `json:"number"`
}

// joinQueue serves POST …/queue.
func (q *request) joinQueue() *problem {
	var b joinBody
	if p := q.body(&b); p != nil {
		return p
	}
	if p := q.locate(); p != nil {
		return p
	}
	if len(b.Visitor) > maxVisitorKey {
		return badRequest("visitor", fmt.Sprintf("The field \"visitor\" may have %d bytes.", maxVisitorKey))
	}
	if b.Visitor != "" {
		if p := q.mayVouch(); p != nil {
			return p
		}
	}
	op, p := q.operationID("join", b.ID)
	if p != nil {
		return p
	}
	w := join{op: q.mutation(op.id), flags: op.flags, count: 1, named: b.Visitor != ""}
	if w.named {
		w.visitor = wire.Visitor(b.Visitor)
	}
	w.alone = !w.named && op.flags&wire.FlagRepeat != 0
	status, body := q.awaitJoin(w)
	var t wire.Tickets
	switch {
	case status != wire.StatusOK:
		return refusal(status, body, nil).with("id", op.id.String())
	case t.Decode(body) != nil || len(t.List) != 1:
		return q.broken(wire.KindJoin, fmt.Errorf("%d bytes are no ticket", len(body)))
	}
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return q.reply(http.StatusCreated, ticketJSON{string(t.List[0].Token), ticketKind(t.List[0].Entry), t.List[0].Number})
}

func ticketKind(entry bool) string {
	if entry {
		return "entry"
	}
	return "number"
}

// mayVouch lets only those name visitors whose business that is: a visitor who could
// choose his own name would have as many places as he can think of names.
func (q *request) mayVouch() *problem {
	h := &q.ctx.Request.Header
	p := q.f.allowed(apiKey(h), string(h.Host()), wire.RoleSell)
	if p != nil {
		p.with("field", "visitor")
	}
	return p
}

// awaitJoin waits for a join's answer within the request's time.
func (q *request) awaitJoin(w join) (wire.Status, []byte) {
	type answer struct {
		status wire.Status
		body   []byte
	}
	done := make(chan answer, 1)
	w.done = func(s wire.Status, body []byte) { done <- answer{s, body} }
	if s := q.n.joins.add(w); s != wire.StatusOK {
		return s, nil
	}
	select {
	case a := <-done:
		return a.status, a.body
	case <-q.budget.Done():
		return wire.StatusUnknown, nil
	}
}

// getQueue serves GET …/queue: what all visitors are told, for caches too.
func (q *request) getQueue() *problem {
	if p := q.locate(); p != nil {
		return p
	}
	consistent, p := q.flag("consistent")
	if p != nil {
		return p
	}
	get := q.n.frames.get
	if consistent {
		get = q.n.frames.fresh
	}
	frame, status, body := get(q.budget, q.event, q.key)
	if status != wire.StatusOK {
		return unread(status, body, nil)
	}
	h := &q.ctx.Response.Header
	h.Set(fasthttp.HeaderETag, frame.etag)
	h.Set(fasthttp.HeaderCacheControl, q.scope()+", max-age=1")
	if q.has(frame.etag) {
		q.notModified()
		return nil
	}
	q.ctx.SetContentType(jsonMedia)
	q.ctx.Response.SetBodyRaw(frame.body) // shared: nobody writes to it
	return nil
}

// streamQueue serves GET …/queue/stream: the same, pushed whenever it changes.
func (q *request) streamQueue() *problem {
	if p := q.locate(); p != nil {
		return p
	}
	n, event, key := q.n, q.event, q.key
	return q.subscribe(fmt.Sprintf("queue/%d", event), func() live.Source { return n.queueSource(event, key) })
}

// socketQueue serves GET …/queue/ws: the same over a WebSocket.
func (q *request) socketQueue() *problem {
	if len(q.ctx.Request.Header.Peek(fasthttp.HeaderUpgrade)) == 0 {
		return badRequest(fasthttp.HeaderUpgrade, "This is a WebSocket; for an event stream GET …/queue/stream.")
	}
	return q.streamQueue()
}

// ticketBody brings a ticket, or what it was redeemed for.
type ticketBody struct {
	ID     string `json:"id"`
	Ticket string `json:"ticket"`
	Pass   string `json:"pass"`
}

// badTicket tells that a token is none.
func badTicket(field string, fault *visitFault) *problem {
	if fault.token == nil {
		return refusal(fault.status, []byte(fault.text), nil)
	}
	p := httpProblem(codeBadTicket)
	p.detail = sentence(fault.text)
	return p.with("field", field).with("reason", fault.token.code)
}

// ticketOnly reads a body that has a ticket and nothing else.
func (q *request) ticketOnly() (text string, id string, p *problem) {
	var b ticketBody
	if p := q.body(&b); p != nil {
		return "", "", p
	}
	switch {
	case b.Pass != "":
		return "", "", badRequest("pass", "What belongs here is the \"ticket\", not the pass.")
	case b.Ticket == "":
		return "", "", badRequest("ticket", "Send the \"ticket\" that came with joining.")
	}
	return b.Ticket, b.ID, q.locate()
}

// placeJSON is where one visitor stands.
type placeJSON struct {
	State     string   `json:"state"`
	Kind      string   `json:"kind"`
	Number    uint64   `json:"number"`
	Ahead     uint64   `json:"ahead"`
	Wait      *int64   `json:"wait_ms"`
	Chance    *float64 `json:"chance"`
	ExpiresIn *int64   `json:"expires_in_ms"`
}

// placeInQueue serves POST …/queue/place.
func (q *request) placeInQueue() *problem {
	ticket, _, p := q.ticketOnly()
	if p != nil {
		return p
	}
	ref := wire.TicketRef{Event: q.event, Ticket: []byte(ticket)}
	inner, fault := q.n.visit(wire.Record{Kind: wire.KindPlace, Body: ref.Append(nil)})
	if fault != nil {
		return badTicket("ticket", fault)
	}
	status, body := q.do(inner)
	if status != wire.StatusOK {
		return unread(status, body, nil)
	}
	var place wire.QueuePlace
	if err := place.Decode(body); err != nil {
		return q.broken(wire.KindPlace, err)
	}
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return q.reply(http.StatusOK, q.placeJSON(&place))
}

// placeJSON says of a place what it is and what may be expected of it.
func (q *request) placeJSON(place *wire.QueuePlace) placeJSON {
	out := placeJSON{State: place.State.String(), Kind: ticketKind(place.Entry), Number: place.Number, Ahead: place.Ahead}
	if place.Deadline != 0 {
		in := max(0, int64(place.Deadline-place.Now))
		out.ExpiresIn = &in
	}
	if place.State != wire.PlaceWaiting || place.Entry {
		return out
	}
	if frame, s, _ := q.n.frames.get(q.budget, q.event, q.key); s == wire.StatusOK {
		wait := frame.outlook.wait(place.Ahead).Milliseconds()
		chance := rounded(frame.outlook.chance(&frame.info, place.Ahead))
		out.Wait, out.Chance = &wait, &chance
	}
	return out
}

// passJSON answers a redemption.
type passJSON struct {
	Pass      string `json:"pass"`
	ExpiresIn int64  `json:"expires_in_ms"`
	ExpiresAt string `json:"expires_at"`
	Seats     uint8  `json:"seats"`
	Number    uint64 `json:"number"`
}

// redeemTicket serves POST …/queue/pass.
func (q *request) redeemTicket() *problem {
	ticket, given, p := q.ticketOnly()
	if p != nil {
		return p
	}
	op, p := q.operationID("pass", given)
	if p != nil {
		return p
	}
	admit := wire.Admit{Mutation: q.mutation(op.id), Ticket: []byte(ticket)}
	inner, fault := q.n.visit(wire.Record{Kind: wire.KindAdmit, Flags: op.flags, Body: admit.Append(nil)})
	if fault != nil {
		return badTicket("ticket", fault)
	}
	if body, early := q.n.early(inner); early {
		return q.notCalled(body)
	}
	status, body := q.do(inner)
	switch status {
	case wire.StatusOK:
	case wire.StatusNotCalled:
		return q.notCalled(body)
	default:
		return refusal(status, body, nil)
	}
	var a wire.Admission
	if err := a.Decode(q.n.admission(body)); err != nil {
		return q.broken(wire.KindAdmit, err)
	}
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	in := max(0, int64(a.Admitted.Deadline-a.Admitted.Now))
	at := time.Now().Add(time.Duration(in) * time.Millisecond).UTC().Format(timeFormat)
	return q.reply(http.StatusOK, passJSON{string(a.Token), in, at, a.Admitted.Seats, a.Admitted.Number})
}

// notCalled tells somebody who came too early how long it may take.
func (q *request) notCalled(body []byte) *problem {
	p := statusProblem(wire.StatusNotCalled)
	var place wire.QueuePlace
	if place.Decode(body) != nil {
		return p
	}
	j := q.placeJSON(&place)
	p.with("kind", j.Kind).with("number", j.Number).with("ahead", j.Ahead)
	if place.Entry {
		p.detail = "Your number takes part in the draw, which has not been made yet. Keep the ticket, and ask again when the room opens."
		return p
	}
	p.with("serving", place.Number-min(place.Ahead, place.Number))
	if j.Wait == nil {
		return p
	}
	p.with("wait_ms", *j.Wait).with("chance", *j.Chance)
	p.retry = int(min(max(math.Ceil(float64(*j.Wait)/1000), 1), maxRetryAfter))
	p.detail = fmt.Sprintf("Your number %d has not been called yet: %d are before you, about %v. Keep the ticket, watch the room, and ask again when \"serving\" is above your number.",
		place.Number, place.Ahead, inWordsTime(time.Duration(*j.Wait)*time.Millisecond))
	return p
}

// maxRetryAfter bounds a Retry-After in seconds: estimates change.
const maxRetryAfter = 60

// inWordsTime rounds a wait to what is worth saying.
func inWordsTime(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d seconds", int(math.Ceil(d.Seconds())))
	case d < 90*time.Minute:
		return fmt.Sprintf("%d minutes", int(math.Round(d.Minutes())))
	}
	return fmt.Sprintf("%.1f hours", d.Hours())
}

// leaveQueue serves POST …/queue/leave.
func (q *request) leaveQueue() *problem {
	var b ticketBody
	if p := q.body(&b); p != nil {
		return p
	}
	if p := q.locate(); p != nil {
		return p
	}
	field, text := "ticket", b.Ticket
	switch {
	case (b.Ticket == "") == (b.Pass == ""):
		return badRequest("ticket", "Send what is given back: the \"ticket\", or the \"pass\".")
	case b.Pass != "":
		field, text = "pass", b.Pass
	}
	op, p := q.operationID("leave", b.ID)
	if p != nil {
		return p
	}
	quit := wire.Quit{Mutation: q.mutation(op.id), Token: []byte(text)}
	inner, fault := q.n.visit(wire.Record{Kind: wire.KindQuit, Flags: op.flags, Body: quit.Append(nil)})
	if fault != nil {
		return badTicket(field, fault)
	}
	if status, body := q.do(inner); status != wire.StatusOK {
		return refusal(status, body, nil)
	}
	q.ctx.SetStatusCode(http.StatusNoContent)
	return nil
}

// passOf reads the pass that a hold comes with: none if the text is empty.
func (q *request) passOf(text string) (wire.PassID, *problem) {
	if text == "" {
		return 0, nil
	}
	t, fault := q.n.readPass(q.event, []byte(text))
	if fault != nil {
		return 0, badTicket("pass", fault)
	}
	return wire.PassID(t.number), nil
}
