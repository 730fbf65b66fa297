package server

import (
	"encoding/binary"
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// way is how a kind of request travels through a node.
type way uint8

const (
	wayUnknown   way = iota
	wayPing          // answered by the reader
	wayBatch         // its records travel on their own
	wayTable         // locate, list, nodes: answered from the routing table
	wayQuery         // map, counts, changes, manifest: answered from the shard's memory
	wayHold          // looked at early, then the shard's log
	wayShard         // the shard's log
	wayRead          // placed after an entry of the shard's log
	wayDirectory     // the directory's log
	wayVisit         // of a visitor with a ticket: read here, then the shard's log
)

// A kindRule says how a kind travels and who may ask for it.
type kindRule struct {
	way  way
	role wire.Role
	// room is what an unanswered request counts towards the connection's
	// MaxInFlight when its answer comes from an applier: about its answer's size
	// in units of 1 KiB.
	room int32
	// record says that the kind may be part of a batch frame.
	record bool
	// grows says that the kind takes disk space or memory for longer than a
	// moment: it is refused when the disk is nearly full.
	grows bool
	// inner says that only nodes ask it, of each other: to a client it is unknown.
	inner bool
}

// kindRules is indexed by kind. Kinds that only leaders propose are not in it,
// so to a client they are unknown, as are those that only nodes ask.
var kindRules = [256]kindRule{
	wire.KindPing:  {way: wayPing, role: wire.RoleRead},
	wire.KindBatch: {way: wayBatch, role: wire.RoleRead},

	wire.KindLocate:   {way: wayTable, role: wire.RoleRead, room: 1, record: true},
	wire.KindEvents:   {way: wayTable, role: wire.RoleRead, room: 64},
	wire.KindNodes:    {way: wayTable, role: wire.RoleRead, room: 16},
	wire.KindEvent:    {way: wayQuery, role: wire.RoleRead, room: 64},
	wire.KindManifest: {way: wayQuery, role: wire.RoleRead, room: 1024},
	wire.KindMap:      {way: wayQuery, role: wire.RoleRead, room: 64},
	wire.KindChanges:  {way: wayQuery, role: wire.RoleRead, room: 64},
	wire.KindQueue:    {way: wayQuery, role: wire.RoleRead, room: 4},
	wire.KindGetHold:  {way: wayRead, role: wire.RoleRead, room: 1, record: true},

	wire.KindHold:     {way: wayHold, role: wire.RoleSell, room: 1, record: true, grows: true},
	wire.KindHoldBest: {way: wayHold, role: wire.RoleSell, room: 1, record: true, grows: true},
	wire.KindHoldArea: {way: wayHold, role: wire.RoleSell, room: 1, record: true, grows: true},
	wire.KindExtend:   {way: wayShard, role: wire.RoleSell, room: 1, record: true},
	wire.KindPay:      {way: wayShard, role: wire.RoleSell, room: 1, record: true},
	wire.KindConfirm:  {way: wayShard, role: wire.RoleSell, room: 1, record: true},
	wire.KindRelease:  {way: wayShard, role: wire.RoleSell, room: 1, record: true},
	wire.KindCancel:   {way: wayShard, role: wire.RoleSell, room: 1, record: true},
	wire.KindExchange: {way: wayShard, role: wire.RoleSell, room: 1, record: true},

	wire.KindBlock:      {way: wayShard, role: wire.RoleOperate, room: 1, record: true},
	wire.KindUnblock:    {way: wayShard, role: wire.RoleOperate, room: 1, record: true},
	wire.KindSetChannel: {way: wayShard, role: wire.RoleOperate, room: 1, record: true},
	wire.KindSetRules:   {way: wayShard, role: wire.RoleOperate, room: 1, record: true},
	wire.KindCreate:     {way: wayShard, role: wire.RoleOperate, room: 1, record: true, grows: true},
	wire.KindDelete:     {way: wayShard, role: wire.RoleOperate, room: 1, record: true},
	wire.KindSetRoom:    {way: wayShard, role: wire.RoleOperate, room: 1, record: true, grows: true},
	wire.KindDirectRoom: {way: wayShard, role: wire.RoleOperate, room: 1, record: true},

	wire.KindIssue:     {way: wayShard, inner: true},
	wire.KindRedeem:    {way: wayShard, inner: true},
	wire.KindLeave:     {way: wayShard, inner: true},
	wire.KindFindPlace: {way: wayRead, inner: true},

	wire.KindJoin:  {way: wayVisit, role: wire.RoleSell, room: 1, grows: true},
	wire.KindAdmit: {way: wayVisit, role: wire.RoleSell, room: 1, grows: true},
	wire.KindQuit:  {way: wayVisit, role: wire.RoleSell, room: 1},
	wire.KindPlace: {way: wayVisit, role: wire.RoleRead, room: 1},

	wire.KindAssign:   {way: wayDirectory, role: wire.RoleOperate, room: 1, record: true, grows: true},
	wire.KindUnassign: {way: wayDirectory, role: wire.RoleOperate, room: 1, record: true},
	wire.KindAddKey:   {way: wayDirectory, role: wire.RoleOperate, room: 1, record: true},
	wire.KindDropKey:  {way: wayDirectory, role: wire.RoleOperate, room: 1, record: true},
}

// eventOf reads the event that a body begins with; every kind that travels to a
// shard begins with it.
func eventOf(body []byte) (wire.EventID, bool) {
	if len(body) < 8 {
		return 0, false
	}
	return wire.EventID(binary.LittleEndian.Uint64(body)), true
}

// checkBody refuses what its kind cannot be read from, and ids that are none,
// before it takes room in a log.
func checkBody(k wire.Kind, body []byte) error {
	m, err := wire.ParseMutation(body)
	if err != nil {
		return err
	}
	if !m.ID.Valid() {
		return fmt.Errorf("id %v is not a UUID of version 7 or 8", m.ID)
	}
	switch k {
	case wire.KindHold:
		return new(wire.Hold).Decode(body)
	case wire.KindHoldBest:
		return new(wire.HoldBest).Decode(body)
	case wire.KindHoldArea:
		return new(wire.HoldArea).Decode(body)
	case wire.KindExtend:
		return new(wire.Extend).Decode(body)
	case wire.KindPay:
		return new(wire.Pay).Decode(body)
	case wire.KindConfirm, wire.KindRelease:
		return new(wire.OnHold).Decode(body)
	case wire.KindCancel:
		return new(wire.Cancel).Decode(body)
	case wire.KindExchange:
		return new(wire.Exchange).Decode(body)
	case wire.KindIssue:
		return new(wire.Issue).Decode(body)
	case wire.KindRedeem:
		return new(wire.Redeem).Decode(body)
	case wire.KindLeave:
		return new(wire.Leave).Decode(body)
	}
	return checkOperatorBody(k, body)
}

func checkOperatorBody(k wire.Kind, body []byte) error {
	switch k {
	case wire.KindBlock, wire.KindUnblock:
		return new(wire.SeatsOp).Decode(body)
	case wire.KindSetChannel:
		return new(wire.SetChannel).Decode(body)
	case wire.KindSetRules:
		return new(wire.SetRules).Decode(body)
	case wire.KindCreate:
		var c wire.Create
		if err := c.Decode(body); err != nil {
			return err
		}
		if len(c.Chunk) > wire.MaxChunk {
			return fmt.Errorf("chunk of %d bytes is above the limit of %d", len(c.Chunk), wire.MaxChunk)
		}
		return nil
	case wire.KindDelete, wire.KindUnassign:
		return new(wire.EventOp).Decode(body)
	case wire.KindSetRoom:
		return new(wire.SetRoom).Decode(body)
	case wire.KindDirectRoom:
		return new(wire.DirectRoom).Decode(body)
	case wire.KindAssign:
		return new(wire.Assign).Decode(body)
	case wire.KindAddKey:
		return new(wire.AddKey).Decode(body)
	case wire.KindDropKey:
		return new(wire.DropKey).Decode(body)
	}
	return nil
}

// checkQuery does the same for what is read.
func checkQuery(k wire.Kind, body []byte) error {
	switch k {
	case wire.KindGetHold:
		return new(wire.HoldRef).Decode(body)
	case wire.KindFindPlace:
		return new(wire.PlaceRef).Decode(body)
	case wire.KindChanges:
		return new(wire.ChangesQuery).Decode(body)
	case wire.KindEvent, wire.KindManifest, wire.KindMap, wire.KindQueue:
		return new(wire.EventRef).Decode(body)
	}
	return nil
}
