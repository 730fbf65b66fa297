package shard_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

// TestOracle drives a shard and a naive model of it with the same random
// operations: fresh ones, repeats, duplicates, first attempts that come late,
// with other content under a known id. Snapshots are taken part by part while
// operations go on, some are abandoned; each finished one is restored, replayed
// to the present, compared by hash, and sometimes takes the original's place.
//
// USHER_ORACLE_OPS sets the number of operations, USHER_ORACLE_SEED the seed.
func TestOracle(t *testing.T) {
	const episode = 10_000 // operations; then everything begins anew
	ops, seed := envInt(t, "USHER_ORACLE_OPS", 100_000), uint64(envInt(t, "USHER_ORACLE_SEED", int(rand.Int32())))
	for done := 0; done < ops; done += episode {
		if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { newTrial(t, seed, 3).run(episode) }) {
			t.Fatalf("rerun: USHER_ORACLE_SEED=%d USHER_ORACLE_OPS=1 go test -run TestOracle ./shard", seed)
		}
		seed++
	}
}

func envInt(t *testing.T, name string, def int) int {
	t.Helper()
	text, ok := os.LookupEnv(name)
	if !ok {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s=%q: %v", name, text, err)
	}
	return n
}

// A trial is one episode.
type trial struct {
	t     *testing.T
	rand  *rand.Rand
	model *model
	*host             // of the events
	now   wire.Millis // time of the events; that of the host unless they have moved
	still bool        // it stands, because they are frozen

	events int           // events 1, 2 … there are
	ids    []wire.ID     // of holds that were asked for, to speak of
	past   []wire.Record // to repeat
	later  []wire.Record // made, but not yet arrived
	seen   map[string]int
}

// A host is a shard with its log, of which snapshots are taken.
type host struct {
	shard  *shard.Shard
	index  uint64
	stamp  wire.Millis
	log    []logged // from index 1
	stored map[uint64]storedPart
	snap   *snapshot // under way
}

func newHost(stamp wire.Millis) *host {
	return &host{shard: shard.New(shard.Config{}), stamp: stamp, stored: make(map[uint64]storedPart)}
}

type logged struct {
	stamp wire.Millis
	ops   []byte
}

// A storedPart is a part as a snapshot store keeps it.
type storedPart struct {
	changed uint64
	data    []byte
}

// A snapshot is taken part by part.
type snapshot struct {
	index   uint64
	stamp   wire.Millis
	changed map[uint64]uint64
	todo    []uint64
	parts   map[uint64]storedPart
}

func newTrial(t *testing.T, seed uint64, events int) *trial {
	tr := &trial{
		t: t, rand: rand.New(rand.NewPCG(seed, 0)),
		model:  &model{events: make(map[wire.EventID]*modelEvent)},
		host:   newHost(1_000_000),
		now:    1_000_000,
		events: events,
		seen:   make(map[string]int),
	}
	for id := range wire.EventID(events) {
		tr.create(id + 1)
	}
	return tr
}

func (tr *trial) create(id wire.EventID) {
	m := tr.manifest(id)
	text := m.Encode()
	op := wire.Create{Mutation: wire.Mutation{Event: id, ID: wire.KeyID(m.Key)}, Total: uint32(len(text)), Digest: sha256.Sum256(text), Chunk: text}
	tr.index++
	record := wire.Record{Kind: wire.KindCreate, Body: op.Append(nil)}.Append(nil)
	tr.log = append(tr.log, logged{tr.stamp, record})
	tr.shard.Apply(tr.index, tr.stamp, record, func(_ int, s wire.Status, body []byte) {
		if s != wire.StatusOK {
			tr.t.Fatalf("create event %d: %v %s", id, s, body)
		}
	})
	tr.model.events[id] = newModelEvent(m)
}

// manifest has short rows, one that needs two words, one that just fills one,
// and an area: small enough that everybody meets everybody.
func (tr *trial) manifest(id wire.EventID) *wire.Manifest {
	m := &wire.Manifest{Key: fmt.Sprint("event-", id), Name: "trial", Categories: []string{"one", "two"}, Rules: wire.DefaultRules()}
	for s := range 2 {
		section := wire.Section{Name: fmt.Sprint("S", s)}
		for r, n := range []int{1 + tr.rand.IntN(8), []int{64, 65, 70, 12}[tr.rand.IntN(4)], 1 + tr.rand.IntN(12)} {
			row := wire.Row{Name: fmt.Sprint(r), Focal: uint16(n - 1)}
			for i := range n {
				row.Seats = append(row.Seats, wire.Seat{Label: fmt.Sprint(i + 1), Category: uint16(s)})
			}
			section.Rows = append(section.Rows, row)
		}
		m.Sections = append(m.Sections, section)
	}
	m.Areas = []wire.Area{{Name: "Floor", Category: 1, Capacity: uint32(1 + tr.rand.IntN(70))}}
	m.Rules.HoldTTL = uint32(1_000 + tr.rand.IntN(20_000))
	m.Rules.MaxTTL = m.Rules.HoldTTL * 2
	m.Rules.PayCap = uint32(1 + tr.rand.IntN(30_000))
	m.Rules.Extensions = uint8(tr.rand.IntN(3))
	m.Rules.SeatsPerHold = uint8(3 + tr.rand.IntN(8))
	m.Rules.SeatsPerBuyer = uint16(tr.rand.IntN(3) * 8)
	m.Rules.RefuseOrphans = tr.rand.IntN(3) == 0
	return m
}

func (tr *trial) run(ops int) {
	for done := 0; done < ops; {
		batch := tr.batch(1 + tr.rand.IntN(12))
		done += len(batch)
		tr.apply(batch)
		tr.snapshots(tr.host)
		if tr.rand.IntN(50) == 0 {
			tr.compareMaps()
		}
	}
	tr.compareMaps()
	for _, must := range []string{"ok", "taken", "not_enough", "expired", "released", "booked", "lost", "fence_mismatch", "late", "id_reused",
		"not_called", "lapsed", "left", "pass_required", "pass_ended", "pass_limit", "no_room", "room_closed"} {
		if tr.seen[must] == 0 {
			tr.t.Logf("no operation answered %s in this episode", must)
		}
	}
}

// apply decides a batch in one entry and lets the model check each outcome.
func (tr *trial) apply(batch []wire.Record) {
	passed := tr.pause()
	tr.stamp += passed
	tr.now += passed
	tr.decide(batch)
}

// pause is how long it takes to the next entry.
func (tr *trial) pause() wire.Millis {
	switch tr.rand.IntN(200) {
	case 0:
		// The shard had nothing to do for long; but see executesAgain.
		return wire.Millis(tr.rand.IntN(modelWindow / 2))
	case 1, 2, 3, 4, 5, 6, 7, 8:
		return wire.Millis(tr.rand.IntN(5_000))
	default:
		return wire.Millis(tr.rand.IntN(60))
	}
}

// decide applies a batch now.
func (tr *trial) decide(batch []wire.Record) {
	tr.index++
	var ops []byte
	for _, r := range batch {
		ops = r.Append(ops)
	}
	tr.log = append(tr.log, logged{tr.stamp, ops})
	tr.model.advance(tr.now)
	answered := 0
	tr.shard.Apply(tr.index, tr.stamp, ops, func(i int, s wire.Status, body []byte) {
		if i != answered {
			tr.t.Fatalf("outcome %d in place of %d", i, answered)
		}
		answered++
		tr.seen[s.String()]++
		if err := tr.model.decide(batch[i], s, body); err != nil {
			tr.t.Fatalf("entry %d at %d, operation %d, kind %d: %v", tr.index, tr.now, i, batch[i].Kind, err)
		}
	})
	if answered != len(batch) {
		tr.t.Fatalf("%d of %d operations answered", answered, len(batch))
	}
}

// snapshots goes on with a snapshot, one or two parts at a time.
func (tr *trial) snapshots(h *host) {
	if h.snap == nil {
		if h.index > 0 && tr.rand.IntN(20) == 0 {
			tr.beginSnapshot(h)
		}
		return
	}
	if tr.rand.IntN(30) == 0 {
		h.snap = nil // abandoned
		return
	}
	for range 1 + tr.rand.IntN(2) {
		if len(h.snap.todo) == 0 {
			tr.finishSnapshot(h)
			return
		}
		id := h.snap.todo[0]
		h.snap.todo = h.snap.todo[1:]
		if data, ok := h.shard.EncodePart(nil, id); ok {
			h.snap.parts[id] = storedPart{h.snap.changed[id], data}
		}
	}
}

func (tr *trial) beginSnapshot(h *host) {
	s := &snapshot{index: h.index, stamp: h.stamp, changed: make(map[uint64]uint64), parts: make(map[uint64]storedPart)}
	h.shard.Parts(func(id, changed uint64) {
		s.changed[id] = changed
		if have, ok := h.stored[id]; ok && have.changed == changed {
			s.parts[id] = have
			return
		}
		s.todo = append(s.todo, id)
	})
	tr.rand.Shuffle(len(s.todo), func(i, j int) { s.todo[i], s.todo[j] = s.todo[j], s.todo[i] })
	h.snap = s
}

// finishSnapshot restores it, replays what came after, and compares.
func (tr *trial) finishSnapshot(h *host) {
	s := h.snap
	h.snap, h.stored = nil, s.parts
	restored := shard.New(shard.Config{})
	for id, p := range s.parts {
		if err := restored.LoadPart(id, p.data); err != nil {
			tr.t.Fatalf("load part %d of the snapshot at %d: %v", id, s.index, err)
		}
	}
	if err := restored.Start(s.index, s.stamp); err != nil {
		tr.t.Fatalf("start from the snapshot at %d: %v", s.index, err)
	}
	for i := s.index; i < h.index; i++ {
		restored.Apply(i+1, h.log[i].stamp, h.log[i].ops, nil)
	}
	if a, b := h.shard.Hash(), restored.Hash(); a != b {
		tr.t.Fatalf("entry %d: hash %x, restored from the snapshot at %d it is %x", h.index, a, s.index, b)
	}
	for _, m := range []*shard.Shard{h.shard, restored} {
		if due, want := m.NextDue(), tr.nextDue(h); due > want {
			tr.t.Fatalf("entry %d: next due at %d, but a hold at %d", h.index, due, want)
		}
	}
	if tr.rand.IntN(2) == 0 {
		h.shard = restored
	}
}

// nextDue is the shard time at which a hold expires, as the model sees it.
func (tr *trial) nextDue(h *host) wire.Millis {
	due := tr.model.nextDue()
	if h != tr.host || tr.still || due == wire.Never {
		return wire.Never
	}
	return due - tr.now + h.stamp
}

// compareMaps holds every seat and every hold against the model.
func (tr *trial) compareMaps() {
	for id, e := range tr.model.events {
		ref := wire.EventRef{Event: id}
		status, body := tr.shard.Query(wire.Record{Kind: wire.KindMap, Body: ref.Append(nil)}, tr.stamp, nil)
		var m wire.SeatMap
		if err := m.Decode(body); status != wire.StatusOK || err != nil {
			tr.t.Fatalf("map of event %d: %v %v", id, status, err)
		}
		for s, want := range e.state {
			if got := m.State(s); got != want {
				tr.t.Fatalf("entry %d, event %d: seat %d is %v, want %v", tr.index, id, s, got, want)
			}
		}
		for _, h := range e.holds {
			tr.compareHold(id, e, h)
		}
		tr.compareRoom(id, e)
	}
}

func (tr *trial) compareHold(id wire.EventID, e *modelEvent, h *modelHold) {
	ref := wire.HoldRef{Event: id, ID: h.id}
	tr.shard.Read(wire.Record{Kind: wire.KindGetHold, Body: ref.Append(nil)}, func(s wire.Status, body []byte) {
		a := e.answers[h.id]
		if s == wire.StatusUnknownHold || s == wire.StatusTooOld {
			if a.ended == wire.Never || tr.now-a.ended < modelWindow {
				tr.t.Fatalf("entry %d, event %d: hold %v is not known any more: %v", tr.index, id, h.id, s)
			}
			return
		}
		var info wire.HoldInfo
		if err := info.Decode(body); s != wire.StatusOK || err != nil {
			tr.t.Fatalf("read hold %v: %v %v", h.id, s, err)
		}
		if h.state == wire.StateCancelled && info.State == wire.StateReleased {
			info.State = h.state // some were cancelled and others released: both are true
		}
		if info.State != h.state || info.Fence != h.fence || info.Buyer != h.buyer {
			tr.t.Fatalf("entry %d: hold %v is %+v, want %v, fence %d", tr.index, h.id, info, h.state, h.fence)
		}
		if !sameSeats(info.Held.IDs(), h.in(wire.StateHeld)) || !sameSeats(info.Booked.IDs(), h.in(wire.StateBooked)) {
			tr.t.Fatalf("entry %d: hold %v has %v held and %v booked, want %v and %v", tr.index, h.id,
				info.Held.IDs(), info.Booked.IDs(), h.in(wire.StateHeld), h.in(wire.StateBooked))
		}
	})
}
