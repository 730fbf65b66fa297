package raftlog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// helloTimeout is how long a dialer may take for TLS and its hello.
	helloTimeout = 5 * time.Second
	// maxInbound bounds the connections from other nodes, maxInboundPerIP those
	// from one address. A node has a stream to each other one, and a connection
	// per snapshot that it sends.
	maxInbound      = 512
	maxInboundPerIP = 128
	// maxOwed bounds the bodies, in bytes, that came on one stream and are not
	// answered yet. It is far above what raft and the callers of a node have under
	// way; what comes beyond is refused.
	maxOwed = 64 << 20
	// acceptPause is how long accepting rests when the process is out of files.
	acceptPause = 20 * time.Millisecond
)

var (
	errBusy = errors.New("the node has too many requests under way")
	// Without TLS the listener speaks first, with TLS the dialer does. So one without
	// waits for the other, in silence, and hangs up.
	errNoTLS = errors.New("it hung up without a word of TLS: a node that was given no certificate between nodes does")
)

// An inbound is a connection that another node opened. Its goroutine reads;
// answers come from others.
type inbound struct {
	p     *Peers
	from  netip.AddrPort
	in    *progressConn
	out   *output
	hello atomic.Pointer[hello] // nil: not admitted yet
	ctx   context.Context       // ends with the connection
	end   context.CancelFunc

	owed  atomic.Int64 // bytes of bodies that are not answered
	calls atomic.Int32 // under way
	serve sync.WaitGroup
}

// accept takes connections until the listener is closed.
func (p *Peers) accept() {
	for {
		conn, err := p.ln.Accept()
		if p.ctx.Err() != nil {
			if err == nil {
				_ = conn.Close() // nothing was promised
			}
			return
		}
		if err != nil {
			p.log.warn("accept", "cannot accept a connection of a node", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		from := remote(conn)
		if c := p.enter(conn, from); c != nil {
			p.work.Go(c.run)
			continue
		}
		_ = conn.Close() // nothing was promised
		p.log.warn(from.Addr().String(), "connection of a node refused", "from", from, "reason", "there are too many")
	}
}

// enter registers a connection, unless there are too many.
func (p *Peers) enter(conn net.Conn, from netip.AddrPort) *inbound {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.inbound) >= maxInbound || p.byIP[from.Addr()] >= maxInboundPerIP {
		return nil
	}
	if p.listenTLS != nil {
		conn = tls.Server(conn, p.listenTLS)
	}
	c := &inbound{p: p, from: from, out: newOutput(conn)}
	c.in = &progressConn{Conn: conn, limit: idleLimit, clock: p.clock}
	c.ctx, c.end = context.WithCancel(p.ctx)
	p.inbound[c] = struct{}{}
	p.byIP[from.Addr()]++
	return c
}

func (p *Peers) leave(c *inbound) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.inbound, c)
	if p.byIP[c.from.Addr()]--; p.byIP[c.from.Addr()] == 0 {
		delete(p.byIP, c.from.Addr())
	}
}

// remote is where a connection comes from; zero: it does not say.
func remote(conn net.Conn) netip.AddrPort {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// node is who is at the other end; "": it has not been admitted.
func (c *inbound) node() string {
	if h := c.hello.Load(); h != nil {
		return h.Node
	}
	return ""
}

// run serves a connection until it ends.
func (c *inbound) run() {
	defer c.p.leave(c)
	defer c.end()
	stop := context.AfterFunc(c.ctx, func() { c.out.close(errPeersClosed) })
	defer stop()
	defer c.out.close(errPeersClosed) // whatever the reason was: nobody waits for it here

	h, err := c.admit()
	if err != nil {
		if c.p.ctx.Err() == nil {
			c.p.log.warn(c.from.Addr().String(), "connection of a node refused", "from", c.from, "peer", h.Node, "reason", err)
		}
		return
	}
	switch c.hello.Store(&h); h.purpose {
	case forStream:
		c.p.supersede(c)
		c.stream()
	case forCall:
		c.single()
	case forSnapshot:
		c.snapshot()
	}
}

// admit lets the dialer introduce itself. It is told why it is refused if that
// is not the error of its connection.
func (c *inbound) admit() (h hello, err error) {
	conn := c.in.Conn
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return h, err
	}
	if t, ok := conn.(*tls.Conn); ok {
		switch err := t.HandshakeContext(c.ctx); {
		case errors.Is(err, io.EOF):
			return h, errNoTLS
		case err != nil:
			return h, fmt.Errorf("TLS: %w", err)
		}
	}
	h, err = invite(conn)
	if err == nil {
		err = c.p.judge(conn, h)
	}
	answer := welcome{PeerHello: c.p.me()}
	if err != nil {
		answer.refusal = err.Error()
	}
	if _, failed := conn.Write(answer.append(nil)); err == nil {
		err = failed
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	return h, err
}

// supersede closes other streams of a node that has opened a new one: there is
// one from each node, and what is still on its way in an old one is stale.
func (p *Peers) supersede(c *inbound) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for o := range p.inbound {
		if h := o.hello.Load(); o != c && h != nil && h.purpose == forStream && h.Node == c.node() {
			o.end()
		}
	}
}

// stream serves requests until the connection ends, and waits for its calls.
func (c *inbound) stream() {
	c.serve.Go(c.out.run)
	err := c.read()
	if errors.Is(err, errBroken) {
		c.p.log.warn(c.node(), "connection of a node ended", "peer", c.node(), "from", c.from, "error", err)
	}
	c.out.close(err)
	c.end()
	c.serve.Wait()
}

func (c *inbound) read() error {
	frames := newFrameReader(c.in)
	for {
		h, err := frames.next()
		if err != nil {
			return err
		}
		if h.kind == kindPing {
			if err := c.out.send(message{kind: kindPong}); err != nil {
				return err
			}
			continue
		}
		if c.owed.Add(int64(h.body)) > maxOwed {
			if err := frames.skip(h.body); err != nil {
				return err
			}
			c.refuse(h.id, h.body, errBusy)
			continue
		}
		body, err := frames.body(h.body)
		if err == nil {
			err = c.dispatch(h, body)
		}
		if err != nil {
			return err
		}
	}
}

// dispatch hands a request to whom it is for.
func (c *inbound) dispatch(h peerHeader, body []byte) error {
	if h.kind == kindCall {
		c.call(h, body)
		return nil
	}
	if h.kind == kindSnapshot {
		return fmt.Errorf("%w: a snapshot needs a connection of its own", errBroken)
	}
	q, err := decodeRequest(h.kind, body)
	if err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	in := &incoming{peerRequest: q, id: h.id, size: h.body, at: c.p.clock(), from: c}
	if isHeartbeat(q.cmd) {
		in.when = soon
	}
	c.p.deliver(c.hello.Load().Node, in)
	return nil
}

// alive reports whether answers still get anywhere.
func (c *inbound) alive() bool { return c.ctx.Err() == nil }

// answer sends the answer of raft to a message.
func (c *inbound) answer(in *incoming, resp any, err error) {
	if err != nil {
		c.refuse(in.id, in.size, err)
		return
	}
	c.owed.Add(-int64(in.size))
	_ = c.out.send(message{kind: kindAnswer, id: in.id, when: in.when,
		encode: func(b []byte) []byte { return appendAnswer(b, resp) }}) // a closed output has no one to answer
}

// refuse answers a request of that many bytes with the reason why not.
func (c *inbound) refuse(id uint64, size int, err error) {
	c.owed.Add(-int64(size))
	text := oneLine(err.Error())
	_ = c.out.send(message{kind: kindRefusal, id: id,
		encode: func(b []byte) []byte { return append(b, text...) }}) // a closed output has no one to answer
}
