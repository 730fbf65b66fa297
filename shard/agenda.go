package shard

import "github.com/usher-seats/usher/wire"

// An agenda has the events of a shard that have something due, the earliest
// first: a binary heap by Event.due, whose places the events know. Invariant: an
// event is in the heap if and only if its due is not wire.Never. Owned by the
// applier.
type agenda struct{ heap []*Event }

// set puts the event where its due says, in or out.
func (a *agenda) set(e *Event, due wire.Millis) {
	if due == wire.Never {
		a.remove(e)
		return
	}
	e.due = due
	if e.at == 0 {
		a.heap = append(a.heap, e)
		e.at = len(a.heap)
	}
	a.up(e)
	a.down(e)
}

// first is the event with the earliest due, or nil.
func (a *agenda) first() *Event {
	if len(a.heap) == 0 {
		return nil
	}
	return a.heap[0]
}

// remove takes the event out if it is in.
func (a *agenda) remove(e *Event) {
	e.due = wire.Never
	if e.at == 0 {
		return
	}
	last := a.heap[len(a.heap)-1]
	a.heap[len(a.heap)-1] = nil
	a.heap = a.heap[:len(a.heap)-1]
	if last != e {
		a.put(last, e.at)
		a.up(last)
		a.down(last)
	}
	e.at = 0
}

func (a *agenda) put(e *Event, at int) {
	a.heap[at-1] = e
	e.at = at
}

func (a *agenda) up(e *Event) {
	for e.at > 1 {
		parent := a.heap[e.at/2-1]
		if parent.due <= e.due {
			return
		}
		at := e.at
		a.put(e, parent.at)
		a.put(parent, at)
	}
}

func (a *agenda) down(e *Event) {
	for 2*e.at <= len(a.heap) {
		child := a.heap[2*e.at-1]
		if 2*e.at < len(a.heap) && a.heap[2*e.at].due < child.due {
			child = a.heap[2*e.at]
		}
		if e.due <= child.due {
			return
		}
		at := e.at
		a.put(e, child.at)
		a.put(child, at)
	}
}
