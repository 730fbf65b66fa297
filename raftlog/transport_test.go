package raftlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestGroupsOverPeers proves that groups of raft elect and replicate over one
// stream per pair of nodes, keep what was committed while a node is cut off, and
// bring it up to date when the network has healed.
func TestGroupsOverPeers(t *testing.T) {
	r := newRig(t, 3, nil)
	var groups []*rigGroup
	for id := range uint64(3) {
		groups = append(groups, r.group(id, nil))
	}
	applied := func(n int, what string) {
		for i := range n {
			for id, g := range groups {
				g.apply(fmt.Appendf(nil, "%s %d of group %d", what, i, id))
			}
		}
	}
	applied(10, "before")
	for _, g := range groups {
		g.settle()
	}
	for _, n := range r.nodes { // each in turn, so that leaders are among them
		r.isolate(n)
		applied(5, "without "+n.name)
		r.heal(n)
		for _, g := range groups {
			g.settle()
		}
	}
	for _, n := range r.nodes { // two that only follow have nothing to say to each other
		if streams := inboundStreams(n.peers); streams > 2 {
			t.Errorf("%s has %d streams from two others: groups share them", n.name, streams)
		}
	}
}

func inboundStreams(p *Peers) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.inbound {
		if h := c.hello.Load(); h != nil && h.purpose == forStream {
			n++
		}
	}
	return n
}

// TestLargeEntries proves that a follower which was away gets the most and the
// largest entries that raft sends at once, in several messages.
func TestLargeEntries(t *testing.T) {
	r := newRig(t, 3, nil)
	g := r.group(1, nil)
	g.apply([]byte("first"))
	away := g.replicas[(slices.Index(g.replicas, g.leader())+1)%3].node
	r.isolate(away)
	for i := range appendEntries + 4 {
		g.apply(bytes.Repeat([]byte{byte(i)}, maxEntryBytes))
	}
	r.heal(away)
	g.settle()
}

// A voter is a replica that stands in for raft: it grants every vote and counts
// what it is asked.
type voter struct {
	*PeerTransport
	asked atomic.Int32
	hang  chan struct{} // while it is open nothing is answered; nil: never
}

func newVoter(t testing.TB, p *Peers, group uint64, id string, hang chan struct{}, empty func() bool) *voter {
	v := &voter{PeerTransport: p.Transport(group, id), hang: hang}
	v.Empty = empty
	consumer := v.Consumer()
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case rpc := <-consumer:
				v.asked.Add(1)
				v.serve(rpc)
			case <-v.ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() { _ = v.Close(); work.Wait() })
	return v
}

func (v *voter) serve(rpc raft.RPC) {
	if v.hang != nil {
		select {
		case <-v.hang:
		case <-v.ctx.Done():
			return
		}
	}
	switch c := rpc.Command.(type) {
	case *raft.RequestVoteRequest:
		rpc.Respond(&raft.RequestVoteResponse{Term: c.Term, Granted: true}, nil)
	case *raft.RequestPreVoteRequest:
		rpc.Respond(&raft.RequestPreVoteResponse{Term: c.Term, Granted: true}, nil)
	case *raft.AppendEntriesRequest:
		rpc.Respond(&raft.AppendEntriesResponse{Term: c.Term, LastLog: c.PrevLogEntry + uint64(len(c.Entries)), Success: true}, nil)
	case *raft.TimeoutNowRequest:
		rpc.Respond(&raft.TimeoutNowResponse{}, nil)
	default:
		rpc.Respond(nil, fmt.Errorf("%T", c))
	}
}

func voteHead(id string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: 3, ID: []byte(id), Addr: []byte(nodeOf(id))}
}

// votes asks for a vote and a pre-vote.
func (v *voter) votes(from string, id raft.ServerID, node raft.ServerAddress) (granted bool, err error) {
	var vote raft.RequestVoteResponse
	var pre raft.RequestPreVoteResponse
	err = v.RequestVote(id, node, &raft.RequestVoteRequest{RPCHeader: voteHead(from), Term: 7}, &vote)
	preErr := v.RequestPreVote(id, node, &raft.RequestPreVoteRequest{RPCHeader: voteHead(from), Term: 7}, &pre)
	if (err == nil) != (preErr == nil) {
		return false, fmt.Errorf("the vote says %w, the pre-vote %w", err, preErr)
	}
	return vote.Granted || pre.Granted, err
}

// TestHeardOfTheLeader proves that what a replica takes from its leader counts as
// word of him, and a vote that it gives to somebody else does not.
func TestHeardOfTheLeader(t *testing.T) {
	r := newRig(t, 2, nil)
	me := newVoter(t, r.nodes[0].peers, 1, "n0@1", nil, nil)
	other := newVoter(t, r.nodes[1].peers, 1, "n1@1", nil, nil)
	if granted, err := me.votes("n0@1", "n1@1", "n1"); !granted || err != nil {
		t.Fatalf("granted %v, error %v", granted, err)
	}
	if at := other.Heard(); !at.IsZero() {
		t.Errorf("a replica that gave a vote heard of its leader at %v", at)
	}
	before := time.Now()
	var resp raft.AppendEntriesResponse
	if err := me.AppendEntries("n1@1", "n1", &raft.AppendEntriesRequest{RPCHeader: voteHead("n0@1"), Term: 7}, &resp); err != nil {
		t.Fatal(err)
	}
	heard := other.Heard()
	if heard.Before(before) || heard.After(time.Now()) {
		t.Errorf("a message of the leader between %v and %v was heard at %v", before, time.Now(), heard)
	}
	if granted, err := me.votes("n0@1", "n1@1", "n1"); !granted || err != nil {
		t.Fatalf("granted %v, error %v", granted, err)
	}
	if got := other.Heard(); got != heard {
		t.Errorf("a vote moved it from %v to %v", heard, got)
	}
}

// TestReplicaThatStartsLate proves that what follows up the log waits for a replica
// that its node does not have yet: raft would wait longer after each refusal.
func TestReplicaThatStartsLate(t *testing.T) {
	r := newRig(t, 2, nil)
	lead := newVoter(t, r.nodes[0].peers, 1, "n0@1", nil, nil)
	done := make(chan error, 1)
	go func() {
		req := &raft.AppendEntriesRequest{RPCHeader: voteHead("n0@1"), Term: 7, Entries: []*raft.Log{{Index: 1, Term: 7}}}
		done <- lead.AppendEntries("n1@1", "n1", req, new(raft.AppendEntriesResponse))
	}()
	select {
	case err := <-done:
		t.Fatalf("the message did not wait: %v", err)
	case <-time.After(3 * refusedPause):
	}
	late := newVoter(t, r.nodes[1].peers, 1, "n1@1", nil, nil)
	if err := <-done; err != nil || late.asked.Load() != 1 {
		t.Errorf("%v; raft was asked %d times", err, late.asked.Load())
	}
}

// TestVotesAreOfTheRightReplica proves that only the replica that is meant gives
// a vote, only to one that its node speaks for, and none while it is empty.
func TestVotesAreOfTheRightReplica(t *testing.T) {
	r := newRig(t, 2, nil)
	var empty atomic.Bool
	asks := newVoter(t, r.nodes[0].peers, 5, "n0@1", nil, nil)
	gives := newVoter(t, r.nodes[1].peers, 5, "n1@2", nil, empty.Load)
	for _, c := range []struct {
		name, from string
		id         raft.ServerID
		empty      bool
		want       string // in the error; "": granted
	}{
		{"the replica there", "n0@1", "n1@2", false, ""},
		{"the one that was there before it was wiped", "n0@1", "n1@1", false, `no such replica here: "n1@1" of group 5`},
		{"the one there, empty", "n0@1", "n1@2", true, errReplicaEmpty.Error()},
		{"from a replica of another node", "n2@1", "n1@2", false, "n0 does not speak for replica"},
		{"from a replica of another node with its number", "n0@1@7", "n1@2", false, "n0 does not speak for replica"},
	} {
		t.Run(c.name, func(t *testing.T) {
			empty.Store(c.empty)
			before := gives.asked.Load()
			granted, err := asks.votes(c.from, c.id, "n1")
			asked := gives.asked.Load() - before
			if c.want == "" {
				if !granted || err != nil || asked != 2 {
					t.Errorf("granted %v, %v, raft was asked %d times", granted, err, asked)
				}
				return
			}
			if granted || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("granted %v, %v, want %q", granted, err, c.want)
			}
			if asked != 0 {
				t.Errorf("raft was asked %d times", asked)
			}
			if strings.Contains(err.Error(), "unexpected command") {
				t.Error("raft takes that for a pre-vote")
			}
		})
	}
	gives.Close()
	if granted, err := asks.votes("n0@1", "n1@2", "n1"); granted || err == nil || !strings.Contains(err.Error(), "no such replica") {
		t.Errorf("after the replica is gone: granted %v, %v", granted, err)
	}
	// An empty replica takes entries: how else would it get any?
	newVoter(t, r.nodes[1].peers, 6, "n1@9", nil, func() bool { return true })
	other := newVoter(t, r.nodes[0].peers, 6, "n0@8", nil, nil)
	var resp raft.AppendEntriesResponse
	req := &raft.AppendEntriesRequest{RPCHeader: voteHead("n0@8"), Term: 1, Entries: []*raft.Log{{Index: 1, Term: 1}}}
	if err := other.AppendEntries("n1@9", "n1", req, &resp); err != nil || !resp.Success {
		t.Errorf("an empty replica takes no entries: %v", err)
	}
}

// TestSlowReplica proves that a replica that does not come to its messages holds
// up no other one, that its inbox is bounded, and that it does not get messages
// whose time is over.
func TestSlowReplica(t *testing.T) {
	r := newRig(t, 2, nil)
	hang := make(chan struct{})
	slow := newVoter(t, r.nodes[1].peers, 1, "n1@1", hang, nil)
	newVoter(t, r.nodes[1].peers, 2, "n1@2", nil, nil)
	a, b := newVoter(t, r.nodes[0].peers, 1, "n0@1", nil, nil), newVoter(t, r.nodes[0].peers, 2, "n0@2", nil, nil)

	var asked sync.WaitGroup
	var busy, late atomic.Int32
	for range maxInbox + 20 {
		asked.Go(func() {
			_, err := a.votes("n0@1", "n1@1", "n1")
			switch {
			case err == nil:
				t.Error("the slow replica answered")
			case strings.Contains(err.Error(), errReplicaBusy.Error()):
				busy.Add(1)
			case errors.Is(err, errNoAnswer):
				late.Add(1)
			}
		})
	}
	eventually(t, "the inbox full", func() bool { return len(slow.inbox) == maxInbox })
	begin := time.Now()
	for range 50 {
		if granted, err := b.votes("n0@2", "n1@2", "n1"); !granted || err != nil {
			t.Fatalf("the other replica: %v, %v", granted, err)
		}
	}
	if d := time.Since(begin); d > patience/2 {
		t.Errorf("the other replica took %v", d)
	}
	asked.Wait()
	if busy.Load() == 0 || late.Load() == 0 {
		t.Errorf("%d were refused, %d were not answered", busy.Load(), late.Load())
	}
	before := slow.asked.Load()
	close(hang)
	eventually(t, "the inbox empty", func() bool { return len(slow.inbox) == 0 })
	if granted, err := a.votes("n0@1", "n1@1", "n1"); !granted || err != nil {
		t.Errorf("when it is no longer slow: %v, %v", granted, err)
	}
	if n := slow.asked.Load() - before; n > 2+1 { // these two, and one that was being handed over
		t.Errorf("%d messages reached it that nobody waited for", n-2)
	}
}

// TestFollowUpWaitsHeartbeatDoesNot proves what AppendEntries says of nodes that
// cannot be reached, and that closing the transport ends the waiting.
func TestFollowUpWaitsHeartbeatDoesNot(t *testing.T) {
	r := newRig(t, 2, nil)
	trans := newVoter(t, r.nodes[0].peers, 1, "n0@1", nil, nil)
	newVoter(t, r.nodes[1].peers, 1, "n1@1", nil, nil)
	heartbeat := func() error {
		req := &raft.AppendEntriesRequest{RPCHeader: voteHead("n0@1"), Term: 1}
		return trans.AppendEntries("n1@1", "n1", req, new(raft.AppendEntriesResponse))
	}
	followUp := func() error {
		req := &raft.AppendEntriesRequest{RPCHeader: voteHead("n0@1"), Term: 1, PrevLogEntry: 1, PrevLogTerm: 1}
		return trans.AppendEntries("n1@1", "n1", req, new(raft.AppendEntriesResponse))
	}
	if err := errors.Join(heartbeat(), followUp()); err != nil {
		t.Fatal(err)
	}
	wire := r.nodes[0].wire(r.nodes[1].addr)
	wire.cut()
	down := func() {
		eventually(t, "the node known to be unreachable", func() bool {
			begin := time.Now()
			return errors.Is(heartbeat(), ErrUnreachable) && time.Since(begin) < connectTimeout/10
		})
	}
	down()
	waits := make(chan error, 1)
	go func() { waits <- followUp() }()
	wire.heal()
	if err := <-waits; err != nil {
		t.Errorf("what followed up the log when the network healed: %v", err)
	}
	wire.cut()
	down()
	go func() { waits <- followUp() }()
	trans.Close()
	if err := <-waits; err == nil {
		t.Error("what followed up the log got through a cut network")
	}
	if err := heartbeat(); !errors.Is(err, raft.ErrTransportShutdown) {
		t.Errorf("a heartbeat of a closed transport: %v", err)
	}
	wire.heal()
}

// TestMessageToItself proves that a replica can order itself to stand for
// election, as the sole voter of a group does.
func TestMessageToItself(t *testing.T) {
	r := newRig(t, 1, nil)
	v := newVoter(t, r.nodes[0].peers, 1, "n0@1", nil, nil)
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}}
	if err := v.TimeoutNow("n0@1", "n0", req, new(raft.TimeoutNowResponse)); err != nil || v.asked.Load() != 1 {
		t.Errorf("%v, raft was asked %d times", err, v.asked.Load())
	}
	if err := v.TimeoutNow("n0@2", "n0", req, new(raft.TimeoutNowResponse)); err == nil {
		t.Error("another replica of this node answered")
	}
}

// TestLateTransferIsDropped proves that an order to stand for election which
// waited for too long does not reach raft.
func TestLateTransferIsDropped(t *testing.T) {
	r := newRig(t, 1, nil)
	v := newVoter(t, r.nodes[0].peers, 1, "n0@1", nil, nil)
	for age, want := range map[time.Duration]bool{0: true, transferPatience + time.Millisecond: false} {
		s := hereSender{make(chan hereAnswer, 1)}
		in := &incoming{peerRequest: peerRequest{group: 1, to: []byte("n0@1"), cmd: &raft.TimeoutNowRequest{RPCHeader: voteHead("n0@1")}},
			at: v.p.clock() - age, from: s}
		if err := v.p.enqueue(in); err != nil {
			t.Fatal(err)
		}
		if a := <-s.answered; (a.err == nil) != want {
			t.Errorf("after %v: %v", age, a.err)
		}
	}
}

// TestProtocolErrorsEndTheStream proves that a node which breaks the protocol is
// cut off, with a line about it.
func TestProtocolErrorsEndTheStream(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		line  string
	}{
		"too long": {func() []byte {
			b := make([]byte, peerHeaderSize)
			peerHeader{body: maxAppendBody + 1, kind: kindAppend}.put(b)
			return b
		}(), "at most"},
		"not decodable":          {appendFrame(nil, kindVote, 1, func(b []byte) []byte { return append(b, 1, 2, 3) }), "body is too short"},
		"an answer":              {appendFrame(nil, kindAnswer, 1, nil), "is no message of raft"},
		"a snapshot in a stream": {appendFrame(nil, kindSnapshot, 1, nil), "a snapshot needs a connection of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, nil)
			conn := rawStream(t, r.nodes[0].addr, "n9")
			if _, err := conn.Write(c.frame); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(conn); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("the connection goes on: %v", err)
			}
			if len(r.nodes[0].logs.with("connection of a node ended", c.line)) != 1 {
				t.Errorf("logged %q", r.nodes[0].logs.with(""))
			}
		})
	}
}

// TestOwedIsBounded proves that a node which sends and sends without waiting
// for answers is refused, and served again when it has waited.
func TestOwedIsBounded(t *testing.T) {
	hang := make(chan struct{})
	r := newRig(t, 1, func(_ int, c *PeerConfig) {
		c.Serve = func(context.Context, PeerHello, []byte) ([]byte, error) { <-hang; return nil, nil }
	})
	conn := rawStream(t, r.nodes[0].addr, "n9")
	frames := newFrameReader(conn)
	frame := appendFrame(nil, kindCall, 0, func(b []byte) []byte { return appendCall(b, patience, make([]byte, maxCallBody)) })
	send := func(id int) {
		peerHeader{body: len(frame) - peerHeaderSize, kind: kindCall, id: uint64(id)}.put(frame)
		if _, err := conn.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	most := maxOwed / len(frame)
	for id := range most + 1 {
		send(id)
	}
	h, err := frames.next()
	if err != nil || h.kind != kindRefusal || h.id != uint64(most) {
		t.Fatalf("the first answer is %v, %v; want the last request refused", h, err)
	}
	if text, err := frames.body(h.body); err != nil || string(text) != errBusy.Error() {
		t.Errorf("it says %q, %v", text, err)
	}
	close(hang)
	for range most {
		if h, err := frames.next(); err != nil || h.kind != kindAnswer {
			t.Fatalf("%v, %v", h, err)
		}
	}
	send(99)
	if h, err := frames.next(); err != nil || h.kind != kindAnswer || h.id != 99 {
		t.Errorf("after that: %v, %v", h, err)
	}
}
