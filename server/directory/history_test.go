package directory

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/usher-seats/usher/wire"
)

// firstCluster is a cluster of one node.
func firstCluster(shards uint32) *wire.Bootstrap {
	return &wire.Bootstrap{
		Mutation: wire.Mutation{ID: wire.KeyID("boot")},
		Cluster:  wire.KeyID("c"),
		Shards:   shards,
		Replicas: 3,
		Node:     nodeInfo(1, 1, 1),
	}
}

// nodeInfo is a node whose name, data and peer address are numbers.
func nodeInfo(name, data, peer int) wire.NodeInfo {
	n := wire.NodeInfo{
		Name: fmt.Appendf(nil, "n%d", name),
		Peer: fmt.Appendf(nil, "10.0.0.%d:7701", peer),
		Addr: fmt.Appendf(nil, "10.0.0.%d:7700", peer),
	}
	binary.LittleEndian.PutUint64(n.Incarnation[:], uint64(data))
	return n
}

// history is a log of random operations: retries, reused ids, assignments, moves
// and removals over few keys, nodes that come and go, so that everything meets
// everything. One test goroutine owns it.
type history struct {
	rng    *rand.Rand
	d      *Directory // that has seen the log, so that operations speak of what there is
	past   []wire.Record
	stamps []wire.Millis
	log    [][]byte
}

func newHistory(seed uint64, entries int) *history {
	h := &history{rng: rand.New(rand.NewPCG(seed, 1)), d: New()}
	h.add(1, wire.Record{Kind: wire.KindBootstrap, Body: firstCluster(5).Append(nil)}.Append(nil))
	for len(h.log) < entries {
		var entry []byte
		for range h.rng.IntN(4) {
			entry = h.operation().Append(entry)
		}
		h.add(h.stamps[len(h.stamps)-1]+wire.Millis(h.rng.IntN(3)), entry)
	}
	return h
}

func (h *history) add(stamp wire.Millis, entry []byte) {
	h.log = append(h.log, entry)
	h.stamps = append(h.stamps, stamp)
	h.apply(h.d, len(h.log)-1, len(h.log))
}

func (h *history) mutation() wire.Mutation {
	var id [8]byte
	binary.LittleEndian.PutUint64(id[:], h.rng.Uint64())
	m := wire.Mutation{ID: wire.KeyID(string(id[:]))}
	if h.rng.IntN(4) == 0 {
		m.Deadline = h.stamps[len(h.stamps)-1] + wire.Millis(h.rng.IntN(4)) - 1
	}
	return m
}

func (h *history) operation() wire.Record {
	if len(h.past) > 0 && h.rng.IntN(5) == 0 {
		return h.past[h.rng.IntN(len(h.past))] // a retry, recent or ancient
	}
	var r wire.Record
	switch n := h.rng.IntN(20); {
	case n < 8:
		r = h.onKey()
	case n < 14:
		r = h.onEvent()
	default:
		r = h.onCluster()
	}
	if h.rng.IntN(2) == 0 {
		by := wire.By{Name: fmt.Appendf(nil, "clerk-%d", h.rng.IntN(3)), Wall: h.rng.Int64N(1 << 40), Record: r.Append(nil)}
		r = wire.Record{Kind: wire.KindBy, Body: by.Append(nil)}
	}
	h.past = append(h.past, r)
	return r
}

func (h *history) onKey() wire.Record {
	m := h.mutation()
	name := fmt.Appendf(nil, "key-%d", h.rng.IntN(700))
	switch h.rng.IntN(8) {
	case 0:
		op := wire.AddKey{Mutation: m, Name: name, Hash: sha256.Sum256(name[:5]), Role: wire.Role(h.rng.IntN(4))}
		return wire.Record{Kind: wire.KindAddKey, Body: op.Append(nil)}
	case 1:
		return wire.Record{Kind: wire.KindDropKey, Body: (&wire.DropKey{Mutation: m, Name: name}).Append(nil)}
	}
	op := wire.Assign{Mutation: m, Key: name, Digest: sha256.Sum256([]byte{byte(h.rng.IntN(2))})}
	return wire.Record{Kind: wire.KindAssign, Body: op.Append(nil)}
}

// onEvent moves an event or ends its move, and now and then deletes it.
func (h *history) onEvent() wire.Record {
	m := h.mutation()
	t := h.d.Table()
	m.Event = wire.EventID(h.rng.Uint64N(uint64(h.d.draft.next) + 1))
	if h.rng.IntN(4) > 0 {
		for e := range t.After(fmt.Sprintf("key-%d", h.rng.IntN(700))) { // one that is there
			m.Event = e.ID
			break
		}
	}
	number := uint64(h.rng.IntN(100))
	if e := t.Event(m.Event); e != nil {
		number = e.Number - uint64(h.rng.IntN(8)/7)
	}
	switch h.rng.IntN(8) {
	case 0, 1:
		op := wire.Move{Mutation: m, To: h.rng.Uint32N(uint32(t.Shards()) + 1)}
		return wire.Record{Kind: wire.KindMove, Body: op.Append(nil)}
	case 2, 3:
		for e := range t.Moving() { // the first would rarely be met by chance
			m.Event, number = e.ID, e.Number
			break
		}
		kind := wire.KindMoved + wire.Kind(h.rng.IntN(2))
		return wire.Record{Kind: kind, Body: (&wire.Numbered{Mutation: m, Number: number}).Append(nil)}
	case 4:
		kind := wire.KindMoved + wire.Kind(h.rng.IntN(2))
		return wire.Record{Kind: kind, Body: (&wire.Numbered{Mutation: m, Number: number}).Append(nil)}
	}
	return wire.Record{Kind: wire.KindUnassign, Body: (&wire.EventOp{Mutation: m}).Append(nil)}
}

func (h *history) onCluster() wire.Record {
	const names, mostShards = 8, 24
	m := h.mutation()
	t := h.d.Table()
	n := 1 + h.rng.IntN(names)
	name := fmt.Appendf(nil, "n%d", n)
	switch h.rng.IntN(12) {
	case 0, 1, 2, 3:
		op := wire.AddNode{Mutation: m, Node: nodeInfo(n, n+h.rng.IntN(8)/7, n+h.rng.IntN(8)/7)}
		return wire.Record{Kind: wire.KindAddNode, Body: op.Append(nil)}
	case 4:
		op := wire.RemoveNode{Mutation: m, Name: name, Force: h.rng.IntN(2) == 0}
		return wire.Record{Kind: wire.KindRemoveNode, Body: op.Append(nil)}
	case 5, 6, 7:
		op := wire.DrainNode{Mutation: m, Name: name, Drain: h.rng.IntN(3) == 0}
		return wire.Record{Kind: wire.KindDrainNode, Body: op.Append(nil)}
	case 8:
		if t.Shards() >= mostShards {
			break
		}
		op := wire.AddShards{Mutation: m, Count: h.rng.Uint32N(3)}
		return wire.Record{Kind: wire.KindAddShards, Body: op.Append(nil)}
	case 9:
		op := wire.AddSigningKey{Mutation: m, Secret: sha256.Sum256(m.ID[:])}
		return wire.Record{Kind: wire.KindAddSigningKey, Body: op.Append(nil)}
	}
	return wire.Record{Kind: wire.KindSetReplicas, Body: h.choice(m).Append(nil)}
}

// choice puts a shard on some of the nodes that may have it.
func (h *history) choice(m wire.Mutation) *wire.SetReplicas {
	t := h.d.Table()
	s := t.Shard(1 + h.rng.Uint32N(uint32(t.Shards())))
	op := &wire.SetReplicas{Mutation: m, Shard: s.ID}
	if h.rng.IntN(2) == 0 {
		op.Base = s.Changed - uint64(h.rng.IntN(4)/3)
	}
	names := eligible(t.Nodes())
	h.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	least := min(t.Replication(), len(names))
	for _, name := range names[:min(least+h.rng.IntN(4)/3, len(names))] {
		op.Nodes = append(op.Nodes, []byte(name))
	}
	return op
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
