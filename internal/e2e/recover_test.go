package e2e

import (
	"net/http"
	"testing"

	"github.com/usher-seats/usher/internal/proc"
)

// shardOf is the shard that has an event.
func shardOf(t testing.TB, api, key string) uint32 {
	t.Helper()
	var list struct {
		Events []struct {
			Key   string
			Shard uint32
		}
	}
	send(t, http.MethodGet, api+"/v1/events", nil, &list)
	for _, e := range list.Events {
		if e.Key == key {
			return e.Shard
		}
	}
	t.Fatalf("there is no event %s", key)
	return 0
}

// TestRecoversByItself proves that a page survives the node that leads its event and the
// node that it came from: it goes on by itself, with its place in the queue, and the hold
// that it was paying for.
func TestRecoversByItself(t *testing.T) {
	c := proc.NewCluster(t, 3, nil)
	const key = "gala"
	hall(t, c.Nodes[0].HTTP, key, 4, nil)
	c.AwaitSettled()
	lead := c.LeaderOf(shardOf(t, c.Nodes[0].HTTP, key))
	own, third := (lead+1)%3, (lead+2)%3
	front := c.Nodes[own].HTTP
	room(t, front, key, obj{"limit": 1, "rate_per_s": 100, "grace_ms": 600_000})
	first := join(t, front, key)
	first.enter(t, front, key)

	v := visitor(t, desktop)
	v.open(front + "/e/" + key)
	v.click("join")
	v.await(says("room-title", "You are in the queue"))
	var streams int // the page follows the room by WebSocket, and needs no other way
	if v.eval("performance.getEntriesByType(\"resource\").filter((e) => e.name.includes(\"/queue\") && e.initiatorType === \"fetch\" && !e.name.endsWith(\"/queue\")).length", &streams); streams > 0 {
		t.Errorf("the page has asked for %d streams", streams)
	}
	var before, after string
	v.eval("JSON.stringify(usher.store.get(\"ticket\"))", &before)

	// The leader dies. The page hears from the next one when it is its turn.
	c.Kill(lead)
	first.leave(t, c.Nodes[third].HTTP, key)
	v.await(says("room-title", "It is your turn"))
	if v.eval("JSON.stringify(usher.store.get(\"ticket\"))", &after); after != before {
		t.Errorf("the ticket was %s and is %s", before, after)
	}
	v.click("enter")
	v.inside()
	v.submit("best")
	v.await(seen("countdown"))
	c.Start(lead)
	c.AwaitSettled()

	// The node that the page came from dies while the buyer pays.
	c.Kill(own)
	v.await(says("status", "Connection lost"))
	v.click("pay")
	v.await(says("progress", "Trying again by itself"))
	v.shot("connection-lost")
	c.Start(own)
	v.await(seen("tickets"))
	v.await("document.getElementById(\"status\").textContent === \"\"")

	// The map is live again.
	send(t, http.MethodPost, c.Nodes[third].HTTP+"/v1/events/"+key+"/block", obj{"seats": []string{"B-4-1"}}, nil)
	v.await(`usher.seating.seats.state[usher.places.find("B-4-1")] === 3`)
}

// TestKeepsItsPlaceWithoutANode proves the same for somebody who only waits: while his
// node is away the page says so, and afterwards he has the place that he had.
func TestKeepsItsPlaceWithoutANode(t *testing.T) {
	place := proc.NewPlace(t)
	n := place.Start(t)
	hall(t, n.HTTP, "gala", 4, nil)
	room(t, n.HTTP, "gala", obj{"limit": 1, "rate_per_s": 100, "grace_ms": 600_000})
	first := join(t, n.HTTP, "gala")
	first.enter(t, n.HTTP, "gala")
	v := visitor(t, phone)
	v.open(n.HTTP + "/e/gala")
	v.click("join")
	v.await(says("room-facts", "Ahead of you"))
	before := v.text("#room-facts")
	n.Kill()
	v.await(seen("room-lost"))
	again := place.Start(t)
	v.await("document.getElementById(\"room-lost\").hidden")
	if after := v.text("#room-facts"); after[:20] != before[:20] {
		t.Errorf("the page says %q, before its node died %q", after, before)
	}
	first.leave(t, again.HTTP, "gala")
	v.await(says("room-title", "It is your turn"))
}
