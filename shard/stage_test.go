package shard

import (
	"slices"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// importOp is the first bytes of an image that is not there.
func importOp(event wire.EventID, n moveNumber, total uint32) []byte {
	o := wire.Import{Mutation: wire.Mutation{Event: event}, Number: n.number, Attempt: n.attempt, Total: total, Chunk: []byte{imageFormat}}
	return wire.Record{Kind: wire.KindImport, Body: o.Append(nil)}.Append(nil)
}

func adoptOp(event wire.EventID, n moveNumber) []byte {
	o := wire.Adopt{Mutation: wire.Mutation{Event: event}, Number: n.number, Attempt: n.attempt}
	return wire.Record{Kind: wire.KindAdopt, Body: o.Append(nil)}.Append(nil)
}

// TestVanishedStagesAreSkipped: a stage that was there when a snapshot began, and
// is gone when its part is encoded, refused an earlier attempt meanwhile. A replica
// that is restored must not begin that attempt.
func TestVanishedStagesAreSkipped(t *testing.T) {
	config := Config{Window: 1000}
	s := New(config)
	log := []logged{
		{100, importOp(5, moveNumber{1, 2}, 9)},
		{200, importOp(5, moveNumber{1, 1}, 9)},
		{1100, nil},
	}
	s.Apply(1, log[0].stamp, log[0].ops, nil)
	snap := beginSnapshot(s)
	for i, l := range log[1:] {
		s.Apply(uint64(i+2), l.stamp, l.ops, nil)
	}
	if len(s.stages) > 0 {
		t.Fatalf("stages %v are there after a window", s.stages)
	}
	rnd := newRandom(t)
	for !snap.done(rnd, s) {
	}
	copied := snap.load(t, config)
	for i, l := range log[1:] {
		copied.Apply(uint64(i+2), l.stamp, l.ops, nil)
	}
	if copied.Hash() != s.Hash() {
		t.Errorf("hash differs%s", difference(s, copied))
	}
}

// TestStagesAreBounded: there is room for so many stages and so many bytes, also
// in a shard that is restored from a snapshot whose stages had come and gone when
// their parts were encoded. One that leaves makes room.
func TestStagesAreBounded(t *testing.T) {
	d := newDriver(Config{})
	var refused []int
	n := 0
	apply := func(ops []byte) {
		d.apply(ops, func(_ int, s wire.Status, body []byte) {
			if s == wire.StatusTooLarge {
				refused = append(refused, n)
			}
			n++
		})
	}
	for i := range wire.EventID(maxStages + 1) {
		apply(importOp(100+i, moveNumber{1, 1}, 1000))
	}
	snap := beginSnapshot(d.s)
	index := d.index
	var log []logged
	next := func(ops []byte) {
		log = append(log, logged{d.now, ops})
		apply(ops)
	}
	next(importOp(7, moveNumber{1, 1}, 1000)) // refused
	next(adoptOp(101, moveNumber{1, 1}))      // refused for another reason, and gone
	next(importOp(8, moveNumber{1, 1}, maxStaged))
	next(importOp(8, moveNumber{1, 1}, maxStaged-(maxStages-1)*1000))
	next(importOp(8, moveNumber{1, 2}, maxStaged-(maxStages-1)*1000+1))
	next(importOp(101, moveNumber{1, 2}, 1))
	next(adoptOp(8, moveNumber{1, 1}))
	next(importOp(101, moveNumber{1, 2}, 1000))
	if want := []int{maxStages, maxStages + 1, maxStages + 3, maxStages + 5, maxStages + 6}; !slices.Equal(refused, want) {
		t.Errorf("refused were %v, want %v", refused, want)
	}
	verifyShard(t, d.s)
	rnd := newRandom(t)
	for !snap.done(rnd, d.s) {
	}
	copied := snap.load(t, Config{})
	for i, l := range log {
		copied.Apply(index+uint64(i)+1, l.stamp, l.ops, nil)
		verifyShard(t, copied)
	}
	if copied.Hash() != d.s.Hash() {
		t.Errorf("hash differs%s", difference(d.s, copied))
	}
}

// TestStageOfALargeEvent: the image of an event with twenty thousand holds arrives in chunks, and expiries beyond the bound of one Apply come to
// the same end in the stage as in the old shard.
func TestStageOfALargeEvent(t *testing.T) {
	const n = 20_000
	a, b := newDriver(Config{}), newDriver(Config{})
	b.now = 77
	a.create(t, 1, benchManifest())
	singles(t, a, n, 100)
	image, ok := a.s.AppendImage(nil, 1)
	if !ok {
		t.Fatal("no image")
	}
	after := a.index
	a.now += 100
	a.apply(nil, nil)
	entries := wire.AppendReplayed(nil, a.index, a.now, nil)
	freeze := wire.Freeze{Mutation: wire.Mutation{Event: 1}, Number: 3}
	ops := wire.Record{Kind: wire.KindFreeze, Body: freeze.Append(nil)}.Append(nil)
	var frozen wire.Frozen
	a.apply(ops, func(_ int, _ wire.Status, body []byte) {
		if err := frozen.Decode(body); err != nil {
			t.Fatal(err)
		}
	})
	entries = wire.AppendReplayed(entries, a.index, a.now, ops)
	step := func(kind wire.Kind, body []byte) {
		b.apply(wire.Record{Kind: kind, Body: body}.Append(nil), func(_ int, s wire.Status, body []byte) {
			if s != wire.StatusOK {
				t.Fatalf("kind %d: %v %s", kind, s, body)
			}
		})
	}
	m := wire.Mutation{Event: 1}
	for at := 0; at < len(image); at += wire.MaxChunk {
		o := wire.Import{Mutation: m, Number: 3, Offset: uint32(at), Total: uint32(len(image)), Chunk: image[at:min(at+wire.MaxChunk, len(image))]}
		step(wire.KindImport, o.Append(nil))
	}
	step(wire.KindReplay, (&wire.Replay{Mutation: m, Number: 3, After: after, Entries: entries}).Append(nil))
	b.now += 1000
	step(wire.KindAdopt, (&wire.Adopt{Mutation: m, Number: 3, Hash: frozen.Hash, Now: frozen.Now, Epoch: 2}).Append(nil))
	verifyShard(t, b.s)
	if left := n - 2*maxExpiries; held(a) != left || held(b) != left {
		t.Errorf("%d seats are held in the old shard and %d in the new one, want %d", held(a), held(b), left)
	}
}
