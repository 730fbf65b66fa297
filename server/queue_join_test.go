package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A joined is a join as its client saw it.
type joined struct {
	sent, got time.Time
	number    uint64
}

// inOrder proves that no number was given twice, and that who was sent his after
// somebody else had got one has a higher one.
func inOrder(t *testing.T, all []joined) {
	t.Helper()
	bySent := slices.Clone(all)
	slices.SortFunc(bySent, func(a, b joined) int { return a.sent.Compare(b.sent) })
	slices.SortFunc(all, func(a, b joined) int { return a.got.Compare(b.got) })
	seen := make(map[uint64]bool)
	done, highest, any := 0, uint64(0), false
	for _, j := range bySent {
		for ; done < len(all) && all[done].got.Before(j.sent); done++ {
			highest, any = max(highest, all[done].number), true
		}
		if any && j.number <= highest {
			t.Errorf("number %d was asked for after %d had been given", j.number, highest)
		}
		if seen[j.number] {
			t.Errorf("number %d was given twice", j.number)
		}
		seen[j.number] = true
	}
}

// openRoom gives an event a waiting room.
func openRoom(t testing.TB, n *Node, event wire.EventID, change func(*wire.RoomConfig)) {
	t.Helper()
	set := wire.SetRoom{Mutation: n.begin(event), Config: wire.DefaultRoom()}
	if change != nil {
		change(&set.Config)
	}
	r := wire.Record{Kind: wire.KindSetRoom, Body: set.Append(nil)}
	seedRoom(r.Body)
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	if status, body := n.do(ctx, r); status != wire.StatusOK {
		t.Fatalf("make a room: %v %s", status, body)
	}
}

// TestJoinsAreGathered: joins that come at once share operations, and keep their
// order.
func TestJoinsAreGathered(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 2, 50))
	openRoom(t, n, event, nil)
	const visitors, each = 64, 20
	var mu sync.Mutex
	var all []joined
	var crowd sync.WaitGroup
	for range visitors {
		crowd.Go(func() {
			for range each {
				sent := time.Now()
				done := make(chan wire.Tickets, 1)
				s := n.joins.add(join{op: wire.Mutation{Event: event}, count: 1, done: func(s wire.Status, body []byte) {
					var tickets wire.Tickets
					if s != wire.StatusOK || tickets.Decode(body) != nil {
						t.Errorf("join: %v %s", s, body)
					}
					done <- tickets
				}})
				if s != wire.StatusOK {
					t.Errorf("join: %v", s)
					return
				}
				tickets := <-done
				mu.Lock()
				all = append(all, joined{sent, time.Now(), tickets.List[0].Number})
				mu.Unlock()
			}
		})
	}
	crowd.Wait()
	if len(all) != visitors*each {
		t.Fatalf("%d joins were answered", len(all))
	}
	inOrder(t, all)
	if got := n.queue.issues.Load(); got*4 > visitors*each {
		t.Errorf("%d joins took %d operations", visitors*each, got)
	}
	if got := n.queue.joins.Load(); got != visitors*each {
		t.Errorf("%d joins are counted as %d", visitors*each, got)
	}
	eventually(t, "nobody waits", func() bool {
		n.joins.mu.Lock()
		defer n.joins.mu.Unlock()
		return n.joins.waiting == 0 && len(n.joins.byEvent) == 0
	})
}

// TestJoinsAreBounded: beyond its bounds a node refuses joins before any work, and
// none is lost that it took.
func TestJoinsAreBounded(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 2, 50))
	j := newJoins(n)
	j.waiting = maxJoining
	w := join{op: wire.Mutation{Event: event}, count: 1, done: func(wire.Status, []byte) { t.Error("a join that was refused is answered") }}
	if s := j.add(w); s != wire.StatusOverloaded {
		t.Errorf("one more join: %v", s)
	}
	j.waiting, j.lone = 0, maxLoneJoins
	w.alone = true
	if s := j.add(w); s != wire.StatusOverloaded {
		t.Errorf("one more join that travels alone: %v", s)
	}
	j.stop()
	j.lone = 0
	if s := j.add(w); s != wire.StatusStopping {
		t.Errorf("a join when all is over: %v", s)
	}
}

// TestVisitFrames asks for everything that visitors ask, over the binary protocol.
func TestVisitFrames(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 2, 50))
	p := dial(t, n)
	join := func(id wire.ID, count uint16, visitor string) []byte {
		j := wire.Join{Mutation: wire.Mutation{Event: event, ID: id}, Count: count, Visitor: []byte(visitor)}
		return j.Append(nil)
	}
	fresh := func() wire.ID { return n.newID(n.now(event)) }
	p.want(wire.StatusNoRoom, wire.KindJoin, join(fresh(), 1, ""))
	openRoom(t, n, event, func(c *wire.RoomConfig) { c.Limit, c.Rate = 2, 1_000_000 })

	var list, again wire.Tickets
	id := fresh()
	if err := list.Decode(p.want(wire.StatusOK, wire.KindJoin, join(id, 1000, ""))); err != nil || len(list.List) != 1000 {
		t.Fatalf("%d tickets: %v", len(list.List), err)
	}
	for i, k := range list.List {
		if got, fault := n.signer().ticket(k.Token); fault != nil || k.Entry || k.Number != uint64(i) || got.number != k.Number || got.room != list.Room {
			t.Fatalf("ticket %d is %+v (%v), which says %+v", i, k, fault, got)
		}
	}
	if s, body := p.ask(wire.KindJoin, wire.FlagRepeat, join(id, 1000, "")); s != wire.StatusOK || again.Decode(body) != nil || string(again.List[999].Token) != string(list.List[999].Token) {
		t.Errorf("the same again: %v", s)
	}
	p.want(wire.StatusBadFrame, wire.KindJoin, join(fresh(), 0, ""))
	p.want(wire.StatusBadFrame, wire.KindJoin, join(fresh(), wire.MaxJoins+1, ""))
	p.want(wire.StatusBadFrame, wire.KindJoin, join(fresh(), 2, "ada"))
	p.want(wire.StatusBadFrame, wire.KindJoin, join(wire.ID{}, 1, ""))
	p.want(wire.StatusBadFrame, wire.KindJoin, []byte("short"))

	place := func(token []byte) []byte { return (&wire.TicketRef{Event: event, Ticket: token}).Append(nil) }
	admit := func(token []byte) []byte {
		return (&wire.Admit{Mutation: wire.Mutation{Event: event, ID: fresh()}, Ticket: token}).Append(nil)
	}
	quit := func(token []byte) []byte {
		return (&wire.Quit{Mutation: wire.Mutation{Event: event, ID: fresh()}, Token: token}).Append(nil)
	}
	var at wire.QueuePlace
	eventually(t, "the first is called", func() bool {
		return at.Decode(p.want(wire.StatusOK, wire.KindPlace, place(list.List[0].Token))) == nil && at.State == wire.PlaceCalled
	})
	before := n.queue.early.Load()
	if err := at.Decode(p.want(wire.StatusNotCalled, wire.KindAdmit, admit(list.List[500].Token))); err != nil || at.Number != 500 {
		t.Errorf("too early: %+v, %v", at, err)
	}
	if n.queue.early.Load() == before {
		t.Error("who comes too early goes through the log")
	}
	var a, b wire.Admission
	if err := a.Decode(p.want(wire.StatusOK, wire.KindAdmit, admit(list.List[0].Token))); err != nil {
		t.Fatal(err)
	}
	if pass, fault := n.signer().pass(0, a.Token); fault != nil || wire.PassID(pass.number) != a.Admitted.Pass || pass.expiry != a.Admitted.Deadline {
		t.Errorf("the pass is %+v (%v), admitted was %+v", pass, fault, a.Admitted)
	}
	if err := b.Decode(p.want(wire.StatusOK, wire.KindAdmit, admit(list.List[0].Token))); err != nil || string(a.Token) != string(b.Token) {
		t.Errorf("admitted again: %+v, %v", b, err)
	}
	hold := func(pass wire.PassID) []byte {
		h := wire.Hold{Mutation: wire.Mutation{Event: event, ID: fresh()}, Pass: pass, Seats: wire.MakeSeatList(3)}
		return h.Append(nil)
	}
	p.want(wire.StatusPassRequired, wire.KindHold, hold(0))
	p.want(wire.StatusPassEnded, wire.KindHold, hold(a.Admitted.Pass+1))
	p.want(wire.StatusOK, wire.KindHold, hold(a.Admitted.Pass))
	p.want(wire.StatusOK, wire.KindQuit, quit(a.Token))
	p.want(wire.StatusPassEnded, wire.KindAdmit, admit(list.List[0].Token))
	p.want(wire.StatusOK, wire.KindQuit, quit(list.List[1].Token))
	p.want(wire.StatusLeft, wire.KindAdmit, admit(list.List[1].Token))

	p.want(wire.StatusBadRequest, wire.KindAdmit, admit([]byte("x")))
	p.want(wire.StatusBadRequest, wire.KindPlace, place(a.Token))
	p.want(wire.StatusBadFrame, wire.KindAdmit, []byte("short"))
	p.want(wire.StatusBadFrame, wire.KindAdmit, (&wire.Admit{Mutation: wire.Mutation{Event: event}, Ticket: list.List[2].Token}).Append(nil))
	for _, k := range []wire.Kind{wire.KindIssue, wire.KindRedeem, wire.KindLeave, wire.KindFindPlace} {
		p.want(wire.StatusUnknownKind, k, (&wire.Issue{Mutation: wire.Mutation{Event: event, ID: fresh()}, Count: 1}).Append(nil))
	}
}

// TestTicketsAreGoodAnywhere: what one node signed, every other takes; a refresh and
// the loss of the leader keep places, and numbers are first come, first served over
// all of it.
func TestTicketsAreGoodAnywhere(t *testing.T) {
	c := newCrew(t, 3, nil)
	c.settled()
	cl := c.dialAll()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	ev, err := cl.CreateEvent(ctx, hall("gala", 2, 50))
	if err != nil {
		t.Fatal(err)
	}
	config := wire.DefaultRoom()
	config.Limit, config.Rate, config.Grace = 1000, 1_000_000, 3_600_000
	if err := ev.SetRoom(ctx, config); err != nil {
		t.Fatal(err)
	}
	early, err := ev.Join(ctx, "")
	if err != nil {
		t.Fatal(err)
	}

	const visitors = 24
	due := make(chan struct{})
	var mu sync.Mutex
	var all []joined
	var tickets []client.Ticket
	var crowd sync.WaitGroup
	for range visitors {
		crowd.Go(func() {
			for {
				select {
				case <-due:
					return
				default:
				}
				sent := time.Now()
				k, err := ev.Join(ctx, "")
				got := time.Now()
				if e, ok := errors.AsType[*client.Error](err); ok && e.Status.Decided() || ctx.Err() != nil {
					t.Errorf("join: %v", err)
					return
				}
				if err != nil {
					continue
				}
				mu.Lock()
				all, tickets = append(all, joined{sent, got, k.Number}), append(tickets, k)
				mu.Unlock()
			}
		})
	}
	joins := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(all)
	}
	eventually(t, "joins", func() bool { return joins() > 200 })
	lead := c.leader(ev.ID())
	for i, n := range c.nodes {
		if n == lead {
			c.cutOff(i, true)
			c.stop(i)
		}
	}
	lost := joins()
	eventually(t, "joins with another leader", func() bool { return joins() > lost+200 })
	close(due)
	crowd.Wait()
	inOrder(t, all)

	s := &site{t: t, client: newSiteClient(t), doc: theContract(t)}
	for _, n := range c.up() {
		s.n, s.api, s.admin = n, "http://"+n.HTTPAddr(), "http://"+n.AdminAddr()
		s.post("/v1/events/gala/queue/place", obj{"ticket": early.Token}).ok(200).want("number", early.Number)
		s.post("/v1/events/gala/queue/pass", obj{"ticket": early.Token}).ok(200).want("number", early.Number)
		s.join("/v1/events/gala")
	}
	for _, k := range []client.Ticket{tickets[0], tickets[len(tickets)-1]} {
		if _, err := ev.AwaitTurn(ctx, k); err != nil {
			t.Errorf("ticket %d: %v", k.Number, err)
		}
	}
}
