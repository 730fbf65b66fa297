package shard

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

// An image is an event by itself, for a move or a backup:
//
//	u8 format, u64 entry it was taken after, i64 stamp of that entry,
//	u32 length, manifest part, u32 length, state part, u64 xxhash of all before
//
// The parts are those of a snapshot, without a stage, and with all pages of visitors
// in the state.
const imageFormat = 2

// AppendImage appends the image of an event as of the latest entry. ok is false if
// the shard has no such event, or one that was loaded from later than that.
// Cost: as EncodePart, and as much again for the checksum.
func (s *Shard) AppendImage(dst []byte, id wire.EventID) (image []byte, ok bool) {
	e := s.find(id)
	if e == nil || e.loadedAt > s.index {
		return dst, false
	}
	start := len(dst)
	dst = append(dst, imageFormat)
	dst = appendU64(appendU64(dst, s.index), uint64(s.stamp))
	dst = appendCounted(dst, func(b []byte) []byte { return appendManifestPart(b, e.created, e.manifest) })
	dst = appendCounted(dst, func(b []byte) []byte {
		b = s.appendHeader(b, id, formEvent, e.changed)
		return e.appendState(appendU32(b, 0), nil, true)
	})
	return appendU64(dst, xxhash.Sum64(dst[start:])), true
}

// appendCounted appends what f appends, after its length.
func appendCounted(dst []byte, f func([]byte) []byte) []byte {
	start := len(dst) + 4
	dst = f(appendU32(dst, 0))
	binary.LittleEndian.PutUint32(dst[start-4:], uint32(len(dst)-start))
	return dst
}

// ImageInfo describes the event in an image.
type ImageInfo struct {
	Index    uint64      // entry after which the image was taken
	Stamp    wire.Millis // shard time then
	Now      wire.Millis // the event's time then
	Epoch    uint16
	Version  wire.Version
	Manifest []byte   // encoded
	Digest   [32]byte // of Manifest
	Hash     uint64   // what an Adopt quotes if the event is to be restored
	Origin   uint64   // what the Adopt quoted that brought the event to where the image was taken; 0: none has
	Seats    wire.Counts
	Holds    int // that are live
	Bookings int
}

// CheckImage verifies an image as if the event was to be restored, and describes
// it. It keeps no reference to b.
func CheckImage(b []byte) (ImageInfo, error) {
	const anyID = 1
	s, err := openImage(Config{}, anyID, b)
	if err != nil {
		return ImageInfo{}, err
	}
	e := s.Event(anyID)
	info := ImageInfo{
		Index: s.index, Stamp: s.stamp, Now: e.Now(s.stamp), Epoch: e.epoch, Version: e.Version(),
		Manifest: e.manifest, Digest: e.digest, Hash: e.hash(), Origin: e.journey.origin,
	}
	p := s.copyPlanes(e)
	var counts wire.EventInfo
	e.lay.counts(p.taken, p.booked, p.blocked, &counts)
	info.Seats = counts.Total
	e.eachHold(func(_ uint32, h *hold) {
		if h.live() {
			info.Holds++
		}
		if h.booked != 0 {
			info.Bookings++
		}
	})
	return info, nil
}

// openImage makes a shard that has only the event of an image, under an id.
func openImage(c Config, id wire.EventID, b []byte) (*Shard, error) {
	const least = 1 + 8 + 8 + 4 + 4 + 8
	if len(b) < least || b[0] != imageFormat {
		return nil, errors.New("shard: these bytes are no image of an event that this version knows")
	}
	content, sum := b[:len(b)-8], binary.LittleEndian.Uint64(b[len(b)-8:])
	if xxhash.Sum64(content) != sum {
		return nil, errors.New("shard: the image is damaged: its checksum is wrong")
	}
	r := partReader{b: content[1:]}
	index, stamp := r.u64(), wire.Millis(r.u64())
	manifest := r.take(int(r.u32()))
	state := r.take(int(r.u32()))
	if err := r.finish(); err != nil {
		return nil, fmt.Errorf("shard: the image: %w", err)
	}
	s := New(c)
	s.staged = true
	if err := errors.Join(s.LoadPart(manifestPart(id), manifest), s.LoadPart(statePart(id), state)); err != nil {
		return nil, err
	}
	if stamp < 0 || stamp > lastTime {
		return nil, fmt.Errorf("shard: the image was taken at the stamp %d", stamp)
	}
	if err := s.Start(index, stamp); err != nil {
		return nil, err
	}
	if s.Event(id) == nil || len(s.stages) > 0 || len(s.waiting) > 0 {
		return nil, errors.New("shard: the image has not just one event")
	}
	return s, nil
}
