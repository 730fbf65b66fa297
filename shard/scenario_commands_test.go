package shard

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/usher-seats/usher/wire"
)

// A command is one line of a transcript.
type command struct {
	*testing.T
	d  *datadriven.TestData
	sc *scenario
}

func (c *command) word(key, otherwise string) string {
	if arg, ok := c.d.Arg(key); ok {
		return arg.SingleVal(c.T)
	}
	return otherwise
}

func (c *command) number(key string, otherwise int) int {
	if !c.d.HasArg(key) {
		return otherwise
	}
	n, err := strconv.Atoi(c.word(key, ""))
	if err != nil {
		c.Fatalf("%s: %s: %v", c.d.Pos, key, err)
	}
	return n
}

func (c *command) flag(key string) bool { return c.d.HasArg(key) }

// seats reads a list such as (1,2,1:5), in which 4-7 stands for four seats.
func (c *command) seats(key string) wire.SeatList {
	arg, _ := c.d.Arg(key)
	var list wire.SeatList
	for _, val := range arg.Vals {
		if val == "" {
			continue // of an empty list
		}
		from, to, several := strings.Cut(val, "-")
		if !several {
			to = from
		}
		for s := c.seat(from); s <= c.seat(to); s++ {
			list = list.Append(s)
		}
	}
	return list
}

func (c *command) seat(text string) wire.SeatID {
	word, bit, ok := strings.Cut(text, ":")
	if !ok {
		word, bit = "0", text
	}
	w, err1 := strconv.Atoi(word)
	b, err2 := strconv.Atoi(bit)
	if err1 != nil || err2 != nil {
		c.Fatalf("%s: %q is no seat", c.d.Pos, text)
	}
	return wire.SeatID(w*wordBits + b)
}

// id gives the id with a name. A number is a timed id, of the event's time when it
// first came or of time=; a word is a hashed key; none is an id that is not valid.
func (c *command) id(key string) wire.ID {
	name := c.word(key, "")
	if name == "none" {
		return wire.ID{}
	}
	if id, ok := c.sc.ids[name]; ok {
		return id
	}
	id := wire.KeyID(name)
	if n, err := strconv.Atoi(name); err == nil {
		id = numberedID(wire.Millis(c.number("time", int(c.sc.now()))), n)
	}
	c.sc.ids[name] = id
	c.sc.names = append(c.sc.names, name)
	return id
}

// newID is that of a command which did not name one.
func (c *command) newID() wire.ID {
	if c.flag("id") {
		return c.id("id")
	}
	return numberedID(c.sc.now(), 1_000_000+int(c.sc.index)*1000+len(c.sc.what))
}

func (c *command) mutation() wire.Mutation {
	return wire.Mutation{
		Event:    wire.EventID(c.number("event", int(c.sc.event))),
		ID:       c.newID(),
		Deadline: wire.Millis(c.number("deadline", 0)),
	}
}

// fence is the one given, or that of the hold with the command's id.
func (c *command) fence() wire.Fence {
	if c.flag("fence") {
		return wire.MakeVersion(firstEpoch, uint64(c.number("fence", 0)))
	}
	id := c.id("id")
	if e := c.sc.s.Event(c.sc.event); e != nil {
		if _, h := e.holdByID(&id); h != nil {
			return h.fence
		}
	}
	return 0
}

func (c *command) holdFlags() (f wire.HoldFlags) {
	for name, bit := range map[string]wire.HoldFlags{"alternative": wire.HoldAlternative, "split": wire.HoldSplit, "no_orphan": wire.HoldNoOrphan} {
		if c.flag(name) {
			f |= bit
		}
	}
	return f
}

// record is the operation that the command asks for.
func (c *command) record() wire.Record {
	buyer, channel := wire.BuyerID(c.number("buyer", 0)), wire.ChannelKey(c.number("key", 0))
	ttl := uint32(c.number("ttl", 0))
	pass := wire.PassID(c.number("pass", 0))
	m := c.mutation
	body := func(kind wire.Kind, a interface{ Append([]byte) []byte }) wire.Record {
		b := a.Append(nil)
		return wire.Record{Kind: kind, Body: b[:len(b)-c.number("cut", 0)]}
	}
	switch c.d.Cmd {
	case "hold":
		return body(wire.KindHold, &wire.Hold{Mutation: m(), Buyer: buyer, Channel: channel, Pass: pass, TTL: ttl, Flags: c.holdFlags(), Seats: c.seats("seats")})
	case "best":
		return body(wire.KindHoldBest, &wire.HoldBest{
			Mutation: m(), Buyer: buyer, Channel: channel, Pass: pass, TTL: ttl, Flags: c.holdFlags(),
			Access: wire.Access(c.number("access", 0)), Count: uint16(c.number("count", 1)),
			Section: uint16(c.number("section", int(wire.Any))), Categories: uint64(c.number("categories", 0)),
		})
	case "area":
		return body(wire.KindHoldArea, &wire.HoldArea{Mutation: m(), Buyer: buyer, Channel: channel, Pass: pass, TTL: ttl, Area: uint16(c.number("area", 0)), Count: uint16(c.number("count", 1))})
	case "extend":
		return body(wire.KindExtend, &wire.Extend{Mutation: m(), Fence: c.fence(), TTL: ttl, Nth: uint8(c.number("nth", 0))})
	case "pay":
		return body(wire.KindPay, &wire.Pay{Mutation: m(), Fence: c.fence()})
	case "confirm":
		return body(wire.KindConfirm, &wire.OnHold{Mutation: m(), Fence: c.fence(), Seats: c.seats("seats")})
	case "release":
		return body(wire.KindRelease, &wire.OnHold{Mutation: m(), Fence: c.fence(), Seats: c.seats("seats")})
	case "cancel":
		return body(wire.KindCancel, &wire.Cancel{Mutation: m(), Booking: c.id("booking"), Seats: c.seats("seats")})
	case "exchange":
		return body(wire.KindExchange, &wire.Exchange{Mutation: m(), Booking: c.id("booking"), Channel: channel, Give: c.seats("give"), Take: c.seats("take")})
	}
	if r, ok := c.roomRecord(m, body); ok {
		return r
	}
	return c.officeRecord(m, body)
}

// officeRecord is an operation of the box office.
func (c *command) officeRecord(m func() wire.Mutation, body func(wire.Kind, interface{ Append([]byte) []byte }) wire.Record) wire.Record {
	switch c.d.Cmd {
	case "block":
		return body(wire.KindBlock, &wire.SeatsOp{Mutation: m(), Seats: c.seats("seats")})
	case "unblock":
		return body(wire.KindUnblock, &wire.SeatsOp{Mutation: m(), Seats: c.seats("seats")})
	case "channel":
		return body(wire.KindSetChannel, &wire.SetChannel{Mutation: m(), Name: []byte(c.word("name", "")), Key: wire.ChannelKey(c.number("key", 0)), Seats: c.seats("seats")})
	case "rules":
		c.setRules(&c.sc.rules)
		return body(wire.KindSetRules, &wire.SetRules{Mutation: m(), Rules: c.sc.rules})
	case "wall":
		return body(wire.KindWallClock, &wire.WallClock{Mutation: m(), Wall: int64(c.number("wall", 0))})
	case "delete":
		return body(wire.KindDelete, &wire.EventOp{Mutation: m()})
	case "create":
		chunk := make([]byte, c.number("size", 0))
		return body(wire.KindCreate, &wire.Create{Mutation: m(), Offset: uint32(c.number("offset", 0)), Total: uint32(c.number("total", 0)), Chunk: chunk})
	case "kind":
		return body(wire.Kind(c.number("kind", 0)), &wire.EventOp{Mutation: m()})
	}
	c.Fatalf("%s: unknown command %s", c.d.Pos, c.d.Cmd)
	return wire.Record{}
}

// setRules changes the rules that the command names.
func (c *command) setRules(r *wire.Rules) {
	r.HoldTTL = uint32(c.number("hold_ttl", int(r.HoldTTL)))
	r.MaxTTL = uint32(c.number("max_ttl", int(r.MaxTTL)))
	r.PayCap = uint32(c.number("pay_cap", int(r.PayCap)))
	r.Extensions = uint8(c.number("extensions", int(r.Extensions)))
	r.SeatsPerHold = uint8(c.number("per_hold", int(r.SeatsPerHold)))
	r.SeatsPerBuyer = uint16(c.number("per_buyer", int(r.SeatsPerBuyer)))
	r.RefuseOrphans = c.number("refuse_orphans", map[bool]int{true: 1}[r.RefuseOrphans]) != 0
	r.OpensAt = int64(c.number("opens", int(r.OpensAt)))
	r.ClosesAt = int64(c.number("closes", int(r.ClosesAt)))
}

// manifest has a section for each of seats=, with a row of so many seats, or
// several as in seats=(4x2,10), and an area for each of areas=.
func (c *command) manifest() *wire.Manifest {
	m := &wire.Manifest{Key: "event", Rules: wire.DefaultRules()}
	c.setRules(&m.Rules)
	for i := range c.number("categories", 1) {
		m.Categories = append(m.Categories, fmt.Sprint("category", i))
	}
	rows, _ := c.d.Arg("seats")
	for i, val := range rows.Vals {
		n, times, several := strings.Cut(val, "x")
		if !several {
			times = "1"
		}
		s := wire.Section{Name: fmt.Sprint("section", i)}
		for r := range c.int(times) {
			s.Rows = append(s.Rows, c.row(r, c.int(n), min(i, len(m.Categories)-1)))
		}
		m.Sections = append(m.Sections, s)
	}
	areas, _ := c.d.Arg("areas")
	for i, val := range areas.Vals {
		m.Areas = append(m.Areas, wire.Area{Name: fmt.Sprint("area", i), Capacity: uint32(c.int(val))})
	}
	return m
}

func (c *command) int(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		c.Fatalf("%s: %v", c.d.Pos, err)
	}
	return n
}

func (c *command) row(name, seats, category int) wire.Row {
	r := wire.Row{Name: fmt.Sprint("row", name), Focal: uint16(seats - 1)}
	for i := range seats {
		r.Seats = append(r.Seats, wire.Seat{Label: fmt.Sprint(i + 1), Category: uint16(category)})
	}
	return r
}
