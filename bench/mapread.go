package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// mapShow is everybody reading the whole map of one event, half of it taken at
// random.
type mapShow struct {
	stage *stage
	event *client.Event
	free  int
}

func newMapShow(s *stage) (show, error) {
	ev, err := s.event(0)
	if err != nil {
		return nil, err
	}
	ids := shuffled(newRand(s.o, -1), s.o.Seats)
	half := len(ids) / 2
	if err := s.fill(ev, ids[:half]); err != nil {
		return nil, err
	}
	return &mapShow{stage: s, event: ev, free: len(ids) - half}, nil
}

func (m *mapShow) script(int) script { return &mapScript{m} }

func (m *mapShow) audit(ctx context.Context) error {
	info, err := m.event.Info(ctx)
	if err != nil {
		return err
	}
	if int(info.Total.Free) != m.free {
		return fmt.Errorf("%d seats are free, want %d", info.Total.Free, m.free)
	}
	return nil
}

type mapScript struct{ show *mapShow }

func (m *mapScript) next(_ int, _ time.Time, b []byte) (wire.Kind, []byte) {
	ref := wire.EventRef{Event: m.show.event.ID()}
	return wire.KindMap, ref.Append(b)
}

func (m *mapScript) done(_ int, h wire.Header, body []byte) (int, error) {
	if h.Status != wire.StatusOK {
		return 0, fmt.Errorf("map answered %v", h.Status)
	}
	var sm wire.SeatMap
	if err := sm.Decode(body); err != nil {
		return 0, fmt.Errorf("map: %w", err)
	}
	if want := m.show.stage.o.Seats / rowSeats * 16; len(sm.Planes) != want {
		return 0, fmt.Errorf("map of %d bytes, want %d", len(sm.Planes), want)
	}
	return 1, nil
}
