package shard

import "github.com/usher-seats/usher/wire"

// staleBy notes that something is to be given up at a shard time.
func (s *Shard) staleBy(at wire.Millis) { s.staleDue = min(s.staleDue, at) }

// sweep gives up creations and stages that nobody went on with, forgets who had a
// berth and who departed, and finds out when that is due again. Whether it is due
// is decided for each id alone, so it does not matter how often one looks.
func (s *Shard) sweep() {
	s.staleDue = wire.Never
	window := s.config.Window
	for id, c := range s.creations {
		if s.stale(c.touched + window) {
			delete(s.creations, id)
			s.vanished(id)
		}
	}
	for id, st := range s.stages {
		if s.stale(st.touched + window) {
			s.dropStage(id)
		}
	}
	for id, d := range s.departures {
		if s.stale(d.at + s.departureTime()) {
			delete(s.departures, id)
			s.vanished(id)
		}
	}
	s.dropBerths()
}

// stale reports whether what is due at a time is to go now; if not, it is noted
// for then. What was loaded from later than the latest entry is due later still.
func (s *Shard) stale(due wire.Millis) bool {
	if due <= s.stamp {
		return true
	}
	s.staleBy(due)
	return false
}
