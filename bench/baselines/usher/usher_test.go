package usher

import (
	"testing"

	"github.com/usher-seats/usher/bench/baselines/conformance"
	"github.com/usher-seats/usher/bench/baselines/inventory"
)

func start(t *testing.T, nodes int) inventory.Inventory {
	t.Helper()
	const program = "../../../bin/usher"
	if err := Usable(program); err != nil {
		t.Skip(err)
	}
	u, err := Start(t.Context(), Config{Program: program, Data: t.TempDir(), Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestOneNode(t *testing.T) {
	u := start(t, 1)
	defer u.Close()
	conformance.Test(t, u)
}

func TestThreeNodes(t *testing.T) {
	u := start(t, 3)
	defer u.Close()
	conformance.Test(t, u)
}

func TestWorkloads(t *testing.T) {
	conformance.Workloads(t, inventory.Load{Conns: 4, Depth: 8}, func(t *testing.T) inventory.Inventory { return start(t, 1) }, inventory.Workloads()...)
}
