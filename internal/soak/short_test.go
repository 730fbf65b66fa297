package soak

import (
	"testing"
	"time"

	"github.com/usher-seats/usher/internal/proc"
)

func TestMain(m *testing.M) { proc.Main(m) }

// Each of these has a long twin, which says what it proves.

func TestKill(t *testing.T) { testKills(t, 2) }

func TestExpiry(t *testing.T) {
	testExpiry(t, expiryPlan{events: 4, seats: 2_500, holds: 2_000, after: 2 * time.Second, spread: 2 * time.Second})
}

func TestPause(t *testing.T) {
	testPauses(t, pausePlan{
		rounds: 2, ballast: 10_000, timed: 500, min: 500 * time.Millisecond, max: time.Second, snapBytes: "65536",
	})
}

func TestRestart(t *testing.T) {
	testRestart(t, restartPlan{events: 40, holds: 50, pump: 1 << 20})
}

func TestDisk(t *testing.T) {
	testDisk(t, diskPlan{
		bytes: 24 << 20, slots: 64, args: []string{"--snapshot-log-bytes", "1048576"}, every: 200 * time.Millisecond,
	})
}
