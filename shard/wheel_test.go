package shard

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// A naiveWheel is a list of holds that is searched from end to end.
type naiveWheel struct{ live []naiveTimer }

type naiveTimer struct {
	index    uint32
	deadline wire.Millis
	fence    wire.Fence
}

func (n *naiveWheel) earliest() wire.Millis {
	first := wire.Never
	for _, t := range n.live {
		first = min(first, t.deadline)
	}
	return first
}

// due takes out what is due, at most so much.
func (n *naiveWheel) due(now wire.Millis, most int) (indexes []uint32) {
	slices.SortFunc(n.live, func(a, b naiveTimer) int {
		return cmp.Or(cmp.Compare(a.deadline, b.deadline), cmp.Compare(a.fence, b.fence))
	})
	for len(n.live) > 0 && n.live[0].deadline <= now && len(indexes) < most {
		indexes = append(indexes, n.live[0].index)
		n.live = n.live[1:]
	}
	return indexes
}

// TestWheelMatchesNaive inserts, removes and postpones at random, over all scales
// of time, and compares what expires and in which order. Now and then the wheel is
// built anew, as after a restore, and must go on the same.
func TestWheelMatchesNaive(t *testing.T) {
	for round := range 60 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			rnd := newRandom(t)
			w := newWheelRun(rnd)
			for range 3000 {
				w.step(t)
			}
		})
	}
}

type wheelRun struct {
	rnd   *rand.Rand
	e     *Event
	naive naiveWheel
	now   wire.Millis
	fence wire.Fence
	reach int64 // how far away deadlines are
	order []uint32
}

func newWheelRun(rnd *rand.Rand) *wheelRun {
	w := &wheelRun{rnd: rnd, e: new(Event), now: wire.Millis(rnd.Int64N(1 << 40))}
	w.e.wheel = new(wheel)
	w.reach = 1 << rnd.IntN(31)
	return w
}

func (w *wheelRun) step(t *testing.T) {
	switch k := w.rnd.IntN(20); {
	case k < 9:
		w.insert()
	case k < 13 && len(w.naive.live) > 0:
		w.remove()
	case k < 15 && len(w.naive.live) > 0:
		w.postpone()
	case k == 15 && w.rnd.IntN(10) == 0:
		w.rebuild()
	default:
		w.advance(t)
	}
	if got, want := w.e.wheel.bound(), w.naive.earliest(); got > want {
		t.Fatalf("at %d nothing is due before %d, but something is at %d", w.now, got, want)
	}
}

func (w *wheelRun) deadline() wire.Millis { return w.now + 1 + wire.Millis(w.rnd.Int64N(w.reach)) }

func (w *wheelRun) insert() {
	i, h := w.e.holds.take()
	w.fence++
	*h = hold{fence: w.fence, deadline: w.deadline(), state: wire.StateHeld, held: 1, n: 1}
	w.e.wheel.insert(&w.e.holds, i, w.now)
	w.naive.live = append(w.naive.live, naiveTimer{i, h.deadline, h.fence})
}

func (w *wheelRun) remove() {
	k := w.rnd.IntN(len(w.naive.live))
	w.drop(w.naive.live[k].index)
	w.naive.live = slices.Delete(w.naive.live, k, k+1)
}

func (w *wheelRun) drop(i uint32) {
	w.e.wheel.remove(&w.e.holds, i)
	w.e.holds.at(i).held = 0
	w.e.holds.put(i)
}

func (w *wheelRun) postpone() {
	timer := &w.naive.live[w.rnd.IntN(len(w.naive.live))]
	h := w.e.holds.at(timer.index)
	w.e.wheel.remove(&w.e.holds, timer.index)
	h.deadline = max(h.deadline, w.deadline())
	timer.deadline = h.deadline
	w.e.wheel.insert(&w.e.holds, timer.index, w.now)
}

func (w *wheelRun) rebuild() {
	w.e.wheel = new(wheel)
	first := min(w.naive.earliest(), w.now-wire.Millis(w.rnd.Int64N(w.reach)))
	first = max(first, 0)
	w.rnd.Shuffle(len(w.naive.live), func(a, b int) {
		w.naive.live[a], w.naive.live[b] = w.naive.live[b], w.naive.live[a]
	})
	for _, timer := range w.naive.live {
		w.e.wheel.insert(&w.e.holds, timer.index, first)
	}
}

// advance lets time pass, sometimes to just before or just at a deadline, and lets
// expire what is due, sometimes not all at once.
func (w *wheelRun) advance(t *testing.T) {
	step := wire.Millis(w.rnd.Int64N(w.reach/4 + 1))
	if first := w.naive.earliest(); first != wire.Never && w.rnd.IntN(2) == 0 {
		step = max(first-w.now-wire.Millis(w.rnd.IntN(2)), 0)
	}
	w.now += step
	most := 1 + w.rnd.IntN(8)
	var got []uint32
	for len(got) < most {
		i := w.e.wheel.due(&w.e.holds, w.now, &w.order)
		if i == none {
			break
		}
		got = append(got, i)
		w.drop(i)
	}
	if want := w.naive.due(w.now, most); !slices.Equal(got, want) {
		t.Fatalf("at %d %v expire, want %v", w.now, got, want)
	}
	if err := w.e.checkWheel(len(w.naive.live)); err != nil {
		t.Fatal(err)
	}
}

// TestWheelBoundIsExactInMillisecondSlots: in the slots of level 0 the bound stays
// exact, whatever is taken out.
func TestWheelBoundIsExactInMillisecondSlots(t *testing.T) {
	w := newWheelRun(rand.New(rand.NewPCG(1, 1)))
	w.reach = 60
	w.now = 1 << 30
	for range 500 {
		w.insert()
	}
	for len(w.naive.live) > 0 {
		w.remove()
		if got, want := w.e.wheel.bound(), w.naive.earliest(); got != want {
			t.Fatalf("%d holds: due at %d, want %d", len(w.naive.live), got, want)
		}
	}
}
