package server

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/wire"
)

// The calls below say what the cluster is to be like, and answer when the directory
// has taken it. The leaders of the groups make it so; GET /admin/cluster shows how
// far they are. Each can be repeated.

// operate puts an operation into the directory's log, in the caller's name.
func (q *request) operate(k wire.Kind, body []byte) ([]byte, *problem) {
	r := q.n.signed(q.budget, wire.Record{Kind: k, Body: body})
	for pause := retryLeast; ; pause = min(2*pause, retryMost) {
		a := q.n.ask(q.budget, 0, raftlog.Write, r)
		switch {
		case a.status == wire.StatusOK:
			return a.body, nil
		case a.status.Decided() || a.status == wire.StatusTooLarge:
			return nil, refusal(a.status, a.body, nil)
		case q.n.cutOff() || !sleep(q.budget, pause):
			return nil, refusal(a.status, a.body, nil)
		}
	}
}

type addShardsBody struct {
	Count *uint32 `json:"count"`
}

type addedShards struct {
	First uint32 `json:"first"`
	Count uint32 `json:"count"`
}

// addShards serves POST /admin/shards.
func (q *request) addShards() *problem {
	var b addShardsBody
	if p := q.body(&b); p != nil {
		return p
	}
	op := wire.AddShards{Mutation: q.n.begin(0), Count: 1}
	if b.Count != nil {
		op.Count = *b.Count
	}
	// Repeated with the same key, it does not make more shards.
	id, p := q.operationID("shards", "")
	if p != nil {
		return p
	}
	op.ID = id.id
	body, p := q.operate(wire.KindAddShards, op.Append(nil))
	if p != nil {
		return p
	}
	var made wire.Shards
	if err := made.Decode(body); err != nil {
		return q.broken(wire.KindAddShards, err)
	}
	return q.reply(http.StatusCreated, addedShards(made))
}

// shardParam is the shard of the path.
func (q *request) shardParam() (*directory.Shard, *problem) {
	text, p := q.param("shard")
	if p != nil {
		return nil, p
	}
	id, err := strconv.ParseUint(text, 10, 32)
	s := q.n.table().Shard(uint32(id))
	if err != nil || id == 0 || s == nil {
		p := httpProblem(codeNotFound)
		p.detail = fmt.Sprintf("There is no shard %s: the cluster has shards 1 to %d.", text, q.n.table().Shards())
		return nil, p
	}
	return s, nil
}

type transferBody struct {
	Node string `json:"node"`
}

// transfer serves POST /admin/shards/{shard}/transfer: the node becomes the
// shard's preferred leader.
func (q *request) transfer() *problem {
	var b transferBody
	if p := q.body(&b); p != nil {
		return p
	}
	s, p := q.shardParam()
	if p != nil {
		return p
	}
	nodes := []string{b.Node}
	found := false
	for _, r := range s.Replicas {
		if r.Node == b.Node {
			found = true
			continue
		}
		nodes = append(nodes, r.Node)
	}
	if !found {
		return badRequest("node", fmt.Sprintf("Node %q has no replica of shard %d, so it cannot lead it. GET /admin/cluster shows where its replicas are.", b.Node, s.ID))
	}
	return q.setReplicas(s, nodes)
}

type replicasBody struct {
	Nodes []string `json:"nodes"`
}

// placeReplicas serves PUT /admin/shards/{shard}/replicas.
func (q *request) placeReplicas() *problem {
	var b replicasBody
	if p := q.body(&b); p != nil {
		return p
	}
	s, p := q.shardParam()
	if p != nil {
		return p
	}
	return q.setReplicas(s, b.Nodes)
}

func (q *request) setReplicas(s *directory.Shard, nodes []string) *problem {
	if p := q.place(directory.Change{Shard: s.ID, Nodes: nodes}, s.Changed); p != nil {
		return p
	}
	return q.reply(http.StatusOK, changeJSON{Shard: s.ID, Nodes: nodes})
}

func (q *request) place(c directory.Change, base uint64) *problem {
	op := wire.SetReplicas{Mutation: q.n.begin(0), Shard: c.Shard, Base: base}
	for _, name := range c.Nodes {
		op.Nodes = append(op.Nodes, []byte(name))
	}
	_, p := q.operate(wire.KindSetReplicas, op.Append(nil))
	return p
}

type rebalanceBody struct {
	DryRun bool `json:"dry_run"`
}

// changeJSON says where a shard is to have its replicas, its preferred leader
// first.
type changeJSON struct {
	Shard uint32   `json:"shard"`
	Nodes []string `json:"nodes"`
	Why   string   `json:"why,omitempty"`
}

type rebalanced struct {
	Changes []changeJSON `json:"changes"`
	Done    bool         `json:"done"`
}

// rebalance serves POST /admin/rebalance.
func (q *request) rebalance() *problem {
	var b rebalanceBody
	if p := q.body(&b); p != nil {
		return p
	}
	t := q.n.table()
	out := rebalanced{Changes: []changeJSON{}, Done: !b.DryRun}
	for _, c := range directory.Plan(t) {
		if !b.DryRun {
			if p := q.place(c, t.Shard(c.Shard).Changed); p != nil {
				return p
			}
		}
		out.Changes = append(out.Changes, changeJSON{c.Shard, c.Nodes, c.Why})
	}
	return q.reply(http.StatusOK, out)
}

type drainBody struct {
	Drain *bool `json:"drain"`
}

type drained struct {
	Node     string `json:"node"`
	Draining bool   `json:"draining"`
}

// drainNode serves POST /admin/nodes/{node}/drain.
func (q *request) drainNode() *problem {
	var b drainBody
	if p := q.body(&b); p != nil {
		return p
	}
	name, p := q.param("node")
	if p != nil {
		return p
	}
	op := wire.DrainNode{Mutation: q.n.begin(0), Name: []byte(name), Drain: b.Drain == nil || *b.Drain}
	if _, p := q.operate(wire.KindDrainNode, op.Append(nil)); p != nil {
		return p
	}
	return q.reply(http.StatusOK, drained{name, op.Drain})
}

// removeNode serves DELETE /admin/nodes/{node}. A node that still has a replica of
// a shard is not removed: the directory knows where replicas are to be, and only
// the nodes where they are.
func (q *request) removeNode() *problem {
	name, p := q.param("node")
	if p != nil {
		return p
	}
	force, p := q.flag("force")
	if p != nil {
		return p
	}
	if !force {
		if p := q.vacated(name); p != nil {
			return p
		}
	}
	op := wire.RemoveNode{Mutation: q.n.begin(0), Name: []byte(name), Force: force}
	if _, p := q.operate(wire.KindRemoveNode, op.Append(nil)); p != nil {
		return p
	}
	q.ctx.SetStatusCode(http.StatusNoContent)
	return nil
}

// vacated refuses if a shard may need its replica on a node.
func (q *request) vacated(name string) *problem {
	for _, g := range q.n.view(q.budget).Groups {
		if g.Group == 0 {
			continue
		}
		for _, m := range g.Members {
			if m.Node == name || g.Leader == "" {
				p := statusProblem(wire.StatusExists)
				p.title = "The node has replicas"
				p.detail = fmt.Sprintf("Shard %d still has its replica on %s, or cannot be asked. Drain the node and wait until it has none, or remove it with force if it is dead.", g.Group, name)
				return p
			}
		}
	}
	return nil
}

type moveBody struct {
	Shard uint32 `json:"shard"`
}

type moved struct {
	Event  string `json:"event"`
	To     uint32 `json:"to"`
	Number uint64 `json:"number"`
}

// moveEvent serves POST /admin/events/{event}/move.
func (q *request) moveEvent() *problem {
	var b moveBody
	if p := q.body(&b); p != nil {
		return p
	}
	if p := q.locate(); p != nil {
		return p
	}
	op := wire.Move{Mutation: q.n.begin(0), To: b.Shard}
	op.Event = q.event
	body, p := q.operate(wire.KindMove, op.Append(nil))
	if p != nil {
		return p
	}
	var number wire.Number
	if err := number.Decode(body); err != nil {
		return q.broken(wire.KindMove, err)
	}
	return q.reply(http.StatusAccepted, moved{q.key, b.Shard, number.Number})
}

// moveJSON is the last move of an event: under way, or how it ended.
type moveJSON struct {
	Event  string `json:"event"`
	Shard  uint32 `json:"shard"`        // where the event is
	To     uint32 `json:"to,omitempty"` // where it is going; 0: it is not
	Number uint64 `json:"number"`
}

// lastMove serves GET /admin/events/{event}/move, as this node knows it.
func (q *request) lastMove() *problem {
	if p := q.locate(); p != nil {
		return p
	}
	e := q.n.table().Event(q.event)
	if e == nil {
		return statusProblem(wire.StatusUnknownEvent)
	}
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return q.reply(http.StatusOK, moveJSON{q.key, e.Shard, e.To, e.Number})
}

// cancelMove serves DELETE /admin/events/{event}/move.
func (q *request) cancelMove() *problem {
	if p := q.locate(); p != nil {
		return p
	}
	e := q.n.table().Event(q.event)
	if e == nil {
		return statusProblem(wire.StatusUnknownEvent)
	}
	if e.To != 0 {
		op := wire.Numbered{Mutation: q.n.begin(0), Number: e.Number}
		op.Event = q.event
		if _, p := q.operate(wire.KindUnmove, op.Append(nil)); p != nil {
			return p
		}
	}
	q.ctx.SetStatusCode(http.StatusNoContent)
	return nil
}

type auditJSON struct {
	Version uint64 `json:"version"`
	At      string `json:"at,omitempty"`
	By      string `json:"by"`
	What    string `json:"what"`
}

type auditAnswer struct {
	Changes []auditJSON `json:"changes"`
}

// audit serves GET /admin/audit: who changed what, the latest first.
func (q *request) audit() *problem {
	lines := q.n.table().Audit()
	out := auditAnswer{Changes: make([]auditJSON, len(lines))}
	for i, l := range lines {
		j := auditJSON{Version: l.Version, By: l.By, What: l.What}
		if l.Wall != 0 {
			j.At = unixMilli(l.Wall)
		}
		out.Changes[len(lines)-1-i] = j
	}
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return q.reply(http.StatusOK, out)
}

type signingJSON struct {
	ID    uint32 `json:"id"`
	Since string `json:"since,omitempty"`
}

type signingAnswer struct {
	Keys []signingJSON `json:"keys"` // that are good, the one that signs first
}

// rotateSigning serves POST /admin/signing-keys: a new key signs from now on, and
// what the one before has signed stays good.
func (q *request) rotateSigning() *problem {
	op := wire.AddSigningKey{Mutation: q.n.begin(0)}
	_, _ = rand.Read(op.Secret[:]) // never fails: crypto/rand ends the process instead
	id, p := q.operationID("signing", "")
	if p != nil {
		return p
	}
	op.ID = id.id
	// Repeated with the same key, it comes with another secret: the first one counts.
	if _, p := q.operate(wire.KindAddSigningKey, op.Append(nil)); p != nil && p.code != wire.StatusIDReused.String() {
		return p
	}
	return q.signingKeys()
}

// signingKeys serves GET /admin/signing-keys, without the secrets.
func (q *request) signingKeys() *problem {
	out := signingAnswer{Keys: []signingJSON{}}
	for _, k := range q.n.table().Signing() {
		j := signingJSON{ID: k.ID}
		if k.Wall != 0 {
			j.Since = unixMilli(k.Wall)
		}
		out.Keys = append(out.Keys, j)
	}
	return q.reply(http.StatusOK, out)
}
