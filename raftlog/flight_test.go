package raftlog

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/usher-seats/usher/wire"
)

// A deadFuture is an entry that raft could not commit.
type deadFuture struct{ raft.ApplyFuture }

func (deadFuture) Error() error { return raft.ErrLeadershipLost }

// newTestFSM is an applier without a group around it.
func newTestFSM(t *testing.T, p *proposer) (*fsm, *[]*reign) {
	t.Helper()
	began := new([]*reign)
	f := &fsm{
		token: 1, newSM: func() StateMachine { return newTally() }, publish: func(StateMachine) {},
		fatal: func(msg string) { t.Error(msg) }, flights: p.flights, clock: p.clock,
		ahead: func() {}, logged: func(int64) {}, elected: func(r *reign) { *began = append(*began, r) },
	}
	f.start()
	return f, began
}

func newTestProposer() *proposer {
	p := &proposer{flights: new(flights), clock: new(clock), wake: make(chan struct{}, 1)}
	p.clock.init(nil, nil)
	return p
}

// TestOneAnswers: the applier, raft's word that the entry failed, and the
// deadline come at the same moment; each record is answered once.
func TestOneAnswers(t *testing.T) {
	p := newTestProposer()
	f, _ := newTestFSM(t, p)
	to := newCatcher()
	statuses := make(map[wire.Status]int)
	const rounds = 3000
	for i := uint64(1); i <= rounds; i++ {
		fl := &flight{seq: i}
		b := new(Batch)
		b.to = to
		b.Add(i, 0, tallyRecord(i, 0))
		fl.writes.push(b)
		e := entry{token: f.token, seq: i, count: 1}
		data := append(e.appendHeader(nil), b.buf...)
		if !p.flights.put(fl) {
			t.Fatal("no slot is free")
		}
		var all sync.WaitGroup
		all.Go(func() { f.apply(&raft.Log{Type: raft.LogCommand, Index: i, Term: 1, Data: data}) })
		all.Go(func() { p.watch(fl, deadFuture{}) })
		all.Go(func() { p.answerOverdue(time.Hour, 1) })
		all.Wait()
		o, ok := to.outcome(i)
		if !ok {
			t.Fatalf("record %d was not answered", i)
		}
		statuses[o.status]++
	}
	if len(to.twice) > 0 {
		t.Fatalf("%d records were answered twice", len(to.twice))
	}
	if n := f.sm.(*tally).applied(); n != rounds {
		t.Errorf("%d of %d entries applied", n, rounds)
	}
	if p.flights.count() != 0 {
		t.Errorf("%d slots are taken", p.flights.count())
	}
	t.Log(statuses)
}

// TestReignIsOfTheTerm: the entry that is to begin a reign begins none if raft
// committed it in a later term than it was proposed for.
func TestReignIsOfTheTerm(t *testing.T) {
	p := newTestProposer()
	f, began := newTestFSM(t, p)
	for i, term := range []uint64{5, 6} {
		fl := &flight{seq: uint64(i + 1), barrier: true, term: 5}
		p.flights.put(fl)
		e := entry{token: f.token, seq: fl.seq}
		f.apply(&raft.Log{Type: raft.LogCommand, Index: uint64(i + 1), Term: term, Data: e.appendHeader(nil)})
	}
	if len(*began) != 1 || (*began)[0].term != 5 {
		t.Errorf("%d reigns began", len(*began))
	}
}

// TestForeignEntries: an entry of another proposer with the number of one that
// is under way here answers nobody.
func TestForeignEntries(t *testing.T) {
	p := newTestProposer()
	f, _ := newTestFSM(t, p)
	to := newCatcher()
	fl := &flight{seq: 1}
	b := filledBatch(1, 1, 16)
	b.to = to
	fl.writes.push(b)
	p.flights.put(fl)
	e := entry{token: f.token + 1, seq: 1, count: 1}
	f.apply(&raft.Log{Type: raft.LogCommand, Index: 1, Term: 1, Data: append(e.appendHeader(nil), b.buf...)})
	if to.count() != 0 || p.flights.count() != 1 {
		t.Error("an entry of another proposer was taken for one's own")
	}
}

// TestLateIsNotOverdue: when the process stood still while an entry was being
// answered, nobody takes raft for stuck.
func TestLateIsNotOverdue(t *testing.T) {
	p := newTestProposer()
	answering, waiting := &flight{seq: 1, term: 1}, &flight{seq: 2, term: 1}
	p.flights.put(answering)
	answering.claim() // by the applier
	if p.answerOverdue(time.Hour, 1) {
		t.Error("an entry that is being answered counts as stuck")
	}
	p.flights.put(waiting)
	for range 2 {
		if !p.answerOverdue(time.Hour, 1) {
			t.Error("an entry that nobody answers does not count as stuck")
		}
	}
	if p.answerOverdue(time.Hour, 2) || p.flights.find(2) != nil || p.flights.find(1) == nil {
		t.Error("an entry of an earlier term is still waited for")
	}
}
