package directory

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/usher-seats/usher/wire"
)

// TestTranscripts proves the directory's decisions: each file tells a story and
// what the directory answered.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{t: t, d: New()}
		datadriven.RunTest(t, path, s.run)
	})
}

// A script plays a transcript. One test goroutine owns it.
type script struct {
	t     *testing.T
	d     *Directory
	index uint64
	saved []byte
}

// run plays one command. The arguments id and at give the request's id and the
// entry's stamp.
func (s *script) run(t *testing.T, c *datadriven.TestData) string {
	s.t = t
	id, at := 0, 0
	if c.HasArg("id") {
		c.ScanArgs(t, "id", &id)
	}
	if c.HasArg("at") {
		c.ScanArgs(t, "at", &at)
	}
	m := wire.Mutation{ID: wire.KeyID(strconv.Itoa(id))}
	switch c.Cmd {
	case "bootstrap":
		op := firstCluster(uint32(intArg(t, c, "shards")))
		op.Mutation = m
		return s.apply(at, wire.KindBootstrap, op.Append(nil))
	case "assign":
		m.Deadline = wire.Millis(intArg(t, c, "deadline"))
		op := wire.Assign{Mutation: m, Key: []byte(stringArg(t, c, "key")), Digest: sha256.Sum256([]byte(stringArg(t, c, "manifest")))}
		return s.apply(at, wire.KindAssign, op.Append(nil))
	case "unassign":
		m.Event = wire.EventID(intArg(t, c, "event"))
		return s.apply(at, wire.KindUnassign, (&wire.EventOp{Mutation: m}).Append(nil))
	case "add-key":
		role, _ := wire.ParseRole(stringArg(t, c, "role"))
		op := wire.AddKey{Mutation: m, Name: []byte(stringArg(t, c, "name")), Hash: sha256.Sum256([]byte(stringArg(t, c, "secret"))), Role: role}
		return s.apply(at, wire.KindAddKey, op.Append(nil))
	case "drop-key":
		op := wire.DropKey{Mutation: m, Name: []byte(stringArg(t, c, "name"))}
		return s.apply(at, wire.KindDropKey, op.Append(nil))
	case "raw":
		return s.apply(at, wire.Kind(intArg(t, c, "kind")), []byte(c.Input))
	case "locate":
		return s.read(wire.KindLocate, (&wire.Key{Key: []byte(stringArg(t, c, "key"))}).Append(nil))
	case "events":
		q := wire.EventsQuery{After: []byte(stringArg(t, c, "after")), Limit: uint16(intArg(t, c, "limit"))}
		return s.read(wire.KindEvents, q.Append(nil))
	case "table":
		return describe(s.d.Table())
	case "save":
		s.saved, _ = s.d.EncodePart(nil, partAll)
		return "saved"
	case "load":
		return s.load()
	}
	t.Fatalf("%s: unknown command %s", c.Pos, c.Cmd)
	return ""
}

func (s *script) apply(at int, k wire.Kind, body []byte) string {
	s.index++
	var said string
	s.d.Apply(s.index, wire.Millis(at), wire.Record{Kind: k, Body: body}.Append(nil), func(_ int, status wire.Status, body []byte) {
		said = answerText(k, status, body)
	})
	return said
}

func (s *script) read(k wire.Kind, body []byte) string {
	var said string
	s.d.Read(wire.Record{Kind: k, Body: body}, func(status wire.Status, body []byte) {
		said = answerText(k, status, body)
	})
	return said
}

// load goes on with a directory made of what was saved. The log after it is not
// replayed, so the script says what came after again.
func (s *script) load() string {
	fresh := New()
	if err := fresh.LoadPart(partAll, s.saved); err != nil {
		return err.Error()
	}
	if err := fresh.Start(0, 0); err != nil {
		return err.Error()
	}
	s.d = fresh
	return "loaded"
}

func answerText(k wire.Kind, s wire.Status, body []byte) string {
	var loc wire.Location
	var list wire.EventList
	var clock wire.Clock
	switch {
	case s == wire.StatusLate && clock.Decode(body) == nil:
		return fmt.Sprintf("%v now=%d", s, clock.Now)
	case s != wire.StatusOK:
		return strings.TrimSpace(fmt.Sprintf("%v %s", s, body))
	case k == wire.KindEvents && list.Decode(body) == nil:
		lines := []string{"ok"}
		for _, e := range list.Entries {
			lines = append(lines, fmt.Sprintf("%s event=%d shard=%d", e.Key, e.Event, e.Shard))
		}
		return strings.Join(lines, "\n")
	case len(body) > 0 && loc.Decode(body) == nil:
		return fmt.Sprintf("ok event=%d shard=%d", loc.Event, loc.Shard)
	}
	return "ok"
}

func describe(t *Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "events=%d loads=", t.Len())
	for i := range t.Shards() {
		fmt.Fprintf(&b, "(%d)", t.Load(uint32(i)+1))
	}
	for _, k := range t.Keys() {
		role, ok := t.Role(k.Hash)
		fmt.Fprintf(&b, "\n%s %v %v", k.Name, role, ok)
	}
	return b.String()
}

func intArg(t *testing.T, c *datadriven.TestData, name string) (v int) {
	if c.HasArg(name) {
		c.ScanArgs(t, name, &v)
	}
	return v
}

func stringArg(t *testing.T, c *datadriven.TestData, name string) (v string) {
	if c.HasArg(name) {
		c.ScanArgs(t, name, &v)
	}
	return v
}
