package live

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

// Opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// Status codes of RFC 6455, section 7.4.1.
const (
	closeNormal    = 1000
	closeGoingAway = 1001
	closeProtocol  = 1002
	closePolicy    = 1008
	closeTooBig    = 1009
)

// What a client may send. Nothing that it says is of interest, so little is enough.
const (
	maxMessage   = 1024 // bytes of a message
	messageBurst = 20   // frames at once
	messageRate  = 5    // frames a second
)

// Accept answers a WebSocket handshake: the value of Sec-WebSocket-Accept for the
// headers of a request, or a sentence that says what is wrong with them. No
// extension is ever agreed to, so nothing that clients send is compressed.
func Accept(header func(name string) string) (accept, wrong string) {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455, section 1.3
	key := strings.TrimSpace(header("Sec-WebSocket-Key"))
	raw, err := base64.StdEncoding.DecodeString(key)
	switch {
	case !hasToken(header("Connection"), "upgrade") || !hasToken(header("Upgrade"), "websocket"):
		return "", "A WebSocket begins with the headers \"Connection: Upgrade\" and \"Upgrade: websocket\"."
	case header("Sec-WebSocket-Version") != "13":
		return "", "Send \"Sec-WebSocket-Version: 13\": no other version is spoken here."
	case err != nil || len(raw) != 16:
		return "", "The header Sec-WebSocket-Key must be 16 bytes in base64."
	}
	sum := sha1.Sum([]byte(key + guid))
	return base64.StdEncoding.EncodeToString(sum[:]), ""
}

// hasToken reports whether a header's list has a token, in whatever case.
func hasToken(list, token string) bool {
	for t := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(t), token) {
			return true
		}
	}
	return false
}

// An input is what a WebSocket client has sent and is not understood yet. It belongs
// to the poller, or to the goroutine that reads from an encrypted connection. Bounded
// by maxMessage and a frame's header.
type input struct {
	held    []byte        // the beginning of a frame
	message int           // bytes of the message so far, if it has several frames
	open    bool          // such a message is not at its end
	spent   float64       // frames, less what the rate has forgiven
	at      time.Duration // of the last frame
}

// A reply is what to do after input: something to write, and whether to close then.
type reply struct {
	write []byte
	close bool
}

func end(code uint16) reply { return reply{closing(code), true} }

// feed takes more of what the client has sent; now only grows.
func (in *input) feed(b []byte, now time.Duration) (r reply) {
	if len(in.held) > 0 {
		b = append(in.held, b...)
	}
	in.held = nil
	for {
		f, size, code := parseFrame(b)
		if code != 0 {
			return end(code)
		}
		if size == 0 {
			break
		}
		if !in.afford(now) {
			return end(closePolicy)
		}
		if pong, code := in.take(f); code != 0 {
			return end(code)
		} else if pong != nil {
			r.write = pong // to the latest ping, which answers those before it
		}
		b = b[size:]
	}
	if len(b) > 0 {
		in.held = append([]byte(nil), b...)
	}
	return r
}

// afford counts a frame; false if there are too many.
func (in *input) afford(now time.Duration) bool {
	in.spent = max(0, in.spent-(now-in.at).Seconds()*messageRate)
	in.at = now
	in.spent++
	return in.spent <= messageBurst
}

// take looks at a frame: a pong to send, or the code to close with.
func (in *input) take(f clientFrame) (pong []byte, code uint16) {
	switch f.op {
	case opPing:
		return append(appendHeader(nil, opPong, len(f.payload)), f.payload...), 0
	case opPong:
		return nil, 0
	case opClose:
		if len(f.payload) == 1 {
			return nil, closeProtocol
		}
		return nil, closeNormal
	case opContinuation:
		if !in.open {
			return nil, closeProtocol
		}
	case opText, opBinary:
		if in.open {
			return nil, closeProtocol
		}
		in.message = 0
	default:
		return nil, closeProtocol
	}
	if in.message += len(f.payload); in.message > maxMessage {
		return nil, closeTooBig
	}
	in.open = !f.final
	return nil, 0
}

// A clientFrame is a frame that a client has sent, unmasked.
type clientFrame struct {
	op      byte
	final   bool
	payload []byte // in the place where it was
}

// parseFrame reads the frame at the beginning of b, and unmasks it there. size is
// its length, 0 if it is not complete; code is the status to close with if it is
// none that a client may send.
func parseFrame(b []byte) (f clientFrame, size int, code uint16) {
	const final, reserved, control, masked, maskSize = 0x80, 0x70, 0x08, 0x80, 4
	if len(b) < 2 {
		return f, 0, 0
	}
	f.op, f.final = b[0]&0x0f, b[0]&final != 0
	if b[0]&reserved != 0 || b[1]&masked == 0 {
		return f, 0, closeProtocol
	}
	length, at := uint64(b[1]&0x7f), 2
	if f.op&control != 0 && (length > 125 || !f.final) {
		return f, 0, closeProtocol
	}
	switch length {
	case 126:
		if len(b) < 4 {
			return f, 0, 0
		}
		length, at = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return f, 0, 0
		}
		length, at = binary.BigEndian.Uint64(b[2:]), 10
	}
	if length > maxMessage {
		return f, 0, closeTooBig
	}
	size = at + maskSize + int(length)
	if len(b) < size {
		return f, 0, 0
	}
	mask := b[at : at+maskSize]
	f.payload = b[at+maskSize : size]
	for i := range f.payload {
		f.payload[i] ^= mask[i%maskSize]
	}
	return f, size, 0
}
