package raftlog

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A sight is a frame and when it was seen.
type sight struct {
	kind peerKind
	id   uint64
	at   time.Duration
}

// watch reads frames off a pipe until it is closed.
func watch(conn net.Conn) (seen func() []sight) {
	begin := time.Now()
	var mu sync.Mutex
	var all []sight
	go func() {
		frames := newFrameReader(conn)
		for {
			h, err := frames.next()
			if err != nil || frames.skip(h.body) != nil {
				return
			}
			mu.Lock()
			all = append(all, sight{h.kind, h.id, time.Since(begin)})
			mu.Unlock()
		}
	}()
	return func() []sight {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// TestOutputGathers proves when frames go: urgent ones now, with the answers to
// heartbeats that wait; heartbeats with each other and nobody else.
func TestOutputGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		o := newOutput(ours)
		var writer sync.WaitGroup
		writer.Go(o.run)
		seen := watch(theirs)
		send := func(id uint64, when urgency) {
			t.Helper()
			if err := o.send(message{kind: kindAppend, id: id, when: when}); err != nil {
				t.Fatal(err)
			}
		}
		const ms = time.Millisecond
		send(1, held)
		send(2, soon)
		time.Sleep(10 * ms)
		send(3, now) // takes 2 along
		synctest.Wait()
		send(4, soon)
		time.Sleep(40 * ms)
		send(5, held) // goes with 1
		o.release()
		synctest.Wait()
		o.release() // of nothing
		send(6, held)
		time.Sleep(10 * ms)
		o.release()
		synctest.Wait()
		want := []sight{
			{kindAppend, 2, 10 * ms}, {kindAppend, 3, 10 * ms},
			{kindAppend, 4, 10*ms + answerDelay},
			{kindAppend, 1, 50 * ms}, {kindAppend, 5, 50 * ms},
			{kindAppend, 6, 60 * ms},
		}
		if got := seen(); !slices.Equal(got, want) {
			t.Errorf("sent\n%v, want\n%v", got, want)
		}
		o.close(io.EOF)
		writer.Wait()
		if err := o.send(message{kind: kindPing}); !errors.Is(err, io.EOF) {
			t.Errorf("a frame after the end: %v", err)
		}
		theirs.Close()
	})
}

// TestLargeFramesTakeTurns proves that one large frame waits to be written, not
// more, that a small one need not wait for its turn, and that a failed
// connection lets those who wait go.
func TestLargeFramesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, theirs, stop := testStream()
		ask := func(size int) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := s.ask(question{kind: kindCall, size: size, timeout: time.Minute,
					encode: func(b []byte) []byte { return append(b, make([]byte, size)...) }}, nil)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		writing, gathered := ask(largeFrame), ask(largeFrame) // nobody reads
		waits := []chan error{ask(largeFrame), ask(largeFrame)}
		small := ask(1)
		s.out.mu.Lock()
		if n := len(s.out.buf); n > 2*largeFrame {
			t.Errorf("%d bytes are gathered", n)
		}
		s.out.mu.Unlock()
		s.fail(io.EOF)
		for i, c := range []chan error{writing, gathered, small} {
			if err := <-c; !errors.Is(err, io.EOF) || errors.Is(err, ErrUnreachable) {
				t.Errorf("question %d, which may have been sent: %v", i, err)
			}
		}
		for i, c := range waits {
			if err := <-c; !errors.Is(err, io.EOF) || !errors.Is(err, ErrUnreachable) {
				t.Errorf("question %d, which was not sent: %v", i, err)
			}
		}
		stop()
		theirs.Close()
	})
}

// testStream is a stream to the other end of a pipe, and how to end it.
func testStream() (s *stream, theirs net.Conn, stop func()) {
	ours, theirs := net.Pipe()
	begin := time.Now()
	clock := func() time.Duration { return time.Since(begin) }
	s = &stream{
		peer: PeerHello{Node: "n1"}, in: &progressConn{Conn: ours, limit: idleLimit, clock: clock}, out: newOutput(ours),
		clock: clock, waiters: &sync.Pool{New: func() any { return &waiter{answer: make(chan peerAnswer, 1)} }},
		waiting: make(map[uint64]*waiter),
	}
	var work sync.WaitGroup
	work.Go(s.out.run)
	work.Go(func() { s.fail(s.read()) })
	return s, theirs, work.Wait
}

// TestStreamIsPinged proves that a stream on which nothing comes is pinged, that
// a pong keeps it, and that silence makes it quiet, then ends it and all questions
// on it.
func TestStreamIsPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, theirs, stop := testStream()
		seen := watch(theirs)
		sweep := func(n int) {
			for range n {
				s.sweep()
				synctest.Wait()
			}
		}
		sweep(pingSweeps)
		if got := seen(); len(got) != 1 || got[0].kind != kindPing {
			t.Fatalf("after %d looks it was sent %v", pingSweeps, got)
		}
		time.Sleep(time.Millisecond) // else it was heard at the time it was last heard
		if _, err := theirs.Write(appendFrame(nil, kindPong, 0, nil)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		sweep(quietSweeps) // the first of them hears
		if s.quiet.Load() {
			t.Error("a stream that was just heard is quiet")
		}
		sweep(1)
		if !s.quiet.Load() {
			t.Errorf("a stream that was silent at %d looks is not quiet", quietSweeps)
		}
		sweep(deadSweeps - quietSweeps - 1)
		if err := s.out.reason(); err != nil {
			t.Fatalf("a stream that was heard is dead: %v", err)
		}
		asked := make(chan error, 1)
		go func() {
			_, err := s.ask(question{kind: kindCall, timeout: time.Hour}, nil)
			asked <- err
		}()
		synctest.Wait()
		sweep(1)
		if err := <-asked; !errors.Is(err, errPeerSilent) {
			t.Errorf("a question on a dead stream: %v", err)
		}
		if _, err := s.ask(question{kind: kindCall, timeout: time.Hour}, nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("a question after its end: %v", err)
		}
		stop()
		theirs.Close()
	})
}

// TestSlowNetworkIsNotDead proves that a stream on which much is being written
// is not taken for dead because the pong is late, and that one which takes
// nothing more is.
func TestSlowNetworkIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, theirs, stop := testStream()
		const chunks = 3 * deadSweeps
		asked := make(chan error, 1)
		go func() {
			_, err := s.ask(question{kind: kindAppend, timeout: time.Hour, size: chunks * writeChunk,
				encode: func(b []byte) []byte { return append(b, make([]byte, chunks*writeChunk)...) }}, nil)
			asked <- err
		}()
		buf := make([]byte, writeChunk)
		for range chunks - 1 {
			synctest.Wait()
			s.sweep()
			if _, err := io.ReadFull(theirs, buf); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.out.reason(); err != nil {
			t.Fatalf("a stream that moves is dead: %v", err)
		}
		for range deadSweeps + 1 {
			synctest.Wait()
			s.sweep()
		}
		if err := <-asked; !errors.Is(err, errPeerSilent) {
			t.Errorf("a question on a stream that stands still: %v", err)
		}
		stop()
		theirs.Close()
	})
}

// TestQuestionsEnd proves that a question ends by its own time or when its asker
// gives up, and that an answer which comes later is dropped.
func TestQuestionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, theirs, stop := testStream()
		seen := watch(theirs)
		giveUp := make(chan struct{})
		errs := make(chan error, 2)
		go func() { _, err := s.ask(question{kind: kindCall, timeout: time.Second}, nil); errs <- err }()
		synctest.Wait()
		time.Sleep(time.Second + time.Millisecond)
		s.sweep()
		if err := <-errs; !errors.Is(err, errNoAnswer) {
			t.Errorf("a question whose time is over: %v", err)
		}
		go func() { _, err := s.ask(question{kind: kindCall, timeout: time.Hour}, giveUp); errs <- err }()
		synctest.Wait()
		close(giveUp)
		if err := <-errs; !errors.Is(err, errGivenUp) {
			t.Errorf("a question that is given up: %v", err)
		}
		for _, q := range seen() {
			if _, err := theirs.Write(appendFrame(nil, kindAnswer, q.id, nil)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		got := make(chan []byte, 1)
		go func() {
			b, err := s.ask(question{kind: kindCall, timeout: time.Hour}, nil)
			if err != nil {
				t.Error(err)
			}
			got <- b
		}()
		last := seen()[2]
		answer := appendFrame(nil, kindAnswer, last.id, func(b []byte) []byte { return append(b, "right"...) })
		if _, err := theirs.Write(answer); err != nil {
			t.Fatal(err)
		}
		if b := <-got; string(b) != "right" {
			t.Errorf("the answer is %q", b)
		}
		theirs.Close()
		stop()
	})
}
