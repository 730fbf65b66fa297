package directory

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// history is a log of random operations: retries, reused ids, assignments and
// removals over few keys, so that everything meets everything.
type history struct {
	rng    *rand.Rand
	past   []wire.Record
	stamps []wire.Millis
	log    [][]byte
}

func newHistory(seed uint64, entries int) *history {
	h := &history{rng: rand.New(rand.NewPCG(seed, 1))}
	boot := firstCluster(5)
	h.log = append(h.log, wire.Record{Kind: wire.KindBootstrap, Body: boot.Append(nil)}.Append(nil))
	h.stamps = append(h.stamps, 1)
	for len(h.log) < entries {
		var entry []byte
		for range h.rng.IntN(4) {
			entry = h.operation().Append(entry)
		}
		h.log = append(h.log, entry)
		h.stamps = append(h.stamps, h.stamps[len(h.stamps)-1]+wire.Millis(h.rng.IntN(3)))
	}
	return h
}

func (h *history) mutation() wire.Mutation {
	var id [8]byte
	binary.LittleEndian.PutUint64(id[:], h.rng.Uint64())
	return wire.Mutation{ID: wire.KeyID(string(id[:]))}
}

func (h *history) operation() wire.Record {
	if len(h.past) > 0 && h.rng.IntN(5) == 0 {
		return h.past[h.rng.IntN(len(h.past))] // a retry, recent or ancient
	}
	m := h.mutation()
	if h.rng.IntN(4) == 0 {
		m.Deadline = h.stamps[len(h.stamps)-1] + wire.Millis(h.rng.IntN(4)) - 1
	}
	name := []byte(fmt.Sprintf("key-%d", h.rng.IntN(700)))
	var r wire.Record
	switch h.rng.IntN(8) {
	case 0, 1, 2, 3:
		op := wire.Assign{Mutation: m, Key: name, Digest: sha256.Sum256([]byte{byte(h.rng.IntN(2))})}
		r = wire.Record{Kind: wire.KindAssign, Body: op.Append(nil)}
	case 4, 5:
		m.Event = wire.EventID(h.rng.IntN(len(h.log) + 1))
		r = wire.Record{Kind: wire.KindUnassign, Body: (&wire.EventOp{Mutation: m}).Append(nil)}
	case 6:
		op := wire.AddKey{Mutation: m, Name: name, Hash: sha256.Sum256(name[:5]), Role: wire.Role(h.rng.IntN(4))}
		r = wire.Record{Kind: wire.KindAddKey, Body: op.Append(nil)}
	case 7:
		r = wire.Record{Kind: wire.KindDropKey, Body: (&wire.DropKey{Mutation: m, Name: name}).Append(nil)}
	}
	h.past = append(h.past, r)
	return r
}

// apply plays entries (from, to] and returns all answers.
func (h *history) apply(d *Directory, from, to int) (answers []byte) {
	for i := from; i < to; i++ {
		d.Apply(uint64(i+1), h.stamps[i], h.log[i], func(_ int, s wire.Status, body []byte) {
			answers = wire.Record{Status: s, Body: body}.Append(answers)
		})
	}
	return answers
}

// TestReplicasAgree proves that a directory restored from a part, whatever entry
// the part was encoded at and from wherever the log is replayed, is the same as
// the one that saw everything: same hash, same part, same answers afterwards.
func TestReplicasAgree(t *testing.T) {
	const entries = 9000 // some 8,000 remembered answers: the memory turns over
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := newHistory(seed, entries)
	rng := rand.New(rand.NewPCG(seed, 2))
	for range 5 {
		snapshot := 1 + rng.IntN(entries-1)              // the snapshot's index
		encoded := snapshot + rng.IntN(entries-snapshot) // the part is this new
		original := New()
		h.apply(original, 0, encoded)
		part, ok := original.EncodePart(nil, partAll)
		if !ok {
			t.Fatal("the directory has no part")
		}
		restored := New()
		if err := restored.LoadPart(partAll, part); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := restored.Start(uint64(snapshot), h.stamps[snapshot-1]); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		h.apply(restored, snapshot, encoded)
		check(t, restored)
		if original.Hash() != restored.Hash() {
			t.Fatalf("seed %d: hashes differ after a restore at %d from a part of %d", seed, snapshot, encoded)
		}
		want := h.apply(original, encoded, entries)
		got := h.apply(restored, encoded, entries)
		if !bytes.Equal(want, got) {
			t.Fatalf("seed %d: answers differ after a restore at %d from a part of %d", seed, snapshot, encoded)
		}
		check(t, original)
		a, _ := original.EncodePart(nil, partAll)
		b, _ := restored.EncodePart(nil, partAll)
		if !bytes.Equal(a, b) || original.Hash() != restored.Hash() {
			t.Fatalf("seed %d: states differ after a restore at %d from a part of %d", seed, snapshot, encoded)
		}
	}
}

// check recomputes everything that is derived.
func check(t *testing.T, d *Directory) {
	t.Helper()
	table := d.Table()
	var events uint64
	loads := make([]uint32, table.Shards())
	n, last := 0, ""
	for e := range table.After("") {
		n++
		events += hashEvent(e)
		loads[e.Shard-1]++
		if e.Key <= last && n > 1 {
			t.Errorf("events are out of order: %q after %q", e.Key, last)
		}
		last = e.Key
		if table.Event(e.ID) != e || table.Find(e.Key) != e {
			t.Errorf("event %d (%q) is not found by id and key", e.ID, e.Key)
		}
	}
	counted := 0
	for i, p := range table.pages {
		if p == nil {
			continue
		}
		here := 0
		for _, e := range p.events {
			if e != nil {
				here++
			}
		}
		if here != p.count || here == 0 {
			t.Errorf("page %d counts %d events and has %d", i, p.count, here)
		}
		counted += here
	}
	if n != table.Len() || n != counted || events != d.events {
		t.Errorf("%d events by key, %d by length, %d by id; sum %x, want %x", n, table.Len(), counted, d.events, events)
	}
	for i := range loads {
		if loads[i] != uint32(table.Load(uint32(i)+1)) {
			t.Errorf("shard %d has %d events and counts %d", i+1, loads[i], table.Load(uint32(i)+1))
		}
	}
	var sum uint64
	for i := range d.memory.ring {
		sum += d.memory.ring[i].hash()
	}
	if sum != d.memory.sum || len(d.memory.index) != len(d.memory.ring) || d.keys != hashKeys(d.draft.keys) {
		t.Errorf("the memory of %d answers or the keys do not add up", len(d.memory.ring))
	}
}

// firstCluster is a cluster of one node.
func firstCluster(shards uint32) *wire.Bootstrap {
	return &wire.Bootstrap{
		Mutation: wire.Mutation{ID: wire.KeyID("boot")},
		Cluster:  wire.KeyID("c"),
		Shards:   shards,
		Replicas: 3,
		Node:     wire.NodeInfo{Name: []byte("n1"), Incarnation: [16]byte{1}, Peer: []byte("10.0.0.1:7701"), Addr: []byte("10.0.0.1:7700")},
	}
}

// TestTablesNeverChange proves that a table that a reader holds stays as it was
// while the directory goes on. The race detector watches.
func TestTablesNeverChange(t *testing.T) {
	h := newHistory(7, 3000)
	d := New()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				table := d.Table()
				for range 2 {
					n := 0
					for e := range table.After("") {
						n++
						if table.Event(e.ID) != e {
							t.Errorf("event %d is listed and not found", e.ID)
							return
						}
					}
					if n != table.Len() {
						t.Errorf("a table of %d events lists %d", table.Len(), n)
						return
					}
				}
			}
		})
	}
	h.apply(d, 0, len(h.log))
	close(stop)
	readers.Wait()
}

// TestAnswersFollowTheTable proves that whoever hears that an event has a place
// finds it there.
func TestAnswersFollowTheTable(t *testing.T) {
	d := New()
	boot := firstCluster(2)
	assign := wire.Assign{Mutation: wire.Mutation{ID: wire.KeyID("a")}, Key: []byte("gala")}
	entry := wire.Record{Kind: wire.KindBootstrap, Body: boot.Append(nil)}.Append(nil)
	entry = wire.Record{Kind: wire.KindAssign, Body: assign.Append(nil)}.Append(entry)
	heard := 0
	d.Apply(1, 1, entry, func(i int, s wire.Status, body []byte) {
		heard++
		if d.Table().Shards() != 2 || d.Table().Find("gala") == nil || s != wire.StatusOK {
			t.Errorf("answer %d, %v, came before the table that it speaks of", i, s)
		}
	})
	if heard != 2 {
		t.Errorf("%d answers to two operations", heard)
	}
}

// TestDamagedPart proves that no prefix of a part and no part with a byte too
// many is taken for a whole one, and that lies about events are noticed.
func TestDamagedPart(t *testing.T) {
	h := newHistory(3, 60)
	d := New()
	h.apply(d, 0, len(h.log))
	part, _ := d.EncodePart(nil, partAll)
	for n := range part {
		if err := New().LoadPart(partAll, part[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were taken for a part", n, len(part))
		}
	}
	if err := New().LoadPart(partAll, append(part[:len(part):len(part)], 0)); !errors.Is(err, errDamaged) {
		t.Errorf("a byte too many: %v", err)
	}
	if err := New().LoadPart(partAll+1, part); err == nil {
		t.Error("an unknown part was loaded")
	}
	if _, ok := d.EncodePart(nil, partAll+1); ok {
		t.Error("an unknown part was encoded")
	}
	const shards = 1 + 3*8 + 16
	lie := bytes.Clone(part)
	lie[shards] = 1 // most events are in shards that do not exist now
	if err := New().LoadPart(partAll, lie); !errors.Is(err, errDamaged) {
		t.Errorf("events in missing shards: %v", err)
	}
}

// BenchmarkAssign measures a change of a directory with 100,000 events, which
// must not copy them.
func BenchmarkAssign(b *testing.B) {
	d := New()
	boot := firstCluster(4)
	d.Apply(1, 1, wire.Record{Kind: wire.KindBootstrap, Body: boot.Append(nil)}.Append(nil), nil)
	assign := func(i int) {
		op := wire.Assign{Mutation: wire.Mutation{ID: wire.KeyID(fmt.Sprint(i))}, Key: fmt.Appendf(nil, "event-%d", i)}
		d.Apply(uint64(i), 1, wire.Record{Kind: wire.KindAssign, Body: op.Append(nil)}.Append(nil), nil)
	}
	const full = 100_000
	for i := range full {
		assign(i + 2)
	}
	b.ReportAllocs()
	i := full + 2
	for b.Loop() {
		assign(i)
		i++
	}
}

// BenchmarkEncode measures what the applier of the directory does for a
// snapshot of 100,000 events.
func BenchmarkEncode(b *testing.B) {
	d := New()
	boot := firstCluster(4)
	d.Apply(1, 1, wire.Record{Kind: wire.KindBootstrap, Body: boot.Append(nil)}.Append(nil), nil)
	for i := range 100_000 {
		op := wire.Assign{Mutation: wire.Mutation{ID: wire.KeyID(fmt.Sprint(i))}, Key: fmt.Appendf(nil, "event-%d", i)}
		d.Apply(uint64(i+2), 1, wire.Record{Kind: wire.KindAssign, Body: op.Append(nil)}.Append(nil), nil)
	}
	var buf []byte
	for b.Loop() {
		buf, _ = d.EncodePart(buf[:0], partAll)
	}
	b.SetBytes(int64(len(buf)))
}

// BenchmarkRoute measures what every frame pays for routing.
func BenchmarkRoute(b *testing.B) {
	d := New()
	h := newHistory(1, 2000)
	h.apply(d, 0, len(h.log))
	id := wire.EventID(0)
	found := 0
	for b.Loop() {
		id = (id + 97) & 1023
		if d.Table().Event(id) != nil {
			found++
		}
	}
}
