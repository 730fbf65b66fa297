package directory

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/usher-seats/usher/wire"
)

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

// TestTablesNeverChange proves that a table that a reader holds stays as it was
// while the directory goes on. The race detector watches.
func TestTablesNeverChange(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := newHistory(seed, 3000)
	d := New()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for held := 0; ; held++ {
				table := d.Table()
				before := fingerprint(table)
				for d.Table() == table {
					select {
					case <-stop:
						return
					default:
					}
				}
				if fingerprint(table) != before {
					t.Errorf("seed %d: table %d changed under its reader", seed, table.Version())
					return
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
// many is taken for a whole one.
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
}

// TestEveryByteCounts proves that the hash covers the whole part: whatever bit of
// it is wrong, either it is refused or it gives a directory with another hash.
func TestEveryByteCounts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := newHistory(seed, 100)
	part, _ := h.d.EncodePart(nil, partAll)
	const indexes = 1 + 2*8 // the format, and two indexes, of which replicas may differ
	taken := 0
	for i := indexes; i < len(part); i++ {
		lie := bytes.Clone(part)
		lie[i] ^= 1 << h.rng.IntN(8)
		d := New()
		if d.LoadPart(partAll, lie) != nil {
			continue
		}
		if err := d.Start(0, 0); err != nil {
			t.Fatal(err)
		}
		if taken++; d.Hash() == h.d.Hash() {
			t.Errorf("seed %d: byte %d of %d is not in the hash", seed, i, len(part))
		}
	}
	t.Logf("%d of %d wrong parts were taken for another directory's", taken, len(part)-indexes)
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
