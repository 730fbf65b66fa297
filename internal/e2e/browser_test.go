package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/usher-seats/usher/internal/proc"
)

const (
	// patience bounds whatever a test waits for.
	patience = 60 * time.Second
	// lookEvery is how often it is looked whether something has come about.
	lookEvery = 20 * time.Millisecond
	// images is where the pictures of the docs go.
	images = "../../docs/images"
)

// chromium is the browser that all tests share; each visitor has a context of his
// own in it, with storage of its own. The zero value starts it when it is needed.
type chromium struct {
	once sync.Once
	ctx  context.Context
	stop []context.CancelFunc
	err  error
}

var browser chromium // owned by TestMain

func TestMain(m *testing.M) {
	defer browser.close()
	proc.Main(m)
}

func (b *chromium) close() {
	for i := len(b.stop) - 1; i >= 0; i-- {
		b.stop[i]()
	}
}

// open starts the browser, once.
func (b *chromium) open(t testing.TB) context.Context {
	t.Helper()
	b.once.Do(func() {
		path, err := exec.LookPath("chromium")
		if err != nil {
			b.err = fmt.Errorf("these tests need Chromium: %w", err)
			return
		}
		options := append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path), chromedp.Flag("no-sandbox", os.Geteuid() == 0),
			chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("hide-scrollbars", true))
		alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, cancel := chromedp.NewContext(alloc)
		b.ctx, b.stop = ctx, []context.CancelFunc{stop, cancel}
		b.err = chromedp.Run(ctx)
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.ctx
}

// window opens a window in a context of its own.
func (b *chromium) window(t testing.TB) target.ID {
	t.Helper()
	ctx := cdp.WithExecutor(b.ctx, chromedp.FromContext(b.ctx).Browser)
	in, err := target.CreateBrowserContext().WithDisposeOnDetach(true).Do(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// The first window of a context cannot be a tab of another.
	id, err := target.CreateTarget("about:blank").WithBrowserContextID(in).WithNewWindow(true).Do(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A tab is one visitor's browser. It belongs to one test goroutine.
type tab struct {
	t      testing.TB
	ctx    context.Context
	screen screen

	mu     sync.Mutex
	errors []string // that the page has thrown or logged
}

// A screen is a window's size in CSS pixels.
type screen struct {
	w, h   int64
	mobile bool
}

var (
	desktop = screen{1200, 800, false}
	phone   = screen{360, 740, true}
)

// visitor opens a tab that shares nothing with the others.
func visitor(t testing.TB, s screen) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser.open(t), chromedp.WithTargetID(browser.window(t)))
	t.Cleanup(cancel)
	v := &tab{t: t, ctx: ctx, screen: s}
	// The first Run is what the window lives as long as: it has no time limit.
	if err := chromedp.Run(ctx); err != nil {
		t.Fatal(err)
	}
	chromedp.ListenTarget(ctx, v.heard)
	ratio := 1.0
	if s.mobile {
		ratio = 2
	}
	v.run("set up the window", emulation.SetDeviceMetricsOverride(s.w, s.h, ratio, s.mobile),
		emulation.SetTouchEmulationEnabled(s.mobile), log.Enable())
	t.Cleanup(v.tell)
	return v
}

// heard keeps what the page complains of. A request that fails is no complaint: the
// pages live with that.
func (v *tab) heard(event any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		v.errors = append(v.errors, text)
	case *log.EventEntryAdded:
		if e.Entry.Source == log.SourceSecurity || e.Entry.Source == log.SourceJavascript {
			v.errors = append(v.errors, e.Entry.Text)
		}
	}
}

// tell fails the test if the page has complained, and shows the page if it failed.
func (v *tab) tell() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.errors {
		v.t.Errorf("the page says: %s", e)
	}
}

func (v *tab) run(what string, actions ...chromedp.Action) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		v.t.Fatalf("%s: %v", what, err)
	}
}

// open goes to a page.
func (v *tab) open(url string) {
	v.t.Helper()
	v.run("open "+url, chromedp.Navigate(url))
}

// blind keeps the tab from some paths of the API.
func (v *tab) blind(paths ...string) {
	v.t.Helper()
	var list []*network.BlockPattern
	for _, p := range paths {
		for _, query := range []string{"", "?*"} {
			list = append(list, &network.BlockPattern{URLPattern: "http://*:*" + p + query, Block: true})
		}
	}
	v.run("block URLs", network.Enable(), network.SetBlockedURLs().WithURLPatterns(list))
}

// still has the visitor prefer less motion.
func (v *tab) still() {
	v.t.Helper()
	v.run("prefer less motion", emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}}))
}

// eval gives what a JavaScript expression says, read into out.
func (v *tab) eval(js string, out any) {
	v.t.Helper()
	var raw json.RawMessage
	v.run(js, chromedp.Evaluate(js, &raw, func(p *runtime.EvaluateParams) *runtime.EvaluateParams {
		return p.WithAwaitPromise(true).WithReturnByValue(true)
	}))
	if out == nil {
		return
	}
	if err := json.Unmarshal(raw, out); err != nil {
		v.t.Fatalf("%s: %v: %s", js, err, raw)
	}
}

// await waits until a JavaScript expression is true, and tells how long that took. It
// outlives that the page is loaded anew.
func (v *tab) await(js string) time.Duration {
	v.t.Helper()
	for began := time.Now(); ; <-time.After(lookEvery) { // the interval of a poll
		ctx, cancel := context.WithTimeout(v.ctx, patience)
		var ok bool
		err := chromedp.Run(ctx, chromedp.Evaluate("Boolean("+js+")", &ok))
		cancel()
		if err == nil && ok {
			return time.Since(began)
		}
		if time.Since(began) > patience {
			v.t.Fatalf("after %v it is not so that %s (%v); the page shows:\n%s", patience, js, err, v.text("body"))
		}
	}
}

// seen is a JavaScript expression: an element is there and shown.
func seen(id string) string {
	return fmt.Sprintf("document.getElementById(%q)?.checkVisibility()", id)
}

// says is a JavaScript expression: an element's text contains some.
func says(id, text string) string {
	return fmt.Sprintf("document.getElementById(%q)?.textContent.includes(%q)", id, text)
}

// text is what an element shows.
func (v *tab) text(selector string) string {
	v.t.Helper()
	var s string
	v.eval(fmt.Sprintf("document.querySelector(%q).innerText", selector), &s)
	return s
}

// click clicks on the element with an id.
func (v *tab) click(id string) { v.t.Helper(); v.clickOn("#" + id) }

// submit clicks on the button that sends a form.
func (v *tab) submit(form string) { v.t.Helper(); v.clickOn("#" + form + " [type=submit]") }

// clickOn clicks on an element once it can be clicked: it is shown, stands still, and
// nothing covers it. On a page that is still moving a click may miss: then it is made
// again, as people do.
func (v *tab) clickOn(selector string) {
	v.t.Helper()
	point := fmt.Sprintf(`(async () => {
		const e = document.querySelector(%q);
		if (!e?.checkVisibility() || e.disabled) return null;
		e.scrollIntoView({block: "nearest"});
		const look = () => { const b = e.getBoundingClientRect(); return {x: b.left + b.width / 2, y: b.top + b.height / 2}; };
		const was = look();
		for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
		const p = look();
		if (p.x !== was.x || p.y !== was.y || !e.contains(document.elementFromPoint(p.x, p.y))) return null;
		e.awaited = true;
		e.addEventListener("click", () => { e.awaited = false; }, {once: true, capture: true});
		return p;
	})()`, selector)
	// A page that was loaded anew by the click has another element.
	done := fmt.Sprintf("!document.querySelector(%q)?.awaited", selector)
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(lookEvery) {
		var p *struct{ X, Y float64 }
		if v.eval(point, &p); p == nil {
			continue
		}
		v.run("click on "+selector, chromedp.MouseClickXY(p.X, p.Y))
		for again := time.Now().Add(time.Second); time.Now().Before(again); <-time.After(lookEvery) {
			var ok bool
			ctx, cancel := context.WithTimeout(v.ctx, patience)
			err := chromedp.Run(ctx, chromedp.Evaluate(done, &ok))
			cancel()
			if err == nil && ok {
				return
			}
		}
	}
	v.t.Fatalf("%s cannot be clicked; the page shows:\n%s", selector, v.text("body"))
}

// set gives a field a value, as a person who types it does.
func (v *tab) set(id, value string) {
	v.t.Helper()
	v.eval(fmt.Sprintf(`(() => { const e = document.getElementById(%q); e.value = %q;
		e.dispatchEvent(new Event("input", {bubbles: true})); e.dispatchEvent(new Event("change", {bubbles: true})); })()`, id, value), nil)
}

// press sends keys to whatever has the focus.
func (v *tab) press(keys ...string) {
	v.t.Helper()
	for _, k := range keys {
		v.run("press a key", chromedp.KeyEvent(k))
	}
}

// tabTo presses Tab until an element has the focus, as people without a mouse do.
func (v *tab) tabTo(id string) {
	v.t.Helper()
	for range 80 {
		var ok bool
		if v.eval(fmt.Sprintf("document.activeElement?.id === %q", id), &ok); ok {
			return
		}
		v.press(kb.Tab)
	}
	v.t.Fatalf("Tab does not lead to %s", id)
}

// shot takes a picture for the docs.
func (v *tab) shot(name string) {
	v.t.Helper()
	var png []byte
	v.run("take a picture", chromedp.ActionFunc(func(ctx context.Context) (err error) {
		png, err = page.CaptureScreenshot().WithFormat(page.CaptureScreenshotFormatPng).WithOptimizeForSpeed(false).Do(ctx)
		return err
	}))
	if err := os.MkdirAll(images, 0o755); err != nil {
		v.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(images, name+".png"), png, 0o644); err != nil {
		v.t.Fatal(err)
	}
}
