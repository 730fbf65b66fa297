package live

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// A Connection is what becomes a subscriber.
type Connection struct {
	// Conn is a TCP connection (it has SyscallConn) or a *tls.Conn over one.
	Conn    net.Conn
	Framing Framing
	// Resume says that the client has everything up to Position.
	Resume   bool
	Position uint64
	// Input is what the client has sent already.
	Input []byte
}

// A sub is one subscriber. The first fields do not change after it was let in; the
// atomic ones tell the writer what the poller has seen; the rest is the writer's.
type sub struct {
	conn    net.Conn
	raw     syscall.RawConn
	secure  bool // written through conn, with a deadline
	framing Framing
	topic   *Topic
	writer  *writer
	token   uint64 // in the poller

	// blocked says that the socket took less than it was given and has not said
	// since that it takes more. Set by the writer before it tries a last time, so
	// that no sign is lost.
	blocked atomic.Bool
	reading atomic.Int32 // see reader.give
	in      *input       // nil: not a WebSocket

	at      int           // in the roster; -1: out
	pos     uint64        // up to which all frames are written, or begun
	rest    []byte        // of a frame that was begun
	control []byte        // to be written between two frames
	stuck   time.Duration // when the socket last took something, if it is behind
	behind  bool          // in the roster's list of those
}

var errConn = errors.New("live updates need a TCP connection")

func newSub(c Connection) (*sub, error) {
	s := &sub{conn: c.Conn, framing: c.Framing, at: -1, secure: !plainWrites}
	under := c.Conn
	if t, ok := under.(*tls.Conn); ok {
		s.secure, under = true, t.NetConn()
	}
	sc, ok := under.(syscall.Conn)
	if !ok {
		return nil, errConn
	}
	var err error
	if s.raw, err = sc.SyscallConn(); err != nil {
		return nil, fmt.Errorf("live updates: %w", err)
	}
	if c.Framing == WebSocket {
		s.in = &input{held: c.Input}
	}
	return s, nil
}

// hangUp closes the connection. TLS is not told: saying farewell could wait for a
// client that does not read.
func (s *sub) hangUp() {
	c := s.conn
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.Close() // what it says of a connection given up is of no interest
}
