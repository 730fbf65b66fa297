package wire

import (
	"encoding/binary"
	"fmt"
)

// A frame is a header of 16 bytes and a body:
//
//	0  u32  length of what follows this field: 12 + body
//	4  u8   kind
//	5  u8   flags
//	6  u16  status; zero in requests
//	8  u64  request id, chosen by the client, echoed in the answer
//	16 …    body
const HeaderSize = 16

const (
	// ProtocolVersion is the version of the protocol that this package speaks.
	ProtocolVersion uint16 = 1

	// MaxRequestBody bounds the body of a frame to a server, in bytes.
	MaxRequestBody = 256 << 10
	// MaxAnswerBody bounds the body of a frame to a client, in bytes: a manifest
	// of MaxSeats places with the longest names fits.
	MaxAnswerBody = 32 << 20
	// MaxBatchOps bounds the operations of a batch frame.
	MaxBatchOps = 1024
	// MaxKeyLen bounds the key of an event and every name in it, in bytes.
	MaxKeyLen = 64
)

// Kind says what a frame asks for.
type Kind uint8

const (
	KindHello Kind = 1 // first frame of a connection: Hello → Welcome
	KindPing  Kind = 2 // echoes its body
	KindBatch Kind = 3 // a sequence of operation records → as many answer records

	// Reads.

	KindLocate   Kind = 8  // Key → Location
	KindEvents   Kind = 9  // EventsQuery → EventList
	KindEvent    Kind = 10 // EventRef → EventInfo
	KindManifest Kind = 11 // EventRef → encoded Manifest
	KindMap      Kind = 12 // EventRef → SeatMap
	KindChanges  Kind = 13 // ChangesQuery → Changes
	KindGetHold  Kind = 14 // HoldRef → HoldInfo; linearizable
	KindNodes    Kind = 15 // empty → NodeList
	KindQueue    Kind = 16 // EventRef → QueueInfo

	// Operations on an event, decided by its shard.

	KindHold       Kind = 32 // Hold → Granted
	KindHoldBest   Kind = 33 // HoldBest → Granted
	KindHoldArea   Kind = 34 // HoldArea → Granted
	KindExtend     Kind = 35 // Extend → Timing
	KindPay        Kind = 36 // Pay → Timing
	KindConfirm    Kind = 37 // OnHold → Confirmed
	KindRelease    Kind = 38 // OnHold → SeatsLost with the seats that are free again
	KindCancel     Kind = 39 // Cancel → SeatsLost with the seats that are free again
	KindExchange   Kind = 40 // Exchange → Confirmed with all seats of the booking
	KindBlock      Kind = 41 // SeatsOp → empty
	KindUnblock    Kind = 42 // SeatsOp → empty
	KindSetChannel Kind = 43 // SetChannel → empty
	KindSetRules   Kind = 44 // SetRules → empty
	KindCreate     Kind = 45 // Create → empty
	KindDelete     Kind = 46 // EventOp → empty
	KindWallClock  Kind = 47 // WallClock; proposed by leaders only

	// Operations on an event's waiting room, decided by its shard. Nodes propose
	// the last three for clients, whose tickets they have made sure of.

	KindSetRoom    Kind = 48 // SetRoom → empty
	KindDirectRoom Kind = 49 // DirectRoom → empty
	KindIssue      Kind = 50 // Issue → Issued; proposed by nodes only
	KindRedeem     Kind = 51 // Redeem → Admitted; proposed by nodes only
	KindLeave      Kind = 52 // Leave → empty; proposed by nodes only

	// Operations on the directory.

	KindAssign   Kind = 64 // Assign → Location
	KindUnassign Kind = 65 // EventOp → empty
	KindAddKey   Kind = 66 // AddKey → empty
	KindDropKey  Kind = 67 // DropKey → empty

	// What visitors ask of a waiting room. A node reads and signs their tickets and
	// asks the event's shard.

	KindJoin  Kind = 80 // Join → Tickets
	KindAdmit Kind = 81 // Admit → Admission
	KindQuit  Kind = 82 // Quit → empty
	KindPlace Kind = 83 // TicketRef → QueuePlace
)

// Mutates reports whether the kind is an operation on an event that clients may
// send and that is remembered by its id. Its body begins with a Mutation.
func (k Kind) Mutates() bool {
	return k >= KindHold && k <= KindDelete || k == KindSetRoom || k == KindDirectRoom
}

// Room reports whether the kind is an operation on an event's waiting room that
// only nodes propose. Its body begins with a Mutation.
func (k Kind) Room() bool { return k >= KindIssue && k <= KindLeave }

// Directory reports whether the kind is an operation on the directory.
func (k Kind) Directory() bool { return k >= KindAssign && k <= KindDropKey }

// Flags of a frame or of an operation record.
type Flags uint8

const (
	FlagRepeat     Flags = 1 << 0 // request: an earlier attempt with this id may have arrived
	FlagAnswer     Flags = 1 << 1 // answer
	FlagCompressed Flags = 1 << 2 // answer: the body is compressed as agreed at hello
	FlagConsistent Flags = 1 << 3 // request: a read must see all that was acknowledged before it
)

// Header is a frame's first 16 bytes.
type Header struct {
	Body    int // length of the body in bytes
	Kind    Kind
	Flags   Flags
	Status  Status
	Request uint64
}

// Append appends the header's 16 bytes.
func (h Header) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(HeaderSize-4+h.Body))
	b = append(b, byte(h.Kind), byte(h.Flags))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.Status))
	return binary.LittleEndian.AppendUint64(b, h.Request)
}

// Put writes the header over b[:16], for frames whose body came first.
func (h Header) Put(b []byte) {
	_ = b[HeaderSize-1]
	binary.LittleEndian.PutUint32(b, uint32(HeaderSize-4+h.Body))
	b[4], b[5] = byte(h.Kind), byte(h.Flags)
	binary.LittleEndian.PutUint16(b[6:], uint16(h.Status))
	binary.LittleEndian.PutUint64(b[8:], h.Request)
}

// ParseHeader reads the header of a frame whose body may have at most maxBody
// bytes. b must hold HeaderSize bytes. After an error the stream has no known
// next frame and the connection must be closed.
func ParseHeader(b []byte, maxBody int) (Header, error) {
	_ = b[HeaderSize-1]
	n := binary.LittleEndian.Uint32(b)
	h := Header{
		Kind:    Kind(b[4]),
		Flags:   Flags(b[5]),
		Status:  Status(binary.LittleEndian.Uint16(b[6:])),
		Request: binary.LittleEndian.Uint64(b[8:]),
	}
	if n < HeaderSize-4 {
		return h, fmt.Errorf("frame length %d is below the header's %d", n, HeaderSize-4)
	}
	if n-(HeaderSize-4) > uint32(maxBody) {
		return h, fmt.Errorf("frame body of %d bytes is above the limit of %d", n-(HeaderSize-4), maxBody)
	}
	h.Body = int(n - (HeaderSize - 4))
	return h, nil
}

// RecordSize is the length of an operation record's header: u32 length of the
// body, u8 kind, u8 flags, u16 status. Batch frames and the log are sequences of
// records.
const RecordSize = 8

// A Record is one operation, or its answer, inside a batch frame or a log entry.
type Record struct {
	Kind   Kind
	Flags  Flags
	Status Status
	Body   []byte // aliases the bytes it was read from
}

// Append appends the record's header and body.
func (r Record) Append(b []byte) []byte {
	b = AppendRecordHeader(b, len(r.Body), r.Kind, r.Flags, r.Status)
	return append(b, r.Body...)
}

// AppendRecordHeader appends the header of a record whose body of n bytes follows.
func AppendRecordHeader(b []byte, n int, k Kind, f Flags, s Status) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = append(b, byte(k), byte(f))
	return binary.LittleEndian.AppendUint16(b, uint16(s))
}

// NextRecord splits the first record off b.
func NextRecord(b []byte) (r Record, rest []byte, err error) {
	if len(b) < RecordSize {
		return r, nil, fmt.Errorf("record header needs %d bytes, %d are left", RecordSize, len(b))
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-RecordSize) {
		return r, nil, fmt.Errorf("record body of %d bytes, %d are left", n, len(b)-RecordSize)
	}
	end := RecordSize + int(n)
	r = Record{
		Kind:   Kind(b[4]),
		Flags:  Flags(b[5]),
		Status: Status(binary.LittleEndian.Uint16(b[6:])),
		Body:   b[RecordSize:end:end],
	}
	return r, b[end:], nil
}
