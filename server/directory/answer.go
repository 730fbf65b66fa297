package directory

import (
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// maxList bounds the events of one EventList.
const maxList = 1000

// Read answers locate, list and nodes from what has been applied.
func (d *Directory) Read(q wire.Record, out func(s wire.Status, body []byte)) {
	out(d.draft.Table.Answer(q, d.scratch[:0]))
}

// Answer answers KindLocate, KindEvents and KindNodes, appending the body to dst.
// The node fills in what the directory does not know: shard time and leader.
func (t *Table) Answer(q wire.Record, dst []byte) (wire.Status, []byte) {
	switch q.Kind {
	case wire.KindLocate:
		var key wire.Key
		if err := key.Decode(q.Body); err != nil {
			return wire.StatusBadFrame, append(dst, err.Error()...)
		}
		e := t.Find(string(key.Key))
		if e == nil {
			return wire.StatusUnknownEvent, dst
		}
		return wire.StatusOK, (&wire.Location{Event: e.ID, Shard: e.Shard}).Append(dst)
	case wire.KindEvents:
		var query wire.EventsQuery
		if err := query.Decode(q.Body); err != nil {
			return wire.StatusBadFrame, append(dst, err.Error()...)
		}
		return wire.StatusOK, t.list(query, dst)
	case wire.KindNodes:
		if len(q.Body) > 0 {
			return wire.StatusBadFrame, fmt.Appendf(dst, "a request for the nodes has no body, this one has %d bytes", len(q.Body))
		}
		return wire.StatusOK, t.listNodes(dst)
	}
	return wire.StatusUnknownKind, append(dst, "the directory does not answer this kind"...)
}

func (t *Table) list(q wire.EventsQuery, dst []byte) []byte {
	limit := int(q.Limit)
	if limit == 0 || limit > maxList {
		limit = maxList
	}
	var l wire.EventList
	for e := range t.After(string(q.After)) {
		if len(l.Entries) == limit {
			break
		}
		l.Entries = append(l.Entries, wire.EventEntry{Key: []byte(e.Key), Event: e.ID, Shard: e.Shard})
	}
	return l.Append(dst)
}

func (t *Table) listNodes(dst []byte) []byte {
	l := wire.NodeList{Version: t.version}
	for i := range t.nodes {
		if n := &t.nodes[i]; n.Addr != "" {
			l.Nodes = append(l.Nodes, wire.NodeEntry{Name: []byte(n.Name), Addr: []byte(n.Addr)})
		}
	}
	return l.Append(dst)
}
