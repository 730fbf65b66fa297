//go:build soak

package soak

import "testing"

func TestSoakKill(t *testing.T) { testKills(t, scaled(t, 60)) }

// With a snapshot after every megabyte of log, nearly every kill falls into one.
func TestSoakKillInSnapshot(t *testing.T) {
	testKills(t, scaled(t, 40), "--snapshot-log-bytes", "1048576")
}
