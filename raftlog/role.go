package raftlog

import (
	"time"

	"github.com/hashicorp/raft"
	"github.com/usher-seats/usher/wire"
)

// followRole begins and ends reigns. LeaderCh only wakes the batcher, since it
// drops transitions: what counts is the term in which raft leads. Leadership
// lost and won again between two looks is another term, and so another reign.
func (p *proposer) followRole(mono time.Duration, term uint64, overdue bool) {
	if term == 0 || overdue {
		// An entry that is overdue means that raft is stuck: refuse at once what
		// would wait in vain. The reign begins anew, with an entry of its own, when
		// raft has let go of it.
		p.term, p.barrier = 0, false
		p.endReign()
		return
	}
	if term != p.term {
		p.endReign()
		p.term, p.barrier, p.retryAt = term, true, mono
	}
	if r := p.elected.Swap(nil); r != nil && r.term == term && p.clock.reign.Load() == nil {
		p.barrier = false
		p.elections.Add(1)
		p.reign(*r)
	}
	if p.missed.Swap(false) && !p.untold {
		p.untold, p.told = true, mono
	}
	if r := p.clock.reign.Load(); r != nil && p.fsm.configs.Load() != p.configs {
		p.untold, p.told = true, mono
		p.reign(*r)
	}
	if p.barrier && mono >= p.retryAt && p.flights.slots[barrierSlot].Load() == nil {
		p.retryAt = mono + barrierRetry
		p.barriers.Add(1)
		p.propose(&flight{barrier: true}, 0)
	}
}

// ledTerm is the term in which raft leads here, 0 if it does not. Raft changes
// its term before it becomes a leader and after it has ceased to be one.
func (p *proposer) ledTerm() uint64 {
	term := p.raft.CurrentTerm()
	if p.raft.State() != raft.Leader || p.raft.CurrentTerm() != term {
		return 0
	}
	return term
}

// reign publishes a reign with what is known of the voters now.
func (p *proposer) reign(r reign) {
	p.configs = p.fsm.configs.Load()
	voters := 0
	members := p.raft.GetConfiguration().Configuration().Servers
	for _, s := range members {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	r.sole = voters == 1
	p.followed = len(members) > 1
	p.clock.publish(&r)
}

func (p *proposer) endReign() {
	if p.clock.reign.Load() != nil {
		p.clock.publish(nil)
	}
}

// answerOverdue answers the flights whose deadline has passed: their entries may
// still be applied. It reports whether raft has one of them in the term it leads
// in; of those of earlier terms nothing is expected any more. A flight that
// somebody else is answering is not overdue, however late it is.
func (p *proposer) answerOverdue(mono time.Duration, term uint64) (overdue bool) {
	for i := range p.flights.slots {
		fl := p.flights.slots[i].Load()
		if fl == nil || mono < fl.deadline {
			continue
		}
		if fl.claim() {
			fl.overdue = true
			p.fail(fl, wire.StatusUnknown)
		}
		switch {
		case !fl.overdue:
		case fl.term == term:
			overdue = true
		default:
			p.flights.free(fl)
		}
	}
	return overdue
}

// refuseQueued answers what is queued and in no entry: not applied.
func (p *proposer) refuseQueued() {
	p.collect()
	s := wire.StatusUnavailable
	if p.closing.Load() {
		s = wire.StatusStopping
	}
	for _, list := range []*batchList{&p.writes, &p.reads, &p.ready} {
		for !list.empty() {
			b := list.pop()
			p.queue.done(len(b.tags), len(b.buf))
			p.notApplied.Add(uint64(len(b.tags)))
			b.Refuse(s)
		}
	}
}

// fail answers all of a flight that the caller has claimed. Passengers change
// nothing, so whatever became of the entry, they were not applied.
func (p *proposer) fail(fl *flight, s wire.Status) {
	count := &p.notApplied
	if s == wire.StatusUnknown {
		count = &p.unknown
	}
	for !fl.writes.empty() {
		b := fl.writes.pop()
		count.Add(uint64(len(b.tags)))
		b.Refuse(s)
	}
	for _, list := range []*batchList{&fl.reads, &fl.ready} {
		for !list.empty() {
			b := list.pop()
			p.notApplied.Add(uint64(len(b.tags)))
			b.Refuse(wire.StatusUnavailable)
		}
	}
}

// watch waits for raft to say how an entry has ended, on a goroutine of its own.
// If it was applied, the applier has answered already. A future that raft drops
// when it shuts down (#498) never returns and costs this goroutine; the deadline,
// or Close, answers in its place.
func (p *proposer) watch(fl *flight, future raft.ApplyFuture) {
	err := future.Error()
	if err != nil && fl.claim() {
		p.fail(fl, failure(err))
	}
	p.flights.free(fl)
	if err != nil {
		p.signal()
	}
}

// end answers whatever is left when the batcher ends.
func (p *proposer) end() {
	p.timer.Stop()
	p.endReign()
	for b := p.queue.close(); b != nil; {
		next := b.next
		b.next = nil
		p.queue.done(len(b.tags), len(b.buf))
		p.notApplied.Add(uint64(len(b.tags)))
		b.Refuse(wire.StatusStopping)
		b = next
	}
	p.refuseQueued()
	for i := range p.flights.slots {
		if fl := p.flights.slots[i].Load(); fl != nil && fl.claim() {
			p.fail(fl, wire.StatusUnknown)
		}
	}
}
