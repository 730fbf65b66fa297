package scenario

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// A Scenario is one on-sale. Times are of the on-sale, not of the run. Immutable
// once it is read.
type Scenario struct {
	Name        string  `toml:"name"`
	About       string  `toml:"about"`
	Users       int     `toml:"users"`
	Seed        uint64  `toml:"seed"`        // all decisions of all users follow from it
	Compression float64 `toml:"compression"` // seconds of the on-sale in a second of the run

	Events   Events   `toml:"events"`
	Arrivals Arrivals `toml:"arrivals"`
	Room     Room     `toml:"room"`
	Crowd    Crowd    `toml:"crowd"`
	Visit    Visit    `toml:"visit"`
	Carriers Carriers `toml:"carriers"`
}

// Events are what is sold.
type Events struct {
	Count int `toml:"count"`
	Seats int `toml:"seats"` // of each event, in rows of Row
	Row   int `toml:"row"`   // seats of a row, at most 64
	// Skew is how unequal the events' crowds are: the n-th event is wanted
	// n^-Skew times as much as the first. 0: all alike.
	Skew float64 `toml:"skew"`
}

// Arrivals are when people come. Before opening the rate rises evenly to Ramp
// times its beginning; at opening it jumps to Spike times what it was the moment
// before and falls by half every HalfLife; whoever is left over comes evenly
// until After.
type Arrivals struct {
	Before   time.Duration `toml:"before"`    // from the first arrival to opening
	After    time.Duration `toml:"after"`     // from opening to the last arrival
	Close    time.Duration `toml:"close"`     // from opening to the end, when visits still under way are cut short
	Early    float64       `toml:"early"`     // share of users who come before opening
	Ramp     float64       `toml:"ramp"`      // rate just before opening to the rate at the beginning
	Spike    float64       `toml:"spike"`     // rate just after opening to the rate just before
	HalfLife time.Duration `toml:"half_life"` // in which what the spike adds falls by half
}

// Room is the waiting room of every event.
type Room struct {
	Enabled      bool          `toml:"enabled"`
	Limit        int           `toml:"limit"`          // people inside an event at a time, at most
	PerMinute    float64       `toml:"per_minute"`     // people called to an event in a minute, at most
	Grace        time.Duration `toml:"grace"`          // in which who is called has to come
	PassTTL      time.Duration `toml:"pass_ttl"`       // how long a visit may take
	SeatsPerPass int           `toml:"seats_per_pass"` // 0: as many as the largest party
}

// Crowd is what people do who are not inside.
type Crowd struct {
	LookFirst float64       `toml:"look_first"` // share of users who read the queue's state before they join
	AskWithin time.Duration `toml:"ask_within"` // after opening, or after joining, everybody asks once for the own place
	PollEvery time.Duration `toml:"poll_every"` // mean time between two looks at the queue's state after that
	Patience  time.Duration `toml:"patience"`   // mean time after opening, or joining, in which a person gives up
	Goodbye   float64       `toml:"goodbye"`    // share of those who give up that tell the room; the others are no-shows if called
	NoShow    float64       `toml:"no_show"`    // share of those called in time that do not come
	Reaction  time.Duration `toml:"reaction"`   // mean time from being called to asking for the pass
}

// Visit is what people do inside, or at once if there is no waiting room.
type Visit struct {
	Party    []float64     `toml:"party"`     // weights of parties of 1, 2, 3 …
	Best     float64       `toml:"best"`      // share of tries that ask for the best available; the others pick from the map
	GoodRows float64       `toml:"good_rows"` // how much front rows are wanted: row = rows · u^GoodRows, 1 is evenly
	Think    time.Duration `toml:"think"`     // mean time to look at the map before asking for seats
	Tries    int           `toml:"tries"`     // races a person loses before giving up
	Again    time.Duration `toml:"again"`     // mean time from a lost race to the next try
	HoldTTL  time.Duration `toml:"hold_ttl"`
	PayCap   time.Duration `toml:"pay_cap"` // how long a payment keeps the seats, at most
	Abandon  float64       `toml:"abandon"` // share of holds whose buyers just go away
	Release  float64       `toml:"release"` // share of holds whose buyers give the seats back
	Late     float64       `toml:"late"`    // share of holds whose buyers confirm after the hold's time is over
	Pay      time.Duration `toml:"pay"`     // mean time of a payment
	Return   float64       `toml:"return"`  // share of those who found nothing that come back for returned seats
	Look     time.Duration `toml:"look"`    // mean time between their looks
	Looks    int           `toml:"looks"`   // how often they look, at most
}

// Carriers are how requests travel. What is left over goes through the Go
// client's binary protocol.
type Carriers struct {
	HTTP      float64 `toml:"http"`      // share of users whose requests are HTTP
	SSE       float64 `toml:"sse"`       // share of users who watch the queue through server-sent events
	WebSocket float64 `toml:"websocket"` // and through a WebSocket
	Streams   int     `toml:"streams"`   // such connections at a time, at most; who would be one more polls
}

//go:embed presets/*.toml
var presets embed.FS

// Presets lists the presets' names, each with what it is about.
func Presets() []string {
	files, err := fs.Glob(presets, "presets/*.toml")
	if err != nil {
		panic(err) // the pattern is constant
	}
	var lines []string
	for _, f := range files {
		s, err := Preset(strings.TrimSuffix(path.Base(f), ".toml"))
		if err != nil {
			panic(err) // a test reads them all
		}
		lines = append(lines, fmt.Sprintf("%-16s %s", s.Name, s.About))
	}
	return lines
}

// Preset gives a scenario that comes with the program.
func Preset(name string) (*Scenario, error) {
	text, err := presets.ReadFile("presets/" + name + ".toml")
	if err != nil {
		return nil, fmt.Errorf("no preset %q; there are:\n  %s", name, strings.Join(presetNames(), "\n  "))
	}
	return Parse(string(text))
}

func presetNames() []string {
	entries, err := presets.ReadDir("presets")
	if err != nil {
		panic(err) // it is embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".toml"))
	}
	return names
}

// Parse reads a scenario file. A field that it does not know is refused: a
// misspelt parameter must not silently be its default. The error names the line.
func Parse(text string) (*Scenario, error) {
	s := new(Scenario)
	meta, err := toml.Decode(text, s)
	if err != nil {
		if at, ok := errors.AsType[toml.ParseError](err); ok {
			return nil, fmt.Errorf("line %d: %s", at.Position.Line, at.Message)
		}
		return nil, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("unknown field %s: docs/onsale.md lists those there are", unknown[0])
	}
	if !meta.IsDefined("room", "enabled") {
		return nil, errors.New("room.enabled is missing: say true or false")
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s, nil
}

// Wall is how long d of the on-sale takes in the run.
func (s *Scenario) Wall(d time.Duration) time.Duration {
	return time.Duration(float64(d) / s.Compression)
}

// Millis is Wall in whole milliseconds, at least 1: the times that a server is
// told.
func (s *Scenario) Millis(d time.Duration) uint32 {
	return uint32(max(s.Wall(d).Milliseconds(), 1))
}

// Span is the whole on-sale, from the first arrival to the end.
func (s *Scenario) Span() time.Duration { return s.Arrivals.Before + s.Arrivals.Close }

// MaxParty is the largest party there is.
func (s *Scenario) MaxParty() int {
	for n := len(s.Visit.Party); n > 0; n-- {
		if s.Visit.Party[n-1] > 0 {
			return n
		}
	}
	return 0
}

// SeatsPerPass is how many seats a pass is good for.
func (s *Scenario) SeatsPerPass() int {
	if s.Room.SeatsPerPass > 0 {
		return s.Room.SeatsPerPass
	}
	return s.MaxParty()
}

// Scale gives the same on-sale with another number of users, and with seats and
// room in proportion, so that it is as crowded as it was: whole rows, at least one,
// and at least four people inside.
func (s *Scenario) Scale(users int) *Scenario {
	scaled := *s
	scaled.Visit.Party = slices.Clone(s.Visit.Party)
	by := float64(users) / float64(s.Users)
	scaled.Users = users
	rows := max(1, int(by*float64(s.Events.Seats)/float64(s.Events.Row)+0.5))
	scaled.Events.Seats = rows * s.Events.Row
	scaled.Room.Limit = max(4, int(by*float64(s.Room.Limit)+0.5))
	scaled.Room.PerMinute = max(by*s.Room.PerMinute, 1)
	return &scaled
}

// Shares are how many of all users want an event or one before it, by event,
// rising to 1.
func (e Events) Shares() []float64 {
	shares := make([]float64, e.Count)
	var sum float64
	for i := range shares {
		sum += math.Pow(float64(i+1), -e.Skew)
		shares[i] = sum
	}
	for i := range shares {
		shares[i] /= sum
	}
	return shares
}
