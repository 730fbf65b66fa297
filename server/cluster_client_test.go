package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"

	"github.com/usher-seats/usher/client"
)

// dialAll makes a Go client that was given all nodes.
func (c *crew) dialAll() *client.Client {
	c.t.Helper()
	var addrs []string
	for _, n := range c.up() {
		addrs = append(addrs, n.Addr())
	}
	cl, err := client.Dial(c.t.Context(), addrs, &client.Options{Logger: slog.New(slog.NewTextHandler(testLog{c.t}, nil))})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cl.Close() })
	return cl
}

// TestClientOfCluster: the Go client finds its way from whatever node it knows.
func TestClientOfCluster(t *testing.T) {
	c := newCrew(t, 3, nil)
	c.settled()
	cl := c.dialAll()
	for _, key := range []string{"a", "b", "c", "d"} {
		ev, err := cl.CreateEvent(t.Context(), hall(key, 1, 10))
		if err != nil {
			t.Fatal(err)
		}
		h, err := ev.HoldBest(t.Context(), client.BestRequest{Count: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Confirm(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFrontendsOfCluster: whoever made an event through one node finds it through
// all others at once.
func TestFrontendsOfCluster(t *testing.T) {
	c := newCrew(t, 3, nil)
	c.settled()
	cl := c.dialAll()
	for i := range 60 {
		key := fmt.Sprintf("event-%d", i)
		if _, err := cl.CreateEvent(t.Context(), hall(key, 1, 10)); err != nil {
			t.Fatal(err)
		}
		for _, n := range c.nodes {
			resp, err := http.Get("http://" + n.HTTPAddr() + "/v1/events/" + key)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("%s says of event %d: %s", n.cfg.Node, i, resp.Status)
			}
		}
	}
	resp, err := http.Get("http://" + c.nodes[1].HTTPAddr() + "/v1/events/none")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("an event that there is not: %s", resp.Status)
	}
}
