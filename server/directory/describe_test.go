package directory

import (
	"fmt"
	"strings"

	"github.com/usher-seats/usher/wire"
)

func answerText(k wire.Kind, s wire.Status, body []byte) string {
	var loc wire.Location
	var list wire.EventList
	var nodes wire.NodeList
	var number wire.Number
	var shards wire.Shards
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
	case k == wire.KindNodes && nodes.Decode(body) == nil:
		lines := []string{fmt.Sprintf("ok version=%d", nodes.Version)}
		for _, n := range nodes.Nodes {
			lines = append(lines, fmt.Sprintf("%s %s", n.Name, n.Addr))
		}
		return strings.Join(lines, "\n")
	case k == wire.KindMove && number.Decode(body) == nil:
		return fmt.Sprintf("ok number=%d", number.Number)
	case k == wire.KindAddShards && shards.Decode(body) == nil:
		return fmt.Sprintf("ok first=%d count=%d", shards.First, shards.Count)
	case k == wire.KindAssign && loc.Decode(body) == nil, k == wire.KindLocate && loc.Decode(body) == nil:
		return fmt.Sprintf("ok event=%d shard=%d", loc.Event, loc.Shard)
	case len(body) > 0:
		return fmt.Sprintf("ok with a body of %d bytes", len(body))
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
		fmt.Fprintf(&b, "\n%s %v %v", t.KeyName(k.Hash), role, ok)
	}
	return b.String()
}

func describeCluster(t *Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version=%d replication=%d voters=%s\n", t.Version(), t.Replication(), strings.Join(t.Voters(), ","))
	for _, n := range t.Nodes() {
		fmt.Fprintf(&b, "%s number=%d peer=%s addr=%s", n.Name, n.Number, n.Peer, n.Addr)
		if n.Draining {
			b.WriteString(" draining")
		}
		b.WriteByte('\n')
	}
	for i := range t.Shards() {
		s := t.Shard(uint32(i) + 1)
		fmt.Fprintf(&b, "shard %d changed=%d:", s.ID, s.Changed)
		for _, r := range s.Replicas {
			fmt.Fprintf(&b, " %s/%d", r.Node, r.Number)
		}
		b.WriteByte('\n')
	}
	for _, k := range t.Signing() {
		fmt.Fprintf(&b, "signing key %d of %d: %x\n", k.ID, k.Wall, k.Secret[:2])
	}
	return b.String()
}

func describeMoving(t *Table) string {
	var b strings.Builder
	for e := range t.Moving() {
		fmt.Fprintf(&b, "%s event=%d shard=%d to=%d number=%d\n", e.Key, e.ID, e.Shard, e.To, e.Number)
	}
	return b.String()
}

func describeAudit(t *Table) string {
	var b strings.Builder
	for _, l := range t.Audit() {
		fmt.Fprintf(&b, "%d at %d by %q: %s\n", l.Version, l.Wall, l.By, l.What)
	}
	return b.String()
}

func describePlan(t *Table) string {
	var b strings.Builder
	for _, c := range Plan(t) {
		fmt.Fprintf(&b, "shard %d on %s: %s\n", c.Shard, strings.Join(c.Nodes, ","), c.Why)
	}
	return b.String()
}
