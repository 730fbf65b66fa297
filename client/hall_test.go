package client

import (
	"fmt"
	"sync"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A hall is an event that the fake nodes of a test decide about: as much of a
// shard as the client can tell from a real one. All nodes are its replicas, and
// what one of them has decided all have. Guarded by mu.
type hall struct {
	mu       sync.Mutex
	key      string
	event    wire.EventID
	shard    uint32
	manifest *wire.Manifest
	born     time.Time
	ahead    time.Duration // of shard time, on top of what has passed since born
	past     wire.Millis   // what shard time has been: it does not run backwards
	floor    wire.Millis   // timed ids up to here are forgotten
	leader   string        // address of the node that decides; empty: none does
	halted   time.Time     // since when time stands still; zero: it does not
	moving   bool          // frozen, on its way to another shard

	// views are what nodes believe of the leader that do not know better. One
	// that believes in itself has been deposed.
	views map[string]string

	answers map[wire.ID]answer  // first answer by request id
	done    map[wire.ID]int     // how often a request took effect
	holds   map[wire.ID]*holder // by hold id
	owner   map[wire.SeatID]wire.ID
	chunks  []byte
	exists  bool
	fences  wire.Fence
}

type answer struct {
	kind   wire.Kind
	status wire.Status
	body   []byte
}

type holder struct {
	info  wire.HoldInfo
	seats []wire.SeatID
	made  int // how often it was granted
}

func newHall(key string, event wire.EventID) *hall {
	seats := make([]wire.Seat, 20)
	for i := range seats {
		seats[i].Label = fmt.Sprint(i + 1)
	}
	return &hall{
		key:   key,
		event: event,
		shard: 3,
		manifest: &wire.Manifest{
			Key:        key,
			Categories: []string{"gold", "silver"},
			Sections: []wire.Section{
				{Name: "A", Rows: []wire.Row{{Name: "1", Focal: 19, Seats: seats}, {Name: "2", Focal: 19, Seats: seats}}},
			},
			Areas: []wire.Area{{Name: "Floor", Category: 1, Capacity: 100}},
			Rules: wire.DefaultRules(),
		},
		born:    time.Now(),
		ahead:   time.Hour,
		exists:  true,
		answers: make(map[wire.ID]answer),
		done:    make(map[wire.ID]int),
		holds:   make(map[wire.ID]*holder),
		owner:   make(map[wire.SeatID]wire.ID),
		fences:  100,
		views:   make(map[string]string),
	}
}

func (h *hall) nowLocked() wire.Millis {
	at := time.Now()
	if !h.halted.IsZero() {
		at = h.halted
	}
	h.past = max(h.past, wire.Millis((at.Sub(h.born)+h.ahead)/time.Millisecond))
	return h.past
}

func (h *hall) haltLocked() {
	if h.halted.IsZero() {
		h.halted = time.Now()
	}
}

func (h *hall) goOnLocked() {
	if !h.halted.IsZero() {
		h.ahead -= time.Since(h.halted)
		h.halted = time.Time{}
	}
}

func (h *hall) now() wire.Millis {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.nowLocked()
}

// jump moves shard time, as if the event had come to another shard.
func (h *hall) jump(by time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ahead += by
	h.past = 0
}

// stall lets shard time stand still for so long, as without a leader.
func (h *hall) stall(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nowLocked()
	h.ahead -= d
}

// forget lets the shard forget ids that are as old as age.
func (h *hall) forget(age wire.Millis) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.floor = max(h.floor, h.nowLocked()-age)
}

// lead makes a node the leader, or leaves the shard without one. Time stands
// still then.
func (h *hall) lead(addr string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leader = addr
	switch {
	case addr == "":
		h.haltLocked()
	case !h.moving:
		h.goOnLocked()
	}
}

// freeze begins a move, during which the event belongs to nobody.
func (h *hall) freeze() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moving = true
	h.haltLocked()
}

// move ends a move: another shard has the event, led by a node, and its time goes
// on.
func (h *hall) move(leader string) {
	h.mu.Lock()
	h.shard++
	h.moving = false
	h.mu.Unlock()
	h.lead(leader)
}

// believe has a node take another for the leader; empty: it knows of none.
func (h *hall) believe(addr, leader string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.views[addr] = leader
}

// know has a node know who leads.
func (h *hall) know(addr string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.views, addr)
}

func (h *hall) viewLocked(addr string) string {
	if view, wrong := h.views[addr]; wrong {
		return view
	}
	return h.leader
}

// effects tells how often the request with this id took effect.
func (h *hall) effects(id wire.ID) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.done[id]
}

// answer decides a request the way a shard does: an id seen before gets its
// first answer, a late one is refused, the rest is decided and remembered.
//
// Reads that may be old are answered by every node.
func (h *hall) answer(addr string, kind wire.Kind, flags wire.Flags, body []byte) (wire.Status, []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	latest := !kind.Mutates() && kind != wire.KindGetHold && flags&wire.FlagConsistent == 0
	switch {
	case kind == wire.KindLocate:
		return h.locateLocked(addr, body)
	case kind.Directory():
		return h.directoryLocked(kind, body)
	case kind == wire.KindEvents:
		return h.listLocked(body)
	case h.moving:
		return wire.StatusMoved, nil
	case h.viewLocked(addr) != addr && latest:
		return h.readLocked(kind, body, 1500)
	case h.viewLocked(addr) == "" || h.viewLocked(addr) == addr && h.leader != addr:
		return wire.StatusUnavailable, nil
	case h.viewLocked(addr) != addr:
		return wire.StatusMoved, []byte(h.viewLocked(addr))
	case !kind.Mutates():
		return h.readLocked(kind, body, 0)
	}
	m, err := wire.ParseMutation(body)
	if err != nil {
		return wire.StatusBadFrame, []byte(err.Error())
	}
	if m.Event != h.event || !h.exists && kind != wire.KindCreate {
		return wire.StatusUnknownEvent, nil
	}
	now := h.nowLocked()
	clock := (&wire.Clock{Now: now}).Append(nil)
	own := kind < wire.KindExtend || kind > wire.KindRelease
	if own {
		if a, seen := h.answers[m.ID]; seen {
			if a.kind != kind {
				return wire.StatusIDReused, nil
			}
			return a.status, a.body
		}
	}
	if m.Deadline != 0 && now > m.Deadline {
		return wire.StatusLate, clock
	}
	if at, timed := m.ID.Time(); own && timed {
		if at > now+60_000 {
			return wire.StatusIDAhead, clock
		}
		if at <= h.floor {
			return wire.StatusTooOld, clock
		}
	}
	status, out := h.decideLocked(kind, m.ID, body, now)
	if own {
		h.answers[m.ID] = answer{kind, status, out}
	}
	if status == wire.StatusOK {
		h.done[m.ID]++
	}
	return status, out
}

func (h *hall) locateLocked(addr string, body []byte) (wire.Status, []byte) {
	var k wire.Key
	if err := k.Decode(body); err != nil || string(k.Key) != h.key {
		return wire.StatusUnknownEvent, nil
	}
	l := wire.Location{Event: h.event, Shard: h.shard, Now: h.nowLocked()}
	switch view := h.viewLocked(addr); {
	case h.moving || view == "":
		l.Now = 0
	case view != addr:
		l.Leader = []byte(view)
		l.Now -= 10_000 // a follower's idea of the time is old
	case view != h.leader:
		l.Now -= 10_000 // likewise
	}
	return wire.StatusOK, l.Append(nil)
}

func (h *hall) directoryLocked(kind wire.Kind, body []byte) (wire.Status, []byte) {
	m, err := wire.ParseMutation(body)
	if err != nil {
		return wire.StatusBadFrame, []byte(err.Error())
	}
	if m.Deadline != 0 {
		return wire.StatusBadRequest, []byte("a client cannot know the directory's time")
	}
	h.done[m.ID]++
	if kind == wire.KindAssign {
		var a wire.Assign
		if err := a.Decode(body); err != nil {
			return wire.StatusBadFrame, []byte(err.Error())
		}
		h.key = string(a.Key)
		return wire.StatusOK, (&wire.Location{Event: h.event, Shard: h.shard}).Append(nil)
	}
	if kind == wire.KindUnassign {
		h.key = ""
	}
	return wire.StatusOK, nil
}

func (h *hall) listLocked(body []byte) (wire.Status, []byte) {
	var query wire.EventsQuery
	if err := query.Decode(body); err != nil {
		return wire.StatusBadFrame, nil
	}
	var l wire.EventList
	for i := 0; i < 25 && len(l.Entries) < 10; i++ {
		if key := fmt.Sprintf("event-%02d", i); key > string(query.After) {
			l.Entries = append(l.Entries, wire.EventEntry{Key: []byte(key), Event: wire.EventID(i)})
		}
	}
	return wire.StatusOK, l.Append(nil)
}

func (h *hall) readLocked(kind wire.Kind, body []byte, age uint32) (wire.Status, []byte) {
	switch kind {
	case wire.KindEvent:
		return wire.StatusOK, (&wire.EventInfo{Version: wire.Version(h.fences), Now: h.nowLocked(), Rules: h.manifest.Rules}).Append(nil)
	case wire.KindManifest:
		return wire.StatusOK, h.manifest.Encode()
	case wire.KindMap:
		return wire.StatusOK, (&wire.SeatMap{Version: wire.Version(h.fences), Age: age, Planes: make([]byte, 16*h.manifest.Words())}).Append(nil)
	case wire.KindChanges:
		return wire.StatusOK, (&wire.Changes{Resync: true}).Append(nil)
	case wire.KindGetHold:
		var ref wire.HoldRef
		if err := ref.Decode(body); err != nil {
			return wire.StatusBadFrame, nil
		}
		k := h.holds[ref.ID]
		if k == nil {
			return wire.StatusUnknownHold, nil
		}
		info := k.info
		info.Now = h.nowLocked()
		return wire.StatusOK, info.Append(nil)
	}
	return wire.StatusUnknownKind, nil
}

func (h *hall) decideLocked(kind wire.Kind, id wire.ID, body []byte, now wire.Millis) (wire.Status, []byte) {
	switch kind {
	case wire.KindHold:
		var op wire.Hold
		if err := op.Decode(body); err != nil {
			return wire.StatusBadFrame, nil
		}
		return h.grantLocked(id, op.Seats.IDs(), op.TTL, now)
	case wire.KindHoldBest, wire.KindHoldArea:
		return h.grantLocked(id, []wire.SeatID{wire.SeatID(len(h.owner) + 1000)}, 0, now)
	case wire.KindExtend, wire.KindPay, wire.KindConfirm, wire.KindRelease:
		return h.onHoldLocked(kind, id, body, now)
	case wire.KindCreate:
		return h.createLocked(body)
	case wire.KindDelete:
		h.exists = false
		return wire.StatusOK, nil
	case wire.KindCancel:
		return wire.StatusOK, (&wire.SeatsLost{Now: now, Seats: wire.MakeSeatList(1)}).Append(nil)
	case wire.KindExchange:
		return wire.StatusOK, (&wire.Confirmed{Now: now, Seats: wire.MakeSeatList(2)}).Append(nil)
	}
	return wire.StatusOK, nil
}

func (h *hall) grantLocked(id wire.ID, seats []wire.SeatID, ttl uint32, now wire.Millis) (wire.Status, []byte) {
	lost := wire.SeatsLost{Now: now}
	for _, s := range seats {
		if _, taken := h.owner[s]; taken {
			lost.Seats = lost.Seats.Append(s)
		}
	}
	if len(lost.Seats) > 0 {
		lost.Offer = wire.MakeSeatList(64, 65)
		return wire.StatusTaken, lost.Append(nil)
	}
	for _, s := range seats {
		h.owner[s] = id
	}
	if ttl == 0 {
		ttl = h.manifest.Rules.HoldTTL
	}
	h.fences++
	list := wire.MakeSeatList(seats...)
	deadline := now + wire.Millis(ttl)
	made := 1
	if k := h.holds[id]; k != nil {
		made += k.made
	}
	h.holds[id] = &holder{
		info:  wire.HoldInfo{State: wire.StateHeld, Fence: h.fences, Deadline: deadline, Held: list},
		seats: seats,
		made:  made,
	}
	return wire.StatusOK, (&wire.Granted{Fence: h.fences, Deadline: deadline, Now: now, Seats: list}).Append(nil)
}

func (h *hall) onHoldLocked(kind wire.Kind, id wire.ID, body []byte, now wire.Millis) (wire.Status, []byte) {
	k := h.holds[id]
	if k == nil {
		return wire.StatusUnknownHold, nil
	}
	var quoted wire.Fence
	switch kind {
	case wire.KindExtend:
		var op wire.Extend
		if err := op.Decode(body); err != nil {
			return wire.StatusBadFrame, nil
		}
		if quoted = op.Fence; op.Nth > k.info.Extensions {
			k.info.Extensions++
			k.info.Deadline = now + wire.Millis(op.TTL)
		}
	case wire.KindPay:
		var op wire.Pay
		if err := op.Decode(body); err != nil {
			return wire.StatusBadFrame, nil
		}
		quoted = op.Fence
	default:
		var op wire.OnHold
		if err := op.Decode(body); err != nil {
			return wire.StatusBadFrame, nil
		}
		quoted = op.Fence
	}
	if quoted != k.info.Fence {
		return wire.StatusFenceMismatch, nil
	}
	list := wire.MakeSeatList(k.seats...)
	switch kind {
	case wire.KindConfirm:
		k.info.State, k.info.Held, k.info.Booked = wire.StateBooked, nil, list
		return wire.StatusOK, (&wire.Confirmed{Now: now, Seats: list}).Append(nil)
	case wire.KindRelease:
		k.info.State, k.info.Held = wire.StateReleased, nil
		for _, s := range k.seats {
			if h.owner[s] == id {
				delete(h.owner, s)
			}
		}
		return wire.StatusOK, (&wire.SeatsLost{Now: now, Seats: list}).Append(nil)
	}
	return wire.StatusOK, (&wire.Timing{Deadline: k.info.Deadline, Now: now}).Append(nil)
}

func (h *hall) createLocked(body []byte) (wire.Status, []byte) {
	var op wire.Create
	if err := op.Decode(body); err != nil {
		return wire.StatusBadFrame, nil
	}
	if int(op.Offset) == len(h.chunks) {
		h.chunks = append(h.chunks, op.Chunk...)
	}
	h.exists = len(h.chunks) == int(op.Total)
	return wire.StatusOK, nil
}
