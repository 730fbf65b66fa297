package raftlog

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/usher-seats/usher/wire"
)

const (
	// tickInterval is the least time between two entries that are proposed only
	// because something is due.
	tickInterval = 50 * time.Millisecond

	// maxUnstamped is how long a leader's time may go on without a stamp while
	// something is to fall due. The next leader starts at the last stamp, so this
	// bounds by how much a crash of a quiet group delays what is due.
	maxUnstamped wire.Millis = 10_000

	// catchUp is how far behind shard time the next due thing may be before
	// operations wait until it has ended: the process was stopped for a while. It
	// is also by how much each entry brings time forward until then.
	catchUp wire.Millis = 1_000

	// barrierRetry is the wait before the entry after an election is proposed
	// again, if raft refused it and still leads.
	barrierRetry = 20 * time.Millisecond
)

// idle is the armed time of a timer that is not armed.
const idle time.Duration = math.MaxInt64

// A proposer is the batcher: one goroutine that turns what is queued into
// entries and follows raft's role. No write waits for its timer: it takes all
// there is as soon as raft has room for an entry, so while an entry is under way
// the next one fills, and a request that is alone waits for nobody.
type proposer struct {
	raft    raftGroup
	token   uint64
	queue   *queue
	flights *flights
	fsm     *fsm
	clock   *clock
	answer  time.Duration // after which an entry's operations are answered: unknown
	chase   time.Duration // after which an empty entry follows one that nothing follows

	wake    chan struct{}         // there is something to look at
	elected atomic.Pointer[reign] // begun by the applier, not yet published
	closing atomic.Bool           // finish what was taken, then end
	missed  atomic.Bool           // a follower may have missed something
	abort   chan struct{}         // closed: end without finishing
	ended   chan struct{}         // closed when the goroutine has ended

	// Owned by the goroutine.
	term      uint64 // the term whose leadership was last seen; 0: none
	barrier   bool   // the entry that begins the reign of term is to be proposed
	retryAt   time.Duration
	configs   uint64 // configuration entries that the reign knows of
	followed  bool   // there are other members, with or without a vote
	seq       uint64
	stamp     wire.Millis // of the last entry
	lastTick  time.Duration
	lastStamp bool          // the entry that stamps the end has been considered
	untold    bool          // followers may not know that the last entry is committed
	told      time.Duration // when that was proposed
	writes    batchList     // taken from the queue, in no entry yet
	reads     batchList
	ready     batchList
	timer     *time.Timer
	armed     time.Duration

	entries, ops, bytes, ticks, barriers, unknown, notApplied, elections atomic.Uint64
}

// raftGroup is what the proposer asks of raft.
type raftGroup interface {
	Apply(cmd []byte, timeout time.Duration) raft.ApplyFuture
	State() raft.RaftState
	CurrentTerm() uint64
	LeaderCh() <-chan bool
	GetConfiguration() raft.ConfigurationFuture
}

// signal wakes the batcher.
func (p *proposer) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run is the batcher's goroutine.
func (p *proposer) run() {
	defer close(p.ended)
	p.timer = time.NewTimer(time.Hour)
	p.armed = idle
	for {
		select {
		case <-p.wake:
		case <-p.raft.LeaderCh():
		case <-p.timer.C:
			p.armed = idle
		case <-p.abort:
			p.end()
			return
		}
		if p.step() {
			p.end()
			return
		}
	}
}

// step does all there is to do now, and reports whether the batcher is done.
func (p *proposer) step() (done bool) {
	mono := p.clock.mono()
	term := p.ledTerm()
	p.followRole(mono, term, p.answerOverdue(mono, term))
	r := p.clock.reign.Load()
	if r == nil {
		p.refuseQueued()
	} else {
		for p.room(r) && p.proposeNext(r) {
		}
	}
	p.arm(mono, r)
	return p.closing.Load() && p.queue.empty() && p.writes.empty() && p.reads.empty() &&
		p.ready.empty() && p.flights.count() == 0
}

// room reports whether another entry may be proposed. A lone voter commits when
// its disk has written, and raft writes one entry after the other, so a second
// entry under way gains little there and halves both: it is proposed only if it
// is worth it. Where followers have to answer, it fills the time until they do.
// (Measured with one voter, 16 clients with 64 operations each: 2.1 M/s with one
// entry at a time, 1.3 with two; with 512 each 3.3 and 3.9.)
func (p *proposer) room(r *reign) bool {
	switch p.flights.underWay() {
	case 0:
		return true
	case maxInFlight:
		return false
	}
	return !r.sole || p.queue.worth()
}

// proposeNext proposes an entry if there is a reason to, and reports whether it
// did.
func (p *proposer) proposeNext(r *reign) bool {
	p.collect()
	mono := p.clock.mono()
	now := max(p.clock.last(), r.now(mono))
	due := p.fsm.nextDue()
	switch {
	case p.behind(due, now):
		// More is due than one entry ends, or has been for long: end it first, so
		// that no operation finds seats that should be free by now, and in steps, so
		// that after a long pause no entry has to end all that fell due in it.
		if p.flights.count() > 0 {
			return false
		}
		p.lastTick = mono
		p.ticks.Add(1)
		p.propose(&flight{tick: true}, min(now, max(due, p.clock.last())+catchUp))
	case !p.writes.empty():
		p.propose(&flight{}, now)
	case !p.reads.empty() || !p.ready.empty():
		p.barriers.Add(1)
		p.propose(&flight{}, now)
	case p.chaseDue(mono):
		p.propose(&flight{tick: true}, now)
		p.untold = false
	case p.tickDue(due, now, mono):
		p.lastTick = mono
		p.ticks.Add(1)
		p.propose(&flight{tick: true}, now)
	default:
		return false
	}
	return true
}

// behind reports whether what is due is to be ended before anything else: the
// last entry left some of it over, or it has been due for long.
func (p *proposer) behind(due, now wire.Millis) bool {
	return due <= p.clock.last() || due < now-catchUp
}

// tickDue reports whether an entry is to be proposed for its stamp alone.
func (p *proposer) tickDue(due, now wire.Millis, mono time.Duration) bool {
	if due == wire.Never || p.flights.count() > 0 {
		return false
	}
	if p.closing.Load() && !p.lastStamp {
		// What the time is stays known over a restart.
		p.lastStamp = true
		return now > p.clock.last()
	}
	return p.tickTime(due) <= now && mono-p.lastTick >= tickInterval
}

// chaseAfter is how long an entry that changed something may be the last one before
// an empty one follows, by which followers learn that it is committed. raft tells
// them by itself only after commitTimeout, because telling them of every commit at
// once would be half the messages of idle groups.
const chaseAfter = 50 * time.Millisecond

// remind has an empty entry follow the last one again: a follower that was away is
// back, and raft might take seconds to tell it what it has missed.
func (p *proposer) remind() {
	p.missed.Store(true)
	p.signal()
}

// chaseDue reports whether an entry is to be proposed so that followers learn of the
// last one.
func (p *proposer) chaseDue(mono time.Duration) bool {
	return p.untold && p.followed && p.flights.count() == 0 && !p.closing.Load() && mono-p.told >= p.chase
}

// tickTime is the shard time at which an idle group proposes an entry.
func (p *proposer) tickTime(due wire.Millis) wire.Millis {
	return min(due, p.clock.last()+maxUnstamped)
}

// collect takes what is queued. Writes keep their order; passengers all ride on
// the next entry.
func (p *proposer) collect() {
	for b := p.queue.take(); b != nil; {
		next := b.next
		switch b.mode {
		case Write:
			p.writes.push(b)
		case Read:
			p.reads.push(b)
		case Ready:
			p.ready.push(b)
		}
		b = next
	}
}

// load moves into fl what one entry takes, and returns the records' number and
// bytes. A batch is never divided. Batches share an entry up to MaxBatchBytes.
func (p *proposer) load(fl *flight) (ops, bytes int) {
	for !p.writes.empty() {
		b := p.writes.first
		if ops > 0 && (ops+len(b.tags) > maxEntryOps || bytes+len(b.buf) > MaxBatchBytes) {
			break
		}
		ops += len(b.tags)
		bytes += len(b.buf)
		fl.writes.push(p.writes.pop())
	}
	return ops, bytes
}

// board lets passengers onto fl, and returns their number and bytes.
func (p *proposer) board(fl *flight) (ops, bytes int) {
	for !p.reads.empty() && ops+len(p.reads.first.tags) <= maxEntryReads {
		b := p.reads.pop()
		ops += len(b.tags)
		bytes += len(b.buf)
		fl.reads.push(b)
	}
	for !p.ready.empty() {
		b := p.ready.pop()
		ops += len(b.tags)
		bytes += len(b.buf)
		fl.ready.push(b)
	}
	return ops, bytes
}

// propose gives raft an entry with what is waiting and fits.
func (p *proposer) propose(fl *flight, now wire.Millis) {
	p.seq++
	fl.seq, fl.term = p.seq, p.term
	fl.deadline = p.clock.mono() + p.answer
	var ops, bytes int
	if !fl.barrier {
		p.stamp = max(p.stamp, now)
		fl.stamp = p.stamp
		if !fl.tick {
			ops, bytes = p.load(fl)
		}
		rideOps, rideBytes := p.board(fl)
		defer p.queue.done(ops+rideOps, bytes+rideBytes)
	}
	e := entry{token: p.token, seq: fl.seq, stamp: fl.stamp, count: ops}
	// Raft, its cache and its followers keep the slice: a fresh one per entry.
	data := e.appendHeader(make([]byte, 0, entryHeader+bytes))
	for b := fl.writes.first; b != nil; b = b.next {
		data = append(data, b.buf...)
	}
	p.untold, p.told = true, p.clock.mono()
	p.entries.Add(1)
	p.ops.Add(uint64(ops))
	p.bytes.Add(uint64(len(data)))
	if !p.flights.put(fl) {
		panic("raftlog: more entries in flight than there is room for")
	}
	// No timeout: it would cost a timer and, with BatchApplyCh, mean nothing. The
	// channel has room for many more entries than are ever in flight.
	go p.watch(fl, p.raft.Apply(data, 0))
}

// arm sets the timer for the next thing that time brings, if it is not set for
// something earlier anyway.
func (p *proposer) arm(mono time.Duration, r *reign) {
	at := idle
	flying := false
	for i := range p.flights.slots {
		if fl := p.flights.slots[i].Load(); fl != nil {
			flying = true
			if !fl.claimed.Load() {
				at = min(at, fl.deadline)
			}
		}
	}
	if p.barrier {
		at = min(at, p.retryAt)
	}
	if r != nil && p.untold && p.followed && !flying {
		at = min(at, p.told+p.chase)
	}
	// An entry under way carries a stamp itself, and wakes the batcher when it has
	// been applied.
	if due := p.fsm.nextDue(); r != nil && !flying && due != wire.Never {
		wait := time.Duration(max(0, p.tickTime(due)-r.now(mono))) * time.Millisecond
		at = min(at, max(mono+wait, p.lastTick+tickInterval))
	}
	if at < p.armed {
		p.armed = at
		p.timer.Reset(max(at-mono, time.Millisecond))
	}
}
