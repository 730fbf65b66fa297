package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"

	"github.com/usher-seats/usher/wire"
)

// A BackupReader reads a backup from its beginning to its end, and tells when it is
// not as it was written. It holds one event in memory at a time. Owned by the
// goroutine that reads.
type BackupReader struct {
	Cluster wire.ID   // that was backed up
	Began   time.Time // by the clock of the node that made the backup

	r      *bufio.Reader
	sum    *xxhash.Digest
	events uint32
	last   string // key of the latest event
	err    error  // how it ended
}

// errDamaged says that a backup is not as it was written.
var errDamaged = errors.New("the backup is damaged")

// errCutOff says that a backup has no end.
var errCutOff = errors.New("the backup is cut off: it has no trailer")

// OpenBackup reads the beginning of a backup. r is read ahead.
func OpenBackup(r io.Reader) (*BackupReader, error) {
	b := &BackupReader{r: bufio.NewReaderSize(r, 64<<10), sum: xxhash.New()}
	head := make([]byte, len(backupMagic)+len(b.Cluster)+8)
	if err := b.read(head[:len(backupMagic)]); err != nil {
		return nil, err
	}
	if string(head[:len(backupMagic)]) != backupMagic {
		return nil, errors.New("this is no backup that this version of usher knows")
	}
	if err := b.read(head[len(backupMagic):]); err != nil {
		return nil, err
	}
	if err := b.check("at its beginning"); err != nil {
		return nil, err
	}
	b.Cluster = wire.ID(head[len(backupMagic):])
	b.Began = time.UnixMilli(int64(binary.LittleEndian.Uint64(head[len(head)-8:])))
	return b, nil
}

// Next reads the next event. It returns io.EOF behind the last one of a backup that
// is whole, and nothing else does. The event's image is as it was written; Verify
// looks whether it can be restored.
func (b *BackupReader) Next() (*BackupEvent, error) {
	if b.err != nil {
		return nil, b.err
	}
	e, err := b.next()
	b.err = err
	return e, err
}

func (b *BackupReader) next() (*BackupEvent, error) {
	var tag [1]byte
	if err := b.read(tag[:]); err != nil {
		return nil, err
	}
	switch tag[0] {
	case tagEvent:
		return b.event()
	case tagTrailer:
		return nil, b.trailer()
	}
	return nil, fmt.Errorf("%w after %d events", errDamaged, b.events)
}

func (b *BackupReader) event() (*BackupEvent, error) {
	var length [1]byte
	if err := b.read(length[:]); err != nil {
		return nil, err
	}
	keyLen := int(length[0])
	if keyLen == 0 || keyLen > wire.MaxKeyLen {
		return nil, fmt.Errorf("%w after %d events", errDamaged, b.events)
	}
	head := make([]byte, keyLen+factsSize+2*4)
	if err := b.read(head); err != nil {
		return nil, err
	}
	if err := b.check(fmt.Sprintf("after %d events", b.events)); err != nil {
		return nil, err
	}
	e := &BackupEvent{Key: string(head[:keyLen])}
	e.readFacts(head[keyLen:])
	size := binary.LittleEndian.Uint32(head[len(head)-8:])
	packed := binary.LittleEndian.Uint32(head[len(head)-4:])
	switch {
	case size > wire.MaxImage || packed == 0 || int64(packed) > int64(s2.MaxEncodedLen(int(size))):
		return nil, fmt.Errorf("event %q in the backup has an image of %d bytes, packed to %d: that is none", e.Key, size, packed)
	case e.Key <= b.last:
		return nil, fmt.Errorf("event %q in the backup comes after event %q: they are not in their order", e.Key, b.last)
	}
	var err error
	if e.packed, err = b.readLong(int64(packed)); err != nil {
		return nil, err
	}
	if err := b.check(fmt.Sprintf("in event %q", e.Key)); err != nil {
		return nil, err
	}
	e.Size = int(size)
	b.last = e.Key
	b.events++
	return e, nil
}

func (b *BackupReader) trailer() error {
	var count [4]byte
	if err := b.read(count[:]); err != nil {
		return err
	}
	if err := b.check("in its trailer"); err != nil {
		return err
	}
	if n := binary.LittleEndian.Uint32(count[:]); n != b.events {
		return fmt.Errorf("%w: it has %d events and should have %d", errDamaged, b.events, n)
	}
	if _, err := b.r.ReadByte(); !errors.Is(err, io.EOF) {
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		return fmt.Errorf("%w: it goes on after its end", errDamaged)
	}
	return io.EOF
}

// check reads a sum and compares it with that of all before it.
func (b *BackupReader) check(where string) error {
	want := b.sum.Sum64()
	var sum [8]byte
	if err := b.read(sum[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint64(sum[:]) != want {
		return fmt.Errorf("%w %s", errDamaged, where)
	}
	return nil
}

// read fills p.
func (b *BackupReader) read(p []byte) error {
	_, err := io.ReadFull(b.r, p)
	_, _ = b.sum.Write(p) // never fails
	return readError(err)
}

// readLong reads n bytes, and takes memory as they come.
func (b *BackupReader) readLong(n int64) ([]byte, error) {
	var p bytes.Buffer
	if _, err := io.CopyN(io.MultiWriter(&p, b.sum), b.r, n); err != nil {
		return nil, readError(err)
	}
	return p.Bytes(), nil
}

func readError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errCutOff
	}
	return fmt.Errorf("read the backup: %w", err)
}
