package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
)

// seedOf makes a seed for tests out of a number.
func seedOf(n uint64) [32]byte {
	return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, n))
}

// TestDrawGivesEveryNumberOnce proves that a draw is a permutation, whatever N,
// and that Entry is its inverse.
func TestDrawGivesEveryNumberOnce(t *testing.T) {
	sizes := []uint64{0, 1, 2, 3, 4, 5, 15, 16, 17, 100, 255, 256, 257, 1000, 1023, 1024, 1025, 4095, 4096, 4097, 10_007, 65_535, 65_536, 65_537}
	if !testing.Short() {
		sizes = append(sizes, 262_143, 262_145)
	}
	for _, n := range sizes {
		d := NewDraw(seedOf(n), []byte("entropy"), RoomID(n), n)
		seen := make([]bool, n)
		for entry := range n {
			number := d.Number(entry)
			if number >= n || seen[number] {
				t.Fatalf("of %d entries number %d is given to %d, and is out of range or taken", n, number, entry)
			}
			seen[number] = true
			if back := d.Entry(number); back != entry {
				t.Fatalf("of %d entries %d became %d, which came from %d", n, entry, number, back)
			}
		}
	}
	// What nobody can try out: ends and middles of ranges that fill no power of two.
	for _, n := range []uint64{10_000_000, 1<<32 - 1, 1 << 32, 1<<32 + 1, MaxNumbers} {
		d := NewDraw(seedOf(n), nil, 1, n)
		for _, entry := range []uint64{0, 1, n / 3, n / 2, n - 2, n - 1} {
			if number := d.Number(entry); number >= n || d.Entry(number) != entry {
				t.Errorf("of %d entries %d became %d, which came from %d", n, entry, number, d.Entry(number))
			}
		}
	}
}

// TestDrawDependsOnAllOfItsInputs proves that no input can be exchanged without
// another outcome, nor moved from one to the next.
func TestDrawDependsOnAllOfItsInputs(t *testing.T) {
	const n = 1000
	outcome := func(seed [32]byte, entropy string, room RoomID, n uint64) string {
		d := NewDraw(seed, []byte(entropy), room, n)
		var b strings.Builder
		for entry := range uint64(16) {
			fmt.Fprint(&b, d.Number(entry), " ")
		}
		return b.String()
	}
	seen := make(map[string]string)
	for _, c := range []struct {
		name    string
		seed    [32]byte
		entropy string
		room    RoomID
		n       uint64
	}{
		{"base", seedOf(1), "e", 1, n}, {"seed", seedOf(2), "e", 1, n}, {"entropy", seedOf(1), "f", 1, n},
		{"no entropy", seedOf(1), "", 1, n}, {"zero byte", seedOf(1), "e\x00", 1, n},
		{"room", seedOf(1), "e", 2, n}, {"entries", seedOf(1), "e", 1, n - 1},
	} {
		got := outcome(c.seed, c.entropy, c.room, c.n)
		if other, twice := seen[got]; twice {
			t.Errorf("%s and %s draw the same", c.name, other)
		}
		seen[got] = c.name
	}
	if Commitment(seedOf(1), []byte("a")) == Commitment(seedOf(1), []byte("b")) || Commitment(seedOf(1), nil) == Commitment(seedOf(2), nil) {
		t.Error("a commitment leaves something open")
	}
}

// TestDrawIsEven draws with many seeds, and counts who gets what. For a true
// lottery the chi-square statistic of k cells has mean k-1 and variance 2(k-1).
// The bound is that of Laurent and Massart ("Adaptive estimation of a quadratic
// functional", 2000, lemma 1): P(X ≥ d + 2√(dx) + 2x) ≤ e^-x for d degrees of
// freedom, with x = 23, so that a true lottery fails one of these with a
// probability of 1e-10 (X is only about chi-square: each cell expects 80 and
// more). The seeds are fixed, so it fails always or never.
func TestDrawIsEven(t *testing.T) {
	const x = 23
	limit := func(d float64) float64 { return d + 2*math.Sqrt(d*x) + 2*x }
	check := func(name string, counts []int, expect float64, freedom int) {
		var chi float64
		for _, c := range counts {
			chi += (float64(c) - expect) * (float64(c) - expect) / expect
		}
		if d := float64(freedom); chi > limit(d) || chi < d-2*math.Sqrt(d*x) {
			t.Errorf("%s: chi-square is %.1f with %d degrees of freedom, at most %.1f is in order", name, chi, freedom, limit(d))
		}
	}
	draws, orders := 40_000, []uint64{4, 5}
	if testing.Short() {
		draws, orders = 8_000, []uint64{4}
	}
	// All orders of few entries: 24 of 4, 120 of 5.
	for _, n := range orders {
		seen := make(map[string]int)
		total := draws / 4
		for i := range total {
			d := NewDraw(seedOf(uint64(i)), []byte("orders"), RoomID(n), n)
			var order strings.Builder
			for entry := range n {
				fmt.Fprint(&order, d.Number(entry))
			}
			seen[order.String()]++
		}
		all := 1
		for k := range n {
			all *= int(k) + 1
		}
		counts := make([]int, 0, all)
		for _, c := range seen {
			counts = append(counts, c)
		}
		for len(counts) < all {
			counts = append(counts, 0)
		}
		check(fmt.Sprintf("orders of %d", n), counts, float64(total)/float64(all), all-1)
	}
	// Who gets which part of the queue: the first, the middle and the last to enter.
	const cells = 20
	for _, n := range []uint64{100, 1000, 50_000} {
		for _, entry := range []uint64{0, n / 2, n - 1} {
			counts := make([]int, cells)
			for i := range draws / 4 {
				d := NewDraw(seedOf(uint64(i)), []byte("cells"), RoomID(n), n)
				counts[d.Number(entry)*cells/n]++
			}
			check(fmt.Sprintf("entry %d of %d", entry, n), counts, float64(draws/4)/cells, cells-1)
		}
	}
	// Two neighbours: whether the place of one says something of the other's.
	counts := make([]int, 8*8)
	const n = 10_000
	for i := range draws {
		d := NewDraw(seedOf(uint64(i)), []byte("pairs"), 3, n)
		counts[d.Number(17)*8/n*8+d.Number(18)*8/n]++
	}
	check("neighbours", counts, float64(draws)/64, 63)
}

func goldenDraws() string {
	var b strings.Builder
	for i, c := range []struct {
		source, entropy string
		n               uint64
	}{
		{"", "", 1}, {"", "", 10}, {"beacon.example, first round after entries close", "round 4711: 0x8f3a", 1000},
		{"beacon.example, first round after entries close", "round 4711: 0x8f3a", 10_000_000},
	} {
		if i > 0 {
			b.WriteByte('\n')
		}
		room := NewRoomID(sampleRequest)
		d := NewDraw(sampleSeed, []byte(c.entropy), room, c.n)
		fmt.Fprintf(&b, "draw\n  seed: %x\n  source: %q\n  commitment: %x\n", sampleSeed, c.source, Commitment(sampleSeed, []byte(c.source)))
		fmt.Fprintf(&b, "  entropy: %q\n  room: %#016x\n  entries: %d\n  key: %x\n  half: %d bits\n", c.entropy, uint64(room), c.n, d.key, d.half)
		for entry := range min(c.n, 8) {
			fmt.Fprintf(&b, "  entry %d: number %d\n", entry, d.Number(entry))
		}
		if c.n > 8 {
			fmt.Fprintf(&b, "  entry %d: number %d\n", c.n-1, d.Number(c.n-1))
		}
	}
	return b.String()
}

func BenchmarkDraw(b *testing.B) {
	for _, n := range []uint64{1000, 10_000_000, 1<<24 - 1} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			d := NewDraw(seedOf(1), nil, 1, n)
			var entry uint64
			for b.Loop() {
				d.Number(entry % n)
				entry++
			}
		})
	}
}
