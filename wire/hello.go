package wire

import "encoding/binary"

// Magic begins every Hello.
const Magic = "USHR"

// Compression is a set of algorithms for large answers.
type Compression uint8

const (
	CompressNone Compression = 0
	CompressGzip Compression = 1 << 0
	CompressS2   Compression = 1 << 1
	CompressZstd Compression = 1 << 2
)

// Hello is the body of the first frame of a connection.
type Hello struct {
	MinVersion  uint16
	MaxVersion  uint16
	Compression Compression // what the client can read
	Key         []byte      // API key; empty where the node asks for none
}

func (h *Hello) Append(b []byte) []byte {
	b = append(b, Magic...)
	b = binary.LittleEndian.AppendUint16(b, h.MinVersion)
	b = binary.LittleEndian.AppendUint16(b, h.MaxVersion)
	b = append(b, byte(h.Compression))
	return appendBytes(b, h.Key)
}

// Decode reads a Hello. magic tells a peer that speaks another protocol from one
// whose hello is damaged.
func (h *Hello) Decode(body []byte) (magic bool, err error) {
	r := reader{b: body}
	magic = string(r.take(len(Magic))) == Magic
	h.MinVersion = r.u16()
	h.MaxVersion = r.u16()
	h.Compression = Compression(r.u8())
	h.Key = r.bytes()
	return magic, r.finish()
}

// Welcome answers a Hello.
type Welcome struct {
	Version     uint16
	Compression Compression // the one algorithm the server will use, or none
	MaxInFlight uint32      // requests a connection may have unanswered
	Cluster     ID
	Node        []byte
}

func (w *Welcome) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, w.Version)
	b = append(b, byte(w.Compression))
	b = binary.LittleEndian.AppendUint32(b, w.MaxInFlight)
	b = append(b, w.Cluster[:]...)
	return appendBytes(b, w.Node)
}

func (w *Welcome) Decode(body []byte) error {
	r := reader{b: body}
	w.Version = r.u16()
	w.Compression = Compression(r.u8())
	w.MaxInFlight = r.u32()
	w.Cluster = r.id()
	w.Node = r.bytes()
	return r.finish()
}

// Key names an event the way its owner does.
type Key struct{ Key []byte }

func (k *Key) Append(b []byte) []byte { return appendBytes(b, k.Key) }

func (k *Key) Decode(body []byte) error {
	r := reader{b: body}
	k.Key = r.bytes()
	return r.finish()
}

// Location tells where an event is decided. The event's time comes with it,
// because a client needs it for its first id; only the node that leads the shard
// is sure to know it.
type Location struct {
	Event  EventID
	Shard  uint32
	Now    Millis // 0: not known to the node that answers
	Leader []byte // address of the shard's leader, or of a node that knows more; empty: the node that answers
}

func (l *Location) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(l.Event))
	b = binary.LittleEndian.AppendUint32(b, l.Shard)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.Now))
	return appendBytes(b, l.Leader)
}

func (l *Location) Decode(body []byte) error {
	r := reader{b: body}
	l.Event = EventID(r.u64())
	l.Shard = r.u32()
	l.Now = Millis(r.u64())
	l.Leader = r.bytes()
	return r.finish()
}
