package postgres

import (
	"testing"
	"time"

	"github.com/usher-seats/usher/bench/baselines/conformance"
	"github.com/usher-seats/usher/bench/baselines/inventory"
)

// template makes the template that a test's servers begin with.
func template(t *testing.T) *Template {
	t.Helper()
	bin, err := Programs()
	if err != nil {
		t.Skip(err)
	}
	m, err := MakeTemplate(t.Context(), bin, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Remove)
	return m
}

func start(t *testing.T, m *Template, v Variant) inventory.Inventory {
	t.Helper()
	p, err := Start(t.Context(), Config{Template: m, Variant: v, SweepEvery: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// variants by the names that their tests have.
var variants = map[string]Variant{
	"for update": ForUpdate, "swept": Swept, "implicit": Implicit, "function": Function, "batched": Batched,
}

func TestPromises(t *testing.T) {
	m := template(t)
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && v != ForUpdate && v != Batched {
				t.Skip("of five variants short tests take the simplest and the most intricate")
			}
			p := start(t, m, v)
			defer p.Close()
			conformance.Test(t, p)
		})
	}
}

func TestWorkloads(t *testing.T) {
	m := template(t)
	conformance.Workloads(t, inventory.Load{Conns: 4, Depth: 8}, func(t *testing.T) inventory.Inventory { return start(t, m, Batched) }, "cycle")
}
