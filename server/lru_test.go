package server

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A naiveLRU is what an lru is to be: a list, the last used first.
type naiveLRU struct {
	most  int
	items []lruItem[int, int]
}

func (n *naiveLRU) find(k int) int {
	return slices.IndexFunc(n.items, func(i lruItem[int, int]) bool { return i.key == k })
}

func (n *naiveLRU) get(k int) (int, bool) {
	at := n.find(k)
	if at < 0 {
		return 0, false
	}
	item := n.items[at]
	n.items = slices.Insert(slices.Delete(n.items, at, at+1), 0, item)
	return item.value, true
}

func (n *naiveLRU) drop(k int) {
	if at := n.find(k); at >= 0 {
		n.items = slices.Delete(n.items, at, at+1)
	}
}

func (n *naiveLRU) put(k, v, bytes int) {
	n.drop(k)
	if bytes > n.most {
		return
	}
	n.items = slices.Insert(n.items, 0, lruItem[int, int]{k, v, bytes})
	for n.bytes() > n.most {
		n.items = n.items[:len(n.items)-1]
	}
}

func (n *naiveLRU) bytes() (sum int) {
	for _, i := range n.items {
		sum += i.bytes
	}
	return sum
}

// TestLRUAgainstNaive proves that the cache has what a list would have after any use,
// and never more than its bytes.
func TestLRUAgainstNaive(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		most := 1 + r.IntN(2000)
		l, naive := newLRU[int, int](most), naiveLRU{most: most}
		for step := range 2000 {
			k := r.IntN(40)
			switch r.IntN(10) {
			case 0:
				l.drop(k)
				naive.drop(k)
			case 1, 2, 3, 4:
				bytes := r.IntN(most/4 + 2)
				if r.IntN(20) == 0 {
					bytes = most + r.IntN(10) // just fits, or does not
				}
				l.put(k, step, bytes)
				naive.put(k, step, bytes)
			default:
				got, ok := l.get(k)
				if want, there := naive.get(k); got != want || ok != there {
					t.Fatalf("step %d: key %d is %d, %v; want %d, %v", step, k, got, ok, want, there)
				}
			}
			if l.bytes != naive.bytes() || l.bytes > most || len(l.byKey) != len(naive.items) || l.order.Len() != len(naive.items) {
				t.Fatalf("step %d: %d bytes of %d in %d and %d entries, want %d bytes in %d", step, l.bytes, most, len(l.byKey), l.order.Len(), naive.bytes(), len(naive.items))
			}
		}
		at := l.order.Front()
		for _, want := range naive.items {
			if got := *at.Value.(*lruItem[int, int]); got != want {
				t.Fatalf("%+v stands where %+v should", got, want)
			}
			at = at.Next()
		}
	}
}
