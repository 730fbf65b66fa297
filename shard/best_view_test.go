package shard

import (
	"math/bits"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// stale counts the entries that a view knows nothing about.
func stale(v *view, entries int) (n int) {
	for e := range entries {
		if v.isStale(e) {
			n++
		}
	}
	return n
}

// TestViewLearnsFromFailure proves that a query that finds nothing leaves nothing
// to look at for the next one, and that a change makes one row worth a look.
func TestViewLearnsFromFailure(t *testing.T) {
	a := newArena(0.6)
	entries := len(a.l.order.entries)
	q := bestQuery{Count: 20, Section: wire.Any}
	if _, ok := a.x.best(q, a.taken, nil, nil); ok {
		t.Fatal("the map has 20 together")
	}
	v := &a.x.views[0]
	if n := stale(v, entries); n != 0 {
		t.Errorf("%d entries are stale after a query that failed", n)
	}
	if e := v.next(0, entries, plane(q.Count, true)); e >= 0 {
		t.Errorf("entry %d is still looked at", e)
	}
	a.x.changed(500)
	if n := stale(v, entries); n != 1 || !v.isStale(a.l.order.widest(500)) {
		t.Errorf("%d entries are stale after a change in row 500", n)
	}
}

// TestViewsAreBounded proves that there are never more views than there may be,
// and that the one dropped is the one not used for longest.
func TestViewsAreBounded(t *testing.T) {
	a := newArena(0.6)
	entries := len(a.l.order.entries)
	q := bestQuery{Count: 20, Section: wire.Any}
	for bars := range uint32(3 * maxViews) {
		a.x.best(q, a.taken, nil, nil)
		other := q
		other.Bars = 1 + bars
		a.x.best(other, a.taken, make([]uint64, a.l.words), nil)
		if n := stale(&a.x.views[0], entries); a.x.views[0].key != (viewKey{}) || n != 0 {
			t.Fatalf("the first view is %+v with %d stale entries though it is always in use", a.x.views[0].key, n)
		}
	}
	if len(a.x.views) != maxViews {
		t.Errorf("there are %d views, want %d", len(a.x.views), maxViews)
	}
}

// TestBestAllocates proves that neither holds nor changes allocate once the
// views are there.
func TestBestAllocates(t *testing.T) {
	a := newArena(0.6)
	q := bestQuery{Count: 4, Section: wire.Any, Split: true}
	a.fill(q, nil, 100)
	n := testing.AllocsPerRun(1000, func() {
		if !a.hold(q, nil, a.release()) {
			t.Fatal("a hold failed")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations in a release and a hold", n)
	}
}

// TestNearestBit proves that the bit nearest to a target is found, the lower one
// of two, for targets on all sides of the word.
func TestNearestBit(t *testing.T) {
	rnd := newRandom(t)
	for range 100_000 {
		word := rnd.Uint64()
		for range rnd.IntN(6) {
			word &= rnd.Uint64()
		}
		if word == 0 {
			continue
		}
		target := rnd.IntN(400) - 150
		at, far := -1, 0
		for rest := word; rest != 0; rest &= rest - 1 {
			b := bits.TrailingZeros64(rest)
			if d := abs(2*b - target); at < 0 || d < far {
				at, far = b, d
			}
		}
		if gotAt, gotFar := nearestBit(word, target); gotAt != at || gotFar != far {
			t.Fatalf("nearestBit(%#x, %d) = %d, %d, want %d, %d", word, target, gotAt, gotFar, at, far)
		}
	}
}
