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
	// Peers are the node ids of the first voters, this node among them; none:
	// this node alone.
	Peers []string
	// Transport connects the voters; nil: there is nobody to talk to. A peer's
	// address is its node id.
	Transport raft.Transport

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
