package shard

import (
	"math/bits"

	"github.com/usher-seats/usher/wire"
)

// none is the index of no record. Pools never hand it out, so a zeroed link is
// an empty one.
const none = 0

const (
	chunkBits   = 10
	chunkSize   = 1 << chunkBits // records of a chunk
	firstChunk  = 16             // records a pool begins with
	inlineSeats = 4              // seats that stand in the hold's own record
)

// A hold is a grant of seats and what became of it: two cache lines without a
// pointer, so that the collector never looks at a million of them. Its seats are
// numbered in the order they were granted, and a mask has a bit for each.
//
// Owned by the applier. Readers know holds only by the bits of their seats.
type hold struct {
	id     wire.ID
	digest uint64 // of the request that made it
	fence  wire.Fence
	buyer  wire.BuyerID

	// held are the seats that are neither booked nor given back. It owns them
	// while it is live; after it expired they are those that a late confirm may
	// get back. Invariant: held&booked == 0.
	held   uint64
	booked uint64 // owned
	last   uint64 // seats of the latest confirm or release, or those lost

	granted  wire.Millis
	deadline wire.Millis // when it expires, if live
	timed    wire.Millis // when it was last extended, or went to pay
	touched  wire.Millis // when it was last confirmed, released, cancelled or expired

	// seats are the seat ids if they are at most inlineSeats and moved is not
	// set. Otherwise seats[0] is a list of them in the event's lists, and
	// seats[1] one of the seats[2] seats granted at first, if an exchange has
	// replaced those.
	seats [inlineSeats]uint32

	// next and prev chain a live hold in its slot of the wheel, and one that
	// ended and owns nothing in the queue of what is to be forgotten. A hold that
	// only owns booked seats is in neither.
	next, prev uint32

	ttl        uint32 // milliseconds it was granted for
	n          uint8  // seats
	state      wire.HoldState
	flags      holdFlags
	extensions uint8
}

// holdFlags are facts about a hold that its masks do not tell.
type holdFlags uint8

const (
	// holdPicked: the shard chose the seats, so only the record knows which.
	holdPicked holdFlags = 1 << iota
	// holdMoved: the seats are in a list though they might fit the record.
	holdMoved
	// holdReacquired: it had expired and its seats were granted anew.
	holdReacquired
	// holdLost: the seats in held are lost for ever.
	holdLost
	// holdGaveBack: the latest call on it, whose seats are last, was a release.
	holdGaveBack
	// holdPassed: it was made with a pass, which the event knows. Only in bytes.
	holdPassed
)

// live reports whether the hold's clock runs, so that it owns held.
func (h *hold) live() bool { return h.state == wire.StateHeld || h.state == wire.StatePaying }

// owned are the seats that nobody else may have.
func (h *hold) owned() uint64 {
	if h.live() {
		return h.held | h.booked
	}
	return h.booked
}

// all has a bit for each seat of the hold.
func (h *hold) all() uint64 { return ^uint64(0) >> (wire.MaxHoldSeats - uint(h.n)) }

// inline reports whether the seats stand in the record.
func (h *hold) inline() bool { return h.n <= inlineSeats && h.flags&holdMoved == 0 }

// A memo remembers the answer to a request that is no hold: a hold refused, or an
// operation with an id of its own. Owned by the applier.
type memo struct {
	id     wire.ID
	digest uint64
	now    wire.Millis // of the decision
	mask   uint64      // form maskOfRequest: seats that the answer names
	list   uint32      // in the event's lists: other seats that the answer names
	next   uint32      // memo decided after this one
	n      uint16      // length of list
	status uint8
	kind   wire.Kind
	form   answerForm
}

// answerForm is how a memo remembers the seats in its answer.
type answerForm uint8

const (
	namesNone      answerForm = iota
	namesMask                 // mask: a bit per seat of the request's list
	namesBits                 // list: the same, for requests of more seats
	namesList                 // list: the seats
	namesMaskOffer            // mask, and list has the seats offered instead
	answerForms               // number of forms
)

// A pool is a growing array of records with a list of free ones. Records are in
// chunks that never move, but for the first while it is small, so a pointer to
// one is good until the next take. Owned by the applier.
type pool[T any] struct {
	chunks [][]T
	free   []uint32
	used   uint32 // records ever handed out
}

// at is the record with index i, which must have been taken.
func (p *pool[T]) at(i uint32) *T {
	return &p.chunks[i>>chunkBits][i&(chunkSize-1)]
}

// take hands out a record. It has what its last owner left in it.
func (p *pool[T]) take() (uint32, *T) {
	if n := len(p.free); n > 0 {
		i := p.free[n-1]
		p.free = p.free[:n-1]
		return i, p.at(i)
	}
	p.used++
	i := p.used
	if int(i>>chunkBits) == len(p.chunks) || int(i&(chunkSize-1)) == len(p.chunks[i>>chunkBits]) {
		p.grow(int(i >> chunkBits))
	}
	return i, p.at(i)
}

// grow makes the first chunk twice as long, up to chunkSize, or adds a chunk.
func (p *pool[T]) grow(chunk int) {
	switch {
	case chunk > 0:
		p.chunks = append(p.chunks, make([]T, chunkSize))
	case len(p.chunks) == 0:
		p.chunks = append(p.chunks, make([]T, firstChunk))
	default:
		p.chunks[0] = append(make([]T, 0, 2*len(p.chunks[0])), p.chunks[0]...)
		p.chunks[0] = p.chunks[0][:cap(p.chunks[0])]
	}
}

// put takes a record back. When the last one of many is back, the memory goes.
func (p *pool[T]) put(i uint32) {
	p.free = append(p.free, i)
	if len(p.free) == int(p.used) && len(p.chunks) > 1 {
		*p = pool[T]{}
	}
}

// size is the number of records in use.
func (p *pool[T]) size() int { return int(p.used) - len(p.free) }

const (
	leastList   = 4   // numbers of a list of the smallest class
	listClasses = 6   // 4, 8 … maxList
	maxList     = 128 // numbers of a list of the largest class
	listsBits   = 6
	listsChunk  = 1 << listsBits // lists of a chunk
)

// lists are short arrays of numbers, in classes by length. A list is known by
// its number within the class that its length gives. Owned by the applier.
type lists struct{ classes [listClasses]listClass }

type listClass struct {
	chunks [][]uint32
	free   []uint32
	used   uint32
}

func classOf(n int) int { return max(bits.Len(uint(n-1))-bits.Len(uint(leastList-1)), 0) }

// at is the list ref of n numbers.
func (l *lists) at(ref uint32, n int) []uint32 {
	class := classOf(n)
	from := int(ref&(listsChunk-1)) * (leastList << class)
	return l.classes[class].chunks[ref>>listsBits][from : from+n]
}

// take hands out a list of n numbers, 1..maxList.
func (l *lists) take(n int) (ref uint32, list []uint32) {
	class := classOf(n)
	c := &l.classes[class]
	if free := len(c.free); free > 0 {
		ref = c.free[free-1]
		c.free = c.free[:free-1]
		return ref, l.at(ref, n)
	}
	c.used++
	ref = c.used
	for int(ref>>listsBits) >= len(c.chunks) {
		c.chunks = append(c.chunks, make([]uint32, listsChunk*leastList<<class))
	}
	return ref, l.at(ref, n)
}

// put takes the list ref of n numbers back.
func (l *lists) put(ref uint32, n int) {
	c := &l.classes[classOf(n)]
	c.free = append(c.free, ref)
	if len(c.free) == int(c.used) && len(c.chunks) > 1 {
		*c = listClass{}
	}
}

// size is the number of lists in use.
func (l *lists) size() (n int) {
	for i := range l.classes {
		n += int(l.classes[i].used) - len(l.classes[i].free)
	}
	return n
}

// numbers is the room for numbers in the lists in use.
func (l *lists) numbers() (n int) {
	for i := range l.classes {
		n += (int(l.classes[i].used) - len(l.classes[i].free)) * leastList << i
	}
	return n
}
