package raftlog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// ExitDiskFailure is the exit code of a process whose disk failed it.
const ExitDiskFailure = 3

const (
	defaultSnapshotLogBytes = 64 << 20
	defaultTrailingLogBytes = 32 << 20
	defaultStallLimit       = 5 * time.Second
	defaultDiskReserve      = 256 << 20

	maxGroup = 1 << 48 // group ids stay below, so that no key begins like nodeKey
)

// errFailed is what every store answers once one of them has failed.
var errFailed = errors.New("the node's disk has failed")

// markPatience is how long a node that closes takes to note in the bolt file how far
// the other stores have come, which is a write and two syncs for each group. Where that
// is not noted any more, it is as after a crash.
const markPatience = 5 * time.Second

var errClosing = errors.New("raftlog: the node is closing")

// Options say where a node keeps its stores and how much they may hold. A field
// that is zero gets its default; Dir and NodeID have none.
type Options struct {
	Dir    string // holds log/, snap/ and raft.db; created if missing
	NodeID string // the node's name for ever; raft's server id
	FS     vfs.FS // of log/ and snap/, for tests; default: the operating system's

	// Fatal ends the process. It is called once, with one sentence, when the disk
	// no longer keeps what it was given, and nothing is acknowledged after that.
	// Default: the sentence on standard error, then exit code ExitDiskFailure.
	Fatal func(msg string)

	// Log takes what the stores have to say; default: slog's default.
	Log *slog.Logger

	// SnapshotLogBytes of entries since the last snapshot ask for the next one;
	// default 64 MiB. It bounds what a restart replays.
	SnapshotLogBytes int64

	// TrailingLogBytes of entries are kept behind a snapshot, so that a follower
	// that was away for a moment needs no snapshot; default 32 MiB per group.
	TrailingLogBytes int64

	// StallLimit is how long a write to the log, or of a term or vote, may take
	// before the disk counts as failed; default 5 s. Heartbeats do not wait for
	// the disk, so a leader whose disk hangs would lead for ever (hashicorp/raft
	// #503, #614): where another voter could take over, set two election timeouts.
	StallLimit time.Duration

	// DiskReserve is the free space, in bytes, below which DiskLow reports true;
	// default 256 MiB.
	DiskReserve int64

	memTable uint64        // of the log's Pebble, in bytes; tests make it small
	commit   time.Duration // raft's CommitTimeout; tests make it long or short
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Fatal == nil {
		o.Fatal = func(msg string) {
			fmt.Fprintln(os.Stderr, "usher:", msg)
			os.Exit(ExitDiskFailure)
		}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.SnapshotLogBytes == 0 {
		o.SnapshotLogBytes = defaultSnapshotLogBytes
	}
	if o.TrailingLogBytes == 0 {
		o.TrailingLogBytes = defaultTrailingLogBytes
	}
	if o.StallLimit == 0 {
		o.StallLimit = defaultStallLimit
	}
	if o.DiskReserve == 0 {
		o.DiskReserve = defaultDiskReserve
	}
	if o.memTable == 0 {
		o.memTable = logMemTable
	}
	if o.commit == 0 {
		o.commit = commitTimeout
	}
}

func (o *Options) validate() error {
	switch {
	case o.Dir == "":
		return errors.New("raftlog: Options.Dir is empty: name the directory for the node's data")
	case o.NodeID == "":
		return errors.New("raftlog: Options.NodeID is empty: name the node")
	case len(o.NodeID) > maxNodeID:
		return fmt.Errorf("raftlog: Options.NodeID has %d bytes, at most %d are allowed", len(o.NodeID), maxNodeID)
	case o.SnapshotLogBytes < 0 || o.TrailingLogBytes < 0 || o.StallLimit < 0 || o.DiskReserve < 0:
		return errors.New("raftlog: Options has a negative limit")
	}
	return nil
}

// A Node owns the stores that all groups of a process share: the log and the
// snapshots, each a Pebble, and the bolt file with terms and votes. Its methods
// may be called from any goroutine.
type Node struct {
	opts Options

	// Set by Open, then immutable.
	incarnation           [16]byte
	log, snap             *pebble.DB
	logSynced, snapSynced *syncedFS
	bolt                  *raftboltdb.BoltStore
	stalls                *stallWatch
	disk                  *diskGuard
	reclaimer             *reclaimer
	flushed               chan struct{} // told when the log has flushed a memtable
	snapshotTurn          chan struct{} // holds one token: the group that takes a snapshot has it

	scratch scratch // of the snapshot that is being taken

	serving  atomic.Bool // Open has succeeded: a failure ends the process
	failed   atomic.Bool
	failOnce sync.Once

	mu      sync.Mutex
	closing bool                    // no group may be attached any more
	dropped map[uint64]bool         // groups that are being dropped
	running map[uint64]func()       // attached groups: how to stop each
	stores  map[uint64]*groupStores // handed out by openGroupStores
}

// groupStores are the stores of one group. They are immutable.
type groupStores struct {
	logs   *logStore
	stable *stableStore
	snaps  *snapshotStore
}

// Open opens the stores of a node, or creates them in an empty directory. It
// fails if they do not belong together; the error says what to do.
func Open(o Options) (*Node, error) {
	o.setDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	n := &Node{
		opts:         o,
		snapshotTurn: make(chan struct{}, 1),
		running:      make(map[uint64]func()),
		stores:       make(map[uint64]*groupStores),
		dropped:      make(map[uint64]bool),
		flushed:      make(chan struct{}, 1),
	}
	n.snapshotTurn <- struct{}{}
	err := n.openStores()
	n.serving.Store(err == nil)
	if err := errors.Join(err, n.failure()); err != nil {
		return nil, errors.Join(err, n.closeStores())
	}
	n.stalls = startStallWatch(o.StallLimit, n.fail)
	n.disk = startDiskGuard(o.FS, o.Dir, o.DiskReserve, o.Log)
	n.reclaimer = startReclaimer(n, n.flushed)
	return n, nil
}

// openStores opens the three stores and makes sure that they are of one node
// and of the same age.
func (n *Node) openStores() error {
	if err := makeDir(n.opts.FS, n.opts.Dir); err != nil {
		return err
	}
	// Bolt first: its lock waits up to a second for a process that is just ending.
	if err := n.openBolt(); err != nil {
		return err
	}
	var logErr, snapErr error
	var both sync.WaitGroup
	both.Go(func() { n.log, n.logSynced, logErr = n.openPebble("log", logPebble(n.opts.memTable), n.flushed) })
	both.Go(func() { n.snap, n.snapSynced, snapErr = n.openPebble("snap", snapPebble(), nil) })
	both.Wait()
	if err := errors.Join(logErr, snapErr); err != nil {
		return err
	}
	if err := syncDir(n.opts.FS, n.opts.Dir); err != nil {
		return err
	}
	return n.enter()
}

// path names a file or directory of the node.
func (n *Node) path(name string) string { return filepath.Join(n.opts.Dir, name) }

// fail ends the process: see Options.Fatal. It returns in tests only, and then
// no store takes or acknowledges anything any more. Before the node serves, Open
// fails instead.
func (n *Node) fail(msg string) {
	n.failed.Store(true)
	if n.serving.Load() {
		n.failOnce.Do(func() { n.opts.Fatal(msg) })
	}
}

func (n *Node) failure() error {
	if n.failed.Load() {
		return errFailed
	}
	return nil
}

// attach registers a running group; stop is called by Close before the stores
// are closed. It fails if the group is running already or the node is closing.
func (n *Node) attach(group uint64, stop func()) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return errClosing
	}
	if n.running[group] != nil {
		return fmt.Errorf("raftlog: group %d runs already", group)
	}
	n.running[group] = stop
	return nil
}

// detach forgets a group that has stopped, so that it can be started again.
func (n *Node) detach(group uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.running, group)
}

// openGroupStores returns the stores of one group. A group that is stopped and
// started again gets the same ones.
func (n *Node) openGroupStores(group uint64) (*logStore, *stableStore, *snapshotStore, error) {
	if group >= maxGroup {
		return nil, nil, nil, fmt.Errorf("raftlog: group %d: ids end at %d", group, uint64(maxGroup)-1)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return nil, nil, nil, errClosing
	}
	if n.dropped[group] {
		return nil, nil, nil, fmt.Errorf("raftlog: group %d is being dropped", group)
	}
	if g := n.stores[group]; g != nil {
		return g.logs, g.stable, g.snaps, nil
	}
	g, err := n.loadGroup(group)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("raftlog: group %d: %w", group, err)
	}
	n.stores[group] = g
	return g.logs, g.stable, g.snaps, nil
}

func (n *Node) loadGroup(group uint64) (*groupStores, error) {
	if err := n.checkGroup(group); err != nil {
		return nil, err
	}
	logs, err := openLogStore(n, group)
	if err != nil {
		return nil, err
	}
	snaps, err := openSnapshotStore(n, group, logs)
	if err != nil {
		return nil, err
	}
	stable, err := openStableStore(n, group, logs, snaps)
	if err != nil {
		return nil, err
	}
	return &groupStores{logs, stable, snaps}, nil
}

// Incarnation is what tells the node's stores from all others, also from those of
// a node that had its name before.
func (n *Node) Incarnation() [16]byte { return n.incarnation }

// Holds lists the groups of which the node has an entry or a snapshot.
func (n *Node) Holds() ([]uint64, error) { return n.groupsOnDisk() }

// DiskLow reports that free space is below the reserve: admit no new holds, so
// that confirms and releases still find room. It clears when space returns.
func (n *Node) DiskLow() bool { return n.disk.low.Load() }

// Close stops the groups and closes the stores.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		return nil
	}
	n.closing = true
	running := n.running
	n.running = nil
	n.mu.Unlock()

	var stopped sync.WaitGroup
	for _, stop := range running {
		stopped.Go(stop)
	}
	stopped.Wait()

	n.reclaimer.stop()
	n.stalls.stop()
	n.disk.stop()
	var err error
	began := time.Now()
	for _, g := range n.stores {
		if time.Since(began) < markPatience {
			err = errors.Join(err, g.stable.mark())
		}
	}
	return errors.Join(err, n.closeStores())
}

// closeStores closes what is open. After a failure the Pebbles stay as they are:
// a commit that panicked holds their locks for ever.
func (n *Node) closeStores() error {
	var errs []error
	if n.failure() == nil {
		for _, db := range []*pebble.DB{n.log, n.snap} {
			if db != nil {
				errs = append(errs, db.Close())
			}
		}
		for _, fs := range []*syncedFS{n.logSynced, n.snapSynced} {
			if fs != nil {
				errs = append(errs, fs.close())
			}
		}
	}
	if n.bolt != nil {
		errs = append(errs, n.bolt.Close())
	}
	return errors.Join(errs...)
}
