package shard

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// TestReadersWhileEventsMove: an event is frozen and thawed, leaves and comes back,
// while readers look at a seat that is booked all the time and ask for the map.
// Whoever is answered is told so, and of a time that the event has had.
func TestReadersWhileEventsMove(t *testing.T) {
	d := newDriver(Config{})
	d.create(t, 1, crowdManifest(1))
	do := func(kind wire.Kind, body interface{ Append([]byte) []byte }) (answer []byte) {
		d.ops = nil
		d.add(kind, body.Append(nil))
		d.apply(d.ops, func(_ int, s wire.Status, body []byte) {
			if s != wire.StatusOK {
				t.Fatalf("kind %d: %v %s", kind, s, body)
			}
			answer = append(answer, body...)
		})
		return answer
	}
	h := wire.Hold{Mutation: wire.Mutation{Event: 1, ID: d.id()}, Seats: wire.MakeSeatList(0)}
	do(wire.KindHold, &h)
	do(wire.KindConfirm, &wire.OnHold{Mutation: h.Mutation, Fence: wire.MakeVersion(firstEpoch, 1)})

	var stop atomic.Bool
	var shardTime atomic.Int64
	shardTime.Store(int64(d.now))
	begun := d.now
	var readers sync.WaitGroup
	var looks, maps atomic.Int64
	h.ID = d.id()
	look := wire.Record{Kind: wire.KindHold, Body: h.Append(nil)}
	query := wire.Record{Kind: wire.KindMap, Body: (&wire.EventRef{Event: 1}).Append(nil)}
	readers.Go(func() {
		for !stop.Load() {
			now := wire.Millis(shardTime.Load())
			status, body, decided := d.s.Look(look, now, nil)
			var lost wire.SeatsLost
			if !decided {
				continue
			}
			if err := lost.Decode(body); err != nil || status != wire.StatusTaken || lost.Now > now {
				t.Errorf("look answers %v %+v %v at %d", status, lost, err, now)
				return
			}
			looks.Add(1)
		}
	})
	readers.Go(func() {
		for !stop.Load() {
			status, body := d.s.Query(query, wire.Millis(shardTime.Load()), nil)
			var m wire.SeatMap
			if status == wire.StatusUnknownEvent {
				continue
			}
			if err := m.Decode(body); err != nil || status != wire.StatusOK || m.State(0) != wire.SeatBooked || m.Version.Counter() != 2 {
				t.Errorf("map answers %v %v %v", status, m.Version, err)
				return
			}
			maps.Add(1)
		}
	})
	defer readers.Wait()
	defer stop.Store(true)
	m := wire.Mutation{Event: 1}
	number, lived := uint64(0), wire.Millis(0)
	for round := int64(1); round < 300 || looks.Load() < 5_000 || maps.Load() < 500; round++ {
		for looks.Load() < 10*round && !t.Failed() {
			runtime.Gosched() // so that the event is there for a while
		}
		if t.Failed() {
			return
		}
		d.now, lived = d.now+3, lived+3
		shardTime.Store(int64(d.now))
		number++
		var f wire.Frozen
		if err := f.Decode(do(wire.KindFreeze, &wire.Freeze{Mutation: m, Number: number})); err != nil || f.Now != begun+lived {
			t.Fatalf("frozen %+v after %d ms, %v", f, lived, err)
		}
		d.now += 2
		shardTime.Store(int64(d.now))
		if lived%2 == 0 {
			do(wire.KindThaw, &wire.Numbered{Mutation: m, Number: number})
			continue
		}
		image, _ := d.s.AppendImage(nil, 1)
		do(wire.KindDrop, &wire.Numbered{Mutation: m, Number: number})
		number++
		do(wire.KindImport, &wire.Import{Mutation: m, Number: number, Total: uint32(len(image)), Chunk: image})
		do(wire.KindAdopt, &wire.Adopt{Mutation: m, Number: number, Hash: f.Hash, Now: f.Now, Epoch: f.Epoch + 1})
	}
}
