package raftlog

import (
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"github.com/usher-seats/usher/wire"
)

// GroupConfig says what a group replicates and with whom.
type GroupConfig struct {
	ID uint64 // 0: the directory; 1 and up: shards

	// New makes an empty state machine. It is called at start and for each
	// snapshot that is restored.
	New func() StateMachine
	// Publish is told the state machine that is current from now on, before
	// StartGroup returns and after each restore. Readers use it until the next
	// call. It must not block.
	Publish func(StateMachine)

	// Bootstrap begins the group, if its stores are empty, with Peers as its
	// voters. Exactly the first voters of a new group set it, all with the same
	// Peers.
	Bootstrap bool
	// Peers are the first voters, this replica among them, as raft's server ids;
	// none: this replica alone.
	Peers []string
	// Replica is the number of this node's replica; see Member. 0: it has none, and
	// is called after the node alone.
	Replica uint64
	// Transport connects the voters; nil: there is nobody to talk to. A peer's
	// address is its node id.
	Transport raft.Transport

	// Chase has an empty entry follow each that changed something at once, if nothing
	// else does, and not only after chaseAfter. Followers learn of a commit with the
	// entry after it. It costs a write per entry, so it is for groups that change
	// rarely and whose readers on other nodes should know at once.
	Chase bool

	// SnapshotOnClose takes a snapshot in Close, so that the next start has
	// nothing to replay.
	SnapshotOnClose bool

	// ElectionTimeout is how long followers wait for a sign of their leader
	// before they elect another, and a leader for a sign of its followers before
	// it steps down; default 600 ms.
	ElectionTimeout time.Duration
	// AnswerTimeout is how long an entry may be under way before its operations
	// are answered StatusUnknown; default 10 s.
	AnswerTimeout time.Duration
	// Clock is a monotonic clock; nil: the process's.
	Clock func() time.Duration
	// WallClock is asked once, for the time at which a new group begins; nil:
	// the system's.
	WallClock func() wire.Millis
	// Log takes what raft has to say, from warnings up; nil: slog's default.
	Log *slog.Logger
}
