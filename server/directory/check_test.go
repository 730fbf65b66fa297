package directory

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

// check recomputes everything that is derived.
func check(t *testing.T, d *Directory) {
	t.Helper()
	table := d.Table()
	checkEvents(t, d, table)
	checkCluster(t, table)
	var sum uint64
	for i := range d.memory.ring {
		sum += d.memory.ring[i].hash()
	}
	if sum != d.memory.sum || len(d.memory.index) != len(d.memory.ring) || d.keys != hashKeys(d.draft.keys) {
		t.Errorf("the memory of %d answers or the keys do not add up", len(d.memory.ring))
	}
	sum = 0
	for i := range table.audit {
		sum += hashLine(&table.audit[i])
	}
	last := len(table.audit) - 1
	if sum != d.audit || last >= maxAudit || last >= 0 && table.audit[last].Version != table.version {
		t.Errorf("%d audit lines until version %d do not add up", len(table.audit), table.version)
	}
	if layout := xxhash.Sum64(appendLayout(nil, table)); layout != d.layout {
		t.Error("the sum of nodes, shards and signing keys is not theirs")
	}
}

func checkEvents(t *testing.T, d *Directory, table *Table) {
	t.Helper()
	var events uint64
	var moving []wire.EventID
	loads := make([]int, table.Shards())
	n, last := 0, ""
	for e := range table.After("") {
		n++
		events += hashEvent(e)
		loads[e.Shard-1]++
		if e.To != 0 {
			moving = append(moving, e.ID)
		}
		if e.Key <= last && n > 1 {
			t.Errorf("events are out of order: %q after %q", e.Key, last)
		}
		last = e.Key
		if table.Event(e.ID) != e || table.Find(e.Key) != e {
			t.Errorf("event %d (%q) is not found by id and key", e.ID, e.Key)
		}
		if e.Number < firstNumber || e.Number >= d.counter || e.To == e.Shard || e.To != 0 && e.Stayed {
			t.Errorf("event %d in shard %d moves to %d, number %d", e.ID, e.Shard, e.To, e.Number)
		}
	}
	slices.Sort(moving)
	for e := range table.Moving() {
		if len(moving) == 0 || moving[0] != e.ID || table.Event(e.ID) != e {
			t.Errorf("event %d moves to %d, says the index", e.ID, e.To)
			break
		}
		moving = moving[1:]
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
	if n != table.Len() || n != counted || events != d.events || len(moving) > 0 {
		t.Errorf("%d events by key, %d by length, %d by id; sum %x, want %x; moves %v missed", n, table.Len(), counted, d.events, events, moving)
	}
	for i := range loads {
		if loads[i] != table.Load(uint32(i)+1) {
			t.Errorf("shard %d has %d events and counts %d", i+1, loads[i], table.Load(uint32(i)+1))
		}
	}
}

// checkCluster proves what is always so of nodes and replicas.
func checkCluster(t *testing.T, table *Table) {
	t.Helper()
	free := 0
	numbers := make(map[uint64]bool)
	for i, n := range table.Nodes() {
		if !n.Draining {
			free++
		}
		if i > 0 && table.Nodes()[i-1].Name >= n.Name || table.Node(n.Name).Number != n.Number || numbers[n.Number] {
			t.Errorf("node %s, number %d, is out of order", n.Name, n.Number)
		}
		numbers[n.Number] = true
	}
	if len(table.Voters()) != min(free, 5) {
		t.Errorf("%d voters of %d nodes", len(table.Voters()), free)
	}
	for i := range table.Shards() {
		s := table.Shard(uint32(i) + 1)
		if len(s.Replicas) < min(table.Replication(), free) {
			t.Errorf("shard %d has %d replicas; %d nodes may have some", s.ID, len(s.Replicas), free)
		}
		for k, r := range s.Replicas {
			n := table.Node(r.Node)
			if n == nil || n.Draining || s.find(r.Node) != k || numbers[r.Number] {
				t.Errorf("shard %d has replica %d on %s", s.ID, r.Number, r.Node)
			}
			numbers[r.Number] = true
		}
	}
	if keys := table.Signing(); len(keys) < 1 || len(keys) > 2 || len(keys) == 2 && keys[0].ID != keys[1].ID+1 {
		t.Errorf("%d signing keys", len(keys))
	}
}

// fingerprint reads all of a table.
func fingerprint(t *Table) string {
	d := xxhash.New()
	for e := range t.After("") {
		_, _ = d.Write(appendEvent(nil, e))
		_, _ = d.Write(appendEvent(nil, t.Event(e.ID)))
	}
	return fmt.Sprintf("%x\n%s\n%s\n%s\n%s", d.Sum64(), describe(t), describeCluster(t), describeMoving(t), describeAudit(t))
}
