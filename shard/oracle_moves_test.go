package shard_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

// TestOracleMoves is TestOracle for an event that is moved between three shards all
// the time, each with a time of its own, while the model goes on as if nothing had
// happened. The image is taken early or late, the entries since then are replayed
// in slices, moves are given up at any point, and steps of all of them come twice,
// late and in any order. Snapshots of all shards go on as in TestOracle.
func TestOracleMoves(t *testing.T) {
	const episode = 10_000 // operations; then everything begins anew
	ops, seed := envInt(t, "USHER_ORACLE_OPS", 30_000), uint64(envInt(t, "USHER_ORACLE_SEED", int(rand.Int32())))
	for done := 0; done < ops; done += episode {
		if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { newTour(t, seed).run(episode) }) {
			t.Fatalf("rerun: USHER_ORACLE_SEED=%d USHER_ORACLE_OPS=1 go test -run TestOracleMoves ./shard", seed)
		}
		seed++
	}
}

// A tour is a trial whose event, the only one, is moved. Where it is, the trial's
// host is.
type tour struct {
	*trial
	hosts   []*host
	move    *move // under way, or nil
	number  uint64
	history []sent
	arrived int
}

// A sent is a step that was sent to a host once.
type sent struct {
	move uint64
	to   *host
	r    wire.Record
}

// A move is as whoever sees to it knows it.
type move struct {
	number, attempt uint64
	to              *host
	image           []byte
	info            shard.ImageInfo
	staged          int    // bytes of image
	after           uint64 // entry of the old shard that was replayed last
	frozen          *wire.Frozen
}

const toured = 1 // the event

func newTour(t *testing.T, seed uint64) *tour {
	tr := &tour{trial: newTrial(t, seed, 1)}
	tr.hosts = []*host{tr.host, newHost(5_000_000), newHost(10)}
	return tr
}

func (tr *tour) run(ops int) {
	for done := 0; done < ops; {
		switch tr.rand.IntN(6) {
		case 0:
			tr.visit(tr.hosts[tr.rand.IntN(len(tr.hosts))], nil)
		case 1, 2:
			if tr.rand.IntN(100) > 0 {
				tr.goOn()
			} else if tr.number > 1 {
				tr.relive(1 + tr.rand.Uint64N(tr.number-1))
			}
		default:
			batch := tr.batch(1 + tr.rand.IntN(12))
			done += len(batch)
			if tr.still {
				tr.refused(batch)
			} else {
				tr.apply(batch)
			}
		}
		for _, h := range tr.hosts {
			tr.snapshots(h)
		}
		if tr.rand.IntN(50) == 0 && !tr.still {
			tr.compareMaps()
		}
	}
	if tr.arrived < 5 {
		tr.t.Errorf("the event arrived only %d times", tr.arrived)
	}
}

// refused sends operations to the event while it is frozen.
func (tr *tour) refused(batch []wire.Record) {
	known := make(map[int]bool)
	for i, r := range batch {
		mu, err := wire.ParseMutation(r.Body)
		known[i] = err == nil && mu.Event == toured
	}
	tr.visit(tr.host, batch, func(i int, s wire.Status, body []byte) {
		if known[i] != (s == wire.StatusMoved) || known[i] && len(body) > 0 {
			tr.t.Fatalf("entry %d: an operation on a frozen event answers %v %s", tr.index, s, body)
		}
	})
}

// visit applies an entry of a host, with some that was sent before among it.
func (tr *tour) visit(h *host, records []wire.Record, out ...func(i int, s wire.Status, body []byte)) {
	passed := tr.pause()
	h.stamp += passed
	if h == tr.host && !tr.still {
		tr.now += passed
		tr.model.advance(tr.now)
	}
	var ops []byte
	for _, r := range records {
		ops = r.Append(ops)
	}
	for range tr.rand.IntN(3) {
		if n := len(tr.history); n > 0 {
			if s := tr.history[tr.rand.IntN(n)]; s.to == h {
				ops = s.r.Append(ops)
			}
		}
	}
	h.index++
	h.log = append(h.log, logged{h.stamp, ops})
	h.shard.Apply(h.index, h.stamp, ops, func(i int, s wire.Status, body []byte) {
		if i < len(records) && len(out) > 0 {
			out[0](i, s, body)
		}
	})
}

// step sends a step of the move and writes it down.
func (tr *tour) step(h *host, kind wire.Kind, body interface{ Append([]byte) []byte }) (status wire.Status, answer []byte) {
	r := wire.Record{Kind: kind, Body: body.Append(nil)}
	tr.history = append(tr.history, sent{tr.move.number, h, r}) // so it may come twice at once
	tr.visit(h, []wire.Record{r}, func(_ int, s wire.Status, body []byte) {
		status, answer = s, append([]byte(nil), body...)
	})
	return status, answer
}

// relive sends all the steps of an earlier move once more: of somebody who slept,
// and does not know that it is over.
func (tr *tour) relive(number uint64) {
	for _, s := range tr.history {
		if s.move == number && (tr.move == nil || tr.move.number != number) {
			tr.visit(s.to, []wire.Record{s.r})
		}
	}
}

// goOn begins a move or takes its next step.
func (tr *tour) goOn() {
	m := tr.move
	mu := wire.Mutation{Event: toured}
	switch {
	case m == nil:
		tr.number++
		tr.move = &move{number: tr.number, to: tr.hosts[tr.rand.IntN(len(tr.hosts))]}
		if tr.move.to == tr.host {
			tr.move = nil
		}
	case tr.rand.IntN(60) == 0:
		tr.giveUp(mu)
	case m.image == nil || tr.rand.IntN(60) == 0:
		tr.takeImage()
	case m.frozen == nil && tr.rand.IntN(12) == 0:
		tr.freeze(mu)
	case m.staged < len(m.image):
		o := wire.Import{Mutation: mu, Number: m.number, Attempt: m.attempt, Offset: uint32(m.staged), Total: uint32(len(m.image))}
		o.Chunk = m.image[m.staged:min(len(m.image), m.staged+1+tr.rand.IntN(len(m.image)))]
		m.staged += len(o.Chunk)
		tr.again(tr.step(m.to, wire.KindImport, &o))
	case m.frozen == nil || m.after < m.frozen.Index:
		tr.replay(mu)
	default:
		tr.adopt(mu)
	}
}

// again takes a new image if the stage is not there any more: it was given up
// because nothing came for a window.
func (tr *tour) again(s wire.Status, body []byte) {
	if s != wire.StatusOK {
		if s != wire.StatusBadRequest {
			tr.t.Fatalf("move %+v is refused: %v %s", tr.move, s, body)
		}
		tr.takeImage()
	}
}

func (tr *tour) giveUp(mu wire.Mutation) {
	if s, body := tr.step(tr.host, wire.KindThaw, &wire.Numbered{Mutation: mu, Number: tr.move.number}); s != wire.StatusOK {
		tr.t.Fatalf("thaw: %v %s", s, body)
	}
	tr.move, tr.still = nil, false
}

func (tr *tour) takeImage() {
	m := tr.move
	var ok bool
	if m.image, ok = tr.shard.AppendImage(nil, toured); !ok {
		tr.t.Fatal("there is no image")
	}
	var err error
	if m.info, err = shard.CheckImage(m.image); err != nil {
		tr.t.Fatal(err)
	}
	if m.info.Now != tr.now || m.info.Index != tr.index || m.info.Stamp != tr.stamp {
		tr.t.Fatalf("entry %d at %d: the image is %+v", tr.index, tr.now, m.info)
	}
	m.attempt++
	m.staged, m.after = 0, tr.index
}

func (tr *tour) freeze(mu wire.Mutation) {
	s, body := tr.step(tr.host, wire.KindFreeze, &wire.Freeze{Mutation: mu, Number: tr.move.number})
	var f wire.Frozen
	if err := f.Decode(body); s != wire.StatusOK || err != nil {
		tr.t.Fatalf("freeze: %v %s %v", s, body, err)
	}
	if f.Now != tr.now {
		tr.t.Fatalf("the event stands at %d, want %d", f.Now, tr.now)
	}
	tr.move.frozen, tr.still = &f, true
}

// replay replays a slice of the old shard's log, of which now and then a part has
// been replayed before.
func (tr *tour) replay(mu wire.Mutation) {
	m := tr.move
	o := wire.Replay{Mutation: mu, Number: m.number, Attempt: m.attempt, After: m.after - min(m.after, uint64(tr.rand.IntN(20)/18))}
	last := tr.index
	if m.frozen != nil {
		last = max(m.frozen.Index, m.after)
	}
	last = min(last, m.after+uint64(1+tr.rand.IntN(20)))
	for i := o.After; i < last; i++ {
		o.Entries = wire.AppendReplayed(o.Entries, i+1, tr.log[i].stamp, recordsOf(toured, tr.log[i].ops))
	}
	m.after = last
	tr.again(tr.step(m.to, wire.KindReplay, &o))
}

func recordsOf(id wire.EventID, ops []byte) (b []byte) {
	for len(ops) > 0 {
		r, rest, err := wire.NextRecord(ops)
		if err != nil {
			break
		}
		if of, ok := shard.EventOf(r); ok && of == id {
			b = r.Append(b)
		}
		ops = rest
	}
	return b
}

// adopt lets the event arrive, and sends those there who have something to ask.
func (tr *tour) adopt(mu wire.Mutation) {
	m := tr.move
	s, body := tr.step(m.to, wire.KindAdopt, &wire.Adopt{
		Mutation: mu, Number: m.number, Attempt: m.attempt, Hash: m.frozen.Hash, Now: m.frozen.Now, Epoch: m.frozen.Epoch + 1,
	})
	if s != wire.StatusOK {
		tr.again(s, body)
		return
	}
	from := tr.host
	tr.host, tr.still = m.to, false
	tr.arrived++
	if tr.rand.IntN(3) > 0 {
		if s, body := tr.step(from, wire.KindDrop, &wire.Numbered{Mutation: mu, Number: m.number}); s != wire.StatusOK {
			tr.t.Fatalf("drop: %v %s", s, body)
		}
	}
	tr.move = nil
}
