package wire

import "encoding/binary"

// A Join asks for tickets of an event's waiting room.
type Join struct {
	Mutation
	Count   uint16 // 1..MaxJoins
	Visitor []byte // what the frontend calls the visitor; empty: nothing. Else Count is 1
}

func (j *Join) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(j.Mutation.append(b), j.Count)
	return appendBytes(b, j.Visitor)
}

func (j *Join) Decode(body []byte) error {
	r := reader{b: body}
	j.Mutation.read(&r)
	j.Count = r.u16()
	j.Visitor = r.bytes()
	return r.finish()
}

// A Ticket is a number that a node has signed.
type Ticket struct {
	Entry  bool   // Number is an entry number, from before the draw; else a queue number
	Number uint64 // as issued
	Token  []byte // text that proves it
}

// Tickets answers a Join.
type Tickets struct {
	Room RoomID
	Now  Millis
	List []Ticket
}

func (t *Tickets) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Room))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Now))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(t.List)))
	for _, k := range t.List {
		b = binary.LittleEndian.AppendUint64(append(b, boolByte(k.Entry)), k.Number)
		b = appendBytes(b, k.Token)
	}
	return b
}

func (t *Tickets) Decode(body []byte) error {
	const leastTicket = 1 + 8 + 2
	r := reader{b: body}
	t.Room = RoomID(r.u64())
	t.Now = Millis(r.u64())
	n := int(r.u16())
	if n*leastTicket > len(r.b) {
		return ErrShort
	}
	t.List = make([]Ticket, n)
	for i := range t.List {
		t.List[i] = Ticket{Entry: r.bool(), Number: r.u64(), Token: r.bytes()}
	}
	return r.finish()
}

// An Admit exchanges a ticket for a pass.
type Admit struct {
	Mutation
	Ticket []byte // text
}

func (a *Admit) Append(b []byte) []byte { return appendBytes(a.Mutation.append(b), a.Ticket) }

func (a *Admit) Decode(body []byte) error {
	r := reader{b: body}
	a.Mutation.read(&r)
	a.Ticket = r.bytes()
	return r.finish()
}

// An Admission answers an Admit.
type Admission struct {
	Admitted Admitted
	Token    []byte // text of the pass, for those who cannot be given its id
}

func (a *Admission) Append(b []byte) []byte { return appendBytes(a.Admitted.Append(b), a.Token) }

func (a *Admission) Decode(body []byte) error {
	r := reader{b: body}
	a.Admitted.read(&r)
	a.Token = r.bytes()
	return r.finish()
}

// A Quit gives a ticket or a pass back.
type Quit struct {
	Mutation
	Token []byte // text of either
}

func (q *Quit) Append(b []byte) []byte { return appendBytes(q.Mutation.append(b), q.Token) }

func (q *Quit) Decode(body []byte) error {
	r := reader{b: body}
	q.Mutation.read(&r)
	q.Token = r.bytes()
	return r.finish()
}

// TicketRef names a ticket for reading.
type TicketRef struct {
	Event  EventID
	Ticket []byte // text
}

func (t *TicketRef) Append(b []byte) []byte {
	return appendBytes(binary.LittleEndian.AppendUint64(b, uint64(t.Event)), t.Ticket)
}

func (t *TicketRef) Decode(body []byte) error {
	r := reader{b: body}
	t.Event = EventID(r.u64())
	t.Ticket = r.bytes()
	return r.finish()
}

// PlaceRef names a number of a waiting room for reading. Nodes ask it of shards.
type PlaceRef struct {
	Event  EventID
	Room   RoomID
	Number uint64 // as issued
}

func (p *PlaceRef) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(p.Event))
	b = binary.LittleEndian.AppendUint64(b, uint64(p.Room))
	return binary.LittleEndian.AppendUint64(b, p.Number)
}

func (p *PlaceRef) Decode(body []byte) error {
	r := reader{b: body}
	p.Event = EventID(r.u64())
	p.Room = RoomID(r.u64())
	p.Number = r.u64()
	return r.finish()
}

// PlaceState is where a number of a waiting room is in its life.
type PlaceState uint8

const (
	PlaceWaiting PlaceState = 1
	PlaceCalled  PlaceState = 2 // a place inside is reserved until the deadline
	PlaceInside  PlaceState = 3 // it has been redeemed, and its pass is live
	PlaceLapsed  PlaceState = 4 // nobody came in time, or it was so long ago that it is not known who did
	PlaceLeft    PlaceState = 5 // given back before it was redeemed
	PlaceEnded   PlaceState = 6 // it was redeemed, and its pass has ended
)

var placeNames = [...]string{"none", "waiting", "called", "inside", "lapsed", "left", "ended"}

func (p PlaceState) String() string {
	if int(p) < len(placeNames) {
		return placeNames[p]
	}
	return "unknown"
}

// QueuePlace is one number as it stands.
type QueuePlace struct {
	State    PlaceState
	Entry    bool   // Number is an entry number: the draw is still to come
	Number   uint64 // queue number
	Ahead    uint64 // numbers that will be called before, if waiting; entries: all that have entered
	Deadline Millis // called: when it lapses; inside: when its pass ends; else 0
	Now      Millis
}

func (p *QueuePlace) Append(b []byte) []byte {
	b = append(b, byte(p.State), boolByte(p.Entry))
	b = binary.LittleEndian.AppendUint64(b, p.Number)
	b = binary.LittleEndian.AppendUint64(b, p.Ahead)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.Deadline))
	return binary.LittleEndian.AppendUint64(b, uint64(p.Now))
}

func (p *QueuePlace) Decode(body []byte) error {
	r := reader{b: body}
	p.State = PlaceState(r.u8())
	p.Entry = r.bool()
	p.Number = r.u64()
	p.Ahead = r.u64()
	p.Deadline = Millis(r.u64())
	p.Now = Millis(r.u64())
	return r.finish()
}

// QueueState is what a waiting room is doing.
type QueueState uint8

const (
	QueueOff      QueueState = 0 // there is none: holds need no pass
	QueueBefore   QueueState = 1 // it takes entries, or waits for its opening
	QueueDrawing  QueueState = 2 // it should open, and waits for the draw's outside entropy
	QueueOpen     QueueState = 3 // it calls numbers
	QueuePaused   QueueState = 4 // by the operator
	QueueWaiting  QueueState = 5 // no seat is free, but some are held: it waits for returns
	QueueSoldOut  QueueState = 6 // no seat is free and none is held
	QueueDraining QueueState = 7 // it calls numbers, and takes nobody new
	QueueClosed   QueueState = 8 // it takes nobody new, and nobody is left in it
)

var queueNames = [...]string{"off", "before", "drawing", "open", "paused", "waiting", "sold_out", "draining", "closed"}

func (q QueueState) String() string {
	if int(q) < len(queueNames) {
		return queueNames[q]
	}
	return "unknown"
}

// QueueInfo is a waiting room as everybody may see it. If State is QueueOff only
// Version, Now, Age, Free and Held say something.
type QueueInfo struct {
	Version     Version // of the event's seats
	Now         Millis  // time of the event
	Age         uint32  // as in EventInfo
	State       QueueState
	Step        uint64 // grows with every change of the room
	Room        RoomID
	Entries     uint64 // numbers that took part in the draw, or will
	Issued      uint64 // the next number
	Serving     uint64 // queue numbers below have been called
	LapsedTo    uint64 // queue numbers below have no place reserved any more
	Redeemed    uint64 // numbers that have come in
	Lapsed      uint64 // numbers that were called and did not come
	Booked      uint64 // seats booked with passes
	Inside      uint32 // live passes
	Outstanding uint32 // numbers that are called and may still come: each has a place inside
	Free        uint32 // seats
	Held        uint32 // seats
	EntriesOpen bool   // who joins now takes part in the draw
	Drawn       bool   // the draw has been made, so that Seed and Entropy are known
	Commitment  [32]byte
	Seed        [32]byte // zero before the draw
	Config      RoomConfig
	Entropy     []byte
}

func (q *QueueInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(q.Version))
	b = binary.LittleEndian.AppendUint64(b, uint64(q.Now))
	b = binary.LittleEndian.AppendUint32(b, q.Age)
	b = append(b, byte(q.State))
	b = binary.LittleEndian.AppendUint64(b, q.Step)
	b = binary.LittleEndian.AppendUint64(b, uint64(q.Room))
	for _, n := range [...]uint64{q.Entries, q.Issued, q.Serving, q.LapsedTo, q.Redeemed, q.Lapsed, q.Booked} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	for _, n := range [...]uint32{q.Inside, q.Outstanding, q.Free, q.Held} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	b = append(b, boolByte(q.EntriesOpen), boolByte(q.Drawn))
	b = append(b, q.Commitment[:]...)
	b = append(b, q.Seed[:]...)
	b = q.Config.append(b)
	return appendBytes(b, q.Entropy)
}

func (q *QueueInfo) Decode(body []byte) error {
	r := reader{b: body}
	q.Version = Version(r.u64())
	q.Now = Millis(r.u64())
	q.Age = r.u32()
	q.State = QueueState(r.u8())
	q.Step = r.u64()
	q.Room = RoomID(r.u64())
	for _, n := range [...]*uint64{&q.Entries, &q.Issued, &q.Serving, &q.LapsedTo, &q.Redeemed, &q.Lapsed, &q.Booked} {
		*n = r.u64()
	}
	for _, n := range [...]*uint32{&q.Inside, &q.Outstanding, &q.Free, &q.Held} {
		*n = r.u32()
	}
	q.EntriesOpen, q.Drawn = r.bool(), r.bool()
	q.Commitment = r.hash()
	q.Seed = r.hash()
	q.Config.read(&r)
	q.Entropy = r.bytes()
	return r.finish()
}
