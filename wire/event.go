package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Rules are what an event allows. Apply enforces them.
type Rules struct {
	HoldTTL       uint32 // milliseconds a hold lives; default 15 minutes
	MaxTTL        uint32 // milliseconds a request may ask for; default 30 minutes
	PayCap        uint32 // milliseconds a hold may stay in paying; default 10 minutes
	Extensions    uint8  // times a hold may be extended; default 1
	SeatsPerHold  uint8  // 1..MaxHoldSeats; default 10
	SeatsPerBuyer uint16 // held and booked together; 0: no limit
	RefuseOrphans bool   // refuse a hold that leaves an orphan
	OpensAt       int64  // wall clock, Unix milliseconds; 0: at once
	ClosesAt      int64  // wall clock, Unix milliseconds; 0: never
}

// DefaultRules are those of an event that says nothing.
func DefaultRules() Rules {
	return Rules{
		HoldTTL:      15 * 60_000,
		MaxTTL:       30 * 60_000,
		PayCap:       10 * 60_000,
		Extensions:   1,
		SeatsPerHold: 10,
	}
}

// MaxRuleTime bounds the times in Rules: a week, in milliseconds.
const MaxRuleTime = 7 * 24 * 3600 * 1000

// maxWall is the last time that RFC 3339 can write, in Unix milliseconds.
const maxWall = 253402300799999

// Validate reports the first rule that is out of range, by its name in JSON.
func (u *Rules) Validate() error {
	for _, t := range []struct {
		name  string
		value uint32
	}{{"hold_ttl_ms", u.HoldTTL}, {"max_ttl_ms", u.MaxTTL}, {"pay_cap_ms", u.PayCap}} {
		if t.value < 1 || t.value > MaxRuleTime {
			return fmt.Errorf("%s is %d; it must be between 1 and %d", t.name, t.value, MaxRuleTime)
		}
	}
	switch {
	case u.MaxTTL < u.HoldTTL:
		return fmt.Errorf("max_ttl_ms is %d; it must not be below hold_ttl_ms, which is %d", u.MaxTTL, u.HoldTTL)
	case u.SeatsPerHold < 1 || u.SeatsPerHold > MaxHoldSeats:
		return fmt.Errorf("seats_per_hold is %d; it must be between 1 and %d", u.SeatsPerHold, MaxHoldSeats)
	case u.OpensAt < 0 || u.ClosesAt < 0 || u.OpensAt > maxWall || u.ClosesAt > maxWall:
		return errors.New("opens_at and closes_at must be in the years 1970 to 9999")
	case u.ClosesAt != 0 && u.ClosesAt <= u.OpensAt:
		return errors.New("closes_at must be after opens_at")
	}
	return nil
}

func (u *Rules) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, u.HoldTTL)
	b = binary.LittleEndian.AppendUint32(b, u.MaxTTL)
	b = binary.LittleEndian.AppendUint32(b, u.PayCap)
	b = append(b, u.Extensions, u.SeatsPerHold)
	b = binary.LittleEndian.AppendUint16(b, u.SeatsPerBuyer)
	b = append(b, boolByte(u.RefuseOrphans))
	b = binary.LittleEndian.AppendUint64(b, uint64(u.OpensAt))
	return binary.LittleEndian.AppendUint64(b, uint64(u.ClosesAt))
}

func (u *Rules) read(r *reader) {
	u.HoldTTL = r.u32()
	u.MaxTTL = r.u32()
	u.PayCap = r.u32()
	u.Extensions = r.u8()
	u.SeatsPerHold = r.u8()
	u.SeatsPerBuyer = r.u16()
	u.RefuseOrphans = r.bool()
	u.OpensAt = int64(r.u64())
	u.ClosesAt = int64(r.u64())
}

// MaxChunk bounds the bytes of a manifest in one Create.
const MaxChunk = 128 << 10

// A Create brings one chunk of an event's encoded manifest. The event exists
// when all Total bytes have come in order. A chunk that came before is skipped,
// so a creation can be repeated from any point.
type Create struct {
	Mutation
	Offset uint32 // of Chunk within the manifest
	Total  uint32 // bytes of the whole manifest
	Digest [32]byte
	Chunk  []byte // at most MaxChunk
}

func (c *Create) Append(b []byte) []byte {
	b = c.Mutation.append(b)
	b = binary.LittleEndian.AppendUint32(b, c.Offset)
	b = binary.LittleEndian.AppendUint32(b, c.Total)
	b = append(b, c.Digest[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.Chunk)))
	return append(b, c.Chunk...)
}

func (c *Create) Decode(body []byte) error {
	r := reader{b: body}
	c.Mutation.read(&r)
	c.Offset = r.u32()
	c.Total = r.u32()
	c.Digest = r.hash()
	c.Chunk = r.long()
	return r.finish()
}

// An EventOp is an operation without more to say: delete, unassign.
type EventOp struct{ Mutation }

func (e *EventOp) Append(b []byte) []byte { return e.Mutation.append(b) }

func (e *EventOp) Decode(body []byte) error {
	r := reader{b: body}
	e.Mutation.read(&r)
	return r.finish()
}

// SetRules replaces an event's rules.
type SetRules struct {
	Mutation
	Rules Rules
}

func (s *SetRules) Append(b []byte) []byte { return s.Rules.append(s.Mutation.append(b)) }

func (s *SetRules) Decode(body []byte) error {
	r := reader{b: body}
	s.Mutation.read(&r)
	s.Rules.read(&r)
	return r.finish()
}

// SeatsOp blocks or unblocks seats, all or none.
type SeatsOp struct {
	Mutation
	Seats SeatList // 1..MaxOpSeats
}

func (s *SeatsOp) Append(b []byte) []byte { return appendSeats(s.Mutation.append(b), s.Seats) }

func (s *SeatsOp) Decode(body []byte) error {
	r := reader{b: body}
	s.Mutation.read(&r)
	s.Seats = r.seats()
	return r.finish()
}

// MaxChannels bounds the channels of an event.
const MaxChannels = 16

// SetChannel makes a channel, changes its key, and gives it seats that were in
// another or in none. With an empty name the seats go back to everybody.
type SetChannel struct {
	Mutation
	Name  []byte
	Key   ChannelKey
	Seats SeatList // at most MaxOpSeats
}

func (s *SetChannel) Append(b []byte) []byte {
	b = s.Mutation.append(b)
	b = appendBytes(b, s.Name)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Key))
	return appendSeats(b, s.Seats)
}

func (s *SetChannel) Decode(body []byte) error {
	r := reader{b: body}
	s.Mutation.read(&r)
	s.Name = r.bytes()
	s.Key = ChannelKey(r.u64())
	s.Seats = r.seats()
	return r.finish()
}

// WallClock tells an event what time people have, so that its sale opens and
// closes. Only a shard's leader proposes it.
type WallClock struct {
	Mutation
	Wall int64 // Unix milliseconds
}

func (w *WallClock) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(w.Mutation.append(b), uint64(w.Wall))
}

func (w *WallClock) Decode(body []byte) error {
	r := reader{b: body}
	w.Mutation.read(&r)
	w.Wall = int64(r.u64())
	return r.finish()
}

// Assign gives a key an event id and a shard. Repeating it with the same digest
// gives the same; with another digest it answers StatusExists.
type Assign struct {
	Mutation          // Event is unused
	Key      []byte   // 1..MaxKeyLen bytes
	Digest   [32]byte // SHA-256 of the encoded manifest
}

func (a *Assign) Append(b []byte) []byte {
	b = a.Mutation.append(b)
	b = appendBytes(b, a.Key)
	return append(b, a.Digest[:]...)
}

func (a *Assign) Decode(body []byte) error {
	r := reader{b: body}
	a.Mutation.read(&r)
	a.Key = r.bytes()
	a.Digest = r.hash()
	return r.finish()
}

// Role is what a key may do. Each includes the ones before it.
type Role uint8

const (
	RoleRead    Role = 1 // maps, counts, holds
	RoleSell    Role = 2 // hold … confirm, release
	RoleOperate Role = 3 // events, box office, directory
)

var roleNames = [...]string{"none", "read", "sell", "operate"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return "unknown"
}

// ParseRole reads what String writes.
func ParseRole(s string) (Role, bool) {
	for i, name := range roleNames[1:] {
		if s == name {
			return Role(i + 1), true
		}
	}
	return 0, false
}

// AddKey stores an API key by its hash. Repeating a name replaces its key.
type AddKey struct {
	Mutation
	Name []byte   // 1..MaxKeyLen bytes
	Hash [32]byte // SHA-256 of the key
	Role Role
}

func (a *AddKey) Append(b []byte) []byte {
	b = a.Mutation.append(b)
	b = appendBytes(b, a.Name)
	b = append(b, a.Hash[:]...)
	return append(b, byte(a.Role))
}

func (a *AddKey) Decode(body []byte) error {
	r := reader{b: body}
	a.Mutation.read(&r)
	a.Name = r.bytes()
	a.Hash = r.hash()
	a.Role = Role(r.u8())
	return r.finish()
}

// DropKey removes an API key.
type DropKey struct {
	Mutation
	Name []byte
}

func (d *DropKey) Append(b []byte) []byte { return appendBytes(d.Mutation.append(b), d.Name) }

func (d *DropKey) Decode(body []byte) error {
	r := reader{b: body}
	d.Mutation.read(&r)
	d.Name = r.bytes()
	return r.finish()
}
