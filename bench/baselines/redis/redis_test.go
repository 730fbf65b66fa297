package redis

import (
	"testing"

	"github.com/usher-seats/usher/bench/baselines/conformance"
	"github.com/usher-seats/usher/bench/baselines/inventory"
)

func start(t *testing.T, d Design, durability Durability) inventory.Inventory {
	t.Helper()
	program, err := Program()
	if err != nil {
		t.Skip(err)
	}
	r, err := Start(t.Context(), Config{Program: program, Data: t.TempDir(), Design: d, Durability: durability})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBitmaps(t *testing.T) {
	r := start(t, Bitmaps, Memory)
	defer r.Close()
	conformance.Test(t, r)
}

func TestKeys(t *testing.T) {
	r := start(t, Keys, Always)
	defer r.Close()
	conformance.Test(t, r)
}

func TestWorkloads(t *testing.T) {
	for name, d := range map[string]Design{"bitmaps": Bitmaps, "keys": Keys} {
		t.Run(name, func(t *testing.T) {
			conformance.Workloads(t, inventory.Load{Conns: 4, Depth: 8}, func(t *testing.T) inventory.Inventory { return start(t, d, Memory) }, inventory.Workloads()...)
		})
	}
}
