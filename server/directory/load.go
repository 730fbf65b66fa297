package directory

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// errDamaged says that a part does not hold what it counts, or what no directory
// has ever held.
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
	d.draft.version, d.counter, d.draft.next = r.u64(), r.u64(), wire.EventID(r.u64())
	if d.counter < firstNumber || d.draft.next < 1 {
		return errDamaged
	}
	for _, load := range []func(*partReader) error{
		d.loadNodes, d.loadShards, d.loadSigning, d.loadEvents, d.loadKeys, d.loadAudit, d.loadAnswers,
	} {
		if err := load(&r); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		if r.wrong {
			return errDamaged
		}
	}
	if len(r.b) > 0 {
		return errDamaged
	}
	d.relayout()
	return nil
}

func (d *Directory) loadNodes(r *partReader) error {
	d.draft.replication = int(r.u8())
	if d.draft.replication > wire.MaxReplicas {
		return fmt.Errorf("%d replicas of a shard", d.draft.replication)
	}
	var nodes []Node
	for n := r.u16(); n > 0 && !r.wrong; n-- {
		node := Node{Name: string(r.counted()), Number: r.u64(), Incarnation: [16]byte(r.take(16))}
		for _, addr := range []*string{&node.Peer, &node.Addr, &node.HTTP, &node.Admin} {
			*addr = string(r.counted())
		}
		node.Draining = r.flag()
		if r.wrong {
			break
		}
		if err := errors.Join(checkNode(&node), clash(nodes, &node)); err != nil {
			return err
		}
		if len(nodes) >= wire.MaxNodes || node.Number < 1 || node.Number >= d.counter ||
			len(nodes) > 0 && nodes[len(nodes)-1].Name >= node.Name {
			return fmt.Errorf("node %s, number %d", node.Name, node.Number)
		}
		nodes = append(nodes, node)
	}
	d.draft.setNodes(nodes)
	return nil
}

func (d *Directory) loadShards(r *partReader) error {
	n := r.u32()
	if n > wire.MaxShards || (n == 0) != (len(d.draft.nodes) == 0) || (n == 0) != (d.draft.replication == 0) {
		return fmt.Errorf("%d shards of %d replicas on %d nodes", n, d.draft.replication, len(d.draft.nodes))
	}
	for id := uint32(1); id <= n && !r.wrong; id++ {
		s := &Shard{ID: id, Founder: r.u64(), Changed: r.u64()}
		for k := r.u8(); k > 0 && !r.wrong; k-- {
			replica := Replica{Node: string(r.counted()), Number: r.u64()}
			if node := d.draft.Node(replica.Node); !r.wrong &&
				(node == nil || node.Draining || s.on(node.Name) || replica.Number < firstNumber || replica.Number >= d.counter) {
				return fmt.Errorf("shard %d, replica %d on %q", id, replica.Number, replica.Node)
			}
			s.Replicas = append(s.Replicas, replica)
		}
		if !r.wrong && (len(s.Replicas) < 1 || len(s.Replicas) > wire.MaxReplicas || s.Changed < firstNumber || s.Changed >= d.counter || s.Founder < firstNumber || s.Founder >= d.counter) {
			return fmt.Errorf("shard %d has %d replicas, change %d, founder %d", id, len(s.Replicas), s.Changed, s.Founder)
		}
		d.draft.shards = append(d.draft.shards, s)
	}
	return nil
}

func (d *Directory) loadSigning(r *partReader) error {
	n := int(r.u8())
	if n > goodKeys || (n == 0) != (d.draft.Shards() == 0) {
		return fmt.Errorf("%d signing keys", n)
	}
	for range n {
		k := SigningKey{ID: r.u32(), Secret: [32]byte(r.take(32)), Wall: int64(r.u64())}
		d.draft.signing = append(d.draft.signing, k)
	}
	return nil
}

func (d *Directory) loadEvents(r *partReader) error {
	for n := r.u32(); n > 0 && !r.wrong; n-- {
		e := &Event{ID: wire.EventID(r.u64()), Shard: r.u32(), To: r.u32(), Number: r.u64(), Stayed: r.flag(),
			Key: string(r.counted()), Digest: [32]byte(r.take(32))}
		if r.wrong {
			break
		}
		if e.ID == 0 || e.ID >= d.draft.next || e.Number < firstNumber || e.Number >= d.counter || len(e.Key) == 0 ||
			d.draft.Shard(e.Shard) == nil || e.To == e.Shard || e.To != 0 && (d.draft.Shard(e.To) == nil || e.Stayed) ||
			d.draft.Event(e.ID) != nil || d.draft.Find(e.Key) != nil {
			return fmt.Errorf("event %d (%q, shard %d, to %d, number %d)", e.ID, e.Key, e.Shard, e.To, e.Number)
		}
		d.insert(e)
	}
	return nil
}

func (d *Directory) loadKeys(r *partReader) error {
	var keys []Key
	for n := r.u32(); n > 0 && !r.wrong; n-- {
		k := Key{Name: string(r.counted()), Hash: [32]byte(r.take(32)), Role: wire.Role(r.u8())}
		if len(keys) > 0 && keys[len(keys)-1].Name >= k.Name && !r.wrong {
			return fmt.Errorf("API key %q", k.Name)
		}
		keys = append(keys, k)
	}
	d.setKeys(keys)
	return nil
}

func (d *Directory) loadAudit(r *partReader) error {
	n := r.u32()
	if n > maxAudit {
		return fmt.Errorf("%d audit lines", n)
	}
	last := uint64(0)
	for ; n > 0 && !r.wrong; n-- {
		line := AuditLine{Version: r.u64(), Wall: int64(r.u64()), By: string(r.counted()), What: string(r.counted())}
		if !r.wrong && (line.Version <= last || line.Version > d.draft.version) {
			return fmt.Errorf("audit line of version %d after %d, of %d", line.Version, last, d.draft.version)
		}
		last = line.Version
		d.log(line)
	}
	return nil
}

func (d *Directory) loadAnswers(r *partReader) error {
	n := r.u32()
	if n > remembered {
		return fmt.Errorf("%d answers", n)
	}
	for ; n > 0 && !r.wrong; n-- {
		a := answer{
			id:     wire.ID(r.take(16)),
			digest: r.u64(),
			status: wire.Status(r.u16()),
			body:   append([]byte(nil), r.counted()...),
		}
		if d.memory.find(a.id) != nil {
			return fmt.Errorf("two answers to request %v", a.id)
		}
		d.memory.add(a)
	}
	return nil
}

// Start makes what was loaded the directory's state. The part may be newer than
// the snapshot's index; Apply skips what it contains.
func (d *Directory) Start(index uint64, stamp wire.Millis) error {
	d.applied = max(d.applied, index)
	d.stamp = max(d.stamp, stamp)
	d.publish()
	return nil
}

// A partReader takes fields off a part. Past the end, and after a field that
// cannot be, it yields zeroes and says so in wrong.
type partReader struct {
	b     []byte
	wrong bool
}

// zeroes stands in for fixed fields that are not there.
var zeroes [32]byte

func (r *partReader) take(n int) []byte {
	if r.wrong || len(r.b) < n {
		r.wrong = true
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

func (r *partReader) flag() bool {
	v := r.u8()
	r.wrong = r.wrong || v > 1
	return v == 1
}
