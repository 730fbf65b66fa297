package scenario

import (
	"fmt"
	"math"
	"time"
)

const (
	// MaxUsers bounds the users of a scenario: their numbers are 32 bits, and a
	// user costs some forty bytes.
	MaxUsers = 100_000_000
	// MaxEvents bounds the events of a scenario.
	MaxEvents = 10_000
	// MaxSeats bounds the seats of all events together: the audit keeps each.
	MaxSeats = 5_000_000
	// MaxRun bounds the wall time of a run: the schedule has a bucket for each of
	// its milliseconds, and times are 32 bits of microseconds.
	MaxRun = time.Hour
	// MaxParty bounds a party.
	MaxParty = 10
	// MaxStreams bounds the connections that watch the queue.
	MaxStreams = 10_000

	maxRow         = 64 // seats of a row: a word of a bench event
	maxCompression = 100_000
	maxTries       = 100
)

// Check reports the first field that is out of range, by its name in the file.
func (s *Scenario) Check() error {
	for _, f := range []func() error{s.checkSize, s.checkTimes, s.checkShares, s.checkRoom} {
		if err := f(); err != nil {
			return err
		}
	}
	return s.Arrivals.check()
}

func (s *Scenario) checkSize() error {
	e := s.Events
	switch {
	case s.Name == "":
		return fmt.Errorf("name is empty")
	case s.Users < 1 || s.Users > MaxUsers:
		return fmt.Errorf("users is %d; want 1 to %d", s.Users, MaxUsers)
	case !(s.Compression >= 1 && s.Compression <= maxCompression):
		return fmt.Errorf("compression is %v; want 1 (real time) to %d", s.Compression, maxCompression)
	case e.Count < 1 || e.Count > MaxEvents:
		return fmt.Errorf("events.count is %d; want 1 to %d", e.Count, MaxEvents)
	case e.Row < 1 || e.Row > maxRow:
		return fmt.Errorf("events.row is %d; want 1 to %d", e.Row, maxRow)
	case e.Seats < 1 || e.Seats > MaxSeats/e.Count || e.Seats%e.Row != 0:
		return fmt.Errorf("events.seats is %d; want whole rows of %d, and at most %d in all events", e.Seats, e.Row, MaxSeats)
	case !(e.Skew >= 0 && e.Skew <= 4):
		return fmt.Errorf("events.skew is %v; want 0 to 4", e.Skew)
	case s.Wall(s.Span()) > MaxRun:
		return fmt.Errorf("compression is %v, by which the run takes %v; want at most %v", s.Compression, s.Wall(s.Span()).Round(time.Second), MaxRun)
	}
	return nil
}

func (s *Scenario) checkTimes() error {
	for _, t := range []struct {
		name  string
		value time.Duration
	}{
		{"arrivals.before", s.Arrivals.Before},
		{"arrivals.after", s.Arrivals.After},
		{"arrivals.close", s.Arrivals.Close},
		{"arrivals.half_life", s.Arrivals.HalfLife},
		{"crowd.ask_within", s.Crowd.AskWithin},
		{"crowd.poll_every", s.Crowd.PollEvery},
		{"crowd.patience", s.Crowd.Patience},
		{"crowd.reaction", s.Crowd.Reaction},
		{"visit.think", s.Visit.Think},
		{"visit.again", s.Visit.Again},
		{"visit.hold_ttl", s.Visit.HoldTTL},
		{"visit.pay_cap", s.Visit.PayCap},
		{"visit.pay", s.Visit.Pay},
		{"visit.look", s.Visit.Look},
	} {
		if t.value <= 0 || t.value > 7*24*time.Hour {
			return fmt.Errorf("%s is %v; want more than nothing and at most a week, such as \"90s\"", t.name, t.value)
		}
	}
	if s.Arrivals.Close < s.Arrivals.After {
		return fmt.Errorf("arrivals.close is %v, before the last arrival at %v", s.Arrivals.Close, s.Arrivals.After)
	}
	return nil
}

func (s *Scenario) checkShares() error {
	for _, f := range []struct {
		name  string
		value float64
	}{
		{"arrivals.early", s.Arrivals.Early},
		{"crowd.look_first", s.Crowd.LookFirst},
		{"crowd.goodbye", s.Crowd.Goodbye},
		{"crowd.no_show", s.Crowd.NoShow},
		{"visit.best", s.Visit.Best},
		{"visit.abandon", s.Visit.Abandon},
		{"visit.release", s.Visit.Release},
		{"visit.late", s.Visit.Late},
		{"visit.abandon + release + late", s.Visit.Abandon + s.Visit.Release + s.Visit.Late},
		{"visit.return", s.Visit.Return},
		{"carriers.http", s.Carriers.HTTP},
		{"carriers.sse", s.Carriers.SSE},
		{"carriers.websocket", s.Carriers.WebSocket},
		{"carriers.sse + websocket", s.Carriers.SSE + s.Carriers.WebSocket},
	} {
		if !(f.value >= 0 && f.value <= 1) {
			return fmt.Errorf("%s is %v; want a share from 0 to 1", f.name, f.value)
		}
	}
	v := s.Visit
	switch {
	case !(v.GoodRows >= 1 && v.GoodRows <= 20):
		return fmt.Errorf("visit.good_rows is %v; want 1 (all rows alike) to 20", v.GoodRows)
	case v.Tries < 1 || v.Tries > maxTries:
		return fmt.Errorf("visit.tries is %d; want 1 to %d", v.Tries, maxTries)
	case v.Looks < 0 || v.Looks > maxTries:
		return fmt.Errorf("visit.looks is %d; want 0 to %d", v.Looks, maxTries)
	case s.Carriers.Streams < 0 || s.Carriers.Streams > MaxStreams:
		return fmt.Errorf("carriers.streams is %d; want 0 to %d", s.Carriers.Streams, MaxStreams)
	case s.MaxParty() == 0 || len(v.Party) > MaxParty || s.MaxParty() > s.Events.Row:
		return fmt.Errorf("visit.party has %d weights; want 1 to %d, one of them above 0, and no party longer than a row", len(v.Party), MaxParty)
	}
	for _, w := range v.Party {
		if !(w >= 0) || math.IsInf(w, 0) {
			return fmt.Errorf("visit.party has the weight %v; want 0 or more", w)
		}
	}
	return nil
}

func (s *Scenario) checkRoom() error {
	r := s.Room
	if !r.Enabled {
		return nil
	}
	switch {
	case r.Limit < 1 || r.Limit > 1_000_000:
		return fmt.Errorf("room.limit is %d; want 1 to 1,000,000", r.Limit)
	case !(r.PerMinute > 0 && r.PerMinute <= 10_000_000):
		return fmt.Errorf("room.per_minute is %v; want more than 0 and at most 10,000,000", r.PerMinute)
	case r.Grace <= 0 || r.PassTTL <= 0:
		return fmt.Errorf("room.grace is %v and room.pass_ttl %v; want more than nothing, such as \"10m\"", r.Grace, r.PassTTL)
	case r.SeatsPerPass < 0 || r.SeatsPerPass > 64:
		return fmt.Errorf("room.seats_per_pass is %d; want 0 to 64", r.SeatsPerPass)
	}
	return nil
}
