package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/usher-seats/usher/wire"
)

func (a *adminCall) events(ctx context.Context) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	type line struct {
		Key   string       `json:"key"`
		Event wire.EventID `json:"event"`
		Shard uint32       `json:"shard"`
	}
	lines := []line{}
	for e, err := range c.Events(ctx) {
		if err != nil {
			return err
		}
		lines = append(lines, line{e.Key, e.Event, e.Shard})
	}
	return a.print(lines, func(w io.Writer) {
		fmt.Fprintln(w, "KEY\tEVENT\tSHARD")
		for _, l := range lines {
			fmt.Fprintf(w, "%s\t%d\t%d\n", l.Key, l.Event, l.Shard)
		}
	})
}

func (a *adminCall) event(ctx context.Context) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	ev, err := c.Event(ctx, a.args[0])
	if err != nil {
		return err
	}
	info, err := ev.Info(ctx)
	if err != nil {
		return err
	}
	m, err := ev.Manifest(ctx)
	if err != nil {
		return err
	}
	return a.print(info, func(w io.Writer) {
		fmt.Fprintf(w, "event %s (%s), sale %v, version %d\n\n", m.Key, m.Name, info.Sale, info.Version)
		fmt.Fprintln(w, "\tFREE\tHELD\tBOOKED\tBLOCKED")
		row := func(name string, c wire.Counts) {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", name, c.Free, c.Held, c.Booked, c.Blocked)
		}
		for i, s := range m.Sections {
			row("section "+s.Name, info.Sections[i])
		}
		for i, s := range m.Areas {
			row("area "+s.Name, info.Sections[len(m.Sections)+i])
		}
		for i, name := range m.Categories {
			row("category "+name, info.Categories[i])
		}
		row("all", info.Total)
	})
}

func (a *adminCall) createEvent(ctx context.Context) error {
	in := a.stdin
	if a.args[0] != "-" {
		file, err := os.Open(a.args[0])
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the manifest: %w", err)
	}
	m, err := wire.ParseManifest(text)
	if err != nil {
		return err
	}
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	ev, err := c.CreateEvent(ctx, m)
	if err != nil {
		return err
	}
	created := struct {
		Key   string       `json:"key"`
		Event wire.EventID `json:"event"`
		Seats int          `json:"seats"`
	}{ev.Key(), ev.ID(), m.Seats()}
	return a.print(created, func(w io.Writer) {
		fmt.Fprintf(w, "event %s has %d places\n", created.Key, created.Seats)
	})
}

func (a *adminCall) deleteEvent(ctx context.Context) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.DeleteEvent(ctx, a.args[0])
}
