package directory

import (
	"iter"
	"slices"
	"strings"

	"github.com/RaduBerinde/btreemap"

	"github.com/usher-seats/usher/wire"
)

// An Event is where an event lives. It is immutable.
type Event struct {
	ID     wire.EventID
	Shard  uint32
	Key    string
	Digest [32]byte // SHA-256 of the encoded manifest
}

// A Key is an API key, known by its hash. It is immutable.
type Key struct {
	Name string
	Hash [32]byte // SHA-256 of the key
	Role wire.Role
}

// pageEvents is the number of consecutive event ids in a page. Smaller pages
// make the list of pages longer, larger ones cost more per change; at 100,000
// events both copies are about 2 KiB.
const pageEvents = 256

// A page holds the events with ids [n·pageEvents, (n+1)·pageEvents). Once it is
// part of a published Table it is immutable.
type page struct {
	draft  uint64 // the draft that may still write to it
	count  int
	events [pageEvents]*Event
}

// A Table is what the directory knew after some entry. It is immutable, so any
// goroutine may read it for as long as it likes.
type Table struct {
	cluster wire.ID
	loads   []uint32 // events by shard-1
	pages   []*page
	byKey   *btreemap.BTreeMap[string, *Event]
	keys    []Key // by name
	roles   map[[32]byte]wire.Role
}

// Cluster is the cluster's id; it is zero until the cluster is made.
func (t *Table) Cluster() wire.ID { return t.cluster }

// Shards is the number of shards. They are numbered from 1.
func (t *Table) Shards() int { return len(t.loads) }

// Load is the number of events that the shard has.
func (t *Table) Load(shard uint32) int {
	if shard < 1 || int(shard) > len(t.loads) {
		return 0
	}
	return int(t.loads[shard-1])
}

// Len is the number of events.
func (t *Table) Len() int { return t.byKey.Len() }

// Event is the event with that id, or nil.
func (t *Table) Event(id wire.EventID) *Event {
	n := uint64(id) / pageEvents
	if n >= uint64(len(t.pages)) || t.pages[n] == nil {
		return nil
	}
	return t.pages[n].events[id%pageEvents]
}

// Find is the event with that key, or nil.
func (t *Table) Find(key string) *Event {
	_, e, _ := t.byKey.Get(key)
	return e
}

// After yields the events whose key is greater than after, in the order of
// their keys.
func (t *Table) After(after string) iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		for _, e := range t.byKey.Ascend(btreemap.GT(after), btreemap.Max[string]()) {
			if !yield(e) {
				return
			}
		}
	}
}

// Keys are the API keys in the order of their names. The caller does not write
// to them.
func (t *Table) Keys() []Key { return t.keys }

// Role is what the key with that SHA-256 may do; ok is false for a stranger.
func (t *Table) Role(hash [32]byte) (role wire.Role, ok bool) {
	role, ok = t.roles[hash]
	return role, ok
}

// leastLoaded is the shard with the fewest events, the lowest of several.
func leastLoaded(loads []uint32) uint32 {
	best := 0
	for i, n := range loads {
		if n < loads[best] {
			best = i
		}
	}
	return uint32(best) + 1
}

// A draft is the table that the next Table is made of. The applier owns it.
type draft struct {
	number uint64 // pages with this number are not shared yet
	dirty  bool   // since the last publish
	Table
}

func newDraft() draft {
	const degree = 32
	return draft{number: 1, Table: Table{byKey: btreemap.New[string, *Event](degree, strings.Compare)}}
}

// publish makes a Table of the draft. The draft goes on with copies of whatever
// it changes next.
func (d *draft) publish() *Table {
	t := d.Table
	t.loads = slices.Clone(d.loads)
	t.pages = slices.Clone(d.pages)
	// The clone is what readers get: cloning writes to the original.
	t.byKey = d.byKey.Clone()
	d.number++
	d.dirty = false
	return &t
}

// ownPage is the page of an event id, ready to be written.
func (d *draft) ownPage(id wire.EventID) *page {
	n := int(id / pageEvents)
	for len(d.pages) <= n {
		d.pages = append(d.pages, nil)
	}
	switch p := d.pages[n]; {
	case p == nil:
		d.pages[n] = &page{draft: d.number}
	case p.draft != d.number:
		fresh := *p
		fresh.draft = d.number
		d.pages[n] = &fresh
	}
	return d.pages[n]
}

func (d *draft) insert(e *Event) {
	p := d.ownPage(e.ID)
	p.events[e.ID%pageEvents] = e
	p.count++
	d.byKey.ReplaceOrInsert(e.Key, e)
	d.loads[e.Shard-1]++
	d.dirty = true
}

func (d *draft) remove(e *Event) {
	p := d.ownPage(e.ID)
	p.events[e.ID%pageEvents] = nil
	if p.count--; p.count == 0 {
		d.pages[e.ID/pageEvents] = nil
	}
	d.byKey.Delete(e.Key)
	d.loads[e.Shard-1]--
	d.dirty = true
}

// setKeys replaces the API keys. keys becomes the draft's and is never written
// to again.
func (d *draft) setKeys(keys []Key) {
	d.keys = keys
	d.roles = make(map[[32]byte]wire.Role, len(keys))
	for _, k := range keys {
		d.roles[k.Hash] = k.Role
	}
	d.dirty = true
}
