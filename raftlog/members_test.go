package raftlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/usher-seats/usher/wire"
)

// newcomer starts a node that the group's leader is to add.
func (c *cluster) newcomer(replica uint64) *member {
	m := &member{
		c: c, id: fmt.Sprintf("n%d", len(c.members)), dir: c.t.TempDir(), fs: vfs.NewMem(), gate: new(gate),
		replica: replica, joins: true,
	}
	c.members = append(c.members, m)
	m.start()
	return m
}

// change has the group's leader change its members until it has.
func (c *cluster) change(what string, f func(ctx context.Context, g *Group, base uint64) error) {
	c.t.Helper()
	eventually(c.t, what, func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), patience)
		defer cancel()
		lead := c.leader()
		_, base := lead.group.Members()
		return f(ctx, lead.group, base) == nil
	})
}

func (c *cluster) add(m *member) {
	c.t.Helper()
	as := Member{Node: m.id, Replica: m.replica}
	c.change("a new member", func(ctx context.Context, g *Group, base uint64) error { return g.SetMember(ctx, as, base) })
	eventually(c.t, "the new member catches up", func() bool {
		return m.group.fsm.applied.Load() >= c.leader().group.fsm.applied.Load()
	})
	as.Voter = true
	c.change("a new voter", func(ctx context.Context, g *Group, base uint64) error { return g.SetMember(ctx, as, base) })
}

// TestMembers grows a group from one member to three while it works, hands
// leadership over, and removes the first member.
func TestMembers(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	first := c.members[0]
	c.do(1)
	if !first.group.Alone() || !first.group.SoleVoter() {
		t.Error("a group of one is not alone")
	}
	second, third := c.newcomer(7), c.newcomer(9)
	c.add(second)
	c.do(2)
	c.add(third)
	c.do(3)
	c.settle()
	members, base := c.leader().group.Members()
	want := []Member{{"n0", 0, true}, {"n1", 7, true}, {"n2", 9, true}}
	if !slices.Equal(members, want) || base == 0 {
		t.Fatalf("members are %v at %d, want %v", members, base, want)
	}
	if first.group.Alone() || first.group.SoleVoter() {
		t.Error("a group of three is alone")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := c.leader().group.SetMember(ctx, Member{Node: "n9", Replica: 1}, base-1)
	if err == nil {
		t.Error("a change of an older configuration was accepted")
	}
	eventually(t, "another leads", func() bool {
		lead := c.leader()
		if lead != first {
			return true
		}
		_ = lead.group.Transfer(ctx, want[1]) // may have to be tried again on a busy machine
		return false
	})
	c.change("the first member goes", func(ctx context.Context, g *Group, base uint64) error {
		return g.RemoveMember(ctx, want[0], base)
	})
	c.do(4)
	if members, _ := c.leader().group.Members(); !slices.Equal(members, want[1:]) {
		t.Errorf("members are %v, want %v", members, want[1:])
	}
	if err := first.group.RemoveMember(ctx, want[1], base); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a member that does not lead changes members: %v", err)
	}
}

// TestEntries: a follower's and a leader's log read back what was decided, with the
// index and the stamp that the state machine saw.
func TestEntries(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	for op := uint64(1); op <= 20; op++ {
		c.do(op)
	}
	g := c.leader().group
	var upTo uint64
	g.Between(func(index uint64, stamp wire.Millis) { upTo = index })
	var ops []uint64
	last := uint64(0)
	err := g.Entries(0, upTo, func(index uint64, _ wire.Millis, records []byte) error {
		if index <= last || index > upTo {
			t.Errorf("entry %d after %d", index, last)
		}
		last = index
		for len(records) > 0 {
			r, rest, err := wire.NextRecord(records)
			if err != nil {
				return err
			}
			ops = append(ops, binary.LittleEndian.Uint64(r.Body))
			records = rest
		}
		return nil
	})
	if err != nil || len(ops) != 20 || ops[0] != 1 || ops[19] != 20 {
		t.Errorf("read %v: %v", ops, err)
	}
	if err := g.Entries(upTo, upTo+1, func(uint64, wire.Millis, []byte) error { return nil }); !errors.Is(err, ErrTruncated) {
		t.Errorf("an entry that is not there: %v", err)
	}
}

// TestDrop: nothing is left of a group that was dropped, not even after a crash in
// the middle; the node starts, and the group can come back as another replica.
func TestDrop(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash=%v", crash), func(t *testing.T) {
			c := newCluster(t, 1, clusterOptions{snapOnClose: true})
			m := c.members[0]
			c.do(1)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := m.node.DropGroup(1); err == nil {
				t.Error("a group that runs was dropped")
			}
			if err := m.group.Close(ctx); err != nil {
				t.Fatal(err)
			}
			if crash {
				// As far as a crash may let it come: the record says so, the data are there.
				delete(m.node.stores, 1)
				if err := m.node.bolt.Set(voteKey(1), vote{dropped: true}.encode()); err != nil {
					t.Fatal(err)
				}
			} else if err := m.node.DropGroup(1); err != nil {
				t.Fatal(err)
			}
			m.stop()
			m.replica = 5
			m.start()
			if replica, has, err := m.node.ReplicaOf(1); err != nil || !has || replica != 5 {
				t.Errorf("the node has replica %d, %v: %v", replica, has, err)
			}
			if o := c.do(1); o.answer.times != 1 {
				t.Errorf("the group that came back has seen the operation %d times, want once", o.answer.times)
			}
		})
	}
}

// TestOtherReplica: the data of one replica are not taken for another's.
func TestOtherReplica(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	m := c.members[0]
	c.do(1)
	m.stop()
	var err error
	if m.node, err = Open(Options{Dir: m.dir, FS: m.fs, NodeID: m.id, Log: quiet()}); err != nil {
		t.Fatal(err)
	}
	conf := GroupConfig{ID: 1, Replica: 3, New: func() StateMachine { return newTally() }, Publish: func(StateMachine) {}, Log: quiet()}
	if _, err := m.node.StartGroup(conf); !errors.Is(err, ErrOtherReplica) {
		t.Errorf("a group with the data of another replica starts: %v", err)
	}
}
