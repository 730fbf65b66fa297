package shard

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/usher-seats/usher/wire"
)

// A partReader takes fields off a part. After the first that is not there it
// yields zeroes.
type partReader struct {
	b   []byte
	err error
}

// take gives n bytes, or n zeroes after an error if n is small.
func (r *partReader) take(n int) []byte {
	if r.err == nil && n <= len(r.b) {
		v := r.b[:n:n]
		r.b = r.b[n:]
		return v
	}
	r.err = errPartShort
	return make([]byte, min(n, holdSize))
}

func (r *partReader) u8() uint8   { return r.take(1)[0] }
func (r *partReader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *partReader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *partReader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *partReader) id() wire.ID { return wire.ID(r.take(16)) }

// count reads a u32 number of items of size bytes each, and refuses more than are
// there.
func (r *partReader) count(size int) int {
	n := r.u32()
	if uint64(n)*uint64(size) > uint64(len(r.b)) {
		r.err = errPartShort
		return 0
	}
	return int(n)
}

func (r *partReader) finish() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("it has %d bytes after its end", len(r.b))
	}
	return r.err
}

// seats reads n seat ids into list.
func (r *partReader) seats(list []uint32) {
	b := r.take(4 * len(list))
	if r.err != nil {
		return
	}
	for i := range list {
		list[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
}

// readHold reads a hold, gives it its seats and makes it findable.
func (e *Event) readHold(r *partReader, ended bool) error {
	i, h := e.holds.take()
	*h = hold{id: r.id()}
	b := r.take(holdSize - len(h.id))
	if r.err != nil {
		return r.err
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	h.digest, h.fence, h.buyer = u64(0), wire.Fence(u64(8)), wire.BuyerID(u64(16))
	h.held, h.booked, h.last = u64(24), u64(32), u64(40)
	h.granted, h.deadline = wire.Millis(u64(48)), wire.Millis(u64(56))
	h.timed, h.touched = wire.Millis(u64(64)), wire.Millis(u64(72))
	h.ttl = binary.LittleEndian.Uint32(b[80:])
	h.n, h.state, h.flags, h.extensions = b[84], wire.HoldState(b[85]), holdFlags(b[86]), b[87]
	passed := h.flags&holdPassed != 0
	h.flags &^= holdPassed
	if err := h.validate(ended); err != nil {
		return err
	}
	if err := e.readSeats(r, h); err != nil {
		return err
	}
	if passed {
		if err := e.readPass(r, i, h); err != nil {
			return err
		}
	}
	if ended {
		if last := e.memory.holds.tail; last != none && e.holds.at(last).touched > h.touched {
			return errors.New("it ended before the one that ended before it")
		}
		e.rememberHold(i, h)
	}
	return e.loadID(&h.id, i)
}

// readPass reads with which pass a hold was made, and counts its seats with it.
func (e *Event) readPass(r *partReader, i uint32, h *hold) error {
	id := wire.PassID(r.u64())
	if r.err != nil || id == 0 || e.room == nil {
		return errors.Join(r.err, errors.New("it was made with a pass, and the event has no waiting room"))
	}
	e.setPass(i, id)
	if _, k := e.room.passes.find(id); k != nil {
		if h.live() {
			k.held += uint32(seatsIn(h.held))
		}
		k.booked += uint32(seatsIn(h.booked))
	}
	return nil
}

// validate checks what can be checked without the event.
func (h *hold) validate(ended bool) error {
	switch {
	case !h.id.Valid():
		return errors.New("its id is not valid")
	case h.n == 0 || h.n > wire.MaxHoldSeats:
		return fmt.Errorf("it has %d seats", h.n)
	case h.state < wire.StateHeld || h.state > wire.StateCancelled:
		return fmt.Errorf("its state is %d", h.state)
	case (h.held|h.booked|h.last)&^h.all() != 0 || h.held&h.booked != 0:
		return fmt.Errorf("of its %d seats %#x are held, %#x booked, %#x were last", h.n, h.held, h.booked, h.last)
	case h.live() && h.held == 0, ended != (h.owned() == 0), (h.state == wire.StateBooked) != (h.booked != 0 && !h.live()):
		return fmt.Errorf("it is %v with seats %#x held and %#x booked", h.state, h.held, h.booked)
	case h.live() && (h.deadline < 1 || h.deadline >= maxTime):
		return fmt.Errorf("its deadline is %d", h.deadline)
	case min(h.granted, h.timed, h.touched) < 0 || max(h.granted, h.timed, h.touched) >= maxTime:
		return fmt.Errorf("its times are %d, %d and %d", h.granted, h.timed, h.touched)
	case h.flags >= holdGaveBack<<1 || h.flags&holdMoved != 0 && h.flags&holdPicked == 0:
		return fmt.Errorf("its flags are %#x", h.flags)
	}
	return nil
}

// readSeats reads the seats of a hold and sets the bits of those that it owns.
func (e *Event) readSeats(r *partReader, h *hold) error {
	if !h.inline() {
		h.seats[0], _ = e.lists.take(int(h.n))
	}
	seats := e.seatsOf(h)
	r.seats(seats)
	if h.flags&holdMoved != 0 {
		n := int(r.u8())
		if n == 0 || n > wire.MaxHoldSeats {
			return fmt.Errorf("it was granted %d seats", n)
		}
		var list []uint32
		h.seats[1], list = e.lists.take(n)
		h.seats[2] = uint32(n)
		r.seats(list)
	}
	if r.err != nil {
		return r.err
	}
	owned := h.owned()
	for k, seat := range seats {
		word, bit := seat/wordBits, uint64(1)<<(seat%wordBits)
		if !e.lay.valid(wire.SeatID(seat)) {
			return fmt.Errorf("seat %d does not exist", seat)
		}
		if owned>>k&1 == 0 {
			continue
		}
		taken := e.taken[word].Load()
		if taken&bit != 0 {
			return fmt.Errorf("seat %d belongs to two", seat)
		}
		e.taken[word].Store(taken | bit)
		if h.booked>>k&1 != 0 {
			e.booked[word].Store(e.booked[word].Load() | bit)
		}
	}
	return nil
}

// loadID makes a loaded record findable.
func (e *Event) loadID(id *wire.ID, r ref) error {
	fp := fingerprint(id)
	if e.lookup(id, fp) != none {
		return fmt.Errorf("its id %v is there twice", id)
	}
	e.enter(fp, r)
	return nil
}

func (e *Event) readMemo(r *partReader) error {
	i, m := e.memos.take()
	*m = memo{id: r.id(), digest: r.u64(), now: wire.Millis(r.u64()), mask: r.u64(), n: r.u16()}
	m.status, m.kind, m.form = r.u8(), wire.Kind(r.u8()), answerForm(r.u8())
	switch {
	case r.err != nil:
		return r.err
	case !m.id.Valid():
		return errors.New("its id is not valid")
	case m.now < 0 || m.now >= maxTime:
		return fmt.Errorf("it was decided at %d", m.now)
	case m.n > maxList || m.form >= answerForms || !m.kind.Mutates() && m.kind != wire.KindIssue:
		return fmt.Errorf("it is of kind %d and form %d with %d numbers", m.kind, m.form, m.n)
	}
	if last := e.memory.memos.tail; last != none && e.memos.at(last).now > m.now {
		return errors.New("it was decided before the one before it")
	}
	if m.n > 0 {
		var list []uint32
		m.list, list = e.lists.take(int(m.n))
		r.seats(list)
	}
	e.rememberMemo(i, m)
	if r.err != nil {
		return r.err
	}
	return e.loadID(&m.id, i|memoRef)
}
