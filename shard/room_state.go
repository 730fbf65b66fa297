package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// appendRoom appends the event's room, or that it has none:
//
//	u8 0, or 1 and:
//	u64 id, u32 length, seed and configuration as in a SetRoom, u32 length, entropy, u8 flags,
//	u64 step, entries, next, serving, lapsed to, credit, credit at, redeemed, lapsed, booked,
//	u32 number, steps of calls (u64 up to, u64 first, u64 lapse),
//	u32 number, words of numbers that came, words of numbers that left,
//	u32 number, numbers given back in order (u64),
//	u32 number, passes in the order of their ends (u64 id, u64 number, u64 deadline),
//	u64 visitors, u32 number, pages of theirs (u32 page, u64 entry that filled it, u32 length, fingerprints)
//
// The pages are those that are not parts of their own; with all, they are all.
func (e *Event) appendRoom(b []byte, all bool) []byte {
	r := e.room
	if r == nil {
		return append(b, 0)
	}
	b = r.appendNumbers(append(b, 1))
	v := &r.visitors
	b = appendU64(b, v.count)
	at := len(b)
	b = appendU32(b, 0)
	n := uint32(0)
	for page, p := range v.pages {
		if p.filled != 0 && p.encoded && !all {
			continue
		}
		n++
		b = appendU64(appendU32(b, uint32(page)), p.filled)
		b = append(appendU32(b, uint32(len(p.prints))), p.prints...)
	}
	binary.LittleEndian.PutUint32(b[at:], n)
	return b
}

// appendNumbers appends all of a room but its visitors.
func (r *room) appendNumbers(b []byte) []byte {
	b = appendU64(b, uint64(r.id))
	b = appendCounted(b, func(b []byte) []byte {
		o := wire.SetRoom{Seed: r.seed, Config: r.config}
		at := len(b)
		b = o.Append(b)
		return append(b[:at], b[at+wire.MutationSize:]...)
	})
	b = appendCounted(b, func(b []byte) []byte { return append(b, r.entropy...) })
	b = append(b, byte(r.flags))
	for _, n := range []uint64{
		r.step, r.entries, r.next, r.serving, r.lapsedTo, r.credit, uint64(r.creditAt), r.redeemed, r.lapsed, r.booked,
	} {
		b = appendU64(b, n)
	}
	b = appendU32(b, uint32(len(r.steps)))
	for _, c := range r.steps {
		b = appendU64(appendU64(appendU64(b, c.upTo), uint64(c.first)), uint64(c.lapse))
	}
	// Bits before the window have lapsed, and replicas may have them or not.
	words := r.window.wordsFrom(r.lapsedTo)
	b = appendU32(b, uint32(len(words.came)))
	for _, plane := range [][]uint64{words.came, words.left} {
		for _, w := range plane {
			b = appendU64(b, w)
		}
	}
	left := r.left.sorted()
	b = appendU32(b, uint32(len(left)))
	for _, number := range left {
		b = appendU64(b, number)
	}
	b = appendU32(b, uint32(r.passes.len()))
	for _, k := range r.passes.sorted() {
		b = appendU64(appendU64(appendU64(b, uint64(k.id)), k.number), uint64(k.deadline))
	}
	return b
}

// roomBound is no less than what appendRoom appends.
func (e *Event) roomBound(all bool) int {
	const heads = 512
	r := e.room
	if r == nil {
		return 1
	}
	n := heads + wire.MaxSource + len(r.entropy) + 24*len(r.steps) + 16*len(r.window.came) + 8*len(r.left.heap) + 24*r.passes.len()
	for _, p := range r.visitors.pages {
		if p.filled == 0 || !p.encoded || all {
			n += 16 + len(p.prints)
		}
	}
	return n
}

// appendRoomSums appends the room for the event's hash: full pages by their own.
func (e *Event) appendRoomSums(b []byte) []byte {
	r := e.room
	if r == nil {
		return append(b, 0)
	}
	b = appendU64(r.appendNumbers(append(b, 1)), r.visitors.count)
	for _, p := range r.visitors.pages {
		if p.filled != 0 {
			b = appendU64(b, p.sum)
		} else {
			b = append(b, p.prints...)
		}
	}
	return b
}

// readRoom reads the event's room. Its visitors may be incomplete: see roomPages.
func (e *Event) readRoom(p *partReader) error {
	switch has := p.u8(); {
	case p.err != nil:
		return p.err
	case has == 0:
		return nil
	case has > 1:
		return fmt.Errorf("it has %d waiting rooms", has)
	}
	r := new(room)
	if err := errors.Join(r.readConfig(p), r.readNumbers(p), r.readLists(p), r.readVisitors(p)); err != nil {
		return fmt.Errorf("its waiting room: %w", err)
	}
	if r.is(roomDrawn) {
		r.draw = wire.NewDraw(r.seed, r.entropy, r.id, r.entries)
	}
	r.outstanding = uint32(r.window.missing(r.lapsedTo, r.serving))
	e.room = r
	e.guarded.Store(true)
	return nil
}

func (r *room) readConfig(p *partReader) error {
	r.id = wire.RoomID(p.u64())
	var o wire.SetRoom
	text := p.take(int(p.u32()))
	r.entropy = bytes.Clone(p.take(int(p.u32())))
	r.flags = roomFlags(p.u8())
	if p.err != nil {
		return p.err
	}
	if err := o.Decode(append(make([]byte, wire.MutationSize), text...)); err != nil {
		return err
	}
	if err := o.Config.Validate(); err != nil {
		return err
	}
	r.seed = o.Seed
	r.setConfig(&o.Config)
	switch {
	case r.id == 0, r.flags >= roomFlagsEnd, len(r.entropy) > wire.MaxEntropy:
		return fmt.Errorf("its id is %d, its flags %#x, its entropy has %d bytes", r.id, r.flags, len(r.entropy))
	case !r.is(entriesClosed) && r.flags&(roomDue|roomDrawn) != 0, !r.is(roomDrawn) && len(r.entropy) > 0:
		return fmt.Errorf("its flags are %#x, and it has %d bytes of entropy", r.flags, len(r.entropy))
	}
	if len(r.entropy) == 0 {
		r.entropy = nil
	}
	return nil
}

func (r *room) readNumbers(p *partReader) error {
	r.step, r.entries, r.next, r.serving, r.lapsedTo = p.u64(), p.u64(), p.u64(), p.u64(), p.u64()
	r.credit, r.creditAt = p.u64(), wire.Millis(p.u64())
	r.redeemed, r.lapsed, r.booked = p.u64(), p.u64(), p.u64()
	switch {
	case p.err != nil:
		return p.err
	case r.lapsedTo > r.serving || r.serving > r.next || r.entries > r.next || r.next > wire.MaxNumbers || r.serving-r.lapsedTo > maxWindow+maxLeft,
		r.serving > 0 && !r.opened(), !r.is(entriesClosed) && r.entries != r.next:
		return fmt.Errorf("of %d numbers %d are entries; %d were called, up to %d have lapsed", r.next, r.entries, r.serving, r.lapsedTo)
	case r.credit > r.mostCredit() || r.creditAt < 0 || r.creditAt >= maxTime:
		return fmt.Errorf("its credit is %d at %d", r.credit, r.creditAt)
	}
	return nil
}

// readLists reads what depends on numbers that have been read.
func (r *room) readLists(p *partReader) error {
	n := p.count(24)
	if n > 0 {
		r.steps = make([]callStep, n)
	}
	last := callStep{upTo: r.lapsedTo}
	for i := range r.steps {
		c := callStep{p.u64(), wire.Millis(p.u64()), wire.Millis(p.u64())}
		if c.upTo <= last.upTo || c.lapse < last.lapse || c.first > c.lapse || c.first < 0 || c.lapse >= maxTime {
			return errors.Join(p.err, fmt.Errorf("step %d of its calls is %+v, after %+v", i, c, last))
		}
		r.steps[i], last = c, c
	}
	if last.upTo != r.serving {
		return errors.Join(p.err, fmt.Errorf("it has called %d numbers, in steps up to %d", r.serving, last.upTo))
	}
	if err := r.readWindow(p); err != nil {
		return err
	}
	for n := p.count(8); n > 0; n-- {
		if number := p.u64(); number < r.serving || number >= r.next || r.left.has(number) || !r.left.add(number) {
			return errors.Join(p.err, fmt.Errorf("number %d cannot have been given back", number))
		}
	}
	for n := p.count(24); n > 0; n-- {
		id, number, deadline := wire.PassID(p.u64()), p.u64(), wire.Millis(p.u64())
		_, a := r.passes.find(id)
		_, b := r.passes.of(number)
		if id == 0 || number >= r.serving || deadline < 0 || deadline >= maxTime || a != nil || b != nil ||
			number >= r.lapsedTo && !r.window.cameBy(number) {
			return errors.Join(p.err, fmt.Errorf("number %d cannot have pass %d until %d", number, id, deadline))
		}
		r.passes.add(id, number, deadline)
	}
	return p.err
}

func (r *room) readWindow(p *partReader) error {
	n := p.count(16)
	r.window = window{base: r.lapsedTo / wordBits * wordBits, end: r.serving}
	if want := (r.serving - r.window.base + wordBits - 1) / wordBits; p.err != nil || uint64(n) != want {
		return errors.Join(p.err, fmt.Errorf("%d words say who came, %d are wanted", n, want))
	}
	for _, plane := range []*[]uint64{&r.window.came, &r.window.left} {
		for range n {
			*plane = append(*plane, p.u64())
		}
	}
	for i, came := range r.window.came {
		word := spotRange(r.window.base+uint64(i)*wordBits, r.lapsedTo, r.serving)
		if came&r.window.left[i] != 0 || (came|r.window.left[i])&^word != 0 {
			return fmt.Errorf("numbers from %d on: %#x came, %#x left", r.window.base+uint64(i)*wordBits, came, r.window.left[i])
		}
	}
	return p.err
}

// spotRange has the bits of the numbers from base on that are in [from, to).
func spotRange(base, from, to uint64) uint64 {
	mask := ^uint64(0)
	if from > base {
		mask <<= from - base
	}
	if to < base+wordBits {
		mask &= 1<<(to-base) - 1
	}
	return mask
}

// readVisitors reads those pages that the state has.
func (r *room) readVisitors(p *partReader) error {
	v := &r.visitors
	v.count = p.u64()
	n := p.count(16)
	if p.err != nil {
		return p.err
	}
	want := uint64(0)
	if r.config.OnePerVisitor {
		want = r.next
	}
	if v.count != want || v.count > maxPages*pageVisitors {
		return fmt.Errorf("it has %d visitors and %d numbers", v.count, r.next)
	}
	v.pages = make([]*visitorPage, (v.count+pageVisitors-1)/pageVisitors)
	for range n {
		page, filled := int(p.u32()), p.u64()
		prints := p.take(int(p.u32()))
		if p.err != nil {
			return p.err
		}
		if err := v.setPage(r.id, page, prints, filled); err != nil {
			return err
		}
	}
	return nil
}

// setPage puts a page into its place. One that is there already must be the same.
func (v *visitors) setPage(id wire.RoomID, page int, prints []byte, filled uint64) error {
	want := pageBytes
	if page == v.fullPages() {
		want = int(v.count%pageVisitors) * wire.VisitorSize
	}
	switch {
	case page >= len(v.pages) || len(prints) != want || (filled != 0) != (want == pageBytes):
		return fmt.Errorf("page %d of its visitors, filled by entry %d, has %d bytes", page, filled, len(prints))
	case v.pages[page] != nil && !bytes.Equal(v.pages[page].prints, prints):
		return fmt.Errorf("page %d of its visitors comes twice and is not the same", page)
	case v.pages[page] != nil:
		return nil
	}
	p := &visitorPage{room: id, prints: slices.Clone(prints)}
	if filled != 0 {
		p.fill(filled)
	}
	v.pages[page] = p
	return nil
}

// complete looks whether all pages have come, and makes the tables.
func (v *visitors) complete() error {
	for page, p := range v.pages {
		if p == nil {
			return fmt.Errorf("page %d of its room's visitors is missing", page)
		}
		for prints := p.prints; len(prints) > 0; prints = prints[wire.VisitorSize:] {
			number := uint64(page)<<pageBits + uint64(len(p.prints)-len(prints))/wire.VisitorSize
			if _, twice := v.find(prints[:wire.VisitorSize]); twice {
				return fmt.Errorf("visitor %d of its room is there twice", number)
			}
			v.enter(prints[:wire.VisitorSize], number)
		}
	}
	return nil
}

// A page as a part of a snapshot:
//
//	u8 format, u64 room, u64 entry that filled it, fingerprints
func (p *visitorPage) append(b []byte) []byte {
	b = appendU64(appendU64(append(b, partFormat), uint64(p.room)), p.filled)
	return append(b, p.prints...)
}

// A loadedPage is a page that came as a part of a snapshot, until it is known
// whether the event's room wants it.
type loadedPage struct {
	room   wire.RoomID
	filled uint64
	prints []byte
}

func (s *Shard) loadPage(id wire.EventID, page int, data []byte) error {
	r := partReader{b: data[1:]}
	p := loadedPage{room: wire.RoomID(r.u64()), filled: r.u64()}
	if r.err != nil || len(r.b) != pageBytes || p.filled == 0 {
		return errors.Join(r.err, fmt.Errorf("page %d of visitors has %d bytes", page, len(r.b)))
	}
	p.prints = bytes.Clone(r.b)
	l := s.loadingOf(id)
	if _, twice := l.pages[page]; twice {
		return fmt.Errorf("page %d of visitors comes twice", page)
	}
	if l.pages == nil {
		l.pages = make(map[int]loadedPage)
	}
	l.pages[page] = p
	return nil
}

// roomPages gives the event's room the pages that came as parts, and completes it.
// Those of a room that there was before are in vain.
func (l *loading) roomPages() error {
	r := l.event.room
	if r == nil {
		return nil
	}
	v := &r.visitors
	for page := range v.fullPages() {
		p, came := l.pages[page]
		if !came || p.room != r.id {
			continue
		}
		if err := v.setPage(r.id, page, p.prints, p.filled); err != nil {
			return err
		}
		v.pages[page].encoded = true
	}
	return v.complete()
}
