package shard

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/usher-seats/usher/wire"
)

// loading is what has come of an id between LoadPart and Start.
type loading struct {
	event *Event // with its manifest; nil until that has come
	state []byte // of an event, waits for the manifest
	come  bool   // the state has come, and is in its place
	form  byte   // of the state
	pages map[int]loadedPage
}

var errPartShort = errors.New("it ends too early")

// LoadPart takes a part of a snapshot into a shard that has not been started. It
// keeps no reference to data. After an error the shard is of no use.
func (s *Shard) LoadPart(part uint64, data []byte) error {
	id, page, state := splitPart(part)
	var err error
	switch {
	case s.loading == nil:
		err = errors.New("the shard has been started")
	case id == 0 && part != berthsPart:
		err = errors.New("no event has the id 0")
	case len(data) == 0:
		err = errPartShort
	case data[0] != partFormat:
		err = fmt.Errorf("format %d; this version knows %d", data[0], partFormat)
	case part == berthsPart:
		err = s.loadBerths(data)
	case page >= 0 && !state:
		err = s.loadPage(id, page, data)
	case page >= 0:
		err = errors.New("there is no such part")
	case state:
		err = s.loadState(id, data)
	default:
		err = s.loadManifest(id, data)
	}
	if err != nil {
		return fmt.Errorf("shard: part %#x of a snapshot, event %d: %w", part, id, err)
	}
	return nil
}

func (s *Shard) loadManifest(id wire.EventID, data []byte) error {
	r := partReader{b: data[1:]}
	created := r.u64()
	if r.err != nil {
		return r.err
	}
	l := s.loadingOf(id)
	if l.event != nil {
		if !bytes.Equal(l.event.manifest, r.b) {
			return errors.New("its manifest comes twice and is not the same")
		}
		l.event.encoded = true
		return nil
	}
	m, err := wire.DecodeManifest(r.b)
	if err != nil {
		return err
	}
	l.event = s.newEvent(id, bytes.Clone(r.b), m)
	l.event.created, l.event.encoded = created, true
	if l.state == nil {
		return nil
	}
	state := l.state
	l.state = nil
	return s.loadState(id, state)
}

func (s *Shard) loadingOf(id wire.EventID) *loading {
	l := s.loading[id]
	if l == nil {
		l = new(loading)
		s.loading[id] = l
	}
	return l
}

func (s *Shard) loadState(id wire.EventID, data []byte) error {
	r := partReader{b: data[1:]}
	form, loadedAt, changed := r.u8(), r.u64(), r.u64()
	stage := r.take(int(r.u32()))
	l := s.loadingOf(id)
	if l.come || l.state != nil {
		return errors.New("its state comes twice")
	}
	err := r.err
	switch {
	case err != nil:
	case form == formNothing:
		err = r.finish()
	case form == formEvent:
		err = s.loadEvent(l, id, &r, data, loadedAt, changed)
	case form == formCreation:
		err = s.loadCreation(id, &r, changed)
	case form == formDeletion:
		s.deletions[id] = &deletion{id: r.id(), changed: changed}
		err = r.finish()
	case form == formDeparture:
		err = s.loadDeparture(id, &r, changed)
	default:
		err = fmt.Errorf("form %d is unknown", form)
	}
	if err != nil || l.state != nil {
		return err
	}
	l.come, l.form = true, form
	s.loaded[id] = loadedAt
	s.loadedTo = max(s.loadedTo, loadedAt)
	return s.loadStage(id, stage, changed)
}

// loadStage reads the stage of an event, if there is one.
func (s *Shard) loadStage(id wire.EventID, data []byte, changed uint64) error {
	if len(data) == 0 {
		return nil
	}
	r := partReader{b: data}
	st := &stage{moveNumber: moveNumber{r.u64(), r.u64()}, touched: wire.Millis(r.u64()), total: r.u32(), changed: changed}
	complete := r.u8()
	switch {
	case r.err != nil:
		return r.err
	case complete > 1 || !numbered(st.number) || st.total > wire.MaxImage || st.touched < 0 || st.touched > lastTime:
		return fmt.Errorf("its stage is of move %d, has %d bytes and was touched at %d", st.number, st.total, st.touched)
	case complete == 1:
		from, err := openImage(s.config, id, r.b)
		if err != nil {
			return fmt.Errorf("its stage: %w", err)
		}
		st.shard = from
	case len(r.b) >= int(st.total):
		return fmt.Errorf("its stage has %d bytes of an image of %d that is incomplete", len(r.b), st.total)
	default:
		st.bytes = bytes.Clone(r.b)
	}
	s.stages[id] = st
	s.staleBy(st.touched + s.config.Window)
	return nil
}

func (s *Shard) loadDeparture(id wire.EventID, r *partReader, changed uint64) error {
	d := &departure{number: r.u64(), changed: changed}
	d.digest = [32]byte(r.take(len(d.digest)))
	d.at = wire.Millis(r.u64())
	if r.err == nil && (d.at < 0 || d.at > lastTime) {
		return fmt.Errorf("it left at %d", d.at)
	}
	s.departures[id] = d
	s.staleBy(d.at + s.departureTime())
	return r.finish()
}

func (s *Shard) loadCreation(id wire.EventID, r *partReader, changed uint64) error {
	c := &creation{changed: changed, sum: sha256.New()}
	c.digest = [32]byte(r.take(len(c.digest)))
	c.total = r.u32()
	c.touched = wire.Millis(r.u64())
	if r.err != nil {
		return r.err
	}
	if len(r.b) >= int(c.total) || c.total > wire.MaxAnswerBody || c.touched < 0 || c.touched > lastTime {
		return fmt.Errorf("it has %d bytes of a manifest of %d that is incomplete, and was touched at %d", len(r.b), c.total, c.touched)
	}
	c.bytes = bytes.Clone(r.b)
	c.sum.Write(c.bytes)
	s.creations[id] = c
	s.staleBy(c.touched + s.config.Window)
	return nil
}

// loadEvent reads an event's state. If its manifest has yet to come, it waits.
func (s *Shard) loadEvent(l *loading, id wire.EventID, r *partReader, data []byte, loadedAt, changed uint64) error {
	manifest := r.take(int(r.u32()))
	if r.err != nil {
		return r.err
	}
	if l.event == nil {
		if len(manifest) == 0 {
			l.state = bytes.Clone(data)
			return nil
		}
		m, err := wire.DecodeManifest(manifest)
		if err != nil {
			return err
		}
		l.event = s.newEvent(id, bytes.Clone(manifest), m)
	} else if len(manifest) > 0 && !bytes.Equal(manifest, l.event.manifest) {
		return errors.New("its manifest comes twice and is not the same")
	}
	e := l.event
	e.loadedAt, e.changed = loadedAt, changed
	e.created = r.u64()
	if err := e.readPlace(r); err != nil {
		return err
	}
	if err := errors.Join(e.readSettings(r), e.readRoom(r)); err != nil {
		return err
	}
	return e.readRecords(r)
}

func (e *Event) readPlace(r *partReader) error {
	e.epoch = r.u16()
	e.skew.Store(int64(r.u64()))
	e.stopped.Store(int64(r.u64()))
	e.journey = journey{r.u64(), r.u64(), r.u64(), r.u64(), r.u64(), r.u64()}
	return errors.Join(r.err, e.checkPlace())
}

func (e *Event) readSettings(r *partReader) error {
	e.counter = r.u64()
	e.floor.Store(int64(r.u64()))
	e.wall = int64(r.u64())
	var rules wire.SetRules
	if err := rules.Decode(append(make([]byte, wire.MutationSize), r.take(rulesSize)...)); err != nil {
		return errors.Join(r.err, err)
	}
	if err := rules.Rules.Validate(); err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	if n := int(r.u8()); n <= wire.MaxChannels {
		for range n {
			e.channels.list = append(e.channels.list, e.readChannel(r))
		}
	} else {
		return fmt.Errorf("it has %d channels; the most is %d", n, wire.MaxChannels)
	}
	blocked := r.take(8 * e.lay.words)
	if r.err != nil {
		return r.err
	}
	for w := range e.blocked {
		v := binary.LittleEndian.Uint64(blocked[8*w:])
		if v&e.lay.pad(w) != 0 {
			return fmt.Errorf("word %d has blocked seats that do not exist", w)
		}
		e.blocked[w].Store(v | e.lay.pad(w))
		e.taken[w].Store(v | e.lay.pad(w))
	}
	e.seq.Store(e.counter << 1)
	e.setRules(rules.Rules)
	e.publishChannels()
	e.deriveChannels()
	return nil
}

func (e *Event) readChannel(r *partReader) channel {
	c := channel{name: string(r.take(int(r.u8()))), key: wire.ChannelKey(r.u64())}
	plane := r.take(8 * e.lay.words)
	if r.err != nil {
		return c
	}
	c.plane = make([]uint64, e.lay.words)
	for w := range c.plane {
		c.plane[w] = binary.LittleEndian.Uint64(plane[8*w:])
	}
	return c
}

// readRecords reads holds and memos and builds what is derived from them.
func (e *Event) readRecords(r *partReader) error {
	live, ended, memos := int(r.u32()), int(r.u32()), int(r.u32())
	if r.err != nil {
		return r.err
	}
	if uint64(live)+uint64(ended) > uint64(len(r.b))/holdSize || uint64(memos) > uint64(len(r.b))/memoSize {
		return errPartShort
	}
	e.setTable(newIDTable(live + ended + memos))
	for k := range live + ended {
		if err := e.readHold(r, k >= live); err != nil {
			return fmt.Errorf("hold %d: %w", k, err)
		}
	}
	for k := range memos {
		if err := e.readMemo(r); err != nil {
			return fmt.Errorf("memo %d: %w", k, err)
		}
	}
	e.fillWheel()
	e.countSeats()
	e.buyers.on = false
	e.countBuyers(e.rule.SeatsPerBuyer > 0)
	return r.finish()
}

// countSeats counts the seats by state from the planes.
func (e *Event) countSeats() {
	e.tally = [len(e.tally)]uint32{}
	for w := range e.taken {
		taken, booked, blocked := e.taken[w].Load(), e.booked[w].Load(), e.blocked[w].Load()&^e.lay.pad(w)
		e.tally[wire.SeatFree] += uint32(bits.OnesCount64(^taken))
		e.tally[wire.SeatBooked] += uint32(bits.OnesCount64(booked))
		e.tally[wire.SeatBlocked] += uint32(bits.OnesCount64(blocked))
		e.tally[wire.SeatHeld] += uint32(bits.OnesCount64(taken &^ booked &^ e.blocked[w].Load()))
	}
}

// fillWheel puts all live holds into the wheel. Its cursor must not be after any
// deadline to come, so it cannot be at the first of those that are there; it goes
// to the last grant, which cannot be after now either.
func (e *Event) fillWheel() {
	var now wire.Millis
	first := wire.Never
	e.eachHold(func(_ uint32, h *hold) {
		now = max(now, h.granted)
		if h.live() {
			first = min(first, h.deadline)
		}
	})
	if first == wire.Never {
		return
	}
	e.wheel = new(wheel)
	e.eachHold(func(i uint32, h *hold) {
		if h.live() {
			e.wheel.insert(&e.holds, i, min(first, now))
		}
	})
}

// Start ends the loading of a snapshot that was taken at an entry and a stamp, or
// begins with an empty shard at 0 and 0. It verifies what was loaded.
func (s *Shard) Start(index uint64, stamp wire.Millis) error {
	for id, l := range s.loading {
		switch {
		case !l.come:
			return fmt.Errorf("shard: the snapshot has only one of the two parts of event %d", id)
		case l.form != formEvent:
			delete(s.loading, id) // it went between the encoding of its two parts
			continue
		}
		err := l.roomPages()
		if err == nil {
			err = l.event.check()
		}
		if l.event.loadedAt <= index {
			err = errors.Join(err, l.event.checkTime(stamp))
		}
		if err != nil {
			return fmt.Errorf("shard: event %d in the snapshot: %w", id, err)
		}
	}
	s.index, s.stamp = index, stamp
	for _, l := range s.loading {
		e := l.event
		s.addEvent(e)
		if e.loadedAt > index {
			s.waiting = append(s.waiting, e)
		} else {
			s.agenda.set(e, s.nextDue(e))
		}
	}
	s.loading = nil
	return nil
}
