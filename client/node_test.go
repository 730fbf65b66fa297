package client_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/server"
	"github.com/usher-seats/usher/wire"
)

// startNode starts a node with an empty directory for an example.
func startNode() (addr string, stop func()) {
	dir, err := os.MkdirTemp("", "usher-example-")
	if err != nil {
		log.Fatal(err)
	}
	n, err := server.Start(context.Background(), nodeConfig(dir, "127.0.0.1:0"))
	if err != nil {
		log.Fatal(err)
	}
	return n.Addr(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			log.Fatal(err)
		}
		os.RemoveAll(dir)
	}
}

func nodeConfig(dir, listen string) server.Config {
	return server.Config{
		Data:   dir,
		Listen: listen,
		HTTP:   server.Off,
		Admin:  server.Off,
		Peer:   "127.0.0.1:0",
		Log:    slog.New(slog.DiscardHandler),
	}
}

// addresses remembers where the clients of examples are connected to.
var addresses sync.Map

// connect starts a node and dials it.
func connect() (*client.Client, func()) {
	addr, stop := startNode()
	c, err := client.Dial(context.Background(), []string{addr}, nil)
	if err != nil {
		log.Fatal(err)
	}
	addresses.Store(c, addr)
	return c, func() {
		c.Close()
		stop()
	}
}

func address(c *client.Client) string {
	addr, _ := addresses.Load(c)
	return addr.(string)
}

// theatre makes an event with two rows of six seats, A-1 and A-2, and a floor.
func theatre(ctx context.Context, c *client.Client, key string) *client.Event {
	m, err := wire.ParseManifest(fmt.Appendf(nil, `{
		"key": %q, "name": "A play",
		"sections": [{"name": "A", "category": "stalls", "rows": [{"name": "1", "seats": 6}, {"name": "2", "seats": 6}]}],
		"areas": [{"name": "Floor", "category": "stalls", "capacity": 50}]
	}`, key))
	if err != nil {
		log.Fatal(err)
	}
	ev, err := c.CreateEvent(ctx, m)
	if err != nil {
		log.Fatal(err)
	}
	return ev
}
