package shard

import (
	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

// Hash is the same on replicas with the same history, however they got there. It
// covers all that is replicated, and the order in which things will be forgotten.
// Not while Apply runs.
func (s *Shard) Hash() uint64 {
	var b []byte
	under := func(id wire.EventID, form byte) []byte { return append(appendU64(b[:0], uint64(id)), form) }
	total := xxhash.Sum64(appendU64(nil, uint64(s.stamp)))
	s.Events(func(e *Event) bool {
		// Mixed once more, or equal records of two events could change places.
		b = appendU64(e.appendPlace(under(e.id, formEvent)), e.hash())
		total += xxhash.Sum64(b)
		return true
	})
	for id, c := range s.creations {
		b = c.append(under(id, formCreation))
		total += xxhash.Sum64(b)
	}
	for id, d := range s.deletions {
		b = append(under(id, formDeletion), d.id[:]...)
		total += xxhash.Sum64(b)
	}
	for id, d := range s.departures {
		b = d.append(under(id, formDeparture))
		total += xxhash.Sum64(b)
	}
	for id, st := range s.stages {
		b = st.appendHead(under(id, formNothing))
		if b = append(b, st.bytes...); st.shard != nil {
			b = appendU64(appendU64(b, st.shard.index), st.shard.Hash())
		}
		total += xxhash.Sum64(b)
	}
	if len(s.berths.of) > 0 {
		b = s.berths.append(b[:0])
		total += xxhash.Sum64(b)
	}
	return total
}

// hash is that of an event by itself, which it takes along into another shard:
// without its id, and without anything that belongs to the place where it is.
func (e *Event) hash() uint64 {
	b := append([]byte(nil), e.digest[:]...)
	total := xxhash.Sum64(e.appendRoomSums(e.appendSettings(b)))
	ended := uint32(0)
	e.eachHold(func(i uint32, h *hold) {
		place := uint32(0)
		if h.owned() == 0 {
			ended++
			place = ended
		}
		b = e.appendHold(appendU32(b[:0], place), i, h)
		total += xxhash.Sum64(b)
	})
	place := uint32(0)
	for i := e.memory.memos.head; i != none; {
		m := e.memos.at(i)
		place++
		b = e.appendMemo(appendU32(b[:0], place), m)
		total += xxhash.Sum64(b)
		i = m.next
	}
	return total
}
