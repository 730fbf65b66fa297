package raftlog

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// maxInbox bounds the messages that wait for one replica.
	maxInbox = 64
	// transferPatience is for how long after it came the order to stand for
	// election is good: a late one would depose a leader that was elected since.
	transferPatience = 500 * time.Millisecond
)

var (
	errReplicaBusy  = errors.New("the replica has too many messages waiting")
	errReplicaEmpty = errors.New("the replica has nothing yet and gives no vote")
	errTooLate      = errors.New("the message waited for too long")
)

// An incoming is a message of raft for a replica of this node. It belongs to
// whoever is to deal with it next, and is answered exactly once.
type incoming struct {
	peerRequest
	id     uint64
	size   int           // of its body in bytes
	at     time.Duration // when it came
	from   sender
	when   urgency   // of the answer
	stream io.Reader // of a snapshot
}

// A sender is where a message came from.
type sender interface {
	alive() bool
	answer(in *incoming, resp any, err error)
}

// patience is how long a message may wait for raft. Whoever sent it has given it
// up after that.
func (in *incoming) patience() time.Duration {
	switch c := in.cmd.(type) {
	case *raft.TimeoutNowRequest:
		return transferPatience
	case *raft.AppendEntriesRequest:
		if len(c.Entries) > 0 {
			return appendTimeout
		}
	case *raft.InstallSnapshotRequest:
		return snapshotPatience
	}
	return smallTimeout
}

// deliver puts a message from a node into the inbox of the replica it is for.
// It never waits: a replica whose disk is slow must not hold up the others.
func (p *Peers) deliver(node string, in *incoming) {
	if err := p.tryDeliver(node, in); err != nil {
		in.from.answer(in, nil, err)
	}
}

func (p *Peers) tryDeliver(node string, in *incoming) error {
	if string(in.head.Addr) != node || nodeOf(string(in.head.ID)) != node {
		return fmt.Errorf("%s does not speak for replica %q of node %q", node, in.head.ID, in.head.Addr)
	}
	return p.enqueue(in)
}

func (p *Peers) enqueue(in *incoming) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.replicas[in.group]
	if t == nil || t.replica != string(in.to) {
		return fmt.Errorf("no such replica here: %q of group %d", in.to, in.group)
	}
	select {
	case t.inbox <- in:
		return nil
	default:
		return errReplicaBusy
	}
}

// deliver hands messages to raft, one at a time and in order, and its answers
// back. It runs from when raft starts until Close.
func (t *PeerTransport) deliver() {
	answers := make(chan raft.RPCResponse, 1)
	for {
		select {
		case in := <-t.inbox:
			t.handle(in, answers)
		case <-t.ctx.Done():
			t.drain()
			return
		}
	}
}

// drain answers what nobody will look at any more. The replica is unregistered.
func (t *PeerTransport) drain() {
	for {
		select {
		case in := <-t.inbox:
			in.from.answer(in, nil, raft.ErrTransportShutdown)
		default:
			return
		}
	}
}

func (t *PeerTransport) handle(in *incoming, answers chan raft.RPCResponse) {
	if err := t.refusal(in); err != nil {
		in.from.answer(in, nil, err)
		return
	}
	select {
	case t.consumer <- raft.RPC{Command: in.cmd, Reader: in.stream, RespChan: answers}:
	case <-t.ctx.Done():
		in.from.answer(in, nil, raft.ErrTransportShutdown)
		return
	}
	select {
	case a := <-answers:
		if a.Error == nil && fromLeader(a.Response) {
			t.heard.Store(int64(in.at))
		}
		in.from.answer(in, a.Response, a.Error)
	case <-t.ctx.Done():
		in.from.answer(in, nil, raft.ErrTransportShutdown)
	}
}

// fromLeader reports whether an answer is one by which raft takes something from the
// leader of its term.
func fromLeader(answer any) bool {
	switch a := answer.(type) {
	case *raft.AppendEntriesResponse:
		return a.Success
	case *raft.InstallSnapshotResponse:
		return a.Success
	}
	return false
}

// Heard is when the last message came that the replica took from its leader; zero
// if none did. Raft's LastContact counts votes that it gives as well.
func (t *PeerTransport) Heard() time.Time {
	at := t.heard.Load()
	if at == 0 {
		return time.Time{}
	}
	return t.p.start.Add(time.Duration(at))
}

// refusal is why raft does not get to see a message; nil: it does.
func (t *PeerTransport) refusal(in *incoming) error {
	if !in.from.alive() || t.p.clock()-in.at > in.patience() {
		return errTooLate
	}
	switch in.cmd.(type) {
	case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest:
		if t.Empty != nil && t.Empty() {
			return errReplicaEmpty
		}
	}
	return nil
}

// A hereSender is the replica itself: a sole voter orders itself to stand for
// election.
type hereSender struct{ answered chan hereAnswer }

type hereAnswer struct {
	resp any
	err  error
}

func (s hereSender) alive() bool { return true }

func (s hereSender) answer(_ *incoming, resp any, err error) { s.answered <- hereAnswer{resp, err} }

// callHere takes a message for this node the same way as one from elsewhere.
func (t *PeerTransport) callHere(c call, req raft.WithRPCHeader, resp any) error {
	body := appendRequest(nil, t.group, string(c.id), req)
	q, err := decodeRequest(c.kind, body)
	if err != nil {
		return err
	}
	s := hereSender{make(chan hereAnswer, 1)}
	if err := t.p.enqueue(&incoming{peerRequest: q, size: len(body), at: t.p.clock(), from: s}); err != nil {
		return err
	}
	timeout := time.NewTimer(c.timeout)
	defer timeout.Stop()
	select {
	case a := <-s.answered:
		if a.err != nil {
			return a.err
		}
		return decodeAnswer(appendAnswer(nil, a.resp), resp)
	case <-timeout.C:
		return errNoAnswer
	case <-t.ctx.Done():
		return raft.ErrTransportShutdown
	}
}
