package server

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/wire"
)

// What nodes ask each other, beside what raft does: the first byte of a call. All
// but callAsk and callImage carry JSON both ways: they are rare.
const (
	callAsk     = 1 // a record for a group that the other node leads
	callJoin    = 2 // joinCall → joinAnswer
	callReplica = 3 // replicaCall → replicaAnswer
	callNode    = 4 // empty → nodeAnswer
	callImage   = 5 // imageCall → imageAnswer, not JSON
)

// A mode of an ask: one of raftlog's, or a query that any replica answers.
const askQuery = raftlog.Mode(255)

// An outcome is how a request ended: its status and body, and the time of its event
// when it was answered, 0 if nobody knows.
type outcome struct {
	status wire.Status
	body   []byte
	now    wire.Millis
	leader string // with StatusMoved: the node to ask, if that is known
	// version is that of the directory after an operation on it: who was told of the
	// one finds it there.
	version uint64
}

func refused(s wire.Status, text string) outcome { return outcome{status: s, body: []byte(text)} }

// An askCall has another node put records into a group that it leads, in one entry:
//
//	u8 callAsk, u32 group, u8 mode, u32 budget in milliseconds, then the records
//
// and is answered with
//
//	u16 status, i64 now, u64 version, u16 length and name of the leader, then the body
type askCall struct {
	group  uint32
	mode   raftlog.Mode
	budget time.Duration
	record wire.Record
	more   []wire.Record // after it
}

const (
	askHeader = 1 + 4 + 1 + 4
	maxAsk    = askHeader + raftlog.MaxEntryRecords
)

func (a *askCall) append(b []byte) []byte {
	b = append(b, callAsk)
	b = binary.LittleEndian.AppendUint32(b, a.group)
	b = append(b, byte(a.mode))
	b = binary.LittleEndian.AppendUint32(b, uint32(a.budget.Milliseconds()))
	b = a.record.Append(b)
	for _, r := range a.more {
		b = r.Append(b)
	}
	return b
}

var errCall = errors.New("a call that cannot be read: the nodes are of different versions")

func (a *askCall) decode(b []byte) error {
	if len(b) < askHeader {
		return errCall
	}
	a.group = binary.LittleEndian.Uint32(b[1:])
	a.mode = raftlog.Mode(b[5])
	a.budget = time.Duration(binary.LittleEndian.Uint32(b[6:])) * time.Millisecond
	r, rest, err := wire.NextRecord(b[askHeader:])
	if err != nil || len(b) > maxAsk {
		return errCall
	}
	a.record = r
	for len(rest) > 0 {
		if r, rest, err = wire.NextRecord(rest); err != nil {
			return errCall
		}
		a.more = append(a.more, r)
	}
	return nil
}

func (a *outcome) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(a.status))
	b = binary.LittleEndian.AppendUint64(b, uint64(a.now))
	b = binary.LittleEndian.AppendUint64(b, a.version)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(a.leader)))
	b = append(b, a.leader...)
	return append(b, a.body...)
}

func (a *outcome) decode(b []byte) error {
	const header = 2 + 8 + 8 + 2
	if len(b) < header {
		return errCall
	}
	a.status = wire.Status(binary.LittleEndian.Uint16(b))
	a.now = wire.Millis(binary.LittleEndian.Uint64(b[2:]))
	a.version = binary.LittleEndian.Uint64(b[10:])
	n := int(binary.LittleEndian.Uint16(b[18:]))
	if len(b) < header+n {
		return errCall
	}
	a.leader = string(b[header : header+n])
	a.body = b[header+n:]
	return nil
}

// A joinCall asks to enter a node, or its new addresses.
type joinCall struct {
	Name        string   `json:"name"`
	Incarnation [16]byte `json:"incarnation"`
	Peer        string   `json:"peer"`
	Addr        string   `json:"addr"`
	HTTP        string   `json:"http"`
	Admin       string   `json:"admin"`
}

func (j *joinCall) info() wire.NodeInfo {
	return wire.NodeInfo{
		Name: []byte(j.Name), Incarnation: j.Incarnation,
		Peer: []byte(j.Peer), Addr: []byte(j.Addr), HTTP: []byte(j.HTTP), Admin: []byte(j.Admin),
	}
}

// A joinAnswer tells a node what it needs to take part.
type joinAnswer struct {
	Status  wire.Status `json:"status"`
	Text    string      `json:"text,omitempty"`
	Cluster [16]byte    `json:"cluster"`
	Number  uint64      `json:"number"` // of the node's replica of the directory
}

type replicaCall struct {
	Group uint32 `json:"group"`
}

// A replicaAnswer is a node's view of its replica of a group. Replica 0: it has
// none.
type replicaAnswer struct {
	Replica uint64           `json:"replica"`
	Leading bool             `json:"leading"`
	Leader  string           `json:"leader"`
	Applied uint64           `json:"applied"`
	Members []raftlog.Member `json:"members"`
}

// serveCall answers a call of another node.
func (n *Node) serveCall(ctx context.Context, from raftlog.PeerHello, body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, errCall
	}
	if from.Cluster == ([16]byte{}) && body[0] != callJoin {
		return nil, errors.New("a node that is in no cluster may only ask to join one")
	}
	switch body[0] {
	case callAsk:
		var c askCall
		if err := c.decode(body); err != nil {
			return nil, err
		}
		a := n.serveAsk(ctx, &c)
		return a.append(nil), nil
	case callImage:
		var c imageCall
		if err := c.decode(body); err != nil {
			return nil, err
		}
		return n.serveImage(ctx, &c).append(nil), nil
	case callJoin:
		return answerJSON(ctx, body, func(ctx context.Context, c *joinCall) (*joinAnswer, error) { return n.serveJoin(ctx, from, c) })
	case callReplica:
		return answerJSON(ctx, body, n.serveReplica)
	case callNode:
		return answerJSON(ctx, body, func(context.Context, *struct{}) (*nodeAnswer, error) { return n.nodeAnswer(), nil })
	}
	return nil, errCall
}

func answerJSON[In, Out any](ctx context.Context, body []byte, serve func(context.Context, *In) (Out, error)) ([]byte, error) {
	var in In
	if len(body) > 1 {
		if err := json.Unmarshal(body[1:], &in); err != nil {
			return nil, errCall
		}
	}
	out, err := serve(ctx, &in)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

// callJSON asks another node, or this one if it is meant.
func callJSON[Out any](ctx context.Context, n *Node, node string, kind byte, in any) (*Out, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	body = append([]byte{kind}, body...)
	var reply []byte
	if node == n.cfg.Node {
		reply, err = n.serveCall(ctx, n.hello(), body)
	} else {
		reply, err = n.peers.Call(ctx, node, body)
	}
	if err != nil {
		return nil, err
	}
	out := new(Out)
	if err := json.Unmarshal(reply, out); err != nil {
		return nil, fmt.Errorf("answer of node %s: %w", node, err)
	}
	return out, nil
}

// serveReplica tells of this node's replica of a group.
func (n *Node) serveReplica(_ context.Context, c *replicaCall) (*replicaAnswer, error) {
	g := n.local(c.Group)
	if g == nil {
		return &replicaAnswer{}, nil
	}
	members, _ := g.log.Members()
	return &replicaAnswer{
		Replica: g.replica,
		Leading: g.log.Leading(),
		Leader:  g.log.Leader(),
		Applied: g.log.Stats().Applied,
		Members: members,
	}, nil
}
