package server

import (
	"context"
	"sync"

	"github.com/usher-seats/usher/wire"
)

const (
	// maxJoining bounds the joins that wait on a node for their numbers.
	maxJoining = 65_536
	// maxLoneJoins bounds those of them that travel on their own.
	maxLoneJoins = 4096
)

// A join is somebody who wants numbers.
type join struct {
	op      wire.Mutation // its own if alone; else only the event counts
	flags   wire.Flags
	count   uint16
	visitor [wire.VisitorSize]byte
	named   bool // visitor says who it is
	alone   bool // it may be repeated under its id, so it needs an operation of its own
	// done is called once, on any goroutine, with the answer to a wire.Join.
	done func(wire.Status, []byte)
}

// joins brings the joins that come to a node to their shards. Those of single
// visitors to one event are gathered: while one operation is on its way, all who
// come wait and are the next. So a join alone waits for nobody, in a crowd one
// operation carries thousands, and who came first is first. What one operation
// answers is signed while the next is on its way.
//
// Whoever takes many numbers, or gives a request id of his own to repeat, gets an
// operation of his own: the shard then remembers the numbers under the id. A single
// join that lost its answer and is repeated gets another number, the first is one
// whose visitor does not come.
type joins struct {
	n    *Node
	life context.Context // ends with stop
	end  context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting int // joins that are not done
	lone    int // of these, those that travel alone
	byEvent map[wire.EventID]*gathering
}

// A gathering is the joins of one event that wait for the operation before theirs.
// It belongs to joins.mu.
type gathering struct{ list []join }

func newJoins(n *Node) *joins {
	j := &joins{n: n, byEvent: make(map[wire.EventID]*gathering)}
	j.life, j.end = context.WithCancel(context.Background())
	return j
}

// stop refuses further joins and answers all that wait. Whoever could be waited for
// has been: what has no answer now gets none but "unknown".
func (j *joins) stop() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.end()
	j.work.Wait()
}

// count is how many joins wait.
func (j *joins) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.waiting
}

// add takes a join; done is called later. Any status but OK refuses it, and done is
// not called.
func (j *joins) add(w join) wire.Status {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closed:
		return wire.StatusStopping
	case j.waiting >= maxJoining || w.alone && j.lone >= maxLoneJoins:
		return wire.StatusOverloaded
	}
	j.waiting++
	if w.alone {
		j.lone++
		j.work.Go(func() { j.issueAlone(w) })
		return wire.StatusOK
	}
	if g := j.byEvent[w.op.Event]; g != nil {
		g.list = append(g.list, w)
		return wire.StatusOK
	}
	g := &gathering{list: []join{w}}
	j.byEvent[w.op.Event] = g
	j.work.Go(func() { j.run(w.op.Event, g) })
	return wire.StatusOK
}

// run issues numbers to those who have gathered until nobody waits.
func (j *joins) run(event wire.EventID, g *gathering) {
	var signing sync.WaitGroup
	defer signing.Wait()
	for {
		next := j.next(event, g)
		if len(next) == 0 {
			return
		}
		op := wire.Issue{Mutation: j.n.begin(event), Count: uint16(len(next))}
		if next[0].named {
			for i := range next {
				op.Visitors = append(op.Visitors, next[i].visitor[:]...)
			}
		}
		status, body := j.issue(&op, 0)
		signing.Wait()
		signing.Go(func() { j.answer(next, status, body) })
	}
}

// next takes those at the head who can share an operation. None: the gathering is
// over.
func (j *joins) next(event wire.EventID, g *gathering) []join {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, most := 0, wire.MaxIssue
	if len(g.list) > 0 && g.list[0].named {
		most = wire.MaxJoins
	}
	for n < min(len(g.list), most) && g.list[n].named == g.list[0].named {
		n++
	}
	if n == 0 {
		delete(j.byEvent, event)
		return nil
	}
	next := g.list[:n:n]
	g.list = g.list[n:]
	return next
}

func (j *joins) issueAlone(w join) {
	op := wire.Issue{Mutation: w.op, Count: w.count}
	if w.named {
		op.Visitors = w.visitor[:]
	}
	status, body := j.issue(&op, w.flags)
	j.answer([]join{w}, status, body)
}

// issue carries an Issue to its end.
func (j *joins) issue(op *wire.Issue, f wire.Flags) (wire.Status, []byte) {
	ctx, cancel := context.WithTimeout(j.life, defaultBudget)
	defer cancel()
	j.n.queue.issues.Add(1)
	return j.n.do(ctx, wire.Record{Kind: wire.KindIssue, Flags: f, Body: op.Append(nil)})
}

// answer gives everybody the tickets of an operation that they shared, or one all of
// them.
func (j *joins) answer(all []join, status wire.Status, body []byte) {
	var issued wire.Issued
	s := j.n.signer()
	if status == wire.StatusOK && (s == nil || issued.Decode(body) != nil) {
		j.n.log.Error("the numbers of a waiting room cannot be read", "bytes", len(body))
		status, body = wire.StatusUnknown, nil
	}
	if status == wire.StatusOK {
		j.n.queue.joins.Add(uint64(issued.Count))
	}
	at := 0
	for i := range all {
		if status != wire.StatusOK {
			all[i].done(status, body)
			continue
		}
		all[i].done(status, s.tickets(&issued, at, int(all[i].count)))
		at += int(all[i].count)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiting -= len(all)
	if all[0].alone {
		j.lone--
	}
}

// tickets signs count of the numbers issued, from the at-th on: the body that
// answers a wire.Join.
func (s *signer) tickets(issued *wire.Issued, at, count int) []byte {
	t := wire.Tickets{Room: issued.Room, Now: issued.Now, List: make([]wire.Ticket, count)}
	texts := make([]byte, 0, count*tokenChars)
	for i := range t.List {
		number := issued.At(at + i)
		signed := token{kind: tokenNumber, room: issued.Room, number: number}
		if number < issued.Entries {
			signed.kind = tokenEntry
		}
		begin := len(texts)
		texts = s.sign(texts, signed)
		t.List[i] = wire.Ticket{Entry: signed.kind == tokenEntry, Number: number, Token: texts[begin:]}
	}
	return t.Append(make([]byte, 0, 18+count*(11+tokenChars)))
}
