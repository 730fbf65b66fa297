package wire

import (
	"encoding/binary"
	"fmt"
)

// EventRef names an event for reading.
type EventRef struct{ Event EventID }

func (e *EventRef) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(e.Event))
}

func (e *EventRef) Decode(body []byte) error {
	r := reader{b: body}
	e.Event = EventID(r.u64())
	return r.finish()
}

// EventsQuery lists events by key, in order, from the first after After.
type EventsQuery struct {
	After []byte
	Limit uint16 // 0: 1000, which is also the most
}

func (q *EventsQuery) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint16(appendBytes(b, q.After), q.Limit)
}

func (q *EventsQuery) Decode(body []byte) error {
	r := reader{b: body}
	q.After = r.bytes()
	q.Limit = r.u16()
	return r.finish()
}

// EventEntry is a line of a list of events.
type EventEntry struct {
	Key   []byte
	Event EventID
	Shard uint32
}

// EventList answers an EventsQuery: a u16 count and the entries.
type EventList struct{ Entries []EventEntry }

func (l *EventList) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(l.Entries)))
	for _, e := range l.Entries {
		b = appendBytes(b, e.Key)
		b = binary.LittleEndian.AppendUint64(b, uint64(e.Event))
		b = binary.LittleEndian.AppendUint32(b, e.Shard)
	}
	return b
}

func (l *EventList) Decode(body []byte) error {
	const leastEntry = 2 + 8 + 4
	r := reader{b: body}
	n := int(r.u16())
	if n*leastEntry > len(r.b) {
		return ErrShort
	}
	l.Entries = make([]EventEntry, n)
	for i := range l.Entries {
		l.Entries[i] = EventEntry{Key: r.bytes(), Event: EventID(r.u64()), Shard: r.u32()}
	}
	return r.finish()
}

// NodeEntry is a node that clients can talk to.
type NodeEntry struct {
	Name []byte
	Addr []byte // of its binary protocol
}

// NodeList answers KindNodes: the nodes of the cluster that have a binary
// listener, in the order of their names. Version grows with every change of the
// directory.
type NodeList struct {
	Version uint64
	Nodes   []NodeEntry
}

func (l *NodeList) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, l.Version)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(l.Nodes)))
	for _, n := range l.Nodes {
		b = appendBytes(appendBytes(b, n.Name), n.Addr)
	}
	return b
}

func (l *NodeList) Decode(body []byte) error {
	const leastEntry = 2 + 2
	r := reader{b: body}
	l.Version = r.u64()
	n := int(r.u16())
	if n*leastEntry > len(r.b) {
		return ErrShort
	}
	l.Nodes = make([]NodeEntry, n)
	for i := range l.Nodes {
		l.Nodes[i] = NodeEntry{Name: r.bytes(), Addr: r.bytes()}
	}
	return r.finish()
}

// SaleState is where an event is in its sale window.
type SaleState uint8

const (
	SaleBefore SaleState = 0
	SaleOpen   SaleState = 1
	SaleClosed SaleState = 2
)

var saleNames = [...]string{"before", "open", "closed"}

func (s SaleState) String() string {
	if int(s) < len(saleNames) {
		return saleNames[s]
	}
	return "unknown"
}

// Counts are seats by state; they add up to the places there are.
type Counts struct{ Free, Held, Booked, Blocked uint32 }

// Add adds n to the counter of a seat state.
func (c *Counts) Add(s SeatState, n uint32) {
	switch s {
	case SeatFree:
		c.Free += n
	case SeatHeld:
		c.Held += n
	case SeatBooked:
		c.Booked += n
	case SeatBlocked:
		c.Blocked += n
	}
}

func (c *Counts) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, c.Free)
	b = binary.LittleEndian.AppendUint32(b, c.Held)
	b = binary.LittleEndian.AppendUint32(b, c.Booked)
	return binary.LittleEndian.AppendUint32(b, c.Blocked)
}

func (c *Counts) read(r *reader) {
	c.Free, c.Held, c.Booked, c.Blocked = r.u32(), r.u32(), r.u32(), r.u32()
}

// AgeAt is where EventInfo and SeatMap have their Age: a node writes it over the
// zero of the shard, which knows no leaders.
const AgeAt = 16

// EventInfo is an event's rules and counts, consistent in themselves.
type EventInfo struct {
	Version    Version
	Now        Millis // time of the event
	Age        uint32 // milliseconds since the replica that answers last heard of its leader; 0 on the leader
	Sale       SaleState
	Rules      Rules
	Total      Counts
	Sections   []Counts // by index in the manifest: sections, then areas
	Categories []Counts // by index in the manifest
	Channels   [][]byte // names
}

func (e *EventInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Version))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Now))
	b = binary.LittleEndian.AppendUint32(b, e.Age)
	b = append(b, byte(e.Sale))
	b = e.Rules.append(b)
	b = e.Total.append(b)
	for _, list := range [][]Counts{e.Sections, e.Categories} {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(list)))
		for i := range list {
			b = list[i].append(b)
		}
	}
	b = append(b, byte(len(e.Channels)))
	for _, name := range e.Channels {
		b = appendBytes(b, name)
	}
	return b
}

func (e *EventInfo) Decode(body []byte) error {
	const countsSize = 16
	r := reader{b: body}
	e.Version = Version(r.u64())
	e.Now = Millis(r.u64())
	e.Age = r.u32()
	e.Sale = SaleState(r.u8())
	e.Rules.read(&r)
	e.Total.read(&r)
	for _, list := range []*[]Counts{&e.Sections, &e.Categories} {
		n := int(r.u16())
		if n*countsSize > len(r.b) {
			return ErrShort
		}
		*list = make([]Counts, n)
		for i := range *list {
			(*list)[i].read(&r)
		}
	}
	n := int(r.u8())
	if n*2 > len(r.b) {
		return ErrShort
	}
	e.Channels = make([][]byte, n)
	for i := range e.Channels {
		e.Channels[i] = r.bytes()
	}
	return r.finish()
}

// SeatState is what a map says of a seat.
type SeatState uint8

const (
	SeatFree    SeatState = 0
	SeatHeld    SeatState = 1
	SeatBooked  SeatState = 2
	SeatBlocked SeatState = 3 // by the box office; also the bits past a row's end
)

var seatStateNames = [...]string{"free", "held", "booked", "blocked"}

func (s SeatState) String() string {
	if int(s) < len(seatStateNames) {
		return seatStateNames[s]
	}
	return "unknown"
}

// SeatMap is the state of every seat of an event: two bits a seat. For each 64
// seats it has two words of eight bytes, low bits and high bits of their states.
type SeatMap struct {
	Version Version
	Now     Millis // time of the event
	Age     uint32 // as in EventInfo
	Planes  []byte // 16 bytes for each 64 seat ids
}

func (m *SeatMap) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Version))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Now))
	b = binary.LittleEndian.AppendUint32(b, m.Age)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Planes)/16))
	return append(b, m.Planes...)
}

func (m *SeatMap) Decode(body []byte) error {
	r := reader{b: body}
	m.Version = Version(r.u64())
	m.Now = Millis(r.u64())
	m.Age = r.u32()
	words := r.u32()
	if uint64(words)*16 != uint64(len(r.b)) {
		return fmt.Errorf("seat map of %d words has %d bytes", words, len(r.b))
	}
	m.Planes = r.take(len(r.b))
	return r.finish()
}

// State is the state of a seat; a seat the map does not have is blocked.
func (m *SeatMap) State(s SeatID) SeatState {
	at := int(s/64) * 16
	if at+16 > len(m.Planes) {
		return SeatBlocked
	}
	low := binary.LittleEndian.Uint64(m.Planes[at:]) >> (s % 64) & 1
	high := binary.LittleEndian.Uint64(m.Planes[at+8:]) >> (s % 64) & 1
	return SeatState(high<<1 | low)
}

// ChangesQuery asks what changed after Since.
type ChangesQuery struct {
	Event EventID
	Since Version
}

func (q *ChangesQuery) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(q.Event))
	return binary.LittleEndian.AppendUint64(b, uint64(q.Since))
}

func (q *ChangesQuery) Decode(body []byte) error {
	r := reader{b: body}
	q.Event = EventID(r.u64())
	q.Since = Version(r.u64())
	return r.finish()
}

// ChangeSize is the length of a change in Changes.
const ChangeSize = 16

// A Change is one seat going from one state to another.
type Change struct {
	Version  Version
	Seat     SeatID
	From, To SeatState
}

// Changes answers a ChangesQuery with all changes in (Since, Version], oldest
// first, or says that the event no longer remembers them.
type Changes struct {
	Version Version
	Resync  bool   // read the whole map instead
	List    []byte // ChangeSize bytes each
}

func (c *Changes) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Version))
	b = append(b, boolByte(c.Resync))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.List)/ChangeSize))
	return append(b, c.List...)
}

func (c *Changes) Decode(body []byte) error {
	r := reader{b: body}
	c.Version = Version(r.u64())
	c.Resync = r.bool()
	n := r.u32()
	if uint64(n)*ChangeSize != uint64(len(r.b)) {
		return fmt.Errorf("%d changes have %d bytes", n, len(r.b))
	}
	c.List = r.take(len(r.b))
	return r.finish()
}

// Len is the number of changes.
func (c *Changes) Len() int { return len(c.List) / ChangeSize }

// At is the i-th change.
func (c *Changes) At(i int) Change {
	b := c.List[i*ChangeSize:]
	return Change{
		Version: Version(binary.LittleEndian.Uint64(b)),
		Seat:    SeatID(binary.LittleEndian.Uint32(b[8:])),
		From:    SeatState(b[12]),
		To:      SeatState(b[13]),
	}
}

// AppendChange appends a change to a Changes.List.
func AppendChange(b []byte, c Change) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Version))
	b = binary.LittleEndian.AppendUint32(b, uint32(c.Seat))
	return append(b, byte(c.From), byte(c.To), 0, 0)
}
