package raftlog

import (
	"context"
	"errors"

	"github.com/usher-seats/usher/wire"
)

// A Group replicates one state machine.
type Group struct{}

// StartGroup starts a group on this node's stores and returns when its state
// machine is loaded. It leads, if it is to lead, some milliseconds later.
func (n *Node) StartGroup(c GroupConfig) (*Group, error) {
	return nil, errors.New("raftlog: not there yet")
}

// Submit hands b to the group. With StatusOK every record will be answered
// exactly once. Any other status refuses the batch, which is untouched and still
// the caller's: StatusOverloaded, StatusUnavailable (the group does not lead
// here) or StatusStopping.
func (g *Group) Submit(b *Batch) wire.Status { return wire.StatusUnavailable }

// Leading reports whether the group leads here and takes batches.
func (g *Group) Leading() bool { return g.Reign() != 0 }

// Reign is the term in which the group leads here, 0 if it does not.
func (g *Group) Reign() uint64 { return 0 }

// SoleVoter reports whether nobody else could lead the group, so that what was
// looked up before this call can be answered at once.
func (g *Group) SoleVoter() bool { return false }

// Now is the shard time: on the leader it goes on with the clock, elsewhere it
// is the last applied stamp.
func (g *Group) Now() wire.Millis { return 0 }

// Leader is the node id of the group's leader as far as this node knows, or "".
func (g *Group) Leader() string { return "" }

// AwaitLeading returns when the group leads here, or with ctx's error.
func (g *Group) AwaitLeading(ctx context.Context) error { return nil }

// Snapshot takes a snapshot now, if anything was applied since the last one.
func (g *Group) Snapshot(ctx context.Context) error { return nil }

// Stats reads the group's figures.
func (g *Group) Stats() Stats { return Stats{} }

// Hash is the state machine's hash, between two entries.
func (g *Group) Hash() uint64 { return 0 }

// Close refuses new batches, finishes those it has taken and stops the group.
// When ctx ends first, what is left is answered without being finished: not
// applied if it was not proposed, unknown if it was.
func (g *Group) Close(ctx context.Context) error { return nil }
