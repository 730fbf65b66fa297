package shard

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

// A crowd makes random requests of every kind on a few small events: sensible
// ones, stale ones and repeats. It learns fences from the answers.
type crowd struct {
	rnd     *rand.Rand
	now     wire.Millis
	n       int
	known   []known // holds that were granted
	ids     []wire.ID
	history []wire.Record
	born    wire.EventID // events ever begun
}

type known struct {
	event wire.EventID
	id    wire.ID
	fence wire.Fence
}

func newCrowd(rnd *rand.Rand) *crowd { return &crowd{rnd: rnd, now: 1000} }

// crowdManifest is small, so that requests meet.
func crowdManifest(n wire.EventID) *wire.Manifest {
	m := &wire.Manifest{Key: fmt.Sprint("event", n), Categories: []string{"A", "B"}, Rules: wire.DefaultRules()}
	m.Rules.HoldTTL, m.Rules.MaxTTL, m.Rules.PayCap = 400, 900, 700
	m.Rules.SeatsPerHold, m.Rules.Extensions = 20, 3
	if n%3 == 0 {
		m.Rules.SeatsPerBuyer = 12
	}
	if n%4 == 1 {
		m.Rules.RefuseOrphans = true
	}
	for s := range 2 {
		section := wire.Section{Name: fmt.Sprint("S", s)}
		for r := range 2 {
			row := wire.Row{Name: fmt.Sprint(r), Focal: 9}
			for k := range 10 + 60*r {
				row.Seats = append(row.Seats, wire.Seat{Label: fmt.Sprint(k), Category: uint16(s), Access: wire.Access(k % 3)})
			}
			section.Rows = append(section.Rows, row)
		}
		m.Sections = append(m.Sections, section)
	}
	m.Areas = []wire.Area{{Name: "Floor", Category: 1, Capacity: 70}}
	return m
}

// crowdWords is the number of words of such an event.
const crowdWords = 8

func (c *crowd) id() wire.ID {
	c.n++
	switch {
	case c.rnd.IntN(20) == 0 && len(c.ids) > 0:
		return c.ids[c.rnd.IntN(len(c.ids))]
	case c.rnd.IntN(10) == 0:
		return wire.KeyID(fmt.Sprint(c.n))
	}
	at := c.now - wire.Millis(c.rnd.IntN(200)*c.rnd.IntN(2))
	id := numberedID(max(at, 0), c.n)
	c.ids = append(c.ids, id)
	return id
}

func (c *crowd) mutation() wire.Mutation {
	m := wire.Mutation{Event: c.event(), ID: c.id()}
	if c.rnd.IntN(3) == 0 {
		m.Deadline = c.now + wire.Millis(c.rnd.IntN(30)) - 5
	}
	return m
}

// event is one of the latest.
func (c *crowd) event() wire.EventID {
	return c.born - wire.EventID(c.rnd.IntN(4))
}

func (c *crowd) seats(most int) (list wire.SeatList) {
	base := c.rnd.IntN(crowdWords * wordBits)
	seen := map[int]bool{}
	for range 1 + c.rnd.IntN(most) {
		s := base + c.rnd.IntN(6)
		if c.rnd.IntN(5) == 0 {
			s = c.rnd.IntN(crowdWords*wordBits + 3)
		}
		if !seen[s] || c.rnd.IntN(50) == 0 {
			list = list.Append(wire.SeatID(s))
		}
		seen[s] = true
	}
	return list
}

func (c *crowd) hold() known {
	if len(c.known) == 0 {
		return known{event: c.event(), id: c.id()}
	}
	from := max(0, len(c.known)-40)
	k := c.known[from+c.rnd.IntN(len(c.known)-from)]
	if c.rnd.IntN(30) == 0 {
		k.fence++
	}
	return k
}

// some is now and then seats, and mostly none.
func (c *crowd) some() wire.SeatList {
	if c.rnd.IntN(3) > 0 {
		return nil
	}
	return c.seats(3)
}

// request is one operation.
func (c *crowd) request() wire.Record {
	if len(c.history) > 0 && c.rnd.IntN(12) == 0 {
		return c.history[c.rnd.IntN(len(c.history))]
	}
	kind, body := c.body()
	r := wire.Record{Kind: kind, Body: body.Append(nil)}
	c.history = append(c.history, r)
	if len(c.history) > 300 {
		c.history = c.history[100:]
	}
	return r
}

func (c *crowd) body() (wire.Kind, interface{ Append([]byte) []byte }) {
	buyer, key := wire.BuyerID(c.rnd.IntN(5)), wire.ChannelKey(c.rnd.IntN(4))
	ttl := uint32(c.rnd.IntN(1000) * c.rnd.IntN(2))
	k := c.hold()
	on := wire.Mutation{Event: k.event, ID: k.id}
	if c.rnd.IntN(4) == 0 {
		on.Deadline = c.now - 5 + wire.Millis(c.rnd.IntN(50))
	}
	switch n := c.rnd.IntN(100); {
	case n < 25:
		return wire.KindHold, &wire.Hold{Mutation: c.mutation(), Buyer: buyer, Channel: key, TTL: ttl, Flags: wire.HoldFlags(c.rnd.IntN(2)), Seats: c.seats(8)}
	case n < 35:
		return wire.KindHoldBest, &wire.HoldBest{
			Mutation: c.mutation(), Buyer: buyer, Channel: key, TTL: ttl, Flags: wire.HoldFlags(c.rnd.IntN(8)), Access: wire.Access(c.rnd.IntN(2)),
			Count: uint16(c.rnd.IntN(9)), Section: []uint16{0, 1, wire.Any, wire.Any, 9}[c.rnd.IntN(5)], Categories: uint64(c.rnd.IntN(4)),
		}
	case n < 42:
		return wire.KindHoldArea, &wire.HoldArea{Mutation: c.mutation(), Buyer: buyer, Channel: key, TTL: ttl, Area: uint16(c.rnd.IntN(20) / 19), Count: uint16(c.rnd.IntN(9))}
	case n < 48:
		return wire.KindExtend, &wire.Extend{Mutation: on, Fence: k.fence, TTL: ttl, Nth: uint8(c.rnd.IntN(4))}
	case n < 53:
		return wire.KindPay, &wire.Pay{Mutation: on, Fence: k.fence}
	case n < 65:
		return wire.KindConfirm, &wire.OnHold{Mutation: on, Fence: k.fence, Seats: c.some()}
	case n < 73:
		return wire.KindRelease, &wire.OnHold{Mutation: on, Fence: k.fence, Seats: c.some()}
	case n < 80:
		m := c.mutation()
		m.Event = k.event
		return wire.KindCancel, &wire.Cancel{Mutation: m, Booking: k.id, Seats: c.some()}
	case n < 87:
		m := c.mutation()
		m.Event = k.event
		return wire.KindExchange, &wire.Exchange{Mutation: m, Booking: k.id, Channel: key, Give: c.seats(2), Take: c.seats(2)}
	}
	return c.office(key)
}

func (c *crowd) office(key wire.ChannelKey) (wire.Kind, interface{ Append([]byte) []byte }) {
	m := c.mutation()
	switch c.rnd.IntN(12) {
	case 0, 1:
		return wire.KindBlock, &wire.SeatsOp{Mutation: m, Seats: c.seats(80)}
	case 2, 3, 4:
		return wire.KindUnblock, &wire.SeatsOp{Mutation: m, Seats: c.seats(80)}
	case 5:
		return wire.KindSetChannel, &wire.SetChannel{Mutation: m, Name: []byte{byte('a' + c.rnd.IntN(3))}, Key: key, Seats: c.seats(9)}
	case 6, 7:
		return wire.KindSetChannel, &wire.SetChannel{Mutation: m, Seats: c.seats(30)}
	case 8:
		rules := crowdManifest(wire.EventID(c.rnd.IntN(12))).Rules
		if c.rnd.IntN(4) == 0 {
			rules.OpensAt, rules.ClosesAt = 100, 200
		}
		return wire.KindSetRules, &wire.SetRules{Mutation: m, Rules: rules}
	case 9:
		return wire.KindWallClock, &wire.WallClock{Mutation: m, Wall: int64(90 + c.rnd.IntN(110))}
	case 10:
		if c.rnd.IntN(3) > 0 {
			return wire.KindWallClock, &wire.WallClock{Mutation: m, Wall: 150}
		}
		return wire.KindDelete, &wire.EventOp{Mutation: m}
	}
	return wire.KindCreate, c.create(m)
}

// create goes on with the latest event or begins another.
func (c *crowd) create(m wire.Mutation) *wire.Create {
	if c.rnd.IntN(2) == 0 {
		c.born++
	}
	return c.chunk(m, c.born)
}

// chunk is some part of an event's manifest: all of it or the first half most of
// the time.
func (c *crowd) chunk(m wire.Mutation, event wire.EventID) *wire.Create {
	b := crowdManifest(event).Encode()
	m.Event = event
	from, to := 0, len(b)
	switch c.rnd.IntN(3) {
	case 0:
		to /= 2
	case 1:
		from /= 2
	}
	return &wire.Create{Mutation: m, Offset: uint32(from), Total: uint32(len(b)), Digest: sum256(b), Chunk: b[from:to]}
}

// entry is the operations of one entry. learn is to be given its outcomes.
func (c *crowd) entry() (records []wire.Record, ops []byte) {
	for range c.rnd.IntN(7) {
		r := c.request()
		records = append(records, r)
		ops = r.Append(ops)
	}
	return records, ops
}

func (c *crowd) learn(r wire.Record, s wire.Status, body []byte) {
	if s != wire.StatusOK || r.Kind != wire.KindHold && r.Kind != wire.KindHoldBest && r.Kind != wire.KindHoldArea {
		return
	}
	var g wire.Granted
	if err := g.Decode(body); err != nil {
		panic(err)
	}
	m, err := wire.ParseMutation(r.Body)
	if err != nil {
		panic(err)
	}
	c.known = append(c.known, known{m.Event, m.ID, g.Fence})
}

// An entry of a log, to be applied again.
type logged struct {
	stamp wire.Millis
	ops   []byte
}

// TestReplayFromSkewedParts is about what snapshots are like: a list of parts is
// made at one entry, each part is encoded at another one later, in any order, and
// a part that has gone by then is not there. Loaded and brought up by replay, a
// shard must be in the same state as the one that was never restored, and give the
// same answers from then on.
func TestReplayFromSkewedParts(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) { replayRound(t, newRandom(t)) })
	}
}

func replayRound(t *testing.T, rnd *rand.Rand) {
	config := Config{Remembered: 10 + rnd.IntN(60), Window: wire.Millis(100 + rnd.IntN(2000))}
	s, c := New(config), newCrowd(rnd)
	var log []logged
	var snap *snapshotRun
	seen := map[wire.EventID]changedState{}
	for range 400 + rnd.IntN(400) {
		c.now += wire.Millis(rnd.IntN(40))
		records, ops := c.entry()
		log = append(log, logged{c.now, ops})
		s.Apply(uint64(len(log)), c.now, ops, func(i int, st wire.Status, body []byte) { c.learn(records[i], st, body) })
		verifyShard(t, s)
		verifyChanged(t, s, seen)
		if got, want := s.NextDue(), exactDue(s); got > want {
			t.Fatalf("shard says that it is due at %d, but is at %d", got, want)
		}
		switch {
		case snap == nil:
			if rnd.IntN(20) == 0 {
				snap = beginSnapshot(s)
			}
		case snap.done(rnd, s):
			copied := snap.load(t, config)
			for i := snap.index; i < uint64(len(log)); i++ {
				copied.Apply(i+1, log[i].stamp, log[i].ops, nil)
			}
			verifyShard(t, copied)
			if copied.Hash() != s.Hash() {
				t.Fatalf("snapshot of entry %d, replayed to entry %d: hash differs%s", snap.index, len(log), difference(s, copied))
			}
			if got, want := copied.NextDue(), exactDue(copied); got > want {
				t.Fatalf("restored shard says that it is due at %d, but is at %d", got, want)
			}
			if rnd.IntN(2) == 0 {
				s = copied
			}
			snap = nil
		}
	}
}

// A changedState is what there is under an id and the entry that changed it last.
type changedState struct{ changed, hash uint64 }

// verifyChanged looks whether parts that are not the same any more say so: what has
// not changed is not encoded again.
func verifyChanged(t *testing.T, s *Shard, seen map[wire.EventID]changedState) {
	t.Helper()
	verify := func(id wire.EventID) {
		b := s.under(id)
		now := changedState{b.changed(), b.hash()}
		if before := seen[id]; before.changed == now.changed && before.hash != now.hash {
			t.Fatalf("event %d is not what it was, but was last changed at entry %d", id, now.changed)
		}
		seen[id] = now
	}
	s.Events(func(e *Event) bool {
		verify(e.id)
		return true
	})
	for id := range s.creations {
		verify(id)
	}
	for id := range s.deletions {
		verify(id)
	}
	for id := range s.departures {
		verify(id)
	}
	for id := range s.stages {
		verify(id)
	}
}

func (b belongings) hash() uint64 {
	data := []byte{b.form()}
	switch {
	case b.event != nil:
		data = appendU64(b.event.appendPlace(data), b.event.hash())
	case b.creation != nil:
		data = b.creation.append(data)
	case b.deletion != nil:
		data = append(data, b.deletion.id[:]...)
	case b.departure != nil:
		data = b.departure.append(data)
	}
	if b.stage != nil {
		data = append(b.stage.appendHead(data), b.stage.bytes...)
		if b.stage.shard != nil {
			data = appendU64(data, b.stage.shard.Hash())
		}
	}
	return xxhash.Sum64(data)
}

// difference says where two shards differ.
func difference(a, b *Shard) (text string) {
	shards := [2]*Shard{a, b}
	var seen [2]map[string]uint64
	for i, s := range shards {
		seen[i] = map[string]uint64{"now": uint64(s.stamp)}
		s.Events(func(e *Event) bool {
			seen[i][fmt.Sprint("event ", e.id)] = e.hash()
			seen[i][fmt.Sprint("move of event ", e.id)] = e.journey.least
			seen[i][fmt.Sprint("skew of event ", e.id)] = uint64(e.skew.Load())
			return true
		})
		for id, c := range s.creations {
			seen[i][fmt.Sprint("creation ", id)] = uint64(len(c.bytes))
		}
		for id := range s.deletions {
			seen[i][fmt.Sprint("deletion ", id)] = 1
		}
		for id, d := range s.departures {
			seen[i][fmt.Sprint("departure ", id)] = d.number
		}
		for id, st := range s.stages {
			seen[i][fmt.Sprint("stage ", id)] = st.number<<32 | st.attempt<<8 | uint64(len(st.bytes))
		}
		for id, b := range s.berths.of {
			seen[i][fmt.Sprint("berth ", id)] = b.number<<32 | uint64(b.touched)
		}
	}
	for i := range seen {
		for what, v := range seen[i] {
			if other, ok := seen[1-i][what]; !ok || other != v {
				text += fmt.Sprintf("; %s: %d in shard %d, %d in the other", what, v, i, other)
			}
		}
	}
	return text
}

// exactDue looks at everything that ends.
func exactDue(s *Shard) wire.Millis {
	due := wire.Never
	s.Events(func(e *Event) bool {
		if e.journey.frozen != 0 {
			return true
		}
		own := wire.Never
		e.eachHold(func(_ uint32, h *hold) {
			if h.live() {
				own = min(own, h.deadline)
			}
		})
		if ended, _ := e.oldest(); ended != wire.Never {
			own = min(own, (ended+s.config.Window+wakeEvery-1)/wakeEvery*wakeEvery)
		}
		if own != wire.Never {
			due = min(due, own-wire.Millis(e.skew.Load()))
		}
		return true
	})
	for _, c := range s.creations {
		due = min(due, c.touched+s.config.Window)
	}
	for _, st := range s.stages {
		due = min(due, st.touched+s.config.Window)
	}
	for _, b := range s.berths.of {
		due = min(due, b.touched+s.config.Window)
	}
	for _, d := range s.departures {
		due = min(due, d.at+departureWindows*s.config.Window)
	}
	return due
}

// A snapshotRun is a snapshot being taken.
type snapshotRun struct {
	index uint64
	stamp wire.Millis
	todo  []uint64
	parts map[uint64][]byte
}

func beginSnapshot(s *Shard) *snapshotRun {
	r := &snapshotRun{index: s.index, stamp: s.stamp, parts: map[uint64][]byte{}}
	s.Parts(func(id, _ uint64) { r.todo = append(r.todo, id) })
	return r
}

// done encodes some of the parts and reports whether it has all.
func (r *snapshotRun) done(rnd *rand.Rand, s *Shard) bool {
	for range rnd.IntN(3) {
		if len(r.todo) == 0 {
			return true
		}
		k := rnd.IntN(len(r.todo))
		room := s.PartSize(r.todo[k])
		if data, ok := s.EncodePart(nil, r.todo[k]); ok {
			if room < len(data) {
				panic(fmt.Sprintf("part %d has %d bytes, said to be at most %d", r.todo[k], len(data), room))
			}
			r.parts[r.todo[k]] = data
		}
		r.todo[k] = r.todo[len(r.todo)-1]
		r.todo = r.todo[:len(r.todo)-1]
	}
	return false
}

func (r *snapshotRun) load(t *testing.T, config Config) *Shard {
	t.Helper()
	fresh := New(config)
	for id, data := range r.parts {
		if err := fresh.LoadPart(id, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := fresh.Start(r.index, r.stamp); err != nil {
		t.Fatal(err)
	}
	return fresh
}
