package live

import (
	"encoding/binary"
	"encoding/json"
)

// A Framing is how frames are written to a connection.
type Framing uint8

const (
	// SSE is an event stream: text/event-stream of the HTML standard.
	SSE Framing = iota
	// WebSocket is RFC 6455. Each part is a text message {"event","id","data"}.
	WebSocket

	framings = 2
)

// A Part is one event of a frame.
type Part struct {
	Event string // its type
	ID    string // its position, for those who resume; empty: none
	Data  []byte // JSON without line breaks
}

// A Frame is what everybody gets: the same bytes in either framing. Immutable.
type Frame struct{ bytes [framings][]byte }

// NewFrame prepares a frame of one or more parts. The data is copied.
func NewFrame(parts ...Part) *Frame {
	f := new(Frame)
	for _, p := range parts {
		f.bytes[SSE] = appendSSE(f.bytes[SSE], p)
		f.bytes[WebSocket] = appendText(f.bytes[WebSocket], p)
	}
	return f
}

func appendSSE(b []byte, p Part) []byte {
	if p.ID != "" {
		b = append(append(append(b, "id: "...), p.ID...), '\n')
	}
	b = append(append(append(b, "event: "...), p.Event...), '\n')
	b = append(append(append(b, "data: "...), p.Data...), '\n')
	return append(b, '\n')
}

// appendText appends a part as a text message.
func appendText(b []byte, p Part) []byte {
	m := append([]byte(`{"event":`), quote(p.Event)...)
	if p.ID != "" {
		m = append(append(m, `,"id":`...), quote(p.ID)...)
	}
	m = append(append(append(m, `,"data":`...), p.Data...), '}')
	return append(appendHeader(b, opText, len(m)), m...)
}

func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always can be
	}
	return b
}

// appendHeader appends the header of a server's frame: final, not masked.
func appendHeader(b []byte, op byte, size int) []byte {
	const final, size16, size64 = 0x80, 126, 127
	b = append(b, final|op)
	switch {
	case size < size16:
		return append(b, byte(size))
	case size < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, size16), uint16(size))
	}
	return binary.BigEndian.AppendUint64(append(b, size64), uint64(size))
}

// heartbeat is what keeps a silent connection open: a comment, or a ping.
func heartbeat() *Frame {
	f := new(Frame)
	f.bytes[SSE] = []byte(":\n\n")
	f.bytes[WebSocket] = appendHeader(nil, opPing, 0)
	return f
}

// closing is a close message with a status code.
func closing(code uint16) []byte {
	return binary.BigEndian.AppendUint16(appendHeader(nil, opClose, 2), code)
}
