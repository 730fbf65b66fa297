package shard

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/usher-seats/usher/wire"
)

func sum256(b []byte) [32]byte { return sha256.Sum256(b) }

// A driver feeds a shard entries of operations.
type driver struct {
	s     *Shard
	index uint64
	now   wire.Millis
	ops   []byte
	body  []byte
	n     uint64 // ids given
}

func newDriver(c Config) *driver { return &driver{s: New(c), now: 1_000_000} }

// id is a new timed id.
func (d *driver) id() wire.ID {
	d.n++
	var random [10]byte
	binary.LittleEndian.PutUint64(random[2:], d.n*0x9e3779b97f4a7c15)
	return wire.NewID(d.now, random)
}

func (d *driver) add(kind wire.Kind, body []byte) {
	d.ops = wire.Record{Kind: kind, Body: body}.Append(d.ops)
}

func (d *driver) apply(ops []byte, out func(i int, s wire.Status, body []byte)) {
	d.index++
	d.s.Apply(d.index, d.now, ops, out)
}

func (d *driver) create(tb testing.TB, event wire.EventID, m *wire.Manifest) {
	tb.Helper()
	b := m.Encode()
	for at := 0; at < len(b); at += wire.MaxChunk {
		c := wire.Create{
			Mutation: wire.Mutation{Event: event, ID: d.id()},
			Offset:   uint32(at), Total: uint32(len(b)), Digest: sum256(b), Chunk: b[at:min(at+wire.MaxChunk, len(b))],
		}
		ops := wire.Record{Kind: wire.KindCreate, Body: c.Append(nil)}.Append(nil)
		d.apply(ops, func(_ int, s wire.Status, body []byte) {
			if s != wire.StatusOK {
				tb.Fatalf("create: %v %s", s, body)
			}
		})
	}
}
