// Package directory is the state machine of the directory group: which shard
// decides which event, which API keys exist, what the cluster is called. Every
// node keeps a replica, so routing is a local look at an immutable Table.
//
// It is pure: no clock, no goroutine, no I/O, no randomness. Directory satisfies
// raftlog.StateMachine without importing it.
//
// # Ownership
//
// A Directory is written by one goroutine, the one that applies the group's
// log. Whatever other goroutines may see is in a Table, which never changes and
// is replaced as a whole: at most once per entry, through an atomic pointer.
//
// # How a Table of 100,000 events is replaced cheaply
//
// Events are found by id in pages of 256 consecutive ids, and by key in a
// B-tree that shares nodes with its predecessors. A change copies the page it
// touches (2 KiB), the list of pages (3 KiB at 100,000 events) and the three
// nodes on the way to the key. Ids are issued in order and never twice, so
// pages fill one after the other and the look by id is two loads.
//
// # One part
//
// A snapshot of the directory is a single part. Dividing it was considered and
// rejected: parts may be encoded at different entries, and an assignment
// decides over all of them at once (is the key taken, which id is next, which
// shard has the fewest events, was this request seen before), so a replay over
// parts of different ages would decide differently. A part of 100,000 events is
// 7 MB and takes the directory's applier about 10 ms to copy; holds wait for
// none of it, because they only read the Table.
package directory
