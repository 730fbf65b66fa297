package client

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// Whatever the delays, what the clock says is on the safe side: at is never ahead
// of the shard and before never after it. When the shard's time has stood still,
// one answer puts it right.
func TestClockStaysOnTheSafeSide(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	base := time.Now()
	var shard time.Duration // shard time minus time since base
	now := func(at time.Duration) wire.Millis { return wire.Millis((at + shard) / time.Millisecond) }
	for range 1000 {
		c := clock{base: base}
		shard = time.Duration(r.Int64N(int64(1000 * time.Hour)))
		at := time.Duration(0)
		for range 50 {
			if r.IntN(10) == 0 { // no leader for a while
				shard -= time.Second + time.Duration(r.Int64N(int64(time.Minute)))
			}
			sent := at + time.Duration(r.Int64N(int64(10*time.Second)))
			read := sent + time.Duration(r.Int64N(int64(400*time.Millisecond)))
			got := read + time.Duration(r.Int64N(int64(400*time.Millisecond)))
			c.learn(now(read), base.Add(sent), base.Add(got))
			at = got
			if said, is := c.at(base.Add(at)), now(at); said > is {
				t.Fatalf("seed %d: the clock says %d, the shard is at %d", seed, said, is)
			}
			due := now(at) + wire.Millis(r.IntN(100_000))
			if early := c.before(due).Sub(base); now(early) >= due {
				t.Fatalf("seed %d: shard time is not before %d at %v but %d", seed, due, early, now(early))
			}
			if said, is := c.at(base.Add(at)), now(at); is-said > 801 {
				t.Fatalf("seed %d: the clock says %d, the shard is at %d: more than a round trip behind", seed, said, is)
			}
		}
	}
}

// A slow answer does not make the client forget what a fast one told.
func TestClockKeepsItsBestBounds(t *testing.T) {
	base := time.Now()
	c := clock{base: base}
	c.learn(5000, base, base.Add(time.Millisecond))
	low, high := c.low, c.high
	c.learn(6000, base.Add(500*time.Millisecond), base.Add(2*time.Second))
	if c.low != low || c.high != high {
		t.Errorf("bounds were %v and %v, are %v and %v", low, high, c.low, c.high)
	}
}

// The time of a hold counts from the first attempt that may have made it, and
// from a later one if the earlier ones certainly did not.
func TestExpiryCountsFromTheAttempt(t *testing.T) {
	at := time.Now().Add(-time.Hour)
	q := request{mutate: func(b []byte, _ wire.Mutation) []byte { return b }, event: new(Event), id: wire.KeyID("x")}
	q.event.clock = clock{base: at, known: true} // which allows any time
	var began [4]time.Time
	for i := range began {
		q.prepare(nil, new(call), at)
		began[i] = q.began
		if i == 1 {
			q.mayBeApplied()
		}
		for !time.Now().After(q.sent) {
		}
	}
	if !began[1].After(began[0]) || began[2] != began[1] || began[3] != began[1] {
		t.Errorf("of four attempts, of which the second may have been applied, the time counts from %v", began)
	}
}

// Ids are made of the time they are given and never the same.
func TestIDs(t *testing.T) {
	s := newIDSource()
	seen := make(map[wire.ID]bool)
	for i := range 10_000 {
		id := s.timed(wire.Millis(i))
		if at, timed := id.Time(); !timed || at != wire.Millis(i) || !id.Valid() {
			t.Fatalf("id %v made at %d has time %d", id, i, at)
		}
		un := s.untimed()
		if _, timed := un.Time(); timed || !un.Valid() {
			t.Fatalf("id %v has a time", un)
		}
		seen[id], seen[un] = true, true
	}
	if len(seen) != 20_000 {
		t.Errorf("%d of 20000 ids are different", len(seen))
	}
}
