package server

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/wire"
)

const (
	headerVersion = "Usher-Version"
	headerAge     = "Usher-Age-Ms"
)

// stateChars has the character that stands for a seat's state in JSON.
const stateChars = ".hbx"

// seatMap is the JSON form of a map. A row's seats are one character each.
type seatMap struct {
	Event    string       `json:"event"`
	Version  decimal      `json:"version"`
	Sections []mapSection `json:"sections"`
	Areas    []mapArea    `json:"areas"`
}

type mapSection struct {
	Name string   `json:"name"`
	Rows []mapRow `json:"rows"`
}

type mapRow struct {
	Name  string `json:"name"`
	Seats string `json:"seats"`
}

type mapArea struct {
	Name string `json:"name"`
	countsJSON
}

// seats serves GET …/seats: the map in the form that the client wants, which is
// made once for all who want it. Its age and version are in headers, so that the
// body is the same for as long as the version is.
func (q *request) seats() *problem {
	if p := q.locate(); p != nil {
		return p
	}
	media, p := q.accepted(jsonMedia, packedMedia)
	if p != nil {
		return p
	}
	consistent, p := q.flag("consistent")
	if p != nil {
		return p
	}
	planes, p := q.n.maps.planes(q.budget, q.event, consistent)
	if p != nil {
		return p
	}
	mark := planes.of
	if q.has(mark.tag) {
		q.describeMap(mark, consistent)
		q.notModified()
		return nil
	}
	coding := q.encoding()
	b, p := q.n.maps.form(q.budget, q.event, planes, media, coding, func() ([]byte, *problem) {
		if media == packedMedia {
			return planes.bytes, nil
		}
		m, _, p := q.manifest()
		if p != nil {
			return nil, p
		}
		return marshal(q, mapJSON(q.key, m, &wire.SeatMap{Version: mark.version, Planes: planes.bytes}))
	})
	if p != nil {
		return p
	}
	if b.of.version != mark.version {
		mark = b.of // somebody else was a little later
	}
	q.describeMap(mark, consistent)
	q.answerBody(media, coding, b)
	return nil
}

// describeMap says in headers which map it is, how old, and how long a cache may
// show it: no older than its age, max-age and stale-while-revalidate together. Age
// is not sent: caches would take it off max-age, and of a second nothing is left.
func (q *request) describeMap(m *mapMark, consistent bool) {
	age := (q.n.maps.age(m) + time.Millisecond - 1).Truncate(time.Millisecond)
	h := &q.ctx.Response.Header
	h.Set(headerVersion, m.name)
	h.Set(headerAge, strconv.FormatInt(age.Milliseconds(), 10))
	h.Set(fasthttp.HeaderETag, m.tag)
	h.Add(fasthttp.HeaderVary, formsVary)
	switch {
	case consistent:
		h.Set(fasthttp.HeaderCacheControl, "no-cache") // whoever asks for the latest wants no other
	case age > mapFresh:
		h.Set(fasthttp.HeaderCacheControl, q.scope()+", no-cache")
	default:
		h.Set(fasthttp.HeaderCacheControl, q.scope()+mapLife)
	}
}

// mapJSON puts the states of a map under the names of its manifest.
func mapJSON(event string, m *wire.Manifest, sm *wire.SeatMap) seatMap {
	out := seatMap{
		Event:    event,
		Version:  decimal(sm.Version),
		Sections: make([]mapSection, len(m.Sections)),
		Areas:    make([]mapArea, len(m.Areas)),
	}
	for i := range m.Sections {
		out.Sections[i] = mapSection{m.Sections[i].Name, make([]mapRow, len(m.Sections[i].Rows))}
	}
	chars := make([]byte, 0, wire.MaxRowSeats)
	for s := range stretches(m) {
		if s.section < 0 {
			out.Areas[s.row] = mapArea{m.Areas[s.row].Name, countsOf(countStates(sm, s))}
			continue
		}
		chars = chars[:0]
		for i := range s.places {
			chars = append(chars, stateChars[sm.State(s.first+wire.SeatID(i))])
		}
		out.Sections[s.section].Rows[s.row] = mapRow{m.Sections[s.section].Rows[s.row].Name, string(chars)}
	}
	return out
}

func countStates(sm *wire.SeatMap, s stretch) (c wire.Counts) {
	for i := range s.places {
		c.Add(sm.State(s.first+wire.SeatID(i)), 1)
	}
	return c
}

// read sends a read of the event and decodes its answer. With consistent=1 it
// has seen all that was acknowledged before.
func (q *request) read(k wire.Kind, v interface{ Decode([]byte) error }) *problem {
	consistent, p := q.flag("consistent")
	if p != nil {
		return p
	}
	r := wire.Record{Kind: k, Body: (&wire.EventRef{Event: q.event}).Append(nil)}
	if consistent {
		r.Flags |= wire.FlagConsistent
	}
	status, body := q.do(r)
	if status != wire.StatusOK {
		return unread(status, body, nil)
	}
	if err := v.Decode(body); err != nil {
		return q.broken(k, err)
	}
	return nil
}

// manifest is the manifest of the event of the path.
func (q *request) manifest() (*wire.Manifest, *wire.Places, *problem) {
	m, places, status := q.n.manifest(q.budget, q.event)
	if status != wire.StatusOK {
		return nil, nil, unread(status, nil, nil)
	}
	return m, places, nil
}
