package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/usher-seats/usher/internal/proc"
)

// TestDrawPageAgrees proves that the page which verifies a draw computes for every ticket
// the queue number that the server gave it, that it sees the commitment kept, and that it
// says so if it was not.
func TestDrawPageAgrees(t *testing.T) {
	n := proc.NewPlace(t).Start(t)
	hall(t, n.HTTP, "gala", 3, nil)
	opens := time.Now().Add(15 * time.Second)
	room(t, n.HTTP, "gala", obj{
		"limit": 1, "rate_per_s": 10, "opens_at": opens.UTC().Format(time.RFC3339Nano),
		"entropy_source": "the first digits of tomorrow's lottery",
	})
	v := visitor(t, desktop)
	v.open(n.HTTP + "/e/gala")
	v.await(says("join", "Enter the draw"))
	v.click("join")
	v.await(says("room-title", "You are in the draw"))
	v.open(n.HTTP + "/e/gala/draw")
	v.await(says("checks", "written down the commitment"))
	var tickets []ticket
	for range 12 {
		tickets = append(tickets, join(t, n.HTTP, "gala"))
	}
	for state := ""; state != "drawing"; <-time.After(lookEvery) {
		var frame struct{ State string }
		send(t, http.MethodGet, n.HTTP+"/v1/events/gala/queue", nil, &frame)
		if state = frame.State; state != "before" && state != "drawing" {
			t.Fatalf("the room is %s", state)
		}
	}
	send(t, http.MethodPost, n.HTTP+"/v1/events/gala/queue/draw", obj{"entropy": "4 8 15 16 23 42"}, nil)

	v.await(says("checks", "that this browser saw before the draw"))
	v.await(says("result", "This is your own ticket"))
	v.await("document.querySelectorAll(\"#checks .good\").length === 3 && !document.querySelector(\"#checks .bad\")")
	v.shot("draw")
	for _, k := range tickets {
		var place struct{ Number int }
		send(t, http.MethodPost, n.HTTP+"/v1/events/gala/queue/place", obj{"ticket": k.Ticket}, &place)
		v.set("entry", fmt.Sprint(k.Number))
		v.submit("ticket")
		v.await(says("result", fmt.Sprintf("Entry %d has queue number %d.", k.Number, place.Number)))
	}

	// The buyer's page has the same number for its ticket.
	v.open(n.HTTP + "/e/gala")
	v.await("usher.store.get(\"ticket\")?.queue !== undefined")
	var own struct {
		Ticket string
		Queue  int
	}
	v.eval("usher.store.get(\"ticket\")", &own)
	var place struct{ Number int }
	send(t, http.MethodPost, n.HTTP+"/v1/events/gala/queue/place", obj{"ticket": own.Ticket}, &place)
	if own.Queue != place.Number {
		t.Errorf("the buyer's page says number %d, the server %d", own.Queue, place.Number)
	}

	// A browser that has seen another commitment before says so, and one that was not here
	// does not claim that it was.
	v.eval(`localStorage.setItem("usher.commitment.gala", JSON.stringify({...JSON.parse(localStorage.getItem("usher.commitment.gala")), text: "00"}))`, nil)
	v.open(n.HTTP + "/e/gala/draw")
	v.await("document.querySelector(\"#checks .bad\")")
	late := visitor(t, phone)
	late.open(n.HTTP + "/e/gala/draw")
	late.await(says("checks", "this browser had not looked at this page then"))
	late.narrow()
}
