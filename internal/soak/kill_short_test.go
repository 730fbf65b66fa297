package soak

import "testing"

func TestKill(t *testing.T) { testKills(t, 2) }
