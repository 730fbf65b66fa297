package shard_test

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/usher-seats/usher/wire"
)

// A modelRoom is a waiting room with a record for each number and loops over all of
// them.
type modelRoom struct {
	id       wire.RoomID
	seed     [32]byte
	config   wire.RoomConfig
	closed   bool // entries
	due      bool
	drawn    bool
	paused   bool
	draining bool
	entropy  []byte
	entries  uint64
	serving  uint64
	queue    []*modelNumber // by queue number; those of entries are nil before the draw
	visitors []string       // by number as issued, if there is one for each
	credit   uint64         // millionths of a visitor
	creditAt wire.Millis
	last     wire.Millis // when the latest call lapses
	redeemed uint64
	lapsed   uint64
	booked   int
	passes   map[wire.PassID]*modelPass
}

type modelNumber struct {
	called, came, left, over bool
	lapse                    wire.Millis
}

type modelPass struct {
	id       wire.PassID
	number   uint64
	deadline wire.Millis
}

const (
	modelStep    = 100 // milliseconds between calls
	modelVisitor = 1_000_000
)

func (r *modelRoom) opened() bool { return r.due && r.drawn }

func (r *modelRoom) closeEntries(now wire.Millis) {
	if r.closed {
		return
	}
	r.closed, r.entries = true, uint64(len(r.queue))
	if len(r.config.Source) == 0 || r.entries == 0 {
		r.drawn = true
		r.credit, r.creditAt = 0, now
	}
}

func (r *modelRoom) open(now wire.Millis) {
	if !r.due {
		r.due, r.credit, r.creditAt = true, 0, now
	}
}

func (r *modelRoom) clock(wall int64, now wire.Millis) {
	until := r.config.EntriesUntil
	if until == 0 {
		until = r.config.OpensAt
	}
	if wall >= until {
		r.closeEntries(now)
	}
	if wall >= r.config.OpensAt {
		r.open(now)
	}
}

// place turns a number as issued into a queue number, if there is one yet.
func (r *modelRoom) place(number uint64) (uint64, bool) {
	switch {
	case r.closed && number >= r.entries:
		return number, true
	case !r.drawn:
		return number, false
	}
	d := wire.NewDraw(r.seed, r.entropy, r.id, r.entries)
	return d.Number(number), true
}

func (r *modelRoom) outstanding() (n int) {
	for _, q := range r.queue {
		if q.called && !q.came && !q.left && !q.over {
			n++
		}
	}
	return n
}

func (r *modelRoom) passOf(number uint64) *modelPass {
	for _, p := range r.passes {
		if p.number == number {
			return p
		}
	}
	return nil
}

func (e *modelEvent) count(s wire.SeatState) (n uint32) {
	for _, state := range e.state {
		if state == s {
			n++
		}
	}
	return n
}

func (e *modelEvent) queueState() wire.QueueState {
	r := e.room
	free, held := e.count(wire.SeatFree), e.count(wire.SeatHeld)
	switch {
	case r == nil:
		return wire.QueueOff
	case r.draining && r.serving == uint64(len(r.queue)) && r.outstanding() == 0 && len(r.passes) == 0:
		return wire.QueueClosed
	case !r.opened() && r.due:
		return wire.QueueDrawing
	case !r.opened():
		return wire.QueueBefore
	case free == 0 && held == 0:
		return wire.QueueSoldOut
	case r.paused:
		return wire.QueuePaused
	case free == 0:
		return wire.QueueWaiting
	case r.draining:
		return wire.QueueDraining
	}
	return wire.QueueOpen
}

// callDue is when the next number can be called.
func (e *modelEvent) callDue() wire.Millis {
	r := e.room
	if !r.opened() || r.paused || e.count(wire.SeatFree) == 0 || r.serving == uint64(len(r.queue)) ||
		len(r.passes)+r.outstanding() >= int(r.config.Limit) {
		return wire.Never
	}
	at := r.creditAt
	for credit := r.credit; credit < modelVisitor; credit += uint64(r.config.Rate) {
		at++
	}
	return max(at, r.creditAt+modelStep)
}

func (e *modelEvent) roomDue() wire.Millis {
	due := wire.Never
	if e.room == nil {
		return due
	}
	for _, q := range e.room.queue {
		if q.called && !q.over {
			due = min(due, q.lapse)
		}
	}
	for _, p := range e.room.passes {
		due = min(due, p.deadline)
	}
	return min(due, e.callDue())
}

// advanceRoom lets time pass: calls lapse, passes end, and who can be called is.
func (e *modelEvent) advanceRoom(now wire.Millis) {
	r := e.room
	if r == nil {
		return
	}
	for _, q := range r.queue {
		if q.called && !q.over && q.lapse <= now {
			q.over = true
			if !q.came && !q.left {
				r.lapsed++
			}
		}
	}
	for id, p := range r.passes {
		if p.deadline <= now {
			delete(r.passes, id)
		}
	}
	if e.callDue() > now {
		return
	}
	r.earn(now)
	n := min(int(r.credit/modelVisitor), int(r.config.Limit)-len(r.passes)-r.outstanding(), len(r.queue)-int(r.serving))
	lapse := max(now+wire.Millis(r.config.Grace), r.last)
	for r.serving < uint64(len(r.queue)) {
		q := r.queue[r.serving]
		if !q.left {
			if n == 0 {
				break
			}
			n--
			r.credit -= modelVisitor
		}
		q.called, q.lapse = true, lapse
		r.last = lapse
		r.serving++
	}
}

// earn adds a millisecond's worth at a time.
func (r *modelRoom) earn(now wire.Millis) {
	most := max(modelVisitor, uint64(r.config.Rate)*1000)
	for ; r.creditAt < now && r.credit < most; r.creditAt++ {
		r.credit += uint64(r.config.Rate)
	}
	r.credit, r.creditAt = min(r.credit, most), now
}

// lapsedTo is the first number whose grace runs, or that has not been called.
func (r *modelRoom) lapsedTo() uint64 {
	for i, q := range r.queue {
		if !q.called || !q.over {
			return uint64(i)
		}
	}
	return uint64(len(r.queue))
}

// seatsWith counts a pass's seats.
func (e *modelEvent) seatsWith(id wire.PassID) (held, booked int) {
	for _, h := range e.holds {
		if h.pass == id {
			booked += len(h.in(wire.StateBooked))
			if h.live() {
				held += len(h.in(wire.StateHeld))
			}
		}
	}
	return held, booked
}

func (e *modelEvent) seatsPerPass() int {
	if n := e.room.config.SeatsPerPass; n > 0 {
		return int(n)
	}
	return int(e.rules.SeatsPerHold)
}

// bookedWith notes seats booked with a hold's pass, which may end by that.
func (e *modelEvent) bookedWith(h *modelHold, n int) {
	if h.pass == 0 || e.room == nil {
		return
	}
	e.room.booked += n
	if _, booked := e.seatsWith(h.pass); n > 0 && booked >= e.seatsPerPass() {
		delete(e.room.passes, h.pass)
	}
}

// passReasons says why a pass does not do.
func (e *modelEvent) passReasons(why reasons, count int, key wire.ChannelKey, pass wire.PassID) {
	if e.room == nil || key != 0 && slices.Contains(e.keys, key) {
		return
	}
	held, booked := e.seatsWith(pass)
	why.add(wire.StatusPassRequired, pass == 0, nil)
	why.add(wire.StatusPassEnded, pass != 0 && e.room.passes[pass] == nil, nil)
	why.add(wire.StatusPassLimit, pass != 0 && e.room.passes[pass] != nil && held+booked+count > e.seatsPerPass(), nil)
}

// setRoom checks the outcome of a SetRoom.
func (m *model) setRoom(e *modelEvent, request []byte, status wire.Status) error {
	var op wire.SetRoom
	if err := op.Decode(request); err != nil {
		return err
	}
	r := e.room
	if r == nil {
		r = &modelRoom{id: wire.NewRoomID(op.ID), seed: op.Seed, creditAt: m.now, passes: make(map[wire.PassID]*modelPass)}
	} else {
		switch c := &op.Config; {
		case string(c.Source) != string(r.config.Source), c.OnePerVisitor != r.config.OnePerVisitor && len(r.queue) > 0,
			r.due && c.OpensAt != r.config.OpensAt, r.closed && !r.opened() && c.Entries() != r.config.Entries():
			return expect(status, wire.StatusBadRequest)
		}
		r.earn(m.now)
		if c := &op.Config; status == wire.StatusBadRequest && r.closed && c.Entries() != r.config.Entries() {
			return nil
		}
	}
	if err := expect(status, wire.StatusOK); err != nil {
		return err
	}
	e.room, r.config = r, op.Config
	r.credit = min(r.credit, max(modelVisitor, uint64(r.config.Rate)*1000))
	r.clock(e.wall, m.now)
	return nil
}

func (m *model) directRoom(e *modelEvent, request []byte, status wire.Status) error {
	var op wire.DirectRoom
	if err := op.Decode(request); err != nil {
		return err
	}
	r := e.room
	if r == nil {
		return expect(status, wire.StatusNoRoom)
	}
	if op.Action == wire.RoomDraw && (len(r.config.Source) == 0 || !r.closed || r.drawn && string(r.entropy) != string(op.Entropy)) {
		return expect(status, wire.StatusBadRequest)
	}
	switch op.Action {
	case wire.RoomPause:
		r.paused = true
	case wire.RoomResume:
		if r.paused {
			r.credit, r.creditAt = 0, m.now
		}
		r.paused, r.draining = false, false
	case wire.RoomDrain:
		r.draining = true
	case wire.RoomOpen:
		r.closeEntries(m.now)
		r.open(m.now)
	case wire.RoomOff:
		e.room = nil
		for _, h := range e.holds {
			h.pass = 0
		}
	case wire.RoomDraw:
		if !r.drawn {
			r.drawn, r.entropy = true, op.Entropy
			r.credit, r.creditAt = 0, m.now
		}
	}
	return expect(status, wire.StatusOK)
}

func (m *model) issue(e *modelEvent, request []byte, status wire.Status, body []byte) error {
	var op wire.Issue
	if err := op.Decode(request); err != nil {
		return err
	}
	r := e.room
	switch {
	case r == nil:
		return expect(status, wire.StatusNoRoom)
	case r.draining || e.queueState() == wire.QueueSoldOut:
		return expect(status, wire.StatusRoomClosed)
	case r.config.OnePerVisitor && len(op.Visitors) == 0:
		return expect(status, wire.StatusBadRequest)
	}
	if err := expect(status, wire.StatusOK); err != nil {
		return err
	}
	var a wire.Issued
	if err := a.Decode(body); err != nil {
		return err
	}
	want := uint64(wire.MaxNumbers)
	if r.closed {
		want = r.entries
	}
	if a.Room != r.id || a.Entries != want || a.Now != m.now || a.Count != op.Count {
		return fmt.Errorf("issued %+v, want entries below %d", a, want)
	}
	for k := range int(op.Count) {
		number := len(r.queue)
		if r.config.OnePerVisitor {
			who := string(op.Visitors[k*wire.VisitorSize:][:wire.VisitorSize])
			if at := slices.Index(r.visitors, who); at >= 0 {
				number = at
			} else {
				r.visitors = append(r.visitors, who)
			}
		}
		if number == len(r.queue) {
			r.queue = append(r.queue, new(modelNumber))
		}
		if a.At(k) != uint64(number) {
			return fmt.Errorf("issued %d, want %d", a.At(k), number)
		}
	}
	return nil
}

// redeem checks a Redeem, which is not remembered by its id.
func (m *model) redeem(e *modelEvent, mu wire.Mutation, request []byte, status wire.Status, body []byte) error {
	var op wire.Redeem
	if err := op.Decode(request); err != nil {
		return err
	}
	r := e.room
	switch {
	case op.Pass == 0:
		return expect(status, wire.StatusBadRequest)
	case r == nil || r.id != op.Room:
		return expect(status, wire.StatusNoRoom)
	case op.Number >= uint64(len(r.queue)):
		return expect(status, wire.StatusBadRequest)
	}
	number, drawn := r.place(op.Number)
	if !drawn {
		return expect(status, wire.StatusNotCalled)
	}
	q, p := r.queue[number], r.passOf(number)
	switch {
	case p != nil:
	case q.left && !q.over:
		return expect(status, wire.StatusLeft)
	case !q.called:
		var place wire.QueuePlace
		if err := place.Decode(body); err != nil || place.Ahead != number-r.serving || place.Number != number {
			return fmt.Errorf("place of number %d is %+v, %v", number, place, err)
		}
		return expect(status, wire.StatusNotCalled)
	case q.over:
		return expect(status, wire.StatusLapsed)
	case q.came:
		return expect(status, wire.StatusPassEnded)
	case m.lateOr(mu) != nil:
		return expect(status, wire.StatusLate)
	case r.passes[op.Pass] != nil:
		return expect(status, wire.StatusBadRequest)
	default:
		p = &modelPass{op.Pass, number, m.now + wire.Millis(r.config.PassTTL)}
		r.passes[op.Pass] = p
		q.came = true
		r.redeemed++
	}
	if err := expect(status, wire.StatusOK); err != nil {
		return err
	}
	var a wire.Admitted
	if err := a.Decode(body); err != nil {
		return err
	}
	if a.Room != r.id || a.Pass != p.id || a.Number != number || a.Deadline != p.deadline || a.Now != m.now || int(a.Seats) != e.seatsPerPass() {
		return fmt.Errorf("admitted %+v, want %+v", a, p)
	}
	return nil
}

func (m *model) leave(e *modelEvent, mu wire.Mutation, request []byte, status wire.Status) error {
	var op wire.Leave
	if err := op.Decode(request); err != nil {
		return err
	}
	r := e.room
	if r == nil || r.id != op.Room {
		return expect(status, wire.StatusNoRoom)
	}
	var p *modelPass
	if op.Pass != 0 {
		if p = r.passes[op.Pass]; p == nil {
			return expect(status, wire.StatusOK)
		}
	} else {
		if op.Number >= uint64(len(r.queue)) {
			return expect(status, wire.StatusBadRequest)
		}
		number, drawn := r.place(op.Number)
		if !drawn {
			return expect(status, wire.StatusOK)
		}
		p = r.passOf(number)
		if q := r.queue[number]; p == nil {
			if q.left || q.came || q.over {
				return expect(status, wire.StatusOK)
			}
			if late := m.lateOr(mu); late != nil {
				return expect(status, late[0])
			}
			q.left = true
			return expect(status, wire.StatusOK)
		}
	}
	if late := m.lateOr(mu); late != nil {
		return expect(status, late[0])
	}
	delete(r.passes, p.id)
	return expect(status, wire.StatusOK)
}

// compareRoom holds what everybody sees of a room against the model.
func (tr *trial) compareRoom(id wire.EventID, e *modelEvent) {
	ref := wire.EventRef{Event: id}
	status, body := tr.shard.Query(wire.Record{Kind: wire.KindQueue, Body: ref.Append(nil)}, tr.stamp, nil)
	var got wire.QueueInfo
	if err := got.Decode(body); status != wire.StatusOK || err != nil {
		tr.t.Fatalf("room of event %d: %v %v", id, status, err)
	}
	want := wire.QueueInfo{
		Version: got.Version, Step: got.Step, Now: tr.now, State: e.queueState(),
		Free: e.count(wire.SeatFree), Held: e.count(wire.SeatHeld),
	}
	if r := e.room; r != nil {
		want.Room, want.Entries, want.Issued, want.Serving, want.LapsedTo = r.id, r.entries, uint64(len(r.queue)), r.serving, r.lapsedTo()
		want.Redeemed, want.Lapsed, want.Booked = r.redeemed, r.lapsed, uint64(r.booked)
		want.Inside, want.Outstanding = uint32(len(r.passes)), uint32(r.outstanding())
		want.EntriesOpen, want.Drawn, want.Config, want.Entropy = !r.closed, r.drawn, r.config, r.entropy
		want.Commitment = wire.Commitment(r.seed, r.config.Source)
		if !r.closed {
			want.Entries = want.Issued
		}
		if r.drawn {
			want.Seed = r.seed
		}
	}
	if a, b := got.Append(nil), want.Append(nil); string(a) != string(b) {
		tr.t.Fatalf("entry %d at %d, event %d: the room is\n%+v, want\n%+v", tr.index, tr.now, id, got, want)
	}
}

// newRoom is an operation on a waiting room, or of somebody who waits in it.
func (tr *trial) newRoom(mu wire.Mutation) wire.Record {
	e := tr.model.events[mu.Event]
	if e == nil || e.room == nil || tr.rand.IntN(30) == 0 {
		return tr.newSetRoom(mu, e)
	}
	r := e.room
	room := r.id
	if tr.rand.IntN(60) == 0 {
		room++
	}
	number := tr.rand.Uint64N(uint64(len(r.queue) + 2))
	if k := tr.rand.IntN(4); k > 0 { // rather one that has just been called
		number = r.serving - min(r.serving, tr.rand.Uint64N(8))
		if r.drawn && number < r.entries {
			d := wire.NewDraw(r.seed, r.entropy, r.id, r.entries)
			number = d.Entry(number)
		}
	}
	switch k := tr.rand.IntN(40); {
	case k < 10 && len(r.queue) < 400:
		op := wire.Issue{Mutation: mu, Count: uint16(tr.rand.IntN(6))}
		if r.config.OnePerVisitor && tr.rand.IntN(20) > 0 || tr.rand.IntN(10) == 0 {
			for range op.Count {
				print := wire.Visitor(fmt.Sprint(tr.rand.IntN(300)))
				op.Visitors = append(op.Visitors, print[:]...)
			}
		}
		return wire.Record{Kind: wire.KindIssue, Body: op.Append(nil)}
	case k < 28:
		op := wire.Redeem{Mutation: mu, Room: room, Number: number, Pass: wire.PassID(1 + number + 1000*tr.rand.Uint64N(2))}
		return wire.Record{Kind: wire.KindRedeem, Body: op.Append(nil)}
	case k < 33:
		op := wire.Leave{Mutation: mu, Room: room, Number: number}
		if tr.rand.IntN(2) == 0 {
			op.Number, op.Pass = 0, tr.somePass(e)
		}
		return wire.Record{Kind: wire.KindLeave, Body: op.Append(nil)}
	case k < 36:
		wall := e.wall + int64(tr.rand.IntN(2000))
		mu.ID = wire.KeyID("wall") // nobody looks at it
		op := wire.WallClock{Mutation: mu, Wall: wall}
		return wire.Record{Kind: wire.KindWallClock, Body: op.Append(nil)}
	}
	op := wire.DirectRoom{Mutation: mu, Action: wire.RoomAction(tr.rand.IntN(8))}
	switch {
	case op.Action == wire.RoomOff && tr.rand.IntN(4) > 0, op.Action == wire.RoomPause && tr.rand.IntN(2) > 0, op.Action == wire.RoomDrain && tr.rand.IntN(2) > 0:
		op.Action = wire.RoomResume
	case op.Action == wire.RoomDraw:
		op.Entropy = []byte{"ab"[tr.rand.IntN(2)]}
	}
	return wire.Record{Kind: wire.KindDirectRoom, Body: op.Append(nil)}
}

func (tr *trial) newSetRoom(mu wire.Mutation, e *modelEvent) wire.Record {
	op := wire.SetRoom{Mutation: mu, Config: wire.RoomConfig{
		Limit: uint32(1 + tr.rand.IntN(12)), Rate: uint32(4_000 + tr.rand.IntN(60_000)),
		Grace: uint32(1 + tr.rand.IntN(1000)), PassTTL: uint32(1 + tr.rand.IntN(8000)), SeatsPerPass: uint8(tr.rand.IntN(9)),
	}}
	binary.LittleEndian.PutUint64(op.Seed[:], tr.rand.Uint64()|1)
	c := &op.Config
	switch {
	case e == nil:
	case e.room != nil && tr.rand.IntN(4) > 0:
		old := e.room.config
		c.Source, c.OnePerVisitor, c.OpensAt, c.EntriesUntil = old.Source, old.OnePerVisitor, old.OpensAt, old.EntriesUntil
	default:
		c.OnePerVisitor = tr.rand.IntN(2) == 0
		if tr.rand.IntN(2) == 0 {
			c.OpensAt = e.wall + 1 + int64(tr.rand.IntN(5000))
			c.EntriesUntil = max(0, c.OpensAt-int64(tr.rand.IntN(3000))) * int64(tr.rand.IntN(2))
			if tr.rand.IntN(2) == 0 {
				c.Source = []byte("dice")
			}
		}
	}
	if tr.rand.IntN(40) == 0 {
		c.Limit = 0
	}
	return wire.Record{Kind: wire.KindSetRoom, Body: op.Append(nil)}
}

// somePass is that of somebody inside, in most cases.
func (tr *trial) somePass(e *modelEvent) wire.PassID {
	if e == nil || e.room == nil || len(e.room.passes) == 0 || tr.rand.IntN(12) == 0 {
		return wire.PassID(tr.rand.Uint64N(3) * tr.rand.Uint64N(400))
	}
	ids := make([]wire.PassID, 0, len(e.room.passes))
	for id := range e.room.passes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids[tr.rand.IntN(len(ids))]
}
