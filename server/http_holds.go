package server

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A decimal is a u64 in JSON: a string, because numbers above 2^53 lose digits
// in most of the programs that read them.
type decimal uint64

func (d decimal) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, strconv.FormatUint(uint64(d), 10)), nil
}

func (d *decimal) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		if v, err := strconv.ParseUint(s, 10, 64); err == nil {
			*d = decimal(v)
			return nil
		}
	}
	return &fieldError{"fence", "The field \"fence\" must be the string of digits that came with the hold."}
}

// names is one name or a list of them.
type names []string

func (n *names) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*n = names{one}
		return nil
	}
	if json.Unmarshal(b, (*[]string)(n)) == nil {
		return nil
	}
	return &fieldError{"best.category", "The field \"best.category\" must be a category's name or a list of names."}
}

// A fieldError says what is wrong with a field that reads itself.
type fieldError struct{ field, detail string }

func (e *fieldError) Error() string { return e.detail }

// holdBody asks for a hold: by seats, the best ones, or places of an area.
type holdBody struct {
	ID          string    `json:"id"`
	Buyer       string    `json:"buyer"`
	Channel     string    `json:"channel"`
	Pass        string    `json:"pass"`
	TTL         int64     `json:"ttl_ms"`
	Seats       []string  `json:"seats"`
	Alternative bool      `json:"alternative"`
	Best        *bestBody `json:"best"`
	Area        string    `json:"area"`
	Count       *int      `json:"count"`
}

type bestBody struct {
	Count    int      `json:"count"`
	Section  string   `json:"section"`
	Category names    `json:"category"`
	Access   []string `json:"access"`
	Together *bool    `json:"together"`
	Split    *bool    `json:"split"`
	NoOrphan bool     `json:"no_orphan"`
}

// granted answers a hold.
type granted struct {
	ID        string   `json:"id"`
	Fence     decimal  `json:"fence"`
	Seats     []string `json:"seats"`
	ExpiresIn int64    `json:"expires_in_ms"`
	ExpiresAt string   `json:"expires_at"`
}

// hold serves POST …/holds.
func (q *request) hold() *problem {
	var b holdBody
	if p := q.body(&b); p != nil {
		return p
	}
	if p := q.locate(); p != nil {
		return p
	}
	_, places, p := q.manifest()
	if p != nil {
		return p
	}
	if b.TTL < 0 || b.TTL > math.MaxUint32 {
		return badRequest("ttl_ms", "The field \"ttl_ms\" must be a number of milliseconds above 0; leave it out for the event's own.")
	}
	op, p := q.operationID("hold", b.ID)
	if p != nil {
		return p
	}
	rec, p := q.holdRecord(&b, places, q.mutation(op.id))
	if p != nil {
		return p
	}
	rec.Flags |= op.flags
	status, body := q.do(rec)
	if status != wire.StatusOK {
		return refusal(status, body, places).with("id", op.id.String())
	}
	var g wire.Granted
	if err := g.Decode(body); err != nil {
		return q.broken(rec.Kind, err)
	}
	in, at := q.expiry(g.Deadline)
	q.ctx.Response.Header.Set("Location", holdPath(q.key, op.id))
	return q.reply(http.StatusCreated, granted{op.id.String(), decimal(g.Fence), labelsOf(places, g.Seats), in, at})
}

// holdRecord makes the operation that a body asks for.
func (q *request) holdRecord(b *holdBody, places *wire.Places, m wire.Mutation) (wire.Record, *problem) {
	ways := 0
	for _, given := range []bool{b.Seats != nil, b.Best != nil, b.Area != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return wire.Record{}, badRequest("seats", "Say what to hold in one way: \"seats\" with labels, \"best\" with a count, or \"area\" with \"count\".")
	case b.Count != nil && b.Area == "":
		return wire.Record{}, badRequest("count", "The field \"count\" goes with \"area\"; the best seats are counted by \"best.count\".")
	case b.Alternative && b.Seats == nil:
		return wire.Record{}, badRequest("alternative", "An \"alternative\" is offered for \"seats\" only.")
	}
	pass, p := q.passOf(b.Pass)
	if p != nil {
		return wire.Record{}, p
	}
	buyer, channel, ttl := wire.Buyer(b.Buyer), wire.Channel(b.Channel), uint32(b.TTL)
	switch {
	case b.Best != nil:
		return holdBest(b.Best, places, wire.HoldBest{Mutation: m, Buyer: buyer, Channel: channel, Pass: pass, TTL: ttl})
	case b.Area != "":
		return holdArea(b, places, wire.HoldArea{Mutation: m, Buyer: buyer, Channel: channel, Pass: pass, TTL: ttl})
	}
	if len(b.Seats) == 0 || len(b.Seats) > wire.MaxHoldSeats {
		return wire.Record{}, badRequest("seats", fmt.Sprintf("The field \"seats\" must name 1 to %d seats.", wire.MaxHoldSeats))
	}
	seats, p := seatsNamed(places, "seats", b.Seats)
	if p != nil {
		return wire.Record{}, p
	}
	h := wire.Hold{Mutation: m, Buyer: buyer, Channel: channel, Pass: pass, TTL: ttl, Seats: wire.MakeSeatList(seats...)}
	if b.Alternative {
		h.Flags |= wire.HoldAlternative
	}
	return wire.Record{Kind: wire.KindHold, Body: h.Append(nil)}, nil
}

func holdBest(b *bestBody, places *wire.Places, h wire.HoldBest) (wire.Record, *problem) {
	if b.Count < 1 || b.Count > wire.MaxHoldSeats {
		return wire.Record{}, badRequest("best.count", countSentence("best.count"))
	}
	h.Count = uint16(b.Count)
	h.Section = wire.Any
	if b.Section != "" {
		i, ok := places.Section(b.Section)
		if !ok {
			return wire.Record{}, unknownPlace("best.section", "section", b.Section)
		}
		h.Section = i
	}
	for _, name := range b.Category {
		i, ok := places.Category(name)
		if !ok {
			return wire.Record{}, unknownPlace("best.category", "category", name)
		}
		h.Categories |= 1 << i
	}
	for _, name := range b.Access {
		a, ok := wire.ParseAccess(name)
		if !ok {
			return wire.Record{}, badRequest("best.access", fmt.Sprintf("There is no access property %q. There are %s.", name, strings.Join(wire.Access(math.MaxUint8).Names(), ", ")))
		}
		h.Access |= a
	}
	if b.Together != nil && b.Split != nil && *b.Together == *b.Split {
		return wire.Record{}, badRequest("best.split", "\"together\" and \"split\" say opposite things: send one of them.")
	}
	if b.Split != nil && *b.Split || b.Together != nil && !*b.Together {
		h.Flags |= wire.HoldSplit
	}
	if b.NoOrphan {
		h.Flags |= wire.HoldNoOrphan
	}
	return wire.Record{Kind: wire.KindHoldBest, Body: h.Append(nil)}, nil
}

func holdArea(b *holdBody, places *wire.Places, h wire.HoldArea) (wire.Record, *problem) {
	if b.Count == nil || *b.Count < 1 || *b.Count > wire.MaxHoldSeats {
		return wire.Record{}, badRequest("count", countSentence("count"))
	}
	i, ok := places.Area(b.Area)
	if !ok {
		return wire.Record{}, unknownPlace("area", "area", b.Area)
	}
	h.Area, h.Count = i, uint16(*b.Count)
	return wire.Record{Kind: wire.KindHoldArea, Body: h.Append(nil)}, nil
}

func countSentence(field string) string {
	return fmt.Sprintf("The field %q must be a number from 1 to %d.", field, wire.MaxHoldSeats)
}

func unknownPlace(field, what, name string) *problem {
	p := statusProblem(wire.StatusUnknownPlace)
	p.detail = fmt.Sprintf("The event has no %s %q. GET the manifest for the names there are.", what, name)
	return p.with("field", field)
}

// expiry tells a deadline in shard time to somebody who has a clock of his own.
func (q *request) expiry(deadline wire.Millis) (in int64, at string) {
	in = max(0, int64(deadline-q.now))
	return in, time.Now().Add(time.Duration(in) * time.Millisecond).UTC().Format(timeFormat)
}

// unixMilli writes a wall clock time.
func unixMilli(at int64) string { return time.UnixMilli(at).UTC().Format(timeFormat) }

// timeFormat is RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// holdState answers GET …/holds/{id}.
type holdState struct {
	ID         string   `json:"id"`
	State      string   `json:"state"`
	Fence      decimal  `json:"fence"`
	Held       []string `json:"held"`
	Booked     []string `json:"booked"`
	Extensions int      `json:"extensions"`
	Reacquired bool     `json:"reacquired"`
	ExpiresIn  *int64   `json:"expires_in_ms,omitempty"`
	ExpiresAt  string   `json:"expires_at,omitempty"`
}

// getHold serves GET …/holds/{id}.
func (q *request) getHold() *problem {
	id, info, places, p := q.readHold()
	if p != nil {
		return p
	}
	s := holdState{
		ID:         id.String(),
		State:      info.State.String(),
		Fence:      decimal(info.Fence),
		Held:       labelsOf(places, info.Held),
		Booked:     labelsOf(places, info.Booked),
		Extensions: int(info.Extensions),
		Reacquired: info.Reacquired,
	}
	if info.Deadline != 0 {
		in, at := q.expiry(info.Deadline)
		s.ExpiresIn, s.ExpiresAt = &in, at
	}
	q.ctx.Response.Header.Set("Cache-Control", "no-store")
	return q.reply(http.StatusOK, s)
}

// readHold reads the hold of the path. The answer has seen all that was
// acknowledged before the request.
func (q *request) readHold() (id wire.ID, info wire.HoldInfo, places *wire.Places, p *problem) {
	if p = q.locate(); p != nil {
		return
	}
	if id, p = q.pathID(); p != nil {
		return
	}
	if _, places, p = q.manifest(); p != nil {
		return
	}
	ref := wire.HoldRef{Event: q.event, ID: id}
	status, body := q.do(wire.Record{Kind: wire.KindGetHold, Flags: wire.FlagConsistent, Body: ref.Append(nil)})
	if status != wire.StatusOK {
		return id, info, nil, unread(status, body, places)
	}
	if err := info.Decode(body); err != nil {
		return id, info, nil, q.broken(wire.KindGetHold, err)
	}
	return id, info, places, nil
}

// broken reports an answer that this node cannot read: a bug.
func (q *request) broken(k wire.Kind, err error) *problem {
	q.f.log.Error("reading an answer", "request", q.id, "kind", k, "error", err)
	return httpProblem(codeInternal)
}
