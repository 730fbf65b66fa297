package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/usher-seats/usher/internal/proc"
)

// agree says yes to the question that is asked.
func (v *tab) agree() {
	v.t.Helper()
	v.await("document.getElementById(\"ask\").open")
	v.clickOn("#ask-yes")
	v.await("!document.getElementById(\"ask\").open")
}

// TestOperator takes an operator through his page: he sees the cluster and a sale, adds a
// shard, moves an event, hands over a lead, and holds up and changes a waiting room. What
// he is asked and declines does not happen.
func TestOperator(t *testing.T) {
	c := proc.NewCluster(t, 3, []string{"--shards", "2"})
	const key = "gala"
	api := c.Nodes[0].HTTP
	hall(t, api, key, 20, nil)
	room(t, api, key, obj{"limit": 50, "rate_per_s": 5})
	c.AwaitSettled()
	shards := len(c.View().Groups) - 1

	v := visitor(t, screen{1200, 1500, false})
	v.open(c.Nodes[0].Admin + "/")
	v.await(fmt.Sprintf("document.querySelectorAll(\"#shards tr\").length === %d", shards+1))
	v.await("document.querySelectorAll(\"#nodes tr\").length === 3")
	v.await("document.querySelectorAll(\"#rates canvas, #sale canvas, #queue canvas\").length === 3")

	// A sale to look at: visitors who come, and some who buy.
	for i := range 40 {
		k := join(t, api, key)
		if i%3 == 0 {
			continue
		}
		k.enter(t, api, key)
		var h hold
		send(t, http.MethodPost, api+"/v1/events/"+key+"/holds", obj{"best": obj{"count": 1 + i%4}, "pass": k.Pass}, &h)
		if i%2 == 0 {
			send(t, http.MethodPost, api+"/v1/events/"+key+"/holds/"+h.ID+"/confirm", obj{"fence": h.Fence}, nil)
		}
	}
	v.await("[...document.querySelectorAll(\"#event-tiles div\")].some((d) => d.textContent.startsWith(\"Booked\") && !d.textContent.endsWith(\"d0\"))")
	v.shot("operator")

	v.click("add-shard")
	v.await("document.getElementById(\"ask\").open")
	v.clickOn("#ask-no")
	v.await("!document.getElementById(\"ask\").open")
	if n := len(c.View().Groups) - 1; n != shards {
		t.Fatalf("there are %d shards, but the operator said no", n)
	}
	v.click("add-shard")
	v.await("document.getElementById(\"ask\").open")
	v.agree()
	v.await(says("done", fmt.Sprintf("Shard %d was added", shards+1)))
	v.await(fmt.Sprintf("document.querySelectorAll(\"#shards tr\").length === %d", shards+2))
	c.Await("there is one shard more", func(w *proc.View) bool { return len(w.Groups) == shards+2 && w.Settled })

	v.set("move-to", fmt.Sprint(shards+1))
	v.click("move")
	v.agree()
	c.Await("the event has moved", func(w *proc.View) bool { return len(w.Moving) == 0 && w.Groups[shards+1].Events == 1 })

	v.await("document.querySelector(\"#shards tr:nth-child(2) button\")")
	old := c.View().Groups[1].Leader
	v.clickOn("#shards tr:nth-child(2) button")
	c.Await("the shard has another leader", func(w *proc.View) bool { return w.Settled && w.Groups[1].Leader != old })

	v.click("room-pause")
	v.await("[...document.querySelectorAll(\"#event-tiles div\")].some((d) => d.textContent === \"Roompaused\")")
	v.click("room-resume")
	v.await("[...document.querySelectorAll(\"#event-tiles div\")].some((d) => d.textContent === \"Roomopen\")")
	v.set("room-rate", "12.5")
	v.set("room-limit", "77")
	v.submit("room")
	v.await(says("done", "12.5 a second"))
	var state struct {
		Limit int
		Rate  float64 `json:"rate_per_s"`
	}
	send(t, http.MethodGet, api+"/v1/events/"+key+"/queue?consistent=1", nil, &state)
	if state.Limit != 77 || state.Rate != 12.5 {
		t.Errorf("the room has %+v", state)
	}
	v.click("rotate")
	v.agree()
	v.await(says("keys", "signs"))
}

// TestKeysAreAskedFor proves that with keys on a page asks for one, says if it is wrong,
// and goes on with a good one.
func TestKeysAreAskedFor(t *testing.T) {
	n := proc.NewPlace(t).Start(t)
	hall(t, n.HTTP, "gala", 3, nil)
	var op, seller struct{ Key string }
	send(t, http.MethodPost, n.Admin+"/admin/keys", obj{"name": "op", "role": "operate"}, &op)
	send(t, http.MethodPost, n.Admin+"/admin/keys", obj{"name": "shop", "role": "sell"}, &seller)
	v := visitor(t, desktop)
	v.open(n.HTTP + "/e/gala")
	v.await(seen("key"))
	for _, key := range []string{"usher_wrong_one", seller.Key} {
		v.await(seen("key"))
		v.set("key", key)
		v.submit("login")
		if key != seller.Key {
			v.await(says("login", "not accepted"))
		}
	}
	v.inside()
	v.submit("best")
	v.await(seen("countdown"))
}
