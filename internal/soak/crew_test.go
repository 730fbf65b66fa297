package soak

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A script is what the slots of a pipe ask, one request after the other. It
// belongs to the goroutine that plays it.
type script interface {
	// next appends the body of the slot's next request to b; kind 0 ends the slot.
	next(slot int, b []byte) (wire.Kind, []byte)
	// done takes the answer to the slot's last request. An error ends the play.
	done(slot int, h wire.Header, body []byte) error
}

// play keeps up to depth requests under way on a pipe of its own until every
// slot has ended.
func play(ctx context.Context, addr string, depth int, s script) error {
	p, err := client.DialPipe(ctx, addr, nil)
	if err != nil {
		return err
	}
	defer p.Close()
	defer context.AfterFunc(ctx, func() { p.SetDeadline(time.Unix(1, 0)) })()
	ask := func(slot int) bool {
		kind, body := s.next(slot, p.Begin())
		if kind == 0 {
			return false
		}
		p.End(wire.Header{Kind: kind, Request: uint64(slot)}, body)
		return true
	}
	busy := 0
	for slot := range depth {
		if ask(slot) {
			busy++
		}
	}
	for busy > 0 {
		if p.Buffered() == 0 {
			if err := p.Flush(); err != nil {
				return err
			}
		}
		h, body, err := p.Next()
		if err != nil {
			return err
		}
		if err := s.done(int(h.Request), h, body); err != nil {
			return err
		}
		if !ask(int(h.Request)) {
			busy--
		}
	}
	return nil
}

// playAll plays each script on a pipe of its own and fails the test if one fails.
func playAll[S script](t *testing.T, addr string, depth int, scripts []S) {
	t.Helper()
	each(t, scripts, func(s S) error { return play(t.Context(), addr, depth, s) })
}

// each calls f for all items at once, waits, and fails the test if one failed.
func each[T any](t *testing.T, items []T, f func(T) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() {
			if err := f(item); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// hallRow is the length of a row: a whole word, so that the i-th seat has the
// id i.
const hallRow = 64

// A hall is an event whose seats are rows of 64, and holds of one seat each in
// the first of them. The script that fills it owns it, then the test.
type hall struct {
	event *client.Event
	shard uint32
	seats int
	born  wire.Millis // in the ids of the holds
	ttl   func(seat int) time.Duration

	// By seat, set when its hold is granted.
	deadline []wire.Millis
	fence    []wire.Fence
	asked    int
	slots    map[int]wish
}

// A wish is what a slot has asked for.
type wish struct {
	seat int
	ttl  wire.Millis
}

// newHall makes an event.
func newHall(ctx context.Context, c *client.Client, key string, seats int, perHold uint8) (*hall, error) {
	m := &wire.Manifest{Key: key, Name: key, Categories: []string{"any"}, Sections: []wire.Section{{Name: "A"}}, Rules: wire.DefaultRules()}
	m.Rules.MaxTTL = 24 * 3600_000
	m.Rules.SeatsPerHold = perHold
	labels := make([]wire.Seat, hallRow)
	for i := range labels {
		labels[i].Label = fmt.Sprint(i + 1)
	}
	for left := seats; left > 0; left -= hallRow {
		n := min(left, hallRow)
		row := wire.Row{Name: fmt.Sprint(len(m.Sections[0].Rows) + 1), Focal: uint16(n - 1), Seats: labels[:n]}
		m.Sections[0].Rows = append(m.Sections[0].Rows, row)
	}
	ev, err := c.CreateEvent(ctx, m)
	if err != nil {
		return nil, err
	}
	return &hall{event: ev, seats: seats, born: ev.Now(), slots: make(map[int]wish)}, nil
}

// newHalls makes n events and learns which shards they are in.
func newHalls(t *testing.T, c *client.Client, n, seats int, perHold uint8) []*hall {
	t.Helper()
	halls := make([]*hall, n)
	const makers = 8
	var work sync.WaitGroup
	for first := range min(n, makers) {
		work.Go(func() {
			for i := first; i < n; i += makers {
				var err error
				if halls[i], err = newHall(t.Context(), c, fmt.Sprintf("hall-%d", i), seats, perHold); err != nil {
					t.Errorf("hall %d: %v", i, err)
					return
				}
			}
		})
	}
	work.Wait()
	if t.Failed() {
		t.FailNow()
	}
	shards := make(map[wire.EventID]uint32)
	for entry, err := range c.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		shards[entry.Event] = entry.Shard
	}
	for _, h := range halls {
		h.shard = shards[h.event.ID()]
	}
	return halls
}

// fill says that the first n seats are to be held. ttl is called when a seat's
// turn comes.
func (h *hall) fill(n int, ttl func(seat int) time.Duration) {
	h.ttl = ttl
	h.deadline = make([]wire.Millis, n)
	h.fence = make([]wire.Fence, n)
}

// id is the id of the hold of a seat.
func (h *hall) id(seat int) wire.ID { return idOf(h.born, uint64(h.event.ID())<<32|uint64(seat)) }

// idOf makes an id that can be made again; number is below 2^60, the rest of the
// last eight bytes is the id's version.
func idOf(born wire.Millis, number uint64) wire.ID {
	var random [10]byte
	binary.BigEndian.PutUint64(random[2:], number)
	return wire.NewID(born, random)
}

func (h *hall) next(slot int, b []byte) (wire.Kind, []byte) {
	if h.asked == len(h.deadline) {
		return 0, nil
	}
	seat := h.asked
	h.asked++
	ttl := max(h.ttl(seat), time.Millisecond)
	h.slots[slot] = wish{seat, wire.Millis(ttl.Milliseconds())}
	var list [4]byte
	hold := wire.Hold{
		Mutation: wire.Mutation{Event: h.event.ID(), ID: h.id(seat)},
		TTL:      uint32(ttl.Milliseconds()),
		Seats:    wire.SeatList(list[:0]).Append(wire.SeatID(seat)),
	}
	return wire.KindHold, hold.Append(b)
}

func (h *hall) done(slot int, head wire.Header, body []byte) error {
	seat, ttl := h.slots[slot].seat, h.slots[slot].ttl
	var g wire.Granted
	if err := granted(head, body, &g); err != nil {
		return fmt.Errorf("hold of seat %d: %w", seat, err)
	}
	if g.Deadline != g.Now+ttl {
		return fmt.Errorf("hold of seat %d: granted at %d until %d, asked for %d ms", seat, g.Now, g.Deadline, ttl)
	}
	h.deadline[seat], h.fence[seat] = g.Deadline, g.Fence
	return nil
}

// granted decodes the answer to a hold.
func granted(h wire.Header, body []byte, g *wire.Granted) error {
	if h.Status != wire.StatusOK {
		return fmt.Errorf("%v %s", h.Status, body)
	}
	return g.Decode(body)
}

// A roll reads holds back over a pipe: of every hall the seats that it is given.
type roll struct {
	halls []*hall
	seats []int
	check func(h *hall, seat int, info *wire.HoldInfo) error
	at    int
	slots map[int]int
}

func (r *roll) next(slot int, b []byte) (wire.Kind, []byte) {
	if r.at == len(r.halls)*len(r.seats) {
		return 0, nil
	}
	if r.slots == nil {
		r.slots = make(map[int]int)
	}
	r.slots[slot] = r.at
	h, seat := r.which(r.at)
	r.at++
	ref := wire.HoldRef{Event: h.event.ID(), ID: h.id(seat)}
	return wire.KindGetHold, ref.Append(b)
}

func (r *roll) which(i int) (*hall, int) { return r.halls[i/len(r.seats)], r.seats[i%len(r.seats)] }

func (r *roll) done(slot int, head wire.Header, body []byte) error {
	h, seat := r.which(r.slots[slot])
	var info wire.HoldInfo
	err := info.Decode(body)
	if head.Status != wire.StatusOK {
		err = fmt.Errorf("%v", head.Status)
	}
	if err == nil && info.Fence != h.fence[seat] {
		err = fmt.Errorf("its fence is %d, acknowledged was %d", info.Fence, h.fence[seat])
	}
	if err == nil {
		err = r.check(h, seat, &info)
	}
	if err != nil {
		return fmt.Errorf("hold of seat %d of %s: %w", seat, h.event.Key(), err)
	}
	return nil
}
