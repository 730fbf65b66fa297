package live

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// pollEvents are the events taken from the kernel at a time.
const pollEvents = 256

// A poller waits for all sockets of a hub with one goroutine: for those who hang up,
// those whose socket takes more, and those who send something. The sockets stay with
// the runtime's own poller too, which nobody waits with.
type poller struct {
	hub    *Hub
	epoll  int
	bell   [2]int // a pipe: something in it ends the poller
	reader *reader
	call   func(fd uintptr) bool // reads into buf
	buf    []byte
	n      int
	err    error
	ended  chan struct{}

	mu   sync.Mutex
	subs map[uint64]*sub // by token, which is never used again, as file descriptors are
	last uint64
}

func newPoller(h *Hub) (*poller, error) {
	p := &poller{hub: h, subs: make(map[uint64]*sub), buf: make([]byte, readBuffer), ended: make(chan struct{})}
	var err error
	if p.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.Pipe2(p.bell[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		_ = syscall.Close(p.epoll)
		return nil, os.NewSyscallError("pipe2", err)
	}
	if err := p.watch(p.bell[0], 0, syscall.EPOLLIN); err != nil {
		p.closeFiles()
		return nil, err
	}
	p.call = func(fd uintptr) bool {
		p.n, p.err = syscall.Read(int(fd), p.buf)
		return true
	}
	p.reader = newReader(h)
	go p.run()
	return p, nil
}

// close ends the poller. No subscriber is left.
func (p *poller) close() {
	p.reader.end()
	_, _ = syscall.Write(p.bell[1], []byte{1}) // an empty pipe takes a byte
	<-p.ended
	p.closeFiles()
}

func (p *poller) closeFiles() {
	for _, fd := range []int{p.epoll, p.bell[0], p.bell[1]} {
		_ = syscall.Close(fd) // nothing is lost with them
	}
}

// watch asks for the events of a file; they come with the token. edge-triggered, so
// what is not dealt with does not come again.
func (p *poller) watch(fd int, token uint64, events uint32) error {
	e := syscall.EpollEvent{Events: events, Fd: int32(token), Pad: int32(token >> 32)}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, fd, &e))
}

// add begins to wait for a subscriber. What has happened already is told at once.
func (p *poller) add(s *sub) error {
	if err := tune(s, p.hub.c.WriteTimeout); err != nil {
		return err
	}
	if s.in != nil && len(s.in.held) > 0 {
		held := s.in.held
		s.in.held = nil
		s.heard(held, p.hub.now())
	}
	p.mu.Lock()
	p.last++
	s.token = p.last
	p.subs[s.token] = s
	p.mu.Unlock()
	const edge = 1 << 31 // EPOLLET, which syscall has as a negative number
	var err error
	cerr := s.raw.Control(func(fd uintptr) {
		err = p.watch(int(fd), s.token, syscall.EPOLLIN|syscall.EPOLLOUT|syscall.EPOLLRDHUP|edge)
	})
	return errors.Join(cerr, err)
}

// remove ends waiting for a subscriber, whose connection is closed next: that takes
// the socket away from the kernel's list.
func (p *poller) remove(s *sub) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.subs, s.token)
}

func (p *poller) find(token uint64) *sub {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.subs[token]
}

func (p *poller) run() {
	defer close(p.ended)
	runtime.LockOSThread() // its processor time is counted
	events := make([]syscall.EpollEvent, pollEvents)
	for {
		n, err := syscall.EpollWait(p.epoll, events, -1)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			panic(fmt.Sprintf("live: epoll_wait: %v", err)) // a bug: the file is ours
		}
		before := threadTime()
		for _, e := range events[:n] {
			token := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
			if token == 0 {
				return
			}
			if s := p.find(token); s != nil {
				p.handle(s, e.Events)
			}
		}
		cost := threadTime() - before
		p.hub.stats.cpu.Add(int64(cost))
		p.hub.budget.extra(cost, p.hub.now())
	}
}

func (p *poller) handle(s *sub, events uint32) {
	if events&syscall.EPOLLOUT != 0 {
		s.blocked.Store(false)
	}
	if events&(syscall.EPOLLERR|syscall.EPOLLHUP|syscall.EPOLLRDHUP) != 0 {
		s.writer.post(mail{sub: s, gone: true})
		return
	}
	switch {
	case events&syscall.EPOLLIN == 0:
	case s.secure:
		p.reader.give(s)
	case s.in != nil:
		p.read(s)
	}
}

// read takes what a WebSocket client has sent. It ends: too many frames close the
// connection.
func (p *poller) read(s *sub) {
	for {
		if s.raw.Read(p.call) != nil {
			return // closed meanwhile
		}
		switch {
		case errors.Is(p.err, syscall.EINTR):
			continue
		case errors.Is(p.err, syscall.EAGAIN):
			return
		case p.err != nil || p.n == 0:
			s.writer.post(mail{sub: s, gone: true})
			return
		}
		if !s.heard(p.buf[:p.n], p.hub.now()) {
			p.remove(s)
			return
		}
	}
}
