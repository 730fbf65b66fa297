// Package raftlog replicates state machines. A Node has the stores of a process,
// a Group one state machine on them, with hashicorp/raft between the replicas.
// The package knows records and answers, and nothing of what they mean.
//
// # The way of an operation
//
//	caller ── Batch ──> Submit: room? ──> queue (lock-free, many producers)
//	   batcher: takes the whole queue, stamps shard time, makes one entry ──> raft
//	   raft: log, fsync, quorum ──> applier: StateMachine.Apply ──> Receiver
//
// Three goroutines have a part in it. The caller's copies records into a pooled
// Batch and pushes it onto the queue with one compare-and-swap. The batcher owns
// everything between queue and raft: it waits for no timer, but takes what is
// there as soon as an entry may be proposed, so that entries grow with the load.
// The applier, raft's FSM goroutine, is the only writer of the state machine and
// hands each outcome to its Receiver from within Apply.
//
// Everything is bounded: the queue (65,536 operations, 16 MiB; beyond that Submit
// refuses), an entry (4,096 operations, 192 KiB), the entries under way (two), the
// reads that ride on one (4,096). No step allocates per operation; an entry costs
// one fresh slice, because raft keeps it.
//
// # Answered exactly once
//
// An entry carries the proposer's token, random per start, and a sequence number.
// By these the applier finds the flight: who waits for this entry, in this
// process. Three may want to answer it: the applier, because it applies the entry;
// a watcher, because raft's future failed; the batcher, because the deadline
// passed or the group closes. Whoever wins one compare-and-swap on the flight
// answers all of it; the others leave it alone. If an entry that was answered
// unknown is applied later, it is applied silently.
//
// A failure is StatusUnavailable, certainly not applied, if the operation was in
// no entry yet or raft refused the entry before it was in the log (ErrNotLeader,
// ErrEnqueueTimeout, ErrLeadershipTransferInProgress). All else is StatusUnknown:
// leadership lost, a write that failed, a shutdown, a future that never returns.
//
// # Passengers
//
// A read, and an answer that was looked up in the state without the log, must not
// come from a leader that was deposed without knowing it. A lease would have to
// trust clocks, and raft's VerifyLeader counts answers to heartbeats from before
// the question. So they ride, as passengers, on an entry:
//
// A group serves in reigns. A reign begins when this node's raft leads in a term
// and an empty entry it proposed in that term has been applied here: whatever was
// acknowledged under earlier leaders is before that entry and so in the state. A
// look made in the reign sees that, and what was acknowledged since, because only
// this applier has acknowledged anything. A Ready batch notes the reign when it
// is made, before the looks. Its answers go out when an entry proposed after
// Submit is applied and raft's record of that entry has the reign's term. That a
// quorum took this entry, in this term, after the looks, proves that no later
// term had begun with that quorum, so nobody else had committed anything: the
// looks were current. A node that was paused or cut off cannot get such an entry
// committed, however long it takes to notice; if it leads again, it does so in
// another term, and the old answers are refused.
//
// A query in a Read batch is put to the state machine after such an entry. It
// needs no look at the term: what was acknowledged before Submit is before the
// entry in the log, or the entry is never committed.
//
// With one voter nobody else can lead, and the caller need not wait.
//
// # Time
//
// Each entry has a stamp, and Apply gets the largest so far: shard time never
// runs backwards. The leader's time is the last stamp at the beginning of its
// reign plus what its monotonic clock has counted since; elsewhere it is the last
// applied stamp. No wall clock takes part, except that the first leader of a new
// group begins with it, so that ids look like the UUIDs they are. An idle group
// proposes an entry when the state machine's NextDue has come, at most every
// 50 ms. Where there are followers, an empty entry follows the last one, by which
// they learn that it is committed; nothing else is proposed. While something is to fall due it stamps its time
// at least every ten seconds and when it closes, which bounds what a change of
// leader gives back. If more is due than one Apply may end, or the process stood
// still for more than a second, entries without operations go first, each taking
// time forward by a second at most, until all that was due has ended.
//
// # Snapshots
//
// A snapshot is asked for by bytes of log, one group of a node at a time. At its
// index the applier only notes which parts there are and when each last changed.
// The parts that the store does not have yet are then encoded one by one between
// entries, so each may contain entries beyond the index, and a state machine
// skips, part by part, what it finds contained when the log is replayed. Such a
// part is never ahead of the log: what is applied is on a quorum's disks, and on
// this one. A snapshot that fails or is given up takes nothing along, because
// what changed is found by comparing with what is stored.
//
// A restore builds a fresh state machine aside, verifies the stream and the
// state, and only then puts it in the old one's place.
//
// # On disk
//
// A Node has three stores in its directory, each for all groups:
//
//	log/     a Pebble: entries by group and index. One WAL, so groups that store
//	         at the same time share a sync.
//	snap/    a Pebble: per group the parts of its last snapshot
//	raft.db  a bolt file: per group one record with term and vote
//
// What raft is told is on disk is on disk. A disk that fails, or hangs, ends the
// process through Options.Fatal before anything more is acknowledged; damage to
// what was synced, and stores that do not belong together, keep it from starting.
// docs/decisions/log-store.md has formats, reasons and measurements.
//
// Truncation counts bytes, not entries: a group keeps TrailingLogBytes behind its
// last snapshot, and as much as a snapshot on its way to a follower needs.
//
// # Between nodes
//
// Peers connects a node with the others. One listener takes, from each other
// node, a stream with the messages of all groups and the calls of the layer
// above; answers go back on it. So there is one stream per ordered pair of nodes,
// whatever the number of groups, and the heartbeats of all of them share writes:
// 64 idle groups on three nodes in one process cost 12 to 16 % of a core for all
// three together (TestIdleCost; stock transports 23 to 26 %), nearly all of it raft
// itself. They go out at the node's beat, when raft is asked for the next ones.
// A snapshot has a connection of its own.
//
// A connection begins with a hello. It answers a challenge of the listener, so a
// recorded one is worth nothing; it names the cluster, the node and its stores,
// and whom it wants to talk to; with TLS, the certificates of both ends must be
// of the cluster's authority and for the nodes they claim to be.
//
// A message is for a replica, not for a node: "<node>@<number>", where no number
// is given out twice. A replica that was removed, wiped and made anew is another
// one, so nobody can count on what the old one had promised; and one that has
// nothing yet gives no votes. Messages reach raft in order, on raft's own
// goroutine, none of them twice, and not when their sender has given them up.
//
// Every message has a time limit, every stream is pinged, and a stream that is
// silent for 1.5 s is dialed anew. While a node cannot be reached, what is for it
// fails at once. Frames, inboxes, calls, connections and bytes under way are
// bounded; a replica or node that is slow holds up no other.
//
// # What it is not
//
// It does not decide who the members of a group are to be: whoever does tells the
// group's leader, change by change. It does not retry, and it forgets what it was
// asked once it has answered.
package raftlog
