package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"time"

	"github.com/usher-seats/usher/server/live"
	"github.com/usher-seats/usher/wire"
)

const (
	// maxAhead is how far a client may be ahead of this node's replica: it was told
	// so by another one. Beyond, it made its version up.
	maxAhead = 1 << 20
	// afarPause is how long a node without a replica of the event's shard leaves the
	// leader alone.
	afarPause = 250 * time.Millisecond

	seatStates = 4
)

// errNoView says that nobody can be asked for the event now.
var errNoView = errors.New("no replica of the event's shard can be reached")

// A seatSource tells a topic of one event's seats. It belongs to the topic's
// goroutine.
type seatSource struct {
	n     *Node
	event wire.EventID
	key   string

	asked time.Time            // when the leader was last asked, if there is no replica here
	last  [][seatStates]uint64 // by word: the seats that changed, by their last state
	buf   []byte
}

func (n *Node) seatSource(event wire.EventID, key string) live.Source {
	return &seatSource{n: n, event: event, key: key}
}

// liveMapJSON is the data of the event "map": the planes as GET …/seats has them
// packed, in base64.
type liveMapJSON struct {
	Event   string  `json:"event"`
	Version decimal `json:"version"`
	Words   int     `json:"words"`
	Planes  string  `json:"planes"`
}

// Full is the whole map.
func (s *seatSource) Full(ctx context.Context) (live.Update, error) { return s.whole(ctx, false) }

func (s *seatSource) whole(ctx context.Context, resync bool) (live.Update, error) {
	var m wire.SeatMap
	over, err := s.query(ctx, wire.KindMap, (&wire.EventRef{Event: s.event}).Append(nil), &m)
	switch {
	case err != nil:
		return live.Update{}, err
	case over:
		return deleted(), nil
	}
	data, err := json.Marshal(liveMapJSON{s.key, decimal(m.Version), len(m.Planes) / 16, base64.StdEncoding.EncodeToString(m.Planes)})
	if err != nil {
		return live.Update{}, err
	}
	var parts []live.Part
	if resync {
		parts = append(parts, live.Part{Event: "resync", Data: []byte("{}")})
	}
	parts = append(parts, live.Part{Event: "map", ID: decimalText(m.Version), Data: data})
	return live.Update{Position: uint64(m.Version), Frame: live.NewFrame(parts...), Resync: resync}, nil
}

// deleted is the update after which nothing follows, of an event that is no more.
func deleted() live.Update {
	frame := live.NewFrame(live.Part{Event: "deleted", Data: []byte("{}")})
	return live.Update{Position: 1<<64 - 1, Frame: frame, Over: true}
}

// Since is what changed after a version, merged: each seat once, with its last
// state. If the event does not remember, or has begun a new epoch elsewhere, it is
// the whole map.
func (s *seatSource) Since(ctx context.Context, pos uint64) (live.Update, error) {
	since := wire.Version(pos)
	same := live.Update{Position: pos}
	switch here, version := s.here(); {
	case here && version == since:
		return same, nil
	case !here && s.n.table().Event(s.event) != nil && time.Since(s.asked) < afarPause:
		return same, nil
	case !here:
		s.asked = time.Now()
	}
	var c wire.Changes
	over, err := s.query(ctx, wire.KindChanges, (&wire.ChangesQuery{Event: s.event, Since: since}).Append(nil), &c)
	switch {
	case err != nil:
		return live.Update{}, err
	case over:
		return deleted(), nil
	case c.Resync && aheadOf(since, c.Version):
		return same, nil // this replica is behind; what is missing comes to it
	case c.Resync:
		return s.whole(ctx, true)
	case c.Version == since:
		return same, nil
	}
	data := s.delta(&c)
	return live.Update{
		Position: uint64(c.Version),
		Frame:    live.NewFrame(live.Part{Event: "delta", ID: decimalText(c.Version), Data: data}),
	}, nil
}

// aheadOf reports whether a version is one that will be.
func aheadOf(since, now wire.Version) bool {
	return since.Epoch() == now.Epoch() && since.Counter() > now.Counter() && since.Counter()-now.Counter() < maxAhead
}

// here is the event's version in the node's own replica, if it has one that knows
// the event.
func (s *seatSource) here() (bool, wire.Version) {
	e := s.n.table().Event(s.event)
	if e == nil {
		return false, 0
	}
	g := s.n.local(e.Shard)
	if g == nil {
		return false, 0
	}
	ev := g.shard.Load().Event(s.event)
	if ev == nil {
		return false, 0
	}
	version := ev.Version()
	return ev.Live(), version
}

// query reads from this node's replica or, if it has none, from the leader's. over
// says that the event was deleted.
func (s *seatSource) query(ctx context.Context, k wire.Kind, body []byte, out interface{ Decode([]byte) error }) (over bool, err error) {
	t := s.n.table()
	e := t.Event(s.event)
	switch {
	case e == nil && s.n.behind(t, s.event):
		return false, errNoView
	case e == nil:
		return true, nil
	}
	a := s.n.query(ctx, e.Shard, wire.Record{Kind: k, Body: body})
	if a.status != wire.StatusOK {
		return false, fmt.Errorf("%w: %v", errNoView, a.status)
	}
	return false, out.Decode(a.body)
}

// delta is the JSON of merged changes: {"version":"…","free":[…],"held":[…],
// "booked":[…],"blocked":[…]}, each list in ascending order, without those that are
// empty. Cost: O(changes + words of the map).
func (s *seatSource) delta(c *wire.Changes) []byte {
	for i := range c.Len() {
		s.note(c.At(i))
	}
	b := append(s.buf[:0], `{"version":"`...)
	b = append(strconv.AppendUint(b, uint64(c.Version), 10), '"')
	for state := range wire.SeatState(seatStates) {
		b = s.appendSeats(b, state)
	}
	clear(s.last)
	s.buf = append(b, '}')
	return s.buf
}

// note takes the latest change of a seat.
func (s *seatSource) note(c wire.Change) {
	word, bit := int(c.Seat/64), uint64(1)<<(c.Seat%64)
	for len(s.last) <= word {
		s.last = append(s.last, [seatStates]uint64{})
	}
	for state := range s.last[word] {
		s.last[word][state] &^= bit
	}
	s.last[word][c.To] |= bit
}

func (s *seatSource) appendSeats(b []byte, state wire.SeatState) []byte {
	empty := true
	for word := range s.last {
		for set := s.last[word][state]; set != 0; set &= set - 1 {
			if empty {
				b = append(append(append(b, `,"`...), state.String()...), `":[`...)
				empty = false
			} else {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, int64(word*64+bits.TrailingZeros64(set)), 10)
		}
	}
	if !empty {
		b = append(b, ']')
	}
	return b
}

func decimalText(v wire.Version) string { return strconv.FormatUint(uint64(v), 10) }
