package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// stampedeShow is an event with one seat in a thousand left, and everybody
// asking for two seats at random.
type stampedeShow struct {
	stage *stage
	event *client.Event
	free  []wire.SeatID   // that were free at the beginning
	taken []atomic.Uint64 // bit per seat index: held at the beginning, or granted since
}

func newStampedeShow(s *stage) (show, error) {
	ev, err := s.event(0)
	if err != nil {
		return nil, err
	}
	ids := shuffled(newRand(s.o, -1), s.o.Seats)
	free := len(ids) / 1000
	if err := s.fill(ev, ids[free:]); err != nil {
		return nil, err
	}
	st := &stampedeShow{stage: s, event: ev, free: ids[:free], taken: make([]atomic.Uint64, (s.o.Seats+63)/64)}
	for _, id := range ids[free:] {
		note(st.taken, seatIndex(id))
	}
	return st, nil
}

func (s *stampedeShow) script(conn int) script {
	return &stampedeScript{
		show:  s,
		rand:  newRand(s.stage.o, conn),
		clock: newClock(s.event),
		asked: make([][2]int, s.stage.o.Depth),
	}
}

// audit checks that the event has just those seats taken that were taken or
// granted: no loser changed anything, and no winner was told wrong.
func (s *stampedeShow) audit(ctx context.Context) error {
	m, err := s.event.Map(ctx, client.Consistent)
	if err != nil {
		return err
	}
	for i := range s.stage.o.Seats {
		want := wire.SeatFree
		if noted(s.taken, i) {
			want = wire.SeatHeld
		}
		if got := m.State(seatID(i)); got != want {
			return fmt.Errorf("seat %d is %v, want %v", seatID(i), got, want)
		}
	}
	return nil
}

type stampedeScript struct {
	show  *stampedeShow
	rand  *rand.Rand
	clock clockFor
	asked [][2]int // by slot: indices of the seats
}

func (s *stampedeScript) next(slot int, now time.Time, b []byte) (wire.Kind, []byte) {
	seats := s.show.stage.o.Seats
	x := s.rand.IntN(seats)
	y := s.rand.IntN(seats - 1)
	if y >= x {
		y++
	}
	s.asked[slot] = [2]int{x, y}
	var list [8]byte
	hold := wire.Hold{
		Mutation: wire.Mutation{Event: s.show.event.ID(), ID: s.clock.id(now, s.rand)},
		Seats:    wire.SeatList(list[:0]).Append(seatID(x), seatID(y)),
	}
	return wire.KindHold, hold.Append(b)
}

func (s *stampedeScript) done(slot int, h wire.Header, body []byte) (int, error) {
	pair := s.asked[slot]
	switch h.Status {
	case wire.StatusTaken:
		return 1, s.lost(pair, body)
	case wire.StatusOK:
		for _, i := range pair {
			if !note(s.show.taken, i) {
				return 0, fmt.Errorf("seat %d was granted though it was taken", seatID(i))
			}
		}
		return 1, nil
	}
	return 0, fmt.Errorf("hold answered %v", h.Status)
}

// lost checks that the answer names one of the seats, or both, and nothing else.
func (s *stampedeScript) lost(pair [2]int, body []byte) error {
	var lost wire.SeatsLost
	if err := lost.Decode(body); err != nil {
		return fmt.Errorf("answer to hold: %w", err)
	}
	n := lost.Seats.Len()
	if n != 1 && n != 2 {
		return fmt.Errorf("%d seats lost of two", n)
	}
	for i := range n {
		if seat := lost.Seats.At(i); seat != seatID(pair[0]) && seat != seatID(pair[1]) {
			return fmt.Errorf("seat %d lost, asked were %d and %d", seat, seatID(pair[0]), seatID(pair[1]))
		}
	}
	return nil
}
