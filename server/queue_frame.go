package server

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/wire"
)

const (
	// frameEvery is how old the frame of a room may be before it is made anew, when
	// somebody wants it: at most ten times a second, for however many.
	frameEvery = 100 * time.Millisecond
	// maxFrames bounds the events of which a node keeps the frame.
	maxFrames = 1024
)

// A queueFrame is what all visitors of a room are told, as bytes. It is immutable.
type queueFrame struct {
	made    time.Time
	info    wire.QueueInfo
	outlook outlook
	body    []byte // JSON
	etag    string
	// position is greater than that of frames before, and the same as long as the
	// body is.
	position uint64
}

// queueFrames keeps the newest frame of each room. Whoever comes first when a frame
// has become too old makes the next, and others who come meanwhile wait for it.
type queueFrames struct {
	n *Node

	mu      sync.Mutex
	byEvent map[wire.EventID]*frameMaker
}

// A frameMaker makes the frames of one room, one at a time.
type frameMaker struct {
	newest atomic.Pointer[queueFrame]
	used   atomic.Int64 // when, in Unix nanoseconds

	mu    sync.Mutex
	meter rateMeter
}

func newQueueFrames(n *Node) *queueFrames {
	return &queueFrames{n: n, byEvent: make(map[wire.EventID]*frameMaker)}
}

// get is the event's frame, at most frameEvery old. key is the event's.
func (f *queueFrames) get(ctx context.Context, event wire.EventID, key string) (*queueFrame, wire.Status, []byte) {
	m := f.maker(event)
	now := time.Now()
	m.used.Store(now.UnixNano())
	if frame := m.newest.Load(); frame != nil && now.Sub(frame.made) < frameEvery {
		return frame, wire.StatusOK, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if frame := m.newest.Load(); frame != nil && time.Since(frame.made) < frameEvery {
		return frame, wire.StatusOK, nil
	}
	frame, s, body := f.make(ctx, m, event, key, 0)
	if s == wire.StatusOK {
		m.newest.Store(frame)
	}
	return frame, s, body
}

// fresh is a frame that has seen all that was acknowledged before.
func (f *queueFrames) fresh(ctx context.Context, event wire.EventID, key string) (*queueFrame, wire.Status, []byte) {
	m := f.maker(event)
	m.mu.Lock()
	defer m.mu.Unlock()
	frame, s, body := f.make(ctx, m, event, key, wire.FlagConsistent)
	if s == wire.StatusOK {
		m.newest.Store(frame)
	}
	return frame, s, body
}

// make reads the room and writes its frame. m is locked.
func (f *queueFrames) make(ctx context.Context, m *frameMaker, event wire.EventID, key string, how wire.Flags) (*queueFrame, wire.Status, []byte) {
	frame := &queueFrame{made: time.Now()}
	ref := wire.EventRef{Event: event}
	s, body := f.n.do(ctx, wire.Record{Kind: wire.KindQueue, Flags: how, Body: ref.Append(nil)})
	if s != wire.StatusOK {
		return nil, s, body
	}
	if err := frame.info.Decode(body); err != nil {
		f.n.log.Error("a waiting room cannot be read", "event", event, "error", err)
		return nil, wire.StatusUnavailable, nil
	}
	m.meter.add(&frame.info)
	frame.outlook = m.meter.outlook(&frame.info)
	frame.body = queueJSON(key, &frame.info, &frame.outlook)
	frame.etag = strconv.Quote(strconv.FormatUint(xxhash.Sum64(frame.body), 36))
	frame.position = uint64(frame.made.UnixMilli())
	if before := m.newest.Load(); before != nil {
		frame.position = max(frame.position, before.position+1)
		if bytes.Equal(frame.body, before.body) {
			frame.position = before.position
		}
	}
	return frame, wire.StatusOK, nil
}

// maker is the event's, which it makes if there is none. When there are too many,
// the one that nobody wanted for longest goes.
func (f *queueFrames) maker(event wire.EventID) *frameMaker {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byEvent[event]
	if m == nil {
		if len(f.byEvent) >= maxFrames {
			f.dropOldestLocked()
		}
		m = new(frameMaker)
		m.used.Store(time.Now().UnixNano())
		f.byEvent[event] = m
	}
	return m
}

func (f *queueFrames) dropOldestLocked() {
	oldest, since := wire.EventID(0), int64(math.MaxInt64)
	for event, m := range f.byEvent {
		if used := m.used.Load(); used < since {
			oldest, since = event, used
		}
	}
	delete(f.byEvent, oldest)
}

// queueState is the JSON of a frame. Times are null where there are none.
type queueState struct {
	Event           string     `json:"event"`
	State           string     `json:"state"`
	Version         decimal    `json:"version"`
	Step            decimal    `json:"step"`
	OpensAt         *string    `json:"opens_at"`
	EntriesUntil    *string    `json:"entries_until"`
	EntriesOpen     bool       `json:"entries_open"`
	Entries         uint64     `json:"entries"`
	Issued          uint64     `json:"issued"`
	Serving         uint64     `json:"serving"`
	Inside          uint32     `json:"inside"`
	Called          uint32     `json:"called"`
	Redeemed        uint64     `json:"redeemed"`
	Lapsed          uint64     `json:"lapsed"`
	Booked          uint64     `json:"booked"`
	Limit           uint32     `json:"limit"`
	Rate            float64    `json:"rate_per_s"`
	Measured        float64    `json:"measured_per_s"`
	MsPerVisitor    float64    `json:"ms_per_visitor"`
	Free            uint32     `json:"free"`
	Held            uint32     `json:"held"`
	SeatsPerVisitor float64    `json:"seats_per_visitor"`
	ShowRate        float64    `json:"show_rate"`
	Grace           uint32     `json:"grace_ms"`
	PassTTL         uint32     `json:"pass_ttl_ms"`
	SeatsPerPass    uint8      `json:"seats_per_pass"`
	OnePerVisitor   bool       `json:"one_per_visitor"`
	Draw            *drawState `json:"draw"`
}

// drawState is what there is to know of a draw: the commitment from the beginning,
// the rest when it has been made.
type drawState struct {
	Room       decimal `json:"room"`
	Commitment string  `json:"commitment"`
	Source     string  `json:"source"`
	Seed       *string `json:"seed"`
	Entropy    *string `json:"entropy"`
	EntropyHex *string `json:"entropy_hex,omitempty"` // instead, if it is no text
	Count      *uint64 `json:"count"`
}

// queueJSON writes the frame of a room.
func queueJSON(key string, info *wire.QueueInfo, o *outlook) []byte {
	s := queueState{
		Event: key, State: info.State.String(), Version: decimal(info.Version), Step: decimal(info.Step),
		OpensAt: optionalWall(info.Config.OpensAt), EntriesUntil: optionalWall(info.Config.Entries()), EntriesOpen: info.EntriesOpen,
		Entries: info.Entries, Issued: info.Issued, Serving: info.Serving,
		Inside: info.Inside, Called: info.Outstanding, Redeemed: info.Redeemed, Lapsed: info.Lapsed, Booked: info.Booked,
		Limit: info.Config.Limit, Free: info.Free, Held: info.Held,
		Grace: info.Config.Grace, PassTTL: info.Config.PassTTL, SeatsPerPass: info.Config.SeatsPerPass, OnePerVisitor: info.Config.OnePerVisitor,
		Draw: drawJSON(info),
	}
	if info.State != wire.QueueOff {
		s.Rate, s.Measured, s.MsPerVisitor = o.perSecond, rounded(o.measured), rounded(o.msPer)
		s.SeatsPerVisitor, s.ShowRate = rounded(o.seats), rounded(o.show)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(&s); err != nil {
		panic("server: a waiting room has no JSON: " + err.Error()) // numbers are finite, texts are texts
	}
	return b.Bytes()
}

func drawJSON(info *wire.QueueInfo) *drawState {
	if info.State == wire.QueueOff || info.Config.OpensAt == 0 && info.Entries == 0 {
		return nil
	}
	d := &drawState{Room: decimal(info.Room), Commitment: hex.EncodeToString(info.Commitment[:]), Source: string(info.Config.Source)}
	if !info.Drawn {
		return d
	}
	seed, count := hex.EncodeToString(info.Seed[:]), info.Entries
	d.Seed, d.Count = &seed, &count
	if entropy := string(info.Entropy); utf8.ValidString(entropy) {
		d.Entropy = &entropy
	} else {
		text := hex.EncodeToString(info.Entropy)
		d.EntropyHex = &text
	}
	return d
}

// optionalWall writes a wall clock time, or nil if there is none.
func optionalWall(at int64) *string {
	if at == 0 {
		return nil
	}
	text := unixMilli(at)
	return &text
}

// rounded leaves of an estimate what is worth saying.
func rounded(v float64) float64 { return math.Round(v*1000) / 1000 }
