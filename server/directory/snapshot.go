package directory

import (
	"encoding/binary"
)

// partAll is the id of the only part; doc.go says why there is one.
const partAll = 1

// partFormat is the first byte of the part.
const partFormat = 2

// Parts yields the only part.
func (d *Directory) Parts(yield func(id, changed uint64)) { yield(partAll, d.changed) }

// EncodePart appends the whole directory. counted is a u16 length and as many
// bytes:
//
//	u8 format, u64 applied, u64 changed, i64 stamp, 16 bytes cluster
//	u64 version, u64 next number, u64 next event id
//	layout:
//	  u8 replicas of a shard
//	  u16 nodes, each: counted name, u64 number, 16 bytes incarnation,
//	    counted peer, addr, http, admin, u8 draining; by name
//	  u32 shards, each: u64 founder, u64 changed, u8 replicas, each: counted node, u64 number
//	  u8 signing keys, each: u32 id, 32 bytes secret, i64 wall; the newest first
//	u32 events, each: u64 id, u32 shard, u32 to, u64 number, u8 stayed,
//	  counted key, 32 bytes digest; in the order of keys
//	u32 API keys, each: counted name, 32 bytes hash, u8 role; by name
//	u32 audit lines, each: u64 version, i64 wall, counted by, counted what; the oldest first
//	u32 answers, each: 16 bytes id, u64 digest, u16 status, counted body; the oldest first
func (d *Directory) EncodePart(dst []byte, id uint64) (data []byte, ok bool) {
	if id != partAll {
		return dst, false
	}
	dst = append(dst, partFormat)
	for _, v := range []uint64{d.applied, d.changed, uint64(d.stamp)} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	dst = append(dst, d.draft.cluster[:]...)
	for _, v := range []uint64{d.draft.version, d.counter, uint64(d.draft.next)} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	dst = appendLayout(dst, &d.draft.Table)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(d.draft.Len()))
	for e := range d.draft.After("") {
		dst = appendEvent(dst, e)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(d.draft.keys)))
	for i := range d.draft.keys {
		dst = appendKey(dst, &d.draft.keys[i])
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(d.draft.audit)))
	for i := range d.draft.audit {
		dst = appendLine(dst, &d.draft.audit[i])
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(d.memory.ring)))
	for i := range d.memory.ring {
		dst = appendAnswer(dst, d.memory.at(i))
	}
	return dst, true
}

func appendLayout(b []byte, t *Table) []byte {
	b = append(b, byte(t.replication))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(t.nodes)))
	for i := range t.nodes {
		b = appendNode(b, &t.nodes[i])
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.shards)))
	for _, s := range t.shards {
		b = appendShard(b, s)
	}
	b = append(b, byte(len(t.signing)))
	for i := range t.signing {
		k := &t.signing[i]
		b = binary.LittleEndian.AppendUint32(b, k.ID)
		b = append(b, k.Secret[:]...)
		b = binary.LittleEndian.AppendUint64(b, uint64(k.Wall))
	}
	return b
}

func appendNode(b []byte, n *Node) []byte {
	b = appendCounted(b, n.Name)
	b = binary.LittleEndian.AppendUint64(b, n.Number)
	b = append(b, n.Incarnation[:]...)
	for _, addr := range []string{n.Peer, n.Addr, n.HTTP, n.Admin} {
		b = appendCounted(b, addr)
	}
	return appendFlag(b, n.Draining)
}

func appendShard(b []byte, s *Shard) []byte {
	b = binary.LittleEndian.AppendUint64(b, s.Founder)
	b = binary.LittleEndian.AppendUint64(b, s.Changed)
	b = append(b, byte(len(s.Replicas)))
	for _, r := range s.Replicas {
		b = appendCounted(b, r.Node)
		b = binary.LittleEndian.AppendUint64(b, r.Number)
	}
	return b
}

func appendEvent(b []byte, e *Event) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.ID))
	b = binary.LittleEndian.AppendUint32(b, e.Shard)
	b = binary.LittleEndian.AppendUint32(b, e.To)
	b = binary.LittleEndian.AppendUint64(b, e.Number)
	b = appendFlag(b, e.Stayed)
	b = appendCounted(b, e.Key)
	return append(b, e.Digest[:]...)
}

func appendKey(b []byte, k *Key) []byte {
	b = appendCounted(b, k.Name)
	b = append(b, k.Hash[:]...)
	return append(b, byte(k.Role))
}

func appendLine(b []byte, l *AuditLine) []byte {
	b = binary.LittleEndian.AppendUint64(b, l.Version)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.Wall))
	b = appendCounted(b, l.By)
	return appendCounted(b, l.What)
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

func appendFlag(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}
