package raftlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// smallTimeout is how long raft waits for the answer to a message without
	// entries: a few election timeouts. It has no limit of its own.
	smallTimeout = 2 * time.Second
	// appendTimeout is that for entries, which wait for the follower's disk;
	// appendTimePerMiB is added for what the network needs.
	appendTimeout    = 5 * time.Second
	appendTimePerMiB = time.Second
	// downPatience is how long a message to follow up the log waits for a node that
	// cannot be reached. See AppendEntries.
	downPatience = 3 * time.Second
	// refusedPause is how long it waits before it asks a node again that has refused
	// it.
	refusedPause = 50 * time.Millisecond
)

var (
	_ raft.Transport   = (*PeerTransport)(nil)
	_ raft.WithPreVote = (*PeerTransport)(nil)
	_ raft.WithClose   = (*PeerTransport)(nil)
)

// A PeerTransport carries the messages of raft from and to this node's replica
// of one group. Servers are replicas, "<node>@<number>"; an address is a node's
// name.
type PeerTransport struct {
	// Empty reports that the replica has nothing yet: then it gives no votes.
	// Whoever starts the group sets it, if at all, before raft starts.
	Empty func() bool

	p       *Peers
	group   uint64
	replica string
	ctx     context.Context // ends with Close
	end     context.CancelFunc

	inbox    chan *incoming // messages from others, in order
	consumer chan raft.RPC  // raft takes them here
	consumed sync.Once      // the goroutine between the two has been started
	work     sync.WaitGroup // that goroutine

	onBeat  atomic.Pointer[func()] // asks raft for heartbeats; nil: they come by themselves
	beating atomic.Bool            // raft has sent one since it was last asked
	onBack  atomic.Pointer[func()] // told when a replica answers heartbeats again
	heard   atomic.Int64           // when the last message of the leader came, since p.start; 0: never

	mu   sync.Mutex
	lost map[raft.ServerID]bool // replicas that have not answered the last heartbeat
}

// Transport registers this node's replica of a group, in place of another one
// that may still be registered. What comes for it is kept until raft starts.
func (p *Peers) Transport(group uint64, replica string) *PeerTransport {
	t := &PeerTransport{
		p: p, group: group, replica: replica,
		inbox:    make(chan *incoming, maxInbox),
		consumer: make(chan raft.RPC),
		lost:     make(map[raft.ServerID]bool),
	}
	t.ctx, t.end = context.WithCancel(p.ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replicas[group] = t
	return t
}

// Close unregisters the replica. raft calls it when it has shut down. Whoever
// closes the group may call it before: then raft does not wait for answers that
// are on their way.
func (t *PeerTransport) Close() error {
	t.p.mu.Lock()
	if t.p.replicas[t.group] == t {
		delete(t.p.replicas, t.group)
	}
	t.p.mu.Unlock()
	t.end()
	t.consumed.Do(func() {}) // it is not started any more
	t.work.Wait()
	return nil
}

// Consumer implements raft.Transport. raft calls it when it starts.
func (t *PeerTransport) Consumer() <-chan raft.RPC {
	t.consumed.Do(func() { t.work.Go(t.deliver) })
	return t.consumer
}

// LocalAddr implements raft.Transport.
func (t *PeerTransport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(t.p.c.Node) }

// EncodePeer implements raft.Transport.
func (t *PeerTransport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(addr)
}

// DecodePeer implements raft.Transport.
func (t *PeerTransport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler implements raft.Transport by doing nothing: heartbeats
// reach raft like all other messages. The handler is raft's appendEntries, which
// would run here beside raft's own goroutine (processHeartbeat in 1.7.3 says it
// must not). It compares the message's term with the current one and then sets
// it; when raft grants a vote in a later term between the two, the term goes
// back. The replica would then take entries from a leader that it has helped to
// depose, and might vote twice in the terms between. The price is that
// heartbeats wait for a follower's disk: a sync that takes longer than the
// election timeout costs an election.
func (t *PeerTransport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntriesPipeline implements raft.Transport: there is none. With two
// entries under way it gained nothing that could be told from noise, be a sync
// 1 ms (1.06 ms an entry with and without) or nothing (BenchmarkTwoInFlight), and
// an answer that fails counts as contact with the follower (pipelineDecode); see
// also hashicorp/raft #541 and #612.
func (t *PeerTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries implements raft.Transport. If the entries are too much for one
// message, it sends the first of them and shortens req: raft looks in it for what
// it has sent (updateLastAppended), and goes on with the rest.
//
// While a node cannot be reached, a heartbeat fails at once, but what follows up
// the log waits for a while. raft waits between two of these for twice as long
// after each failure, up to ten seconds (backoff in replicateTo), and a node that
// has come back would be without entries for as long. The fewer failures, the
// sooner it is up to date; and here it is noticed at once. A node that refuses the
// message is asked again for as long: one that starts has no replicas yet.
func (t *PeerTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	c := call{kind: kindAppend, id: id, target: target, timeout: smallTimeout}
	if isHeartbeat(req) {
		c.when = held
		t.beating.Store(true)
		err := t.call(c, req, resp)
		t.noteContact(id, err == nil)
		return err
	}
	n := fitting(req.Entries)
	if n == 0 && len(req.Entries) > 0 {
		return fmt.Errorf("entry %d is too large for a message", req.Entries[0].Index)
	}
	req.Entries = req.Entries[:n]
	for _, l := range req.Entries {
		c.size += entrySize + len(l.Data) + len(l.Extensions)
	}
	if n > 0 {
		c.timeout = appendTimeout + time.Duration(c.size>>20)*appendTimePerMiB
	}
	c.downPatience = downPatience
	giveUp := t.p.clock() + downPatience
	for {
		err := t.call(c, req, resp)
		if refused := (*PeerError)(nil); !errors.As(err, &refused) || t.p.clock() >= giveUp {
			return err
		}
		select {
		case <-time.After(refusedPause):
		case <-t.ctx.Done():
			return raft.ErrTransportShutdown
		}
	}
}

// isHeartbeat tells the messages of raft's heartbeat goroutine from those that
// follow up the log: only they have nothing but a term.
func isHeartbeat(cmd any) bool {
	c, ok := cmd.(*raft.AppendEntriesRequest)
	return ok && len(c.Entries) == 0 && c.PrevLogEntry == 0 && c.PrevLogTerm == 0 && c.LeaderCommitIndex == 0
}

// RequestVote implements raft.Transport.
func (t *PeerTransport) RequestVote(id raft.ServerID, target raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.call(call{kind: kindVote, id: id, target: target, timeout: smallTimeout}, req, resp)
}

// RequestPreVote implements raft.WithPreVote. raft takes an error that says
// "unexpected command" for a vote; none of ours does.
func (t *PeerTransport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.call(call{kind: kindPreVote, id: id, target: target, timeout: smallTimeout}, req, resp)
}

// TimeoutNow implements raft.Transport.
func (t *PeerTransport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.call(call{kind: kindTimeoutNow, id: id, target: target, timeout: smallTimeout}, req, resp)
}

// A call is a message of raft on its way to another replica.
type call struct {
	kind         peerKind
	id           raft.ServerID
	target       raft.ServerAddress
	when         urgency
	size         int // of the entries in bytes
	timeout      time.Duration
	downPatience time.Duration // 0: fail at once while the node cannot be reached
}

func (t *PeerTransport) call(c call, req raft.WithRPCHeader, resp any) error {
	if t.ctx.Err() != nil {
		return raft.ErrTransportShutdown
	}
	node := string(c.target)
	if node == t.p.c.Node {
		return t.callHere(c, req, resp)
	}
	if len(c.id) > maxName {
		return fmt.Errorf("replica %q has more than %d bytes in its name", c.id, maxName)
	}
	l, err := t.p.link(node)
	if err != nil {
		return err
	}
	s, err := l.await(max(c.timeout, c.downPatience), c.downPatience > 0, t.ctx.Done())
	if err != nil {
		return err
	}
	body, err := s.ask(question{
		kind: c.kind, when: c.when, size: c.size, timeout: c.timeout,
		encode: func(b []byte) []byte { return appendRequest(b, t.group, string(c.id), req) },
	}, t.ctx.Done())
	if errors.Is(err, errGivenUp) {
		return raft.ErrTransportShutdown
	}
	if err != nil {
		return err
	}
	return decodeAnswer(body, resp)
}

// nodeOf is the node of a replica "<node>@<number>".
func nodeOf(replica string) string {
	if i := strings.LastIndexByte(replica, '@'); i >= 0 {
		return replica[:i]
	}
	return replica
}
