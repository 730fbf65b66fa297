package shard

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/usher-seats/usher/wire"
)

// TestScenarios runs the transcripts in testdata/scenarios. Each command is one
// entry of a log, and says what it was answered and what changed. After each, the
// invariants are recomputed, and a shard restored from a snapshot must have the
// same hash.
//
// Seats are written as in "3", or "1:3" for bit 3 of word 1; ids as small numbers
// that stand for timed ids, or as words that stand for hashed keys; the fence
// quoted is that of the hold, unless the command gives another.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sc := newScenario(Config{})
			datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
				out := sc.run(t, d)
				sc.verify(t)
				return out
			})
		})
	}
}

// A scenario is a shard with one event at a time, and the names that a transcript
// gives to things.
type scenario struct {
	s      *Shard
	config Config
	index  uint64
	at     wire.Millis
	event  wire.EventID
	ids    map[string]wire.ID
	names  []string // of ids, as they came
	states map[string]wire.HoldState
	rules  wire.Rules
	load   []byte // manifest
	batch  []byte // records of a batch that is being written
	what   []wire.Kind

	// A transcript about moves has several shards, and each its log.
	name   string // of the one that commands go to
	others map[string]other
	log    []logged // from entry 1
	image  []byte   // the latest that was taken
	frozen wire.Frozen
}

// An other is a shard that commands do not go to at the moment.
type other struct {
	s     *Shard
	index uint64
	at    wire.Millis
	log   []logged
}

func newScenario(c Config) *scenario {
	return &scenario{s: New(c), config: c, ids: make(map[string]wire.ID), states: make(map[string]wire.HoldState)}
}

func (sc *scenario) run(t *testing.T, d *datadriven.TestData) string {
	c := &command{T: t, d: d, sc: sc}
	if d.Cmd == "shard" {
		return sc.turn(c)
	}
	sc.at = wire.Millis(c.number("at", int(sc.at)))
	switch d.Cmd {
	case "config":
		*sc = *newScenario(Config{Remembered: c.number("remembered", 0), Window: wire.Millis(c.number("window", 0)), Changes: c.number("changes", 0)})
		return ""
	case "event":
		return sc.makeEvent(c)
	case "tick":
		return sc.apply(t)
	case "batch":
		return sc.runBatch(c)
	case "get":
		return sc.get(c)
	case "place":
		return sc.place(c)
	case "map", "changes", "info", "manifest", "queue":
		return sc.query(c)
	case "look":
		return sc.look(c)
	case "due":
		return sc.due()
	case "restore":
		return sc.restore(t)
	case "image":
		return sc.takeImage(c)
	case "sale":
		e := sc.s.Event(sc.event)
		return fmt.Sprintf("%v due=%v", e.Sale(), e.SaleDue(int64(c.number("wall", 0))))
	}
	for _, r := range c.records() {
		sc.add(r)
	}
	return sc.apply(t)
}

// runBatch applies one entry of several operations, one per line.
func (sc *scenario) runBatch(c *command) string {
	for line := range strings.Lines(c.d.Input) {
		cmd, args, err := datadriven.ParseLine(strings.TrimSpace(line))
		if err != nil {
			c.Fatal(err)
		}
		one := &command{T: c.T, d: &datadriven.TestData{Pos: c.d.Pos, Cmd: cmd, CmdArgs: args}, sc: sc}
		sc.add(one.record())
	}
	return sc.apply(c.T)
}

func (sc *scenario) add(r wire.Record) {
	sc.batch = r.Append(sc.batch)
	sc.what = append(sc.what, r.Kind)
}

// apply applies what was added as one entry and says what came of it.
func (sc *scenario) apply(t *testing.T) string {
	var out strings.Builder
	sc.index++
	sc.log = append(sc.log, logged{sc.at, slices.Clone(sc.batch)})
	asked := 0
	sc.s.Apply(sc.index, sc.at, sc.batch, func(i int, s wire.Status, body []byte) {
		if i != asked {
			t.Errorf("outcome %d came as number %d", i, asked)
		}
		asked++
		kind := wire.Kind(0)
		if i < len(sc.what) {
			kind = sc.what[i]
		}
		out.WriteString(answerText(kind, s, body))
		out.WriteByte('\n')
		if kind == wire.KindFreeze && s == wire.StatusOK {
			if err := sc.frozen.Decode(body); err != nil {
				t.Error(err)
			}
		}
	})
	if asked < len(sc.what) {
		t.Errorf("%d operations got %d outcomes", len(sc.what), asked)
	}
	sc.batch, sc.what = sc.batch[:0], nil
	return strings.TrimSuffix(out.String(), "\n") + sc.summary(t)
}

// summary says which holds expired and counts the seats.
func (sc *scenario) summary(t *testing.T) string {
	e := sc.s.Event(sc.event)
	if e == nil {
		return ""
	}
	var b strings.Builder
	var expired []string
	for _, name := range sc.names {
		id := sc.ids[name]
		state := wire.HoldState(0)
		if _, h := e.holdByID(&id); h != nil {
			state = h.state
		}
		if state == wire.StateExpired && sc.states[name] != state {
			expired = append(expired, name)
		}
		sc.states[name] = state
	}
	if len(expired) > 0 {
		fmt.Fprintf(&b, " expired=(%s)", strings.Join(expired, ","))
	}
	_, body := sc.s.Query(wire.Record{Kind: wire.KindEvent, Body: (&wire.EventRef{Event: sc.event}).Append(nil)}, sc.at, nil)
	var info wire.EventInfo
	if err := info.Decode(body); err != nil {
		t.Fatal(err)
	}
	b.WriteString(countsText(info.Total))
	return b.String()
}

func countsText(c wire.Counts) string {
	s := fmt.Sprintf(" free=%d", c.Free)
	for _, other := range []struct {
		name string
		n    uint32
	}{{"held", c.Held}, {"booked", c.Booked}, {"blocked", c.Blocked}} {
		if other.n > 0 {
			s += fmt.Sprintf(" %s=%d", other.name, other.n)
		}
	}
	return s
}

// verify recomputes the invariants and restores a copy.
func (sc *scenario) verify(t *testing.T) {
	t.Helper()
	verifyShard(t, sc.s)
	copied := restored(t, sc.s, sc.config)
	if got, want := copied.Hash(), sc.s.Hash(); got != want {
		t.Errorf("hash of the restored shard is %#x, want %#x", got, want)
	}
}

func verifyShard(t testing.TB, s *Shard) {
	t.Helper()
	s.Events(func(e *Event) bool {
		if err := e.check(); err != nil {
			t.Fatalf("event %d: %v", e.id, err)
		}
		if e.loadedAt <= s.index && e.due != s.nextDue(e) || (e.at != 0) != (e.due != wire.Never) {
			t.Fatalf("event %d: due at %d, is at %d; its place on the agenda is %d", e.id, s.nextDue(e), e.due, e.at)
		}
		if e.life.Load() != e.journey.life() || s.creations[e.id] != nil || s.deletions[e.id] != nil || s.departures[e.id] != nil {
			t.Fatalf("event %d lives and has been created, deleted or left: life %d", e.id, e.life.Load())
		}
		return true
	})
	for i, e := range s.agenda.heap {
		if e.at != i+1 || i > 0 && s.agenda.heap[(i+1)/2-1].due > e.due || !e.Live() {
			t.Fatalf("event %d is number %d on the agenda and says %d", e.id, i+1, e.at)
		}
	}
	verifyStages(t, s)
}

func verifyStages(t testing.TB, s *Shard) {
	t.Helper()
	sum := uint64(0)
	for _, b := range s.berths.of {
		sum += uint64(b.total)
	}
	if sum != s.berths.bytes || sum > maxStaged || len(s.berths.of) > maxStages {
		t.Fatalf("%d berths have %d bytes, counted %d", len(s.berths.of), sum, s.berths.bytes)
	}
	for id, st := range s.stages {
		b, has := s.berths.of[id]
		if !s.contained(id) && (!has || b.compare(st.moveNumber) < 0 || b.total < st.total || b.touched < st.touched) {
			t.Fatalf("the stage of event %d is %+v, its berth %+v", id, st, b)
		}
		if (st.shard == nil) == (st.bytes == nil) || len(st.bytes) >= int(st.total) {
			t.Fatalf("the stage of event %d has %d bytes of %d", id, len(st.bytes), st.total)
		}
		if st.shard != nil {
			verifyShard(t, st.shard)
		}
	}
}

// restored loads all parts of a shard into a new one, in no particular order.
func restored(t testing.TB, s *Shard, c Config) *Shard {
	t.Helper()
	fresh := New(c)
	parts := map[uint64]uint64{}
	s.Parts(func(id, changed uint64) {
		if _, twice := parts[id]; twice {
			t.Fatalf("part %d is there twice", id)
		}
		parts[id] = changed
	})
	for id := range parts {
		data, ok := s.EncodePart(nil, id)
		if !ok {
			t.Fatalf("part %d has gone", id)
		}
		if room := s.PartSize(id); room < len(data) || room > 4*len(data)+4096 {
			t.Fatalf("part %d has %d bytes, said to be %d", id, len(data), room)
		}
		if err := fresh.LoadPart(id, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := fresh.Start(s.index, s.stamp); err != nil {
		t.Fatal(err)
	}
	fresh.Parts(func(id, changed uint64) {
		if parts[id] != changed {
			t.Fatalf("part %d changed at %d, in the restored shard at %d", id, parts[id], changed)
		}
	})
	return fresh
}

// restore goes on with a shard that was restored from a snapshot.
func (sc *scenario) restore(t *testing.T) string {
	sc.s = restored(t, sc.s, sc.config)
	return "ok" + sc.summary(t)
}

func (sc *scenario) due() string {
	if due := sc.s.NextDue(); due != wire.Never {
		return fmt.Sprint(due)
	}
	return "never"
}

func (sc *scenario) get(c *command) string {
	ref := wire.HoldRef{Event: sc.event, ID: c.id("id")}
	var text string
	sc.s.Read(wire.Record{Kind: wire.KindGetHold, Body: ref.Append(nil)}, func(s wire.Status, body []byte) {
		text = answerText(wire.KindGetHold, s, body)
	})
	return text
}

func (sc *scenario) query(c *command) string {
	kind := map[string]wire.Kind{"map": wire.KindMap, "changes": wire.KindChanges, "info": wire.KindEvent, "manifest": wire.KindManifest, "queue": wire.KindQueue}[c.d.Cmd]
	body := (&wire.EventRef{Event: sc.event}).Append(nil)
	if kind == wire.KindChanges {
		since := wire.MakeVersion(uint16(c.number("epoch", firstEpoch)), uint64(c.number("since", 0)))
		body = (&wire.ChangesQuery{Event: sc.event, Since: since}).Append(nil)
	}
	status, body := sc.s.Query(wire.Record{Kind: kind, Body: body}, sc.at, nil)
	if kind == wire.KindManifest && status == wire.StatusOK {
		return fmt.Sprintf("ok same=%v", slices.Equal(body, sc.load))
	}
	return answerText(kind, status, body)
}

func (sc *scenario) look(c *command) string {
	kind := *c.d
	kind.Cmd = "hold"
	if kind.HasArg("area") {
		kind.Cmd = "area"
	}
	if kind.HasArg("best") {
		kind.Cmd = "best"
	}
	r := (&command{T: c.T, d: &kind, sc: sc}).record()
	r.Flags = wire.Flags(c.number("repeat", 0))
	status, body, decided := sc.s.Look(r, sc.at, nil)
	if !decided {
		return "undecided"
	}
	return answerText(r.Kind, status, body)
}

// makeEvent creates an event, after the one before it.
func (sc *scenario) makeEvent(c *command) string {
	m := c.manifest()
	sc.load = m.Encode()
	if c.d.HasArg("broken") {
		sc.load[len(sc.load)-1] ^= 1
	}
	if !c.d.HasArg("same") {
		sc.event++
	}
	sc.rules = m.Rules
	chunk := c.number("chunk", len(sc.load))
	from, to := c.number("from", 0), c.number("to", len(sc.load))
	for at := from; at < to; at += chunk {
		o := wire.Create{
			Mutation: wire.Mutation{Event: sc.event, ID: c.newID(), Deadline: wire.Millis(c.number("deadline", 0))},
			Offset:   uint32(at), Total: uint32(len(sc.load)), Digest: sum256(sc.load),
			Chunk: sc.load[at:min(at+chunk, to)],
		}
		if c.d.HasArg("lie") {
			o.Digest[0]++
		}
		sc.add(wire.Record{Kind: wire.KindCreate, Body: o.Append(nil)})
	}
	return sc.apply(c.T)
}

// numberedID is the id that a number in a transcript stands for.
func numberedID(at wire.Millis, n int) wire.ID {
	var random [10]byte
	binary.BigEndian.PutUint64(random[2:], uint64(n))
	return wire.NewID(at, random)
}
