package live

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// plainWrites says that connections without encryption are written to without
// waiting.
const plainWrites = true

// A pusher writes to connections. It belongs to a writer. The function that the
// socket is given to is made once, so a write allocates nothing.
type pusher struct {
	call func(fd uintptr) bool
	b    []byte
	n    int
	err  error
}

func (p *pusher) init() {
	p.call = func(fd uintptr) bool {
		p.n, p.err = syscall.Write(int(fd), p.b)
		return true // whatever came of it: it is not waited for
	}
}

// write writes what the connection takes now. n < len(b) without an error says that
// the socket is full; s.blocked is then set.
func (p *pusher) write(s *sub, b []byte) (n int, err error) {
	if s.secure {
		return writeBy(s.conn, b, tlsPatience)
	}
	if n, err = p.try(s, b); err != nil || n == len(b) {
		return n, err
	}
	// The poller unsets this when the socket takes more. It might have looked just
	// before it was set, so the socket is tried once more.
	s.blocked.Store(true)
	more, err := p.try(s, b[n:])
	if n += more; n == len(b) {
		s.blocked.Store(false)
	}
	return n, err
}

func (p *pusher) try(s *sub, b []byte) (int, error) {
	p.b = b
	if err := s.raw.Write(p.call); err != nil {
		return 0, err
	}
	p.b = nil
	switch {
	case errors.Is(p.err, syscall.EAGAIN) || errors.Is(p.err, syscall.EINTR):
		return 0, nil
	case p.err != nil:
		return 0, os.NewSyscallError("write", p.err)
	}
	return p.n, nil
}

// tune bounds what a socket keeps for a subscriber, and how long it waits for a
// peer that has vanished. Patience is the writer's, which has the first word.
func tune(s *sub, patience time.Duration) error {
	const (
		userTimeout = 18 // TCP_USER_TIMEOUT
		longer      = 10 * time.Second
	)
	var err error
	cerr := s.raw.Control(func(fd uintptr) {
		err = errors.Join(
			os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, sendBuffer)),
			os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout, int((patience+longer).Milliseconds()))),
		)
	})
	return errors.Join(cerr, err)
}
