package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
)

// followRoom reads what is pushed about a room, one text at a time.
func followRoom(v *viewer) func() []byte {
	if v.head.StatusCode != 101 {
		return func() []byte { return nextData(v.t, v.in, "queue") }
	}
	return func() []byte {
		v.t.Helper()
		var head [4]byte
		if _, err := io.ReadFull(v.in, head[:2]); err != nil {
			v.t.Fatal(err)
		}
		size := int(head[1])
		if size == 126 {
			if _, err := io.ReadFull(v.in, head[2:]); err != nil {
				v.t.Fatal(err)
			}
			size = int(head[2])<<8 | int(head[3])
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(v.in, text); err != nil {
			v.t.Fatal(err)
		}
		var m struct {
			Event string
			Data  json.RawMessage
		}
		if err := json.Unmarshal(text, &m); err != nil || m.Event != "queue" {
			v.t.Fatalf("message %s: %v", text, err)
		}
		return m.Data
	}
}

// nextData is the data of the next event of an event stream, which has to be of the
// type.
func nextData(t *testing.T, in *bufio.Reader, event string) []byte {
	t.Helper()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case name == "event" && value != event:
			t.Fatalf("event %q, want %q", value, event)
		case name == "data":
			return []byte(value)
		}
	}
}

// TestQueueIsPushed proves that an event stream and a WebSocket say the same as the
// cacheable GET, byte for byte, and say it when the room changes.
func TestQueueIsPushed(t *testing.T) {
	s := newSite(t, nil)
	e := s.event("gala", 1, nil)
	s.putRoom(e+"/queue", obj{"limit": 2, "rate_per_s": 1000}).ok(200)
	upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	stream := followRoom(view(t, s.n.HTTPAddr(), e+"/queue/stream"))
	socket := followRoom(view(t, s.n.HTTPAddr(), e+"/queue/ws", upgrade...))
	for joined := range 4 {
		for name, next := range map[string]func() []byte{"stream": stream, "socket": socket} {
			// What is pushed is as old as a frame, or older: then the newer one follows.
			for {
				got := next()
				if want := bytes.TrimSpace(s.get(e + "/queue").ok(200).raw); bytes.Equal(got, want) && bytes.Contains(got, fmt.Appendf(nil, `"issued":%d,`, joined)) {
					break
				}
				if t.Failed() {
					t.Fatalf("the %s goes on with %s", name, got)
				}
			}
		}
		if joined < 3 {
			s.join(e)
		}
	}
	if v := view(t, s.n.HTTPAddr(), e+"/queue/ws"); v.head.StatusCode != 400 {
		t.Errorf("a WebSocket without its handshake is answered with %d", v.head.StatusCode)
	}
	if v := view(t, s.n.HTTPAddr(), "/v1/events/none/queue/stream"); v.head.StatusCode != 404 {
		t.Errorf("the room of no event is answered with %d", v.head.StatusCode)
	}
}

// TestPublicQueue proves what visitors may do without a key where the operator has
// said so: all that is theirs, and nothing of an operator's or a frontend's.
func TestPublicQueue(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Public = true })
	e := s.event("gala", 1, nil)
	s.putRoom(e+"/queue", obj{"limit": 2, "rate_per_s": 1000}).ok(200)
	key := s.post("/admin/keys", obj{"name": "root", "role": "operate"}).ok(201).str("key")
	ticket := s.join(e)
	s.served(e, 1)
	s.post(e+"/queue/place", obj{"ticket": ticket}).ok(200)
	pass := s.post(e+"/queue/pass", obj{"ticket": ticket}).ok(200).str("pass")
	s.post(e+"/queue", obj{"visitor": "ada"}).problem("unauthorized").field("visitor")
	s.post(e+"/queue/pause", obj{}).problem("unauthorized")
	s.post(e+"/holds", obj{"best": obj{"count": 1}, "pass": pass}).problem("unauthorized")
	s.post(e+"/queue/leave", obj{"pass": pass}).ok(204)
	s.key = key
	s.post(e+"/queue/pause", obj{}).ok(200)
}
