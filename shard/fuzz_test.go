package shard

import (
	"math/rand/v2"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// FuzzApply applies arbitrary bytes as entries, after some that make sense. It
// must answer, never panic, and leave the invariants alone.
func FuzzApply(f *testing.F) {
	rnd := rand.New(rand.NewPCG(1, 2))
	c := newCrowd(rnd)
	for range 40 {
		_, ops := c.entry()
		f.Add(ops, uint16(rnd.IntN(2000)))
	}
	f.Add([]byte{1, 2, 3}, uint16(0))
	f.Fuzz(func(t *testing.T, ops []byte, step uint16) {
		s := sample(7)
		answers, records := 0, 0
		for rest := ops; len(rest) > 0; records++ {
			var err error
			if _, rest, err = wire.NextRecord(rest); err != nil {
				rest = nil
			}
		}
		s.Apply(s.index+1, s.stamp+wire.Millis(step), ops, func(i int, st wire.Status, _ []byte) {
			if i != answers {
				t.Fatalf("answer %d came as number %d", i, answers)
			}
			answers++
		})
		if answers != records {
			t.Fatalf("%d answers to %d records", answers, records)
		}
		s.Apply(s.index+1, s.stamp+1_000_000, ops, nil)
		verifyShard(t, s)
		for rest := ops; len(rest) > 0; {
			r, next, err := wire.NextRecord(rest)
			if err != nil {
				break
			}
			s.Look(r, s.stamp, nil)
			s.Query(r, s.stamp, nil)
			s.Read(r, func(wire.Status, []byte) {})
			rest = next
		}
	})
}

// sample is a shard that a crowd has used for a while, until it has an event with
// some of everything.
func sample(seed uint64) *Shard {
	s := New(Config{Remembered: 100, Window: 3000})
	c := newCrowd(rand.New(rand.NewPCG(seed, 0)))
	for i := uint64(1); i < 100 || busiest(s).holds.size() < 12; i++ {
		c.now += 7
		records, ops := c.entry()
		s.Apply(i, c.now, ops, func(i int, st wire.Status, body []byte) { c.learn(records[i], st, body) })
	}
	return s
}

// busiest is the event with most holds.
func busiest(s *Shard) *Event {
	most := new(Event)
	s.Events(func(e *Event) bool {
		if e.holds.size() >= most.holds.size() {
			most = e
		}
		return true
	})
	return most
}

// FuzzLoadPart loads arbitrary bytes as a part. What is taken must hold all
// invariants, and encode to the same state again; all else is an error.
func FuzzLoadPart(f *testing.F) {
	s := sample(7)
	event := busiest(s)
	manifest, _ := s.EncodePart(nil, manifestPart(event.id))
	state, _ := s.EncodePart(nil, statePart(event.id))
	f.Add(manifest, false)
	f.Add(state, true)
	for id := range s.creations {
		data, _ := s.EncodePart(nil, statePart(id))
		f.Add(data, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, state bool) {
		fresh := New(Config{})
		part := statePart(1)
		if state {
			if err := fresh.LoadPart(manifestPart(1), manifest); err != nil {
				t.Fatal(err)
			}
		} else {
			part = manifestPart(1)
		}
		if fresh.LoadPart(part, data) != nil || fresh.Start(1, 1) != nil {
			return
		}
		verifyShard(t, fresh)
		if again := restored(t, fresh, Config{}); again.Hash() != fresh.Hash() {
			t.Fatal("another hash after encoding and loading again")
		}
		fresh.Apply(1<<63, 1<<40, nil, nil)
		verifyShard(t, fresh)
	})
}

// TestLoadRefusesDamage flips bits of a snapshot's parts. Whatever is still loaded
// is in order; what is not says why.
func TestLoadRefusesDamage(t *testing.T) {
	rnd := newRandom(t)
	s := sample(7)
	event := busiest(s)
	manifest, _ := s.EncodePart(nil, manifestPart(event.id))
	state, _ := s.EncodePart(nil, statePart(event.id))
	refused := 0
	for range 4000 {
		damaged := append([]byte(nil), state...)
		switch rnd.IntN(3) {
		case 0:
			damaged[rnd.IntN(len(damaged))] ^= 1 << rnd.IntN(8)
		case 1:
			damaged = damaged[:rnd.IntN(len(damaged))]
		default:
			damaged = append(damaged, 0)
		}
		fresh := New(Config{})
		if err := fresh.LoadPart(manifestPart(event.id), manifest); err != nil {
			t.Fatal(err)
		}
		if err := fresh.LoadPart(statePart(event.id), damaged); err != nil {
			refused++
			continue
		}
		if err := fresh.Start(s.index, s.stamp); err != nil {
			refused++
			continue
		}
		verifyShard(t, fresh)
	}
	if refused < 2500 {
		t.Errorf("only %d of 4000 damaged parts were refused", refused)
	}
}
