package shard

import (
	"crypto/sha256"
	"fmt"
	"math/bits"
	"sync/atomic"

	"github.com/usher-seats/usher/wire"
)

// firstEpoch is that of a new event, so that no version of any event is zero.
const firstEpoch = 1

// An Event is one event as it stands. Only the goroutine that applies the log
// writes it. The exported methods, and the fields before applied, are for any
// goroutine, and never wait.
//
// The state of a seat is spread over three planes of one bit per seat:
//
//	         taken booked blocked
//	free       0     0      0
//	held       1     0      0
//	booked     1     1      0
//	blocked    1     0      1
//
// Rows and areas start on words of their own; bits past their ends are blocked
// for ever. One operation stores each word that it touches at most once a plane.
type Event struct {
	// Immutable.
	id       wire.EventID
	epoch    uint16
	manifest []byte // encoded
	digest   [32]byte
	lay      *layout
	taken    []atomic.Uint64
	booked   []atomic.Uint64
	blocked  []atomic.Uint64
	maxRing  int // changes that ring may have

	// Written rarely.
	life    atomic.Uint32 // lifeOver, lifeOn or lifeFrozen: whoever looked at the event must look again
	skew    atomic.Int64  // event time minus shard time, in milliseconds
	stopped atomic.Int64  // event time at which a frozen event stands; notStopped: it goes on

	sale  atomic.Uint32 // wire.SaleState
	rules atomic.Pointer[wire.Rules]
	names atomic.Pointer[[][]byte] // of the channels
	ids   atomic.Pointer[idTable]
	queue atomic.Pointer[queueView] // of the waiting room as of the end of an entry; nil: there is none
	floor atomic.Int64              // ids up to this time that are not in the table are too old; -1: none is
	ring  atomic.Pointer[ring]

	// guarded says that the event has a waiting room, so that holds want a pass.
	guarded atomic.Bool

	// seq is the version's counter·2, plus 1 while the applier writes planes. It
	// changes with every operation, so it has a cache line for itself.
	_   [cacheLine]byte
	seq atomic.Uint64
	_   [cacheLine - 8]byte

	applied
}

const cacheLine = 64

// Lives of an event.
const (
	lifeOver   = iota // it is not this shard's, or not any more
	lifeOn            // it is on
	lifeFrozen        // it is about to leave: nothing is decided about it
)

// notStopped stands in Event.stopped while time goes on.
const notStopped = -1

// applied is the part of an Event that only the applier sees.
type applied struct {
	counter uint64   // of the version
	table   *idTable // == ids
	rule    wire.Rules
	wall    int64 // wall clock that the event was last told, Unix milliseconds

	holds    pool[hold]
	memos    pool[memo]
	lists    lists
	wheel    *wheel // nil until the first hold
	memory   memory
	buyers   buyers
	channels channels
	best     *bestIndex // nil until somebody asks for the best seats

	// due is when the event wants to be looked at even if nobody asks; at is its
	// place in the shard's agenda, from 1.
	due wire.Millis
	at  int

	// tally counts the seats by state; derived from the planes.
	tally [wire.SeatBlocked + 1]uint32

	room   *room         // nil: there is none
	passOf []wire.PassID // by the index of a hold: with which pass it was made; short if there are none

	journey journey

	created  uint64 // entry that made the event, or brought it here
	changed  uint64 // entry that last changed anything that a snapshot has
	loadedAt uint64 // entries up to this one are contained in what was loaded
	settled  uint64 // entry at whose end the agenda is to be corrected

	// encoded says that the manifest has been given to a snapshot as a part of its
	// own, so that the state need not carry it.
	encoded bool
}

// newEvent is the event of a decoded manifest whose encoding is given, with all
// places free and the manifest's rules.
func (s *Shard) newEvent(id wire.EventID, manifest []byte, m *wire.Manifest) *Event {
	e := &Event{id: id, epoch: firstEpoch, manifest: manifest, digest: sha256.Sum256(manifest), lay: newLayout(m)}
	e.maxRing = ringLimit(e.lay.seats, s.config.Changes)
	e.taken = make([]atomic.Uint64, e.lay.words)
	e.booked = make([]atomic.Uint64, e.lay.words)
	e.blocked = make([]atomic.Uint64, e.lay.words)
	for w := range e.taken {
		pad := e.lay.pad(w)
		e.taken[w].Store(pad)
		e.blocked[w].Store(pad)
	}
	e.due = wire.Never
	e.stopped.Store(notStopped)
	e.floor.Store(-1)
	e.setTable(newIDTable(0))
	e.tally[wire.SeatFree] = uint32(e.lay.seats)
	e.setRules(m.Rules)
	e.publishChannels()
	return e
}

// ID is the event's number.
func (e *Event) ID() wire.EventID { return e.id }

// Live reports whether the event still is this shard's. Whoever decided something
// from what he read asks again afterwards.
func (e *Event) Live() bool { return e.life.Load() != lifeOver }

// Frozen reports whether the event stands still because it is about to leave. Any
// goroutine.
func (e *Event) Frozen() bool { return e.life.Load() == lifeFrozen }

// Now is the event's time when it is so late in its shard. The times of all that
// happens to an event are in event time, which goes on where it stood when the
// event comes to another shard or is restored from a backup, and stands still
// while it is frozen. Any goroutine.
func (e *Event) Now(shard wire.Millis) wire.Millis {
	if at := e.stopped.Load(); at != notStopped {
		return wire.Millis(at)
	}
	return shard + wire.Millis(e.skew.Load())
}

// Manifest is the encoded manifest. It is immutable.
func (e *Event) Manifest() []byte { return e.manifest }

// Digest is the SHA-256 of the encoded manifest.
func (e *Event) Digest() [32]byte { return e.digest }

// Version is that of the latest complete change of a seat.
func (e *Event) Version() wire.Version { return e.version(e.seq.Load() >> 1) }

// Rules are the event's rules. They are a copy.
func (e *Event) Rules() wire.Rules { return *e.rules.Load() }

// Sale is where the event is in its sale window.
func (e *Event) Sale() wire.SaleState { return wire.SaleState(e.sale.Load()) }

func (e *Event) version(counter uint64) wire.Version { return wire.MakeVersion(e.epoch, counter) }

// A spot is seats of one word that an operation treats alike.
type spot struct {
	word uint32
	mask uint64
}

// addSeat adds a seat to the spot of its word, which it looks for from the last
// one back: neighbours come together. twice reports that it was there already.
// Cost: O(spots), for at most wire.MaxHoldSeats.
func addSeat(spots []spot, s uint32) (_ []spot, twice bool) {
	word, bit := s/wordBits, uint64(1)<<(s%wordBits)
	for i := len(spots) - 1; i >= 0; i-- {
		if spots[i].word == word {
			twice = spots[i].mask&bit != 0
			spots[i].mask |= bit
			return spots, twice
		}
	}
	return append(spots, spot{word, bit}), false
}

func seatCount(spots []spot) (n int) {
	for i := range spots {
		n += bits.OnesCount64(spots[i].mask)
	}
	return n
}

// begin opens a change of n seats. Until end, readers of several words see that
// they must read again.
func (e *Event) begin(n int) {
	e.seq.Store(e.counter<<1 | 1)
	e.ringFor(n).claim(n)
}

// end publishes the change.
func (e *Event) end() {
	e.ring.Load().publish()
	e.counter++
	e.seq.Store(e.counter << 1)
}

// planes of a seat state, as bits.
const (
	inTaken = 1 << iota
	inBooked
	inBlocked
)

var planesOf = [...]uint8{
	wire.SeatFree:    0,
	wire.SeatHeld:    inTaken,
	wire.SeatBooked:  inTaken | inBooked,
	wire.SeatBlocked: inTaken | inBlocked,
}

// move takes seats from one state to another, between begin and end. That they
// all are in the first is checked, in all planes: a replica that stops is better
// than a seat sold twice.
func (e *Event) move(spots []spot, from, to wire.SeatState) {
	was, will := planesOf[from], planesOf[to]
	version := e.counter + 1
	n := uint32(seatCount(spots))
	e.tally[from] -= n
	e.tally[to] += n
	for _, p := range spots {
		e.flip(&e.taken[p.word], p, was&inTaken, will&inTaken)
		e.flip(&e.booked[p.word], p, was&inBooked, will&inBooked)
		e.flip(&e.blocked[p.word], p, was&inBlocked, will&inBlocked)
		if e.best != nil && (was^will)&inTaken != 0 {
			e.best.changed(int(p.word))
		}
		e.ring.Load().add(version, p, from, to)
	}
}

// trade frees booked seats and books free ones, between begin and end, and checks
// them as move does. A word that has some of both is stored once all the same: a
// reader of one word must not see the half of it. Cost: O(give·take), which are at
// most wire.MaxHoldSeats each.
func (e *Event) trade(give, take []spot) {
	version := e.counter + 1
	gain := uint32(seatCount(take) - seatCount(give))
	e.tally[wire.SeatFree] -= gain
	e.tally[wire.SeatBooked] += gain
	for _, p := range give {
		e.tradeWord(p.word, p.mask, maskIn(take, p.word))
		e.ring.Load().add(version, p, wire.SeatBooked, wire.SeatFree)
	}
	for _, p := range take {
		if maskIn(give, p.word) == 0 {
			e.tradeWord(p.word, 0, p.mask)
		}
		e.ring.Load().add(version, p, wire.SeatFree, wire.SeatBooked)
	}
}

// tradeWord frees the booked seats of one mask and books the free ones of another.
func (e *Event) tradeWord(word uint32, give, take uint64) {
	taken, booked, blocked := e.taken[word].Load(), e.booked[word].Load(), e.blocked[word].Load()
	if give&^(taken&booked&^blocked) != 0 || take&(taken|booked|blocked) != 0 {
		panic(fmt.Sprintf("shard: event %d: seats %#x and %#x of word %d are to be traded, and taken are %#x, booked %#x, blocked %#x",
			e.id, give, take, word, taken, booked, blocked))
	}
	e.taken[word].Store(taken&^give | take)
	e.booked[word].Store(booked&^give | take)
	if e.best != nil {
		e.best.changed(int(word))
	}
}

// maskIn is what the spots have in a word.
func maskIn(spots []spot, word uint32) uint64 {
	for _, p := range spots {
		if p.word == word {
			return p.mask
		}
	}
	return 0
}

// flip brings the spot's bits of a plane from was to will, where 0 is unset and
// all else is set.
func (e *Event) flip(word *atomic.Uint64, p spot, was, will uint8) {
	old := word.Load()
	have := old & p.mask
	if was == 0 && have != 0 || was != 0 && have != p.mask {
		panic(fmt.Sprintf("shard: event %d: seats %#x of word %d are %#x, which is not where they come from",
			e.id, p.mask, p.word, have))
	}
	switch {
	case was == will:
	case will != 0:
		word.Store(old | p.mask)
	default:
		word.Store(old &^ p.mask)
	}
}

// seatsOf are the hold's seats, good until the lists change.
func (e *Event) seatsOf(h *hold) []uint32 {
	if h.inline() {
		return h.seats[:h.n]
	}
	return e.lists.at(h.seats[0], int(h.n))
}

// spotsOf are the seats of a hold that a mask names, grouped by word.
func (e *Event) spotsOf(h *hold, mask uint64, spots []spot) []spot {
	seats := e.seatsOf(h)
	for ; mask != 0; mask &= mask - 1 {
		spots, _ = addSeat(spots, seats[bits.TrailingZeros64(mask)])
	}
	return spots
}
