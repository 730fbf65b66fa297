package shard

import (
	"sync/atomic"
)

// copyTries is how often a reader copies an event's planes by himself before he
// asks the applier for a copy.
const copyTries = 3

// A planeCopy is an event's planes as of one version.
type planeCopy struct {
	taken, booked, blocked []uint64
	counter                uint64 // of the version
}

// A copyRequest asks the applier for a copy. The applier fills copied, which
// nobody else touches until done is closed.
type copyRequest struct {
	event  *Event
	copied planeCopy
	done   chan struct{}
	next   *copyRequest
}

// copyPlanes copies an event's planes. Any goroutine; whoever gets a copy puts it
// back into s.copies. It takes a copy while nothing moves, and if things move
// every time, asks the applier, who hands out copies between two entries and waits
// for nobody.
func (s *Shard) copyPlanes(e *Event) *planeCopy {
	p, _ := s.copies.Get().(*planeCopy)
	if p == nil {
		p = new(planeCopy)
	}
	for range copyTries {
		if p.try(e) {
			return p
		}
	}
	r := &copyRequest{event: e, done: make(chan struct{})}
	for {
		r.next = s.asked.Load()
		if s.asked.CompareAndSwap(r.next, r) {
			break
		}
	}
	// The applier clears busy before it looks for requests. So if it is busy now,
	// it will see this one; and if not, nothing moves, unless it begins again just
	// then and is busy the next time round.
	for !s.busy.Load() {
		if p.try(e) {
			return p
		}
	}
	<-r.done
	s.copies.Put(p)
	return &r.copied
}

// serveCopies hands copies to those who asked.
func (s *Shard) serveCopies() {
	if s.asked.Load() == nil {
		return
	}
	for r := s.asked.Swap(nil); r != nil; r = r.next {
		if !r.copied.try(r.event) {
			panic("shard: planes move while nothing is applied")
		}
		close(r.done)
	}
}

// try copies the planes and reports whether nothing moved meanwhile.
func (p *planeCopy) try(e *Event) bool {
	before := e.seq.Load()
	if before&1 != 0 {
		return false
	}
	p.taken = copyWords(p.taken, e.taken)
	p.booked = copyWords(p.booked, e.booked)
	p.blocked = copyWords(p.blocked, e.blocked)
	p.counter = before >> 1
	return e.seq.Load() == before
}

func copyWords(dst []uint64, src []atomic.Uint64) []uint64 {
	if cap(dst) < len(src) {
		dst = make([]uint64, len(src))
	}
	dst = dst[:len(src)]
	for i := range src {
		dst[i] = src[i].Load()
	}
	return dst
}
