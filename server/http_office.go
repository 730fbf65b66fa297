package server

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"

	"github.com/usher-seats/usher/wire"
)

// maxNamedSeats bounds the labels of one box office request. Sections and rows
// name more in fewer bytes.
const maxNamedSeats = 65_536

// placesBody names seats one by one, or whole rows, sections and areas.
type placesBody struct {
	Seats   []string `json:"seats"`
	Section string   `json:"section"`
	Row     string   `json:"row"`
	Area    string   `json:"area"`
}

type officeBody struct {
	ID string `json:"id"`
	placesBody
}

type channelBody struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Key  string `json:"key"`
	placesBody
}

// officeAnswer says how many seats an operation named.
type officeAnswer struct {
	Seats int `json:"seats"`
}

type channelAnswer struct {
	Name  string `json:"name"`
	Seats int    `json:"seats"`
}

// block serves POST …/block.
func (q *request) block() *problem { return q.office("block", wire.KindBlock) }

// unblock serves POST …/unblock.
func (q *request) unblock() *problem { return q.office("unblock", wire.KindUnblock) }

func (q *request) office(call string, k wire.Kind) *problem {
	var b officeBody
	if p := q.body(&b); p != nil {
		return p
	}
	seats, places, p := q.named(&b.placesBody)
	if p != nil {
		return p
	}
	if len(seats) == 0 {
		return badRequest("seats", "Name the seats: \"seats\" with labels, \"section\" with or without \"row\", or \"area\".")
	}
	op, p := q.operationID(call, b.ID)
	if p != nil {
		return p
	}
	p = q.slices(op, k, seats, places, func(m wire.Mutation, s wire.SeatList) []byte {
		return (&wire.SeatsOp{Mutation: m, Seats: s}).Append(nil)
	})
	if p != nil {
		return p
	}
	return q.reply(http.StatusOK, officeAnswer{len(seats)})
}

// setChannel serves POST …/channels.
func (q *request) setChannel() *problem {
	var b channelBody
	if p := q.body(&b); p != nil {
		return p
	}
	switch {
	case len(b.Name) > wire.MaxKeyLen:
		return badRequest("name", fmt.Sprintf("The field \"name\" may have %d bytes.", wire.MaxKeyLen))
	case b.Name != "" && b.Key == "":
		return badRequest("key", "A channel needs a \"key\": buyers who send it in \"channel\" get its seats.")
	case b.Name == "" && b.Key != "":
		return badRequest("name", "Without a \"name\" the seats go back to everybody, which needs no \"key\".")
	}
	seats, places, p := q.named(&b.placesBody)
	if p != nil {
		return p
	}
	if b.Name == "" && len(seats) == 0 {
		return badRequest("name", "Send the channel's \"name\" and \"key\"; without a name, the seats that go back to everybody.")
	}
	op, p := q.operationID("channel", b.ID)
	if p != nil {
		return p
	}
	key := wire.Channel(b.Key)
	p = q.slices(op, wire.KindSetChannel, seats, places, func(m wire.Mutation, s wire.SeatList) []byte {
		return (&wire.SetChannel{Mutation: m, Name: []byte(b.Name), Key: key, Seats: s}).Append(nil)
	})
	if p != nil {
		return p
	}
	return q.reply(http.StatusOK, channelAnswer{b.Name, len(seats)})
}

// named finds the event of the path and the seats a body names.
func (q *request) named(b *placesBody) ([]wire.SeatID, *wire.Places, *problem) {
	if p := q.locate(); p != nil {
		return nil, nil, p
	}
	m, places, p := q.manifest()
	if p != nil {
		return nil, nil, p
	}
	ways := 0
	for _, given := range []bool{b.Seats != nil, b.Section != "", b.Area != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return nil, nil, badRequest("seats", "Name the seats in one way: \"seats\", or \"section\" with or without \"row\", or \"area\".")
	case b.Row != "" && b.Section == "":
		return nil, nil, badRequest("row", "A \"row\" needs its \"section\".")
	case len(b.Seats) > maxNamedSeats:
		return nil, nil, badRequest("seats", fmt.Sprintf("The field \"seats\" may name %d seats; for more, name sections or rows.", maxNamedSeats))
	}
	switch {
	case b.Section != "":
		seats, p := seatsInSection(m, places, b.Section, b.Row)
		return seats, places, p
	case b.Area != "":
		i, ok := places.Area(b.Area)
		if !ok {
			return nil, nil, unknownPlace("area", "area", b.Area)
		}
		seats := seatsOf(m, nil, func(s stretch) bool { return s.section < 0 && s.row == int(i) })
		return seats, places, nil
	}
	seats, p := seatsNamed(places, "seats", b.Seats)
	return seats, places, p
}

// seatsInSection are the seats of a section, or of one of its rows.
func seatsInSection(m *wire.Manifest, places *wire.Places, section, row string) ([]wire.SeatID, *problem) {
	i, ok := places.Section(section)
	if !ok {
		return nil, unknownPlace("section", "section", section)
	}
	seats := seatsOf(m, nil, func(s stretch) bool {
		return s.section == int(i) && (row == "" || m.Sections[i].Rows[s.row].Name == row)
	})
	if len(seats) == 0 {
		return nil, unknownPlace("row", "row", row)
	}
	return seats, nil
}

// slices sends an operation on many seats in slices of MaxOpSeats. Each slice is
// all or nothing and has an id that follows from the request's, so a repeat
// finds what was done. The first that fails ends it.
func (q *request) slices(op operationID, k wire.Kind, seats []wire.SeatID, places *wire.Places, body func(wire.Mutation, wire.SeatList) []byte) *problem {
	done := 0
	for slice := 0; ; slice++ {
		part := seats[done:min(done+wire.MaxOpSeats, len(seats))]
		r := wire.Record{Kind: k, Flags: op.flags, Body: body(q.mutation(sliceID(op.id, slice)), wire.MakeSeatList(part...))}
		status, answer := q.do(r)
		if status != wire.StatusOK {
			return refusal(status, answer, places).with("id", op.id.String()).with("applied", done)
		}
		if done += len(part); done == len(seats) {
			return nil
		}
	}
}

// sliceID is the id of a request's n-th operation: the first has the request's
// own. Those of a timed id have its time.
func sliceID(id wire.ID, n int) wire.ID {
	if n == 0 {
		return id
	}
	at, timed := id.Time()
	if !timed {
		return wire.KeyID(fmt.Sprintf("%s/%d", id, n))
	}
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(id[:], uint32(n)))
	return wire.NewID(at, [10]byte(sum[:]))
}
