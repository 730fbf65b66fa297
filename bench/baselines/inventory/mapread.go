package inventory

import (
	"context"
	"fmt"
)

// mapShow is everybody reading the whole map of one event, half of it taken at
// random.
type mapShow struct {
	closed
	inv    Inventory
	o      Options
	ledger *Ledger
}

func newMapShow(ctx context.Context, inv Inventory, o Options) (show, error) {
	if err := inv.Create(ctx, 1, o.Seats); err != nil {
		return nil, err
	}
	m := &mapShow{inv: inv, o: o, ledger: NewLedger(1, o.Seats)}
	seats := newRand(o, -1).Perm(o.Seats)
	return m, fill(ctx, inv, m.ledger, newNumbers(0), seats[:o.Seats/2])
}

func (m *mapShow) script(int) script { return &mapScript{show: m} }

func (m *mapShow) ledgers() []*Ledger { return []*Ledger{m.ledger} }

// mapsDecoded is how many maps a connection decodes and compares seat by seat:
// the first ones. Of the others it looks at the size.
const mapsDecoded = 16

type mapScript struct {
	show *mapShow
	read int
	size int // bytes of a map
}

func (m *mapScript) next(_ int, r *Request) error {
	r.Op, r.Event = Map, 1
	return nil
}

func (m *mapScript) done(_ int, _ *Request, a *Answer) (int, error) {
	if a.Status != OK {
		return 0, fmt.Errorf("map answered %v", a.Status)
	}
	if m.read++; m.read > mapsDecoded {
		if len(a.Map) != m.size {
			return 0, fmt.Errorf("a map of %d bytes, others had %d", len(a.Map), m.size)
		}
		return 1, nil
	}
	m.size = len(a.Map)
	states, err := m.show.inv.States(a.Map, m.show.o.Seats)
	if err != nil {
		return 0, fmt.Errorf("map: %w", err)
	}
	return 1, m.show.ledger.Compare(states)
}

func (m *mapScript) receipts() []Receipt { return nil }
