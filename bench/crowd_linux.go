package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	crowdEvents = 512     // taken from the kernel at a time
	crowdBuffer = 1 << 20 // bytes read at once
	// crowdAhead is how many subscribers may have asked and not got their map yet.
	crowdAhead = 512
)

// A crowd is subscribers on sockets without goroutines: one waits for all of them,
// so that watching costs little of the machine that is measured. What is not atomic
// or below mu is that goroutine's.
type crowd struct {
	o     CrowdOptions
	epoll int
	subs  []watcher // by number
	buf   []byte
	now   int64 // milliseconds, Unix time

	ready   atomic.Int64 // have their map
	stopped atomic.Bool
	ended   chan struct{}

	mu     sync.Mutex
	report CrowdReport
	seen   map[[2]uint64]int // place in the last part's Seen
}

// A watcher is one subscriber.
type watcher struct {
	fd   int
	head bool   // the answer's head has been read
	at   uint64 // version that it knows; 0: none yet
	held []byte // the begin of a frame
}

// StartCrowd has all subscribers connect, and returns when all have got their first
// frame.
func StartCrowd(ctx context.Context, o CrowdOptions) (Crowd, error) {
	if err := enoughFiles(o.Subscribers); err != nil {
		return nil, err
	}
	c := &crowd{o: o, subs: make([]watcher, o.Subscribers), buf: make([]byte, crowdBuffer), ended: make(chan struct{}), seen: make(map[[2]uint64]int)}
	c.report.Parts = []CrowdPart{{Name: "arrival"}}
	var err error
	if c.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	go c.watch()
	if err := c.arrive(ctx); err != nil {
		_, _ = c.Stop() // err says what there is to say
		return nil, err
	}
	return c, nil
}

// enoughFiles raises the limit of open files as far as it may, and says so if that
// is not far enough.
func enoughFiles(subscribers int) error {
	need := uint64(subscribers + spareFiles)
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	if l.Cur >= need {
		return nil
	}
	raised := syscall.Rlimit{Cur: need, Max: max(l.Max, need)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		return nil
	}
	return fmt.Errorf("a process may have %d files open here and %d subscribers need %d: raise the hard limit (ulimit -Hn), or have fewer in a process", l.Max, subscribers, need)
}

// arrive connects one after the other, never far ahead of the server.
func (c *crowd) arrive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Patience)
	defer cancel()
	ip, port, err := crowdTarget(c.o.HTTP)
	if err != nil {
		return err
	}
	request := crowdRequest(c.o)
	for i := range c.subs {
		if err := c.await(ctx, int64(i+1-crowdAhead)); err != nil {
			return err
		}
		fd, err := connectFrom(i, ip, port)
		if err != nil {
			return fmt.Errorf("subscriber %d: %w", i+1, err)
		}
		c.mu.Lock()
		c.subs[i].fd = fd
		c.mu.Unlock()
		if _, err := syscall.Write(fd, request); err != nil {
			return fmt.Errorf("subscriber %d: %w", i+1, err)
		}
		e := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP, Fd: int32(i)}
		if err := errors.Join(syscall.SetNonblock(fd, true), syscall.EpollCtl(c.epoll, syscall.EPOLL_CTL_ADD, fd, &e)); err != nil {
			return fmt.Errorf("subscriber %d: %w", i+1, err)
		}
	}
	return c.await(ctx, int64(len(c.subs)))
}

// await waits until so many have their map.
func (c *crowd) await(ctx context.Context, n int64) error {
	for c.ready.Load() < n {
		c.mu.Lock()
		lost, why := c.report.Lost, c.report.Error
		c.mu.Unlock()
		if lost > 0 {
			return fmt.Errorf("subscribers are refused: %s", why)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d subscribers had their map in time: %w", c.ready.Load(), len(c.subs), ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func connectFrom(i int, ip [4]byte, port int) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if ip[0] == 127 {
		from := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + i%sources)}}
		if err := syscall.Bind(fd, from); err != nil {
			return 0, errors.Join(os.NewSyscallError("bind", err), syscall.Close(fd))
		}
	}
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Addr: ip, Port: port}); err != nil {
		return 0, errors.Join(os.NewSyscallError("connect", err), syscall.Close(fd))
	}
	return fd, nil
}

// Mark begins a new part of the report.
func (c *crowd) Mark(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Parts = append(c.report.Parts, CrowdPart{Name: name})
	clear(c.seen)
	return nil
}

// Stop closes all subscribers.
func (c *crowd) Stop() (*CrowdReport, error) {
	c.stopped.Store(true)
	<-c.ended
	for i := range c.subs {
		if c.subs[i].fd > 0 {
			_ = syscall.Close(c.subs[i].fd) // nothing is lost with it
		}
	}
	return &c.report, os.NewSyscallError("close", syscall.Close(c.epoll))
}

func (c *crowd) watch() {
	defer close(c.ended)
	events := make([]syscall.EpollEvent, crowdEvents)
	const lookEvery = 50 // milliseconds between looks at whether to stop
	for !c.stopped.Load() {
		n, err := syscall.EpollWait(c.epoll, events, lookEvery)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			c.mu.Lock()
			c.loseLocked(nil, os.NewSyscallError("epoll_wait", err))
			c.mu.Unlock()
			return
		}
		c.now = time.Now().UnixMilli()
		c.mu.Lock()
		for _, e := range events[:max(n, 0)] {
			w := &c.subs[e.Fd]
			if err := c.read(w); err != nil {
				c.loseLocked(w, err)
			}
		}
		c.mu.Unlock()
	}
}

// loseLocked counts a subscriber whose stream has ended.
func (c *crowd) loseLocked(w *watcher, err error) {
	c.report.Lost++
	if c.report.Error == "" {
		c.report.Error = err.Error()
	}
	if w != nil {
		_ = syscall.Close(w.fd) // it is over in any case
		w.fd = 0
	}
}

var errEnded = errors.New("the stream has ended")

// read takes what a subscriber has got.
func (c *crowd) read(w *watcher) error {
	n, err := syscall.Read(w.fd, c.buf)
	switch {
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR):
		return nil
	case err != nil:
		return os.NewSyscallError("read", err)
	case n == 0:
		return errEnded
	}
	part := &c.report.Parts[len(c.report.Parts)-1]
	part.Bytes += int64(n)
	b := c.buf[:n]
	if len(w.held) > 0 {
		b = append(w.held, b...)
		w.held = nil
	}
	if !w.head {
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			w.held = bytes.Clone(b)
			return nil
		}
		if !bytes.HasPrefix(b, []byte("HTTP/1.1 200")) && !bytes.HasPrefix(b, []byte("HTTP/1.1 101")) {
			return fmt.Errorf("answered with %q", b[:min(len(b), 400)])
		}
		w.head, b = true, b[end+4:]
	}
	for {
		frame, size := nextEvent(b)
		if c.o.WebSocket {
			frame, size = nextMessage(b)
		}
		if size == 0 {
			break
		}
		c.event(part, w, frame)
		b = b[size:]
	}
	if len(b) > 0 {
		w.held = bytes.Clone(b)
	}
	return nil
}

// event takes one event of a stream.
func (c *crowd) event(part *CrowdPart, w *watcher, frame []byte) {
	if bytes.Contains(frame[:min(len(frame), 40)], []byte("resync")) {
		part.Resyncs++
	}
	version := versionOf(frame, c.o.WebSocket)
	if version == 0 {
		return
	}
	if w.at == 0 {
		c.ready.Add(1)
	}
	part.Frames++
	key := [2]uint64{w.at, version}
	w.at = version
	i, ok := c.seen[key]
	if !ok {
		i = len(part.Seen)
		c.seen[key] = i
		part.Seen = append(part.Seen, Sighting{From: key[0], To: key[1], First: c.now})
	}
	s := &part.Seen[i]
	for at := int(c.now - s.First); len(s.At) <= at; {
		s.At = append(s.At, 0)
	}
	s.At[max(0, c.now-s.First)]++
}

// nextEvent is the first event of a stream, and its size with the empty line; 0 if it
// is not complete.
func nextEvent(b []byte) (event []byte, size int) {
	end := bytes.Index(b, []byte("\n\n"))
	if end < 0 {
		return nil, 0
	}
	return b[:end], end + 2
}

// nextMessage is the first message of a WebSocket; size 0: it is not complete.
func nextMessage(b []byte) (message []byte, size int) {
	if len(b) < 2 {
		return nil, 0
	}
	length, at := int(b[1]), 2
	switch {
	case length == 126 && len(b) >= 4:
		length, at = int(binary.BigEndian.Uint16(b[2:])), 4
	case length == 127 && len(b) >= 10:
		length, at = int(binary.BigEndian.Uint64(b[2:])), 10
	case length >= 126:
		return nil, 0
	}
	if len(b) < at+length {
		return nil, 0
	}
	return b[at : at+length], at + length
}

// versionOf is the id of an event, 0 if it has none.
func versionOf(frame []byte, webSocket bool) uint64 {
	begin, end := []byte("id: "), byte('\n')
	if webSocket {
		begin, end = []byte(`"id":"`), '"'
	}
	i := bytes.Index(frame[:min(len(frame), 64)], begin)
	if i < 0 {
		return 0
	}
	digits, _, _ := bytes.Cut(frame[i+len(begin):min(len(frame), i+64)], []byte{end})
	v, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return 0
	}
	return v
}
