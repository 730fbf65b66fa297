package directory

import (
	"crypto/sha256"
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
// entry's stamp; by and wall put it into a By.
func (s *script) run(t *testing.T, c *datadriven.TestData) string {
	s.t = t
	if said, ok := s.look(c); ok {
		return said
	}
	kind, body := s.operation(c)
	r := wire.Record{Kind: kind, Body: body}
	if c.HasArg("by") || c.HasArg("wall") {
		by := wire.By{Name: []byte(stringArg(t, c, "by")), Wall: int64(intArg(t, c, "wall")), Record: r.Append(nil)}
		r = wire.Record{Kind: wire.KindBy, Body: by.Append(nil)}
	}
	s.index++
	var said string
	s.d.Apply(s.index, wire.Millis(intArg(t, c, "at")), r.Append(nil), func(_ int, status wire.Status, body []byte) {
		said = answerText(kind, status, body)
	})
	return said
}

// look plays a command that is no operation.
func (s *script) look(c *datadriven.TestData) (said string, ok bool) {
	switch c.Cmd {
	case "locate":
		return s.read(wire.KindLocate, (&wire.Key{Key: []byte(stringArg(s.t, c, "key"))}).Append(nil)), true
	case "events":
		q := wire.EventsQuery{After: []byte(stringArg(s.t, c, "after")), Limit: uint16(intArg(s.t, c, "limit"))}
		return s.read(wire.KindEvents, q.Append(nil)), true
	case "nodes":
		return s.read(wire.KindNodes, []byte(c.Input)), true
	case "table":
		return describe(s.d.Table()), true
	case "cluster":
		return describeCluster(s.d.Table()), true
	case "moving":
		return describeMoving(s.d.Table()), true
	case "audit":
		return describeAudit(s.d.Table()), true
	case "plan":
		return describePlan(s.d.Table()), true
	case "save":
		s.saved, _ = s.d.EncodePart(nil, partAll)
		return "saved", true
	case "load":
		return s.load(), true
	}
	return "", false
}

// operation makes the body of a command.
func (s *script) operation(c *datadriven.TestData) (wire.Kind, []byte) {
	t := s.t
	m := wire.Mutation{
		ID:       wire.KeyID(strconv.Itoa(intArg(t, c, "id"))),
		Event:    wire.EventID(intArg(t, c, "event")),
		Deadline: wire.Millis(intArg(t, c, "deadline")),
	}
	name := []byte(stringArg(t, c, "name"))
	secret := sha256.Sum256([]byte(stringArg(t, c, "secret")))
	switch c.Cmd {
	case "bootstrap":
		op := firstCluster(uint32(intArg(t, c, "shards")))
		op.Mutation = m
		if c.HasArg("replicas") {
			op.Replicas = uint8(intArg(t, c, "replicas"))
		}
		return wire.KindBootstrap, op.Append(nil)
	case "assign":
		op := wire.Assign{Mutation: m, Key: []byte(stringArg(t, c, "key")), Digest: sha256.Sum256([]byte(stringArg(t, c, "manifest")))}
		return wire.KindAssign, op.Append(nil)
	case "unassign":
		return wire.KindUnassign, (&wire.EventOp{Mutation: m}).Append(nil)
	case "add-key":
		role, _ := wire.ParseRole(stringArg(t, c, "role"))
		return wire.KindAddKey, (&wire.AddKey{Mutation: m, Name: name, Hash: secret, Role: role}).Append(nil)
	case "drop-key":
		return wire.KindDropKey, (&wire.DropKey{Mutation: m, Name: name}).Append(nil)
	case "add-signing-key":
		return wire.KindAddSigningKey, (&wire.AddSigningKey{Mutation: m, Secret: secret}).Append(nil)
	case "add-node":
		node := wire.NodeInfo{Name: name, Incarnation: [16]byte{byte(intArg(t, c, "data"))},
			Peer: []byte(stringArg(t, c, "peer")), Addr: []byte(stringArg(t, c, "addr"))}
		return wire.KindAddNode, (&wire.AddNode{Mutation: m, Node: node}).Append(nil)
	case "drain-node":
		return wire.KindDrainNode, (&wire.DrainNode{Mutation: m, Name: name, Drain: !c.HasArg("off")}).Append(nil)
	case "remove-node":
		return wire.KindRemoveNode, (&wire.RemoveNode{Mutation: m, Name: name, Force: c.HasArg("force")}).Append(nil)
	case "add-shards":
		return wire.KindAddShards, (&wire.AddShards{Mutation: m, Count: uint32(intArg(t, c, "count"))}).Append(nil)
	case "set-replicas":
		op := wire.SetReplicas{Mutation: m, Shard: uint32(intArg(t, c, "shard")), Base: uint64(intArg(t, c, "base"))}
		for _, node := range listArg(c, "nodes") {
			op.Nodes = append(op.Nodes, []byte(node))
		}
		return wire.KindSetReplicas, op.Append(nil)
	case "move":
		return wire.KindMove, (&wire.Move{Mutation: m, To: uint32(intArg(t, c, "to"))}).Append(nil)
	case "moved":
		return wire.KindMoved, (&wire.Numbered{Mutation: m, Number: uint64(intArg(t, c, "number"))}).Append(nil)
	case "unmove":
		return wire.KindUnmove, (&wire.Numbered{Mutation: m, Number: uint64(intArg(t, c, "number"))}).Append(nil)
	case "raw":
		return wire.Kind(intArg(t, c, "kind")), []byte(c.Input)
	}
	t.Fatalf("%s: unknown command %s", c.Pos, c.Cmd)
	return 0, nil
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
	return strings.ReplaceAll(v, "~", " ")
}

func listArg(c *datadriven.TestData, name string) []string {
	for _, arg := range c.CmdArgs {
		if arg.Key == name {
			return arg.Vals
		}
	}
	return nil
}
