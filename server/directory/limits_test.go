package directory

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// tell applies one operation and returns its answer.
func tell(d *Directory, k wire.Kind, body []byte) (status wire.Status, text string) {
	d.Apply(d.applied+1, 1, wire.Record{Kind: k, Body: body}.Append(nil), func(_ int, s wire.Status, body []byte) {
		status, text = s, string(body)
	})
	return status, text
}

// TestLimits proves that a full cluster refuses more with a sentence, and goes on.
func TestLimits(t *testing.T) {
	d := bigCluster(wire.MaxNodes)
	id := func(n int) wire.Mutation { return wire.Mutation{ID: wire.KeyID(fmt.Sprint("limit", n))} }
	if n := len(d.Table().Nodes()); n != wire.MaxNodes {
		t.Fatalf("the cluster has %d nodes", n)
	}
	more := wire.AddNode{Mutation: id(1), Node: nodeInfo(999, 999, 999)}
	if s, text := tell(d, wire.KindAddNode, more.Append(nil)); s != wire.StatusTooLarge || text == "" {
		t.Errorf("one node too many: %v %q", s, text)
	}
	shard := wire.AddShards{Mutation: id(2), Count: 1}
	if s, text := tell(d, wire.KindAddShards, shard.Append(nil)); s != wire.StatusTooLarge || text == "" {
		t.Errorf("one shard too many: %v %q", s, text)
	}
	shard.Count = 1<<32 - 1
	if s, text := tell(d, wire.KindAddShards, shard.Append(nil)); s != wire.StatusTooLarge || text == "" {
		t.Errorf("4,294,967,295 shards too many: %v %q", s, text)
	}
	gone := wire.RemoveNode{Mutation: id(3), Name: []byte("n200")}
	if s, text := tell(d, wire.KindRemoveNode, gone.Append(nil)); s != wire.StatusOK {
		t.Errorf("a node without replicas: %v %q", s, text)
	}
	if s, text := tell(d, wire.KindAddNode, more.Append(nil)); s != wire.StatusOK {
		t.Errorf("a node in its place: %v %q", s, text)
	}
	check(t, d)
}

// TestNames proves what a node may be called and where it may be.
func TestNames(t *testing.T) {
	d := bigCluster(1)
	long := strings.Repeat("x", maxAddr)
	for i, c := range []struct {
		name, peer string
		want       wire.Status
	}{
		{"a", "h:1", wire.StatusOK},
		{"A-Z.0_9", "h:2", wire.StatusOK},
		{strings.Repeat("n", 64), "h:3", wire.StatusOK},
		{"b", long, wire.StatusOK},
		{strings.Repeat("n", 65), "h:4", wire.StatusBadRequest},
		{"", "h:4", wire.StatusBadRequest},
		{"a b", "h:4", wire.StatusBadRequest},
		{"a/b", "h:4", wire.StatusBadRequest},
		{"ä", "h:4", wire.StatusBadRequest},
		{"n@7", "h:4", wire.StatusBadRequest},
		{"c", "", wire.StatusBadRequest},
		{"c", "h:\n4", wire.StatusBadRequest},
		{"c", long + "y", wire.StatusBadRequest},
	} {
		op := wire.AddNode{Mutation: wire.Mutation{ID: wire.KeyID(fmt.Sprint(i))}}
		op.Node = wire.NodeInfo{Name: []byte(c.name), Peer: []byte(c.peer), Incarnation: [16]byte{2, byte(i)}}
		if s, text := tell(d, wire.KindAddNode, op.Append(nil)); s != c.want {
			t.Errorf("%q at %.20q: %v %q, want %v", c.name, c.peer, s, text, c.want)
		}
	}
	check(t, d)
}

// TestReplicasOfAShard proves how many a cluster may begin with.
func TestReplicasOfAShard(t *testing.T) {
	for n, want := range map[uint8]wire.Status{
		0: wire.StatusBadRequest, 1: wire.StatusOK, wire.MaxReplicas: wire.StatusOK, wire.MaxReplicas + 1: wire.StatusBadRequest,
	} {
		op := firstCluster(1)
		op.Replicas = n
		if s, text := tell(New(), wire.KindBootstrap, op.Append(nil)); s != want {
			t.Errorf("%d replicas: %v %q", n, s, text)
		}
	}
}

// TestUnreadable proves that bodies that end too early or too late decide
// nothing, whatever they are for, and that unknown kinds are called so.
func TestUnreadable(t *testing.T) {
	d := bigCluster(1)
	before, hash := d.Table(), d.Hash()
	m := wire.Mutation{ID: wire.KeyID("unreadable")}
	for _, k := range []wire.Kind{
		wire.KindAssign, wire.KindUnassign, wire.KindAddKey, wire.KindDropKey, wire.KindBootstrap, wire.KindAddNode,
		wire.KindDrainNode, wire.KindRemoveNode, wire.KindAddShards, wire.KindSetReplicas, wire.KindMove, wire.KindMoved,
		wire.KindUnmove, wire.KindAddSigningKey,
	} {
		body := append((&wire.EventOp{Mutation: m}).Append(nil), 0xff)
		if s, text := tell(d, k, body); s != wire.StatusBadRequest || text == "" {
			t.Errorf("kind %d: %v %q", k, s, text)
		}
	}
	for _, k := range []wire.Kind{wire.KindHold, wire.KindFreeze, wire.KindAddSigningKey + 1, 255} {
		if s, text := tell(d, k, (&wire.EventOp{Mutation: m}).Append(nil)); s != wire.StatusUnknownKind || text == "" {
			t.Errorf("kind %d: %v %q", k, s, text)
		}
	}
	if s, text := tell(d, wire.KindBy, (&wire.By{Record: []byte{1}}).Append(nil)); s != wire.StatusBadRequest || text == "" {
		t.Errorf("a By with half a record: %v %q", s, text)
	}
	if d.Table() != before || d.Hash() != hash {
		t.Error("something was decided")
	}
	for _, k := range []wire.Kind{wire.KindLocate, wire.KindEvents, wire.KindNodes} {
		if s, text := before.Answer(wire.Record{Kind: k, Body: []byte{0xff}}, nil); s != wire.StatusBadFrame || len(text) == 0 {
			t.Errorf("read of kind %d: %v %q", k, s, text)
		}
	}
	if s, _ := before.Answer(wire.Record{Kind: wire.KindMap}, nil); s != wire.StatusUnknownKind {
		t.Errorf("a read of another kind: %v", s)
	}
}

// TestAuditIsARing proves that the audit log keeps the last lines, all of them in
// order, and that tables keep those that they had.
func TestAuditIsARing(t *testing.T) {
	d := bigCluster(1)
	const changes = 5 * maxAudit / 2
	var early *Table
	var before string
	for i := range changes {
		op := wire.Assign{Mutation: wire.Mutation{ID: wire.KeyID(fmt.Sprint(i))}, Key: fmt.Appendf(nil, "e%d", i)}
		tell(d, wire.KindAssign, op.Append(nil))
		if i == maxAudit {
			early, before = d.Table(), describeAudit(d.Table())
		}
	}
	lines := d.Table().Audit()
	if len(lines) != maxAudit || cap(lines) != len(lines) {
		t.Fatalf("%d lines with room for %d", len(lines), cap(lines))
	}
	for i, l := range lines {
		event := changes - maxAudit + i
		if l.Version != uint64(event+2) || !strings.HasPrefix(l.What, fmt.Sprintf("create event e%d in", event)) {
			t.Fatalf("line %d is %d, %q", i, l.Version, l.What)
		}
	}
	if describeAudit(early) != before {
		t.Error("an early table's lines changed")
	}
	check(t, d)
}

// TestSecretsStayOutOfTheLog proves that audit lines do not carry what only the
// table may know.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	d := bigCluster(1)
	secret := [32]byte([]byte("a secret that must not be listed"))
	op := wire.AddSigningKey{Mutation: wire.Mutation{ID: wire.KeyID("k")}, Secret: secret}
	if s, text := tell(d, wire.KindAddSigningKey, op.Append(nil)); s != wire.StatusOK {
		t.Fatalf("%v %q", s, text)
	}
	if d.Table().Signing()[0].Secret != secret || len(d.Table().Signing()) != 2 {
		t.Error("the new signing key is not the first of two")
	}
	for _, l := range d.Table().Audit() {
		if strings.Contains(l.What, "must not") || bytes.Contains([]byte(l.What), secret[:4]) {
			t.Errorf("an audit line says %q", l.What)
		}
	}
}
