package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

// An event goes to another shard while it is on sale:
//
//	directory  Move: the event has a number and goes to shard T
//	S's leader image: a copy between two entries
//	           Import to T, in chunks; then Replay: what S has applied since, until
//	           little is left
//	S          Freeze: from here on S answers "moved"; its answer has the hash
//	T          Replay of the rest and Adopt, in one entry: T's event has the same hash
//	directory  Moved: the event is in T, and everybody routes to it
//	S          Drop
//
// From Freeze to Moved nobody decides for the event: three entries, each in a log
// of its own. Whoever leads S does all this; who leads it next begins again, with
// a higher attempt, and finds what was done. A leader of S that slept through it
// is refused: by raft in S, by the attempt and then the number in T, by the number
// in the directory. If the event cannot arrive, its move is cancelled in the
// directory first, so that nobody can end it any more, and then S thaws the event.

const (
	// movePatience bounds one try at a move; the next goes on where it ended.
	movePatience = 2 * time.Minute
	// frozenPatience is how long an event may stand still before its move is
	// cancelled.
	frozenPatience = 2 * time.Second
	// turnPatience is how long an event waits for the one whose turn to move it is, and
	// turnPause how long between two looks whether it still is.
	turnPatience = 3 * time.Second
	turnPause    = 10 * time.Millisecond
	// chaseRounds and chaseEntries bound the catching up before the freeze: it ends
	// when so few entries are left, or after so many rounds.
	chaseRounds  = 50
	chaseEntries = 4
	// maxReplay bounds the entries in one Replay, in bytes.
	maxReplay = 128 << 10
	// sweepEvery is how often a leader looks for events that are frozen, or here,
	// although the directory says that their moves are over.
	sweepEvery = 5 * time.Second
)

// moveEvents starts what is to leave the shards that are led here.
func (k *keeper) moveEvents(t *directory.Table) {
	for e := range t.Moving() {
		g := k.n.local(e.Shard)
		if g == nil || !g.log.Leading() || g.moving.Swap(true) {
			continue
		}
		k.work.Go(func() {
			defer g.moving.Store(false)
			k.movesFrom(g)
		})
	}
}

// movesFrom moves all that is to leave a shard now, one after the other, in the order
// in which they were to.
func (k *keeper) movesFrom(g *group) {
	var under []*directory.Event
	for e := range k.n.table().Moving() {
		if e.Shard == g.id {
			under = append(under, e)
		}
	}
	slices.SortFunc(under, func(a, b *directory.Event) int { return cmp.Compare(a.Number, b.Number) })
	for _, e := range under {
		if !k.awaitTurn(e) {
			return
		}
		if at := k.n.table().Event(e.ID); at == nil || at.Number != e.Number || at.To == 0 || !g.log.Leading() {
			continue // it was cancelled, or is for somebody else to move
		}
		k.move(g, e)
	}
}

// awaitTurn waits until no event is moving that was to move before this one, anywhere
// in the cluster: events that move at the same time share disks and processors, and
// each of them stands still for longer. This is courtesy, and safety has no part in
// it: when one of them does not get on, the others do not wait for it. false: the
// node stops.
func (k *keeper) awaitTurn(e *directory.Event) bool {
	var first uint64
	var since time.Time
	for {
		next := e.Number
		for o := range k.n.table().Moving() {
			next = min(next, o.Number)
		}
		if next == e.Number {
			return true
		}
		if next != first {
			first, since = next, time.Now()
		}
		if time.Since(since) > turnPatience {
			return true
		}
		if !sleep(k.ctx, turnPause) {
			return false
		}
	}
}

func (k *keeper) move(g *group, e *directory.Event) {
	ctx, cancel := context.WithTimeout(k.ctx, movePatience)
	defer cancel()
	m := move{n: k.n, from: g, event: e, attempt: g.log.Reign()<<20 | uint64(k.n.moves.attempts.Add(1))}
	if err := m.run(ctx); err != nil && k.ctx.Err() == nil {
		k.n.log.Warn("moving an event failed, will be tried again", "event", e.Key, "from", e.Shard, "to", e.To, "number", e.Number, "error", err)
		sleep(ctx, mendEvery)
	}
}

// A move is one try at moving an event. Its goroutine owns it.
type move struct {
	n       *Node
	from    *group
	event   *directory.Event
	attempt uint64
	sent    uint64 // the last entry of the old shard that the new one has
}

func (m *move) run(ctx context.Context) error {
	image, err := m.image()
	if err != nil {
		return err
	}
	if err := m.sendImage(ctx, image); err != nil {
		return err
	}
	for range chaseRounds {
		applied := m.from.log.Stats().Applied
		if err := m.replay(ctx, applied); err != nil {
			return err
		}
		if m.from.log.Stats().Applied <= applied+chaseEntries {
			break
		}
	}
	began := time.Now()
	var frozen wire.Frozen
	op := wire.Freeze{Mutation: m.mutation(), Number: m.event.Number}
	a := m.n.ask(ctx, m.event.Shard, raftlog.Write, wire.Record{Kind: wire.KindFreeze, Body: op.Append(nil)})
	if err := m.done("freeze", a); err != nil {
		return err
	}
	if err := frozen.Decode(a.body); err != nil {
		return err
	}
	if err := m.cutOver(ctx, &frozen); err != nil {
		if time.Since(began) < frozenPatience && ctx.Err() == nil && m.from.log.Leading() && !errors.Is(err, errMoveOver) {
			return err // at once again
		}
		return errors.Join(err, m.giveUp(ctx))
	}
	m.n.moves.note(time.Since(began))
	m.n.log.Info("event moved", "event", m.event.Key, "from", m.event.Shard, "to", m.event.To, "number", m.event.Number,
		"image_bytes", len(image), "pause", time.Since(began).Round(10*time.Microsecond))
	return m.drop(ctx)
}

func (m *move) mutation() wire.Mutation { return wire.Mutation{Event: m.event.ID} }

// done makes an error of an answer that is not ok.
func (m *move) done(step string, a outcome) error {
	if a.status == wire.StatusOK {
		return nil
	}
	return fmt.Errorf("%s: %v %s", step, a.status, a.body)
}

// image copies the event between two entries.
func (m *move) image() (image []byte, err error) {
	m.from.log.Between(func(index uint64, _ wire.Millis) {
		var ok bool
		if image, ok = m.from.shard.Load().AppendImage(nil, m.event.ID); !ok {
			err = errors.New("the event is not in its shard")
		}
		m.sent = index
	})
	return image, err
}

func (m *move) sendImage(ctx context.Context, image []byte) error {
	return m.n.sendImage(ctx, m.event.To, image, wire.Import{Mutation: m.mutation(), Number: m.event.Number, Attempt: m.attempt})
}

// sendImage brings an image to a shard, where it is staged. c says what else a
// chunk has.
func (n *Node) sendImage(ctx context.Context, to uint32, image []byte, c wire.Import) error {
	c.Total = uint32(len(image))
	for at := 0; at < len(image); at += wire.MaxChunk {
		c.Offset, c.Chunk = uint32(at), image[at:min(at+wire.MaxChunk, len(image))]
		a := n.insist(ctx, to, wire.Record{Kind: wire.KindImport, Body: c.Append(nil)})
		if a.status != wire.StatusOK {
			return fmt.Errorf("import: %v %s", a.status, a.body)
		}
	}
	return nil
}

// insist has a shard decide steps of a move, in one entry, and repeats them while it
// has no leader: a step that was done is not done again. The answer is the last
// one's.
func (n *Node) insist(ctx context.Context, id uint32, steps ...wire.Record) outcome {
	for pause := retryLeast; ; pause = min(2*pause, retryMost) {
		a := n.ask(ctx, id, raftlog.Write, steps[0], steps[1:]...)
		if a.status.Decided() || !sleep(ctx, pause) {
			return a
		}
	}
}

// replay brings the entries up to an index to the new shard.
func (m *move) replay(ctx context.Context, upTo uint64) error {
	for {
		op, last, err := m.gather(upTo)
		if err != nil || len(op.Entries) == 0 {
			return err
		}
		if err := m.done("replay", m.n.insist(ctx, m.event.To, wire.Record{Kind: wire.KindReplay, Body: op.Append(nil)})); err != nil {
			return err
		}
		m.sent = last
	}
}

// errFull ends the gathering of a Replay.
var errFull = errors.New("server: replay is full")

// gather reads what the new shard does not have yet, up to an index or to what fits
// into one Replay. last is the last entry of it.
func (m *move) gather(upTo uint64) (op wire.Replay, last uint64, err error) {
	op = wire.Replay{Mutation: m.mutation(), Number: m.event.Number, Attempt: m.attempt, After: m.sent}
	last = m.sent
	err = m.from.log.Entries(m.sent, upTo, func(index uint64, stamp wire.Millis, ops []byte) error {
		records, err := recordsOf(m.event.ID, ops)
		if err != nil {
			return err
		}
		if len(op.Entries) > 0 && len(op.Entries)+len(records) > maxReplay {
			return errFull
		}
		op.Entries = wire.AppendReplayed(op.Entries, index, stamp, records)
		last = index
		return nil
	})
	if errors.Is(err, errFull) {
		err = nil
	}
	return op, last, err
}

// recordsOf are the records of an entry that are about an event.
func recordsOf(event wire.EventID, ops []byte) (records []byte, err error) {
	for len(ops) > 0 {
		r, rest, err := wire.NextRecord(ops)
		if err != nil {
			return nil, err
		}
		if id, ok := shard.EventOf(r); ok && id == event {
			records = append(records, ops[:len(ops)-len(rest)]...)
		}
		ops = rest
	}
	return records, nil
}

// cutOver brings the rest, has the new shard adopt the event, and tells the
// directory.
func (m *move) cutOver(ctx context.Context, f *wire.Frozen) error {
	ctx, cancel := context.WithTimeout(ctx, frozenPatience)
	defer cancel()
	adopt := wire.Adopt{
		Mutation: m.mutation(), Number: m.event.Number, Attempt: m.attempt,
		Hash: f.Hash, Now: f.Now, Epoch: epochOf(f.Epoch, m.event.Number),
	}
	steps := []wire.Record{{Kind: wire.KindAdopt, Body: adopt.Append(nil)}}
	for m.sent < f.Index {
		op, last, err := m.gather(f.Index)
		if err != nil {
			return err
		}
		rest := wire.Record{Kind: wire.KindReplay, Body: op.Append(nil)}
		if last >= f.Index {
			steps = append([]wire.Record{rest}, steps...)
			break
		}
		if err := m.done("replay", m.n.insist(ctx, m.event.To, rest)); err != nil {
			return err
		}
		m.sent = last
	}
	if err := m.done("adopt", m.n.insist(ctx, m.event.To, steps...)); err != nil {
		return err
	}
	moved := wire.Numbered{Mutation: wire.Mutation{Event: m.event.ID, ID: m.n.freshID(0)}, Number: m.event.Number}
	r := signedBy(nodeActor(m.n.cfg.Node), wire.Record{Kind: wire.KindMoved, Body: moved.Append(nil)})
	switch a := m.n.insist(ctx, 0, r); a.status {
	case wire.StatusOK, wire.StatusUnknownEvent: // or it was deleted: nobody needs it
		return nil
	case wire.StatusExists:
		return errMoveOver
	default:
		return m.done("tell the directory", a)
	}
}

// errMoveOver says that the directory has ended the move otherwise.
var errMoveOver = errors.New("the move was cancelled")

// epochOf is the epoch of an event's next life: above the last, and of each number
// another one, as long as they fit.
func epochOf(last uint16, number uint64) uint16 {
	const most = 1<<16 - 1
	return uint16(min(most, max(number, uint64(last)+1)))
}

// giveUp lets the event go on where it was, if its move may not end any more: not
// unless the directory has cancelled it.
func (m *move) giveUp(ctx context.Context) error {
	op := wire.Numbered{Mutation: wire.Mutation{Event: m.event.ID, ID: m.n.freshID(0)}, Number: m.event.Number}
	r := signedBy(nodeActor(m.n.cfg.Node), wire.Record{Kind: wire.KindUnmove, Body: op.Append(nil)})
	if err := m.done("cancel the move", m.n.insist(ctx, 0, r)); err != nil {
		return err
	}
	return m.n.thaw(ctx, m.from, m.event.ID, m.event.Number)
}

// thaw lets an event go on whose move was cancelled. It is frozen first, lest it
// was by an earlier move.
func (n *Node) thaw(ctx context.Context, g *group, id wire.EventID, number uint64) error {
	return n.steps(ctx, g, id, number, wire.KindThaw)
}

// drop removes the event from the shard that it has left, when this node knows
// where it is now: until then it sends those here who ask for it.
func (m *move) drop(ctx context.Context) error {
	for {
		e := m.n.table().Event(m.event.ID)
		if e == nil || e.Number > m.event.Number || e.To == 0 {
			break
		}
		if !sleep(ctx, turnPause) {
			return ctx.Err()
		}
	}
	return m.n.steps(ctx, m.from, m.event.ID, m.event.Number, wire.KindDrop)
}

// steps freezes an event by a number and does another step of that.
func (n *Node) steps(ctx context.Context, g *group, id wire.EventID, number uint64, then wire.Kind) error {
	freeze := wire.Freeze{Mutation: wire.Mutation{Event: id}, Number: number}
	next := wire.Numbered{Mutation: wire.Mutation{Event: id}, Number: number}
	a := n.insist(ctx, g.id, wire.Record{Kind: wire.KindFreeze, Body: freeze.Append(nil)}, wire.Record{Kind: then, Body: next.Append(nil)})
	if a.status != wire.StatusOK && a.status != wire.StatusUnknownEvent {
		return fmt.Errorf("end move %d: %v %s", number, a.status, a.body)
	}
	return nil
}

// sweep ends what the moves of former leaders have left behind in the shards that
// are led here: events that are frozen although their move was cancelled, and
// copies of events that are elsewhere. What the directory here does not know yet
// has a higher number than what it knows, and is left alone by the shard.
func (k *keeper) sweep(t *directory.Table) {
	for g := range k.n.groups.Load().shards {
		if !g.log.Leading() {
			continue
		}
		for e := range g.shard.Load().Events {
			at := t.Event(e.ID())
			var then wire.Kind
			switch {
			case at == nil || at.To != 0:
				continue
			case at.Shard != g.id:
				then = wire.KindDrop
			case e.Frozen():
				then = wire.KindThaw
			default:
				continue
			}
			ctx, cancel := context.WithTimeout(k.ctx, mendPatience)
			err := k.n.steps(ctx, g, e.ID(), at.Number, then)
			cancel()
			if err != nil {
				k.n.log.Warn("cleaning up after a move failed, will be tried again", "event", at.Key, "error", err)
			}
		}
	}
}
