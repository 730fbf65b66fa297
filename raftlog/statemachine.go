package raftlog

import "github.com/usher-seats/usher/wire"

// A StateMachine is what a group replicates. It is pure: what it does follows
// from the calls it gets. All methods but Hash are called one at a time, never
// two at once, and each call sees what the ones before it wrote. Readers on
// other goroutines are the state machine's own affair.
type StateMachine interface {
	// Apply first ends what is due at stamp, a bounded number, then decides the
	// records of ops in order. index grows from call to call, stamp never falls.
	// out, if not nil, is called once per record, in order; body is only valid
	// during the call. ops belongs to the log: it may be read, not kept or written.
	Apply(index uint64, stamp wire.Millis, ops []byte, out func(i int, s wire.Status, body []byte))

	// Read answers a linearizable query placed after all that was applied. It
	// calls out once; body is only valid during the call.
	Read(q wire.Record, out func(s wire.Status, body []byte))

	// NextDue is the shard time at which something is due; wire.Never if nothing.
	NextDue() wire.Millis

	// Parts yields each part's id and the index of the entry that last changed
	// it. A part that was deleted is not yielded any more.
	Parts(yield func(id, changed uint64))

	// EncodePart appends the part as it is now: a memory copy. ok is false if
	// the part does not exist any more.
	EncodePart(dst []byte, id uint64) (data []byte, ok bool)

	// LoadPart and then Start fill a fresh state machine from a snapshot taken
	// at index and stamp. Start verifies, and rebuilds derived state. Parts may
	// have been encoded at later indexes than Start's: Apply of an entry that a
	// part already contains skips that part. A machine that begins without a
	// snapshot gets neither call. data is only valid during the call.
	LoadPart(id uint64, data []byte) error
	Start(index uint64, stamp wire.Millis) error

	// Hash is the same on replicas with the same history, however they got
	// there. It is called while nothing is applied.
	Hash() uint64
}
