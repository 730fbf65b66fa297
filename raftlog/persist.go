package raftlog

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/raft"
	"github.com/usher-seats/usher/wire"
)

// errAbandoned ends a snapshot that nobody wants any more, or whose state
// machine has been replaced.
var errAbandoned = errors.New("snapshot abandoned")

// A partSink is the sink of a store that keeps snapshots by parts.
type partSink interface {
	raft.SnapshotSink
	writeParts(src partSource) error
}

// A picture is what a snapshot is taken from. It holds no state, only which
// parts there were at an index and when each last changed. The parts are encoded
// one by one while entries go on being applied, and each may be younger than
// the index; the state machine skips, part by part, what a part already
// contains.
//
// Raft's snapshot goroutine owns it from Snapshot to Release.
type picture struct {
	f       *fsm
	at      uint64
	term    uint64
	stamp   wire.Millis
	changed map[uint64]uint64
	bytes   int64 // of entries since the snapshot before
	life    uint64

	released bool // guarded by the fsm's mutex
}

// Snapshot only takes down what there is: no entry is applied meanwhile.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &picture{
		f: f, at: f.index, term: f.term, stamp: f.stamp,
		bytes: f.sinceSnap, life: f.lives,
		changed: make(map[uint64]uint64, f.partsHint),
	}
	f.sm.Parts(func(id, changed uint64) { p.changed[id] = changed })
	f.partsHint = len(p.changed)
	f.picture = p
	return p, nil
}

// Persist lets the sink take what it does not have yet. Raft closes the sink.
func (p *picture) Persist(sink raft.SnapshotSink) error {
	k, ok := sink.(partSink)
	if !ok {
		return fmt.Errorf("snapshot sink %T does not take parts", sink)
	}
	return k.writeParts(p)
}

// Release voids the picture. Raft calls it in any case, Persist or not.
func (p *picture) Release() {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.released = true
}

func (p *picture) index() (index, term uint64, stamp wire.Millis) { return p.at, p.term, p.stamp }

func (p *picture) parts() map[uint64]uint64 { return p.changed }

// A partSizer is a StateMachine that knows how long a part is before it encodes
// it: about, and rather too long than too short.
type partSizer interface {
	PartSize(id uint64) int
}

// room gives dst, or a longer buffer if the part does not fit. No entry is applied
// while a part is encoded, and then is no time to ask the system for memory:
// 57 MB of it took a second on a busy machine, the copy 30 ms. So it is asked
// before, and each page touched.
func (p *picture) room(dst []byte, id uint64) []byte {
	p.f.mu.Lock()
	sizer, ok := p.f.sm.(partSizer)
	n := 0
	if ok {
		n = sizer.PartSize(id)
		n += n / 8 // entries are applied until it is the part's turn
	}
	p.f.mu.Unlock()
	if cap(dst) >= n {
		return dst
	}
	dst = make([]byte, n)
	for i := 0; i < n; i += os.Getpagesize() {
		dst[i] = 1
	}
	return dst[:0]
}

// encode copies one part between two entries.
func (p *picture) encode(dst []byte, id uint64) (data []byte, ok bool, err error) {
	dst = p.room(dst, id)
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if p.released || p.f.closing || p.f.lives != p.life {
		return dst, false, errAbandoned
	}
	data, ok = p.f.sm.EncodePart(dst, id)
	return data, ok, nil
}

// stored notes that the last picture has become a snapshot.
func (f *fsm) stored() (index uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.picture
	f.picture = nil
	if p == nil || p.life != f.lives {
		return 0
	}
	f.sinceSnap -= p.bytes
	f.snapIndex.Store(p.at)
	return p.at
}

// Restore builds a state machine aside from a snapshot, and only when all of it
// is there and right puts it in the place of the current one. Raft calls it at
// start with the newest snapshot, and on a follower that was sent one.
func (f *fsm) Restore(r io.ReadCloser) error {
	sm := f.newSM()
	var h snapshotHeader
	err := readSnapshot(r, func(got snapshotHeader) error {
		h = got
		return nil
	}, sm.LoadPart)
	if err != nil {
		return err
	}
	if err := sm.Start(h.index, h.stamp); err != nil {
		return fmt.Errorf("state of snapshot at entry %d: %w", h.index, err)
	}
	if err := f.replace(sm, h); err != nil {
		return err
	}
	f.publish(sm)
	return nil
}

func (f *fsm) replace(sm StateMachine, h snapshotHeader) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.index < f.index {
		// Readers have seen what came after it.
		return fmt.Errorf("snapshot at entry %d is older than the state at %d", h.index, f.index)
	}
	f.sm = sm
	f.index, f.term, f.stamp = h.index, h.term, max(f.stamp, h.stamp)
	f.sinceSnap = 0
	f.lives++
	f.snapIndex.Store(h.index)
	f.restores.Add(1)
	f.show()
	return nil
}

// giveUpSnapshots makes a snapshot that is being taken fail, and those to come.
func (f *fsm) giveUpSnapshots() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closing = true
}
