package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"time"
)

// Config is what a Hub is told. The zero value of every field is replaced by its
// default.
type Config struct {
	// CPU is how many cores pushing may use, on average. Default 0.5.
	CPU float64
	// Interval is the shortest time between two frames of a topic. Default 100 ms.
	Interval time.Duration
	// Heartbeat is the longest time in which a connection is silent. Default 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long a subscriber may take nothing that waits for him
	// before he is dropped. Default 10 s.
	WriteTimeout time.Duration

	// MaxSubscribers, MaxPerTopic and MaxPerAddress bound the subscribers, in all,
	// of one topic and from one address. Default 60,000, 50,000 and 2,000.
	MaxSubscribers, MaxPerTopic, MaxPerAddress int

	// Log takes what operators should know. Default: slog's default.
	Log *slog.Logger
}

const (
	tlsWriters = 4 // they wait for clients, if only for moments
	// tlsPatience is how long one write to an encrypted connection may take. What is
	// given up on is a torn record, so the connection is closed; its client resumes.
	tlsPatience = 100 * time.Millisecond
	// sendBuffer is the bytes that a subscriber's socket keeps for him, which the
	// kernel doubles. Left to itself it would grow to megabytes for whoever does not
	// read.
	sendBuffer = 64 << 10
)

func (c Config) withDefaults() Config {
	setDefault(&c.CPU, 0.5)
	setDefault(&c.Interval, 100*time.Millisecond)
	setDefault(&c.Heartbeat, 15*time.Second)
	setDefault(&c.WriteTimeout, 10*time.Second)
	setDefault(&c.MaxSubscribers, 60_000)
	setDefault(&c.MaxPerTopic, 50_000)
	setDefault(&c.MaxPerAddress, 2_000)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// A Hub pushes the frames of all topics of a node. Its fields do not change after
// New, but for those below mu, which it guards. Safe for all goroutines.
type Hub struct {
	c       Config
	began   time.Time
	plain   []*writer
	secure  []*writer
	writers []*writer // both
	poll    *poller
	budget  *budget
	beat    *Frame
	stats   counters
	running sync.WaitGroup
	context context.Context // ends when the hub is closed
	stop    context.CancelFunc

	mu      sync.Mutex
	closed  bool
	topics  map[string]*Topic
	places  int
	byTopic map[string]int
	byAddr  map[netip.Prefix]int
	turn    int // of the writers, for who comes
}

// New starts a hub without topics. It fails if the system gives it no files to
// wait with.
func New(c Config) (*Hub, error) {
	h := &Hub{
		c: c.withDefaults(), began: time.Now(), beat: heartbeat(), topics: make(map[string]*Topic),
		byTopic: make(map[string]int), byAddr: make(map[netip.Prefix]int),
	}
	h.budget = newBudget(h.c.CPU, h.c.Interval)
	h.context, h.stop = context.WithCancel(context.Background())
	var err error
	if h.poll, err = newPoller(h); err != nil {
		return nil, fmt.Errorf("live updates: %w", err)
	}
	for range max(1, int(math.Ceil(h.c.CPU))) {
		h.plain = append(h.plain, newWriter(h, len(h.plain), false))
	}
	for range tlsWriters {
		h.secure = append(h.secure, newWriter(h, len(h.plain)+len(h.secure), true))
	}
	h.writers = append(append(h.writers, h.plain...), h.secure...)
	for _, w := range h.writers {
		h.running.Go(w.run)
	}
	return h, nil
}

// Close closes all subscribers and returns when nothing of the hub runs any more.
// Connections that come later are closed at once.
func (h *Hub) Close() {
	h.mu.Lock()
	over := h.closed
	h.closed = true
	h.mu.Unlock()
	if over {
		return
	}
	h.stop()
	h.running.Wait()
	h.poll.close()
}

// now is the time since the hub's start.
func (h *Hub) now() time.Duration { return time.Since(h.began) }

// A Scope is what a limit of subscribers is about.
type Scope uint8

const (
	Everything Scope = iota // the node
	OneTopic
	OneAddress

	scopes = 3
)

// FullError says that there is no place for one more subscriber.
type FullError struct {
	Scope Scope
	Most  int
}

func (e *FullError) Error() string {
	return fmt.Sprintf("%d subscribers %s are there already", e.Most, [...]string{"in all", "of this topic", "from this address"}[e.Scope])
}

// A Place is the right to be one more subscriber. Safe for all goroutines.
type Place struct {
	hub   *Hub
	topic string
	addr  netip.Prefix
	once  sync.Once
}

// Reserve takes a place, or gives a *FullError.
func (h *Hub) Reserve(topic string, addr netip.Prefix) (*Place, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var full *FullError
	switch {
	case h.byAddr[addr] >= h.c.MaxPerAddress:
		full = &FullError{OneAddress, h.c.MaxPerAddress}
	case h.byTopic[topic] >= h.c.MaxPerTopic:
		full = &FullError{OneTopic, h.c.MaxPerTopic}
	case h.places >= h.c.MaxSubscribers:
		full = &FullError{Everything, h.c.MaxSubscribers}
	}
	if full != nil {
		h.stats.refused[full.Scope].Add(1)
		return nil, full
	}
	h.places++
	h.byTopic[topic]++
	h.byAddr[addr]++
	return &Place{hub: h, topic: topic, addr: addr}, nil
}

// Release gives the place back. More than once does nothing.
func (p *Place) Release() {
	p.once.Do(func() {
		h := p.hub
		h.mu.Lock()
		defer h.mu.Unlock()
		h.places--
		if h.byTopic[p.topic]--; h.byTopic[p.topic] == 0 {
			delete(h.byTopic, p.topic)
		}
		if h.byAddr[p.addr]--; h.byAddr[p.addr] == 0 {
			delete(h.byAddr, p.addr)
		}
	})
}

// ErrClosed says that the hub has been closed.
var ErrClosed = errors.New("live updates have ended")

// Join gives a connection to the hub, which writes frames to it until it closes it.
// The connection's answer has been written as far as the first frame. source makes
// the source of a topic that has no subscribers yet. The connection is closed if Join
// fails.
func (h *Hub) Join(topic string, source func() Source, c Connection) error {
	s, err := newSub(c)
	if err != nil {
		_ = c.Conn.Close() // nobody else will
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		_ = c.Conn.Close() // likewise
		return ErrClosed
	}
	among := h.plain
	if s.secure {
		among = h.secure
	}
	s.writer = among[h.turn%len(among)]
	h.turn++
	t := h.topics[topic]
	if t == nil {
		t = newTopic(h, topic, source())
		h.topics[topic] = t
		h.running.Go(t.run)
	}
	t.letIn(s, c)
	return nil
}

// retire takes a topic out that nobody listens to; false if somebody does.
func (h *Hub) retire(t *Topic) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.count.Load() > 0 && !h.closed {
		return false
	}
	delete(h.topics, t.key)
	return true
}
