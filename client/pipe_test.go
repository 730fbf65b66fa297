package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/usher-seats/usher/wire"
)

// echoNode is the least that answers on a real socket: it answers every frame
// with the same body, in large writes.
func echoNode(t testing.TB, answer []byte) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go echo(nc, answer)
		}
	}()
	return l.Addr().String()
}

func echo(nc net.Conn, answer []byte) {
	defer nc.Close()
	in, out := make([]byte, 256<<10), make([]byte, 0, 1<<20)
	from, to := 0, 0
	for {
		n, err := nc.Read(in[to:])
		if err != nil {
			return
		}
		to += n
		out = out[:0]
		for to-from >= wire.HeaderSize {
			size := 4 + int(binary.LittleEndian.Uint32(in[from:]))
			if to-from < size {
				break
			}
			body := answer
			if wire.Kind(in[from+4]) == wire.KindHello {
				body = (&wire.Welcome{Version: 1, MaxInFlight: 1 << 14, Node: []byte("echo")}).Append(nil)
			}
			h := wire.Header{Body: len(body), Kind: wire.Kind(in[from+4]), Flags: wire.FlagAnswer, Request: binary.LittleEndian.Uint64(in[from+8:])}
			out = append(h.Append(out), body...)
			from += size
		}
		to = copy(in, in[from:to])
		from = 0
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

func granted() []byte {
	return (&wire.Granted{Fence: 1, Deadline: 2, Now: 1, Seats: wire.MakeSeatList(1, 2)}).Append(nil)
}

func dialPipe(t testing.TB, addr string) *Pipe {
	p, err := DialPipe(context.Background(), addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Requests leave in the order they were added and their answers come back with
// the ids they had.
func TestPipe(t *testing.T) {
	p := dialPipe(t, echoNode(t, granted()))
	if p.Node() != "echo" || p.MaxInFlight() != 1<<14 {
		t.Errorf("welcomed by %q, %d in flight", p.Node(), p.MaxInFlight())
	}
	for i := uint64(1); i <= 1000; i++ {
		if id := p.Add(wire.KindPing, 0, []byte("hello")); id != i {
			t.Fatalf("request %d has id %d", i, id)
		}
	}
	p.Begin() // without End: forgotten
	hold := wire.Hold{Seats: wire.MakeSeatList(7)}
	p.End(wire.Header{Kind: wire.KindHold, Request: 77}, hold.Append(p.Begin()))
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 1001; i++ {
		h, body, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		want := wire.Header{Body: len(granted()), Kind: wire.KindPing, Flags: wire.FlagAnswer, Request: i}
		if i == 1001 {
			want.Kind, want.Request = wire.KindHold, 77
		}
		if h != want || !bytes.Equal(body, granted()) {
			t.Fatalf("answer %d is %+v, want %+v", i, h, want)
		}
	}
	if n := p.Buffered(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// scripted is a connection that gives its bytes as a reader does.
type scripted struct {
	net.Conn
	io.Reader
}

func (s scripted) Read(b []byte) (int, error) { return s.Reader.Read(b) }

// Answers arrive whole however the bytes do, larger than the buffer too, and
// Buffered never promises half of one.
func TestPipeReadsAnyPieces(t *testing.T) {
	var stream []byte
	var bodies [][]byte
	for _, n := range []int{0, 1, 100, 3, pipeBuffer - wire.HeaderSize, 5, 3 * pipeBuffer, 0, 2} {
		body := bytes.Repeat([]byte{byte(n)}, n)
		h := wire.Header{Body: n, Kind: wire.KindMap, Flags: wire.FlagAnswer, Request: uint64(len(bodies))}
		stream = append(h.Append(stream), body...)
		bodies = append(bodies, body)
	}
	readers := map[string]io.Reader{
		"whole":   bytes.NewReader(stream),
		"bytes":   iotest.OneByteReader(bytes.NewReader(stream)),
		"halves":  iotest.HalfReader(bytes.NewReader(stream)),
		"and EOF": iotest.DataErrReader(bytes.NewReader(stream)),
	}
	for name, r := range readers {
		p := &Pipe{nc: scripted{Reader: r}, in: make([]byte, pipeBuffer)}
		for i, want := range bodies {
			whole := p.Buffered() > 0
			before := p.to
			h, body, err := p.Next()
			if err != nil || h.Request != uint64(i) || !bytes.Equal(body, want) {
				t.Fatalf("%s: answer %d: %+v, %v", name, i, h, err)
			}
			if whole && p.to != before {
				t.Errorf("%s: answer %d was buffered and yet read for", name, i)
			}
		}
		if _, _, err := p.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the last: %v", name, err)
		}
	}
}

// What is no answer ends the pipe with an error, and an announced length alone
// costs no memory.
func TestPipeGarbage(t *testing.T) {
	huge := wire.Header{Body: wire.MaxAnswerBody, Kind: wire.KindMap, Flags: wire.FlagAnswer}.Append(nil)
	cases := []struct {
		name  string
		bytes []byte
		says  string
	}{
		{"noise", bytes.Repeat([]byte{0xff}, 100), "above the limit"},
		{"a request", wire.Header{Kind: wire.KindMap}.Append(nil), "no answer"},
		{"half a frame", huge, "EOF"},
	}
	for _, tc := range cases {
		p := &Pipe{nc: scripted{Reader: bytes.NewReader(tc.bytes)}, in: make([]byte, pipeBuffer)}
		if _, _, err := p.Next(); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: error is %v, want one with %q", tc.name, err, tc.says)
		}
		if len(p.in) > 2*pipeBuffer {
			t.Errorf("%s: the buffer grew to %d", tc.name, len(p.in))
		}
	}
}

// A pipe does not wait longer than it was told to.
func TestPipeDeadline(t *testing.T) {
	p := dialPipe(t, echoNode(t, nil))
	if err := p.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, _, err := p.Next(); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("error is %v", err)
	}
}

// pump sends holds through p, window of them at a time.
func pump(p *Pipe, hold *wire.Hold, n, window int) error {
	sent, got := 0, 0
	for got < n {
		for sent < n && sent-got < window {
			hold.Deadline = wire.Millis(sent)
			p.End(wire.Header{Kind: wire.KindHold, Request: uint64(sent)}, hold.Append(p.Begin()))
			sent++
		}
		if err := p.Flush(); err != nil {
			return err
		}
		for first := true; got < sent && (first || p.Buffered() > 0); first = false {
			if _, _, err := p.Next(); err != nil {
				return err
			}
			got++
		}
	}
	return nil
}

// Once its buffers have grown, a pipe allocates nothing.
func TestPipeAllocatesNothing(t *testing.T) {
	p := dialPipe(t, echoNode(t, granted()))
	hold := &wire.Hold{Seats: wire.MakeSeatList(1, 2)}
	var failed error
	run := func() {
		if err := pump(p, hold, 4096, 1024); err != nil {
			failed = err
		}
		for range 16 {
			p.Add(wire.KindPing, 0, hold.Seats)
		}
		p.Flush()
		for range 16 {
			p.Next()
		}
	}
	run()
	if n := testing.AllocsPerRun(20, run); n > 2 || failed != nil { // the echo and the runtime may
		t.Errorf("%v allocations in 4112 requests, %v", n, failed)
	}
}

func BenchmarkPipe(b *testing.B) {
	p := dialPipe(b, echoNode(b, granted()))
	hold := &wire.Hold{Seats: wire.MakeSeatList(1, 2)}
	b.ReportAllocs()
	b.ResetTimer()
	if err := pump(p, hold, b.N, 8192); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}
