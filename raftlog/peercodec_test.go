package raftlog

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func testHead() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: 3, ID: []byte("n1@7"), Addr: []byte("n1")}
}

// testRequests are messages with every field set, and with as few as possible.
func testRequests() map[peerKind][]raft.WithRPCHeader {
	h := testHead()
	return map[peerKind][]raft.WithRPCHeader{
		kindAppend: {
			&raft.AppendEntriesRequest{RPCHeader: h, Term: 4, PrevLogEntry: 5, PrevLogTerm: 6, LeaderCommitIndex: 7, Entries: []*raft.Log{
				{Index: 8, Term: 9, Type: raft.LogConfiguration, Data: []byte("data"), Extensions: []byte("more")},
				{Index: 9, Term: 9, Type: raft.LogNoop},
			}},
			&raft.AppendEntriesRequest{},
		},
		kindVote: {
			&raft.RequestVoteRequest{RPCHeader: h, Term: 1, LastLogIndex: 2, LastLogTerm: 3, LeadershipTransfer: true},
			&raft.RequestVoteRequest{},
		},
		kindPreVote: {
			&raft.RequestPreVoteRequest{RPCHeader: h, Term: 1, LastLogIndex: 2, LastLogTerm: 3},
			&raft.RequestPreVoteRequest{},
		},
		kindTimeoutNow: {&raft.TimeoutNowRequest{RPCHeader: h}, &raft.TimeoutNowRequest{}},
		kindSnapshot: {
			&raft.InstallSnapshotRequest{RPCHeader: h, SnapshotVersion: 1, Term: 2, LastLogIndex: 3, LastLogTerm: 4,
				Configuration: []byte("who"), ConfigurationIndex: 5, Size: 6},
			&raft.InstallSnapshotRequest{},
		},
	}
}

// TestRequestRoundTrip proves that messages arrive as they were sent, and that
// no shorter or longer body passes for one.
func TestRequestRoundTrip(t *testing.T) {
	for kind, requests := range testRequests() {
		for _, want := range requests {
			b := appendRequest(nil, 77, "n2@5", want)
			q, err := decodeRequest(kind, b)
			if err != nil {
				t.Fatalf("%#v: %v", want, err)
			}
			if q.group != 77 || string(q.to) != "n2@5" || !reflect.DeepEqual(q.cmd, want) || !reflect.DeepEqual(q.head, want.GetRPCHeader()) {
				t.Errorf("%#v became %#v for %q of group %d", want, q.cmd, q.to, q.group)
			}
			for n := range b {
				if _, err := decodeRequest(kind, b[:n]); err == nil {
					t.Errorf("%T: the first %d of %d bytes pass for all", want, n, len(b))
				}
			}
			if _, err := decodeRequest(kind, append(b, 0)); err == nil {
				t.Errorf("%T: a byte too much passes", want)
			}
		}
	}
}

func testAnswers() []any {
	h := testHead()
	return []any{
		&raft.AppendEntriesResponse{RPCHeader: h, Term: 1, LastLog: 2, Success: true},
		&raft.AppendEntriesResponse{RPCHeader: h, Term: 1, LastLog: 2, NoRetryBackoff: true},
		&raft.RequestVoteResponse{RPCHeader: h, Term: 3, Granted: true},
		&raft.RequestPreVoteResponse{RPCHeader: h, Term: 4, Granted: true},
		&raft.InstallSnapshotResponse{RPCHeader: h, Term: 5, Success: true},
		&raft.TimeoutNowResponse{RPCHeader: h},
		&raft.TimeoutNowResponse{},
	}
}

// TestAnswerRoundTrip proves the same of answers, which overwrite all of what
// raft gives to be filled.
func TestAnswerRoundTrip(t *testing.T) {
	for _, want := range testAnswers() {
		b := appendAnswer(nil, want)
		got := reflect.New(reflect.TypeOf(want).Elem())
		if f := got.Elem().FieldByName("Term"); f.IsValid() {
			f.SetUint(99)
		}
		if err := decodeAnswer(b, got.Interface()); err != nil || !reflect.DeepEqual(got.Interface(), want) {
			t.Errorf("%#v became %#v, %v", want, got.Interface(), err)
		}
		for n := range b {
			if decodeAnswer(b[:n], got.Interface()) == nil {
				t.Errorf("%T: the first %d of %d bytes pass for all", want, n, len(b))
			}
		}
	}
}

// TestDecodersRefuse proves that what raft would choke on does not reach it.
func TestDecodersRefuse(t *testing.T) {
	entry := &raft.AppendEntriesRequest{Entries: []*raft.Log{{Index: 1, Type: raft.LogConfiguration + 1}}}
	if _, err := decodeRequest(kindAppend, appendRequest(nil, 1, "", entry)); err == nil || !strings.Contains(err.Error(), "unknown type") {
		t.Errorf("an entry of a type that raft panics on: %v", err)
	}
	snap := &raft.InstallSnapshotRequest{Size: -1}
	if _, err := decodeRequest(kindSnapshot, appendRequest(nil, 1, "", snap)); err == nil {
		t.Error("a snapshot of negative size passes")
	}
	if _, err := decodeRequest(kindCall, appendRequest(nil, 1, "", snap)); err == nil {
		t.Error("a call passes for a message of raft")
	}
	many := appendRequest(nil, 1, "", &raft.AppendEntriesRequest{})
	copy(many[len(many)-4:], "\xff\xff\xff\xff")
	boundedAlloc(t, 16<<10, func() {
		if _, err := decodeRequest(kindAppend, many); !errors.Is(err, errPeerShort) {
			t.Errorf("four billion entries in no bytes: %v", err)
		}
	})
}

// TestFrameCaps proves that a body is refused by its announced length, that one
// which is not there costs little, and that one which is there arrives whole.
func TestFrameCaps(t *testing.T) {
	head := func(kind peerKind, n int) []byte {
		b := make([]byte, peerHeaderSize)
		peerHeader{body: n, kind: kind, id: 1}.put(b)
		return b
	}
	for kind := kindPing; kind <= kindProceed; kind++ {
		if _, err := parsePeerHeader(head(kind, kind.maxBody())); err != nil {
			t.Errorf("kind %d: %v", kind, err)
		}
		if _, err := parsePeerHeader(head(kind, kind.maxBody()+1)); err == nil {
			t.Errorf("kind %d: a byte more than %d passes", kind, kind.maxBody())
		}
	}
	for _, kind := range []peerKind{0, kindProceed + 1, 255} {
		if _, err := parsePeerHeader(head(kind, 0)); err == nil {
			t.Errorf("kind %d passes", kind)
		}
	}
	boundedAlloc(t, 4*readChunk, func() {
		f := newFrameReader(io.MultiReader(bytes.NewReader(head(kindAppend, maxAppendBody)), strings.NewReader("a few")))
		h, err := f.next()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.body(h.body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a body that breaks off: %v", err)
		}
	})
	for _, n := range []int{0, 1, readChunk - 1, readChunk, readChunk + 1, 3*readChunk + 7, maxAppendBody} {
		want := make([]byte, n)
		for i := range want {
			want[i] = byte(i % 251)
		}
		f := newFrameReader(bytes.NewReader(append(bytes.Clone(want), "next"...)))
		got, err := f.body(n)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("a body of %d bytes: %d came, %v", n, len(got), err)
		}
		if rest, err := io.ReadAll(f.r); string(rest) != "next" || err != nil {
			t.Errorf("after a body of %d bytes stands %q", n, rest)
		}
	}
}

// TestFitting proves that messages with entries keep to their size, that the
// largest entry there is fits one, and what raft would send at once a frame.
func TestFitting(t *testing.T) {
	entries := func(n, size int) (logs []*raft.Log) {
		for range n {
			logs = append(logs, &raft.Log{Data: make([]byte, size)})
		}
		return logs
	}
	for _, c := range []struct{ n, size, want int }{
		{0, 0, 0}, {1, 10, 1}, {appendEntries, 10, appendEntries}, {appendEntries, maxEntryBytes, appendGoal/maxEntryBytes - 1},
		{2, appendGoal, 1}, {1, maxAppendBody, 0},
	} {
		if n := fitting(entries(c.n, c.size)); n != c.want {
			t.Errorf("of %d entries of %d bytes %d fit, want %d", c.n, c.size, n, c.want)
		}
	}
	all := &raft.AppendEntriesRequest{Entries: entries(appendEntries, maxEntryBytes)}
	if size := len(appendRequest(nil, 1, strings.Repeat("x", maxName), all)); size > kindAppend.maxBody() {
		t.Errorf("%d bytes of %d", size, kindAppend.maxBody())
	}
}

// boundedAlloc fails when f allocates more than that many bytes in all.
func boundedAlloc(t *testing.T, limit uint64, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > limit {
		t.Errorf("allocated %d bytes, at most %d are in order", got, limit)
	}
}

func FuzzPeerHeader(f *testing.F) {
	f.Add(appendFrame(nil, kindCall, 7, func(b []byte) []byte { return append(b, "body"...) }))
	f.Add(bytes.Repeat([]byte{0xff}, peerHeaderSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < peerHeaderSize {
			return
		}
		h, err := parsePeerHeader(b)
		if err != nil {
			return
		}
		again := make([]byte, peerHeaderSize)
		if h.put(again); !bytes.Equal(again, b[:peerHeaderSize]) {
			t.Errorf("%x was encoded as %x", b[:peerHeaderSize], again)
		}
	})
}

// FuzzPeerRequest proves that a message has one encoding only, and that no bytes
// make the decoder panic or allocate out of proportion.
func FuzzPeerRequest(f *testing.F) {
	for kind, requests := range testRequests() {
		for _, q := range requests {
			f.Add(uint8(kind), appendRequest(nil, 3, "n2@5", q))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		boundedAlloc(t, 16<<10+20*uint64(len(b)), func() {
			q, err := decodeRequest(peerKind(kind), b)
			if err != nil {
				return
			}
			if again := appendRequest(nil, q.group, string(q.to), q.cmd.(raft.WithRPCHeader)); !bytes.Equal(again, b) {
				t.Errorf("%x was encoded as %x", b, again)
			}
		})
	})
}

func FuzzPeerAnswer(f *testing.F) {
	for i, a := range testAnswers() {
		f.Add(uint8(i), appendAnswer(nil, a))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		kinds := testAnswers()
		a := kinds[int(which)%len(kinds)]
		if decodeAnswer(b, a) != nil {
			return
		}
		if again := appendAnswer(nil, a); !bytes.Equal(again, b) {
			t.Errorf("%x was encoded as %x", b, again)
		}
	})
}

func FuzzPeerHello(f *testing.F) {
	h := hello{PeerHello: PeerHello{Node: "n1", Cluster: [16]byte{1}}, purpose: forCall, want: "n2"}
	f.Add(h.append(nil)[2:])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHello(b)
		if err != nil {
			return
		}
		if again := h.append(nil)[2:]; !bytes.Equal(again, b) {
			t.Errorf("%x was encoded as %x", b, again)
		}
	})
}

func FuzzPeerWelcome(f *testing.F) {
	for _, w := range []welcome{{PeerHello: PeerHello{Node: "n1", Cluster: [16]byte{1}}}, {refusal: "no"}} {
		b := w.append(nil)
		f.Add(b[0], b[3:])
	}
	f.Fuzz(func(t *testing.T, status uint8, b []byte) {
		w, err := decodeWelcome(status, b)
		if err != nil {
			return
		}
		again := w.append(nil)
		if w.refusal == "" && (again[0] != status || !bytes.Equal(again[3:], b)) {
			t.Errorf("%x was encoded as %x", b, again)
		}
		if strings.ContainsAny(w.refusal, "\r\n\x1b") || len(w.refusal) > maxReason {
			t.Errorf("%q is no short line", w.refusal)
		}
	})
}

func FuzzPeerCall(f *testing.F) {
	f.Add(appendCall(nil, 7, []byte("body")))
	f.Fuzz(func(t *testing.T, b []byte) {
		left, body, err := decodeCall(b)
		if err != nil {
			return
		}
		if left < 0 || left > maxCallTime || !bytes.Equal(body, b[callHeader:]) {
			t.Errorf("%x: %v and %x", b, left, body)
		}
	})
}
