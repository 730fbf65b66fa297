package shard

import (
	"fmt"
	"strings"

	"github.com/usher-seats/usher/wire"
)

// roomRecord is an operation on a waiting room. Rooms take what they do not name
// from a room of 2 visitors inside, 10 calls a second, a grace of 1000 ms, passes
// of 5000 ms with 2 seats.
func (c *command) roomRecord(m func() wire.Mutation, body func(wire.Kind, interface{ Append([]byte) []byte }) wire.Record) (wire.Record, bool) {
	room := wire.RoomID(0)
	if e := c.sc.s.Event(c.sc.event); e != nil && e.room != nil && !c.flag("strange") {
		room = e.room.id
	}
	number, pass := uint64(c.number("number", 0)), wire.PassID(c.number("pass", 0))
	switch c.d.Cmd {
	case "room":
		o := wire.SetRoom{Mutation: m(), Config: wire.RoomConfig{Limit: 2, Rate: 10_000, Grace: 1000, PassTTL: 5000, SeatsPerPass: 2}}
		if !c.flag("seedless") {
			o.Seed[0] = byte(1 + c.number("seed", 0))
		}
		o.Config.Limit = uint32(c.number("limit", int(o.Config.Limit)))
		o.Config.Rate = uint32(c.number("rate", int(o.Config.Rate)))
		o.Config.Grace = uint32(c.number("grace", int(o.Config.Grace)))
		o.Config.PassTTL = uint32(c.number("ttl", int(o.Config.PassTTL)))
		o.Config.SeatsPerPass = uint8(c.number("per_pass", int(o.Config.SeatsPerPass)))
		o.Config.OpensAt = int64(c.number("opens", 0))
		o.Config.EntriesUntil = int64(c.number("until", 0))
		o.Config.Source = []byte(c.word("source", ""))
		o.Config.OnePerVisitor = c.flag("one_each")
		return body(wire.KindSetRoom, &o), true
	case "direct":
		o := wire.DirectRoom{Mutation: m(), Action: wire.RoomAction(c.number("action", 0)), Entropy: []byte(c.word("entropy", ""))}
		for a := wire.RoomPause; a <= wire.RoomDraw; a++ {
			if c.flag(a.String()) {
				o.Action = a
			}
		}
		return body(wire.KindDirectRoom, &o), true
	case "issue":
		o := wire.Issue{Mutation: m(), Count: uint16(c.number("count", 1))}
		arg, _ := c.d.Arg("visitors")
		for _, name := range arg.Vals {
			print := wire.Visitor(name)
			o.Visitors = append(o.Visitors, print[:]...)
		}
		if c.flag("visitors") && !c.flag("count") {
			o.Count = uint16(len(arg.Vals))
		}
		return body(wire.KindIssue, &o), true
	case "redeem":
		return body(wire.KindRedeem, &wire.Redeem{Mutation: m(), Room: room, Number: number, Pass: pass}), true
	case "leave":
		return body(wire.KindLeave, &wire.Leave{Mutation: m(), Room: room, Number: number, Pass: pass}), true
	}
	return wire.Record{}, false
}

// place asks where a number is.
func (sc *scenario) place(c *command) string {
	ref := wire.PlaceRef{Event: sc.event, Number: uint64(c.number("number", 0))}
	if e := sc.s.Event(sc.event); e != nil && e.room != nil {
		ref.Room = e.room.id
	}
	var text string
	sc.s.Read(wire.Record{Kind: wire.KindFindPlace, Body: ref.Append(nil)}, func(s wire.Status, body []byte) {
		text = answerText(wire.KindFindPlace, s, body)
	})
	return text
}

func placeText(p *wire.QueuePlace) string {
	s := fmt.Sprintf(" %v number=%d", p.State, p.Number)
	if p.Entry {
		s = fmt.Sprintf(" %v entry=%d", p.State, p.Number)
	}
	if p.State == wire.PlaceWaiting {
		s += fmt.Sprintf(" ahead=%d", p.Ahead)
	}
	if p.Deadline != 0 {
		s += fmt.Sprintf(" until=%d", p.Deadline)
	}
	return s
}

func issuedText(i *wire.Issued) string {
	var list []string
	for k := range int(i.Count) {
		kind := "number"
		if i.At(k) < i.Entries {
			kind = "entry"
		}
		list = append(list, fmt.Sprintf("%s %d", kind, i.At(k)))
	}
	return fmt.Sprintf(" (%s) now=%d", strings.Join(list, ","), i.Now)
}

func queueText(q *wire.QueueInfo) string {
	s := fmt.Sprintf(" %v entries=%d issued=%d serving=%d lapsed_to=%d redeemed=%d lapsed=%d booked=%d inside=%d outstanding=%d free=%d held=%d",
		q.State, q.Entries, q.Issued, q.Serving, q.LapsedTo, q.Redeemed, q.Lapsed, q.Booked, q.Inside, q.Outstanding, q.Free, q.Held)
	if q.EntriesOpen {
		s += " entries_open"
	}
	if q.Drawn {
		s += fmt.Sprintf(" drawn seed=%x… entropy=%q", q.Seed[:2], q.Entropy)
	}
	return s
}
