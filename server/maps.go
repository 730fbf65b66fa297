package server

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/wire"
)

const (
	// mapRest is how long after a map was read the same one is given again although
	// seats have changed since: an event may change a hundred thousand times a second,
	// and its map is not encoded more than ten times. Its age is said.
	mapRest = 100 * time.Millisecond
	// mapFresh is the age up to which others may keep a map for a second. A replica
	// that has not heard of its leader for longer has them ask each time.
	mapFresh = time.Second
	// mapLife has the rest of the Cache-Control of a map that is fresh. The second
	// second is for a cache that shows what it has while it asks for the next.
	mapLife = ", max-age=1, stale-while-revalidate=1"
)

// A mapMark says which map a body shows. Immutable but for seen.
type mapMark struct {
	version wire.Version
	name    string       // the version in digits
	tag     string       // its ETag; weak, because the same version comes in several forms
	read    time.Time    // when reading it began
	seen    atomic.Int64 // time.Duration since mapCache.began at which it was surely the event's map; only grows
}

// A mapCache is where maps for HTTP come from. Each is read and encoded once for
// all who want it, at most every mapRest, and is given out with its age. Safe on
// any goroutine.
type mapCache struct {
	bodies *bodyCache
	began  time.Time
	// latest is the version of an event in the node's own replica, and how old that is
	// at most; ok is false if there is no such replica. Cheap.
	latest func(wire.EventID) (v wire.Version, age time.Duration, ok bool)
	// read reads a map, wherever it is.
	read func(ctx context.Context, id wire.EventID, consistent bool) (*wire.SeatMap, *problem)
	pack func(coding string, bytes []byte) []byte
}

func newMapCache(n *Node) *mapCache {
	return &mapCache{bodies: n.bodies, began: time.Now(), latest: n.latestVersion, read: n.readMap, pack: n.pack}
}

// planes is the event's map, packed. With consistent it has seen all that was
// acknowledged before the call; else it is as old as it says.
func (c *mapCache) planes(ctx context.Context, id wire.EventID, consistent bool) (*body, *problem) {
	k := bodyKey{wire.KindMap, id, packedMedia, identity}
	if consistent {
		b, p := c.load(ctx, id, true)
		if p != nil {
			return nil, p
		}
		c.bodies.put(k, b)
		return b, nil
	}
	fits := func(b *body) bool { return c.current(id, b.of) }
	return c.bodies.get(ctx, k, fits, func() (*body, *problem) { return c.load(ctx, id, false) })
}

// load reads the map.
func (c *mapCache) load(ctx context.Context, id wire.EventID, consistent bool) (*body, *problem) {
	m := &mapMark{read: time.Now()}
	sm, p := c.read(ctx, id, consistent)
	if p != nil {
		return nil, p
	}
	m.version, m.name = sm.Version, strconv.FormatUint(uint64(sm.Version), 10)
	m.tag = "W/\"" + m.name + "\""
	m.seen.Store(int64(m.read.Sub(c.began) - time.Duration(sm.Age)*time.Millisecond))
	return &body{of: m, bytes: sm.Planes}, nil
}

// current reports whether a map may still be given out: it is the latest, or was
// read a moment ago.
func (c *mapCache) current(id wire.EventID, m *mapMark) bool {
	now := time.Now() // before the version is looked at
	if version, age, ok := c.latest(id); ok && version == m.version {
		raise(&m.seen, int64(now.Sub(c.began)-age))
		return true
	}
	return now.Sub(m.read) < mapRest
}

// age is how long ago a map was surely the event's, as far as its replica knew.
func (c *mapCache) age(m *mapMark) time.Duration {
	return max(0, time.Since(c.began)-time.Duration(m.seen.Load()))
}

// form is a body that shows a map, or a later one, in a form. encode makes it,
// before it is compressed.
func (c *mapCache) form(ctx context.Context, id wire.EventID, of *body, media, coding string, encode func() ([]byte, *problem)) (*body, *problem) {
	if media == packedMedia && coding == identity {
		return of, nil
	}
	k := bodyKey{wire.KindMap, id, media, coding}
	fits := func(b *body) bool { return b.of.version >= of.of.version }
	for {
		b, p := c.bodies.get(ctx, k, fits, func() (*body, *problem) {
			bytes, p := encode()
			if p != nil {
				return nil, p
			}
			return &body{of: of.of, bytes: c.pack(coding, bytes)}, nil
		})
		if p != nil || fits(b) {
			return b, p
		}
		// Somebody was making an earlier one.
	}
}

// raise sets a number that only grows.
func raise(at *atomic.Int64, to int64) {
	for {
		was := at.Load()
		if was >= to || at.CompareAndSwap(was, to) {
			return
		}
	}
}

// latestVersion is the version of an event in the node's own replica, and how long
// ago that was the latest, at most.
func (n *Node) latestVersion(id wire.EventID) (v wire.Version, age time.Duration, ok bool) {
	e := n.table().Event(id)
	if e == nil {
		return 0, 0, false
	}
	g := n.local(e.Shard)
	if g == nil {
		return 0, 0, false
	}
	age = g.log.Age() // before the version: what comes in between only makes it younger
	ev := g.shard.Load().Event(id)
	if ev == nil {
		return 0, 0, false
	}
	v = ev.Version()
	return v, age, ev.Live()
}

// readMap reads a map from the node's own replica, or from the leader's.
func (n *Node) readMap(ctx context.Context, id wire.EventID, consistent bool) (*wire.SeatMap, *problem) {
	r := wire.Record{Kind: wire.KindMap, Body: (&wire.EventRef{Event: id}).Append(nil)}
	if consistent {
		r.Flags |= wire.FlagConsistent
	}
	status, bytes := n.do(ctx, r)
	if status != wire.StatusOK {
		return nil, unread(status, bytes, nil)
	}
	sm := new(wire.SeatMap)
	if err := sm.Decode(bytes); err != nil {
		n.log.Error("a map cannot be read", "event", id, "error", err)
		return nil, httpProblem(codeInternal)
	}
	return sm, nil
}
