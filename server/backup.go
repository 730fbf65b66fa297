package server

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"

	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

// A backup is a stream of bytes; all numbers are little-endian, lengths in bytes:
//
//	head:     "UshBack1", 16 bytes cluster id, i64 Unix milliseconds at the
//	          beginning, sum
//	event:    u8 1, u8 length, key, facts, u32 length of the image,
//	          u32 length of the packed image, sum, packed image, sum
//	trailer:  u8 2, u32 number of events, sum; nothing comes after it
//	facts:    u64 entry of its shard's log, i64 event's time, u64 version,
//	          u64 hash, u32 free, u32 held, u32 booked, u32 blocked seats,
//	          u32 live holds, u32 bookings
//
// Every sum is the u64 xxhash of all bytes of the stream before it. So a length is
// known to be right before anything is allocated for it, an image before it is
// unpacked, and an event that is missing, doubled or from another backup breaks the
// next sum. What has no trailer is no backup. Events come in the order of their
// keys. An image is what shard.AppendImage makes, packed as one s2 block.
//
// Each event is as it was between two entries of its shard's log, after the backup
// had begun; different events are of different moments. Keys of the API, keys that
// sign, nodes and shards are in no backup.
const (
	backupMagic = "UshBack1"

	tagEvent   = 1
	tagTrailer = 2

	factsSize = 4*8 + 6*4
)

// A BackupEvent is an event in a backup. Immutable.
type BackupEvent struct {
	Key      string
	Index    uint64       // entry of its shard's log after which it was imaged
	Now      wire.Millis  // the event's time then
	Version  wire.Version // then
	Hash     uint64       // of the event, whatever shard it is in
	Seats    wire.Counts
	Holds    int // that are live
	Bookings int
	Size     int // of the image, in bytes

	packed []byte // the image
}

// newBackupEvent describes an image and keeps it. It proves that the image can be
// restored.
func newBackupEvent(p packedImage) (*BackupEvent, error) {
	e := &BackupEvent{Size: p.size, packed: p.packed}
	_, info, err := e.unpack()
	if err != nil {
		return nil, err
	}
	m, err := wire.DecodeManifest(info.Manifest)
	if err != nil {
		return nil, err
	}
	e.Key = m.Key
	e.setFacts(&info)
	return e, nil
}

// PackedSize is the length of the image in the backup, in bytes.
func (e *BackupEvent) PackedSize() int { return len(e.packed) }

// Verify looks whether the event can be restored.
func (e *BackupEvent) Verify() error {
	_, _, err := e.open()
	return err
}

// open unpacks the image of an event that was read, and checks that it is the event
// that the backup says it is.
func (e *BackupEvent) open() (image []byte, info shard.ImageInfo, err error) {
	image, info, err = e.unpack()
	if err != nil {
		return nil, info, fmt.Errorf("event %q in the backup: %w", e.Key, err)
	}
	m, err := wire.DecodeManifest(info.Manifest)
	if err != nil {
		return nil, info, fmt.Errorf("event %q in the backup: %w", e.Key, err)
	}
	real := BackupEvent{Key: m.Key}
	real.setFacts(&info)
	if real.Key != e.Key || string(real.appendFacts(nil)) != string(e.appendFacts(nil)) {
		return nil, info, fmt.Errorf("event %q in the backup is not what the backup says about it", e.Key)
	}
	return image, info, nil
}

func (e *BackupEvent) unpack() (image []byte, info shard.ImageInfo, err error) {
	if n, err := s2.DecodedLen(e.packed); err != nil || n != e.Size {
		return nil, info, fmt.Errorf("its packed image is not one of %d bytes", e.Size)
	}
	if image, err = s2.Decode(nil, e.packed); err != nil {
		return nil, info, fmt.Errorf("unpack its image: %w", err)
	}
	info, err = shard.CheckImage(image)
	return image, info, err
}

func (e *BackupEvent) setFacts(i *shard.ImageInfo) {
	e.Index, e.Now, e.Version, e.Hash = i.Index, i.Now, i.Version, i.Hash
	e.Seats, e.Holds, e.Bookings = i.Seats, i.Holds, i.Bookings
}

func (e *BackupEvent) appendFacts(b []byte) []byte {
	for _, v := range []uint64{e.Index, uint64(e.Now), uint64(e.Version), e.Hash} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	for _, v := range []uint32{e.Seats.Free, e.Seats.Held, e.Seats.Booked, e.Seats.Blocked, uint32(e.Holds), uint32(e.Bookings)} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// readFacts reads what appendFacts appends.
func (e *BackupEvent) readFacts(b []byte) {
	long := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	short := func(i int) uint32 { return binary.LittleEndian.Uint32(b[32+4*i:]) }
	e.Index, e.Now, e.Version, e.Hash = long(0), wire.Millis(long(1)), wire.Version(long(2)), long(3)
	e.Seats = wire.Counts{Free: short(0), Held: short(1), Booked: short(2), Blocked: short(3)}
	e.Holds, e.Bookings = int(short(4)), int(short(5))
}

// A backupWriter writes a backup. After an error it is of no use. Owned by the
// goroutine that makes the backup.
type backupWriter struct {
	w      io.Writer
	sum    *xxhash.Digest
	events uint32
}

// newBackupWriter begins a backup.
func newBackupWriter(w io.Writer, cluster wire.ID, began time.Time) (*backupWriter, error) {
	b := &backupWriter{w: w, sum: xxhash.New()}
	head := append([]byte(backupMagic), cluster[:]...)
	head = binary.LittleEndian.AppendUint64(head, uint64(began.UnixMilli()))
	return b, b.write(head)
}

// event adds an event, whose key is greater than the last one's.
func (b *backupWriter) event(e *BackupEvent) error {
	head := append([]byte{tagEvent, byte(len(e.Key))}, e.Key...)
	head = e.appendFacts(head)
	head = binary.LittleEndian.AppendUint32(head, uint32(e.Size))
	head = binary.LittleEndian.AppendUint32(head, uint32(len(e.packed)))
	if err := b.write(head); err != nil {
		return err
	}
	b.events++
	return b.write(e.packed)
}

// end makes a backup of what was written.
func (b *backupWriter) end() error {
	return b.write(binary.LittleEndian.AppendUint32([]byte{tagTrailer}, b.events))
}

// write writes p and the sum of all up to its end.
func (b *backupWriter) write(p []byte) error {
	_, _ = b.sum.Write(p) // never fails
	if _, err := b.w.Write(p); err != nil {
		return err
	}
	sum := binary.LittleEndian.AppendUint64(nil, b.sum.Sum64())
	_, _ = b.sum.Write(sum)
	_, err := b.w.Write(sum)
	return err
}
