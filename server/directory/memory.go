package directory

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

// remembered is how many operations the directory answers again when they are
// repeated. There is no floor as in a shard: an operation that old finds the
// event or key as it is now, and assigning and storing a key repeat themselves
// harmlessly.
const remembered = 4096

// An answer is what an operation was told.
type answer struct {
	id     wire.ID
	digest uint64 // of kind and body, so that an id is not used for two things
	status wire.Status
	body   []byte
}

func (a *answer) hash() uint64 {
	b := append(make([]byte, 0, 128), a.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, a.digest)
	b = binary.LittleEndian.AppendUint16(b, uint16(a.status))
	return xxhash.Sum64(append(b, a.body...))
}

// memory holds the last answers, oldest first. The applier owns it.
type memory struct {
	ring  []answer
	first int // the oldest of ring, once ring is full
	index map[wire.ID]int
	sum   uint64 // of the hashes of what is in ring
}

func newMemory() memory { return memory{index: make(map[wire.ID]int)} }

// find is the answer that the id was given, or nil.
func (m *memory) find(id wire.ID) *answer {
	if i, ok := m.index[id]; ok {
		return &m.ring[i]
	}
	return nil
}

// add remembers an answer and forgets the oldest if there are too many.
func (m *memory) add(a answer) {
	m.sum += a.hash()
	if len(m.ring) < remembered {
		m.index[a.id] = len(m.ring)
		m.ring = append(m.ring, a)
		return
	}
	old := &m.ring[m.first]
	m.sum -= old.hash()
	delete(m.index, old.id)
	*old = a
	m.index[a.id] = m.first
	m.first = (m.first + 1) % remembered
}

// at is the i-th oldest answer.
func (m *memory) at(i int) *answer { return &m.ring[(m.first+i)%len(m.ring)] }

// digestOf tells two requests apart: by all but their id and deadline, which a
// repeated request may have anew. The first 8 bytes of a Mutation are the event.
func digestOf(k wire.Kind, body []byte) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(uint64(k))
	_, _ = d.Write(body[:8])
	_, _ = d.Write(body[wire.MutationSize:])
	return d.Sum64()
}
