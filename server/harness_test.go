package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// testPatience bounds whatever a test waits for. Nothing takes nearly as long.
const testPatience = 20 * time.Second

// startNode starts a node in an empty directory, on free ports of loopback, as
// changed by change. The test's end closes it.
func startNode(t testing.TB, change func(*Config)) *Node {
	t.Helper()
	c := Config{Data: t.TempDir()}
	if change != nil {
		change(&c)
	}
	return startOn(t, c)
}

// startOn starts a node with its listeners, unless c says otherwise, on free
// ports.
func startOn(t testing.TB, c Config) *Node {
	t.Helper()
	for _, addr := range []*string{&c.Listen, &c.HTTP, &c.Admin, &c.Peer} {
		setDefault(addr, "127.0.0.1:0")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	n, err := Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNode(t, n) })
	return n
}

// closeNode stops a node in good order. A second time does nothing.
func closeNode(t testing.TB, n *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testPatience)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Errorf("close the node: %v", err)
	}
}

// hall is a manifest with one section A of rows 1, 2, … and one area Floor.
func hall(key string, rows, seats int) *wire.Manifest {
	m := &wire.Manifest{
		Key:        key,
		Name:       key,
		Categories: []string{"one"},
		Sections:   []wire.Section{{Name: "A"}},
		Areas:      []wire.Area{{Name: "Floor", Capacity: 10}},
		Rules:      wire.DefaultRules(),
	}
	for r := range rows {
		row := wire.Row{Name: strconv.Itoa(r + 1), Focal: uint16(seats - 1)}
		for s := range seats {
			row.Seats = append(row.Seats, wire.Seat{Label: strconv.Itoa(s + 1)})
		}
		m.Sections[0].Rows = append(m.Sections[0].Rows, row)
	}
	return m
}

// openHall makes an event and returns its id.
func openHall(t testing.TB, n *Node, m *wire.Manifest) wire.EventID {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	loc, s, text := n.createEvent(ctx, m)
	if s != wire.StatusOK {
		t.Fatalf("create %q: %v %s", m.Key, s, text)
	}
	return loc.Event
}

// A peer is the client's end of a binary connection, frame by frame. It belongs
// to the test's goroutine.
type peer struct {
	t    testing.TB
	nc   net.Conn
	in   *bufio.Reader
	last uint64 // request id
}

// connect opens a connection and says nothing.
func connect(t testing.TB, addr string) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(testPatience)); err != nil {
		t.Fatal(err)
	}
	return &peer{t: t, nc: nc, in: bufio.NewReader(nc)}
}

// hello is what a client of this version says.
func hello(key string, c wire.Compression) *wire.Hello {
	return &wire.Hello{MinVersion: wire.ProtocolVersion, MaxVersion: wire.ProtocolVersion, Compression: c, Key: []byte(key)}
}

// dial opens a connection and says hello.
func dial(t testing.TB, n *Node) *peer {
	t.Helper()
	p := connect(t, n.Addr())
	p.welcome(hello("", wire.CompressNone))
	return p
}

// welcome says hello and returns the welcome.
func (p *peer) welcome(h *wire.Hello) (w wire.Welcome) {
	p.t.Helper()
	s, body := p.ask(wire.KindHello, 0, h.Append(nil))
	if s != wire.StatusOK {
		p.t.Fatalf("hello: %v %s", s, body)
	}
	if err := w.Decode(body); err != nil {
		p.t.Fatalf("welcome: %v", err)
	}
	return w
}

// frame is a request with the next request id.
func (p *peer) frame(k wire.Kind, f wire.Flags, body []byte) []byte {
	p.last++
	return append(wire.Header{Body: len(body), Kind: k, Flags: f, Request: p.last}.Append(nil), body...)
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// send sends a request and returns its id.
func (p *peer) send(k wire.Kind, f wire.Flags, body []byte) uint64 {
	p.t.Helper()
	p.write(p.frame(k, f, body))
	return p.last
}

// receive reads the next answer.
func (p *peer) receive() (wire.Header, []byte) {
	p.t.Helper()
	h, body, err := p.next()
	if err != nil {
		p.t.Fatalf("read an answer: %v", err)
	}
	return h, body
}

func (p *peer) next() (h wire.Header, body []byte, err error) {
	var head [wire.HeaderSize]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return h, nil, err
	}
	h, err = wire.ParseHeader(head[:], wire.MaxAnswerBody)
	if err != nil {
		return h, nil, err
	}
	if h.Flags&wire.FlagAnswer == 0 {
		return h, nil, fmt.Errorf("a frame of kind %d that is no answer", h.Kind)
	}
	body = make([]byte, h.Body)
	_, err = io.ReadFull(p.in, body)
	return h, body, err
}

// ask sends a request and reads its answer, which must be the next.
func (p *peer) ask(k wire.Kind, f wire.Flags, body []byte) (wire.Status, []byte) {
	p.t.Helper()
	id := p.send(k, f, body)
	h, answer := p.receive()
	if h.Request != id || h.Kind != k {
		p.t.Fatalf("asked %d of kind %d, answered %d of kind %d: %v %q", id, k, h.Request, h.Kind, h.Status, answer)
	}
	return h.Status, answer
}

// want is ask for a request that must end with a status.
func (p *peer) want(s wire.Status, k wire.Kind, body []byte) []byte {
	p.t.Helper()
	got, answer := p.ask(k, 0, body)
	if got != s {
		p.t.Fatalf("kind %d: %v %q, want %v", k, got, answer, s)
	}
	return answer
}

// ended proves that the node has closed the connection: after the answers there
// is an end, not a reset.
func (p *peer) ended() {
	p.t.Helper()
	if h, body, err := p.next(); err != io.EOF {
		p.t.Fatalf("the connection goes on: %v, %v, %q", err, h, body)
	}
}
