package raftlog

import (
	"io"

	"github.com/usher-seats/usher/wire"
)

// A partSource is what a snapshot is taken from.
type partSource interface {
	// index is of the snapshot: the last applied entry, and its stamp.
	index() (index, term uint64, stamp wire.Millis)
	// parts is each part's id and the index of its last change, as of index().
	parts() map[uint64]uint64
	// encode appends the part as of now, between two entries. ok is false if it
	// no longer exists; err says that the snapshot is abandoned.
	encode(dst []byte, id uint64) (data []byte, ok bool, err error)
}

// A snapshotHeader opens the stream of a snapshot.
type snapshotHeader struct {
	index, term uint64
	stamp       wire.Millis
	parts       uint64
	size        int64 // of the whole stream, in bytes
}

// readSnapshot reads the stream of a snapshot and returns nil only if all of it
// was there and right. data is only valid during the call of part.
func readSnapshot(r io.Reader, header func(h snapshotHeader) error, part func(id uint64, data []byte) error) error {
	return errNotFound
}
