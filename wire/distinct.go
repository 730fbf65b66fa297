package wire

import "hash/maphash"

// distinct finds the second of two equal strings in a list. It is a set that
// keeps its memory from one list to the next; with built-in maps these checks
// took longer than all the rest of decoding a manifest.
//
// Lists that count up or down, as nearly all do, are never hashed.
type distinct struct {
	seed  maphash.Seed
	slots []uint64 // high half of the hash, then index+1; 0: free
	items []string
	up    bool // each item is above the one before it
	down  bool // each item is below the one before it
}

// reset makes ready for a list of at most n strings.
func (d *distinct) reset(n int) {
	if cap(d.items) < n {
		d.items = make([]string, 0, n)
	}
	d.items = d.items[:0]
	d.up, d.down = true, true
}

// add takes the next string, and gives the index of an equal one before it.
func (d *distinct) add(s string) (first int, twice bool) {
	d.items = append(d.items, s)
	n := len(d.items)
	if !d.up && !d.down {
		return d.insert(n - 1)
	}
	if n == 1 {
		return 0, false
	}
	order := compareLabels(d.items[n-2], s)
	d.up = d.up && order < 0
	d.down = d.down && order > 0
	if d.up || d.down {
		return 0, false
	}
	return d.insertAll()
}

// insertAll begins to hash: the table is cleared and gets the items there are.
func (d *distinct) insertAll() (first int, twice bool) {
	if d.slots == nil {
		d.seed = maphash.MakeSeed()
	}
	size := 64
	for size < 2*cap(d.items) {
		size *= 2
	}
	if len(d.slots) < size {
		d.slots = make([]uint64, size)
	} else {
		clear(d.slots)
	}
	for i := range d.items {
		if first, twice = d.insert(i); twice {
			return first, true
		}
	}
	return 0, false
}

func (d *distinct) insert(i int) (first int, twice bool) {
	h := maphash.String(d.seed, d.items[i])
	mask := uint64(len(d.slots) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		slot := d.slots[at]
		if slot == 0 {
			d.slots[at] = h>>32<<32 | uint64(i+1)
			return 0, false
		}
		if slot>>32 == h>>32 {
			if first = int(uint32(slot)) - 1; d.items[first] == d.items[i] {
				return first, true
			}
		}
	}
}
