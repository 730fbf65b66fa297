package directory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

// addKey stores an API key, in the place of any with the same name.
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
	if found && keys[at] == key {
		return wire.StatusOK, nil
	}
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
	d.note("store API key %s (%v)", plain(key.Name), key.Role)
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
	d.note("drop API key %s", plain(string(op.Name)))
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

func hashKeys(keys []Key) uint64 {
	var b []byte
	for i := range keys {
		b = appendKey(b, &keys[i])
	}
	return xxhash.Sum64(b)
}

// addSigningKey stores the signing key that is used from now on.
func (d *Directory) addSigningKey(body []byte) (wire.Status, []byte) {
	var op wire.AddSigningKey
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	old := d.draft.signing
	key := SigningKey{ID: old[0].ID + 1, Secret: op.Secret, Wall: d.wall}
	d.draft.signing = append([]SigningKey{key}, old[:min(len(old), goodKeys-1)]...)
	d.relayout()
	d.note("store signing key %d", key.ID)
	return wire.StatusOK, nil
}
