package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/wire"
)

// maxListed bounds the events of one page of the list.
const maxListed = 1000

// created answers POST /v1/events.
type created struct {
	Key      string       `json:"key"`
	Name     string       `json:"name"`
	Event    wire.EventID `json:"event"`
	Shard    uint32       `json:"shard"`
	Manifest string       `json:"manifest"` // its URL
	Seats    int          `json:"seats"`
	Words    int          `json:"words"`
	Sections int          `json:"sections"`
	Areas    int          `json:"areas"`
}

// createEvent serves POST /v1/events.
func (q *request) createEvent() *problem {
	if p := q.isJSON(); p != nil {
		return p
	}
	m, err := wire.ParseManifest(q.ctx.PostBody())
	if err != nil {
		return badRequest("", sentence(err.Error()))
	}
	loc, status, text := q.n.createEvent(q.budget, m)
	if status != wire.StatusOK {
		return refusal(status, []byte(text), nil).with("key", m.Key)
	}
	q.ctx.Response.Header.Set("Location", eventPath(m.Key))
	return q.reply(http.StatusCreated, created{
		Key: m.Key, Name: m.Name, Event: loc.Event, Shard: loc.Shard, Manifest: manifestPath(m.Key, sha256.Sum256(m.Encode())),
		Seats: m.Seats(), Words: m.Words(), Sections: len(m.Sections), Areas: len(m.Areas),
	})
}

func eventPath(key string) string { return eventsPath + "/" + url.PathEscape(key) }

func holdPath(key string, id wire.ID) string { return eventPath(key) + "/holds/" + id.String() }

type listedEvent struct {
	Key   string       `json:"key"`
	Event wire.EventID `json:"event"`
	Shard uint32       `json:"shard"`
}

// listed answers GET /v1/events. Next, if not empty, is the "after" of the next
// page.
type listed struct {
	Events []listedEvent `json:"events"`
	Next   string        `json:"next,omitempty"`
}

// listEvents serves GET /v1/events.
func (q *request) listEvents() *problem {
	args := q.ctx.QueryArgs()
	limit := maxListed
	if args.Has("limit") {
		n, err := strconv.Atoi(string(args.Peek("limit")))
		if err != nil || n < 1 || n > maxListed {
			return badRequest("limit", fmt.Sprintf("The parameter \"limit\" must be a number from 1 to %d.", maxListed))
		}
		limit = n
	}
	after := args.Peek("after")
	if len(after) > wire.MaxKeyLen {
		return badRequest("after", fmt.Sprintf("The parameter \"after\" is an event's key, which has at most %d bytes.", wire.MaxKeyLen))
	}
	query := wire.EventsQuery{After: after, Limit: uint16(limit)}
	status, body := q.do(wire.Record{Kind: wire.KindEvents, Body: query.Append(nil)})
	if status != wire.StatusOK {
		return unread(status, body, nil)
	}
	var list wire.EventList
	if err := list.Decode(body); err != nil {
		return q.broken(wire.KindEvents, err)
	}
	out := listed{Events: make([]listedEvent, len(list.Entries))}
	for i, e := range list.Entries {
		out.Events[i] = listedEvent{string(e.Key), e.Event, e.Shard}
	}
	if len(out.Events) == limit {
		out.Next = out.Events[limit-1].Key
	}
	return q.reply(http.StatusOK, out)
}

type countsJSON struct {
	Free    uint32 `json:"free"`
	Held    uint32 `json:"held"`
	Booked  uint32 `json:"booked"`
	Blocked uint32 `json:"blocked"`
}

func countsOf(c wire.Counts) countsJSON { return countsJSON(c) }

type namedCounts struct {
	Name string `json:"name"`
	countsJSON
}

// eventState answers GET /v1/events/{event}.
type eventState struct {
	Key        string        `json:"key"`
	Name       string        `json:"name"`
	Event      wire.EventID  `json:"event"`
	Manifest   string        `json:"manifest"` // its URL
	Version    decimal       `json:"version"`
	Now        wire.Millis   `json:"now_ms"`
	Sale       string        `json:"sale"`
	Rules      wire.Rules    `json:"rules"`
	Seats      int           `json:"seats"`
	Counts     countsJSON    `json:"counts"`
	Sections   []namedCounts `json:"sections"`
	Areas      []namedCounts `json:"areas"`
	Categories []namedCounts `json:"categories"`
	Channels   []string      `json:"channels"`
}

// getEvent serves GET /v1/events/{event}.
func (q *request) getEvent() *problem {
	if p := q.locate(); p != nil {
		return p
	}
	var info wire.EventInfo
	if p := q.read(wire.KindEvent, &info); p != nil {
		return p
	}
	m, _, p := q.manifest()
	if p != nil {
		return p
	}
	entry, p := q.entry()
	if p != nil {
		return p
	}
	if len(info.Sections) != len(m.Sections)+len(m.Areas) || len(info.Categories) != len(m.Categories) {
		return q.broken(wire.KindEvent, fmt.Errorf("counts of %d sections and %d categories do not fit the manifest", len(info.Sections), len(info.Categories)))
	}
	out := eventState{
		Key: m.Key, Name: m.Name, Event: q.event, Manifest: manifestPath(m.Key, entry.Digest),
		Version: decimal(info.Version), Now: info.Now, Sale: info.Sale.String(), Rules: info.Rules,
		Seats: m.Seats(), Counts: countsOf(info.Total),
		Sections:   make([]namedCounts, len(m.Sections)),
		Areas:      make([]namedCounts, len(m.Areas)),
		Categories: make([]namedCounts, len(m.Categories)),
		Channels:   make([]string, len(info.Channels)),
	}
	for i := range m.Sections {
		out.Sections[i] = namedCounts{m.Sections[i].Name, countsOf(info.Sections[i])}
	}
	for i := range m.Areas {
		out.Areas[i] = namedCounts{m.Areas[i].Name, countsOf(info.Sections[len(m.Sections)+i])}
	}
	for i, name := range m.Categories {
		out.Categories[i] = namedCounts{name, countsOf(info.Categories[i])}
	}
	for i, name := range info.Channels {
		out.Channels[i] = string(name)
	}
	q.ctx.Response.Header.Set("Cache-Control", "no-store")
	return q.reply(http.StatusOK, out)
}

// patchBody changes an event.
type patchBody struct {
	Rules json.RawMessage `json:"rules"`
}

// rulesAnswer answers PATCH /v1/events/{event}.
type rulesAnswer struct {
	Key   string     `json:"key"`
	Rules wire.Rules `json:"rules"`
}

// patchEvent serves PATCH /v1/events/{event}. Rules are replaced as a whole in
// the log, so two patches at once are made to wait for each other here: neither
// undoes what the other changed.
func (q *request) patchEvent() *problem {
	var b patchBody
	if p := q.body(&b); p != nil {
		return p
	}
	if len(b.Rules) == 0 || bytes.Equal(b.Rules, []byte("null")) {
		return badRequest("rules", "Send the rules to change in \"rules\".")
	}
	if p := q.locate(); p != nil {
		return p
	}
	q.f.patching.Lock()
	defer q.f.patching.Unlock()
	read := wire.Record{Kind: wire.KindEvent, Flags: wire.FlagConsistent, Body: (&wire.EventRef{Event: q.event}).Append(nil)}
	status, body := q.do(read)
	if status != wire.StatusOK {
		return unread(status, body, nil)
	}
	var info wire.EventInfo
	if err := info.Decode(body); err != nil {
		return q.broken(wire.KindEvent, err)
	}
	rules, err := wire.ParseRulesPatch(info.Rules, b.Rules)
	if err != nil {
		return badRequest("rules", sentence(err.Error()))
	}
	op := wire.SetRules{Mutation: q.n.begin(q.event), Rules: rules}
	status, body = q.do(wire.Record{Kind: wire.KindSetRules, Body: op.Append(nil)})
	if status != wire.StatusOK {
		return refusal(status, body, nil)
	}
	return q.reply(http.StatusOK, rulesAnswer{q.key, rules})
}

// deleteEvent serves DELETE /v1/events/{event}.
func (q *request) deleteEvent() *problem {
	key, p := q.param("event")
	if p != nil {
		return p
	}
	if status, text := q.n.deleteEvent(q.budget, key); status != wire.StatusOK {
		return refusal(status, []byte(text), nil)
	}
	q.ctx.SetStatusCode(http.StatusNoContent)
	return nil
}

const (
	// manifestLife is the rest of the Cache-Control of a manifest that was asked for by
	// its digest: there is never another at that URL.
	manifestLife = ", max-age=31536000, immutable"
	// keyedManifestLife is the same for the URL without it, where the manifest of
	// another event may stand after this one was deleted.
	keyedManifestLife = ", max-age=10"
)

// manifestName is what a manifest is called in its URL and its tags: half of its
// digest is as good as all of it.
func manifestName(digest [32]byte) string { return hex.EncodeToString(digest[:16]) }

// manifestPath is the URL of a manifest that never changes.
func manifestPath(key string, digest [32]byte) string {
	return eventPath(key) + "/manifest?v=" + manifestName(digest)
}

// getManifest serves GET /v1/events/{event}/manifest: JSON as POST /v1/events
// takes it, or the bytes that the digest is made of.
func (q *request) getManifest() *problem {
	if p := q.locate(); p != nil {
		return p
	}
	media, p := q.accepted(jsonMedia, packedMedia)
	if p != nil {
		return p
	}
	entry, p := q.entry()
	if p != nil {
		return p
	}
	name := manifestName(entry.Digest)
	life := keyedManifestLife
	if args := q.ctx.QueryArgs(); args.Has("v") {
		if string(args.Peek("v")) != name {
			p := httpProblem(codeNotFound)
			p.detail = "The event has another manifest: it was deleted and made anew. GET the event for the manifest's URL."
			return p
		}
		life = manifestLife
	}
	coding := q.encoding()
	h := &q.ctx.Response.Header
	etag := strconv.Quote(name + "-" + formNames[media] + "-" + coding) // strong: each form has its own
	h.Set(fasthttp.HeaderETag, etag)
	h.Add(fasthttp.HeaderVary, formsVary)
	h.Set(fasthttp.HeaderCacheControl, q.scope()+life)
	if q.has(etag) {
		q.notModified()
		return nil
	}
	k := bodyKey{wire.KindManifest, q.event, media, coding}
	b, p := q.n.bodies.get(q.budget, k, func(*body) bool { return true }, func() (*body, *problem) {
		return q.encodeManifest(media, coding)
	})
	if p != nil {
		return p
	}
	q.answerBody(media, coding, b)
	return nil
}

func (q *request) encodeManifest(media, coding string) (*body, *problem) {
	m, _, p := q.manifest()
	if p != nil {
		return nil, p
	}
	bytes := []byte(nil)
	if media == packedMedia {
		bytes = m.Encode()
	} else if bytes, p = marshal(q, m); p != nil {
		return nil, p
	}
	return &body{bytes: q.n.pack(coding, bytes)}, nil
}

// entry is the directory's entry of the event of the path.
func (q *request) entry() (*directory.Event, *problem) {
	e := q.n.table().Event(q.event)
	if e == nil {
		return nil, statusProblem(wire.StatusUnknownEvent) // deleted a moment ago
	}
	return e, nil
}

// formNames are the media types' parts of a strong tag.
var formNames = map[string]string{jsonMedia: "json", packedMedia: "bin"}
