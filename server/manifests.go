package server

import (
	"container/list"
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
	limit int

	mu    sync.Mutex
	bytes int // estimated, of all entries
	order list.List
	byID  map[wire.EventID]*list.Element
}

// A cachedManifest is immutable.
type cachedManifest struct {
	id       wire.EventID
	manifest *wire.Manifest
	places   *wire.Places
	bytes    int // estimated
}

func newManifestCache(limit int) *manifestCache {
	return &manifestCache{limit: limit, byID: make(map[wire.EventID]*list.Element)}
}

// get is the event's entry, which becomes the newest, or nil.
func (c *manifestCache) get(id wire.EventID) *cachedManifest {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.byID[id]
	if !ok {
		return nil
	}
	c.order.MoveToFront(at)
	return at.Value.(*cachedManifest)
}

// put keeps a manifest whose encoding has n bytes, unless somebody else did so
// meanwhile, and returns the entry that is kept. A manifest that alone is above
// the limit is not kept.
func (c *manifestCache) put(id wire.EventID, m *wire.Manifest, p *wire.Places, n int) *cachedManifest {
	e := &cachedManifest{id: id, manifest: m, places: p, bytes: manifestBytes(m, n)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.byID[id]; ok {
		return at.Value.(*cachedManifest)
	}
	c.byID[id] = c.order.PushFront(e)
	c.bytes += e.bytes
	for c.bytes > c.limit {
		c.removeLocked(c.order.Back())
	}
	return e
}

// drop forgets an event that was deleted.
func (c *manifestCache) drop(id wire.EventID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.byID[id]; ok {
		c.removeLocked(at)
	}
}

func (c *manifestCache) removeLocked(at *list.Element) {
	e := c.order.Remove(at).(*cachedManifest)
	delete(c.byID, e.id)
	c.bytes -= e.bytes
}
