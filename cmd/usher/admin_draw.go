package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// drawFlags are whose queue number is computed, and the values that it is computed
// from. With --event a node tells those that are not given.
type drawFlags struct {
	event, ticket string
	entry         numberFlag

	seed, entropy, source, commitment textFlag
	count, room                       numberFlag
}

// A textFlag knows whether it was given: an empty text is one, too.
type textFlag struct {
	text  string
	given bool
}

func (t *textFlag) String() string { return t.text }

func (t *textFlag) Set(s string) error {
	t.text, t.given = s, true
	return nil
}

// A numberFlag likewise.
type numberFlag struct {
	n     uint64
	given bool
}

func (n *numberFlag) String() string { return strconv.FormatUint(n.n, 10) }

func (n *numberFlag) Set(s string) (err error) {
	n.n, err = strconv.ParseUint(s, 10, 64)
	n.given = true
	return err
}

func (d *drawFlags) register(f *flag.FlagSet) {
	f.StringVar(&d.event, "event", "", "`key` of the event whose draw it is: a node says what it has published, and what number a ticket has")
	f.StringVar(&d.ticket, "ticket", "", "`token` of the ticket")
	f.Var(&d.entry, "entry", "entry `number`, instead of a ticket")
	f.Var(&d.seed, "seed", "the draw's seed as published after it (`hex`)")
	f.Var(&d.entropy, "entropy", "the outside entropy as its source published it (`text`); give it from there, not from the node")
	f.Var(&d.source, "source", "`text` that named the source of the entropy before the draw")
	f.Var(&d.commitment, "commitment", "the commitment as published before the draw (`hex`); give the one that you noted then")
	f.Var(&d.count, "count", "how many `entries` took part")
	f.Var(&d.room, "room", "`number` of the room")
}

// drawResult is what `usher admin draw verify` finds.
type drawResult struct {
	Entry      uint64  `json:"entry"`
	Count      uint64  `json:"count"`
	Number     uint64  `json:"number"`
	Commitment string  `json:"commitment"`
	Server     *uint64 `json:"server,omitempty"` // the number that a node says the ticket has
}

// errDraw is that something about a draw is not as it was promised.
type errDraw string

func (e errDraw) Error() string { return string(e) }

func (a *adminCall) draw(ctx context.Context) error {
	d := &a.forDraw
	if a.args[0] != "verify" {
		return usageError{"a draw can be verified: `usher admin draw verify`"}
	}
	if (d.ticket == "") == !d.entry.given {
		return usageError{"say whose number to compute: --ticket, or --entry"}
	}
	var ticket client.Ticket
	if d.ticket != "" {
		t, room, err := client.ParseTicket(d.ticket)
		if err != nil {
			return usageError{"--ticket: " + err.Error()}
		}
		if !t.Entry {
			return fmt.Errorf("this ticket is from after entries closed: its queue number is %d, which no draw has decided", t.Number)
		}
		if d.room.given && d.room.n != uint64(room) {
			return errDraw(fmt.Sprintf("the ticket is of room %d and not of %d", room, d.room.n))
		}
		ticket = t
		d.entry = numberFlag{t.Number, true}
		d.room = numberFlag{uint64(room), true}
	}
	var ev *client.Event
	if d.event != "" {
		c, err := a.dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		if ev, err = c.Event(ctx, d.event); err != nil {
			return err
		}
		if err := d.compare(ctx, ev); err != nil {
			return err
		}
	}
	r, err := d.compute()
	if err != nil {
		return err
	}
	if ev != nil && d.ticket != "" {
		place, err := ev.Place(ctx, ticket)
		if err != nil {
			return err
		}
		if r.Server = &place.Number; place.Number != r.Number {
			return errDraw(fmt.Sprintf("entry %d has queue number %d, but the node says that it is %d", r.Entry, r.Number, place.Number))
		}
	}
	return a.print(r, func(w io.Writer) {
		fmt.Fprintf(w, "the seed and the named source fit the commitment %s\n", r.Commitment)
		fmt.Fprintf(w, "entry %d of %d has queue number %d\n", r.Entry, r.Count, r.Number)
		if r.Server != nil {
			fmt.Fprintln(w, "the node says so, too")
		}
	})
}

// compare takes from a node what was not given, and holds it to what was.
func (d *drawFlags) compare(ctx context.Context, ev *client.Event) error {
	s, err := ev.Queue(ctx)
	if err != nil {
		return err
	}
	switch {
	case s.State == wire.QueueOff:
		return fmt.Errorf("event %q has no waiting room now; give the values that were published", d.event)
	case !s.Drawn:
		return fmt.Errorf("the draw of event %q has not been made yet; its commitment is %x", d.event, s.Commitment)
	}
	for _, v := range []struct {
		name string
		flag *textFlag
		said string
	}{
		{"seed", &d.seed, hex.EncodeToString(s.Seed[:])}, {"entropy", &d.entropy, string(s.Entropy)},
		{"source", &d.source, string(s.Config.Source)}, {"commitment", &d.commitment, hex.EncodeToString(s.Commitment[:])},
	} {
		if v.flag.given && v.flag.text != v.said {
			return errDraw(fmt.Sprintf("you have the %s %q, but the node says %q", v.name, v.flag.text, v.said))
		}
		*v.flag = textFlag{v.said, true}
	}
	for _, v := range []struct {
		name string
		flag *numberFlag
		said uint64
	}{{"count", &d.count, s.Entries}, {"room", &d.room, uint64(s.Room)}} {
		if v.flag.given && v.flag.n != v.said {
			return errDraw(fmt.Sprintf("you have the %s %d, but the node says %d", v.name, v.flag.n, v.said))
		}
		*v.flag = numberFlag{v.said, true}
	}
	return nil
}

// compute draws again, from values all of which are there.
func (d *drawFlags) compute() (*drawResult, error) {
	if !d.seed.given || !d.commitment.given || !d.count.given || !d.room.given {
		return nil, usageError{"without --event give all that the draw has published: --seed, --entropy, --source, --commitment, --count and --room"}
	}
	seed, err := hash32(d.seed.text)
	if err != nil {
		return nil, usageError{"--seed: " + err.Error()}
	}
	promised, err := hash32(d.commitment.text)
	if err != nil {
		return nil, usageError{"--commitment: " + err.Error()}
	}
	if d.count.n > wire.MaxNumbers {
		return nil, usageError{fmt.Sprintf("--count: a draw has at most %d entries", uint64(wire.MaxNumbers))}
	}
	if got := wire.Commitment(seed, []byte(d.source.text)); got != promised {
		return nil, errDraw(fmt.Sprintf("the seed and the source do not fit the commitment: they have %x, promised was %x", got, promised))
	}
	if d.entry.n >= d.count.n {
		return nil, errDraw(fmt.Sprintf("entry %d did not take part: there were %d, from 0 on", d.entry.n, d.count.n))
	}
	draw := wire.NewDraw(seed, []byte(d.entropy.text), wire.RoomID(d.room.n), d.count.n)
	return &drawResult{
		Entry: d.entry.n, Count: d.count.n, Number: draw.Number(d.entry.n), Commitment: d.commitment.text,
	}, nil
}

func hash32(text string) ([32]byte, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 32 {
		return [32]byte{}, errors.New("want 64 hexadecimal digits")
	}
	return [32]byte(raw), nil
}
