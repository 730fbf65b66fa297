package e2e

import (
	_ "embed"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/usher-seats/usher/internal/proc"
)

// axe is axe-core 4.14.1, which finds what screen readers, keyboards and weak eyes stumble
// over. It is Mozilla's licence that it comes under; nothing of it is shipped.
//
//go:embed testdata/axe.min.js
var axe string

// accessible fails the test for everything on the page that breaks a rule of WCAG 2.2 AA.
func (v *tab) accessible(what string) {
	v.t.Helper()
	v.eval("(() => { if (!globalThis.axe) { "+axe+"\n } return true; })()", nil)
	var found []struct {
		ID    string
		Help  string
		Nodes []struct {
			HTML           string
			FailureSummary string
		}
	}
	v.eval(`axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"]}).then((r) => r.violations)`, &found)
	for _, f := range found {
		for _, n := range f.Nodes {
			v.t.Errorf("%s: %s (%s): %s\n%s", what, f.Help, f.ID, n.HTML, n.FailureSummary)
		}
	}
}

// TestAccessible proves that no page, in no state that a visitor comes through, has what
// axe-core knows to be a barrier, and that none is wider than a small phone.
func TestAccessible(t *testing.T) {
	n := proc.NewPlace(t).Start(t)
	hall(t, n.HTTP, "gala", 10, nil)
	book(t, n.HTTP, "gala", "A-1-1", "A-1-2")
	for i, s := range []screen{desktop, phone} {
		v := visitor(t, s)
		see := func(what string) {
			t.Helper()
			v.accessible(fmt.Sprintf("%s at %d pixels", what, s.w))
			v.narrow()
		}
		v.open(n.HTTP + "/")
		v.await(says("events", "A small hall"))
		see("the list")
		room(t, n.HTTP, "gala", obj{"limit": 100, "rate_per_s": 100})
		v.open(n.HTTP + "/e/gala")
		v.await(seen("join"))
		see("the waiting room")
		v.click("join")
		v.await(seen("enter"))
		see("the turn")
		v.click("enter")
		v.inside()
		v.pick(fmt.Sprintf("B-%d-3", i+1))
		v.pick(fmt.Sprintf("B-%d-5", i+1))
		see("the map")
		v.click("hold")
		v.await(seen("countdown"))
		see("the hold")
		v.click("pay")
		v.await(seen("tickets"))
		see("the tickets")
		v.open(n.HTTP + "/e/nothing")
		v.await(seen("gone-title"))
		see("an event that is not there")
		v.open(n.HTTP + "/e/gala/draw")
		v.await(seen("gone-title"))
		see("a draw that is not there")
		v.open(n.Admin + "/")
		v.await("document.querySelector(\"#sale canvas\")")
		see("the operator's page")
		v.click("add-shard")
		v.await("document.getElementById(\"ask\").open")
		see("the operator's question")
	}
}

// told waits until a screen reader has been told some words.
func (v *tab) told(words ...string) {
	v.t.Helper()
	for _, w := range words {
		v.await(says("live", w))
	}
}

// TestByKeyboardAlone takes a buyer from the queue to his tickets with keys alone, and
// proves that he is told where he is.
func TestByKeyboardAlone(t *testing.T) {
	n := proc.NewPlace(t).Start(t)
	hall(t, n.HTTP, "gala", 4, nil)
	book(t, n.HTTP, "gala", "A-2-6")
	room(t, n.HTTP, "gala", obj{"limit": 10, "rate_per_s": 100})
	v := visitor(t, desktop)
	v.open(n.HTTP + "/e/gala")
	v.await(seen("join"))
	v.tabTo("join")
	v.press(kb.Enter)
	v.told("It is your turn")
	v.await("document.activeElement.id === \"enter\"")
	v.press(kb.Enter)
	v.inside()
	v.tabTo("map-box")
	v.press(kb.ArrowRight)
	v.told("Section A, row 1, seat 5", "gold", "free")
	v.press(kb.ArrowRight)
	v.told("Row 1, seat 6")
	v.press(kb.ArrowDown)
	v.told("Row 2, seat 6", "sold")
	v.press(kb.Enter)
	v.told("is sold")
	v.press(kb.ArrowRight, kb.Enter)
	v.told("seat 7 chosen", "1 seat chosen")
	v.press(kb.ArrowRight, " ")
	v.told("2 seats chosen")
	v.settled()
	v.shot("keyboard")
	v.press(kb.Home)
	v.told("seat 1,")
	v.press("n")
	v.told("seat 2,")
	v.press(kb.PageDown)
	v.told("Section B")
	v.tabTo("hold")
	v.press(kb.Enter)
	v.await(seen("countdown"))
	v.told("2 seats held for you")
	v.await("document.activeElement.id === \"hold-title\"")
	v.tabTo("pay")
	v.press(kb.Enter)
	v.await(seen("tickets"))
	v.told("A-2-7, A-2-8")
	if got := v.text("#tickets"); !strings.Contains(got, "A-2-7") || !strings.Contains(got, "A-2-8") {
		t.Errorf("the tickets are %s", got)
	}
	var booking struct{ State string }
	var id string
	v.eval("usher.store.get(\"tickets\")[0].id", &id)
	send(t, http.MethodGet, n.HTTP+"/v1/events/gala/bookings/"+id, nil, &booking)
	if booking.State != "booked" {
		t.Errorf("the booking is %s", booking.State)
	}
}

// TestReducedMotion proves that who wants less motion gets it.
func TestReducedMotion(t *testing.T) {
	n := proc.NewPlace(t).Start(t)
	v := visitor(t, desktop)
	v.still()
	v.open(n.HTTP + "/")
	var moves int
	v.eval(`[...document.querySelectorAll("*")].filter((e) => { const s = getComputedStyle(e); return s.animationName !== "none" || parseFloat(s.transitionDuration) > 0; }).length`, &moves)
	if moves > 0 {
		t.Errorf("%d elements move", moves)
	}
}
