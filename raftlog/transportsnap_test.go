package raftlog

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestSnapshotOverPeers proves that a follower that was away for longer than the
// log goes back gets the leader's snapshot, also when the connection breaks in
// the middle of it, and never half of one.
func TestSnapshotOverPeers(t *testing.T) {
	for _, breaks := range []bool{false, true} {
		t.Run(map[bool]string{false: "in one go", true: "broken off"}[breaks], func(t *testing.T) {
			r := newRig(t, 3, nil)
			g := r.group(1, func(c *raft.Config) { c.TrailingLogs = 0 })
			g.apply([]byte("first"))
			lead := g.leader()
			away := g.replicas[(slices.Index(g.replicas, lead)+1)%3]
			r.isolate(away.node)
			for i := range appendEntries + 8 { // more than may be in a message already
				g.apply([]byte{byte(i)})
			}
			const size = 5 << 20
			for _, rep := range g.replicas {
				if rep != away {
					rep.fsm.mu.Lock()
					rep.fsm.pad = size
					rep.fsm.mu.Unlock()
					eventually(t, "a snapshot", func() bool { return rep.raft.Snapshot().Error() == nil })
					if breaks {
						rep.node.wire(away.node.addr).breakAt(size / 2)
					}
				}
			}
			r.heal(away.node)
			g.settle()
			if list, err := away.snaps.List(); err != nil || len(list) != 1 || list[0].Size < size {
				t.Errorf("the follower has snapshots %v, %v", list, err)
			}
			if n := away.fsm.restored(); n != 1 {
				t.Errorf("it was restored %d times", n)
			}
			broken := 0
			for _, rep := range g.replicas {
				broken += rep.node.wire(away.node.addr).broken()
			}
			if breaks && broken == 0 {
				t.Error("no connection broke")
			}
			g.apply([]byte("last"))
			g.settle()
		})
	}
}

// A taker stands in for raft and takes snapshots.
func newTaker(t testing.TB, p *Peers, id string, take func(io.Reader) error) {
	trans := p.Transport(1, id)
	consumer := trans.Consumer()
	t.Cleanup(func() { _ = trans.Close() })
	go func() {
		for {
			select {
			case rpc := <-consumer:
				err := take(rpc.Reader)
				rpc.Respond(&raft.InstallSnapshotResponse{Term: 3, Success: err == nil}, err)
			case <-trans.ctx.Done():
				return
			}
		}
	}()
}

// TestSnapshotSize proves that exactly the announced bytes are taken, and that a
// source which has fewer or more never makes a whole snapshot.
func TestSnapshotSize(t *testing.T) {
	r := newRig(t, 2, nil)
	type taken struct {
		n   int
		err error
	}
	got := make(chan taken, 1)
	newTaker(t, r.nodes[1].peers, "n1@1", func(r io.Reader) error {
		b, err := io.ReadAll(r)
		got <- taken{len(b), err}
		return err
	})
	from := r.nodes[0].peers.Transport(1, "n0@1")
	for _, c := range []struct {
		size, has int
		want      string // in the error; "": it is installed
	}{
		{0, 0, ""}, {1, 1, ""}, {snapshotChunk, snapshotChunk, ""}, {3*snapshotChunk + 5, 3*snapshotChunk + 5, ""},
		{3 * snapshotChunk, 2*snapshotChunk + 1, "the snapshot ends after 131073 of 196608 bytes"},
		{3 * snapshotChunk, 3*snapshotChunk + 1, "the snapshot has more than its 196608 bytes"},
	} {
		var resp raft.InstallSnapshotResponse
		req := &raft.InstallSnapshotRequest{RPCHeader: voteHead("n0@1"), SnapshotVersion: 1, Size: int64(c.size)}
		err := from.InstallSnapshot("n1@1", "n1", req, &resp, bytes.NewReader(make([]byte, c.has)))
		a := <-got
		if c.want == "" {
			if err != nil || !resp.Success || resp.Term != 3 || a.n != c.size || a.err != nil {
				t.Errorf("%d bytes: %v, %+v, taken %+v", c.size, err, resp, a)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) || a.n >= c.size {
			t.Errorf("%d bytes of %d: %v, taken %+v", c.has, c.size, err, a)
		}
	}
}

// TestSnapshotRefusals proves that a snapshot for nobody is refused before its
// bytes are sent, that raft's error comes back, and that closing the transport
// or the node ends one that is under way.
func TestSnapshotRefusals(t *testing.T) {
	r := newRig(t, 3, nil)
	started := make(chan struct{}, 3)
	newTaker(t, r.nodes[1].peers, "n1@1", func(r io.Reader) error {
		if _, err := r.Read(make([]byte, 1)); err != nil {
			return err
		}
		started <- struct{}{}
		_, err := io.Copy(io.Discard, r)
		return errors.Join(err, errors.New("it will not do"))
	})
	from, other := r.nodes[0].peers.Transport(1, "n0@1"), r.nodes[2].peers.Transport(1, "n2@1")
	send := func(from *PeerTransport, id raft.ServerID, size int64, data io.Reader) error {
		req := &raft.InstallSnapshotRequest{RPCHeader: voteHead(from.replica), SnapshotVersion: 1, Size: size}
		return from.InstallSnapshot(id, "n1", req, new(raft.InstallSnapshotResponse), data)
	}
	err := send(from, "n1@2", 100, readerFunc(func([]byte) (int, error) { t.Error("it was read"); return 0, io.EOF }))
	if err == nil || !strings.Contains(err.Error(), "no such replica here") {
		t.Errorf("for another replica: %v", err)
	}
	if err := send(from, "n1@1", 3, strings.NewReader("abc")); err == nil || !strings.Contains(err.Error(), "it will not do") {
		t.Errorf("raft refuses: %v", err)
	}
	<-started
	endless := readerFunc(func(b []byte) (int, error) { return len(b), nil })
	for name, end := range map[string]func(){
		"the transport": func() { from.Close() },
		"the node":      func() { r.nodes[2].peers.Close() },
	} {
		by := map[string]*PeerTransport{"the transport": from, "the node": other}[name]
		done := make(chan error, 1)
		go func() { done <- send(by, "n1@1", 1<<50, endless) }()
		<-started
		end()
		if err := <-done; err == nil {
			t.Errorf("%s is closed, and the snapshot was installed", name)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestSnapshotStandsStill proves that a sender which stops is given up by what
// progressConn allows, not by the time for the whole.
func TestSnapshotStandsStill(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	begin := time.Now()
	c := &progressConn{Conn: ours, limit: 50 * time.Millisecond, clock: func() time.Duration { return time.Since(begin) }}
	go func() {
		for range 4 {
			time.Sleep(30 * time.Millisecond) // the pace of a slow sender
			if _, err := theirs.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
	b, err := io.ReadAll(c)
	if string(b) != "xxxx" || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("read %q, %v", b, err)
	}
}
