package live

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// masked is a frame as clients send it.
func masked(op byte, final bool, payload []byte) []byte {
	b := appendHeader(nil, op, len(payload))
	if !final {
		b[0] &^= 0x80
	}
	b[1] |= 0x80
	mask := []byte{1, 2, 3, 4}
	b = append(b, mask...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

// readFrame reads one frame of the server.
func readFrame(t *testing.T, l *listener) (op byte, payload []byte) {
	t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(l.in, head[:]); err != nil {
		t.Fatal(err)
	}
	if head[0]&0x80 == 0 || head[1]&0x80 != 0 {
		t.Fatalf("frame header %x: not final, or masked", head)
	}
	size := uint64(head[1])
	switch size {
	case 126:
		var b [2]byte
		io.ReadFull(l.in, b[:])
		size = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		io.ReadFull(l.in, b[:])
		size = binary.BigEndian.Uint64(b[:])
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(l.in, payload); err != nil {
		t.Fatal(err)
	}
	return head[0] & 0x0f, payload
}

func wantText(t *testing.T, l *listener, part string) {
	t.Helper()
	if op, p := readFrame(t, l); op != opText || !strings.Contains(string(p), part) {
		t.Fatalf("frame %d %s, want a text with %s", op, p, part)
	}
}

func wantClose(t *testing.T, l *listener, code uint16) {
	t.Helper()
	op, p := readFrame(t, l)
	if op != opClose || len(p) != 2 || binary.BigEndian.Uint16(p) != code {
		t.Fatalf("frame %d %x, want to be closed with %d", op, p, code)
	}
}

// TestWebSocket talks to a hub over a socket: frames come, pings are answered between
// them, and who breaks the rules is closed with the code for it.
func TestWebSocket(t *testing.T) {
	s := newStage(t, Config{Interval: time.Millisecond}, WebSocket, nil)
	open := func(t *testing.T) *listener {
		l := s.listen()
		wantText(t, l, `{"event":"full","id":"`)
		return l
	}
	send := func(t *testing.T, l *listener, b ...[]byte) {
		t.Helper()
		if _, err := l.nc.Write(bytes.Join(b, nil)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("news and pings", func(t *testing.T) {
		l := open(t)
		send(t, l, masked(opPing, true, []byte("hi")))
		if op, p := readFrame(t, l); op != opPong || string(p) != "hi" {
			t.Errorf("frame %d %q, want the pong", op, p)
		}
		send(t, l, masked(opText, false, []byte("a")), masked(opPong, true, nil), masked(opContinuation, true, []byte("b")))
		s.source.say(1)
		wantText(t, l, `"event":"delta"`)
		send(t, l, masked(opClose, true, []byte{3, 232}))
		wantClose(t, l, closeNormal)
		l.closed()
	})
	noise := masked(opText, true, []byte("x"))
	for name, c := range map[string]struct {
		send []byte
		code uint16
	}{
		"not masked":          {appendHeader(nil, opText, 0), closeProtocol},
		"compressed":          {append([]byte{0xc1}, masked(opText, true, nil)[1:]...), closeProtocol},
		"unknown opcode":      {masked(3, true, nil), closeProtocol},
		"long control frame":  {masked(opPing, true, make([]byte, 126)), closeProtocol},
		"control in pieces":   {masked(opPing, false, nil), closeProtocol},
		"continues nothing":   {masked(opContinuation, true, nil), closeProtocol},
		"close of one byte":   {masked(opClose, true, []byte{3}), closeProtocol},
		"too large":           {masked(opText, true, make([]byte, maxMessage+1)), closeTooBig},
		"announces too much":  {masked(opBinary, true, make([]byte, 1<<16))[:14], closeTooBig},
		"too large in pieces": {bytes.Repeat(masked(opContinuation, false, make([]byte, 600)), 2), closeTooBig},
		"too many":            {bytes.Repeat(noise, messageBurst+10), closePolicy},
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t)
			if name == "too large in pieces" {
				send(t, l, masked(opText, false, nil))
			}
			send(t, l, c.send)
			wantClose(t, l, c.code)
			l.closed()
		})
	}
}

// TestRateForgives proves that the limit of frames is one per time.
func TestRateForgives(t *testing.T) {
	var in input
	frame := masked(opPong, true, nil)
	now := time.Duration(0)
	for range 10 * messageBurst {
		if r := in.feed(bytes.Clone(frame), now); r.close {
			t.Fatalf("closed after %v at the allowed rate", now)
		}
		now += time.Second / messageRate
	}
}

// TestPiecesMakeNoDifference proves that it does not matter how the kernel cuts what
// a client sends.
func TestPiecesMakeNoDifference(t *testing.T) {
	stream := bytes.Join([][]byte{
		masked(opText, false, []byte("some")), masked(opPing, true, []byte("p")), masked(opContinuation, true, make([]byte, 300)),
		masked(opPing, true, []byte("last")), masked(opBinary, true, make([]byte, maxMessage)), masked(opClose, true, nil),
	}, nil)
	want := append(appendHeader(nil, opPong, 4), "last"...)
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var in input
		var pong []byte
		rest, closed := bytes.Clone(stream), false
		for len(rest) > 0 {
			n := 1 + rnd.IntN(len(rest))
			r := in.feed(rest[:n], 0)
			if rest = rest[n:]; r.close {
				closed = true
			} else if r.write != nil {
				pong = r.write
			}
		}
		if !closed {
			t.Fatalf("seed %d: not closed", seed)
		}
		if pong != nil && len(pong) == len(want) && !bytes.Equal(pong, want) {
			t.Fatalf("seed %d: pong %x", seed, pong)
		}
	}
}

// FuzzInput proves that nothing a client sends makes the node keep more than a frame,
// or answer with what is no frame.
func FuzzInput(f *testing.F) {
	f.Add(masked(opText, true, []byte("hello")), uint8(3))
	f.Add(masked(opPing, true, []byte("hello")), uint8(1))
	f.Add(masked(opClose, true, []byte{3, 232}), uint8(200))
	f.Add([]byte{0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, uint8(7))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		var in input
		for len(b) > 0 {
			n := min(len(b), int(cut)+1)
			r := in.feed(bytes.Clone(b[:n]), 0)
			b = b[n:]
			if len(in.held) > maxMessage+14 {
				t.Fatalf("%d bytes are kept", len(in.held))
			}
			if len(r.write) > 0 && (r.write[0]&0x80 == 0 || int(r.write[1]) != len(r.write)-2) {
				t.Fatalf("answered with %x", r.write)
			}
			if r.close {
				return
			}
		}
	})
}

func TestAccept(t *testing.T) {
	good := map[string]string{
		"Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	}
	get := func(changed, to string) func(string) string {
		return func(name string) string {
			if name == changed {
				return to
			}
			return good[name]
		}
	}
	// The example of RFC 6455, section 1.3.
	if accept, wrong := Accept(get("", "")); accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || wrong != "" {
		t.Errorf("%q %q", accept, wrong)
	}
	for name, to := range map[string]string{
		"Connection": "keep-alive", "Upgrade": "h2c", "Sec-WebSocket-Version": "8", "Sec-WebSocket-Key": "c2hvcnQ=",
	} {
		if accept, wrong := Accept(get(name, to)); accept != "" || wrong == "" {
			t.Errorf("%s: %s is accepted", name, to)
		}
	}
}
