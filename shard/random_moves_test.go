package shard

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// A world is a few shards with times of their own, between which the events of a
// crowd are moved by people who make every mistake there is: they take images too
// early, leave chunks and entries out, give up and begin again, adopt what is not
// complete, thaw what has left, and whatever they ever sent comes once more.
type world struct {
	t       *testing.T
	rnd     *rand.Rand
	config  Config
	crowd   *crowd
	towns   []*town
	trips   []*trip
	number  uint64
	history []step
	adopted int
}

// A town is a shard of a world.
type town struct {
	s     *Shard
	stamp wire.Millis
	log   []logged
	snap  *snapshotRun
	seen  map[wire.EventID]changedState
}

// A trip is a move as whoever sees to it knows it.
type trip struct {
	event    wire.EventID
	number   uint64
	attempt  uint64
	from, to int
	image    []byte
	sent     int    // bytes of image
	after    uint64 // entry of the old shard that was replayed last
	frozen   *wire.Frozen
	ready    *step // waits for an entry of its town
	over     bool
}

// A step is a record for a town. learn, if not nil, is given its outcome.
type step struct {
	town  int
	r     wire.Record
	learn func(wire.Status, []byte)
}

// TestMovesFromSkewedParts is TestReplayFromSkewedParts for several shards and
// events that move between them.
func TestMovesFromSkewedParts(t *testing.T) {
	rounds, adopted := 150, 0
	if testing.Short() {
		rounds = 15
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			w := newWorld(t)
			for range 800 {
				w.entry(w.rnd.IntN(len(w.towns)))
			}
			adopted += w.adopted
		})
	}
	if adopted < 5*rounds {
		t.Errorf("only %d events arrived in %d rounds", adopted, rounds)
	}
}

func newWorld(t *testing.T) *world {
	rnd := newRandom(t)
	w := &world{t: t, rnd: rnd, crowd: newCrowd(rnd)}
	w.config = Config{Remembered: 10 + rnd.IntN(60), Window: wire.Millis(500 + rnd.IntN(2000))}
	for range 2 + rnd.IntN(2) {
		w.towns = append(w.towns, &town{s: New(w.config), stamp: wire.Millis(rnd.IntN(30_000)), seen: map[wire.EventID]changedState{}})
	}
	return w
}

// entry applies one entry of a town.
func (w *world) entry(k int) {
	town := w.towns[k]
	town.stamp += wire.Millis(w.rnd.IntN(40))
	if w.rnd.IntN(100) == 0 {
		town.stamp += w.config.Window
	}
	steps := w.steps(k)
	var ops []byte
	for _, s := range steps {
		ops = s.r.Append(ops)
	}
	town.log = append(town.log, logged{town.stamp, ops})
	town.s.Apply(uint64(len(town.log)), town.stamp, ops, func(i int, st wire.Status, body []byte) {
		w.crowd.learn(steps[i].r, st, body)
		if steps[i].learn != nil {
			steps[i].learn(st, body)
		}
	})
	verifyShard(w.t, town.s)
	verifyChanged(w.t, town.s, town.seen)
	if got, want := town.s.NextDue(), exactDue(town.s); got > want {
		w.t.Fatalf("shard %d says that it is due at %d, but is at %d", k, got, want)
	}
	w.snapshot(town)
}

// snapshot goes on with a snapshot, and goes on from it when it is complete.
func (w *world) snapshot(town *town) {
	switch {
	case town.snap == nil:
		if w.rnd.IntN(10) == 0 {
			town.snap = beginSnapshot(town.s)
		}
	case town.snap.done(w.rnd, town.s):
		index := town.snap.index
		copied := town.snap.load(w.t, w.config)
		for i := index; i < uint64(len(town.log)); i++ {
			if w.rnd.IntN(20) == 0 {
				copied = restored(w.t, copied, w.config)
			}
			copied.Apply(i+1, town.log[i].stamp, town.log[i].ops, nil)
		}
		verifyShard(w.t, copied)
		if copied.Hash() != town.s.Hash() {
			w.t.Fatalf("snapshot of entry %d, replayed to entry %d: hash differs%s", index, len(town.log), difference(town.s, copied))
		}
		if w.rnd.IntN(2) == 0 {
			town.s = copied
		}
		town.snap = nil
	}
}

// steps are what an entry of a town is made of.
func (w *world) steps(k int) (list []step) {
	for range w.rnd.IntN(5) {
		w.crowd.now = w.towns[k].stamp
		if e := w.towns[k].s.Event(w.crowd.event()); e != nil {
			w.crowd.now = e.Now(w.crowd.now)
		}
		list = append(list, step{town: k, r: w.crowd.request()})
	}
	for range w.rnd.IntN(10) {
		if s, ok := w.move(k); ok {
			list = append(list, s)
			w.history = append(w.history, s)
		}
	}
	if len(w.history) > 0 && w.rnd.IntN(6) == 0 {
		s := w.history[w.rnd.IntN(len(w.history))]
		s.learn = nil
		list = append(list, s)
	}
	return list
}

// move is the next step of some trip, if it is one in this town.
func (w *world) move(k int) (step, bool) {
	if len(w.trips) < 3 {
		w.begin()
		return step{}, false
	}
	i := w.rnd.IntN(len(w.trips))
	t := w.trips[i]
	if t.over || w.rnd.IntN(60) == 0 {
		w.trips = append(w.trips[:i], w.trips[i+1:]...)
		return step{}, false
	}
	if t.ready == nil {
		if s, ok := w.next(t); ok {
			t.ready = &s
		}
	}
	if t.ready == nil || t.ready.town != k {
		return step{}, false
	}
	s := *t.ready
	t.ready = nil
	return s, true
}

// begin begins a trip of some event.
func (w *world) begin() {
	event, from := w.crowd.event(), w.rnd.IntN(len(w.towns))
	if w.towns[from].s.Event(event) == nil {
		return
	}
	w.number++
	to := (from + 1 + w.rnd.IntN(len(w.towns)-1)) % len(w.towns)
	w.trips = append(w.trips, &trip{event: event, number: w.number, from: from, to: to})
}

// next is what comes next on a trip, mostly.
func (w *world) next(t *trip) (step, bool) {
	m := wire.Mutation{Event: t.event}
	at := func(town int, kind wire.Kind, body interface{ Append([]byte) []byte }) (step, bool) {
		return step{town: town, r: wire.Record{Kind: kind, Body: body.Append(nil)}}, true
	}
	switch n := w.rnd.IntN(60); {
	case n == 0:
		return at(t.from, wire.KindThaw, &wire.Numbered{Mutation: m, Number: t.number})
	case n == 1:
		return at(t.from, wire.KindDrop, &wire.Numbered{Mutation: m, Number: t.number})
	case n == 2:
		return at(t.to, wire.KindAdopt, &wire.Adopt{Mutation: m, Number: t.number, Attempt: t.attempt})
	case n == 3, t.image == nil:
		image, ok := w.towns[t.from].s.AppendImage(nil, t.event)
		t.over = !ok
		t.image, t.sent = image, 0
		t.attempt++
		t.after = uint64(len(w.towns[t.from].log))
		return step{}, false
	case t.sent < len(t.image):
		return w.send(t)
	case t.frozen == nil && n < 10, n == 4:
		s, ok := at(t.from, wire.KindFreeze, &wire.Freeze{Mutation: m, Number: t.number})
		s.learn = func(st wire.Status, body []byte) {
			var f wire.Frozen
			if t.over = st != wire.StatusOK; !t.over && f.Decode(body) == nil {
				t.frozen = &f
			}
		}
		return s, ok
	case t.frozen == nil || t.after < t.frozen.Index:
		return w.catchUp(t)
	}
	s, ok := at(t.to, wire.KindAdopt, &wire.Adopt{
		Mutation: m, Number: t.number, Attempt: t.attempt, Hash: t.frozen.Hash, Now: t.frozen.Now, Epoch: t.frozen.Epoch + 1,
	})
	s.learn = func(st wire.Status, _ []byte) {
		if st == wire.StatusOK {
			w.adopted++
			w.history = append(w.history, step{town: t.from, r: wire.Record{Kind: wire.KindDrop, Body: (&wire.Numbered{Mutation: m, Number: t.number}).Append(nil)}})
		}
		if t.image = nil; w.rnd.IntN(3) > 0 {
			t.over = true
		}
	}
	return s, ok
}

// send sends a chunk, now and then one that is not the next.
func (w *world) send(t *trip) (step, bool) {
	from := t.sent
	if w.rnd.IntN(20) == 0 {
		from = w.rnd.IntN(len(t.image))
	}
	to := from + 1 + w.rnd.IntN(len(t.image)-from)
	t.sent = max(t.sent, to)
	o := wire.Import{
		Mutation: wire.Mutation{Event: t.event}, Number: t.number, Attempt: t.attempt,
		Offset: uint32(from), Total: uint32(len(t.image)), Chunk: t.image[from:to],
	}
	return step{town: t.to, r: wire.Record{Kind: wire.KindImport, Body: o.Append(nil)}}, true
}

// catchUp replays some entries, now and then not from where the last ones ended.
func (w *world) catchUp(t *trip) (step, bool) {
	log := w.towns[t.from].log
	after := t.after
	switch w.rnd.IntN(20) {
	case 0:
		after = uint64(w.rnd.IntN(len(log) + 1))
	case 1:
		after = min(after+1, uint64(len(log)))
	}
	last := after + uint64(w.rnd.IntN(min(8, len(log)-int(after))+1))
	if t.frozen != nil && after <= t.frozen.Index {
		last = min(last, t.frozen.Index)
	}
	o := wire.Replay{Mutation: wire.Mutation{Event: t.event}, Number: t.number, Attempt: t.attempt, After: after}
	for i := after; i < last; i++ {
		o.Entries = wire.AppendReplayed(o.Entries, i+1, log[i].stamp, about(t.event, log[i].ops))
	}
	if after == t.after {
		t.after = last
	}
	return step{town: t.to, r: wire.Record{Kind: wire.KindReplay, Body: o.Append(nil)}}, true
}
