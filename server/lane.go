package server

import (
	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

// maxLookBody is the largest answer of an early look: a SeatsLost that names all
// seats of a hold.
const maxLookBody = 8 + 2 + 4*wire.MaxHoldSeats + 2

// A lane is what a connection's reader knows and gathers for one group. What it
// knows is looked up once per round: reading the clock for each request was
// measured to cost 27 ns, a third of what the early look takes.
type lane struct {
	id    uint32
	g     *group // nil: the node has no replica of it
	round uint64 // in which the following was looked up
	shard *shard.Shard
	now   wire.Millis
	leads bool
	sole  bool // nobody else can lead, so what is looked up may be answered at once

	batches [3]*raftlog.Batch // by mode
	boxes   [3]*outbox        // where their answers go
}

// enter prepares the lane for the round.
func (c *conn) enter(l *lane) *lane {
	if l.round == c.round {
		return l
	}
	l.round = c.round
	if l.g == nil {
		l.leads = false
		return l
	}
	l.leads = l.g.log.Leading()
	l.now = l.g.log.Now()
	l.sole = l.g.log.SoleVoter() && !c.n.cfg.passengers
	l.shard = l.g.shard.Load()
	c.touched = append(c.touched, l)
	return l
}

// regroup follows the groups that the node has and the cluster's shards. It is for
// the beginning of a round, when nothing is gathered.
func (c *conn) regroup(set *groupSet, shards int) {
	c.groups, c.lane = set, nil
	c.lanes = make([]lane, max(len(set.byID), shards+1))
	for i := range c.lanes {
		c.lanes[i] = lane{id: uint32(i), g: set.get(uint32(i))}
	}
}

// board makes sure, before a look, that there is a batch for its answer to
// travel with: a Ready batch notes the reign when it is made, and an answer that
// was looked up before would be given out by a leader who has since been another.
func (c *conn) board(l *lane) {
	if b := l.batches[raftlog.Ready]; b != nil && !b.Fits(maxLookBody) {
		c.submit(l, raftlog.Ready)
	}
	if l.batches[raftlog.Ready] == nil {
		c.open(l, raftlog.Ready)
	}
}

// open begins a batch.
func (c *conn) open(l *lane, m raftlog.Mode) *raftlog.Batch {
	box := outboxes.Get().(*outbox)
	box.c = c
	b := l.g.log.NewBatch(m, box)
	l.batches[m], l.boxes[m] = b, box
	return b
}

// add puts a record into the lane's batch of that mode; room is what it counts
// until it is answered.
func (c *conn) add(l *lane, m raftlog.Mode, tag uint64, place int, kind wire.Kind, r wire.Record, room int) {
	b := l.batches[m]
	if b != nil && !b.Fits(len(r.Body)) {
		c.submit(l, m)
		b = nil
	}
	if b == nil {
		b = c.open(l, m)
	}
	box := l.boxes[m]
	box.room += room
	c.budget -= room
	b.Add(tag, box.aux(kind, c.gather, place), r)
}

// submit hands a batch over. A refused one is answered on the spot, by the same
// path as everything else.
func (c *conn) submit(l *lane, m raftlog.Mode) {
	b, box := l.batches[m], l.boxes[m]
	l.batches[m], l.boxes[m] = nil, nil
	if b == nil {
		return
	}
	if b.Len() == 0 {
		b.Release()
		box.recycle()
		return
	}
	c.out.take(box.room)
	if s := l.g.log.Submit(b); s != wire.StatusOK {
		b.Refuse(s)
	}
}

// submitAll ends the round.
func (c *conn) submitAll() {
	for _, l := range c.touched {
		for m := range l.batches {
			c.submit(l, raftlog.Mode(m))
		}
	}
	c.touched = c.touched[:0]
}
