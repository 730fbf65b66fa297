package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/usher-seats/usher/bench"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/server"
)

const aboutDemo = `
Starts a cluster of three nodes in this process, makes an event of 50,000 seats,
lets simulated buyers fight for it until the last seat is booked, kills the node
that leads the sale when half of it is sold, and audits: every seat is in just one
acknowledged booking. Then the rest of the cluster goes on serving, so that you can
look around, until Ctrl-C; with --once it ends after the audit.
`

// demoNodes is the size of the demo's cluster: one node can be lost.
const demoNodes = 3

// demo sells an event out in front of the user's eyes.
func demo(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o bench.SelloutOptions
	var c server.Config
	var once bool
	f := newFlags("demo")
	f.StringVar(&c.Data, "data", "", "`directory` of the nodes' stores (a temporary one, removed at the end, if not given)")
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
	c.Listen, c.HTTP, c.Admin, c.Peer = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.Log = slog.New(slog.DiscardHandler) // a node that is killed makes the others complain
	return runDemo(ctx, c, o, once, stdout)
}

func runDemo(ctx context.Context, c server.Config, o bench.SelloutOptions, once bool, stdout io.Writer) error {
	began := time.Now()
	nodes, err := startDemo(ctx, c)
	defer stopDemo(nodes)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d nodes serve after %v; %d buyers want %d seats\n", len(nodes), time.Since(began).Round(time.Millisecond), o.Buyers, o.Seats)
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr())
	}
	buyers, err := client.Dial(ctx, addrs, nil)
	if err != nil {
		return err
	}
	defer buyers.Close()
	o.Key = "arena"
	killed := make(chan string, 1)
	o.AtHalf = func() {
		for i, n := range nodes {
			if n.Leads(o.Key) {
				go n.Kill()
				killed <- fmt.Sprintf("n%d", i+1)
				return
			}
		}
		killed <- "" // between two leaders, of all moments
	}
	report, err := bench.Sellout(ctx, buyers, o)
	if err != nil {
		return err
	}
	if name := <-killed; name != "" {
		fmt.Fprintf(stdout, "node %s, which led the sale, was killed when half of the seats were sold\n", name)
	}
	if err := report.WriteTable(stdout); err != nil || once {
		return err
	}
	for i, n := range nodes {
		if n.Leads(o.Key) {
			fmt.Fprintf(stdout, `
The others go on until Ctrl-C. n%d leads the event now. Look at
  http://%[2]s/e/%[3]s (the buyer's page)
  http://%[4]s/ (the operator's page)
or try
  curl http://%[2]s/v1/events/%[3]s
  curl http://%[2]s/v1/events/%[3]s/seats
  bin/usher admin cluster --admin-url http://%[4]s
`, i+1, n.HTTPAddr(), o.Key, n.AdminAddr())
		}
	}
	<-ctx.Done()
	return nil
}

// startDemo starts the nodes of the cluster, of which the first makes it, and
// returns when every shard is on all of them.
func startDemo(ctx context.Context, c server.Config) (nodes []*server.Node, err error) {
	data := c.Data
	for i := range demoNodes {
		c.Node = fmt.Sprintf("n%d", i+1)
		c.Data = filepath.Join(data, c.Node)
		if i > 0 {
			c.Join = []string{nodes[0].PeerAddr()}
		}
		n, err := server.Start(ctx, c)
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nodes[0].AwaitSettled(ctx)
}

// stopDemo stops those nodes that were not killed.
func stopDemo(nodes []*server.Node) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var stopped sync.WaitGroup
	for _, n := range nodes {
		stopped.Go(func() { _ = n.Close(ctx) }) // its data are thrown away, or good for the next start anyway
	}
	stopped.Wait()
}
