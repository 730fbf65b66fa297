// Package directory is the state machine of the directory group, the cluster's
// memory: which nodes it has and where they are, on which nodes each shard is to
// have its replicas, which shard decides which event and where that event is on
// its way to, which API keys and signing keys are good, and who changed what.
// Every node keeps a replica, so routing is a local look at an immutable Table.
//
// It is pure: no clock, no goroutine, no I/O, no randomness. Directory satisfies
// raftlog.StateMachine without importing it.
//
// # Ownership
//
// A Directory is written by one goroutine, the one that applies the group's
// log. Whatever other goroutines may see is in a Table, which never changes and
// is replaced as a whole: at most once per entry, through an atomic pointer, and
// only if something changed.
//
// # What is to be, not what is
//
// The directory says where replicas are to be. Whoever leads a shard brings its
// group there: adds the new replica, lets it catch up, makes it a voter, removes
// the old one. So a replica on a draining node leaves its list at once, long
// before its data has arrived elsewhere, and only the groups know when it has.
// In the same way the directory says who should lead a shard, never who does, and
// where an event goes, never how far it is.
//
// After every change of nodes or shards each shard has as many replicas as the
// cluster wants, or one on every node that is not draining if those are fewer,
// and leaders are as even as the lists allow. Replicas that are where they may be
// stay there, even if others have fewer: to even that out is an operator's
// decision, for which Plan makes the list.
//
// # Numbers
//
// One counter numbers nodes, replicas, changes of shards, assignments and moves,
// so that none of them is ever taken for an earlier one: a node or a replica that
// comes back is somebody else to raft, and a step of a move that is over is
// refused by everybody.
//
// # How a Table of 100,000 events is replaced cheaply
//
// Events are found by id in pages of 256 consecutive ids, and by key in a
// B-tree that shares nodes with its predecessors, as does the one of the events
// that are moving. A change copies the page it touches (2 KiB), the list of pages
// (3 KiB at 100,000 events), the list of shards (8 bytes each) and the three
// nodes on the way to the key. Ids are issued in order and never twice, so
// pages fill one after the other and the look by id is two loads. Nodes and keys
// are copied only when they change, and audit lines are shared by all tables.
//
// # One part
//
// A snapshot of the directory is a single part. Dividing it was considered and
// rejected: parts may be encoded at different entries, and an assignment
// decides over all of them at once (is the key taken, which id is next, which
// shard has the fewest events, was this request seen before), so a replay over
// parts of different ages would decide differently. A part of 100,000 events is
// 8 MB and takes the directory's applier about 10 ms to copy; holds wait for
// none of it, because they only read the Table.
package directory
