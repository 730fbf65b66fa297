package directory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/usher-seats/usher/wire"
)

// find is the place of the replica on a node, or -1.
func (s *Shard) find(node string) int {
	return slices.IndexFunc(s.Replicas, func(r Replica) bool { return r.Node == node })
}

// on reports whether a replica is on a node.
func (s *Shard) on(node string) bool { return s.find(node) >= 0 }

func (d *Directory) addShards(body []byte) (wire.Status, []byte) {
	var op wire.AddShards
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	have := d.draft.Shards()
	switch {
	case op.Count == 0:
		return bad("no shards to add: want at least 1")
	case int64(op.Count) > int64(wire.MaxShards-have):
		return wire.StatusTooLarge, fmt.Appendf(nil, "the cluster has %d shards and can have %d, so there is no room for %d more", have, wire.MaxShards, op.Count)
	}
	d.growShards(int(op.Count))
	d.place()
	d.note("add shards %d to %d", have+1, d.draft.Shards())
	d.scratch = (&wire.Shards{First: uint32(have + 1), Count: op.Count}).Append(d.scratch[:0])
	return wire.StatusOK, d.scratch
}

// growShards adds n shards that have no replicas yet.
func (d *Directory) growShards(n int) {
	for range n {
		d.draft.shards = append(d.draft.shards, &Shard{ID: uint32(len(d.draft.shards) + 1)})
	}
}

// setReplicas puts a shard on certain nodes. What the operator says stands until
// nodes or shards change: only then place evens out the leaders again.
func (d *Directory) setReplicas(body []byte) (wire.Status, []byte) {
	var op wire.SetReplicas
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	s := d.draft.Shard(op.Shard)
	if s == nil {
		return bad("there is no shard %d: the cluster has %d", op.Shard, d.draft.Shards())
	}
	if op.Base != 0 && op.Base != s.Changed {
		return refused("shard %d has changed meanwhile: look again", s.ID)
	}
	least := min(d.draft.replication, len(eligible(d.draft.nodes)))
	if len(op.Nodes) < least || len(op.Nodes) > wire.MaxReplicas {
		return bad("shard %d wants %d to %d replicas, not %d", s.ID, least, wire.MaxReplicas, len(op.Nodes))
	}
	names := make([]string, 0, len(op.Nodes))
	for _, raw := range op.Nodes {
		name := string(raw)
		n := d.draft.Node(name)
		switch {
		case n == nil:
			return unknownNode(name)
		case n.Draining:
			return refused("%s is draining: it takes no replicas", name)
		case slices.Contains(names, name):
			return bad("%s is named twice: a node has one replica of a shard", name)
		}
		names = append(names, name)
	}
	if d.relist(s, names) {
		d.relayout()
		d.note("have shard %d on %s", s.ID, strings.Join(names, ", "))
	}
	return wire.StatusOK, nil
}

// relist gives a shard's replicas to certain nodes, in that order, and reports
// whether it had others. Replicas that stay keep their numbers.
func (d *Directory) relist(s *Shard, names []string) bool {
	if slices.EqualFunc(s.Replicas, names, func(r Replica, name string) bool { return r.Node == name }) {
		return false
	}
	fresh := *s
	fresh.Replicas = make([]Replica, len(names))
	for i, name := range names {
		if at := s.find(name); at >= 0 {
			fresh.Replicas[i] = s.Replicas[at]
		} else {
			fresh.Replicas[i] = Replica{Node: name, Number: d.number()}
		}
	}
	if fresh.Founder == 0 {
		fresh.Founder = fresh.Replicas[0].Number
	}
	fresh.Changed = d.number()
	d.draft.shards[s.ID-1] = &fresh
	return true
}

// place gives every shard the replicas that it is to have, after nodes or shards
// have changed: those on nodes that are gone or draining are dropped, missing
// ones are put where there are fewest, and leaders are evened out. Where nothing
// of that is to be done, nothing changes.
func (d *Directory) place() {
	l := newLayout(&d.draft.Table)
	l.fill(d.draft.replication)
	l.lead()
	for i, s := range d.draft.shards {
		d.relist(s, l.names(i))
	}
	d.relayout()
}
