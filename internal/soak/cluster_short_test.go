package soak

import (
	"testing"
	"time"
)

// Each of these has a long twin in cluster_long_test.go.

func TestClusterKill(t *testing.T) { testClusterKills(t, 2) }

func TestClusterOutage(t *testing.T) { testClusterOutage(t, 1) }

func TestClusterRolling(t *testing.T) { testClusterRolling(t, 4) }

func TestRoom(t *testing.T) {
	testRoom(t, roomPlan{
		visitors: 600, noShows: 0.3, limit: 60, rate: 200, grace: 4 * time.Second, passTTL: 4 * time.Second,
		stay: 200 * time.Millisecond, kills: 1, every: 3 * time.Second,
	})
}
