package directory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

// execute decides an operation that was not seen before. The body it returns is
// valid until the next call.
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
	case wire.KindAddKey:
		return d.addKey(r.Body)
	case wire.KindDropKey:
		return d.dropKey(r.Body)
	}
	return wire.StatusUnknownKind, []byte("the directory does not know this kind of operation")
}

// bad is the answer to an operation that cannot be read or breaks a limit.
func bad(format string, args ...any) (wire.Status, []byte) {
	return wire.StatusBadRequest, fmt.Appendf(nil, format, args...)
}

func (d *Directory) bootstrap(body []byte) (wire.Status, []byte) {
	var op wire.Bootstrap
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	if op.Shards < 1 || op.Shards > wire.MaxShards {
		return bad("a cluster has 1 to %d shards, not %d", wire.MaxShards, op.Shards)
	}
	if d.draft.Shards() > 0 {
		return wire.StatusExists, []byte("the cluster exists")
	}
	d.draft.cluster = op.Cluster
	d.draft.loads = make([]uint32, op.Shards)
	d.draft.dirty = true
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
			return wire.StatusExists, fmt.Appendf(nil, "event %q exists with another manifest", e.Key)
		}
		return wire.StatusOK, d.location(e)
	}
	if d.draft.Len() >= MaxEvents {
		return wire.StatusTooLarge, fmt.Appendf(nil, "the cluster has %d events, which is the most: delete some", MaxEvents)
	}
	e := &Event{ID: d.next, Shard: leastLoaded(d.draft.loads), Key: string(op.Key), Digest: op.Digest}
	d.next++
	d.insert(e)
	return wire.StatusOK, d.location(e)
}

func (d *Directory) insert(e *Event) {
	d.draft.insert(e)
	d.events += hashEvent(e)
}

func (d *Directory) location(e *Event) []byte {
	d.scratch = (&wire.Location{Event: e.ID, Shard: e.Shard}).Append(d.scratch[:0])
	return d.scratch
}

func (d *Directory) unassign(body []byte) (wire.Status, []byte) {
	var op wire.EventOp
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	e := d.draft.Event(op.Event)
	if e == nil {
		return wire.StatusUnknownEvent, nil
	}
	d.draft.remove(e)
	d.events -= hashEvent(e)
	return wire.StatusOK, nil
}

func (d *Directory) addKey(body []byte) (wire.Status, []byte) {
	var op wire.AddKey
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	if len(op.Name) == 0 || len(op.Name) > wire.MaxKeyLen {
		return bad("the name of an API key has 1 to %d bytes, this one has %d", wire.MaxKeyLen, len(op.Name))
	}
	if op.Role < wire.RoleRead || op.Role > wire.RoleOperate {
		return bad("role %d does not exist: want 1 (read), 2 (sell) or 3 (operate)", op.Role)
	}
	key := Key{Name: string(op.Name), Hash: op.Hash, Role: op.Role}
	keys := slices.Clone(d.draft.keys)
	at, found := findKey(keys, key.Name)
	for i := range keys {
		if keys[i].Hash == key.Hash && !(found && i == at) {
			return wire.StatusExists, fmt.Appendf(nil, "the same API key is stored under the name %q", keys[i].Name)
		}
	}
	switch {
	case found:
		keys[at] = key
	case len(keys) >= MaxKeys:
		return wire.StatusTooLarge, fmt.Appendf(nil, "the cluster has %d API keys, which is the most: drop some", MaxKeys)
	default:
		keys = slices.Insert(keys, at, key)
	}
	if !operable(keys) {
		return wire.StatusExists, fmt.Appendf(nil, "if %q may only %s, nobody may operate the cluster: add a key with the role operate first", key.Name, key.Role)
	}
	d.setKeys(keys)
	return wire.StatusOK, nil
}

func (d *Directory) dropKey(body []byte) (wire.Status, []byte) {
	var op wire.DropKey
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	at, found := findKey(d.draft.keys, string(op.Name))
	if !found {
		return wire.StatusUnknownPlace, fmt.Appendf(nil, "there is no API key named %q", op.Name)
	}
	keys := slices.Delete(slices.Clone(d.draft.keys), at, at+1)
	if !operable(keys) {
		return wire.StatusExists, fmt.Appendf(nil, "%q is the last API key that may operate: drop the others first", op.Name)
	}
	d.setKeys(keys)
	return wire.StatusOK, nil
}

func (d *Directory) setKeys(keys []Key) {
	d.draft.setKeys(keys)
	d.keys = hashKeys(keys)
}

// operable reports whether somebody could still operate the cluster: with keys
// there must be one for it, and without any the node's address protects it.
func operable(keys []Key) bool {
	return len(keys) == 0 || slices.ContainsFunc(keys, func(k Key) bool { return k.Role == wire.RoleOperate })
}

func findKey(keys []Key, name string) (at int, found bool) {
	return slices.BinarySearchFunc(keys, name, func(k Key, name string) int { return strings.Compare(k.Name, name) })
}

func hashEvent(e *Event) uint64 { return xxhash.Sum64(appendEvent(make([]byte, 0, 128), e)) }

func hashKeys(keys []Key) uint64 {
	var b []byte
	for i := range keys {
		b = appendKey(b, &keys[i])
	}
	return xxhash.Sum64(b)
}
