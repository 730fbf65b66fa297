//go:build soak

package soak

import (
	"testing"
	"time"
)

func TestSoakKill(t *testing.T) { testKills(t, scaled(t, 60)) }

// With a snapshot after every megabyte of log, nearly every kill falls into one.
func TestSoakKillInSnapshot(t *testing.T) {
	testKills(t, scaled(t, 40), "--snapshot-log-bytes", "1048576")
}

// A million holds live at once, and then all end within a minute.
func TestSoakExpiry(t *testing.T) {
	testExpiry(t, expiryPlan{
		events: 8, seats: 200_000, holds: scaled(t, 125_000),
		after: 45 * time.Second, spread: 60 * time.Second, prompt: true,
	})
}

// All holds of an event end within 100 ms, seven times as many as one entry ends.
func TestSoakExpiryBurst(t *testing.T) {
	testExpiry(t, expiryPlan{
		events: 4, seats: 200_000, holds: scaled(t, 60_000),
		after: 20 * time.Second, spread: 100 * time.Millisecond,
	})
}

// The longest pauses are longer than a disk may take for a write.
func TestSoakPause(t *testing.T) {
	testPauses(t, pausePlan{
		rounds: scaled(t, 30), ballast: 100_000, timed: 2_000, min: time.Second, max: 8 * time.Second, snapBytes: "262144",
	})
}

// A million live holds in a thousand events, and up to 48 MiB of log in each
// shard: a snapshot is due after 56 to 72.
func TestSoakRestart(t *testing.T) {
	testRestart(t, restartPlan{events: scaled(t, 1_000), holds: 1_000, pump: 48 << 20, limit: 5 * time.Second})
}

// On disk there may be, for each of the five groups, twice the log up to a
// snapshot and what is kept behind it (64 and 32 MiB), nine WALs of 64 MiB, and
// three times the state. In memory: four events that remember as many answers as
// they may, some 200 bytes each, twice because of the garbage collector, and
// copies of parts while they are written.
func TestSoakDisk(t *testing.T) {
	testDisk(t, diskPlan{
		bytes: int64(scaled(t, 20_000)) * 1_000_000, slots: 256, every: time.Second,
		disk: 2_500_000_000, memory: 3_000_000_000,
	})
}
