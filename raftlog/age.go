package raftlog

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// forever is the age of what has never been.
const forever = 365 * 24 * time.Hour

// maxSilent is how many entries after the last applied one are looked through for
// one that changes something. A new leader writes two that do not.
const maxSilent = 8

// A lag remembers when a follower's view was whole. Safe on any goroutine.
type lag struct {
	logs  raft.LogStore    // the group's, with raft's cache of it; set at start
	heard func() time.Time // of the leader; set at start

	// whole is the last moment at which the replica heard of its leader and had applied
	// all that it then knew to be committed; nil if there was none.
	whole atomic.Pointer[time.Time]
	// silent is an index up to which nothing was committed that this replica's state
	// machine has not seen: raft keeps the entries in between to itself.
	silent atomic.Uint64
}

// Age is how old this replica's view is at most, as far as it knows: zero on the
// leader. Elsewhere it is the time since the replica heard of its leader and had
// applied all that was committed by then; a long time if that never was. What was
// on its way to it at that moment it cannot know.
func (g *Group) Age() time.Duration {
	if g.Leading() {
		return 0
	}
	heard := g.lag.heard()
	committed := g.raft.CommitIndex() // after heard: all that was spoken of then
	if !heard.IsZero() && g.hasApplied(committed) {
		if w := g.lag.whole.Load(); w == nil || w.Before(heard) {
			at := heard // apart, so that a call that changes nothing allocates nothing
			g.lag.whole.Store(&at)
		}
	}
	w := g.lag.whole.Load()
	if w == nil {
		return forever
	}
	return time.Since(*w)
}

// hasApplied reports whether the state machine has seen all that it is to see up to
// an index. Raft's own count of what it applied is of no use: it says what was
// handed over and may still wait.
func (g *Group) hasApplied(index uint64) bool {
	applied := g.fsm.applied.Load()
	if index <= applied || index <= g.lag.silent.Load() {
		return true
	}
	if index-applied > maxSilent {
		return false
	}
	for i := applied + 1; i <= index; i++ {
		var l raft.Log
		if g.lag.logs.GetLog(i, &l) != nil || l.Type == raft.LogCommand {
			return false
		}
	}
	g.lag.silent.Store(index) // a smaller one, stored at the same time, is as true
	return true
}
