package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/usher-seats/usher/internal/proc"
)

// where is the middle of a seat on the map, in the window.
func (v *tab) where(label string) (x, y float64) {
	v.t.Helper()
	var p struct{ X, Y float64 }
	v.eval(fmt.Sprintf(`(() => {
		const {seating, places} = usher, id = places.find(%q), run = places.run(id);
		seating.map.reveal(id);
		const at = seating.plan.at(run, id - run.first), box = document.getElementById("map").getBoundingClientRect();
		const [x, y] = seating.map.toCanvas(at.x, at.y);
		return {x: x + box.left, y: y + box.top};
	})()`, label), &p)
	return p.X, p.Y
}

// pick clicks on a seat of the map.
func (v *tab) pick(label string) {
	v.t.Helper()
	x, y := v.where(label)
	v.run("click on "+label, chromedp.MouseClickXY(x, y))
	v.await(chosen(label))
}

func chosen(label string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#chosen .chip")].some((e) => e.firstChild.data === %q)`, label)
}

// inside waits until the buyer sees the map, with the seats as they are.
func (v *tab) inside() {
	v.t.Helper()
	v.await(seen("choose") + " && usher.seating?.map.scale > 0 && usher.seating.counted")
	v.settled()
}

// settled waits until the map has been drawn.
func (v *tab) settled() {
	v.t.Helper()
	v.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))", nil)
}

// TestFromQueueToTicket takes a buyer through everything: he waits, is let in, chooses
// seats on a map of 50,000, pays, and has his tickets.
func TestFromQueueToTicket(t *testing.T) {
	n := proc.NewPlace(t).Start(t)
	const key = "arena"
	arena(t, n.HTTP, key)
	take(t, n.HTTP, key, "103-2-10", "103-2-11", "103-2-12")
	book(t, n.HTTP, key, "103-2-13", "103-2-14", "103-1-10", "103-1-11")
	room(t, n.HTTP, key, obj{"limit": 1, "rate_per_s": 100, "grace_ms": 600_000})
	inside := join(t, n.HTTP, key)
	inside.enter(t, n.HTTP, key)
	var others []ticket
	for range 30 {
		others = append(others, join(t, n.HTTP, key))
	}

	list := visitor(t, desktop)
	list.open(n.HTTP + "/")
	list.await(says("events", "The Arena, opening night"))
	v := visitor(t, desktop)
	v.open(n.HTTP + "/e/" + key)
	v.click("join")
	v.await(says("room-title", "You are in the queue"))
	v.await(says("room-facts", "Ahead of you"))
	p := visitor(t, phone)
	p.open(n.HTTP + "/e/" + key)
	p.click("join")
	p.await(says("room-facts", "Ahead of you"))
	p.shot("waiting-room-phone")
	p.narrow()

	// A refresh keeps the place.
	number := v.text("#room-facts")
	v.open(n.HTTP + "/e/" + key)
	v.await(says("room-facts", "Ahead of you"))
	if again := v.text("#room-facts"); strings.Fields(again)[2] != strings.Fields(number)[2] {
		t.Errorf("after a refresh the page says %q, before it %q", again, number)
	}

	for i := range others {
		others[i].leave(t, n.HTTP, key)
	}
	inside.leave(t, n.HTTP, key)
	v.await(says("room-title", "It is your turn"))
	v.click("enter")
	v.inside()
	v.shot("map")

	v.paints(t)
	v.pick("103-2-15")
	v.pick("103-2-17")
	v.await(says("hint", "103-2-16 alone")) // an orphan
	v.settled()
	v.pick("103-2-16")
	v.await("document.getElementById(\"hint\").hidden")
	v.click("hold")
	v.await(seen("countdown"))
	v.await(says("held", "103-2-16"))
	v.settled()
	v.shot("hold")
	v.click("pay")
	v.await(seen("tickets"))

	var tickets []struct {
		ID    string
		Seats []string
	}
	v.eval("usher.store.get(\"tickets\")", &tickets)
	if len(tickets) != 1 || strings.Join(tickets[0].Seats, " ") != "103-2-15 103-2-16 103-2-17" {
		t.Fatalf("the page has the tickets %v", tickets)
	}
	var booking struct {
		State string
		Seats []string
	}
	send(t, http.MethodGet, n.HTTP+"/v1/events/"+key+"/bookings/"+tickets[0].ID, nil, &booking)
	if booking.State != "booked" || len(booking.Seats) != 3 {
		t.Errorf("the server has the booking %+v", booking)
	}

	// The phone's buyer is next: the best seats, without a look at the map.
	v.click("finish") // who is done makes room for the next
	p.await(says("room-title", "It is your turn"))
	p.click("enter")
	p.inside()
	p.shot("map-phone")
	p.narrow()
	p.submit("best")
	p.await(seen("countdown"))
	p.narrow()
	p.click("pay")
	p.await(seen("tickets"))
}

// paints measures how long the map takes to be drawn: all of it, and nearer. What it
// shows is what the machine does at the time, so it is told and not judged.
func (v *tab) paints(t *testing.T) {
	t.Helper()
	for _, scale := range []float64{0, 6, 10, 16, 24} {
		var ms float64
		v.eval(fmt.Sprintf(`(() => {
			const {map} = usher.seating;
			map.centre(0, map.plan.height / 2, %v);
			map.draw();
			const began = performance.now();
			for (let i = 0; i < 20; i++) map.draw();
			map.context.getImageData(0, 0, 1, 1);
			return (performance.now() - began) / 20;
		})()`, scale), &ms)
		t.Logf("drawing the map at %v pixels a seat (0: all of it) takes %.1f ms", scale, ms)
	}
	v.eval("usher.seating.map.fit()", nil)
}

// narrow fails the test if the page is wider than the window. A phone would show it
// smaller than it is.
func (v *tab) narrow() {
	v.t.Helper()
	var wide []string
	v.eval(fmt.Sprintf(`[...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && !e.closest(".scroll > *, .unseen, canvas") && e.getBoundingClientRect().right > %d + 1).map((e) => e.outerHTML.slice(0, 120))`, v.screen.w), &wide)
	var width int64
	if v.eval("document.documentElement.scrollWidth", &width); width > v.screen.w || len(wide) > 0 {
		v.t.Errorf("the page is %d pixels wide in a window of %d: %q", width, v.screen.w, wide)
	}
}

// TestLosersLearnWhatIsGone proves that who loses a race for seats is told which, and is
// offered others that he can take with one click.
func TestLosersLearnWhatIsGone(t *testing.T) {
	n := proc.NewPlace(t).Start(t)
	hall(t, n.HTTP, "gala", 3, nil)
	v := visitor(t, desktop)
	v.blind("/v1/events/gala/stream") // so that the page does not know what is gone
	v.open(n.HTTP + "/e/gala")
	v.inside()
	v.pick("A-1-5")
	v.pick("A-1-6")
	take(t, n.HTTP, "gala", "A-1-6")
	v.click("hold")
	v.await(says("notice", "A-1-6 was taken a moment ago"))
	v.await(seen("offer"))
	v.shot("taken")
	v.clickOn("#offer button")
	v.await(seen("countdown"))
	var held []string
	v.eval("usher.store.get(\"hold\").seats", &held)
	if len(held) != 2 {
		t.Errorf("the page holds %v instead", held)
	}
}

// TestLatePayments proves that a payment which comes after the hold has run out books the
// seats if they are free, and else says what is gone and offers others.
func TestLatePayments(t *testing.T) {
	n := proc.NewPlace(t).Start(t)
	hall(t, n.HTTP, "gala", 3, obj{"hold_ttl_ms": 2500, "extensions": 0})
	for _, lost := range []bool{false, true} {
		v := visitor(t, desktop)
		v.open(n.HTTP + "/e/gala")
		v.submit("best")
		v.await(seen("countdown"))
		var seats []string
		v.eval("usher.store.get(\"hold\").seats", &seats)
		v.eval("document.querySelector(\"[value=late]\").checked = true", nil)
		v.click("pay")
		if !lost {
			v.await(seen("tickets"))
			v.await(says("done-why", "they are yours"))
			continue
		}
		v.await("usher.store.get(\"hold\").deadline < Date.now()")
		grab(t, n.HTTP, "gala", seats...)
		v.await(says("notice", "You get your money back"))
		v.await(says("notice", "Gone: "+seats[0]))
		v.clickOn("#offer button")
		v.await(seen("countdown"))
	}
}

// TestDeclinedPayment proves that the seats stay the buyer's while he tries again, and
// that giving them back gives them back.
func TestDeclinedPayment(t *testing.T) {
	n := proc.NewPlace(t).Start(t)
	hall(t, n.HTTP, "gala", 3, nil)
	v := visitor(t, desktop)
	v.open(n.HTTP + "/e/gala")
	v.submit("best")
	v.await(seen("countdown"))
	v.eval("document.querySelector(\"[value=fail]\").checked = true", nil)
	v.click("pay")
	v.await(says("notice", "declined"))
	v.open(n.HTTP + "/e/gala") // a refresh in the middle of it all
	v.await(seen("countdown"))
	v.click("release")
	v.await(seen("choose"))
	v.await(`usher.seating?.seats.state.slice(0, 10).every((s) => s === 0)`)
}
