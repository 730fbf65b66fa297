package server

import (
	"encoding/json"
	"strconv"

	"github.com/usher-seats/usher/wire"
)

// A problem is an error as RFC 9457 gives it. Its code is stable; its detail
// says what to do. Handlers return one instead of writing an answer. Owned by
// the goroutine that serves the request.
type problem struct {
	code   string
	http   int
	title  string
	detail string
	retry  int // seconds for Retry-After; 0: no such header
	extra  []member
}

// A member is one more field of a problem.
type member struct {
	name  string
	value any
}

// with adds a field, and gives back the problem.
func (p *problem) with(name string, value any) *problem {
	p.extra = append(p.extra, member{name, value})
	return p
}

// problemType is the base of a problem's type: the page that explains its code.
const problemType = "docs/http.md#"

// MarshalJSON writes the fields of RFC 9457 first and then the problem's own.
func (p *problem) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Code   string `json:"code"`
	}{problemType + p.code, p.title, p.http, p.detail, p.code})
	if err != nil {
		return nil, err
	}
	b = b[:len(b)-1]
	for _, m := range p.extra {
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b = append(b, ',')
		b = strconv.AppendQuote(b, m.name)
		b = append(b, ':')
		b = append(b, value...)
	}
	return append(b, '}'), nil
}

// An explanation is what HTTP says of a code. docs/http.md has the same table,
// and a test compares them.
type explanation struct {
	http   int
	retry  int // seconds
	title  string
	detail string
}

// statusProblems explains every status but OK. Statuses about the event's state
// are 409; those about the request's content 422; those that say the system did
// not decide 5xx, with Retry-After where waiting helps.
var statusProblems = map[wire.Status]explanation{
	wire.StatusTaken:           {409, 0, "Seats are taken", "Some seats are not free, so none was taken for you. Choose others in place of those in \"seats\", and send the request with a new id."},
	wire.StatusNotEnough:       {409, 0, "Not enough seats", "There are no such seats left. Ask for fewer, drop a filter, or allow them to be split."},
	wire.StatusOrphan:          {409, 0, "A single seat would be left over", "This event refuses holds that leave a single free seat between taken ones. Choose so that those in \"seats\" are not left alone."},
	wire.StatusExpired:         {410, 0, "The hold has expired", "The hold's time is over and its seats are on sale again. Make a new hold; if the buyer has paid, confirm it: its seats are booked if they are still free."},
	wire.StatusReleased:        {410, 0, "The seats were given back", "The hold, or those of its seats, were released and are on sale again. Make a new hold."},
	wire.StatusBooked:          {409, 0, "The seats are booked", "The hold, or those of its seats, are booked. To give them back, cancel the booking."},
	wire.StatusLost:            {410, 0, "The seats are gone", "The hold had expired and its seats have moved on, for good. Refund the buyer."},
	wire.StatusFenceMismatch:   {409, 0, "Wrong fence", "The fence is not this hold's. Quote the one that came with the hold; whoever has another speaks of another grant."},
	wire.StatusBuyerLimit:      {409, 0, "Buyer limit reached", "With these seats the buyer would have more than the event allows. Ask for fewer, or release others first."},
	wire.StatusHoldLimit:       {422, 0, "Too many seats for one hold", "The event does not allow that many seats in one hold. Read \"seats_per_hold\" in the event's rules and ask for no more."},
	wire.StatusNotOpen:         {409, 0, "Not on sale", "The event's sale has not begun or is over. Read \"opens_at\" and \"closes_at\" in its rules."},
	wire.StatusChannelRequired: {403, 0, "Seats of a channel", "The seats in \"seats\" are for a sales channel. Send the channel's key in \"channel\", or choose others."},
	wire.StatusLate:            {503, 1, "Too late", "The request's time ran out before it was decided. Nothing changed. Send it again."},
	wire.StatusTooOld:          {409, 0, "The id is too old", "The shard no longer remembers ids of that age, so it did not execute the request. If it may be a repeat, read the hold to see what became of it; otherwise send it with a new id."},
	wire.StatusIDReused:        {422, 0, "The id was used before", "This id or Idempotency-Key came before with other content. Use a new one for a new request."},
	wire.StatusIDAhead:         {422, 0, "The id is from the future", "The time in the id is ahead of the shard's. Make ids from \"now_ms\" of the event, or let the server make them."},
	wire.StatusUnknownEvent:    {404, 0, "Unknown event", "There is no such event. GET /v1/events lists those there are."},
	wire.StatusUnknownHold:     {404, 0, "Unknown hold", "The event knows no hold or booking with this id: it never was, or it ended too long ago."},
	wire.StatusUnknownSeat:     {422, 0, "Unknown seat", "The labels in \"seats\" name no seats of this event or hold. A label is section-row-seat or area-number; GET the manifest for all of them."},
	wire.StatusUnknownPlace:    {422, 0, "Unknown place", "The event has no such section, row, category, area or channel. GET the manifest for their names."},
	wire.StatusBadRequest:      {400, 0, "Bad request", "The request cannot be understood."},
	wire.StatusNoExtension:     {409, 0, "No more extensions", "The hold has been extended as often as the event allows. Confirm it or let it go."},
	wire.StatusExists:          {409, 0, "Exists already", "It exists already with other content. Choose another key, or delete the old one first."},
	wire.StatusCancelled:       {410, 0, "The booking was cancelled", "The booking was cancelled and its seats are on sale again."},
	wire.StatusNotBooked:       {409, 0, "Not booked", "No seats of this hold are booked, so there is nothing to show, cancel or exchange. Confirm it first."},
	wire.StatusNoRoom:          {404, 0, "No waiting room", "The event has no waiting room, or not the one that the ticket or pass is for. If it has one, join it; otherwise hold seats without a pass."},
	wire.StatusNotCalled:       {425, 2, "Not your turn yet", "The ticket's number has not been called yet. Keep the ticket, watch the room, and ask again when \"serving\" is above the number."},
	wire.StatusLapsed:          {410, 0, "Your turn is over", "The ticket's number was called and nobody came within the room's \"grace_ms\", or the visit that it opened is over. Join again for a new number."},
	wire.StatusPassRequired:    {403, 0, "A pass is needed", "The event has a waiting room, so a hold needs a pass. Join (POST …/queue), redeem the ticket when it is called (POST …/queue/pass), and send what you get in \"pass\"."},
	wire.StatusPassEnded:       {410, 0, "The pass is over", "The pass's time is over, it was given back, all its seats are booked, or it is for another event. Seats that are held stay held; for more, join again."},
	wire.StatusPassLimit:       {409, 0, "Too many seats for the pass", "With these seats the pass would have more than it is for. Ask for fewer, or release others first."},
	wire.StatusRoomClosed:      {409, 0, "The waiting room is closed", "The room takes nobody any more: it is sold out, or is being emptied. GET …/queue says which in \"state\"."},
	wire.StatusLeft:            {410, 0, "The number was given back", "The ticket's number was given back. Join again for a new one."},

	wire.StatusMoved:        {503, 1, "The event is led elsewhere", "Another node decides for this event at the moment. Nothing changed. Send the request again."},
	wire.StatusOverloaded:   {503, 1, "Overloaded", "The request was refused before any work was done. Nothing changed. Send it again after the time in Retry-After, and let attempts grow further apart."},
	wire.StatusUnavailable:  {503, 1, "Unavailable", "The event's shard has no leader at the moment. Nothing changed. Send the request again."},
	wire.StatusUnknown:      {503, 1, "The outcome is unknown", "The request may or may not have been executed. Send it again, with the id in \"id\" if there is one here: it is executed at most once, and you get its first answer."},
	wire.StatusStopping:     {503, 1, "The node is stopping", "This node is shutting down. Nothing changed. Send the request to another node, or again in a moment."},
	wire.StatusUnauthorized: {401, 0, "A key is needed", "Send an API key this node knows, as \"Authorization: Bearer KEY\" or \"X-Usher-Key: KEY\"."},
	wire.StatusForbidden:    {403, 0, "Not allowed", "The key's role does not allow this call."},
	wire.StatusBadFrame:     {500, 0, "Internal error", "The node could not read its own request. Nothing changed. This is a bug in the server."},
	wire.StatusBadVersion:   {500, 0, "Internal error", "The node does not speak its own protocol version. Nothing changed. This is a bug in the server."},
	wire.StatusUnknownKind:  {500, 0, "Internal error", "The node does not know its own kind of request. Nothing changed. This is a bug in the server."},
	wire.StatusTooLarge:     {413, 0, "Too large", "The request is beyond a limit of size or number."},
	wire.StatusDiskFull:     {507, 30, "The disk is full", "The node keeps the rest of its disk for confirming and releasing, so it takes no new holds. Nothing changed. Send the request again when there is space."},
}

// Codes that only HTTP has.
const (
	codeNotFound      = "not_found"
	codeMethod        = "method_not_allowed"
	codeNotAcceptable = "not_acceptable"
	codeMediaType     = "unsupported_media_type"
	codeHeaderLarge   = "header_too_large"
	codeSlow          = "request_timeout"
	codeConnections   = "too_many_connections"
	codeOrigin        = "origin_not_allowed"
	codeSubscribers   = "too_many_subscribers"
	codeYourOwn       = "too_many_streams"
	codeInternal      = "internal"
	codeBadTicket     = "bad_ticket"
)

var httpProblems = map[string]explanation{
	codeBadTicket:     {422, 0, "Not a valid ticket", "The ticket or pass was not signed by this cluster, or not with a key that is still good. \"reason\" says what is wrong with it."},
	codeNotFound:      {404, 0, "No such page", "There is nothing at this path. docs/http.md lists all calls."},
	codeMethod:        {405, 0, "Wrong method", "This path does not take this method. The Allow header lists those it takes."},
	codeNotAcceptable: {406, 0, "Not acceptable", "This call has no answer of a type that your Accept header allows."},
	codeMediaType:     {415, 0, "Not JSON", "Send the body with \"Content-Type: application/json\" (curl: --json)."},
	codeHeaderLarge:   {431, 0, "Header too large", "The request's line and headers are larger than this node reads. Send fewer or shorter ones."},
	codeSlow:          {408, 0, "Request timeout", "The request did not arrive in time. Nothing changed. Send it again."},
	codeConnections:   {503, 1, "Too many connections", "This node serves as many connections as it may, in all or from one address. Close some, or use them for several requests."},
	codeOrigin:        {403, 0, "Origin not allowed", "Pages of this origin may not read live updates here. The operator allows them with --origins."},
	codeSubscribers:   {503, 5, "Too many subscribers", "This node, or this event on it, has as many streams as it may. Try another node, or read the map now and then until there is room."},
	codeYourOwn:       {429, 30, "Too many streams", "There are as many streams from your address as this node allows. Close some."},
	codeInternal:      {500, 0, "Internal error", "The node failed while it served this request. If the request changes something, it may or may not have: repeat it with the same id. The node's log has more under the request id."},
}

// statusProblem is the problem that tells of a status.
func statusProblem(s wire.Status) *problem {
	e, ok := statusProblems[s]
	if !ok {
		return httpProblem(codeInternal)
	}
	return e.problem(s.String())
}

// httpProblem is the problem with one of HTTP's own codes.
func httpProblem(code string) *problem { return httpProblems[code].problem(code) }

func (e explanation) problem(code string) *problem {
	return &problem{code: code, http: e.http, title: e.title, detail: e.detail, retry: e.retry}
}

// badRequest says what is wrong with a request and what to do. field is the
// body's field, parameter or header that is wrong, or empty.
func badRequest(field, detail string) *problem {
	p := statusProblem(wire.StatusBadRequest)
	p.detail = detail
	if field != "" {
		p.with("field", field)
	}
	return p
}

// unread tells why a read failed. A read that was not answered in time changed
// nothing, so its outcome is not unknown.
func unread(s wire.Status, body []byte, places *wire.Places) *problem {
	if s == wire.StatusUnknown {
		s, body = wire.StatusLate, nil
	}
	return refusal(s, body, places)
}

// refusal tells of a status with its body. Seats in the body get their labels
// from places, which may be nil where no status with seats can occur.
func refusal(s wire.Status, body []byte, places *wire.Places) *problem {
	p := statusProblem(s)
	switch s {
	case wire.StatusLate, wire.StatusTooOld, wire.StatusIDAhead:
		var c wire.Clock
		if c.Decode(body) == nil {
			p.with("now_ms", c.Now)
		}
	case wire.StatusUnknownPlace, wire.StatusBadRequest, wire.StatusExists, wire.StatusTooLarge:
		if len(body) > 0 {
			p.detail = sentence(string(body))
		}
	case wire.StatusTaken, wire.StatusOrphan, wire.StatusChannelRequired, wire.StatusUnknownSeat, wire.StatusLost,
		wire.StatusReleased, wire.StatusBooked:
		var lost wire.SeatsLost
		if places == nil || lost.Decode(body) != nil {
			break
		}
		p.with("seats", labelsOf(places, lost.Seats))
		if lost.Offer.Len() > 0 {
			p.with("alternative", labelsOf(places, lost.Offer))
		}
	}
	return p
}
