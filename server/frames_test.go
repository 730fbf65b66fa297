package server

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// holdOf is a hold of seats of an event with a fresh id.
func holdOf(n *Node, event wire.EventID, seats ...wire.SeatID) []byte {
	h := wire.Hold{Mutation: wire.Mutation{Event: event, ID: n.newID(n.now(event))}, Seats: wire.MakeSeatList(seats...)}
	return h.Append(nil)
}

func mutationOf(n *Node, event wire.EventID) wire.Mutation {
	return wire.Mutation{Event: event, ID: n.newID(n.now(event))}
}

// TestBadFrames proves that whatever is wrong with a request, its answer says so
// and names the request, the connection goes on, and nothing was done.
func TestBadFrames(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 2, 10))
	p := dial(t, n)
	good := holdOf(n, event, 1)
	noID := bytes.Clone(good)
	clear(noID[8:24])
	foreign := holdOf(n, event+1000, 1)
	over := bytes.Clone(good)
	binary.LittleEndian.PutUint16(over[len(over)-6:], 900) // seats that are not there
	tests := []struct {
		name string
		kind wire.Kind
		body []byte
		want wire.Status
		text string
	}{
		{"kind zero", 0, nil, wire.StatusUnknownKind, "kind 0"},
		{"unknown kind", 200, good, wire.StatusUnknownKind, "kind 200"},
		{"second hello", wire.KindHello, hello("", 0).Append(nil), wire.StatusUnknownKind, "kind 1"},
		{"leaders' kind", wire.KindWallClock, good, wire.StatusUnknownKind, "kind 47"},
		{"cluster's kind", wire.KindBootstrap, good, wire.StatusUnknownKind, "kind 143"},
		{"no body", wire.KindHold, nil, wire.StatusBadFrame, "short"},
		{"half an event", wire.KindHold, good[:7], wire.StatusBadFrame, "short"},
		{"only an event", wire.KindHold, good[:8], wire.StatusBadFrame, "short"},
		{"half a hold", wire.KindHold, good[:len(good)-1], wire.StatusBadFrame, "short"},
		{"more than a hold", wire.KindHold, append(bytes.Clone(good), 0), wire.StatusBadFrame, "after its last field"},
		{"too many seats counted", wire.KindHold, over, wire.StatusBadFrame, "short"},
		{"no id", wire.KindHold, noID, wire.StatusBadFrame, "UUID"},
		{"another kind's body", wire.KindConfirm, good, wire.StatusBadFrame, ""},
		{"unknown event", wire.KindHold, foreign, wire.StatusUnknownEvent, ""},
		{"event zero", wire.KindMap, make([]byte, 8), wire.StatusUnknownEvent, ""},
		{"last event", wire.KindMap, bytes.Repeat([]byte{0xff}, 8), wire.StatusUnknownEvent, ""},
		{"no query", wire.KindMap, nil, wire.StatusBadFrame, "short"},
		{"long query", wire.KindMap, append(good[:8:8], 1), wire.StatusBadFrame, "after its last field"},
		{"half a reference", wire.KindGetHold, good[:20], wire.StatusBadFrame, "short"},
		{"no key", wire.KindLocate, nil, wire.StatusBadFrame, "short"},
		{"key that is too short", wire.KindLocate, []byte{9, 0, 'x'}, wire.StatusBadFrame, "short"},
		{"unknown key", wire.KindLocate, (&wire.Key{Key: []byte("gone")}).Append(nil), wire.StatusUnknownEvent, ""},
		{"empty assignment", wire.KindAssign, (&wire.Assign{Mutation: wire.Mutation{ID: n.newID(0)}}).Append(nil), wire.StatusBadRequest, "key"},
		{"no seats", wire.KindHold, holdOf(n, event), wire.StatusBadRequest, ""},
		{"a seat twice", wire.KindHold, holdOf(n, event, 1, 1), wire.StatusBadRequest, ""},
		{"a seat that is none", wire.KindHold, holdOf(n, event, 1<<30), wire.StatusUnknownSeat, ""},
		{"no best seats", wire.KindHoldBest, (&wire.HoldBest{Mutation: mutationOf(n, event), Section: wire.Any}).Append(nil), wire.StatusBadRequest, ""},
		{"unknown section", wire.KindHoldBest, (&wire.HoldBest{Mutation: mutationOf(n, event), Count: 1, Section: 9}).Append(nil), wire.StatusUnknownPlace, ""},
		{"no places", wire.KindHoldArea, (&wire.HoldArea{Mutation: mutationOf(n, event)}).Append(nil), wire.StatusBadRequest, ""},
		{"unknown area", wire.KindHoldArea, (&wire.HoldArea{Mutation: mutationOf(n, event), Area: 9, Count: 1}).Append(nil), wire.StatusUnknownPlace, ""},
		{"unknown hold", wire.KindConfirm, (&wire.OnHold{Mutation: mutationOf(n, event), Fence: 1}).Append(nil), wire.StatusUnknownHold, ""},
		{"unknown booking", wire.KindCancel, (&wire.Cancel{Mutation: mutationOf(n, event), Booking: n.newID(1)}).Append(nil), wire.StatusUnknownHold, ""},
		{"padding", wire.KindHold, holdOf(n, event, 63), wire.StatusUnknownSeat, ""},
		{"broken batch", wire.KindBatch, good, wire.StatusBadFrame, "record"},
	}
	for _, c := range tests {
		s, body := p.ask(c.kind, 0, c.body)
		if s != c.want || !strings.Contains(string(body), c.text) {
			t.Errorf("%s: %v %q, want %v with %q", c.name, s, body, c.want, c.text)
		}
	}
	for name, h := range map[string]wire.Header{
		"an answer":     {Kind: wire.KindPing, Flags: wire.FlagAnswer},
		"compressed":    {Kind: wire.KindPing, Flags: wire.FlagCompressed},
		"with a status": {Kind: wire.KindPing, Status: 1},
	} {
		h.Request = 4711
		p.write(h.Append(nil))
		if got, _ := p.receive(); got.Status != wire.StatusBadFrame || got.Request != 4711 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, seat := range []wire.SeatID{0, 1, 2} {
		p.want(wire.StatusOK, wire.KindHold, holdOf(n, event, seat)) // nobody has them
	}
}

// TestLostStream proves that after a length that cannot be right the peer is
// told, gets the answers it still has to come, and is disconnected without a
// reset.
func TestLostStream(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 2, 10))
	for i, c := range []struct {
		header []byte
		want   wire.Status
	}{
		{lengthOnly(wire.MaxRequestBody + 1), wire.StatusTooLarge},
		{bytes.Repeat([]byte{0xff}, wire.HeaderSize), wire.StatusTooLarge},
		{make([]byte, wire.HeaderSize), wire.StatusBadFrame},
		{append([]byte{11, 0, 0, 0}, make([]byte, 12)...), wire.StatusBadFrame},
	} {
		p := dial(t, n)
		request := p.frame(wire.KindHold, 0, holdOf(n, event, wire.SeatID(i)))
		p.write(append(append(request, c.header...), bytes.Repeat([]byte{7}, 100<<10)...))
		answered := map[wire.Status]int{}
		for range 2 {
			h, _ := p.receive()
			answered[h.Status]++
		}
		if answered[wire.StatusOK] != 1 || answered[c.want] != 1 {
			t.Errorf("%v...: answered %v, want a hold and %v", c.header[:4], answered, c.want)
		}
		p.ended()
	}
	if got := n.counters.dropped.Load(); got != 4 {
		t.Errorf("%d connections were counted as dropped, want 4", got)
	}
}

// TestRandomBytes proves that no stream of bytes after a hello brings the node
// down or makes it answer with anything but frames, and that other connections
// do not notice.
func TestRandomBytes(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 2, 10))
	witness := dial(t, n)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		p := dial(t, n)
		var stream []byte
		for range rng.IntN(20) {
			kind := wire.Kind(rng.IntN(72))
			body := holdOf(n, event, wire.SeatID(rng.IntN(200)), wire.SeatID(rng.IntN(200)))
			switch rng.IntN(4) {
			case 0:
				for i := range body {
					body[i] = byte(rng.Uint32())
				}
			case 1:
				body[rng.IntN(len(body))] ^= 1 << rng.IntN(8)
			case 2:
				body = body[:rng.IntN(len(body))]
			}
			if rng.IntN(4) == 0 {
				kind, body = wire.KindBatch, wire.Record{Kind: kind, Flags: wire.Flags(rng.IntN(16)), Body: body}.Append(nil)
			}
			frame := p.frame(kind, wire.Flags(rng.IntN(16)), body)
			if rng.IntN(8) == 0 {
				frame[rng.IntN(len(frame))] ^= 1 << rng.IntN(8)
			}
			stream = append(stream, frame...)
		}
		p.write(stream)
		halfClose(t, p)
		for {
			if _, _, err := p.next(); err != nil {
				if err.Error() != "EOF" {
					t.Fatalf("seed %d: the stream of answers ends with %v", seed, err)
				}
				break
			}
		}
	}
	witness.want(wire.StatusOK, wire.KindPing, nil)
}

// halfClose tells the node that no more requests come.
func halfClose(t *testing.T, p *peer) {
	t.Helper()
	if err := p.nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// TestLargeFrames proves that frames up to the limit pass, in whatever pieces,
// between small ones.
func TestLargeFrames(t *testing.T) {
	n := startNode(t, nil)
	p := dial(t, n)
	big := make([]byte, wire.MaxRequestBody)
	for i := range big {
		big[i] = byte(i * 7)
	}
	for _, size := range []int{0, 1, smallBuffer - wire.HeaderSize, smallBuffer, fullBuffer - wire.HeaderSize, fullBuffer - 1, fullBuffer, wire.MaxRequestBody} {
		var stream []byte
		for range 3 {
			stream = append(stream, p.frame(wire.KindPing, 0, big[:size])...)
			stream = append(stream, p.frame(wire.KindPing, 0, nil)...)
		}
		go p.nc.Write(stream) // its answers fill the socket meanwhile
		for i := range 6 {
			h, body := p.receive()
			want := big[:size]
			if i%2 == 1 {
				want = nil
			}
			if h.Kind != wire.KindPing || h.Status != wire.StatusOK || !bytes.Equal(body, want) {
				t.Fatalf("size %d, answer %d: %v, %d bytes", size, i, h, len(body))
			}
		}
	}
	chunk := wire.Create{Mutation: wire.Mutation{Event: openHall(t, n, hall("big", 1, 1)), ID: n.newID(0)}, Total: wire.MaxRequestBody, Chunk: big[:wire.MaxChunk+1]}
	if s, text := p.ask(wire.KindCreate, 0, chunk.Append(nil)); s != wire.StatusBadFrame || !strings.Contains(string(text), "limit") {
		t.Errorf("a chunk beyond the limit: %v %q", s, text)
	}
}
