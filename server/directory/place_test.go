package directory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// TestPlacement proves of random histories of nodes and shards that replicas are
// where they should be after every operation, and that nothing moves without a
// reason.
func TestPlacement(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := newHistory(seed, 1)
	placed, led := 0, 0
	for i := 2; i < 4000; i++ {
		before := h.d.Table()
		r := h.onCluster()
		h.add(h.stamps[len(h.stamps)-1], r.Append(nil))
		after := h.d.Table()
		checkCluster(t, after)
		checkVersion(t, before, after)
		checkNumbers(t, before, after)
		if placing(r.Kind, before, after) {
			placed += checkPlaced(t, before, after)
			led += checkLed(t, after)
		}
		if t.Failed() {
			t.Fatalf("seed %d: kind %d led from\n%s\nto\n%s", seed, r.Kind, describeCluster(before), describeCluster(after))
		}
	}
	if placed < 100 || led < 100 {
		t.Errorf("seed %d: only %d replicas were placed and %d shards led", seed, placed, led)
	}
}

// placing reports whether an operation has changed nodes or shards, so that
// everything has its place after it.
func placing(k wire.Kind, before, after *Table) bool {
	switch k {
	case wire.KindAddNode:
		return len(after.Nodes()) > len(before.Nodes())
	case wire.KindDrainNode, wire.KindRemoveNode, wire.KindAddShards:
		return before != after
	}
	return false
}

// checkVersion proves that a table is replaced if and only if it is another one.
func checkVersion(t *testing.T, before, after *Table) {
	t.Helper()
	switch {
	case before == after:
	case after.Version() != before.Version()+1 || after.Audit()[len(after.Audit())-1].Version != after.Version():
		t.Errorf("version %d became %d", before.Version(), after.Version())
	case describeCluster(before)[len("version=0"):] == describeCluster(after)[len("version=0"):]:
		t.Error("the table was replaced by one that says the same")
	}
}

// checkNumbers proves that replicas that stay keep their numbers, that others
// have higher ones than ever before, and that a shard's change number tells
// whether it has changed.
func checkNumbers(t *testing.T, before, after *Table) {
	t.Helper()
	var highest uint64
	for _, n := range before.nodes {
		highest = max(highest, n.Number)
	}
	for _, s := range before.shards {
		highest = max(highest, s.Changed)
	}
	for _, s := range after.shards {
		old := before.Shard(s.ID)
		if old == nil {
			old = &Shard{}
		}
		same := slices.Equal(old.Replicas, s.Replicas)
		if same != (s.Changed == old.Changed) || s.Changed < old.Changed {
			t.Errorf("shard %d: change %d became %d", s.ID, old.Changed, s.Changed)
		}
		for _, r := range s.Replicas {
			at := old.find(r.Node)
			if at >= 0 && old.Replicas[at].Number != r.Number || at < 0 && r.Number <= highest {
				t.Errorf("shard %d: replica %d on %s", s.ID, r.Number, r.Node)
			}
		}
	}
}

// checkPlaced proves, shard by shard, that replicas stayed where they could and
// that every new one went to where there were fewest. It returns how many are new.
func checkPlaced(t *testing.T, before, after *Table) (placed int) {
	t.Helper()
	free := eligible(after.Nodes())
	count := make(map[string]int)
	left := make([][]string, after.Shards()) // what is left of the old lists
	for i := range left {
		if old := before.Shard(uint32(i) + 1); old != nil {
			for _, r := range old.Replicas {
				if slices.Contains(free, r.Node) {
					left[i] = append(left[i], r.Node)
					count[r.Node]++
				}
			}
		}
	}
	for i, s := range after.shards {
		if want := max(len(left[i]), min(after.Replication(), len(free))); len(s.Replicas) != want {
			t.Errorf("shard %d has %d replicas, want %d", s.ID, len(s.Replicas), want)
		}
		for _, name := range left[i] {
			if !s.on(name) {
				t.Errorf("shard %d has left %s without a reason", s.ID, name)
			}
		}
		for _, r := range s.Replicas {
			if slices.Contains(left[i], r.Node) {
				continue
			}
			placed++
			for _, name := range free {
				if !s.on(name) && count[name] < count[r.Node] {
					t.Errorf("shard %d went to %s, which had %d replicas, and not to %s, which had %d", s.ID, r.Node, count[r.Node], name, count[name])
				}
			}
		}
		for _, r := range s.Replicas {
			if !slices.Contains(left[i], r.Node) {
				count[r.Node]++
			}
		}
	}
	return placed
}

// checkLed proves that leaders are even, as far as can be told without trying
// everything: nothing is left for place to do, and if every node had an equal
// part in every shard, no two would differ by more than one.
func checkLed(t *testing.T, table *Table) int {
	t.Helper()
	l := newLayout(table)
	l.fill(table.Replication())
	if l.improve() {
		t.Error("leaders could be more even")
	}
	for i, s := range table.shards {
		if !slices.Equal(l.names(i), names(s)) {
			t.Errorf("shard %d would change if nothing did", s.ID)
		}
	}
	if uniform(l) && slices.Max(l.count)-slices.Min(l.count) < 2 && slices.Max(l.leads)-slices.Min(l.leads) > 1 {
		t.Errorf("replicas are even, %v, and leaders are not: %v", l.count, l.leads)
	}
	return table.Shards()
}

func names(s *Shard) []string {
	var names []string
	for _, r := range s.Replicas {
		names = append(names, r.Node)
	}
	return names
}

// uniform reports whether all shards have the same number of replicas.
func uniform(l *layout) bool {
	return !slices.ContainsFunc(l.lists, func(list []int) bool { return len(list) != len(l.lists[0]) })
}

// TestLeadersAreEven proves against trying everything that leaders are as even as
// lists allow, that lists that are even stay as they are, and that no list loses
// a node or changes the order of those that do not lead.
func TestLeadersAreEven(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	improved := 0
	for range 5000 {
		l := randomLayout(rng, 1+rng.IntN(5), 1+rng.IntN(7))
		was := make([][]int, len(l.lists))
		for i := range l.lists {
			was[i] = slices.Clone(l.lists[i])
		}
		before, best := squares(l.leads), fewestSquares(l, 0, make([]int, len(l.nodes)))
		l.lead()
		if squares(l.leads) != best || !slices.Equal(l.leads, countLeads(l)) {
			t.Fatalf("seed %d: %v became %v, leaders %v: squares are %d, could be %d", seed, was, l.lists, l.leads, squares(l.leads), best)
		}
		changed := 0
		for i, list := range l.lists {
			if list[0] == was[i][0] {
				if !slices.Equal(list, was[i]) {
					t.Fatalf("seed %d: %v became %v", seed, was[i], list)
				}
				continue
			}
			changed++
			rest := slices.DeleteFunc(slices.Clone(was[i]), func(n int) bool { return n == list[0] })
			if !slices.Equal(rest, list[1:]) {
				t.Fatalf("seed %d: %v became %v", seed, was[i], list)
			}
		}
		if changed > 0 && before == best {
			t.Fatalf("seed %d: %v was even and became %v", seed, was, l.lists)
		}
		if changed > 0 {
			improved++
		}
	}
	if improved < 1000 {
		t.Errorf("seed %d: only %d of 5000 layouts were uneven", seed, improved)
	}
}

func randomLayout(rng *rand.Rand, nodes, shards int) *layout {
	l := &layout{nodes: make([]string, nodes), lists: make([][]int, shards), count: make([]int, nodes)}
	for i := range l.lists {
		l.lists[i] = rng.Perm(nodes)[:1+rng.IntN(min(3, nodes))]
	}
	l.leads = countLeads(l)
	return l
}

func countLeads(l *layout) []int {
	leads := make([]int, len(l.nodes))
	for _, list := range l.lists {
		leads[list[0]]++
	}
	return leads
}

func squares(v []int) (sum int) {
	for _, n := range v {
		sum += n * n
	}
	return sum
}

// fewestSquares tries every leader of every shard from the i-th on.
func fewestSquares(l *layout, i int, leads []int) int {
	if i == len(l.lists) {
		return squares(leads)
	}
	best := 1 << 30
	for _, n := range l.lists[i] {
		leads[n]++
		best = min(best, fewestSquares(l, i+1, leads))
		leads[n]--
	}
	return best
}

// TestPlanEvensOut proves of random clusters that every step of a plan is
// accepted, that the plan moves no more replicas than it must, and that nothing
// is left to do after it.
func TestPlanEvensOut(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	planned := 0
	for round := range uint64(60) {
		h := newHistory(seed+round, 1)
		for range 100 + h.rng.IntN(100) {
			h.add(1, h.onCluster().Append(nil))
		}
		before := h.d.Table()
		plan := Plan(before)
		planned += len(plan)
		for _, c := range plan {
			h.carryOut(t, c)
		}
		after := h.d.Table()
		check(t, h.d)
		l := newLayout(after)
		if slices.Max(l.count)-slices.Min(l.count) > 1 {
			t.Errorf("nodes have %v replicas after the plan", l.count)
		}
		if uniform(l) && slices.Max(l.leads)-slices.Min(l.leads) > 1 {
			t.Errorf("nodes lead %v shards after the plan", l.leads)
		}
		if again := Plan(after); len(again) > 0 {
			t.Errorf("the plan was not all: %v", again)
		}
		if moved, least := movedReplicas(before, after), leastMoves(newLayout(before).count); moved != least {
			t.Errorf("%d replicas were moved, %d had to be", moved, least)
		}
		if t.Failed() {
			t.Fatalf("seed %d: the plan led from\n%s\nto\n%s", seed+round, describeCluster(before), describeCluster(after))
		}
	}
	if planned < 100 {
		t.Errorf("seed %d: only %d changes were planned", seed, planned)
	}
	if plan := Plan(New().Table()); plan != nil {
		t.Errorf("without a cluster there is a plan: %v", plan)
	}
}

// carryOut does a step of a plan the way an operator's node does.
func (h *history) carryOut(t *testing.T, c Change) {
	t.Helper()
	op := wire.SetReplicas{Mutation: wire.Mutation{ID: h.mutation().ID}, Shard: c.Shard, Base: h.d.Table().Shard(c.Shard).Changed}
	for _, name := range c.Nodes {
		op.Nodes = append(op.Nodes, []byte(name))
	}
	was := h.d.Table()
	h.add(1, wire.Record{Kind: wire.KindSetReplicas, Body: op.Append(nil)}.Append(nil))
	if h.d.Table() == was || c.Why == "" {
		t.Errorf("%+v changed nothing, or for no reason", c)
	}
}

// movedReplicas counts replicas that are where they were not.
func movedReplicas(before, after *Table) (moved int) {
	for i, s := range after.shards {
		for _, r := range s.Replicas {
			if !before.shards[i].on(r.Node) {
				moved++
			}
		}
	}
	return moved
}

// leastMoves is what is above the even number, or what is missing below it,
// whichever is more.
func leastMoves(count []int) int {
	sum := 0
	for _, n := range count {
		sum += n
	}
	low, high := sum/len(count), (sum+len(count)-1)/len(count)
	above, below := 0, 0
	for _, n := range count {
		above += max(0, n-high)
		below += max(0, low-n)
	}
	return max(above, below)
}

// bigCluster has as many shards as there can be.
func bigCluster(nodes int) *Directory {
	d := New()
	index := uint64(1)
	d.Apply(index, 1, wire.Record{Kind: wire.KindBootstrap, Body: firstCluster(wire.MaxShards).Append(nil)}.Append(nil), nil)
	for n := 2; n <= nodes; n++ {
		index++
		op := wire.AddNode{Mutation: wire.Mutation{ID: wire.KeyID(fmt.Sprint("node", n))}, Node: nodeInfo(n, n, n)}
		d.Apply(index, 1, wire.Record{Kind: wire.KindAddNode, Body: op.Append(nil)}.Append(nil), nil)
	}
	return d
}

// BenchmarkPlace measures the worst that a node's coming can cost: with 1,024
// shards, the second node is given a replica of each and half of the leaders.
func BenchmarkPlace(b *testing.B) {
	for b.Loop() {
		bigCluster(2)
	}
}

// BenchmarkPlan measures a plan for 253 new nodes of 256.
func BenchmarkPlan(b *testing.B) {
	t := bigCluster(wire.MaxNodes).Table()
	for b.Loop() {
		if len(Plan(t)) == 0 {
			b.Fatal("nothing to do")
		}
	}
}
