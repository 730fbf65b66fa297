package server

import (
	"context"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// TestStopAnswersEverything proves that a node that is told to stop under load
// answers every request it has read, each truthfully: what was granted is there
// after a restart, what was refused is not.
func TestStopAnswersEverything(t *testing.T) {
	c := Config{Data: t.TempDir(), Shards: 2}
	n := startOn(t, c)
	event := openHall(t, n, hall("gala", 200, 64))
	const clients = 4
	type outcome struct {
		id     wire.ID
		status wire.Status
	}
	results := make(chan []outcome, clients)
	started := make(chan struct{}, clients)
	for who := range clients {
		p := dial(t, n)
		go func() {
			var all []outcome
			defer func() { results <- all }()
			open := map[uint64]wire.ID{}
			for seat := who; ; seat += clients {
				h := wire.Hold{Mutation: wire.Mutation{Event: event, ID: n.newID(n.now(event))}, Seats: wire.MakeSeatList(wire.SeatID(seat % (200 * 64)))}
				frame := p.frame(wire.KindHold, wire.FlagRepeat, h.Append(nil))
				if _, err := p.nc.Write(frame); err != nil {
					break
				}
				open[p.last] = h.ID
				if len(open) < 64 {
					continue
				}
				if seat > 64*clients {
					select {
					case started <- struct{}{}:
					default:
					}
				}
				got, _, err := p.next()
				if err != nil {
					break
				}
				all = append(all, outcome{open[got.Request], got.Status})
				delete(open, got.Request)
			}
			for len(open) > 0 {
				got, _, err := p.next()
				if err != nil {
					break // sent after the node had stopped reading
				}
				all = append(all, outcome{open[got.Request], got.Status})
				delete(open, got.Request)
			}
		}()
	}
	<-started
	closeNode(t, n)
	var all []outcome
	for range clients {
		all = append(all, <-results...)
	}
	n = startOn(t, c)
	p := dial(t, n)
	count := map[wire.Status]int{}
	for _, o := range all {
		count[o.status]++
		s, _ := p.ask(wire.KindGetHold, 0, (&wire.HoldRef{Event: event, ID: o.id}).Append(nil))
		switch {
		case o.status == wire.StatusOK && s != wire.StatusOK:
			t.Fatalf("a hold that was granted is %v after the restart", s)
		case o.status == wire.StatusStopping && s != wire.StatusUnknownHold:
			t.Fatalf("a hold that was refused because the node stopped is %v after the restart", s)
		case o.status == wire.StatusUnknown:
			t.Fatal("a node that stops in good order does not know an outcome")
		}
	}
	if count[wire.StatusOK] == 0 || count[wire.StatusStopping] == 0 {
		t.Errorf("outcomes %v: the stop came before or after all work", count)
	}
}

// TestStopRefuses proves what a connection hears from a node that stops, and
// that closing it twice is harmless.
func TestStopRefuses(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 1, 10))
	p := dial(t, n)
	n.stopping.Store(true)
	p.want(wire.StatusOK, wire.KindPing, nil)
	p.want(wire.StatusStopping, wire.KindHold, holdOf(n, event, 1))
	p.want(wire.StatusStopping, wire.KindMap, (&wire.EventRef{Event: event}).Append(nil))
	if s, _ := n.do(t.Context(), wire.Record{Kind: wire.KindHold, Body: holdOf(n, event, 1)}); s != wire.StatusStopping {
		t.Errorf("from inside: %v", s)
	}
	late := connect(t, n.Addr())
	if s, _ := late.ask(wire.KindHello, 0, hello("", 0).Append(nil)); s != wire.StatusStopping {
		t.Errorf("hello: %v", s)
	}
	n.stopping.Store(false)
	closeNode(t, n)
	closeNode(t, n)
	p.ended()
}

// TestDo proves that requests from inside, which is how HTTP asks, are routed
// and answered like frames, and that impatience leaves a mutation unknown.
func TestDo(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 2, 10))
	do := func(k wire.Kind, f wire.Flags, body []byte) wire.Status {
		s, _ := n.do(t.Context(), wire.Record{Kind: k, Flags: f, Body: body})
		return s
	}
	first := holdOf(n, event, 1, 2)
	for _, c := range []struct {
		name  string
		kind  wire.Kind
		flags wire.Flags
		body  []byte
		want  wire.Status
	}{
		{"hold", wire.KindHold, 0, first, wire.StatusOK},
		{"again", wire.KindHold, 0, first, wire.StatusOK},
		{"rival", wire.KindHold, 0, holdOf(n, event, 2), wire.StatusTaken},
		{"rival through the log", wire.KindHold, wire.FlagRepeat, holdOf(n, event, 2), wire.StatusTaken},
		{"map", wire.KindMap, 0, first[:8], wire.StatusOK},
		{"consistent map", wire.KindMap, wire.FlagConsistent, first[:8], wire.StatusOK},
		{"hold's state", wire.KindGetHold, 0, first[:24], wire.StatusOK},
		{"locate", wire.KindLocate, wire.FlagConsistent, (&wire.Key{Key: []byte("gala")}).Append(nil), wire.StatusOK},
		{"unknown event", wire.KindMap, 0, make([]byte, 8), wire.StatusUnknownEvent},
		{"no event", wire.KindMap, 0, nil, wire.StatusBadFrame},
		{"half a hold", wire.KindHold, wire.FlagRepeat, first[:40], wire.StatusBadFrame},
		{"half a reference", wire.KindGetHold, 0, first[:20], wire.StatusBadFrame},
		{"ping", wire.KindPing, 0, nil, wire.StatusUnknownKind},
		{"no kind", 99, 0, first, wire.StatusUnknownKind},
		{"too large", wire.KindBlock, 0, make([]byte, maxRecordBody+1), wire.StatusTooLarge},
	} {
		if s := do(c.kind, c.flags, c.body); s != c.want {
			t.Errorf("%s: %v, want %v", c.name, s, c.want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	// The outcome may be there at the same moment; then it is given.
	body := holdOf(n, event, 5)
	if s, _ := n.do(ended, wire.Record{Kind: wire.KindHold, Body: body}); s != wire.StatusUnknown && s != wire.StatusOK {
		t.Errorf("without patience: %v", s)
	}
	if s := do(wire.KindHold, wire.FlagRepeat, body); s != wire.StatusOK {
		t.Errorf("repeated: %v", s)
	}
	if loc, ok := n.locate("gala"); !ok || loc.Event != event || loc.Now == 0 {
		t.Errorf("located %+v, %v", loc, ok)
	}
	if s, text := n.deleteEvent(t.Context(), "gala"); s != wire.StatusOK {
		t.Errorf("delete: %v %s", s, text)
	}
	if s, _ := n.deleteEvent(t.Context(), "gala"); s != wire.StatusUnknownEvent {
		t.Errorf("delete again: %v", s)
	}
	if _, ok := n.locate("gala"); ok || n.now(event) != 0 {
		t.Error("a deleted event is still found")
	}
}
