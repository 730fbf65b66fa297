package client

import (
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A clock is what the client knows of an event's time: that it is between two
// bounds ahead of the client's own monotonic clock. Every answer that carries
// the time narrows them, because the shard read it after the request was sent
// and before the answer came.
//
// The time is the event's own: an event that moves to another shard takes it
// along, and it goes on there where it stopped. It stands still while the
// event's shard has no leader, and while the event is being moved, so the bounds
// can become wrong; an answer that contradicts them replaces them. Safe for all
// goroutines.
type clock struct {
	base time.Time // the client's zero of monotonic time; immutable

	mu        sync.Mutex
	known     bool
	low, high time.Duration // event time minus time since base; low ≤ high
}

// learn takes in that event time was now at some moment in [sent, got].
func (c *clock) learn(now wire.Millis, sent, got time.Time) {
	// A millisecond of event time is its beginning; its end is as good.
	event := time.Duration(now) * time.Millisecond
	low, high := event-got.Sub(c.base), event+time.Millisecond-sent.Sub(c.base)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known || high < c.low || low > c.high {
		c.known, c.low, c.high = true, low, high
		return
	}
	c.low, c.high = max(c.low, low), min(c.high, high)
}

// at is what event time has surely reached at t, as far as the client knows: a
// deadline so made is over when t is.
func (c *clock) at(t time.Time) wire.Millis {
	c.mu.Lock()
	defer c.mu.Unlock()
	return wire.Millis((c.low + t.Sub(c.base)) / time.Millisecond)
}

// before is a moment at which event time is surely not past m.
func (c *clock) before(m wire.Millis) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base.Add(time.Duration(m)*time.Millisecond - c.high)
}

// An idSource makes the random parts of ids: fast, and seeded by the system.
// Safe for all goroutines.
type idSource struct {
	mu     sync.Mutex
	random *rand.ChaCha8
}

func newIDSource() *idSource {
	var seed [32]byte
	crand.Read(seed[:]) // never fails: it ends the process rather
	return &idSource{random: rand.NewChaCha8(seed)}
}

func (s *idSource) bytes() (b [10]byte) {
	s.mu.Lock()
	x, y := s.random.Uint64(), s.random.Uint64()
	s.mu.Unlock()
	binary.LittleEndian.PutUint64(b[:], x)
	binary.LittleEndian.PutUint16(b[8:], uint16(y))
	return b
}

// timed makes an id for a request about an event whose time is now.
func (s *idSource) timed(now wire.Millis) wire.ID { return wire.NewID(now, s.bytes()) }

// untimed makes an id for a request to the directory, whose time the client
// does not know.
func (s *idSource) untimed() wire.ID {
	b := s.bytes()
	return wire.KeyID(string(b[:]))
}
