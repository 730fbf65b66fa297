package server

import (
	"sync"

	"github.com/usher-seats/usher/wire"
)

const (
	// maxManifestBytes bounds the decoded manifests that a node keeps.
	maxManifestBytes = 256 << 20
	// A decoded manifest takes about this many bytes of memory beyond its
	// encoding, which its strings are part of; measured: 41 a seat. Areas are
	// free, whatever they hold.
	manifestSeatBytes = 42
	manifestRowBytes  = 256
)

// manifestBytes estimates the memory that a manifest takes, decoded from n bytes
// and with its index of labels.
func manifestBytes(m *wire.Manifest, n int) int {
	for i := range m.Sections {
		for j := range m.Sections[i].Rows {
			n += manifestRowBytes + manifestSeatBytes*len(m.Sections[i].Rows[j].Seats)
		}
	}
	return n
}

// A manifestCache keeps the manifests that were used last. Event ids are never
// issued again and manifests never change, so nothing in it is ever stale.
type manifestCache struct {
	mu   sync.Mutex
	kept lru[wire.EventID, *cachedManifest]
}

// A cachedManifest is immutable.
type cachedManifest struct {
	manifest *wire.Manifest
	places   *wire.Places
}

func newManifestCache(limit int) *manifestCache {
	return &manifestCache{kept: newLRU[wire.EventID, *cachedManifest](limit)}
}

// get is the event's entry, which becomes the newest, or nil.
func (c *manifestCache) get(id wire.EventID) *cachedManifest {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, _ := c.kept.get(id)
	return e
}

// put keeps a manifest whose encoding has n bytes, unless somebody else did so
// meanwhile, and returns the entry that is kept. A manifest that alone is above
// the limit is not kept.
func (c *manifestCache) put(id wire.EventID, m *wire.Manifest, p *wire.Places, n int) *cachedManifest {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.kept.get(id); ok {
		return e
	}
	e := &cachedManifest{manifest: m, places: p}
	c.kept.put(id, e, manifestBytes(m, n))
	return e
}

// drop forgets an event that was deleted.
func (c *manifestCache) drop(id wire.EventID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept.drop(id)
}
