package raftlog

import (
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options say where a node keeps its stores and how much they may hold. The
// zero value of every field but Dir and NodeID is replaced by its default.
type Options struct {
	Dir    string // holds log/, snap/ and raft.db; created if missing
	NodeID string // the node's name for ever; raft's server id
	FS     vfs.FS // of log/ and snap/; default the operating system's

	// Fatal ends the process: it is called once, with one sentence, when a disk
	// no longer keeps what it was given. Default: the sentence on standard error
	// and exit code ExitDiskFailure. Nothing is acknowledged after it was called.
	Fatal func(msg string)

	// Log receives what the stores have to say; default nothing.
	Log func(msg string)

	SnapshotLogBytes int64         // of log since the last snapshot that ask for the next one; default 64 MiB
	TrailingLogBytes int64         // of log kept behind a snapshot for followers; default 64 MiB
	StallLimit       time.Duration // that a write to the log may take before it is a failure; default 2 s
	DiskReserve      int64         // bytes of free space below which DiskLow; default 256 MiB
}

// ExitDiskFailure is the exit code of a process whose disk failed it.
const ExitDiskFailure = 3

// A Node owns the stores that all groups of a process share.
type Node struct {
	opts Options
}

// Open opens or creates the stores of a node.
func Open(o Options) (*Node, error) { return nil, errors.New("raftlog: not there yet") }

// attach registers a running group; stop is called by Close before the stores
// are closed. It fails if the group runs already or the node is closing.
func (n *Node) attach(group uint64, stop func()) error { return nil }

// Close stops the groups and closes the stores.
func (n *Node) Close() error { return nil }

// DiskLow reports that free space is below the reserve: admit no new holds.
func (n *Node) DiskLow() bool { return false }

// openGroupStores returns the stores of one group. Once per group and Open.
func (n *Node) openGroupStores(group uint64) (*logStore, *stableStore, *snapshotStore, error) {
	return nil, nil, nil, errors.New("raftlog: not there yet")
}
