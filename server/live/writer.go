package live

import (
	"runtime"
	"sync"
	"time"
)

// chunk is how many subscribers a writer serves of one topic before it looks at the
// next one, and at who has come and gone.
const chunk = 256

// A round is what one writer is to write to its subscribers of a topic. The writer
// has it from when it is posted to when it is sent back.
type round struct {
	topic    *Topic
	frame    *Frame // for all who are at from or later; nil: only for those behind
	from, to uint64
	beat     bool // the frame says nothing
	over     bool // everybody is closed afterwards
	catchUp  map[uint64]*Update

	writer *writer
	begun  bool
	next   int                 // subscribers of the roster still to be served: those before it
	cost   time.Duration       // processor time so far
	wanted map[uint64]struct{} // positions that somebody has to be caught up from
}

// mail is what others want of a writer: one of its fields. Later mail of the same
// subscriber comes after earlier.
type mail struct {
	round  *round
	sub    *sub
	update *Update // the first for sub
	reply  *reply  // to what sub has sent
	gone   bool    // sub is
}

// A roster is a writer's subscribers of one topic.
type roster struct {
	subs   []*sub
	behind []*sub // that have not got all; some may be out already
}

// A writer owns subscribers and writes to them. What is not below mu is its
// goroutine's.
type writer struct {
	hub    *Hub
	index  int // in Hub.writers
	secure bool
	push   pusher

	rosters map[*Topic]*roster
	rounds  []*round
	now     time.Duration

	mu     sync.Mutex
	box    []mail
	signal chan struct{} // capacity 1
	counts map[*Topic]int
	ended  bool // nobody reads the box any more
}

func newWriter(h *Hub, index int, secure bool) *writer {
	w := &writer{hub: h, index: index, secure: secure, rosters: make(map[*Topic]*roster), signal: make(chan struct{}, 1), counts: make(map[*Topic]int)}
	w.push.init()
	return w
}

// post puts mail into the writer's box; false if the writer has ended. Any
// goroutine.
func (w *writer) post(m mail) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return false
	}
	w.box = append(w.box, m)
	select {
	case w.signal <- struct{}{}:
	default:
	}
	return true
}

// has reports whether the writer has subscribers of a topic. Any goroutine.
func (w *writer) has(t *Topic) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[t] > 0
}

func (w *writer) run() {
	runtime.LockOSThread() // its processor time is counted; the thread ends with it
	stopped := w.hub.context.Done()
	for w.hub.context.Err() == nil {
		before := threadTime()
		w.now = w.hub.now()
		w.readMail()
		w.charge(nil, threadTime()-before)
		if len(w.rounds) > 0 {
			w.advance()
			continue
		}
		select {
		case <-w.signal:
		case <-stopped:
		}
	}
	w.finish()
}

// charge counts processor time, to a round if there is one.
func (w *writer) charge(r *round, cost time.Duration) {
	w.hub.stats.cpu.Add(int64(cost))
	if r != nil {
		r.cost += cost
	} else if cost > 0 {
		w.hub.budget.extra(cost, w.now)
	}
}

func (w *writer) readMail() {
	w.mu.Lock()
	box := w.box
	w.box = nil
	w.mu.Unlock()
	for _, m := range box {
		switch {
		case m.round != nil:
			w.rounds = append(w.rounds, m.round)
		case m.update != nil:
			w.admit(m.sub, m.update)
		case m.sub.at < 0: // out already
		case m.gone:
			w.remove(m.sub)
		case m.reply != nil:
			w.answer(m.sub, m.reply)
		}
	}
}

// finish ends everything: the hub is being closed.
func (w *writer) finish() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.now = w.hub.now()
	w.readMail()
	for _, r := range w.rounds {
		r.topic.results <- r
	}
	for _, roster := range w.rosters {
		for len(roster.subs) > 0 {
			w.dismiss(roster.subs[len(roster.subs)-1], closeGoingAway)
		}
	}
}

// admit begins to serve a subscriber.
func (w *writer) admit(s *sub, u *Update) {
	r := w.rosters[s.topic]
	if r == nil {
		r = new(roster)
		w.rosters[s.topic] = r
	}
	s.at, s.pos = len(r.subs), u.Position
	r.subs = append(r.subs, s)
	w.note(s.topic, 1)
	if u.Resync {
		w.hub.stats.resyncs.Add(1)
	}
	if u.Frame != nil && !w.send(s, u.Frame) {
		return
	}
	if u.Over {
		w.dismiss(s, closeNormal)
		return
	}
	if err := w.hub.poll.add(s); err != nil {
		w.hub.c.Log.Warn("a subscriber cannot be waited for, so it is dropped", "error", err)
		w.drop(s)
	}
}

// note counts a topic's subscribers for has.
func (w *writer) note(t *Topic, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counts[t] += n; w.counts[t] == 0 {
		delete(w.counts, t)
		delete(w.rosters, t)
	}
}

// advance serves some subscribers of the round whose turn it is.
func (w *writer) advance() {
	r := w.rounds[0]
	w.rounds = append(w.rounds[:0], w.rounds[1:]...)
	before := threadTime()
	roster := w.rosters[r.topic]
	done := true
	switch {
	case roster == nil:
	case r.frame == nil && !r.over:
		w.serveBehind(r, roster)
	default:
		done = w.serve(r, roster)
	}
	w.charge(r, threadTime()-before)
	if done {
		r.topic.results <- r
		return
	}
	w.rounds = append(w.rounds, r)
}

// serve writes to the next few subscribers, from the last to the first: whoever is
// put into the place of one that leaves has been served already. It reports whether
// all have been.
func (w *writer) serve(r *round, roster *roster) bool {
	if !r.begun {
		r.begun, r.next = true, len(roster.subs)
	}
	r.next = min(r.next, len(roster.subs))
	for range chunk {
		if r.next == 0 {
			break
		}
		r.next--
		s := roster.subs[r.next]
		if w.visit(s, r) && r.over {
			w.dismiss(s, closeNormal)
		}
	}
	if r.next == 0 {
		roster.sweep()
	}
	return r.next == 0
}

// serveBehind writes to those who have not got all.
func (w *writer) serveBehind(r *round, roster *roster) {
	for _, s := range append([]*sub(nil), roster.behind...) {
		if s.at >= 0 && s.behind {
			w.visit(s, r)
		}
	}
	roster.sweep()
}

// sweep takes those out of the list who are not behind any more.
func (r *roster) sweep() {
	kept := r.behind[:0]
	for _, s := range r.behind {
		if s.at >= 0 && s.behind {
			kept = append(kept, s)
		}
	}
	clear(r.behind[len(kept):])
	r.behind = kept
}

// visit writes to a subscriber what he is to get now; false if he is out.
func (w *writer) visit(s *sub, r *round) bool {
	if s.behind {
		if w.now-s.stuck > w.hub.c.WriteTimeout {
			w.drop(s)
			return false
		}
		if s.blocked.Load() {
			if r.frame != nil && !r.beat {
				w.hub.stats.skipped.Add(1)
			}
			return true
		}
		if !w.resume(s) {
			return false
		}
		if len(s.rest) > 0 {
			return true
		}
	}
	switch {
	case r.beat && s.pos >= r.to:
		if !w.send(s, r.frame) {
			return false
		}
	case s.pos >= r.to: // has it, or more
	case r.frame != nil && !r.beat && s.pos >= r.from:
		return w.advanceTo(s, r.frame, r.to)
	default:
		return w.catchUp(s, r)
	}
	w.inStep(s)
	return true
}

// advanceTo writes a frame and notes where it leads to.
func (w *writer) advanceTo(s *sub, f *Frame, to uint64) bool {
	was := s.pos
	s.pos = to
	if !w.send(s, f) {
		return false
	}
	if len(s.rest) == len(f.bytes[s.framing]) {
		// Not a byte of it went out, so it need not be kept: later there is one
		// that says this and more.
		s.rest, s.pos = nil, was
		w.hub.stats.skipped.Add(1)
	}
	w.inStep(s)
	return true
}

// catchUp writes all that a subscriber has missed, if that has been prepared.
func (w *writer) catchUp(s *sub, r *round) bool {
	if u := r.catchUp[s.pos]; u != nil {
		if u.Resync {
			w.hub.stats.resyncs.Add(1)
		}
		return w.advanceTo(s, u.Frame, u.Position)
	}
	r.wanted[s.pos] = struct{}{}
	w.lag(s)
	return true
}

// lag notes that a subscriber has not got all.
func (w *writer) lag(s *sub) {
	if s.behind {
		return
	}
	s.behind, s.stuck = true, w.now
	s.topic.behind.Add(1)
	roster := w.rosters[s.topic]
	roster.behind = append(roster.behind, s)
}

// inStep notes that a subscriber has got all, if he has.
func (w *writer) inStep(s *sub) {
	if s.behind && len(s.rest) == 0 && !s.blocked.Load() {
		s.behind = false
		s.topic.behind.Add(-1)
	}
}

// resume goes on with a frame that was begun; false if the subscriber is out.
func (w *writer) resume(s *sub) bool {
	if len(s.rest) > 0 {
		rest := s.rest
		s.rest = nil
		if !w.write(s, rest) {
			return false
		}
		if len(s.rest) < len(rest) {
			s.stuck = w.now
		}
	}
	if len(s.rest) == 0 && len(s.control) > 0 {
		control := s.control
		s.control = nil
		return w.write(s, control)
	}
	return true
}

// send writes a frame; false if the subscriber is out.
func (w *writer) send(s *sub, f *Frame) bool {
	w.hub.stats.sent.Add(1)
	return w.write(s, f.bytes[s.framing])
}

// write writes what the socket takes and keeps the rest, which is shared, in s.rest.
// False if the subscriber is out.
func (w *writer) write(s *sub, b []byte) bool {
	n, err := w.push.write(s, b)
	w.hub.stats.bytes.Add(uint64(n))
	if err != nil {
		w.drop(s)
		return false
	}
	if n < len(b) {
		s.rest = b[n:]
		w.lag(s)
	}
	return true
}

// answer writes what a client is owed for what it has sent.
func (w *writer) answer(s *sub, r *reply) {
	if r.close {
		if len(s.rest) == 0 && !w.write(s, r.write) {
			return
		}
		w.hub.stats.expelled.Add(1)
		w.remove(s)
		return
	}
	if len(s.rest) > 0 {
		s.control = r.write
		return
	}
	w.write(s, r.write)
}

// dismiss closes a subscriber and tells him, if his socket takes it, which only
// WebSockets know how to.
func (w *writer) dismiss(s *sub, code uint16) {
	if s.framing == WebSocket && len(s.rest) == 0 {
		if !w.write(s, closing(code)) {
			return
		}
	}
	w.remove(s)
}

// drop closes a subscriber who does not take what waits for him.
func (w *writer) drop(s *sub) {
	w.hub.stats.dropped.Add(1)
	w.remove(s)
}

// remove closes a subscriber.
func (w *writer) remove(s *sub) {
	w.hub.poll.remove(s)
	if s.behind {
		s.behind = false
		s.topic.behind.Add(-1)
	}
	roster := w.rosters[s.topic]
	last := len(roster.subs) - 1
	roster.subs[s.at] = roster.subs[last]
	roster.subs[s.at].at = s.at
	roster.subs[last] = nil
	roster.subs = roster.subs[:last]
	s.at, s.rest, s.control = -1, nil, nil
	s.hangUp()
	w.note(s.topic, -1)
	s.topic.left()
}
