package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// An entry of the log, little-endian:
//
//	0  u8   format
//	1  u64  token of the proposer: random per start of a group on a node
//	9  u64  sequence number of the entry, counted by the proposer
//	17 i64  stamp: shard time when it was proposed; 0: the last one
//	25 u32  number of records
//	29 …    records
//
// Token and number find the batches that wait for the entry, on the node that
// proposed it and in the process that did; anybody else just applies it.
const (
	entryFormat = 1
	entryHeader = 29

	// maxEntryOps and maxEntryBytes bound an entry, header included, and with it
	// the work of an Apply and what the log writes at once.
	maxEntryOps   = 4_096
	maxEntryBytes = 256 << 10
)

var errEntryShort = errors.New("log entry is shorter than its header")

type entry struct {
	token uint64
	seq   uint64
	stamp wire.Millis
	count int
	ops   []byte // aliases the entry it was decoded from
}

// appendHeader appends the header of an entry whose records follow.
func (e *entry) appendHeader(b []byte) []byte {
	b = append(b, entryFormat)
	b = binary.LittleEndian.AppendUint64(b, e.token)
	b = binary.LittleEndian.AppendUint64(b, e.seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.stamp))
	return binary.LittleEndian.AppendUint32(b, uint32(e.count))
}

func (e *entry) decode(b []byte) error {
	if len(b) < entryHeader {
		return errEntryShort
	}
	if b[0] != entryFormat {
		return fmt.Errorf("log entry has format %d, this version knows %d", b[0], entryFormat)
	}
	e.token = binary.LittleEndian.Uint64(b[1:])
	e.seq = binary.LittleEndian.Uint64(b[9:])
	e.stamp = wire.Millis(binary.LittleEndian.Uint64(b[17:]))
	e.count = int(binary.LittleEndian.Uint32(b[25:]))
	e.ops = b[entryHeader:]
	return nil
}
