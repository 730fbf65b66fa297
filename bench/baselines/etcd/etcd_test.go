package etcd

import (
	"testing"

	"github.com/usher-seats/usher/bench/baselines/conformance"
	"github.com/usher-seats/usher/bench/baselines/inventory"
)

func start(t *testing.T, nodes int) inventory.Inventory {
	t.Helper()
	program, err := Program("../bin/etcd")
	if err != nil {
		t.Skip(err)
	}
	e, err := Start(t.Context(), Config{Program: program, Data: t.TempDir(), Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestOneNode(t *testing.T) {
	e := start(t, 1)
	defer e.Close()
	conformance.Test(t, e)
}

func TestThreeNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("three nodes take long to start")
	}
	e := start(t, 3)
	defer e.Close()
	conformance.Test(t, e)
}

func TestWorkloads(t *testing.T) {
	conformance.Workloads(t, inventory.Load{Conns: 2, Depth: 16}, func(t *testing.T) inventory.Inventory { return start(t, 1) }, "cycle", "best")
}
