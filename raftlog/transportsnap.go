package raftlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// snapshotPatience is how long neither side of a snapshot may do nothing. There
	// is no limit for the whole: a large one takes long.
	snapshotPatience = 10 * time.Second
	// snapshotChunk is sent under one deadline, in bytes.
	snapshotChunk = 64 << 10
	// snapshotSign is how often a node that is installing says that it still is.
	snapshotSign = 2 * time.Second
)

// InstallSnapshot implements raft.Transport. A snapshot has a connection of its
// own: its header, the word to proceed, exactly req.Size bytes, raft's answer.
func (t *PeerTransport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	node := string(target)
	addr := t.p.c.Addr(node)
	if addr == "" {
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, node, errNoAddress)
	}
	conn, _, err := t.p.dial(t.ctx, addr, node, forSnapshot)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, node, err)
	}
	defer func() { _ = conn.Close() }() // the answer is here, or will not come
	defer context.AfterFunc(t.ctx, func() { _ = conn.Close() })()

	head := appendFrame(nil, kindSnapshot, 1, func(b []byte) []byte { return appendRequest(b, t.group, string(id), req) })
	if len(head) > peerHeaderSize+maxRequestBody {
		return fmt.Errorf("the header of a snapshot has %d bytes", len(head))
	}
	if err := writeSoon(conn, head); err != nil {
		return err
	}
	frames := newFrameReader(&progressConn{Conn: conn, limit: snapshotPatience, clock: t.p.clock})
	if _, err := frames.answer(node); err != nil {
		return err
	}
	if err := sendSnapshot(conn, data, req.Size); err != nil {
		return err
	}
	body, err := frames.answer(node)
	if err != nil {
		return err
	}
	return decodeAnswer(body, resp)
}

// writeSoon writes under a deadline.
func writeSoon(conn net.Conn, b []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(snapshotPatience)); err != nil {
		return err
	}
	_, err := conn.Write(b)
	return err
}

// sendSnapshot sends all of data, whose size must be what was announced. The
// last bytes are sent when it has turned out that there are no more, so that no
// half of a snapshot passes for a whole.
func sendSnapshot(conn net.Conn, data io.Reader, size int64) error {
	buf := make([]byte, snapshotChunk)
	for left := size; left > 0; {
		chunk := buf[:min(left, snapshotChunk)]
		if n, err := io.ReadFull(data, chunk); err != nil {
			return fmt.Errorf("the snapshot ends after %d of %d bytes: %w", size-left+int64(n), size, noEOF(err))
		}
		if left -= int64(len(chunk)); left == 0 {
			if n, err := io.ReadFull(data, make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
				return fmt.Errorf("the snapshot has more than its %d bytes: %w", size, err)
			}
		}
		if err := writeSoon(conn, chunk); err != nil {
			return err
		}
	}
	return nil
}

// snapshot serves a connection that brings a snapshot.
func (c *inbound) snapshot() {
	frames := newFrameReader(c.in)
	c.in.limit = snapshotPatience
	h, err := frames.next()
	if err != nil || h.kind != kindSnapshot {
		return // it has thought better of it
	}
	body, err := frames.body(h.body)
	if err != nil {
		return
	}
	answer, err := c.install(frames, h, body)
	reply := appendFrame(nil, kindAnswer, h.id, func(b []byte) []byte { return append(b, answer...) })
	if err != nil {
		reply = appendFrame(nil, kindRefusal, h.id, func(b []byte) []byte { return append(b, oneLine(err.Error())...) })
	}
	if err := writeSoon(c.in, reply); err != nil && c.alive() {
		c.p.log.warn(c.node(), "a snapshot was not answered", "peer", c.node(), "error", err)
	}
}

// install has raft take a snapshot and returns its answer, encoded.
func (c *inbound) install(frames *frameReader, h peerHeader, body []byte) ([]byte, error) {
	q, err := decodeRequest(kindSnapshot, body)
	if err != nil {
		return nil, err
	}
	size := q.cmd.(*raft.InstallSnapshotRequest).Size
	s := hereSender{make(chan hereAnswer, 1)}
	in := &incoming{peerRequest: q, id: h.id, size: h.body, at: c.p.clock(), from: s,
		stream: io.LimitReader(frames.r, size)}
	if err := c.p.tryDeliver(c.hello.Load().Node, in); err != nil {
		return nil, err
	}
	if err := writeSoon(c.in, appendFrame(nil, kindProceed, h.id, nil)); err != nil {
		c.out.close(err) // raft reads on and must notice
	}
	sign := time.NewTicker(snapshotSign)
	defer sign.Stop()
	for {
		select {
		case a := <-s.answered:
			if a.err != nil {
				return nil, a.err
			}
			return appendAnswer(nil, a.resp), nil
		case <-sign.C:
			if err := writeSoon(c.in, appendFrame(nil, kindPong, h.id, nil)); err != nil {
				c.out.close(err) // as above
			}
		case <-c.ctx.Done():
			return nil, errPeersClosed
		}
	}
}
