package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// wrong fails the test unless the call is refused as wrong usage, in a line that says
// want.
func (d *desk) wrong(want string, args ...string) {
	d.t.Helper()
	stdout, stderr, code := d.call(args)
	if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) {
		d.t.Errorf("%v: exit %d, stdout %q, stderr %q; want exit 2 and %q", args, code, stdout, stderr, want)
	}
}

// roomOf reads a room.
func (d *desk) roomOf(key string) (r roomJSON) {
	d.t.Helper()
	if err := json.Unmarshal([]byte(d.does("", "room", key, "--json")), &r); err != nil {
		d.t.Fatal(err)
	}
	return r
}

// TestAdminRoom runs an on-sale from the command line, from the first entry to the
// end of the room.
func TestAdminRoom(t *testing.T) {
	d := newDesk(t)
	d.gala()
	d.does("event gala has no waiting room: 15 seats free", "room", "gala")
	d.fails("no waiting room", "room", "gala", "pause")
	d.wrong("a room cannot \"explode\"", "room", "gala", "explode")
	d.wrong("say what to set", "room", "gala", "set")
	d.wrong("room KEY set", "room", "gala", "pause", "--limit", "5")
	d.wrong("--entropy goes with", "room", "gala", "open", "--entropy", "x")
	d.wrong("--entropy goes with", "room", "gala", "draw")
	d.wrong("opens-at", "room", "gala", "set", "--opens-at", "soon")
	d.wrong("rate", "room", "gala", "set", "--rate", "0")
	d.wrong("grace", "room", "gala", "set", "--grace", "48h")
	d.fails("must not be after opens_at", "room", "gala", "set", "--entries-until", "2999-01-01T00:00:00Z")
	d.fails("there is no such event", "room", "nothing")

	d.does("before", "room", "gala", "set", "--limit", "5", "--rate", "1000", "--grace", "90s", "--pass-ttl", "5m", "--seats-per-pass", "2",
		"--opens-at", "2999-01-01T00:00:00Z", "--entropy-source", "dice thrown in public")
	r := d.roomOf("gala")
	if r.State != "before" || r.Limit != 5 || r.Rate != 1000 || r.Grace != 90_000 || r.PassTTL != 300_000 || r.SeatsPerPass != 2 ||
		r.OpensAt != "2999-01-01T00:00:00Z" || r.Source != "dice thrown in public" || len(r.Commitment) != 64 || r.Seed != "" {
		t.Errorf("the room is %+v", r)
	}
	d.does("rate", "room", "gala", "set", "--rate", "0.5")
	if r := d.roomOf("gala"); r.Rate != 0.5 || r.Limit != 5 {
		t.Errorf("changing the rate made the room %+v", r)
	}
	c, err := client.Dial(t.Context(), []string{d.node.Addr()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ev, err := c.Event(t.Context(), "gala")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ev.Join(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	d.fails("still open", "room", "gala", "draw", "--entropy", "6 1 4")
	d.does("drawing", "room", "gala", "open")
	d.does("open", "room", "gala", "draw", "--entropy", "6 1 4")
	d.does("paused", "room", "gala", "pause")
	d.does("open", "room", "gala", "resume")
	d.does("draining", "room", "gala", "drain") // somebody is called, or waits
	d.does("no waiting room", "room", "gala", "off")
}

// TestAdminDrawVerify proves that what the draw has published is enough to compute a
// number, without any node; that a node's word is held against it; and that anything
// that does not fit is found.
func TestAdminDrawVerify(t *testing.T) {
	d := newDesk(t)
	d.gala()
	d.does("before", "room", "gala", "set", "--limit", "5", "--opens-at", "2999-01-01T00:00:00Z", "--entropy-source", "dice")
	c, err := client.Dial(t.Context(), []string{d.node.Addr()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ev, err := c.Event(t.Context(), "gala")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := ev.JoinMany(t.Context(), client.JoinRequest{Count: 100})
	if err != nil {
		t.Fatal(err)
	}
	d.fails("has not been made yet", "draw", "verify", "--event", "gala", "--entry", "1")
	d.does("", "room", "gala", "open")
	d.does("", "room", "gala", "draw", "--entropy", "6 1 4")
	late, err := ev.Join(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ev.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	number, _ := s.Number(entries[7])
	says := fmt.Sprintf("entry 7 of 100 has queue number %d\n", number)

	d.does(says, "draw", "verify", "--event", "gala", "--entry", "7")
	d.does(says+"the node says so, too\n", "draw", "verify", "--event", "gala", "--ticket", entries[7].Token, "--entropy", "6 1 4")
	d.fails("you have the entropy \"6 1 5\"", "draw", "verify", "--event", "gala", "--entry", "7", "--entropy", "6 1 5")
	d.fails("you have the count 99", "draw", "verify", "--event", "gala", "--entry", "7", "--count", "99")
	d.fails("which no draw has decided", "draw", "verify", "--event", "gala", "--ticket", late.Token)
	d.fails("did not take part", "draw", "verify", "--event", "gala", "--entry", "100")
	var r drawResult
	out := d.does("", "draw", "verify", "--event", "gala", "--ticket", entries[7].Token, "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Number != number || r.Server == nil || *r.Server != number {
		t.Errorf("in JSON: %s, %v", out, err)
	}

	// Without a node, so that what follows says where there is none.
	d.more = []string{"--addr", "127.0.0.1:1"}
	published := func(change ...string) []string {
		values := map[string]string{
			"--seed": fmt.Sprintf("%x", s.Seed), "--entropy": "6 1 4", "--source": "dice", "--commitment": fmt.Sprintf("%x", s.Commitment),
			"--count": "100", "--room": fmt.Sprint(uint64(s.Room)), "--entry": "7",
		}
		args := []string{"draw", "verify"}
		for i := 0; i+1 < len(change); i += 2 {
			values[change[i]] = change[i+1]
		}
		for name, value := range values {
			if value != "" {
				args = append(args, name, value)
			}
		}
		return args
	}
	d.does(says, published()...)
	d.does(says, published("--entry", "", "--ticket", entries[7].Token)...)
	other := wire.NewDraw(s.Seed, []byte("7 7 7"), s.Room, 100)
	d.does(fmt.Sprintf("queue number %d\n", other.Number(7)), published("--entropy", "7 7 7")...)
	d.fails("do not fit the commitment", published("--source", "coins")...)
	d.fails("do not fit the commitment", published("--seed", strings.Repeat("00", 32))...)
	d.fails("of room", published("--entry", "", "--ticket", entries[7].Token, "--room", "1")...)
	d.fails("did not take part", published("--count", "7")...)
	d.wrong("64 hexadecimal digits", published("--seed", "abc")...)
	d.wrong("64 hexadecimal digits", published("--commitment", "xyz")...)
	d.wrong("give all that the draw has published", published("--seed", "")...)
	d.wrong("--ticket, or --entry", published("--ticket", entries[7].Token)...)
	d.wrong("not the token of a ticket", published("--entry", "", "--ticket", "x")...)
	d.wrong("--count", published("--count", fmt.Sprint(uint64(wire.MaxNumbers)+1))...)
	d.wrong("can be verified", "draw", "again", "--entry", "1")
	d.more = append(d.more, "--timeout", time.Second.String())
	d.fails("connect", "draw", "verify", "--event", "gala", "--entry", "1")
}
