package server

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/usher-seats/usher/server/live"
)

const (
	// drainTime is how long a connection whose request was not read to its end
	// is drained. Closing it at once would reset it, and the client would lose
	// the answer that tells why.
	drainTime = 2 * time.Second
	// refusalTime bounds writing a refusal, which fits in any socket's buffer.
	refusalTime = 50 * time.Millisecond
	// acceptPause is how long accepting rests when the process is out of files.
	acceptPause = 20 * time.Millisecond
)

// A gate is a listener that lets in so many connections, in all and from one
// address, and refuses others before anything is read. It also outlives errors
// that pass, such as running out of file descriptors, which fasthttp takes for
// the end of the listener.
type gate struct {
	net.Listener
	most     int  // connections
	perIP    int  // connections from one address; 0: no limit
	mute     bool // the protocol begins with a handshake: refuse without a word
	accepted atomic.Uint64
	refused  atomic.Uint64

	mu   sync.Mutex
	open int
	byIP map[netip.Prefix]int // only if perIP > 0
}

func newGate(ln net.Listener, most, perIP int) *gate {
	return &gate{Listener: ln, most: most, perIP: perIP, byIP: make(map[netip.Prefix]int)}
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		from := origin(c.RemoteAddr())
		if !g.enter(from) {
			g.refused.Add(1)
			g.refuse(c)
			continue
		}
		g.accepted.Add(1)
		return &gatedConn{Conn: c, gate: g, from: from}, nil
	}
}

func (g *gate) enter(from netip.Prefix) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= g.most || g.perIP > 0 && g.byIP[from] >= g.perIP {
		return false
	}
	g.open++
	if g.perIP > 0 {
		g.byIP[from]++
	}
	return true
}

func (g *gate) leave(from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if g.perIP == 0 {
		return
	}
	if g.byIP[from]--; g.byIP[from] == 0 {
		delete(g.byIP, from)
	}
}

// connections is the number of connections that are open.
func (g *gate) connections() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// refuse answers without reading. An error only means that the client does not
// learn why.
func (g *gate) refuse(c net.Conn) {
	if !g.mute {
		_ = c.SetWriteDeadline(time.Now().Add(refusalTime))
		_, _ = c.Write(refusedAnswer())
	}
	_ = c.Close()
}

// refusedAnswer is what a connection too many gets.
var refusedAnswer = sync.OnceValue(func() []byte {
	p := httpProblem(codeConnections)
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // constant data
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d Service Unavailable\r\nContent-Type: %s\r\nContent-Length: %d\r\n"+
		"Retry-After: %d\r\nConnection: close\r\n\r\n%s", p.http, problemMedia, len(body), p.retry, body)
})

// origin is the address that a connection counts for: an IPv4 address, or an
// IPv6 /64, which is what one customer usually has.
func origin(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // not an address: all of them count together
	}
	return p
}

// A gatedConn is a connection that a gate let in. The goroutine that serves it
// owns it, until it becomes a subscriber of live updates.
type gatedConn struct {
	net.Conn
	gate   *gate
	from   netip.Prefix
	linger atomic.Bool

	mu     sync.Mutex
	closed bool
	place  *live.Place // of a subscriber; nil: it counts in the gate
}

// subscribe has the connection count as a subscriber and not in the gate any more,
// so that visitors who watch do not keep those out who buy. fasthttp's own limits
// know nothing of connections that were taken from it.
func (c *gatedConn) subscribe(p *live.Place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.place != nil {
		p.Release()
		return
	}
	c.place = p
	c.gate.leave(c.from)
}

func (c *gatedConn) Close() error {
	c.mu.Lock()
	closed, place := c.closed, c.place
	c.closed = true
	c.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	if c.linger.Load() {
		c.drain()
	}
	err := c.Conn.Close()
	if place != nil {
		place.Release()
	} else {
		c.gate.leave(c.from)
	}
	return err
}

// SyscallConn is that of the TCP connection.
func (c *gatedConn) SyscallConn() (syscall.RawConn, error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return sc.SyscallConn()
}

// drain says that nothing more will be written and reads what the client still
// sends, so that closing is not a reset.
func (c *gatedConn) drain() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if c.Conn.SetReadDeadline(time.Now().Add(drainTime)) == nil {
		_, _ = io.Copy(io.Discard, c.Conn) // ends by the deadline
	}
}

// underlying takes TLS off a connection.
func underlying(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}
