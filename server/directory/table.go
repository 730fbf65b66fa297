package directory

import (
	"cmp"
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
	To     uint32 // shard that it is moving to; 0: none
	Number uint64 // of its last move, or of its assignment before the first; grows
	Stayed bool   // the move with Number was cancelled and must not end otherwise
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
	version     uint64
	cluster     wire.ID
	replication int
	next        wire.EventID // that will be issued
	nodes       []Node       // by name
	voters      []string     // as Voters says
	shards      []*Shard     // by id-1
	pages       []*page
	byKey       *btreemap.BTreeMap[string, *Event]
	moving      *btreemap.BTreeMap[wire.EventID, *Event]
	keys        []Key // by name
	byHash      map[[32]byte]Key
	signing     []SigningKey // the newest first
	audit       []AuditLine  // the newest last
}

// Issued reports whether an event has had that number, even if it was deleted.
func (t *Table) Issued(id wire.EventID) bool { return id < t.next }

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

// Moving yields the events that are moving, in the order of their ids. The
// others cost nothing.
func (t *Table) Moving() iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		for _, e := range t.moving.Ascend(btreemap.Min[wire.EventID](), btreemap.Max[wire.EventID]()) {
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
	k, ok := t.byHash[hash]
	return k.Role, ok
}

// KeyName is the name of the key with that SHA-256; it is empty for a stranger.
func (t *Table) KeyName(hash [32]byte) string { return t.byHash[hash].Name }

// A draft is the table that the next Table is made of. The applier owns it.
type draft struct {
	number uint64 // pages with this number are not shared yet
	dirty  bool   // since the last publish
	Table
}

func newDraft() draft {
	const degree = 32
	return draft{number: 1, Table: Table{
		next:   1,
		byKey:  btreemap.New[string, *Event](degree, strings.Compare),
		moving: btreemap.New[wire.EventID, *Event](degree, cmp.Compare),
	}}
}

// publish makes a Table of the draft. The draft goes on with copies of whatever
// it changes next.
func (d *draft) publish() *Table {
	t := d.Table
	t.shards = slices.Clone(d.shards)
	t.pages = slices.Clone(d.pages)
	// The clones are what readers get: cloning writes to the original.
	t.byKey = d.byKey.Clone()
	t.moving = d.moving.Clone()
	// The draft adds its next lines where those of the Table end.
	t.audit = slices.Clip(d.audit)
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

// insert adds an event, whose id and key no other has.
func (d *draft) insert(e *Event) {
	p := d.ownPage(e.ID)
	p.events[e.ID%pageEvents] = e
	p.count++
	d.byKey.ReplaceOrInsert(e.Key, e)
	if e.To != 0 {
		d.moving.ReplaceOrInsert(e.ID, e)
	}
	d.load(e.Shard, 1)
}

func (d *draft) remove(e *Event) {
	p := d.ownPage(e.ID)
	p.events[e.ID%pageEvents] = nil
	if p.count--; p.count == 0 {
		d.pages[e.ID/pageEvents] = nil
	}
	d.byKey.Delete(e.Key)
	if e.To != 0 {
		d.moving.Delete(e.ID)
	}
	d.load(e.Shard, -1)
}

// setKeys replaces the API keys. keys becomes the draft's and is never written
// to again.
func (d *draft) setKeys(keys []Key) {
	d.keys = keys
	d.byHash = make(map[[32]byte]Key, len(keys))
	for _, k := range keys {
		d.byHash[k.Hash] = k
	}
}
