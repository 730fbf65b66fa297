package raftlog

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/raft"
)

// Every message of raft begins with whom it is for and who sends it:
//
//	u64 group · u8+… replica it is for · u8 protocol version · u8+… replica that
//	sends it · u8+… node that sends it
//
// and every answer with the last three. What raft calls deprecated (Leader,
// Candidate, Peers) is not carried: the protocol version 3 that we speak takes
// the header instead. An entry's AppendedAt is not carried either; nothing that
// is replicated may depend on it.

// maxName bounds a replica's id and a node's name in a message, in bytes.
const maxName = 255

// entrySize is what an entry needs in a message beside its data and extensions.
const entrySize = 8 + 8 + 1 + 4 + 4

// A peerRequest is a message of raft as it came. Owned by whoever serves it.
type peerRequest struct {
	group uint64
	to    []byte // the replica it is for
	head  raft.RPCHeader
	cmd   any // *raft.AppendEntriesRequest and so on
}

func appendHead(b []byte, h raft.RPCHeader) []byte {
	b = append(b, uint8(h.ProtocolVersion))
	b = appendShort(b, h.ID)
	return appendShort(b, h.Addr)
}

func (r *peerReader) head() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(r.u8()), ID: r.short(), Addr: r.short()}
}

// appendRequest appends the body of a message for a replica.
func appendRequest(b []byte, group uint64, to string, cmd raft.WithRPCHeader) []byte {
	b = binary.LittleEndian.AppendUint64(b, group)
	b = appendShort(b, to)
	b = appendHead(b, cmd.GetRPCHeader())
	u64 := binary.LittleEndian.AppendUint64
	switch c := cmd.(type) {
	case *raft.AppendEntriesRequest:
		b = u64(u64(u64(u64(b, c.Term), c.PrevLogEntry), c.PrevLogTerm), c.LeaderCommitIndex)
		return appendLogs(b, c.Entries)
	case *raft.RequestVoteRequest:
		b = u64(u64(u64(b, c.Term), c.LastLogIndex), c.LastLogTerm)
		return appendBool(b, c.LeadershipTransfer)
	case *raft.RequestPreVoteRequest:
		return u64(u64(u64(b, c.Term), c.LastLogIndex), c.LastLogTerm)
	case *raft.InstallSnapshotRequest:
		b = append(b, uint8(c.SnapshotVersion))
		b = u64(u64(u64(u64(b, c.Term), c.LastLogIndex), c.LastLogTerm), c.ConfigurationIndex)
		b = u64(b, uint64(c.Size))
		return appendLong(b, c.Configuration)
	case *raft.TimeoutNowRequest:
		return b
	}
	panic(fmt.Sprintf("raftlog: no encoding for %T", cmd)) // raft's transport interface has no others
}

func appendLogs(b []byte, logs []*raft.Log) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(logs)))
	for _, l := range logs {
		b = binary.LittleEndian.AppendUint64(b, l.Index)
		b = binary.LittleEndian.AppendUint64(b, l.Term)
		b = append(b, uint8(l.Type))
		b = appendLong(b, l.Data)
		b = appendLong(b, l.Extensions)
	}
	return b
}

// fitting is how many of the entries go into one message: at least one, and not
// more than are worth appendGoal, so that heartbeats behind it are not late on a
// slow network. 0: the first is larger than any message may be.
func fitting(logs []*raft.Log) int {
	size := 0
	for i, l := range logs {
		size += entrySize + len(l.Data) + len(l.Extensions)
		if size > appendGoal && i > 0 {
			return i
		}
		if size > maxAppendBody-maxRequestBody {
			return 0
		}
	}
	return len(logs)
}

// decodeRequest decodes a message, whose parts alias body.
func decodeRequest(kind peerKind, body []byte) (q peerRequest, err error) {
	r := &peerReader{b: body}
	q.group, q.to, q.head = r.u64(), r.short(), r.head()
	switch kind {
	case kindAppend:
		c := &raft.AppendEntriesRequest{RPCHeader: q.head, Term: r.u64(), PrevLogEntry: r.u64(), PrevLogTerm: r.u64(),
			LeaderCommitIndex: r.u64()}
		c.Entries = r.logs()
		q.cmd = c
	case kindVote:
		q.cmd = &raft.RequestVoteRequest{RPCHeader: q.head, Term: r.u64(), LastLogIndex: r.u64(), LastLogTerm: r.u64(),
			LeadershipTransfer: r.bool()}
	case kindPreVote:
		q.cmd = &raft.RequestPreVoteRequest{RPCHeader: q.head, Term: r.u64(), LastLogIndex: r.u64(), LastLogTerm: r.u64()}
	case kindSnapshot:
		c := &raft.InstallSnapshotRequest{RPCHeader: q.head, SnapshotVersion: raft.SnapshotVersion(r.u8()), Term: r.u64(),
			LastLogIndex: r.u64(), LastLogTerm: r.u64(), ConfigurationIndex: r.u64(), Size: int64(r.u64()),
			Configuration: r.long()}
		if c.Size < 0 && r.err == nil {
			r.err = fmt.Errorf("a snapshot of %d bytes", c.Size)
		}
		q.cmd = c
	case kindTimeoutNow:
		q.cmd = &raft.TimeoutNowRequest{RPCHeader: q.head}
	default:
		return q, fmt.Errorf("frame of kind %d is no message of raft", kind)
	}
	return q, r.finish()
}

// logs reads entries. Each needs some bytes, so their number is checked against
// what is there before anything is allocated. raft panics when it is to apply an
// entry of a type it does not know, so none gets that far.
func (r *peerReader) logs() []*raft.Log {
	n := r.u32()
	if r.err != nil || uint64(n)*entrySize > uint64(len(r.b)) {
		r.err = errPeerShort
		return nil
	}
	if n == 0 {
		return nil
	}
	all := make([]raft.Log, n)
	logs := make([]*raft.Log, n)
	for i := range all {
		l := &all[i]
		l.Index, l.Term, l.Type = r.u64(), r.u64(), raft.LogType(r.u8())
		l.Data, l.Extensions = r.long(), r.long()
		if l.Type > raft.LogConfiguration && r.err == nil {
			r.err = fmt.Errorf("entry %d is of unknown type %d", l.Index, l.Type)
		}
		logs[i] = l
	}
	return logs
}

// appendAnswer appends the body of raft's answer to a message.
func appendAnswer(b []byte, resp any) []byte {
	u64 := binary.LittleEndian.AppendUint64
	switch c := resp.(type) {
	case *raft.AppendEntriesResponse:
		b = u64(u64(appendHead(b, c.RPCHeader), c.Term), c.LastLog)
		return appendBool(appendBool(b, c.Success), c.NoRetryBackoff)
	case *raft.RequestVoteResponse:
		return appendBool(u64(appendHead(b, c.RPCHeader), c.Term), c.Granted)
	case *raft.RequestPreVoteResponse:
		return appendBool(u64(appendHead(b, c.RPCHeader), c.Term), c.Granted)
	case *raft.InstallSnapshotResponse:
		return appendBool(u64(appendHead(b, c.RPCHeader), c.Term), c.Success)
	case *raft.TimeoutNowResponse:
		return appendHead(b, c.RPCHeader)
	}
	panic(fmt.Sprintf("raftlog: no encoding for %T", resp)) // raft has no other answers
}

// decodeAnswer overwrites resp, of which raft may give the same one again.
func decodeAnswer(body []byte, resp any) error {
	r := &peerReader{b: body}
	head := r.head()
	switch c := resp.(type) {
	case *raft.AppendEntriesResponse:
		*c = raft.AppendEntriesResponse{RPCHeader: head, Term: r.u64(), LastLog: r.u64(), Success: r.bool(), NoRetryBackoff: r.bool()}
	case *raft.RequestVoteResponse:
		*c = raft.RequestVoteResponse{RPCHeader: head, Term: r.u64(), Granted: r.bool()}
	case *raft.RequestPreVoteResponse:
		*c = raft.RequestPreVoteResponse{RPCHeader: head, Term: r.u64(), Granted: r.bool()}
	case *raft.InstallSnapshotResponse:
		*c = raft.InstallSnapshotResponse{RPCHeader: head, Term: r.u64(), Success: r.bool()}
	case *raft.TimeoutNowResponse:
		*c = raft.TimeoutNowResponse{RPCHeader: head}
	default:
		panic(fmt.Sprintf("raftlog: no decoding for %T", resp)) // raft's transport interface has no others
	}
	return r.finish()
}
