package raftlog

import (
	"time"

	"github.com/usher-seats/usher/wire"
)

// Stats are a group's figures, for metrics. Counters count since the group was
// started here. The values are read one by one and may be moments apart.
type Stats struct {
	Group   uint64
	Leading bool
	Term    uint64
	Applied uint64      // index of the last applied entry
	Stamp   wire.Millis // of the last applied entry
	NextDue wire.Millis // wire.Never: nothing

	QueuedOps   int64 // records waiting for an entry
	QueuedBytes int64
	InFlight    int // entries proposed and not yet decided

	Entries    uint64 // proposed here, ticks and barriers included
	Ops        uint64 // proposed here
	Bytes      uint64 // of entries proposed here
	Ticks      uint64 // entries proposed only because something was due
	Barriers   uint64 // entries proposed only for passengers, or after an election
	Passengers uint64 // reads and ready answers given out
	Overloaded uint64 // batches refused because the queue was full
	NotApplied uint64 // records answered: certainly not applied
	Unknown    uint64 // records answered: may or may not be applied
	Elections  uint64 // reigns begun here

	AppliedEntries uint64 // of any proposer, replay included
	AppliedBytes   uint64

	LogBytes         int64     // of entries in the log
	SnapshotIndex    uint64    // of the last snapshot taken or restored here; 0: none
	SnapshotAt       time.Time // when the last snapshot was taken here; zero: none was since the start
	SnapshotDuration time.Duration
	Snapshots        uint64 // taken here
	SnapshotFailures uint64
	Restores         uint64
}
