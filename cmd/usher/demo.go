package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/usher-seats/usher/bench"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/server"
)

const aboutDemo = `
Starts a node in this process, makes an event of 50,000 seats, lets simulated
buyers fight for it until the last seat is booked, and audits: every seat is in
just one acknowledged booking. Then it goes on serving, so that you can look
around, until Ctrl-C; with --once it ends after the audit.
`

// demo sells an event out in front of the user's eyes.
func demo(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o bench.SelloutOptions
	var c server.Config
	var once bool
	f := newFlags("demo")
	f.StringVar(&c.Listen, "listen", "127.0.0.1:0", "`address` of the binary protocol")
	f.StringVar(&c.HTTP, "http", "127.0.0.1:0", "`address` of the HTTP API")
	f.StringVar(&c.Admin, "admin", "127.0.0.1:0", "`address` of health and metrics")
	f.StringVar(&c.Data, "data", "", "`directory` of the node's stores (a temporary one, removed at the end, if not given)")
	f.IntVar(&o.Seats, "seats", 50_000, "`number` of seats, in rows of 50")
	f.IntVar(&o.Buyers, "buyers", 256, "`number` of buyers at any time")
	f.BoolVar(&once, "once", false, "end after the audit")
	if err := parse(f, args, aboutDemo, stdout); err != nil {
		return err
	}
	if err := noArguments(f); err != nil {
		return err
	}
	if o.Seats < 1000 || o.Seats > 200_000 || o.Seats%50 != 0 {
		return usageError{fmt.Sprintf("%d seats: want 1,000 to 200,000 in rows of 50", o.Seats)}
	}
	if o.Buyers < 1 || o.Buyers > 10_000 {
		return usageError{fmt.Sprintf("%d buyers: want 1 to 10,000", o.Buyers)}
	}
	if isTerminal(stderr) {
		o.Progress = stderr
	}
	if c.Data == "" {
		dir, err := os.MkdirTemp("", "usher-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.Data = dir
	}
	c.Peer = "127.0.0.1:0"
	c.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return runDemo(ctx, c, o, once, stdout)
}

func runDemo(ctx context.Context, c server.Config, o bench.SelloutOptions, once bool, stdout io.Writer) (err error) {
	began := time.Now()
	node, err := server.Start(ctx, c)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if stop := node.Close(stopping); err == nil {
			err = stop
		}
	}()
	fmt.Fprintf(stdout, "a node serves after %v; %d buyers want %d seats\n", time.Since(began).Round(time.Millisecond), o.Buyers, o.Seats)
	buyers, err := client.Dial(ctx, []string{node.Addr()}, nil)
	if err != nil {
		return err
	}
	defer buyers.Close()
	report, err := bench.Sellout(ctx, buyers, o)
	if err != nil {
		return err
	}
	if err := report.WriteTable(stdout); err != nil || once {
		return err
	}
	fmt.Fprintf(stdout, `
The node goes on until Ctrl-C. Try:
  curl http://%[1]s/v1/events/%[2]s
  curl http://%[1]s/v1/events/%[2]s/seats
  curl http://%[3]s/metrics
`, node.HTTPAddr(), report.Event, node.AdminAddr())
	<-ctx.Done()
	return nil
}
