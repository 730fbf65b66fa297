package directory

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// partAll is the id of the only part; doc.go says why there is one.
const partAll = 1

// partFormat is the first byte of the part.
const partFormat = 1

// Parts yields the only part.
func (d *Directory) Parts(yield func(id, changed uint64)) { yield(partAll, d.changed) }

// EncodePart appends the whole directory:
//
//	u8 format, u64 applied, u64 changed, i64 stamp, 16 bytes cluster, u32 shards, u64 next id
//	u32 events, each: u64 id, u32 shard, u16-counted key, 32 bytes digest; in the order of keys
//	u32 keys, each: u16-counted name, 32 bytes hash, u8 role
//	u32 answers, each: 16 bytes id, u64 digest, u16 status, u16-counted body; the oldest first
func (d *Directory) EncodePart(dst []byte, id uint64) (data []byte, ok bool) {
	if id != partAll {
		return dst, false
	}
	dst = append(dst, partFormat)
	for _, v := range []uint64{d.applied, d.changed, uint64(d.stamp)} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	dst = append(dst, d.draft.cluster[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(d.draft.Shards()))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(d.next))

	dst = binary.LittleEndian.AppendUint32(dst, uint32(d.draft.Len()))
	for e := range d.draft.After("") {
		dst = appendEvent(dst, e)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(d.draft.keys)))
	for i := range d.draft.keys {
		dst = appendKey(dst, &d.draft.keys[i])
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(d.memory.ring)))
	for i := range d.memory.ring {
		dst = appendAnswer(dst, d.memory.at(i))
	}
	return dst, true
}

func appendEvent(b []byte, e *Event) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.ID))
	b = binary.LittleEndian.AppendUint32(b, e.Shard)
	b = appendCounted(b, e.Key)
	return append(b, e.Digest[:]...)
}

func appendKey(b []byte, k *Key) []byte {
	b = appendCounted(b, k.Name)
	b = append(b, k.Hash[:]...)
	return append(b, byte(k.Role))
}

func appendAnswer(b []byte, a *answer) []byte {
	b = append(b, a.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, a.digest)
	b = binary.LittleEndian.AppendUint16(b, uint16(a.status))
	return appendCounted(b, a.body)
}

func appendCounted[T ~string | ~[]byte](b []byte, v T) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(v)))
	return append(b, v...)
}

// errDamaged says that a part does not hold what it counts.
var errDamaged = errors.New("directory: the snapshot part is damaged")

// LoadPart fills a fresh directory. Everything that is derived, such as the
// shards' loads, is counted anew.
func (d *Directory) LoadPart(id uint64, data []byte) error {
	if id != partAll {
		return fmt.Errorf("directory: there is no part %d", id)
	}
	r := partReader{b: data}
	if format := r.u8(); format != partFormat {
		return fmt.Errorf("directory: part has format %d, this program reads %d", format, partFormat)
	}
	d.applied, d.changed, d.stamp = r.u64(), r.u64(), wire.Millis(r.u64())
	d.draft.cluster = wire.ID(r.take(16))
	shards := r.u32()
	if shards > wire.MaxShards {
		return errDamaged
	}
	d.draft.loads = make([]uint32, shards)
	d.next = wire.EventID(r.u64())
	if err := d.loadEvents(&r); err != nil {
		return err
	}
	d.loadKeys(&r)
	d.loadAnswers(&r)
	if r.short || len(r.b) > 0 {
		return errDamaged
	}
	d.draft.dirty = true
	return nil
}

func (d *Directory) loadEvents(r *partReader) error {
	for n := r.u32(); n > 0 && !r.short; n-- {
		e := &Event{ID: wire.EventID(r.u64()), Shard: r.u32(), Key: string(r.counted()), Digest: [32]byte(r.take(32))}
		if r.short {
			break
		}
		if e.ID == 0 || e.ID >= d.next || e.Shard < 1 || int(e.Shard) > d.draft.Shards() ||
			d.draft.Event(e.ID) != nil || d.draft.Find(e.Key) != nil {
			return fmt.Errorf("%w: event %d (%q, shard %d)", errDamaged, e.ID, e.Key, e.Shard)
		}
		d.insert(e)
	}
	return nil
}

func (d *Directory) loadKeys(r *partReader) {
	var keys []Key
	for n := r.u32(); n > 0 && !r.short; n-- {
		keys = append(keys, Key{Name: string(r.counted()), Hash: [32]byte(r.take(32)), Role: wire.Role(r.u8())})
	}
	d.setKeys(keys)
}

func (d *Directory) loadAnswers(r *partReader) {
	for n := r.u32(); n > 0 && !r.short; n-- {
		d.memory.add(answer{
			id:     wire.ID(r.take(16)),
			digest: r.u64(),
			status: wire.Status(r.u16()),
			body:   append([]byte(nil), r.counted()...),
		})
	}
}

// Start makes what was loaded the directory's state. The part may be newer than
// the snapshot's index; Apply skips what it contains.
func (d *Directory) Start(index uint64, stamp wire.Millis) error {
	d.applied = max(d.applied, index)
	d.stamp = max(d.stamp, stamp)
	d.publish()
	return nil
}

// A partReader takes fields off a part. Past the end it yields zeroes and says
// so in short.
type partReader struct {
	b     []byte
	short bool
}

// zeroes stands in for fixed fields that are not there.
var zeroes [32]byte

func (r *partReader) take(n int) []byte {
	if r.short || len(r.b) < n {
		r.short = true
		return zeroes[:min(n, len(zeroes))]
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *partReader) u8() uint8       { return r.take(1)[0] }
func (r *partReader) u16() uint16     { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *partReader) u32() uint32     { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *partReader) u64() uint64     { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *partReader) counted() []byte { return r.take(int(r.u16())) }
