package shard

import (
	"testing"

	"github.com/usher-seats/usher/wire"
)

// TestAgendaMatchesNaive sets, moves and removes events at random and compares the
// first with a search through all.
func TestAgendaMatchesNaive(t *testing.T) {
	rnd := newRandom(t)
	var a agenda
	events := make([]*Event, 40)
	for i := range events {
		events[i] = &Event{id: wire.EventID(i + 1)}
		events[i].due = wire.Never
	}
	for range 50_000 {
		e := events[rnd.IntN(len(events))]
		if due := wire.Millis(rnd.IntN(100)); due < 70 {
			a.set(e, due)
		} else {
			a.set(e, wire.Never)
		}
		first, n := wire.Never, 0
		for _, e := range events {
			first = min(first, e.due)
			if e.due != wire.Never {
				n++
			}
			if (e.at != 0) != (e.due != wire.Never) || e.at != 0 && a.heap[e.at-1] != e {
				t.Fatalf("event %d is due at %d and has place %d", e.id, e.due, e.at)
			}
		}
		if len(a.heap) != n {
			t.Fatalf("%d events on the agenda, want %d", len(a.heap), n)
		}
		if got := a.first(); got == nil != (n == 0) || got != nil && got.due != first {
			t.Fatalf("first is %v, want one due at %d", got, first)
		}
	}
}
