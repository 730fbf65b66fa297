//go:build soak

package soak

import (
	"testing"
	"time"
)

// Each of these runs alone with
//
//	go test -tags soak -timeout 1h -count 1 -v -run NAME ./internal/soak
//
// SOAK_SCALE=0.4 makes it a shorter one, SEED=n one that was seen before.

// Fifty kills. The goal is for a machine that does nothing else.
func TestSoakClusterKill(t *testing.T) {
	m := testClusterKills(t, scaled(t, 50))
	if p99 := at(m.back, 99); p99 > takeoverGoal {
		t.Errorf("at p99 it took %v until a shard whose leader was killed answered, want at most %v", p99, takeoverGoal)
	}
}

func TestSoakClusterPause(t *testing.T) { testClusterPauses(t, scaled(t, 20)) }

func TestSoakClusterOutage(t *testing.T) { testClusterOutage(t, 2*scaled(t, 5)) }

func TestSoakClusterMoves(t *testing.T) { testClusterMoves(t) }

func TestSoakClusterRolling(t *testing.T) { testClusterRolling(t, clusterShards) }

// The two below need root and iproute2, for network namespaces; without, they are
// skipped.
func TestSoakClusterCut(t *testing.T) { testClusterCuts(t, scaled(t, 10)) }

func TestSoakClusterFollowerCut(t *testing.T) { testFollowerCut(t) }

func TestSoakClusterSecurity(t *testing.T) { testClusterSecurity(t) }

// A hundred thousand visitors, three in ten of whom never come: at 200 a second and
// with 500 inside it takes nine minutes at least.
func TestSoakRoom(t *testing.T) {
	testRoom(t, roomPlan{
		visitors: scaled(t, 100_000), noShows: 0.3, limit: 500, rate: 200, grace: 4 * time.Second, passTTL: 10 * time.Second,
		stay: 500 * time.Millisecond, kills: scaled(t, 30), every: 15 * time.Second,
	})
}
