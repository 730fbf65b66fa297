package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// MaxRoomLimit bounds the visitors that may be inside a waiting room at once.
	MaxRoomLimit = 1 << 20
	// MaxRoomRate bounds the rate at which a waiting room calls visitors, in
	// thousandths of a visitor per second.
	MaxRoomRate = 1_000_000_000
	// MaxRoomTime bounds the grace and the life of a pass: a day, in milliseconds.
	MaxRoomTime = 24 * 3600 * 1000
	// MaxSource bounds the text that names the source of a draw's entropy, in bytes.
	MaxSource = 512
	// MaxEntropy bounds a draw's outside entropy, in bytes.
	MaxEntropy = 1024
	// MaxJoins bounds the numbers that one Join asks for, and the visitors that one
	// Issue names.
	MaxJoins = 1000
	// MaxIssue bounds the numbers that one Issue asks for if it names nobody.
	MaxIssue = 1<<16 - 1
	// MaxNumbers bounds the numbers that a waiting room gives out in its life.
	MaxNumbers = 1 << 40
	// MaxTicket bounds the text of a ticket or a pass, in bytes.
	MaxTicket = 128
)

// RoomConfig is how a waiting room works.
type RoomConfig struct {
	Limit         uint32 // live passes at most; 1..MaxRoomLimit
	Rate          uint32 // calls, in thousandths of a visitor per second; 1..MaxRoomRate
	Grace         uint32 // milliseconds that a called number has to come; default 60 s
	PassTTL       uint32 // milliseconds that a pass lives; default 10 minutes
	SeatsPerPass  uint8  // 1..MaxHoldSeats; 0: as many as a hold may have
	OnePerVisitor bool   // whoever joins names himself, and gets one number
	OpensAt       int64  // wall clock, Unix milliseconds; 0: at once, and there is no draw
	EntriesUntil  int64  // wall clock, Unix milliseconds: who joins before takes part in the draw; 0: OpensAt
	Source        []byte // text that says where the draw's outside entropy will come from; empty: there will be none
}

// DefaultRoom is the configuration of a room that says nothing but how many.
func DefaultRoom() RoomConfig {
	return RoomConfig{Limit: 500, Rate: 10_000, Grace: 60_000, PassTTL: 10 * 60_000}
}

// Entries is the wall clock at which entries close, in Unix milliseconds.
func (c *RoomConfig) Entries() int64 {
	if c.EntriesUntil == 0 {
		return c.OpensAt
	}
	return c.EntriesUntil
}

// Validate reports the first value that is out of range, by its name in JSON.
func (c *RoomConfig) Validate() error {
	for _, n := range []struct {
		name        string
		value, most uint32
	}{
		{"limit", c.Limit, MaxRoomLimit}, {"rate", c.Rate, MaxRoomRate},
		{"grace_ms", c.Grace, MaxRoomTime}, {"pass_ttl_ms", c.PassTTL, MaxRoomTime},
	} {
		if n.value < 1 || n.value > n.most {
			return fmt.Errorf("%s is %d; it must be between 1 and %d", n.name, n.value, n.most)
		}
	}
	switch {
	case c.SeatsPerPass > MaxHoldSeats:
		return fmt.Errorf("seats_per_pass is %d; it must be between 0 and %d", c.SeatsPerPass, MaxHoldSeats)
	case c.OpensAt < 0 || c.EntriesUntil < 0 || c.OpensAt > maxWall || c.EntriesUntil > maxWall:
		return errors.New("opens_at and entries_until must be in the years 1970 to 9999")
	case c.EntriesUntil > c.OpensAt:
		return errors.New("entries_until must not be after opens_at")
	case len(c.Source) > MaxSource:
		return fmt.Errorf("entropy_source has %d bytes; it may have at most %d", len(c.Source), MaxSource)
	case len(c.Source) > 0 && c.OpensAt == 0:
		return errors.New("entropy_source names what decides a draw, and a room that opens at once has none: set opens_at")
	}
	return nil
}

// append and read leave the fields of fixed length at the front.
func (c *RoomConfig) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, c.Limit)
	b = binary.LittleEndian.AppendUint32(b, c.Rate)
	b = binary.LittleEndian.AppendUint32(b, c.Grace)
	b = binary.LittleEndian.AppendUint32(b, c.PassTTL)
	b = append(b, c.SeatsPerPass, boolByte(c.OnePerVisitor))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.OpensAt))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.EntriesUntil))
	return appendBytes(b, c.Source)
}

func (c *RoomConfig) read(r *reader) {
	c.Limit, c.Rate, c.Grace, c.PassTTL = r.u32(), r.u32(), r.u32(), r.u32()
	c.SeatsPerPass = r.u8()
	c.OnePerVisitor = r.bool()
	c.OpensAt = int64(r.u64())
	c.EntriesUntil = int64(r.u64())
	c.Source = r.bytes()
}

// SeedAt is where a SetRoom has its Seed. The node that takes the request from a
// client writes random bytes over it.
const SeedAt = MutationSize

// SeedSize is its length in bytes.
const SeedSize = 32

// A SetRoom makes a waiting room, or changes the one there is.
type SetRoom struct {
	Mutation
	Seed   [SeedSize]byte // of the draw, if the request makes the room: chosen by the node
	Config RoomConfig
}

func (s *SetRoom) Append(b []byte) []byte {
	b = s.Mutation.append(b)
	b = append(b, s.Seed[:]...)
	return s.Config.append(b)
}

func (s *SetRoom) Decode(body []byte) error {
	r := reader{b: body}
	s.Mutation.read(&r)
	s.Seed = r.hash()
	s.Config.read(&r)
	return r.finish()
}

// RoomAction is what an operator does with a waiting room.
type RoomAction uint8

const (
	RoomPause  RoomAction = 1 // call nobody
	RoomResume RoomAction = 2 // take pause or drain back
	RoomDrain  RoomAction = 3 // take nobody new, and call who is waiting
	RoomOpen   RoomAction = 4 // close entries and open, whatever the time
	RoomOff    RoomAction = 5 // end the room: holds need no pass, all tickets are void
	RoomDraw   RoomAction = 6 // bring the outside entropy of the draw, after entries closed
)

var actionNames = [...]string{"none", "pause", "resume", "drain", "open", "off", "draw"}

func (a RoomAction) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return "unknown"
}

// A DirectRoom does one thing with a waiting room.
type DirectRoom struct {
	Mutation
	Action  RoomAction
	Entropy []byte // RoomDraw: 1..MaxEntropy bytes; else none
}

func (d *DirectRoom) Append(b []byte) []byte {
	b = append(d.Mutation.append(b), byte(d.Action))
	return appendBytes(b, d.Entropy)
}

func (d *DirectRoom) Decode(body []byte) error {
	r := reader{b: body}
	d.Mutation.read(&r)
	d.Action = RoomAction(r.u8())
	d.Entropy = r.bytes()
	return r.finish()
}

// An Issue takes numbers of a waiting room: the next Count, or one for each
// visitor who has none yet.
type Issue struct {
	Mutation
	Count    uint16 // 1..MaxIssue; of visitors 1..MaxJoins
	Visitors []byte // none, or VisitorSize bytes for each of Count: see Visitor
}

func (i *Issue) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(i.Mutation.append(b), i.Count)
	return appendBytes(b, i.Visitors)
}

func (i *Issue) Decode(body []byte) error {
	r := reader{b: body}
	i.Mutation.read(&r)
	i.Count = r.u16()
	i.Visitors = r.bytes()
	return r.finish()
}

// Issued answers an Issue. Numbers of a room are one sequence from 0. Those below
// the number of entries are entry numbers, which a draw turns into queue numbers;
// the others are queue numbers.
type Issued struct {
	Room    RoomID
	Now     Millis
	Entries uint64 // numbers below are entry numbers; MaxNumbers while entries are open
	First   uint64 // the numbers are First, First+1 … if Numbers is empty
	Count   uint16
	Numbers []byte // of the visitors named, eight bytes each, in the order of the request
}

func (i *Issued) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(i.Room))
	b = binary.LittleEndian.AppendUint64(b, uint64(i.Now))
	b = binary.LittleEndian.AppendUint64(b, i.Entries)
	b = binary.LittleEndian.AppendUint64(b, i.First)
	b = binary.LittleEndian.AppendUint16(b, i.Count)
	return appendBytes(b, i.Numbers)
}

func (i *Issued) Decode(body []byte) error {
	r := reader{b: body}
	i.Room = RoomID(r.u64())
	i.Now = Millis(r.u64())
	i.Entries = r.u64()
	i.First = r.u64()
	i.Count = r.u16()
	i.Numbers = r.bytes()
	return r.finish()
}

// At is the k-th number issued, 0 ≤ k < Count.
func (i *Issued) At(k int) uint64 {
	if len(i.Numbers) == 0 {
		return i.First + uint64(k)
	}
	return binary.LittleEndian.Uint64(i.Numbers[8*k:])
}

// A Redeem exchanges a number for a pass.
type Redeem struct {
	Mutation
	Room   RoomID
	Number uint64 // as issued
	Pass   PassID // the pass's id, see Pass: never that of another number
}

func (d *Redeem) Append(b []byte) []byte {
	b = d.Mutation.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.Room))
	b = binary.LittleEndian.AppendUint64(b, d.Number)
	return binary.LittleEndian.AppendUint64(b, uint64(d.Pass))
}

func (d *Redeem) Decode(body []byte) error {
	r := reader{b: body}
	d.Mutation.read(&r)
	d.Room = RoomID(r.u64())
	d.Number = r.u64()
	d.Pass = PassID(r.u64())
	return r.finish()
}

// Admitted answers a Redeem: the visitor is inside.
type Admitted struct {
	Room     RoomID
	Pass     PassID // of the number's pass, whichever ticket it was redeemed with
	Number   uint64 // queue number
	Deadline Millis // when the pass ends
	Now      Millis // shard time of the answer
	Seats    uint8  // that the pass may hold and book together
}

const admittedSize = 41

func (a *Admitted) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(a.Room))
	b = binary.LittleEndian.AppendUint64(b, uint64(a.Pass))
	b = binary.LittleEndian.AppendUint64(b, a.Number)
	b = binary.LittleEndian.AppendUint64(b, uint64(a.Deadline))
	b = binary.LittleEndian.AppendUint64(b, uint64(a.Now))
	return append(b, a.Seats)
}

func (a *Admitted) read(r *reader) {
	a.Room = RoomID(r.u64())
	a.Pass = PassID(r.u64())
	a.Number = r.u64()
	a.Deadline = Millis(r.u64())
	a.Now = Millis(r.u64())
	a.Seats = r.u8()
}

func (a *Admitted) Decode(body []byte) error {
	r := reader{b: body}
	a.read(&r)
	return r.finish()
}

// A Leave gives a number, or a pass, back.
type Leave struct {
	Mutation
	Room   RoomID
	Number uint64 // as issued; 0 if there is a Pass
	Pass   PassID // 0: the number is meant
}

func (l *Leave) Append(b []byte) []byte {
	b = l.Mutation.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.Room))
	b = binary.LittleEndian.AppendUint64(b, l.Number)
	return binary.LittleEndian.AppendUint64(b, uint64(l.Pass))
}

func (l *Leave) Decode(body []byte) error {
	r := reader{b: body}
	l.Mutation.read(&r)
	l.Room = RoomID(r.u64())
	l.Number = r.u64()
	l.Pass = PassID(r.u64())
	return r.finish()
}
