package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// roomFlags are what `usher admin room KEY set` changes. What is not given stays as
// it is, so each flag is kept as what it does to a configuration.
type roomFlags struct {
	edits   []func(*wire.RoomConfig)
	entropy string
}

func (r *roomFlags) register(f *flag.FlagSet) {
	edit := func(name, usage string, read func(text string) (func(*wire.RoomConfig), error)) {
		f.Func(name, usage, func(text string) error {
			do, err := read(text)
			r.edits = append(r.edits, do)
			return err
		})
	}
	edit("limit", "set: `visitors` that may be inside at once", func(s string) (func(*wire.RoomConfig), error) {
		n, err := strconv.ParseUint(s, 10, 32)
		return func(c *wire.RoomConfig) { c.Limit = uint32(n) }, err
	})
	edit("rate", "set: how many `visitors per second` are called, such as 50 or 0.5", func(s string) (func(*wire.RoomConfig), error) {
		n, err := strconv.ParseFloat(s, 64)
		if n = math.Round(n * 1000); err == nil && !(n >= 1 && n <= wire.MaxRoomRate) {
			err = fmt.Errorf("it must be from 0.001 to %d", wire.MaxRoomRate/1000)
		}
		return func(c *wire.RoomConfig) { c.Rate = uint32(n) }, err
	})
	edit("grace", "set: `time` that a called visitor has to come, such as 60s", func(s string) (func(*wire.RoomConfig), error) {
		ms, err := roomTime(s)
		return func(c *wire.RoomConfig) { c.Grace = ms }, err
	})
	edit("pass-ttl", "set: `time` that a visitor may be inside, such as 10m", func(s string) (func(*wire.RoomConfig), error) {
		ms, err := roomTime(s)
		return func(c *wire.RoomConfig) { c.PassTTL = ms }, err
	})
	edit("seats-per-pass", "set: `seats` that a visitor may hold and book; 0: as many as a hold may have", func(s string) (func(*wire.RoomConfig), error) {
		n, err := strconv.ParseUint(s, 10, 8)
		return func(c *wire.RoomConfig) { c.SeatsPerPass = uint8(n) }, err
	})
	edit("one-per-visitor", "set: `true` if whoever joins is named by the frontend and gets one place", func(s string) (func(*wire.RoomConfig), error) {
		one, err := strconv.ParseBool(s)
		return func(c *wire.RoomConfig) { c.OnePerVisitor = one }, err
	})
	edit("opens-at", "set: `time` such as 2026-06-01T09:00:00Z; none: at once, without a draw", func(s string) (func(*wire.RoomConfig), error) {
		at, err := roomWall(s)
		return func(c *wire.RoomConfig) { c.OpensAt = at }, err
	})
	edit("entries-until", "set: `time` until which who joins takes part in the draw; none: until it opens", func(s string) (func(*wire.RoomConfig), error) {
		at, err := roomWall(s)
		return func(c *wire.RoomConfig) { c.EntriesUntil = at }, err
	})
	edit("entropy-source", "set: `text` that says what outside entropy will decide the draw", func(s string) (func(*wire.RoomConfig), error) {
		return func(c *wire.RoomConfig) { c.Source = []byte(s) }, nil
	})
	f.StringVar(&r.entropy, "entropy", "", "draw: the outside entropy, exactly as its source published it (`text`)")
}

func roomTime(s string) (ms uint32, err error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, err
	case d < time.Millisecond || d > wire.MaxRoomTime*time.Millisecond:
		return 0, errors.New("it must be from 1ms to 24h")
	}
	return uint32(d.Milliseconds()), nil
}

func roomWall(s string) (int64, error) {
	if s == "none" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, errors.New("write it as 2026-06-01T09:00:00Z, or none")
	}
	return t.UnixMilli(), nil
}

// room shows an event's waiting room or does something with it.
func (a *adminCall) room(ctx context.Context) error {
	what := "show"
	if len(a.args) > 1 {
		what = a.args[1]
	}
	do, known := map[string]func(*client.Event, context.Context) error{
		"show":   func(*client.Event, context.Context) error { return nil },
		"set":    a.setRoom,
		"pause":  (*client.Event).PauseRoom,
		"resume": (*client.Event).ResumeRoom,
		"drain":  (*client.Event).DrainRoom,
		"open":   (*client.Event).OpenRoom,
		"off":    (*client.Event).EndRoom,
		"draw": func(ev *client.Event, ctx context.Context) error {
			return ev.DrawRoom(ctx, []byte(a.forRoom.entropy))
		},
	}[what]
	switch {
	case !known:
		return usageError{fmt.Sprintf("a room cannot %q: say show, set, pause, resume, drain, open, draw or off", what)}
	case len(a.forRoom.edits) > 0 && what != "set":
		return usageError{"what a room is to be like is said with `usher admin room KEY set`"}
	case len(a.forRoom.edits) == 0 && what == "set":
		return usageError{"say what to set, for example --limit 500 --rate 50: `usher admin -h` lists it"}
	case (a.forRoom.entropy == "") == (what == "draw"):
		return usageError{"--entropy goes with `usher admin room KEY draw`, which needs it"}
	}
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	ev, err := c.Event(ctx, a.args[0])
	if err != nil {
		return err
	}
	if err := do(ev, ctx); err != nil {
		return err
	}
	status, err := ev.QueueNow(ctx)
	if err != nil {
		return err
	}
	return a.print(roomView(ev.Key(), status), func(w io.Writer) { writeRoom(w, ev.Key(), status) })
}

// setRoom changes what the flags name.
func (a *adminCall) setRoom(ev *client.Event, ctx context.Context) error {
	status, err := ev.QueueNow(ctx)
	if err != nil {
		return err
	}
	config := wire.DefaultRoom()
	if status.State != wire.QueueOff {
		config = status.Config
	}
	for _, edit := range a.forRoom.edits {
		edit(&config)
	}
	if err := config.Validate(); err != nil {
		return err
	}
	return ev.SetRoom(ctx, config)
}

// roomJSON is a room as `usher admin room --json` prints it.
type roomJSON struct {
	Event         string  `json:"event"`
	State         string  `json:"state"`
	Room          string  `json:"room"`
	Entries       uint64  `json:"entries"`
	Issued        uint64  `json:"issued"`
	Serving       uint64  `json:"serving"`
	Inside        uint32  `json:"inside"`
	Called        uint32  `json:"called"`
	Redeemed      uint64  `json:"redeemed"`
	Lapsed        uint64  `json:"lapsed"`
	Booked        uint64  `json:"booked"`
	Free          uint32  `json:"free"`
	Held          uint32  `json:"held"`
	Limit         uint32  `json:"limit"`
	Rate          float64 `json:"rate_per_s"`
	Grace         uint32  `json:"grace_ms"`
	PassTTL       uint32  `json:"pass_ttl_ms"`
	SeatsPerPass  uint8   `json:"seats_per_pass"`
	OnePerVisitor bool    `json:"one_per_visitor"`
	OpensAt       string  `json:"opens_at,omitempty"`
	EntriesUntil  string  `json:"entries_until,omitempty"`
	Commitment    string  `json:"commitment"`
	Source        string  `json:"entropy_source"`
	Seed          string  `json:"seed,omitempty"`
	Entropy       string  `json:"entropy,omitempty"`
}

func roomView(key string, s *client.QueueStatus) roomJSON {
	c := &s.Config
	v := roomJSON{
		Event: key, State: s.State.String(), Room: strconv.FormatUint(uint64(s.Room), 10),
		Entries: s.Entries, Issued: s.Issued, Serving: s.Serving, Inside: s.Inside, Called: s.Outstanding,
		Redeemed: s.Redeemed, Lapsed: s.Lapsed, Booked: s.Booked, Free: s.Free, Held: s.Held,
		Limit: c.Limit, Rate: float64(c.Rate) / 1000, Grace: c.Grace, PassTTL: c.PassTTL,
		SeatsPerPass: c.SeatsPerPass, OnePerVisitor: c.OnePerVisitor, OpensAt: wallText(c.OpensAt), EntriesUntil: wallText(c.Entries()),
		Commitment: fmt.Sprintf("%x", s.Commitment), Source: string(c.Source),
	}
	if s.Drawn {
		v.Seed, v.Entropy = fmt.Sprintf("%x", s.Seed), string(s.Entropy)
	}
	return v
}

// wallText writes a wall clock time; empty if there is none.
func wallText(at int64) string {
	if at == 0 {
		return ""
	}
	return time.UnixMilli(at).UTC().Format(time.RFC3339)
}

func writeRoom(w io.Writer, key string, s *client.QueueStatus) {
	v := roomView(key, s)
	if s.State == wire.QueueOff {
		fmt.Fprintf(w, "event %s has no waiting room: %d seats free, %d held\n", key, v.Free, v.Held)
		return
	}
	fmt.Fprintf(w, "room of event %s\t%s\n", key, v.State)
	fmt.Fprintf(w, "inside\t%d of %d, and %d called\n", v.Inside, v.Limit, v.Called)
	fmt.Fprintf(w, "serving\t%d of %d issued, %d waiting\n", v.Serving, v.Issued, v.Issued-min(v.Serving, v.Issued))
	fmt.Fprintf(w, "so far\t%d came, %d did not, %d seats booked\n", v.Redeemed, v.Lapsed, v.Booked)
	fmt.Fprintf(w, "seats\t%d free, %d held\n", v.Free, v.Held)
	fmt.Fprintf(w, "rate\t%g visitors per second\n", v.Rate)
	fmt.Fprintf(w, "times\t%v to come, %v inside\n", time.Duration(v.Grace)*time.Millisecond, time.Duration(v.PassTTL)*time.Millisecond)
	if v.OpensAt == "" {
		return
	}
	fmt.Fprintf(w, "entries\t%d, until %s\n", v.Entries, v.EntriesUntil)
	fmt.Fprintf(w, "opens at\t%s\n", v.OpensAt)
	fmt.Fprintf(w, "commitment\t%s\n", v.Commitment)
	fmt.Fprintf(w, "entropy from\t%s\n", orDash(v.Source))
	if s.Drawn {
		fmt.Fprintf(w, "seed\t%s\n", v.Seed)
		fmt.Fprintf(w, "entropy\t%s\n", orDash(v.Entropy))
		fmt.Fprintf(w, "room\t%s\n", v.Room)
	}
}
