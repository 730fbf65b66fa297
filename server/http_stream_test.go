package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A viewer follows a stream and keeps the map that it tells of. It belongs to the
// test's goroutine.
type viewer struct {
	t       *testing.T
	nc      net.Conn
	in      *bufio.Reader
	head    *http.Response
	states  map[int]wire.SeatState // all seats of the first words
	words   int
	version uint64
	resyncs int
	deltas  int
}

// view opens a stream of an event; extra are lines of the request's head.
func view(t *testing.T, addr, path string, extra ...string) *viewer {
	t.Helper()
	return viewOver(t, tcpTo(t, addr), path, extra...)
}

func tcpTo(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func viewOver(t *testing.T, nc net.Conn, path string, extra ...string) *viewer {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(testPatience)); err != nil {
		t.Fatal(err)
	}
	lines := append([]string{"GET " + path + " HTTP/1.1", "Host: localhost"}, extra...)
	if _, err := io.WriteString(nc, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	v := &viewer{t: t, nc: nc, in: bufio.NewReader(nc), states: make(map[int]wire.SeatState)}
	var err error
	if v.head, err = http.ReadResponse(v.in, nil); err != nil {
		t.Fatalf("the stream's head: %v", err)
	}
	if v.head.StatusCode != http.StatusSwitchingProtocols {
		v.in = bufio.NewReader(v.head.Body)
	}
	return v
}

// next reads an event and takes what it says.
func (v *viewer) next() (event string, err error) {
	var id, data string
	for {
		line, err := v.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case name == "id":
			id = value
		case name == "event":
			event = value
		case name == "data":
			data = value
		case line == "\n" && event != "":
			return event, v.take(event, id, []byte(data))
		}
	}
}

func (v *viewer) take(event, id string, data []byte) error {
	switch event {
	case "resync":
		v.resyncs++
		return nil
	case "deleted":
		return nil
	case "map":
		return v.takeMap(id, data)
	}
	v.deltas++
	var d struct {
		Version                     string
		Free, Held, Booked, Blocked []int
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return err
	}
	for state, seats := range map[wire.SeatState][]int{wire.SeatFree: d.Free, wire.SeatHeld: d.Held, wire.SeatBooked: d.Booked, wire.SeatBlocked: d.Blocked} {
		for _, s := range seats {
			v.states[s] = state
		}
	}
	return v.at(id, d.Version)
}

func (v *viewer) takeMap(id string, data []byte) error {
	var m struct {
		Version string
		Words   int
		Planes  string
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	planes, err := base64.StdEncoding.DecodeString(m.Planes)
	if err != nil || len(planes) != 16*m.Words {
		return fmt.Errorf("planes of %d bytes for %d words: %v", len(planes), m.Words, err)
	}
	sm := wire.SeatMap{Planes: planes}
	for s := range 64 * m.Words {
		v.states[s] = sm.State(wire.SeatID(s))
	}
	v.words = m.Words
	return v.at(id, m.Version)
}

func (v *viewer) at(id, version string) (err error) {
	if id != version {
		return fmt.Errorf("the event %s has version %s", id, version)
	}
	v.version, err = strconv.ParseUint(id, 10, 64)
	return err
}

// until follows the stream until a condition holds.
func (v *viewer) until(what string, cond func() bool) {
	v.t.Helper()
	for !cond() {
		if _, err := v.next(); err != nil {
			v.t.Fatalf("waited for %s: %v", what, err)
		}
	}
}

// sees fails unless the viewer's map becomes what the node answers.
func (v *viewer) sees(n *Node, event wire.EventID) {
	v.t.Helper()
	status, body := n.do(v.t.Context(), wire.Record{Kind: wire.KindMap, Flags: wire.FlagConsistent, Body: (&wire.EventRef{Event: event}).Append(nil)})
	var m wire.SeatMap
	if err := m.Decode(body); status != wire.StatusOK || err != nil {
		v.t.Fatalf("map: %v %v", status, err)
	}
	v.until("the version of the map", func() bool { return v.version >= uint64(m.Version) })
	for s := range 64 * v.words {
		if got, want := v.states[s], m.State(wire.SeatID(s)); got != want {
			v.t.Fatalf("seat %d is %v in the stream and %v on the node", s, got, want)
		}
	}
}

func hold(t testing.TB, n *Node, event wire.EventID, seats ...wire.SeatID) {
	t.Helper()
	h := wire.Hold{Mutation: n.begin(event), Seats: wire.MakeSeatList(seats...)}
	if status, body := n.do(t.Context(), wire.Record{Kind: wire.KindHold, Body: h.Append(nil)}); status != wire.StatusOK {
		t.Fatalf("hold: %v %s", status, body)
	}
}

const galaStream = "/v1/events/gala/stream"

// TestStream follows an event: its map, what changes, and what the client that comes
// back has missed.
func TestStream(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 3, 20))
	v := view(t, n.HTTPAddr(), galaStream)
	if v.head.StatusCode != 200 || v.head.Header.Get("Content-Type") != streamMedia || v.head.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("head %v", v.head)
	}
	v.sees(n, event)
	hold(t, n, event, 1, 2)
	v.sees(n, event)
	if v.deltas == 0 || v.resyncs != 0 {
		t.Errorf("%d deltas, %d resyncs", v.deltas, v.resyncs)
	}
	for name, resume := range map[string]func(at string) *viewer{
		"Last-Event-ID": func(at string) *viewer { return view(t, n.HTTPAddr(), galaStream, "Last-Event-ID: "+at) },
		"since":         func(at string) *viewer { return view(t, n.HTTPAddr(), galaStream+"?since="+at) },
	} {
		t.Run(name, func(t *testing.T) {
			v.nc.Close()
			hold(t, n, event, wire.SeatID(64+v.deltas))
			again := resume(strconv.FormatUint(v.version, 10))
			again.states, again.words = v.states, v.words
			again.sees(n, event)
			if again.deltas != 1 || again.resyncs != 0 {
				t.Errorf("%d deltas and %d resyncs, want one delta", again.deltas, again.resyncs)
			}
			v.version, v.deltas = again.version, v.deltas+1
		})
	}
	t.Run("of another life", func(t *testing.T) {
		v := view(t, n.HTTPAddr(), galaStream, "Last-Event-ID: 12")
		v.sees(n, event)
		if v.resyncs != 1 {
			t.Errorf("%d resyncs, want 1", v.resyncs)
		}
	})
	t.Run("no version at all", func(t *testing.T) {
		view(t, n.HTTPAddr(), galaStream, "Last-Event-ID: abc").sees(n, event)
		if v := view(t, n.HTTPAddr(), galaStream+"?since=abc"); v.head.StatusCode != 400 {
			t.Errorf("since=abc is answered with %d", v.head.StatusCode)
		}
	})
	t.Run("through a proxy that closes", func(t *testing.T) {
		view(t, n.HTTPAddr(), galaStream, "Connection: close").sees(n, event)
	})
	t.Run("HEAD", func(t *testing.T) {
		resp, err := http.Head("http://" + n.HTTPAddr() + galaStream)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != streamMedia {
			t.Errorf("%v", resp)
		}
	})
	t.Run("no such event", func(t *testing.T) {
		if v := view(t, n.HTTPAddr(), "/v1/events/none/stream"); v.head.StatusCode != 404 {
			t.Errorf("%v", v.head)
		}
	})
}

// TestStreamBeyondTheRing proves that who has missed more than the event remembers
// is told so, and sees the right map.
func TestStreamBeyondTheRing(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 2, 20))
	v := view(t, n.HTTPAddr(), galaStream)
	v.sees(n, event)
	v.nc.Close()
	block := func(kind wire.Kind) {
		op := wire.SeatsOp{Mutation: n.begin(event), Seats: wire.MakeSeatList(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)}
		if status, body := n.do(t.Context(), wire.Record{Kind: kind, Body: op.Append(nil)}); status != wire.StatusOK {
			t.Fatalf("%v %s", status, body)
		}
	}
	for range wire.MaxOpSeats/20 + 10 { // the ring has at least MaxOpSeats
		block(wire.KindBlock)
		block(wire.KindUnblock)
	}
	again := view(t, n.HTTPAddr(), galaStream, fmt.Sprintf("Last-Event-ID: %d", v.version))
	again.sees(n, event)
	if again.resyncs != 1 {
		t.Errorf("%d resyncs, want 1", again.resyncs)
	}
}

// TestStreamOfAMovedEvent proves that a stream goes on when the event moves to
// another shard, and ends when it is deleted.
func TestStreamOfAMovedEvent(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Shards = 2 })
	event := openHall(t, n, hall("gala", 2, 20))
	v := view(t, n.HTTPAddr(), galaStream)
	hold(t, n, event, 1, 2)
	v.sees(n, event)
	moveTo(t, n, event, otherShard(n, event))
	hold(t, n, event, 3)
	v.sees(n, event)
	if v.resyncs != 1 {
		t.Errorf("%d resyncs, want 1", v.resyncs)
	}
	if status, text := n.deleteEvent(t.Context(), "gala"); status != wire.StatusOK {
		t.Fatalf("delete: %v %s", status, text)
	}
	if what, err := v.next(); what != "deleted" || err != nil {
		t.Errorf("%q %v, want the event's end", what, err)
	}
	if _, err := v.next(); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after the end: %v", err)
	}
	eventually(t, "no subscriber is left", func() bool { return n.live.Stats().Subscribers == 0 })
}

// TestStreamFromEveryNode proves that followers serve streams, and nodes without a
// replica of the event's shard too.
func TestStreamFromEveryNode(t *testing.T) {
	c := newCrew(t, 3, func(c *Config) { c.Shards, c.Replicas = 1, 2 })
	c.settled()
	event := openHall(t, c.nodes[0], hall("gala", 2, 20))
	without := 0
	var all []*viewer
	for _, n := range c.nodes {
		if n.local(1) == nil {
			without++
		}
		eventually(t, "the node knows the event", func() bool { return n.table().Event(event) != nil })
		all = append(all, view(t, n.HTTPAddr(), galaStream))
	}
	if without != 1 {
		t.Fatalf("%d nodes have no replica, want one", without)
	}
	for seat := range wire.SeatID(5) {
		hold(t, c.nodes[0], event, seat)
		for _, v := range all {
			v.sees(c.nodes[0], event)
		}
	}
	for i, v := range all {
		if v.resyncs != 0 {
			t.Errorf("node %d had its viewer begin anew %d times", i+1, v.resyncs)
		}
	}
}

// TestStreamWebSocket proves that the same comes over a WebSocket.
func TestStreamWebSocket(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 1, 20))
	upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		"Sec-WebSocket-Extensions: permessage-deflate"}
	nc := tcpTo(t, n.HTTPAddr())
	v := viewOver(t, nc, galaStream, upgrade...)
	if v.head.StatusCode != 101 || v.head.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || v.head.Header.Get("Sec-WebSocket-Extensions") != "" {
		t.Fatalf("head %v", v.head)
	}
	message := func() (m struct {
		Event, ID string
		Data      json.RawMessage
	}) {
		t.Helper()
		head := make([]byte, 4)
		if _, err := io.ReadFull(v.in, head[:2]); err != nil {
			t.Fatal(err)
		}
		size := int(head[1])
		if size == 126 {
			if _, err := io.ReadFull(v.in, head[2:]); err != nil {
				t.Fatal(err)
			}
			size = int(head[2])<<8 | int(head[3])
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(v.in, text); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return m
	}
	if m := message(); m.Event != "map" || v.take(m.Event, m.ID, m.Data) != nil {
		t.Fatalf("%s %s", m.Event, m.Data)
	}
	hold(t, n, event, 7)
	if m := message(); m.Event != "delta" || v.take(m.Event, m.ID, m.Data) != nil || v.states[7] != wire.SeatHeld {
		t.Errorf("%s %s", m.Event, m.Data)
	}
	if v := view(t, n.HTTPAddr(), galaStream, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8"); v.head.StatusCode != 400 || v.head.Header.Get("Sec-WebSocket-Version") != "13" {
		t.Errorf("a wrong handshake is answered with %v", v.head)
	}
}

// TestStreamOrigins proves that pages of other origins read streams only if the
// operator allows them.
func TestStreamOrigins(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Origins = []string{"https://tickets.example"} })
	openHall(t, n, hall("gala", 1, 20))
	upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for _, c := range []struct {
		origin string
		ok     bool
		shared string
	}{
		{"", true, ""}, {"http://localhost", true, ""}, {"https://tickets.example", true, "https://tickets.example"},
		{"https://evil.example", false, ""}, {"http://localhost:99", false, ""}, {"null", false, ""}, {"https://tickets.example.evil", false, ""},
	} {
		var extra []string
		if c.origin != "" {
			extra = []string{"Origin: " + c.origin}
		}
		for _, more := range [][]string{nil, upgrade} {
			v := view(t, n.HTTPAddr(), galaStream, append(extra, more...)...)
			if got := v.head.StatusCode; (got < 400) != c.ok || !c.ok && got != 403 {
				t.Errorf("origin %q: %d", c.origin, got)
			}
			if got := v.head.Header.Get("Access-Control-Allow-Origin"); got != c.shared {
				t.Errorf("origin %q is told to share with %q", c.origin, got)
			}
			v.nc.Close()
		}
	}
}

// TestStreamLimits proves that each limit refuses with its problem, that streams do
// not count as connections, and that places become free.
func TestStreamLimits(t *testing.T) {
	n := startNode(t, func(c *Config) {
		c.MaxSubscribers, c.MaxSubscribersPerEvent, c.MaxSubscribersPerIP = 4, 3, 2
		c.MaxHTTPConns = 2
	})
	openHall(t, n, hall("gala", 1, 20))
	openHall(t, n, hall("other", 1, 20))
	from := func(ip byte, path string) *viewer {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, ip)}}
		nc, err := d.Dial("tcp", n.HTTPAddr())
		if err != nil {
			t.Fatal(err)
		}
		return viewOver(t, nc, path)
	}
	refusal := func(v *viewer, code int, problem string) {
		t.Helper()
		body, _ := io.ReadAll(io.LimitReader(v.in, v.head.ContentLength))
		if v.head.StatusCode != code || !bytes.Contains(body, []byte(`"`+problem+`"`)) || v.head.Header.Get("Retry-After") == "" {
			t.Errorf("%v %s, want %d %s", v.head, body, code, problem)
		}
		v.nc.Close()
		eventually(t, "the refused connection is gone", func() bool { return n.http.gate.connections() == 0 })
	}
	const other = "/v1/events/other/stream"
	first := from(1, galaStream)
	from(1, galaStream)
	refusal(from(1, other), 429, codeYourOwn)
	from(2, galaStream)
	refusal(from(3, galaStream), 503, codeSubscribers)
	from(3, other)
	refusal(from(4, other), 503, codeSubscribers)
	first.nc.Close()
	eventually(t, "a place is free", func() bool { return n.live.Stats().Subscribers == 3 })
	if v := from(1, other); v.head.StatusCode != 200 {
		t.Errorf("a place that became free cannot be had: %v", v.head)
	}
}

// TestPublic proves that visitors without a key read what is for them, if the node
// is told so, and nothing else.
func TestPublic(t *testing.T) {
	for _, public := range []bool{false, true} {
		s := newSite(t, func(c *Config) { c.Public = public })
		s.event("gala", 2, nil)
		s.post("/admin/keys", obj{"name": "root", "role": "operate"}).ok(201)
		for _, path := range []string{"", "/manifest", "/seats"} {
			if a := s.get("/v1/events/gala" + path); (a.code == 200) != public {
				t.Errorf("public %v: %q is answered with %d", public, path, a.code)
			}
		}
		if v := view(t, s.n.HTTPAddr(), galaStream); (v.head.StatusCode == 200) != public {
			t.Errorf("public %v: the stream is answered with %d", public, v.head.StatusCode)
		}
		s.get("/v1/events").problem("unauthorized")
		s.post("/v1/events/gala/holds", obj{"area": "Floor", "count": 1}).problem("unauthorized")
	}
}

// TestStreamOverTLS proves that encrypted streams work, and that one that hangs up
// is noticed.
func TestStreamOverTLS(t *testing.T) {
	cert, key := writeCertificate(t)
	n := startNode(t, func(c *Config) { c.TLSCert, c.TLSKey = cert, key })
	event := openHall(t, n, hall("gala", 1, 20))
	nc, err := tls.Dial("tcp", n.HTTPAddr(), &tls.Config{RootCAs: rootsIn(t, cert), ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	v := viewOver(t, nc, galaStream)
	for seat := range wire.SeatID(3) {
		hold(t, n, event, seat)
		v.sees(n, event)
	}
	nc.Close()
	eventually(t, "it is counted out", func() bool { return n.live.Stats().Subscribers == 0 })
}

// TestStreamsEndWithTheNode proves that a node closes in good order with streams
// open, and that their files are gone.
func TestStreamsEndWithTheNode(t *testing.T) {
	n := startNode(t, nil)
	openHall(t, n, hall("gala", 1, 20))
	var all []*viewer
	for range 20 {
		v := view(t, n.HTTPAddr(), galaStream)
		v.until("the map", func() bool { return v.version > 0 })
		all = append(all, v)
	}
	closeNode(t, n)
	for _, v := range all {
		if _, err := v.next(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the stream goes on: %v", err)
		}
	}
	if open := n.http.gate.connections(); open != 0 {
		t.Errorf("%d connections are still counted", open)
	}
}
