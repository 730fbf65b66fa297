package shard

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"

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
	for _, ops := range moveOps(f, sample(7)) {
		f.Add(ops, uint16(rnd.IntN(2000)))
	}
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

// moveOps are entries with the steps of moves that the events of a shard go on.
func moveOps(tb testing.TB, s *Shard) (entries [][]byte) {
	id := busiest(s).id
	image, ok := s.AppendImage(nil, id)
	info, err := CheckImage(image)
	if !ok || err != nil {
		tb.Fatal(err)
	}
	m := wire.Mutation{Event: id}
	out := slices.Concat(
		wire.Record{Kind: wire.KindFreeze, Body: (&wire.Freeze{Mutation: m, Number: 3}).Append(nil)}.Append(nil),
		wire.Record{Kind: wire.KindThaw, Body: (&wire.Numbered{Mutation: m, Number: 3}).Append(nil)}.Append(nil),
		wire.Record{Kind: wire.KindFreeze, Body: (&wire.Freeze{Mutation: m, Number: 4}).Append(nil)}.Append(nil),
		wire.Record{Kind: wire.KindDrop, Body: (&wire.Numbered{Mutation: m, Number: 4}).Append(nil)}.Append(nil),
	)
	for _, id := range []wire.EventID{id, 900} {
		m.Event = id
		replay := wire.Replay{Mutation: m, Number: 5, Attempt: 1, After: info.Index}
		replay.Entries = wire.AppendReplayed(nil, info.Index+1, info.Stamp+1, nil)
		entries = append(entries, slices.Concat(out,
			wire.Record{Kind: wire.KindImport, Body: (&wire.Import{Mutation: m, Number: 5, Attempt: 1, Total: uint32(len(image)), Chunk: image}).Append(nil)}.Append(nil),
			wire.Record{Kind: wire.KindReplay, Body: replay.Append(nil)}.Append(nil),
			wire.Record{Kind: wire.KindAdopt, Body: (&wire.Adopt{Mutation: m, Number: 5, Attempt: 1, Hash: info.Hash, Now: info.Now + 1}).Append(nil)}.Append(nil),
			wire.Record{Kind: wire.KindFreeze, Body: (&wire.Freeze{Mutation: m, Number: 6}).Append(nil)}.Append(nil),
		))
	}
	return entries
}

// FuzzImage takes arbitrary bytes for the state in an image whose checksum is
// right, and for entries that are replayed on it. What is adopted must hold all
// invariants and go on like any event; all else is an error.
func FuzzImage(f *testing.F) {
	s := sample(7)
	event := busiest(s)
	image, _ := s.AppendImage(nil, event.id)
	r := partReader{b: image[1+8+8:]}
	manifest := r.take(int(r.u32()))
	state := r.take(int(r.u32()))
	c := newCrowd(rand.New(rand.NewPCG(1, 2)))
	c.born = 3
	_, ops := c.entry()
	f.Add(state, wire.AppendReplayed(nil, s.index+1, s.stamp+500, ops), uint16(100))
	f.Add(state, wire.AppendReplayed(nil, 1<<62, lastTime, nil), uint16(0))
	f.Fuzz(func(t *testing.T, state, entries []byte, step uint16) {
		if _, err := CheckImage(state); err == nil {
			t.Fatal("a state is no image")
		}
		b := appendU64(appendU64([]byte{imageFormat}, s.index), uint64(s.stamp))
		b = append(appendU32(b, uint32(len(manifest))), manifest...)
		b = append(appendU32(b, uint32(len(state))), state...)
		b = appendU64(b, xxhash.Sum64(b))
		info, err := CheckImage(b)
		if err != nil {
			return
		}
		m := wire.Mutation{Event: 900}
		to := New(Config{Remembered: 100, Window: 3000})
		to.Apply(1, 50_000, slices.Concat(
			wire.Record{Kind: wire.KindImport, Body: (&wire.Import{Mutation: m, Number: 5, Total: uint32(len(b)), Chunk: b}).Append(nil)}.Append(nil),
			wire.Record{Kind: wire.KindReplay, Body: (&wire.Replay{Mutation: m, Number: 5, After: info.Index, Entries: entries}).Append(nil)}.Append(nil),
		), nil)
		verifyShard(t, to)
		if again := restored(t, to, to.config); again.Hash() != to.Hash() {
			t.Fatal("a stage has another hash after encoding and loading again")
		}
		st := to.stages[900]
		if st == nil || st.shard == nil {
			return
		}
		e := st.shard.Event(900)
		a := wire.Adopt{Mutation: m, Number: 5, Hash: e.hash(), Now: e.Now(st.shard.stamp) + wire.Millis(step)}
		to.Apply(2, 50_000+wire.Millis(step), wire.Record{Kind: wire.KindAdopt, Body: a.Append(nil)}.Append(nil), func(_ int, st wire.Status, body []byte) {
			if st == wire.StatusOK != (to.Event(900) != nil) {
				t.Fatalf("%v %s", st, body)
			}
		})
		c := newCrowd(rand.New(rand.NewPCG(uint64(step), 2)))
		for i := range uint64(20) {
			c.now, c.born = 50_000+wire.Millis(i*300), 903
			if e := to.Event(900); e != nil {
				c.now = e.Now(c.now)
			}
			_, ops := c.entry()
			to.Apply(3+i, 60_000+wire.Millis(i*300), ops, nil)
			verifyShard(t, to)
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
