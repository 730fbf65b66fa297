package shard

import (
	"bytes"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

const (
	pageBits     = 16
	pageVisitors = 1 << pageBits // fingerprints of a page
	pageBytes    = pageVisitors * wire.VisitorSize
	// maxPages bounds the pages of a room, and with them its visitors: a billion.
	maxPages = 1 << 14
	// visitorTables is into how many tables the visitors are spread, so that none of
	// them takes long to be made larger: 10 million visitors are 10,000 a table.
	visitorTables = 1 << 10
	leastTable    = 8 // slots
)

// visitors are those who have a number in a room that gives one to each: the
// number's fingerprint is at its place in pages, and tables find it. Owned by the
// applier.
type visitors struct {
	pages  []*visitorPage
	count  uint64
	tables []visitorTable // derived; nil until there is one
}

// A visitorPage is the fingerprints of pageVisitors numbers in order. Once it is
// full it never changes: it is then a part of a snapshot of its own, written once.
type visitorPage struct {
	room    wire.RoomID
	prints  []byte
	filled  uint64 // entry that filled it; 0: it is not full
	sum     uint64 // hash of the prints, once it is full
	encoded bool   // it has been given to a snapshot as a part of its own
}

// A visitorTable finds numbers by fingerprint: open addressing with linear probing
// over numbers plus one.
type visitorTable struct {
	slots []uint32
	used  uint32
}

// at is the fingerprint of a number.
func (v *visitors) at(number uint64) []byte {
	from := int(number%pageVisitors) * wire.VisitorSize
	return v.pages[number>>pageBits].prints[from : from+wire.VisitorSize]
}

// home splits a fingerprint into a table and a place in it.
func home(print []byte) (table int, place uint32) {
	h := binary.LittleEndian.Uint64(print)
	return int(h % visitorTables), uint32(h / visitorTables)
}

// find is the number of a visitor.
func (v *visitors) find(print []byte) (number uint64, ok bool) {
	if v.tables == nil {
		return 0, false
	}
	table, place := home(print)
	t := &v.tables[table]
	if len(t.slots) == 0 {
		return 0, false
	}
	mask := uint32(len(t.slots) - 1)
	for at := place & mask; t.slots[at] != 0; at = (at + 1) & mask {
		if number := uint64(t.slots[at] - 1); bytes.Equal(v.at(number), print) {
			return number, true
		}
	}
	return 0, false
}

// add gives the next number to a visitor who has none. entry is the one that is
// being applied.
func (v *visitors) add(room wire.RoomID, print []byte, entry uint64) {
	if v.count%pageVisitors == 0 {
		v.pages = append(v.pages, &visitorPage{room: room})
	}
	p := v.pages[len(v.pages)-1]
	p.prints = append(p.prints, print...)
	v.enter(print, v.count)
	v.count++
	if len(p.prints) == pageBytes {
		p.fill(entry)
	}
}

func (p *visitorPage) fill(entry uint64) {
	p.prints = bytes.Clone(p.prints) // growing has left room behind them
	p.filled, p.sum = entry, xxhash.Sum64(p.prints)
}

// enter makes a number findable.
func (v *visitors) enter(print []byte, number uint64) {
	if v.tables == nil {
		v.tables = make([]visitorTable, visitorTables)
	}
	table, place := home(print)
	t := &v.tables[table]
	if (int(t.used)+1)*growOf > len(t.slots)*growAt {
		v.grow(t)
	}
	t.put(place, uint32(number)+1)
}

func (t *visitorTable) put(place, value uint32) {
	mask := uint32(len(t.slots) - 1)
	at := place & mask
	for t.slots[at] != 0 {
		at = (at + 1) & mask
	}
	t.slots[at] = value
	t.used++
}

func (v *visitors) grow(t *visitorTable) {
	old := t.slots
	*t = visitorTable{slots: make([]uint32, max(leastTable, 2*len(old)))}
	for _, value := range old {
		if value != 0 {
			_, place := home(v.at(uint64(value - 1)))
			t.put(place, value)
		}
	}
}

// fullPages is how many pages are full.
func (v *visitors) fullPages() int { return int(v.count >> pageBits) }

// pageOf is a page of an event's room that is full, or nil.
func (e *Event) pageOf(page int) *visitorPage {
	if e == nil || e.room == nil || page >= e.room.visitors.fullPages() {
		return nil
	}
	return e.room.visitors.pages[page]
}

// renewPages makes the full pages parts of this shard's snapshots as of an entry.
func (e *Event) renewPages(entry uint64) {
	for page := 0; e.pageOf(page) != nil; page++ {
		p := e.pageOf(page)
		p.filled, p.encoded = entry, false
	}
}

// leavePages keeps the full pages of a room that ends, as long as a snapshot that
// has begun may need them: an earlier state of the event cannot be loaded without.
func (s *Shard) leavePages(e *Event) {
	if e.room == nil {
		return
	}
	for page := range e.room.visitors.fullPages() {
		part := pagePart(e.id, page)
		if s.leftPages[part] == nil {
			s.leftPages[part] = e.room.visitors.pages[page]
		}
	}
}
