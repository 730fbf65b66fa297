package soak

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/internal/proc"
	"github.com/usher-seats/usher/wire"
)

const (
	traced     = "read,write,readv,writev,recvfrom,recvmsg,sendto,sendmsg,pwrite64,pwritev,fsync,fdatasync"
	tracedData = "8192" // bytes of each: a page of bolt, an entry of the log
	traceEnd   = 30 * time.Second
)

// TestSyncBeforeAnswer reads in a trace of a node's system calls that nothing is
// acknowledged before it is on the disk. For every operation, with nothing else
// going on: its request is read, a write to the log's WAL has its id, a sync of
// that file begins after the write and has ended well, and only then the answer
// is written. For every group: the vote of the term it leads in is written to the
// bolt file and synced, with the page that makes it valid, before the first
// answer of all.
//
// Three controls show that this can fail: requests that only read have no sync
// before their answer; and in the same trace without its syncs, or with every
// sync ending after the answer, no operation passes.
func TestSyncBeforeAnswer(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("this test reads a trace of system calls and needs strace: apt-get install strace")
	}
	place := proc.NewPlace(t)
	node := place.Start(t)
	h := newHalls(t, dial(t, node), 1, hallRow, 8)[0]
	before := terms(node)
	node.Stop()

	file := filepath.Join(t.TempDir(), "trace")
	node = place.StartUnder(t, strace, "-D", "-f", "-y", "-xx", "-s", tracedData, "-e", "trace="+traced, "-o", file)
	after := terms(node)
	if err := askInTurn(t.Context(), node.Addr, h); err != nil {
		t.Fatal(err)
	}
	node.Stop()
	s := newSyncCheck(t, awaitTrace(t, file, node.Pid()), place.Dir)
	if err := s.operations(); err != nil {
		t.Error(err)
	}
	if err := s.reads(); err != nil {
		t.Error(err)
	}
	for group, term := range after {
		if term <= before[group] {
			t.Fatalf("group %d leads in term %d, and did in %d before it was restarted", group, term, before[group])
		}
		if err := s.vote(group, term); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d operations and %d reads in a trace of %d calls, %d of them syncs", len(s.ops), len(s.queries), len(s.calls), s.count((*call).sync))
	s.controls(t, after)
}

// terms are the raft terms of a node's groups.
func terms(n *proc.Node) map[uint64]uint64 {
	const shards = 4
	m := n.Metrics()
	terms := make(map[uint64]uint64)
	for g := range uint64(shards + 1) {
		terms[g] = uint64(m[fmt.Sprintf(`usher_group_term{group="%d"}`, g)])
	}
	return terms
}

// askInTurn makes one request after the other: the life of a hold, what the box
// office does, and between them reads and a hold that cannot be granted.
func askInTurn(ctx context.Context, addr string, h *hall) error {
	p, err := client.DialPipe(ctx, addr, nil)
	if err != nil {
		return err
	}
	defer p.Close()
	event, now := h.event.ID(), h.event.Now()
	do := func(want wire.Status, kind wire.Kind, body []byte) ([]byte, error) {
		p.Add(kind, 0, body)
		if err := p.Flush(); err != nil {
			return nil, err
		}
		head, answer, err := p.Next()
		if err == nil && head.Status != want {
			err = fmt.Errorf("kind %d: %v, want %v", kind, head.Status, want)
		}
		return slices.Clone(answer), err
	}
	number := uint64(0)
	change := func() wire.Mutation {
		number++
		return wire.Mutation{Event: event, ID: idOf(now, number)}
	}
	for round := range wire.SeatID(8) {
		m := change()
		seats := wire.MakeSeatList(4*round, 4*round+1)
		body, err := do(wire.StatusOK, wire.KindHold, (&wire.Hold{Mutation: m, Seats: seats}).Append(nil))
		if err != nil {
			return err
		}
		var g wire.Granted
		if err := g.Decode(body); err != nil {
			return err
		}
		ref := wire.EventRef{Event: event}
		on := wire.OnHold{Mutation: m, Fence: g.Fence}
		last := wire.KindConfirm
		if round%2 == 1 {
			last = wire.KindRelease
		}
		spare := wire.MakeSeatList(40 + round)
		for _, step := range []struct {
			want wire.Status
			kind wire.Kind
			body []byte
		}{
			{wire.StatusOK, wire.KindMap, ref.Append(nil)},
			{wire.StatusTaken, wire.KindHold, (&wire.Hold{Mutation: change(), Seats: seats}).Append(nil)},
			{wire.StatusOK, wire.KindExtend, (&wire.Extend{Mutation: m, Fence: g.Fence, Nth: 1}).Append(nil)},
			{wire.StatusOK, wire.KindEvent, ref.Append(nil)},
			{wire.StatusOK, wire.KindPay, (&wire.Pay{Mutation: m, Fence: g.Fence}).Append(nil)},
			{wire.StatusOK, last, on.Append(nil)},
			{wire.StatusOK, wire.KindLocate, (&wire.Key{Key: []byte(h.event.Key())}).Append(nil)},
			{wire.StatusOK, wire.KindBlock, (&wire.SeatsOp{Mutation: change(), Seats: spare}).Append(nil)},
			{wire.StatusOK, wire.KindUnblock, (&wire.SeatsOp{Mutation: change(), Seats: spare}).Append(nil)},
		} {
			if _, err := do(step.want, step.kind, step.body); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitTrace waits until strace has written the end of the process.
func awaitTrace(t *testing.T, file string, pid int) []call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), traceEnd)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		calls, ended, err := readTrace(file, pid)
		if err != nil {
			t.Fatal(err)
		}
		if ended {
			return calls
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatal("the trace has no end")
		}
	}
}

// An exchange is a request and its answer on the wire. Immutable.
type exchange struct {
	kind  wire.Kind
	id    wire.ID // of an operation
	read  int     // line at which the request was in the node's hands
	write int     // line at which the node began to write the answer
}

// A syncCheck holds a trace to the rule.
type syncCheck struct {
	calls        []call
	wal, bolt    string
	ops, queries []exchange
}

func newSyncCheck(t *testing.T, calls []call, dir string) *syncCheck {
	t.Helper()
	s := &syncCheck{calls: calls, wal: filepath.Join(dir, "log"), bolt: filepath.Join(dir, "raft.db")}
	sockets := make(map[string]map[uint64]exchange) // by socket, then by request id
	for i := range calls {
		c := &calls[i]
		if !strings.HasPrefix(c.path, "socket:") || c.ret < wire.HeaderSize || len(c.data) < wire.HeaderSize {
			continue
		}
		open := sockets[c.path]
		if bytes.HasPrefix(c.data[wire.HeaderSize:], []byte(wire.Magic)) {
			sockets[c.path] = make(map[uint64]exchange)
			continue
		}
		if open == nil {
			continue // HTTP
		}
		head, err := wire.ParseHeader(c.data, wire.MaxAnswerBody)
		if err != nil {
			t.Fatalf("line %d: %v", c.begin+1, err)
		}
		if !c.write() {
			x := exchange{kind: head.Kind, read: c.end}
			if m, err := wire.ParseMutation(c.data[wire.HeaderSize:c.ret]); err == nil {
				x.id = m.ID
			}
			open[head.Request] = x
			continue
		}
		x, asked := open[head.Request]
		if !asked || head.Flags&wire.FlagAnswer == 0 {
			continue // the answer to hello
		}
		delete(open, head.Request)
		x.write = c.begin
		// A hold that is refused at first sight only reads.
		if head.Kind.Mutates() && head.Status == wire.StatusOK {
			s.ops = append(s.ops, x)
		} else {
			s.queries = append(s.queries, x)
		}
	}
	if len(s.ops) < 40 || len(s.queries) < 30 {
		t.Fatalf("the trace shows %d operations and %d reads, not all that were asked", len(s.ops), len(s.queries))
	}
	return s
}

func (s *syncCheck) count(f func(*call) bool) (n int) {
	for i := range s.calls {
		if f(&s.calls[i]) {
			n++
		}
	}
	return n
}

// find is the first call from line from on that f accepts; nil if there is none.
func (s *syncCheck) find(from int, f func(*call) bool) *call {
	for i := range s.calls {
		if c := &s.calls[i]; c.begin > from && f(c) {
			return c
		}
	}
	return nil
}

// operation is what is wrong with an operation.
func (s *syncCheck) operation(x exchange) error {
	written := s.find(x.read, func(c *call) bool {
		return c.write() && filepath.Dir(c.path) == s.wal && filepath.Ext(c.path) == ".log" && bytes.Contains(c.data, x.id[:])
	})
	if written == nil || written.end > x.write {
		return fmt.Errorf("operation of kind %d, read at line %d and answered at line %d: it is not in the log by then", x.kind, x.read+1, x.write+1)
	}
	synced := s.find(written.end, func(c *call) bool { return c.sync() && c.path == written.path })
	if synced == nil || synced.end > x.write {
		return fmt.Errorf("operation of kind %d, written at line %d and answered at line %d: it is not synced by then", x.kind, written.end+1, x.write+1)
	}
	return nil
}

func (s *syncCheck) operations() error {
	for _, x := range s.ops {
		if err := s.operation(x); err != nil {
			return err
		}
	}
	return nil
}

// reads makes sure that a request that changes nothing does not wait for the
// disk.
func (s *syncCheck) reads() error {
	for _, x := range s.queries {
		if c := s.find(x.read, (*call).sync); c != nil && c.begin < x.write {
			return fmt.Errorf("request of kind %d, read at line %d and answered at line %d: %s is synced at line %d", x.kind, x.read+1, x.write+1, c.path, c.begin+1)
		}
	}
	return nil
}

// vote makes sure that a group's vote for itself is on the disk before the first
// answer. Bolt writes pages, syncs, writes one of the two meta pages in front,
// and syncs again.
func (s *syncCheck) vote(group, term uint64) error {
	record := binary.BigEndian.AppendUint64([]byte("vote"), group)
	record = append(record, 2, 1) // format, cast
	written := func(data []byte) bool {
		const termAt = 8 // behind the replica's number
		at := bytes.Index(data, record)
		return at >= 0 && len(data) >= at+len(record)+termAt+8 && binary.LittleEndian.Uint64(data[at+len(record)+termAt:]) == term
	}
	synced := func(c *call) bool { return c.sync() && c.path == s.bolt }
	answer := s.ops[0].write
	if len(s.queries) > 0 {
		answer = min(answer, s.queries[0].write)
	}
	at := -1
	for _, step := range []struct {
		what string
		is   func(*call) bool
	}{
		{"is written", func(c *call) bool { return c.write() && c.path == s.bolt && written(c.data) }},
		{"is synced", synced},
		{"has a meta page", func(c *call) bool { return c.write() && c.path == s.bolt && metaPage(c) }},
		{"has a meta page that is synced", synced},
	} {
		c := s.find(at, step.is)
		if c == nil || c.end > answer {
			return fmt.Errorf("group %d: not true before the first answer: the vote of term %d %s", group, term, step.what)
		}
		at = c.end
	}
	return nil
}

// metaPage reports whether one of the two first pages is written.
func metaPage(c *call) bool {
	i := strings.LastIndex(c.args, ", ")
	offset := c.args[i+len(", "):]
	return offset == "0" || offset == "4096"
}

// controls runs the same checks over traces that break the rule.
func (s *syncCheck) controls(t *testing.T, terms map[uint64]uint64) {
	t.Helper()
	without := *s
	without.calls = slices.DeleteFunc(slices.Clone(s.calls), func(c call) bool { return c.sync() })
	without.mustFail(t, "without syncs", terms)
	late := *s
	late.calls = slices.Clone(s.calls)
	for i := range late.calls {
		if c := &late.calls[i]; c.sync() {
			c.end = s.ops[len(s.ops)-1].write + 1
		}
	}
	late.mustFail(t, "with syncs that end after the answer", terms)
	broken := *s
	broken.calls = slices.Clone(s.calls)
	for i := range broken.calls {
		if c := &broken.calls[i]; c.sync() {
			c.ret = -1
		}
	}
	broken.mustFail(t, "with syncs that fail", terms)
}

func (s *syncCheck) mustFail(t *testing.T, what string, terms map[uint64]uint64) {
	t.Helper()
	for _, x := range s.ops {
		if s.operation(x) == nil {
			t.Errorf("%s: an operation of kind %d passes", what, x.kind)
		}
	}
	for group, term := range terms {
		if s.vote(group, term) == nil {
			t.Errorf("%s: the vote of group %d passes", what, group)
		}
	}
}
