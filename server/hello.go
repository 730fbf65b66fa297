package server

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/usher-seats/usher/wire"
)

const (
	// helloTimeout bounds the time from accepting a connection, TLS included, to
	// its hello.
	helloTimeout = 5 * time.Second
	// maxHello bounds the body of a hello in bytes: a stranger does not make the
	// node allocate.
	maxHello = 1024
)

// hello takes the first frame and answers it. False if the connection is refused;
// the peer has been told why.
func (c *conn) hello() bool {
	if c.nc.SetDeadline(time.Now().Add(helloTimeout)) != nil {
		return false
	}
	c.in = make([]byte, smallBuffer)
	h, body, ok := c.firstFrame()
	if !ok {
		return false
	}
	var hello wire.Hello
	magic, err := hello.Decode(body)
	switch {
	case h.Kind != wire.KindHello || !magic:
		return c.refuse(h, wire.StatusBadFrame, "this is a node of Usher and expects a hello of its binary protocol first")
	case err != nil:
		return c.refuse(h, wire.StatusBadFrame, "hello: "+err.Error())
	case hello.MinVersion > wire.ProtocolVersion || hello.MaxVersion < wire.ProtocolVersion:
		return c.refuse(h, wire.StatusBadVersion, fmt.Sprintf("this node speaks version %d of the protocol, you offer %d to %d",
			wire.ProtocolVersion, hello.MinVersion, hello.MaxVersion))
	}
	c.table = c.n.table()
	c.key = sha256.Sum256(hello.Key)
	role, known := c.n.roleIn(c.table, c.key)
	if !known {
		if len(hello.Key) == 0 {
			return c.refuse(h, wire.StatusUnauthorized, "this node wants an API key")
		}
		return c.refuse(h, wire.StatusUnauthorized, "the API key is not known here")
	}
	if c.n.stopping.Load() {
		return c.refuse(h, wire.StatusStopping, "")
	}
	c.role = role
	c.packing = choosePacking(hello.Compression)
	return c.welcome(h)
}

// firstFrame reads the hello without trusting anything about it.
func (c *conn) firstFrame() (h wire.Header, body []byte, ok bool) {
	for c.end < wire.HeaderSize {
		if !c.fill() {
			return h, nil, false
		}
	}
	h, err := wire.ParseHeader(c.in[c.start:c.end], maxHello)
	if err != nil {
		return h, nil, c.refuse(wire.Header{}, wire.StatusBadFrame, "this is a node of Usher and expects a hello of its binary protocol first: "+err.Error())
	}
	for c.end < wire.HeaderSize+h.Body {
		if !c.fill() {
			return h, nil, false
		}
	}
	c.start = wire.HeaderSize + h.Body
	return h, c.in[wire.HeaderSize:c.start], true
}

func (c *conn) welcome(h wire.Header) bool {
	w := wire.Welcome{
		Version:     wire.ProtocolVersion,
		Compression: c.packing,
		MaxInFlight: uint32(c.n.cfg.MaxInFlight),
		Cluster:     c.table.Cluster(),
		Node:        []byte(c.n.cfg.Node),
	}
	if !c.out.send(helloAnswer(h, wire.StatusOK, w.Append(nil))) {
		return false
	}
	c.n.counters.accepted.Add(1)
	return c.unhurried()
}

// refuse answers a hello that is none, or not welcome.
func (c *conn) refuse(h wire.Header, s wire.Status, text string) bool {
	c.out.send(helloAnswer(h, s, []byte(text)))
	return false
}

func helloAnswer(h wire.Header, s wire.Status, body []byte) []byte {
	h = wire.Header{Body: len(body), Kind: wire.KindHello, Flags: wire.FlagAnswer, Status: s, Request: h.Request}
	return append(h.Append(nil), body...)
}
