package wire

import "encoding/binary"

// MaxHoldSeats bounds the seats of one hold: the state machine keeps a bit for
// each in one word.
const MaxHoldSeats = 64

// MaxOpSeats bounds the seats that a block, unblock or channel operation names.
const MaxOpSeats = 4096

// MutationSize is the length of an encoded Mutation.
const MutationSize = 32

// A Mutation begins the body of every operation on an event.
type Mutation struct {
	Event    EventID
	ID       ID     // the request's own id; for extend, pay, confirm and release the hold's
	Deadline Millis // the shard refuses the operation after this; 0: no deadline
}

func (m Mutation) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Event))
	b = append(b, m.ID[:]...)
	return binary.LittleEndian.AppendUint64(b, uint64(m.Deadline))
}

func (m *Mutation) read(r *reader) {
	m.Event = EventID(r.u64())
	m.ID = r.id()
	m.Deadline = Millis(r.u64())
}

// ParseMutation reads the beginning of an operation's body.
func ParseMutation(body []byte) (Mutation, error) {
	r := reader{b: body}
	var m Mutation
	m.read(&r)
	return m, r.err
}

// HoldFlags are wishes of a hold.
type HoldFlags uint8

const (
	HoldAlternative HoldFlags = 1 << 0 // hold: if seats are lost, offer as many of the best
	HoldSplit       HoldFlags = 1 << 1 // best: seats in several runs are better than none
	HoldNoOrphan    HoldFlags = 1 << 2 // best: rather none than leaving an orphan
)

// Any, as an index of a section, means every section.
const Any uint16 = 0xffff

// A Hold asks for the seats it names, all or none.
type Hold struct {
	Mutation
	Buyer   BuyerID
	Channel ChannelKey
	Pass    PassID // needed while the event's waiting room is on; 0: none
	TTL     uint32 // milliseconds; 0: the event's
	Flags   HoldFlags
	Seats   SeatList // 1..MaxHoldSeats, each once
}

func (h *Hold) Append(b []byte) []byte {
	b = h.Mutation.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Buyer))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Channel))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Pass))
	b = binary.LittleEndian.AppendUint32(b, h.TTL)
	b = append(b, byte(h.Flags), 0)
	return appendSeats(b, h.Seats)
}

func (h *Hold) Decode(body []byte) error {
	r := reader{b: body}
	h.Mutation.read(&r)
	h.Buyer = BuyerID(r.u64())
	h.Channel = ChannelKey(r.u64())
	h.Pass = PassID(r.u64())
	h.TTL = r.u32()
	h.Flags = HoldFlags(r.u8())
	r.zero()
	h.Seats = r.seats()
	return r.finish()
}

// A HoldBest asks for the best Count seats that are free together.
type HoldBest struct {
	Mutation
	Buyer      BuyerID
	Channel    ChannelKey
	Pass       PassID // needed while the event's waiting room is on; 0: none
	TTL        uint32 // milliseconds; 0: the event's
	Flags      HoldFlags
	Access     Access // every seat must have all of these
	Count      uint16
	Section    uint16 // index in the manifest, or Any
	Categories uint64 // bit i: category i will do; 0: every category
}

func (h *HoldBest) Append(b []byte) []byte {
	b = h.Mutation.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Buyer))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Channel))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Pass))
	b = binary.LittleEndian.AppendUint32(b, h.TTL)
	b = append(b, byte(h.Flags), byte(h.Access))
	b = binary.LittleEndian.AppendUint16(b, h.Count)
	b = binary.LittleEndian.AppendUint16(b, h.Section)
	return binary.LittleEndian.AppendUint64(b, h.Categories)
}

func (h *HoldBest) Decode(body []byte) error {
	r := reader{b: body}
	h.Mutation.read(&r)
	h.Buyer = BuyerID(r.u64())
	h.Channel = ChannelKey(r.u64())
	h.Pass = PassID(r.u64())
	h.TTL = r.u32()
	h.Flags = HoldFlags(r.u8())
	h.Access = Access(r.u8())
	h.Count = r.u16()
	h.Section = r.u16()
	h.Categories = r.u64()
	return r.finish()
}

// A HoldArea asks for Count places of a general admission area.
type HoldArea struct {
	Mutation
	Buyer   BuyerID
	Channel ChannelKey
	Pass    PassID // needed while the event's waiting room is on; 0: none
	TTL     uint32 // milliseconds; 0: the event's
	Area    uint16 // index in the manifest
	Count   uint16
}

func (h *HoldArea) Append(b []byte) []byte {
	b = h.Mutation.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Buyer))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Channel))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Pass))
	b = binary.LittleEndian.AppendUint32(b, h.TTL)
	b = binary.LittleEndian.AppendUint16(b, h.Area)
	return binary.LittleEndian.AppendUint16(b, h.Count)
}

func (h *HoldArea) Decode(body []byte) error {
	r := reader{b: body}
	h.Mutation.read(&r)
	h.Buyer = BuyerID(r.u64())
	h.Channel = ChannelKey(r.u64())
	h.Pass = PassID(r.u64())
	h.TTL = r.u32()
	h.Area = r.u16()
	h.Count = r.u16()
	return r.finish()
}

// Granted answers a hold: it is the client's until Deadline.
type Granted struct {
	Fence    Fence
	Deadline Millis
	Now      Millis // shard time of the decision
	Seats    SeatList
}

func (g *Granted) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(g.Fence))
	b = binary.LittleEndian.AppendUint64(b, uint64(g.Deadline))
	b = binary.LittleEndian.AppendUint64(b, uint64(g.Now))
	return appendSeats(b, g.Seats)
}

func (g *Granted) Decode(body []byte) error {
	r := reader{b: body}
	g.Fence = Fence(r.u64())
	g.Deadline = Millis(r.u64())
	g.Now = Millis(r.u64())
	g.Seats = r.seats()
	return r.finish()
}

// An Extend gives a hold more time. Mutation.ID is the hold's.
type Extend struct {
	Mutation
	Fence Fence
	TTL   uint32 // milliseconds from now; 0: the event's
	Nth   uint8  // which extension this is, from 1: repeating it changes nothing; 0: the next
}

func (e *Extend) Append(b []byte) []byte {
	b = e.Mutation.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Fence))
	b = binary.LittleEndian.AppendUint32(b, e.TTL)
	return append(b, e.Nth)
}

func (e *Extend) Decode(body []byte) error {
	r := reader{b: body}
	e.Mutation.read(&r)
	e.Fence = Fence(r.u64())
	e.TTL = r.u32()
	e.Nth = r.u8()
	return r.finish()
}

// A Pay stops a hold's clock while its buyer pays, up to the event's cap.
// Mutation.ID is the hold's.
type Pay struct {
	Mutation
	Fence Fence
}

func (p *Pay) Append(b []byte) []byte {
	b = p.Mutation.append(b)
	return binary.LittleEndian.AppendUint64(b, uint64(p.Fence))
}

func (p *Pay) Decode(body []byte) error {
	r := reader{b: body}
	p.Mutation.read(&r)
	p.Fence = Fence(r.u64())
	return r.finish()
}

// Timing answers extend and pay.
type Timing struct {
	Deadline Millis
	Now      Millis // shard time of the decision
}

func (t *Timing) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Deadline))
	return binary.LittleEndian.AppendUint64(b, uint64(t.Now))
}

func (t *Timing) Decode(body []byte) error {
	r := reader{b: body}
	t.Deadline = Millis(r.u64())
	t.Now = Millis(r.u64())
	return r.finish()
}

// OnHold confirms or releases seats of a hold. Mutation.ID is the hold's.
type OnHold struct {
	Mutation
	Fence Fence
	Seats SeatList // none: all that are still held
}

func (o *OnHold) Append(b []byte) []byte {
	b = o.Mutation.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(o.Fence))
	return appendSeats(b, o.Seats)
}

func (o *OnHold) Decode(body []byte) error {
	r := reader{b: body}
	o.Mutation.read(&r)
	o.Fence = Fence(r.u64())
	o.Seats = r.seats()
	return r.finish()
}

// Confirmed answers confirm and exchange.
type Confirmed struct {
	Reacquired bool // the hold had expired and its seats were granted anew
	Now        Millis
	Seats      SeatList // confirm: the seats it booked; exchange: all seats of the booking
}

func (c *Confirmed) Append(b []byte) []byte {
	b = append(b, boolByte(c.Reacquired))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Now))
	return appendSeats(b, c.Seats)
}

func (c *Confirmed) Decode(body []byte) error {
	r := reader{b: body}
	c.Reacquired = r.bool()
	c.Now = Millis(r.u64())
	c.Seats = r.seats()
	return r.finish()
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// A Cancel gives booked seats back. Mutation.ID is the request's own.
type Cancel struct {
	Mutation
	Booking ID       // the id of the hold that was confirmed
	Seats   SeatList // none: all that are booked
}

func (c *Cancel) Append(b []byte) []byte {
	b = c.Mutation.append(b)
	b = append(b, c.Booking[:]...)
	return appendSeats(b, c.Seats)
}

func (c *Cancel) Decode(body []byte) error {
	r := reader{b: body}
	c.Mutation.read(&r)
	c.Booking = r.id()
	c.Seats = r.seats()
	return r.finish()
}

// An Exchange swaps seats of a booking for others, all or nothing.
type Exchange struct {
	Mutation
	Booking ID
	Channel ChannelKey
	Give    SeatList // booked seats of the booking
	Take    SeatList // free seats; together with what is kept at most MaxHoldSeats
}

func (e *Exchange) Append(b []byte) []byte {
	b = e.Mutation.append(b)
	b = append(b, e.Booking[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Channel))
	b = appendSeats(b, e.Give)
	return appendSeats(b, e.Take)
}

func (e *Exchange) Decode(body []byte) error {
	r := reader{b: body}
	e.Mutation.read(&r)
	e.Booking = r.id()
	e.Channel = ChannelKey(r.u64())
	e.Give = r.seats()
	e.Take = r.seats()
	return r.finish()
}

// SeatsLost names seats: those that stood in the way of a request, or those
// that it freed.
type SeatsLost struct {
	Now   Millis
	Seats SeatList
	Offer SeatList // best alternative, if the request asked for one and it exists
}

func (s *SeatsLost) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Now))
	b = appendSeats(b, s.Seats)
	return appendSeats(b, s.Offer)
}

func (s *SeatsLost) Decode(body []byte) error {
	r := reader{b: body}
	s.Now = Millis(r.u64())
	s.Seats = r.seats()
	s.Offer = r.seats()
	return r.finish()
}

// Clock tells shard time to a client whose idea of it is off.
type Clock struct{ Now Millis }

func (c *Clock) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(c.Now))
}

func (c *Clock) Decode(body []byte) error {
	r := reader{b: body}
	c.Now = Millis(r.u64())
	return r.finish()
}

// HoldState is where a hold is in its life.
type HoldState uint8

const (
	StateHeld      HoldState = 1
	StatePaying    HoldState = 2
	StateBooked    HoldState = 3 // no seat is held any more, at least one is booked
	StateReleased  HoldState = 4
	StateExpired   HoldState = 5
	StateLost      HoldState = 6 // confirmed too late: the seats had moved on
	StateCancelled HoldState = 7 // was booked, no seat is any more
)

var holdStateNames = [...]string{"none", "held", "paying", "booked", "released", "expired", "lost", "cancelled"}

func (s HoldState) String() string {
	if int(s) < len(holdStateNames) {
		return holdStateNames[s]
	}
	return "unknown"
}

// HoldRef names a hold for reading.
type HoldRef struct {
	Event EventID
	ID    ID
}

func (h *HoldRef) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Event))
	return append(b, h.ID[:]...)
}

func (h *HoldRef) Decode(body []byte) error {
	r := reader{b: body}
	h.Event = EventID(r.u64())
	h.ID = r.id()
	return r.finish()
}

// HoldInfo is a hold as it stands.
type HoldInfo struct {
	State      HoldState
	Reacquired bool
	Extensions uint8 // how often it has been extended
	Fence      Fence
	Deadline   Millis // when it expires; 0 unless held or paying
	Now        Millis
	Buyer      BuyerID
	Held       SeatList
	Booked     SeatList
}

func (h *HoldInfo) Append(b []byte) []byte {
	b = append(b, byte(h.State), boolByte(h.Reacquired), h.Extensions)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Fence))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Deadline))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Now))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Buyer))
	b = appendSeats(b, h.Held)
	return appendSeats(b, h.Booked)
}

func (h *HoldInfo) Decode(body []byte) error {
	r := reader{b: body}
	h.State = HoldState(r.u8())
	h.Reacquired = r.bool()
	h.Extensions = r.u8()
	h.Fence = Fence(r.u64())
	h.Deadline = Millis(r.u64())
	h.Now = Millis(r.u64())
	h.Buyer = BuyerID(r.u64())
	h.Held = r.seats()
	h.Booked = r.seats()
	return r.finish()
}
