package raftlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	// maxCalls bounds the calls that are under way from one node to another.
	// Further ones wait at the caller's.
	maxCalls = 128
	// maxCallTime is how long a call may take whose context has no deadline.
	maxCallTime = 30 * time.Second
	// callHeader is before the body of a call: u32 milliseconds that the caller
	// waits.
	callHeader = 4
)

// Call asks a node by name, over the stream that raft's messages use, too. body
// is the caller's again when Call returns. An error is ErrUnreachable, a
// *PeerError, or leaves open whether the call was served.
func (p *Peers) Call(ctx context.Context, node string, body []byte) ([]byte, error) {
	if len(body) > maxCallBody {
		return nil, fmt.Errorf("raftlog: a call of %d bytes; at most %d are allowed", len(body), maxCallBody)
	}
	ctx, cancel := context.WithTimeout(ctx, maxCallTime)
	defer cancel()
	if node == p.c.Node {
		return p.c.Serve(ctx, p.me(), append([]byte(nil), body...))
	}
	l, err := p.link(node)
	if err != nil {
		return nil, err
	}
	select {
	case l.calls <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, node, ctx.Err())
	}
	defer func() { <-l.calls }()

	deadline, _ := ctx.Deadline() // set above
	s, err := l.await(time.Until(deadline), false, ctx.Done())
	if err != nil {
		return nil, err
	}
	left := time.Until(deadline)
	answer, err := s.ask(question{
		kind: kindCall, size: len(body), timeout: left + time.Second, // ctx ends it before
		encode: func(b []byte) []byte { return appendCall(b, left, body) },
	}, ctx.Done())
	if err != nil {
		return nil, fmt.Errorf("call to %s: %w", node, errors.Join(err, ctx.Err()))
	}
	return answer, nil
}

func appendCall(b []byte, left time.Duration, body []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(max(left/time.Millisecond, 1)))
	return append(b, body...)
}

// decodeCall returns how long the caller waits, and what it says.
func decodeCall(b []byte) (time.Duration, []byte, error) {
	r := &peerReader{b: b}
	left := time.Duration(r.u32()) * time.Millisecond
	return min(left, maxCallTime), r.b, r.err
}

// call serves a call on a goroutine of its own.
func (c *inbound) call(h peerHeader, body []byte) {
	left, say, err := decodeCall(body)
	if err == nil && c.calls.Add(1) > maxCalls {
		c.calls.Add(-1)
		err = errBusy
	}
	if err != nil {
		c.refuse(h.id, h.body, err)
		return
	}
	c.serve.Go(func() {
		defer c.calls.Add(-1)
		answer, err := c.ask(left, say)
		if err != nil {
			c.refuse(h.id, h.body, err)
			return
		}
		m := message{kind: kindAnswer, id: h.id, large: len(answer) >= largeFrame,
			encode: func(b []byte) []byte { return append(b, answer...) }}
		if m.large {
			select {
			case c.out.turn <- struct{}{}:
			case <-c.out.done:
				return
			}
		}
		c.owed.Add(-int64(h.body))
		_ = c.out.send(m) // a closed output has no one to answer
	})
}

// ask puts a call to the layer above.
func (c *inbound) ask(left time.Duration, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.ctx, left)
	defer cancel()
	answer, err := c.p.c.Serve(ctx, c.hello.Load().PeerHello, body)
	if err == nil && len(answer) > maxCallBody {
		return nil, fmt.Errorf("the answer has %d bytes, at most %d are allowed", len(answer), maxCallBody)
	}
	return answer, err
}

// CallAddr asks whoever listens at an address, over a connection of its own:
// for a node that wants to join and knows nobody's name. body is the caller's
// again when CallAddr returns; its errors are those of Call.
func (p *Peers) CallAddr(ctx context.Context, addr string, body []byte) ([]byte, error) {
	if len(body) > maxCallBody {
		return nil, fmt.Errorf("raftlog: a call of %d bytes; at most %d are allowed", len(body), maxCallBody)
	}
	ctx, cancel := context.WithTimeout(ctx, maxCallTime)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()

	conn, peer, err := p.dial(ctx, addr, "", forCall)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, addr, err)
	}
	defer func() { _ = conn.Close() }()                         // all is said by then
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // and that is its deadline

	deadline, _ := ctx.Deadline() // set above
	left := time.Until(deadline)
	if _, err = conn.Write(appendFrame(nil, kindCall, 1, func(b []byte) []byte { return appendCall(b, left, body) })); err != nil {
		return nil, fmt.Errorf("call to %s: %w", addr, errors.Join(err, ctx.Err()))
	}
	answer, err := newFrameReader(conn).answer(peer.Node)
	if err != nil {
		return nil, fmt.Errorf("call to %s: %w", addr, errors.Join(err, ctx.Err()))
	}
	return answer, nil
}

// answer reads the one answer that is to come, and skips signs of life.
func (f *frameReader) answer(node string) ([]byte, error) {
	for {
		h, err := f.next()
		if err != nil {
			return nil, noEOF(err)
		}
		body, err := f.body(h.body)
		if err != nil {
			return nil, err
		}
		switch h.kind {
		case kindPong:
		case kindAnswer, kindProceed:
			return body, nil
		case kindRefusal:
			return nil, &PeerError{Node: node, Text: oneLine(string(body))}
		default:
			return nil, fmt.Errorf("frame of kind %d is no answer", h.kind)
		}
	}
}

// single serves a connection that is for one call.
func (c *inbound) single() {
	frames := newFrameReader(c.in)
	h, err := frames.next()
	if err != nil || h.kind != kindCall {
		return // it has thought better of it
	}
	body, err := frames.body(h.body)
	if err != nil {
		return
	}
	c.serve.Go(c.out.run)
	c.owed.Add(int64(h.body))
	c.call(h, body)
	// The caller closes when it has its answer or no patience; one whose host is
	// gone is let go when its time is over.
	c.in.limit = maxCallTime
	_, _ = frames.next()
	c.out.close(errPeersClosed)
	c.end()
	c.serve.Wait()
}
