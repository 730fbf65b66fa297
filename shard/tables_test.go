package shard

import (
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// TestBuyersMatchMap adds and takes off seats at random, of buyers whose homes
// clash, and compares with a map.
func TestBuyersMatchMap(t *testing.T) {
	rnd := newRandom(t)
	b := buyers{on: true}
	want := map[wire.BuyerID]int{}
	for range 100_000 {
		id := wire.BuyerID(rnd.IntN(60) << 58 >> rnd.IntN(2))
		switch n := 1 + rnd.IntN(3); {
		case id == 0:
			b.add(id, n)
			b.sub(id, n)
		case rnd.IntN(2) == 0:
			b.add(id, n)
			want[id] += n
		case want[id] > 0:
			n = min(n, want[id])
			b.sub(id, n)
			if want[id] -= n; want[id] == 0 {
				delete(want, id)
			}
		}
		if got := b.seats(id); got != want[id] {
			t.Fatalf("buyer %#x has %d seats, want %d", id, got, want[id])
		}
		if b.used != len(want) {
			t.Fatalf("%d buyers have seats, want %d", b.used, len(want))
		}
	}
	for id, n := range want {
		if b.seats(id) != n {
			t.Errorf("buyer %#x has %d seats, want %d", id, b.seats(id), n)
		}
	}
}

// TestEventTableWhileReadersLook creates and deletes events while readers look for
// some that are there all the time, and for all there are.
func TestEventTableWhileReadersLook(t *testing.T) {
	d := newDriver(Config{})
	const steady = 5
	for id := range wire.EventID(steady) {
		d.create(t, id+1, crowdManifest(id))
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				for id := range wire.EventID(steady) {
					if e := d.s.Event(id + 1); e == nil || e.ID() != id+1 || !e.Live() {
						t.Errorf("event %d was not found", id+1)
						return
					}
				}
				seen := 0
				d.s.Events(func(e *Event) bool {
					if e.ID() <= steady {
						seen++
					}
					return true
				})
				if seen != steady {
					t.Errorf("%d events were seen, want %d", seen, steady)
					return
				}
			}
		})
	}
	there := map[wire.EventID]bool{}
	rnd := newRandom(t)
	for id := wire.EventID(steady + 1); id < 400; id++ {
		d.create(t, id, crowdManifest(id))
		there[id] = true
		for len(there) > 3+rnd.IntN(60) {
			for gone := range there {
				d.ops = wire.Record{Kind: wire.KindDelete, Body: (&wire.EventOp{Mutation: wire.Mutation{Event: gone, ID: d.id()}}).Append(nil)}.Append(nil)
				d.apply(d.ops, nil)
				delete(there, gone)
				break
			}
		}
	}
	stop.Store(true)
	readers.Wait()
	left := map[wire.EventID]bool{}
	d.s.Events(func(e *Event) bool {
		if e.ID() > steady {
			left[e.ID()] = true
		}
		return true
	})
	if !maps.Equal(left, there) {
		t.Errorf("events %v are left, want %v", left, there)
	}
	if n := len(d.s.events.Load().slots); n > 512 {
		t.Errorf("a table of %d slots for %d events", n, len(there)+steady)
	}
	d.s.Events(func(*Event) bool { return false })
}

// TestConfigBounds: bounds that make no sense are a mistake of the program.
func TestConfigBounds(t *testing.T) {
	for _, c := range []Config{{Remembered: -1}, {Window: -1}, {Changes: -1}, {Changes: 1 << 30}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was taken", c)
				}
			}()
			New(c)
		}()
	}
	for _, most := range []int{1, 5000, 1 << 16, 1 << 24} {
		for _, seats := range []int{1, 4, 50_000, 200_000} {
			if n := ringLimit(seats, most); n&(n-1) != 0 || n < wire.MaxOpSeats {
				t.Errorf("a ring of %d changes for %d seats and at most %d", n, seats, most)
			}
		}
	}
}

// TestLoadPartRefuses names what does not fit together.
func TestLoadPartRefuses(t *testing.T) {
	d := newDriver(Config{})
	d.create(t, 1, crowdManifest(1))
	d.create(t, 2, crowdManifest(2))
	state, _ := d.s.EncodePart(nil, statePart(1)) // with its manifest
	manifest, _ := d.s.EncodePart(nil, manifestPart(1))
	bare, _ := d.s.EncodePart(nil, statePart(1))
	other, _ := d.s.EncodePart(nil, manifestPart(2))
	type part struct {
		id   uint64
		data []byte
	}
	for _, c := range []struct {
		name  string
		parts []part
		want  bool
	}{
		{"state with manifest", []part{{statePart(1), state}}, true},
		{"both", []part{{manifestPart(1), manifest}, {statePart(1), bare}}, true},
		{"both the other way round", []part{{statePart(1), bare}, {manifestPart(1), manifest}}, true},
		{"manifest twice, the same", []part{{statePart(1), state}, {manifestPart(1), manifest}}, true},
		{"manifest only", []part{{manifestPart(1), manifest}}, false},
		{"state only", []part{{statePart(1), bare}}, false},
		{"state twice", []part{{statePart(1), state}, {statePart(1), state}}, false},
		{"manifest of another event", []part{{statePart(1), state}, {manifestPart(1), other}}, false},
		{"manifest of another event first", []part{{manifestPart(1), other}, {statePart(1), state}}, false},
		{"no event", []part{{manifestPart(0), manifest}}, false},
		{"nothing", []part{{manifestPart(1), nil}}, false},
		{"another format", []part{{manifestPart(1), []byte{9, 9}}}, false},
		{"another form", []part{{statePart(1), append([]byte{partFormat, 9}, make([]byte, 16)...)}}, false},
	} {
		s := New(Config{})
		var err error
		for _, p := range c.parts {
			if err == nil {
				err = s.LoadPart(p.id, p.data)
			}
		}
		if err == nil {
			err = s.Start(d.index, d.now)
		}
		if (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil && s.Event(1).Digest() != d.s.Event(1).Digest() {
			t.Errorf("%s: another event", c.name)
		}
	}
	if d.s.Start(0, 0) != nil || d.s.LoadPart(manifestPart(3), other) == nil {
		t.Error("a part was loaded into a shard that had been started")
	}
}
