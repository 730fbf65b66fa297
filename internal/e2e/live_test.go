package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/usher-seats/usher/internal/proc"
)

// pixels counts the pixels of the map that have a colour.
func (v *tab) pixels(colour string) (n int) {
	v.t.Helper()
	v.eval(fmt.Sprintf("(%s)(%q)", countPixels, colour), &n)
	return n
}

const countPixels = `(colour) => {
	const c = document.getElementById("map"), want = parseInt(colour.slice(1), 16);
	const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
	let n = 0;
	for (let i = 0; i < d.length; i += 4) if ((d[i] << 16 | d[i + 1] << 8 | d[i + 2]) === want) n++;
	return n;
}`

const (
	gold   = "#b4530a" // the first category
	sold   = "#dedbd4"
	within = time.Second // from a hold in one browser until another shows it
)

// TestSeatsChangeColourElsewhere proves that what one buyer holds changes its colour on
// another's map within a second: at the median of five, because it is the machine's other
// work that makes single ones late.
func TestSeatsChangeColourElsewhere(t *testing.T) {
	n := proc.NewPlace(t).Start(t)
	hall(t, n.HTTP, "gala", 5, nil)
	one, other := visitor(t, desktop), visitor(t, desktop)
	for _, v := range []*tab{one, other} {
		v.open(n.HTTP + "/e/gala")
		v.inside()
	}
	var took []time.Duration
	for i := range 5 {
		label := fmt.Sprintf("A-%d-5", i+1)
		before := other.pixels(gold)
		one.pick(label)
		// The other page waits for the change of its own map, and tells when it came.
		other.eval(fmt.Sprintf(`(() => { globalThis.changed = null; const count = %s;
			const look = () => (count(%q) < %d ? globalThis.changed = Date.now() : requestAnimationFrame(look)); look(); })()`, countPixels, gold, before), nil)
		one.eval(`(() => { const real = fetch; globalThis.granted = null;
			globalThis.fetch = async (...a) => { const r = await real(...a); if (a[0].endsWith("/holds")) globalThis.granted = Date.now(); return r; }; })()`, nil)
		one.click("hold")
		one.await("globalThis.granted")
		other.await("globalThis.changed")
		var granted, changed int64
		one.eval("globalThis.granted", &granted)
		other.eval("globalThis.changed", &changed)
		took = append(took, time.Duration(changed-granted)*time.Millisecond)
		one.await(seen("countdown"))
		if i == 4 {
			break
		}
		one.click("release")
		one.await(seen("choose"))
		other.await(fmt.Sprintf("(%s)(%q) === %d", countPixels, gold, before))
	}
	slices.Sort(took)
	t.Logf("from the grant of a hold until another browser shows it: %v", took)
	if took[len(took)/2] > within {
		t.Errorf("the median is %v, more than %v", took[len(took)/2], within)
	}
	one.click("pay")
	one.await(seen("tickets"))
	other.await(fmt.Sprintf("(%s)(%q) > 0", countPixels, sold))
}
