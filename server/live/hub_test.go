package live

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestEverybodyHearsEverything has many subscribers come at any time, and none of
// them misses anything.
func TestEverybodyHearsEverything(t *testing.T) {
	s := newStage(t, Config{Interval: time.Millisecond}, SSE, nil)
	var all []*listener
	for range 20 {
		for range 5 {
			all = append(all, s.listen())
		}
		s.source.say(3)
		all[len(all)-1].follow(s.source.pos)
	}
	for _, l := range all {
		l.follow(s.source.pos)
	}
	if st := s.hub.Stats(); st.Subscribers != 100 || st.Topics != 1 || st.Dropped != 0 || st.Frames == 0 || st.CPU <= 0 {
		t.Errorf("%+v", st)
	}
}

// TestOneEncodingForAll proves that many who come and listen cost the source no more
// than one.
func TestOneEncodingForAll(t *testing.T) {
	s := newStage(t, Config{Interval: time.Hour}, SSE, nil)
	for range 50 {
		s.listen().follow(1)
	}
	if s.source.fulls > 1 {
		t.Errorf("everything was prepared %d times for 50 who came", s.source.fulls)
	}
}

// TestFramesAreLimited proves that many changes make few frames.
func TestFramesAreLimited(t *testing.T) {
	s := newStage(t, Config{Interval: 50 * time.Millisecond}, SSE, nil)
	l := s.listen()
	l.follow(1)
	began := time.Now()
	for time.Since(began) < 500*time.Millisecond {
		s.source.say(1)
		runtime.Gosched()
	}
	l.follow(s.source.pos)
	if most := uint64(time.Since(began)/(50*time.Millisecond)) + 1; s.hub.Stats().Frames > most {
		t.Errorf("%d frames, more than %d", s.hub.Stats().Frames, most)
	}
}

// TestSlowListenerGetsOneMergedFrame proves that who does not read is skipped, costs
// the others nothing, and later gets one frame with all he has missed.
func TestSlowListenerGetsOneMergedFrame(t *testing.T) {
	s := newStage(t, Config{Interval: time.Millisecond, WriteTimeout: time.Hour}, SSE, nil)
	s.source.with(func() { s.source.fill = 100 << 10 })
	slow, quick := s.listen(), s.listen()
	slow.follow(1)
	for s.hub.Stats().Skipped < 20 {
		s.source.say(1)
		quick.follow(s.source.pos)
	}
	if behind := s.hub.Stats().Behind; behind != 1 {
		t.Errorf("%d are behind, want 1", behind)
	}
	target := s.source.pos
	events := slow.follow(target)
	longest := uint64(0)
	for _, e := range events {
		longest = max(longest, e.to-e.from)
	}
	if longest < 5 || len(events) > int(target)-10 {
		t.Errorf("%d frames to %d, the longest with %d changes: nothing was merged", len(events), target, longest)
	}
	eventually(t, "nobody is behind", func() bool { return s.hub.Stats().Behind == 0 })
	s.source.say(1)
	slow.follow(target + 1)
}

// TestSlowListenerIsToldToResync proves that who has missed more than is remembered
// begins anew.
func TestSlowListenerIsToldToResync(t *testing.T) {
	s := newStage(t, Config{Interval: time.Millisecond, WriteTimeout: time.Hour}, SSE, nil)
	s.source.with(func() { s.source.fill = 100 << 10 })
	slow, quick := s.listen(), s.listen()
	slow.follow(1)
	for s.hub.Stats().Skipped < 20 {
		s.source.say(1)
		quick.follow(s.source.pos)
	}
	s.source.with(func() { s.source.floor = s.source.pos })
	events := slow.follow(s.source.pos)
	if n := len(events); n < 2 || events[n-2].event != "resync" || events[n-1].event != "full" {
		t.Errorf("the last events are %v, want resync and full", events[max(0, n-2):])
	}
}

// TestDeadListenerIsDropped proves that who never reads is closed, and that until
// then he keeps no more than a frame.
func TestDeadListenerIsDropped(t *testing.T) {
	s := newStage(t, Config{Interval: time.Millisecond, WriteTimeout: 300 * time.Millisecond}, SSE, nil)
	s.source.with(func() { s.source.fill = 256 << 10 })
	s.listen()
	quick := s.listen()
	for s.hub.Stats().Dropped == 0 {
		s.source.say(1)
		quick.follow(s.source.pos)
	}
	// His socket took its fixed size and what was on its way, and no more.
	const most = 16 << 20
	if got := s.hub.Stats().Bytes - uint64(s.source.pos)*uint64(s.source.fill); int64(got) > most {
		t.Errorf("%d bytes were written to a client who never read", got)
	}
	eventually(t, "one is left", func() bool { return s.hub.Stats().Subscribers == 1 })
}

// TestHangUpIsNoticed proves that who goes is counted out though nothing is written,
// and that a topic without listeners asks nothing.
func TestHangUpIsNoticed(t *testing.T) {
	s := newStage(t, Config{Interval: time.Millisecond}, SSE, nil)
	l := s.listen()
	l.follow(1)
	l.nc.Close()
	eventually(t, "nobody and nothing is left", func() bool { st := s.hub.Stats(); return st.Subscribers == 0 && st.Topics == 0 })
	var asked int
	s.source.with(func() { asked = s.source.asked })
	s.source.say(1)
	for range 100 {
		runtime.Gosched()
	}
	s.source.with(func() {
		if s.source.asked != asked {
			t.Errorf("the source is asked though nobody listens")
		}
	})
}

// TestHeartbeat proves that a silent connection is written to.
func TestHeartbeat(t *testing.T) {
	s := newStage(t, Config{Interval: time.Millisecond, Heartbeat: 20 * time.Millisecond}, SSE, nil)
	l := s.listen()
	l.follow(1)
	for beats := 0; beats < 3; {
		line, err := l.in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == ":\n" {
			beats++
		}
	}
}

// TestOver proves that the end of a topic is told and closes its subscribers, those
// who come later too.
func TestOver(t *testing.T) {
	s := newStage(t, Config{Interval: time.Millisecond}, SSE, nil)
	l := s.listen()
	l.follow(1)
	s.source.with(func() { s.source.over = true })
	if e, err := l.next(); err != nil || e.event != "over" {
		t.Errorf("%v %v, want over", e, err)
	}
	l.closed()
	eventually(t, "nobody is left", func() bool { return s.hub.Stats().Subscribers == 0 })
}

// TestSourceFailsForAWhile proves that newcomers wait until the source answers.
func TestSourceFailsForAWhile(t *testing.T) {
	s := newStage(t, Config{Interval: time.Millisecond}, SSE, nil)
	s.source.with(func() { s.source.fails = true })
	l := s.listen()
	eventually(t, "the source was asked", func() bool { return s.hub.Stats().Failed > 0 })
	s.source.with(func() { s.source.fails = false })
	l.follow(1)
}

// TestResume proves that who comes with a position is told only what he missed, and
// that a made-up position does not hurt others.
func TestResume(t *testing.T) {
	s := newStage(t, Config{Interval: time.Millisecond}, SSE, nil)
	s.source.say(9)
	join := func(pos uint64) *listener {
		client, server := pair(t)
		c := Connection{Conn: server, Resume: true, Position: pos}
		if err := s.hub.Join("topic", func() Source { return s.source }, c); err != nil {
			t.Fatal(err)
		}
		l := hear(t, client)
		l.at = pos
		return l
	}
	liar := join(1 << 60)
	same, older := join(10), join(4)
	if e, err := older.next(); err != nil || e != (said{"delta", 4, 10}) {
		t.Errorf("%v %v, want the delta from 4 to 10", e, err)
	}
	older.at = 10
	s.source.say(1)
	for _, l := range []*listener{same, older} {
		if events := l.follow(11); len(events) != 1 || events[0].event != "delta" {
			t.Errorf("%v, want one delta", events)
		}
	}
	liar.nc.Close()
}

// pair is the two ends of a TCP connection.
func pair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// TestNoGoroutinePerSubscriber proves that a thousand subscribers have no goroutines,
// and that after the end of the hub neither goroutines nor files are left.
func TestNoGoroutinePerSubscriber(t *testing.T) {
	const many = 1000
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	t.Run("run", func(t *testing.T) {
		s := newStage(t, Config{Interval: time.Millisecond}, SSE, nil)
		before := runtime.NumGoroutine()
		all := make([]*listener, many)
		for i := range all {
			all[i] = s.listen()
		}
		s.source.say(1)
		for _, l := range all {
			l.follow(2)
		}
		const topic = 1
		if n := runtime.NumGoroutine() - before; n > topic {
			t.Errorf("%d subscribers have %d goroutines", many, n)
		}
	})
	eventually(t, "goroutines and files are gone", func() bool {
		return runtime.NumGoroutine() <= goroutines && openFiles(t) <= files
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc here")
	}
	return len(entries)
}

// TestPlaces proves that each limit is kept, says which it was, and gives places back.
func TestPlaces(t *testing.T) {
	h, err := New(Config{MaxSubscribers: 4, MaxPerTopic: 3, MaxPerAddress: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	addr := func(i byte) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 0, i}), 32) }
	reserve := func(topic string, from byte) (*Place, Scope) {
		p, err := h.Reserve(topic, addr(from))
		if err == nil {
			return p, scopes
		}
		return nil, err.(*FullError).Scope
	}
	first, _ := reserve("a", 1)
	for i, step := range []struct {
		topic string
		from  byte
		want  Scope
	}{
		{"a", 1, scopes}, {"b", 1, OneAddress}, {"a", 2, scopes}, {"a", 3, OneTopic}, {"b", 3, scopes}, {"c", 4, Everything},
	} {
		if _, got := reserve(step.topic, step.from); got != step.want {
			t.Errorf("step %d: %d, want %d", i, got, step.want)
		}
	}
	first.Release()
	first.Release() // counts once
	if _, got := reserve("b", 1); got != scopes {
		t.Errorf("a place that was given back cannot be had")
	}
	if _, got := reserve("b", 5); got != Everything {
		t.Errorf("a place was given back twice")
	}
	if r := h.Stats().Refused; r != [scopes]uint64{2, 1, 1} {
		t.Errorf("refused %v", r)
	}
}

// TestJoinAfterClose proves that nobody who comes late is forgotten.
func TestJoinAfterClose(t *testing.T) {
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	client, server := pair(t)
	if err := h.Join("topic", func() Source { return newScript() }, Connection{Conn: server}); err != ErrClosed {
		t.Errorf("%v", err)
	}
	hear(t, client).closed()
}

// TestCloseTellsWebSockets proves that closing the hub closes everybody, WebSockets
// with a word.
func TestCloseTellsWebSockets(t *testing.T) {
	s := newStage(t, Config{}, WebSocket, nil)
	l := s.listen()
	wantText(t, l, `"event":"full"`)
	s.hub.Close()
	wantClose(t, l, closeGoingAway)
	l.closed()
}
