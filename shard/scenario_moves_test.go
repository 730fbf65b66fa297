package shard

import (
	"fmt"
	"strings"

	"github.com/usher-seats/usher/wire"
)

// turn has commands go to another shard, which begins empty, and perhaps to another
// event.
func (sc *scenario) turn(c *command) string {
	if sc.others == nil {
		sc.others = make(map[string]other)
	}
	sc.others[sc.name] = other{sc.s, sc.index, sc.at, sc.log}
	sc.name = c.d.CmdArgs[0].Key
	o, known := sc.others[sc.name]
	if !known {
		o = other{s: New(sc.config)}
	}
	sc.s, sc.index, sc.log = o.s, o.index, o.log
	sc.at = wire.Millis(c.number("at", int(o.at)))
	sc.event = wire.EventID(c.number("event", int(sc.event)))
	return "ok"
}

// now is the time of the event when it is sc.at in the shard.
func (sc *scenario) now() wire.Millis {
	if e := sc.s.Event(sc.event); e != nil {
		return e.Now(sc.at)
	}
	return sc.at
}

// takeImage takes an image of the event and says what is in it, and whether the
// event came to the shard as what was imaged or frozen before.
func (sc *scenario) takeImage(c *command) string {
	var ok bool
	if sc.image, ok = sc.s.AppendImage(nil, sc.event); !ok {
		return "none"
	}
	i, err := CheckImage(sc.image)
	if err != nil {
		c.Fatal(err)
	}
	if i.Hash != sc.s.Event(sc.event).hash() || sum256(i.Manifest) != i.Digest {
		c.Errorf("%s: the image has the hash %x, its event %x", c.d.Pos, i.Hash, sc.s.Event(sc.event).hash())
	}
	origin := ""
	switch {
	case i.Origin != 0 && i.Origin == sc.frozen.Hash:
		origin = " from the one before"
	case i.Origin != 0:
		origin = " from another"
	}
	sc.frozen = wire.Frozen{Index: i.Index, Now: i.Now, Hash: i.Hash, Epoch: i.Epoch}
	return fmt.Sprintf("index=%d stamp=%d now=%d epoch=%d version=%d holds=%d bookings=%d%s%s",
		i.Index, i.Stamp, i.Now, i.Epoch, i.Version.Counter(), i.Holds, i.Bookings, countsText(i.Seats), origin)
}

// records are the operations that the command asks for: one, unless an image is
// imported in several chunks.
func (c *command) records() (list []wire.Record) {
	m := wire.Mutation{Event: wire.EventID(c.number("event", int(c.sc.event)))}
	number, attempt := uint64(c.number("move", 0)), uint64(c.number("attempt", 1))
	body := func(kind wire.Kind, a interface{ Append([]byte) []byte }) []wire.Record {
		b := a.Append(nil)
		return []wire.Record{{Kind: kind, Body: b[:len(b)-c.number("cut", 0)]}}
	}
	switch c.d.Cmd {
	case "freeze":
		return body(wire.KindFreeze, &wire.Freeze{Mutation: m, Number: number})
	case "thaw":
		return body(wire.KindThaw, &wire.Numbered{Mutation: m, Number: number})
	case "drop":
		return body(wire.KindDrop, &wire.Numbered{Mutation: m, Number: number})
	case "replay":
		r := wire.Replay{Mutation: m, Number: number, Attempt: attempt, After: uint64(c.number("after", 0))}
		r.Entries = c.entries(c.sc.others[c.word("from", "a")].log, int(r.After), c.number("to", 0))
		return body(wire.KindReplay, &r)
	case "adopt":
		f := &c.sc.frozen
		a := wire.Adopt{Mutation: m, Number: number, Attempt: attempt, Hash: f.Hash}
		a.Now, a.Epoch = wire.Millis(c.number("now", int(f.Now))), uint16(c.number("epoch", int(f.Epoch)+1))
		if c.flag("wrong") {
			a.Hash++
		}
		return body(wire.KindAdopt, &a)
	case "import":
		return c.importing(wire.Import{Mutation: m, Number: number, Attempt: attempt})
	}
	return []wire.Record{c.record()}
}

// importing is the image, or the fourths of it that the command names.
func (c *command) importing(one wire.Import) (list []wire.Record) {
	image := c.sc.image
	one.Total = uint32(c.number("total", len(image)))
	if c.flag("damaged") {
		image = append([]byte(nil), image...)
		image[len(image)/2] ^= 1
	}
	const parts = 4
	for _, fourth := range strings.Split(c.word("fourths", "0123"), "") {
		k := c.int(fourth)
		one.Offset = uint32(k * len(image) / parts)
		one.Chunk = image[one.Offset : (k+1)*len(image)/parts]
		list = append(list, wire.Record{Kind: wire.KindImport, Body: one.Append(nil)})
	}
	return list
}

// entries are those of a log after one and up to another, as a Replay has them.
func (c *command) entries(log []logged, after, to int) (b []byte) {
	for i := after; i < to; i++ {
		b = wire.AppendReplayed(b, uint64(i+1), log[i].stamp, about(c.sc.event, log[i].ops))
	}
	return b
}

// about picks the records that are about an event.
func about(id wire.EventID, ops []byte) (b []byte) {
	for len(ops) > 0 {
		r, rest, err := wire.NextRecord(ops)
		if err != nil {
			break
		}
		if of, ok := EventOf(r); ok && of == id {
			b = r.Append(b)
		}
		ops = rest
	}
	return b
}
