package directory

import (
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

// execute decides an operation that was not seen before. The body it returns is
// valid until the next call. Whatever changes something says so with note.
func (d *Directory) execute(r wire.Record) (wire.Status, []byte) {
	if d.draft.Shards() == 0 && r.Kind != wire.KindBootstrap {
		return wire.StatusUnavailable, nil
	}
	switch r.Kind {
	case wire.KindBootstrap:
		return d.bootstrap(r.Body)
	case wire.KindAssign:
		return d.assign(r.Body)
	case wire.KindUnassign:
		return d.unassign(r.Body)
	case wire.KindMove:
		return d.move(r.Body)
	case wire.KindMoved:
		return d.moved(r.Body)
	case wire.KindUnmove:
		return d.unmove(r.Body)
	case wire.KindAddKey:
		return d.addKey(r.Body)
	case wire.KindDropKey:
		return d.dropKey(r.Body)
	case wire.KindAddSigningKey:
		return d.addSigningKey(r.Body)
	case wire.KindAddNode:
		return d.addNode(r.Body)
	case wire.KindDrainNode:
		return d.drainNode(r.Body)
	case wire.KindRemoveNode:
		return d.removeNode(r.Body)
	case wire.KindAddShards:
		return d.addShards(r.Body)
	case wire.KindSetReplicas:
		return d.setReplicas(r.Body)
	}
	return wire.StatusUnknownKind, []byte("the directory does not know this kind of operation")
}

// bad is the answer to an operation that cannot be read or breaks a limit.
func bad(format string, args ...any) (wire.Status, []byte) {
	return wire.StatusBadRequest, fmt.Appendf(nil, format, args...)
}

// refused is the answer to an operation that does not go with what there is.
func refused(format string, args ...any) (wire.Status, []byte) {
	return wire.StatusExists, fmt.Appendf(nil, format, args...)
}

func (d *Directory) bootstrap(body []byte) (wire.Status, []byte) {
	var op wire.Bootstrap
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	node := nodeOf(&op.Node)
	switch err := checkNode(&node); {
	case op.Shards < 1 || op.Shards > wire.MaxShards:
		return bad("a cluster has 1 to %d shards, not %d", wire.MaxShards, op.Shards)
	case op.Replicas < 1 || op.Replicas > wire.MaxReplicas:
		return bad("a shard has 1 to %d replicas, not %d", wire.MaxReplicas, op.Replicas)
	case err != nil:
		return bad("%v", err)
	case d.draft.Shards() > 0:
		return refused("the cluster exists")
	}
	node.Number = firstNumber - 1
	d.draft.cluster = op.Cluster
	d.draft.replication = int(op.Replicas)
	d.draft.signing = []SigningKey{{ID: 1, Secret: op.Signing, Wall: d.wall}}
	d.draft.setNodes([]Node{node})
	d.growShards(int(op.Shards))
	d.place()
	d.note("make a cluster of node %s with %d shards of %d replicas", node.Name, op.Shards, op.Replicas)
	return wire.StatusOK, nil
}

// assign gives a key an event id that was never issued before and the shard
// with the fewest events.
func (d *Directory) assign(body []byte) (wire.Status, []byte) {
	var op wire.Assign
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	if len(op.Key) == 0 || len(op.Key) > wire.MaxKeyLen {
		return bad("an event's key has 1 to %d bytes, this one has %d", wire.MaxKeyLen, len(op.Key))
	}
	if e := d.draft.Find(string(op.Key)); e != nil {
		if e.Digest != op.Digest {
			return refused("event %q exists with another manifest", e.Key)
		}
		return wire.StatusOK, d.location(e)
	}
	if d.draft.Len() >= MaxEvents {
		return wire.StatusTooLarge, fmt.Appendf(nil, "the cluster has %d events, which is the most: delete some", MaxEvents)
	}
	e := &Event{ID: d.draft.next, Shard: leastLoaded(d.draft.shards).ID, Number: d.number(), Key: string(op.Key), Digest: op.Digest}
	d.draft.next++
	d.insert(e)
	d.note("create event %s in shard %d", plain(e.Key), e.Shard)
	return wire.StatusOK, d.location(e)
}

func (d *Directory) insert(e *Event) {
	d.draft.insert(e)
	d.events += hashEvent(e)
}

func (d *Directory) remove(e *Event) {
	d.draft.remove(e)
	d.events -= hashEvent(e)
}

func (d *Directory) location(e *Event) []byte {
	d.scratch = (&wire.Location{Event: e.ID, Shard: e.Shard}).Append(d.scratch[:0])
	return d.scratch
}

// unassign forgets an event, also one that is moving: the steps of its move are
// answered StatusUnknownEvent from then on.
func (d *Directory) unassign(body []byte) (wire.Status, []byte) {
	var op wire.EventOp
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	e := d.draft.Event(op.Event)
	if e == nil {
		return wire.StatusUnknownEvent, nil
	}
	d.remove(e)
	d.note("delete event %s of shard %d", plain(e.Key), e.Shard)
	return wire.StatusOK, nil
}

func hashEvent(e *Event) uint64 { return xxhash.Sum64(appendEvent(make([]byte, 0, 128), e)) }
