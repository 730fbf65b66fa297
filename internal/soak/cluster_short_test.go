package soak

import "testing"

// Each of these has a long twin in cluster_long_test.go.

func TestClusterKill(t *testing.T) { testClusterKills(t, 2) }

func TestClusterOutage(t *testing.T) { testClusterOutage(t, 1) }

func TestClusterRolling(t *testing.T) { testClusterRolling(t, 4) }
