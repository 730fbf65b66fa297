package shard

import (
	"container/heap"
	"math/bits"
	"slices"
)

// A window has two bits for each of a range of numbers: whether it came, and
// whether it was given back. Owned by the applier.
type window struct {
	base       uint64 // number of the first bit; a multiple of wordBits
	end        uint64 // numbers from here on are not in it
	came, left []uint64
}

// extend makes the window reach up to a number.
func (w *window) extend(end uint64) {
	w.end = end
	for w.base+uint64(len(w.came))*wordBits < end {
		w.came, w.left = append(w.came, 0), append(w.left, 0)
	}
}

// drop forgets the words whose numbers are all below from.
func (w *window) drop(from uint64) {
	n := int(from/wordBits - w.base/wordBits)
	w.came, w.left = w.came[n:], w.left[n:]
	w.base = from / wordBits * wordBits
}

// missing counts the numbers in [from, to) that neither came nor left.
func (w *window) missing(from, to uint64) (n uint64) {
	for from < to {
		at := (from - w.base) / wordBits
		until := min(to, w.base+(at+1)*wordBits)
		mask := ^uint64(0) >> (wordBits - (until - from)) << (from % wordBits)
		n += uint64(bits.OnesCount64(mask &^ (w.came[at] | w.left[at])))
		from = until
	}
	return n
}

// wordsFrom are the words of the window as if it began at a number: what is before
// it is zero.
func (w *window) wordsFrom(from uint64) window {
	cut := window{base: w.base, end: w.end, came: slices.Clone(w.came), left: slices.Clone(w.left)}
	if from > w.base && len(w.came) > 0 {
		before := uint64(1)<<(from-w.base) - 1
		cut.came[0] &^= before
		cut.left[0] &^= before
	}
	return cut
}

func (w *window) has(plane []uint64, number uint64) bool {
	return plane[(number-w.base)/wordBits]>>(number%wordBits)&1 != 0
}

func (w *window) cameBy(number uint64) bool { return w.has(w.came, number) }
func (w *window) leftBy(number uint64) bool { return w.has(w.left, number) }

func (w *window) setCame(number uint64) {
	w.came[(number-w.base)/wordBits] |= 1 << (number % wordBits)
}

func (w *window) setLeft(number uint64) {
	w.left[(number-w.base)/wordBits] |= 1 << (number % wordBits)
}

// leavers are numbers that were given back before they were called: a heap, the
// smallest first, and a set. Owned by the applier.
type leavers struct {
	heap numberHeap
	set  map[uint64]struct{}
}

func (l *leavers) has(number uint64) bool {
	_, ok := l.set[number]
	return ok
}

// add adds a number unless it is there. It reports whether there was room.
func (l *leavers) add(number uint64) bool {
	switch {
	case l.has(number):
		return true
	case len(l.heap) >= maxLeft:
		return false
	case l.set == nil:
		l.set = make(map[uint64]struct{})
	}
	l.set[number] = struct{}{}
	heap.Push(&l.heap, number)
	return true
}

// first is the smallest.
func (l *leavers) first() (number uint64, ok bool) {
	if len(l.heap) == 0 {
		return 0, false
	}
	return l.heap[0], true
}

func (l *leavers) pop() { delete(l.set, heap.Pop(&l.heap).(uint64)) }

// sorted are all of them in order.
func (l *leavers) sorted() []uint64 {
	list := slices.Clone(l.heap)
	slices.Sort(list)
	return list
}

type numberHeap []uint64

func (h numberHeap) Len() int           { return len(h) }
func (h numberHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h numberHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *numberHeap) Push(x any)        { *h = append(*h, x.(uint64)) }

func (h *numberHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
