package portal_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// portalPage is one page or dialog of the portal as every test of all pages visits it. Each part's test files append theirs to
// portalPages in an init function.
type portalPage struct {
	name string // of its subtests
	at   string // the address below the server's, such as "/#/shop/dev"
	sees string // a text that is there once the page is drawn
	// before is what a person does there before it is looked at, such as opening a dialog; nil for nothing.
	before func(p *page)
	// viewer is what a viewer sees there instead of sees, and does not do before; sees when empty.
	viewer string
	// shop is what is behind the page; newShop when nil.
	shop func(t *testing.T) *stub
	// stranger looks at it without having signed in.
	stranger bool
	// picture is the name of its picture in docs/images, without .png; none when empty. See pictures_test.go.
	picture string
}

var portalPages = []portalPage{
	{name: "sign-in", at: "/", sees: "make run", stranger: true},
	{name: "applications", at: "/#/", sees: "quieter logs", picture: "applications"},
	{name: "applications, none yet", at: "/#/", sees: "tow deploy", shop: func(*testing.T) *stub { return newStub() }},
	{name: "new environment", at: "/#/new?application=shop", sees: "What runs first", viewer: "You may look, not make one", picture: "new"},
	{name: "environment", at: "/#/shop/dev", sees: "spec.ports[port=80,protocol=TCP]", picture: "environment"},
	{name: "environment that is not there", at: "/#/shop/nowhere", sees: "does not exist"},
	{name: "plan", at: "/#/shop/dev", sees: "LOG_LEVEL", picture: "plan", before: func(p *page) {
		p.press("Edit LOG_LEVEL")
		p.fill("input[name=value]", "debug"+kb.Enter)
		p.see("api: LOG_LEVEL info -> debug")
	}},
	{name: "drift", at: "/#/shop/dev", sees: "spec.ports[port=80,protocol=TCP]", picture: "drift", before: func(p *page) {
		p.press("Where from?")
		p.see("environment type development, replicas")
		p.js(`document.querySelector(".finding").scrollIntoView(); scrollBy(0, -20)`)
	}},
	{name: "revert", at: "/#/shop/dev", sees: "spec.ports[port=80,protocol=TCP]", before: func(p *page) {
		p.press("Revert all…")
		p.see("The cluster is put back")
	}},
	{name: "delete", at: "/#/shop/dev", sees: "spec.ports[port=80,protocol=TCP]", before: func(p *page) {
		p.press("Delete…")
		p.see("Type shop/dev to confirm")
	}},
	{name: "history", at: "/#/shop/production/history", sees: "UNRESOLVED_PLACEHOLDER", picture: "history"},
	{name: "git", at: "/#/shop/dev/git", sees: "fixed by hand"},
	{name: "git commit", at: "/#/shop/dev/git?commit=" + hash("first"), sees: "+EUR: yes"},
	{name: "git files", at: "/#/shop/dev/git?files=1", sees: "web/page.yaml"},
	{name: "events", at: "/#/events", sees: "drift.detected"},
	{name: "no such page", at: "/#/a/b/c/d", sees: "There is no such page"},
	{name: "api", at: "/docs#WhoAmI", sees: "WhoAmI"},
}

// axeFile is axe-core as `make axe` has fetched it.
func axeFile(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("../../.build/axe-core/axe-*.min.js")
	if err != nil || len(found) == 0 {
		t.Fatal("there is no .build/axe-core/axe-*.min.js, so nothing can be said about accessibility: run `make axe`, which needs npm (Debian: apt-get install npm)")
	}
	b, err := os.ReadFile(found[len(found)-1])
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// turnTo opens a page of the table as the caller of that token, who does there what comes before.
func turnTo(t *testing.T, pg portalPage, token string, act bool) *page {
	t.Helper()
	shop := pg.shop
	if shop == nil {
		shop = newShop
	}
	p := open(t, serve(t, shop(t)).URL)
	if !pg.stranger {
		p.signIn(token)
		p.do(chromedp.Navigate(p.base+"/docs"), chromedp.Navigate(p.base+pg.at)) // an address that differs by its fragment alone is not loaded anew
	}
	sees := pg.sees
	if token == viewerToken && pg.viewer != "" {
		sees = pg.viewer
	}
	p.see(sees)
	if act && pg.before != nil {
		pg.before(p)
	}
	return p
}

// looks are what pages are looked at in: windows and the colours that a person prefers.
var looks = []struct {
	name, scheme  string
	width, height int64
}{{"light", "light", 1280, 900}, {"dark", "dark", 1280, 900}, {"phone", "light", 360, 740}, {"phone, dark", "dark", 360, 740}}

// TestInABrowserAxeFindsNothingOnAnyPage has axe-core look at every page, with all of its rules.
func TestInABrowserAxeFindsNothingOnAnyPage(t *testing.T) {
	t.Parallel()
	axe := axeFile(t)
	for _, pg := range portalPages {
		t.Run(pg.name, func(t *testing.T) {
			t.Parallel()
			p := turnTo(t, pg, adminToken, true)
			p.js(axe + "; undefined")
			for _, look := range looks {
				p.look(look.width, look.height, look.scheme)
				for _, found := range p.axe() {
					t.Errorf("%s: %s", look.name, found)
				}
			}
			p.shot(strings.NewReplacer(" ", "-", ",", "").Replace(pg.name))
		})
	}
}

// axe tells what axe-core finds wrong with what the page shows now, one line for each place.
func (p *page) axe() []string {
	p.t.Helper()
	const run = `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.flatMap((v) => v.nodes.map((n) =>
		v.id + " (" + v.impact + "): " + v.help + ": " + n.target.join(" ") + ": " + n.html.slice(0, 200) + ": " + (n.failureSummary || "").replace(/\s+/g, " "))))`
	found, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]string](run, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatal(err)
	}
	return found
}

// TestInABrowserEveryPageFitsAPhoneAndTheKeyboard looks at what axe-core cannot see.
func TestInABrowserEveryPageFitsAPhoneAndTheKeyboard(t *testing.T) {
	t.Parallel()
	for _, pg := range portalPages {
		t.Run(pg.name, func(t *testing.T) {
			t.Parallel()
			p := turnTo(t, pg, adminToken, true)
			if nameless := ask[string](p, `[...document.querySelectorAll("button, a[href], summary, input, select, textarea")].filter((b) => b.checkVisibility()
				&& !(b.getAttribute("aria-label") || b.innerText?.trim() || b.labels?.length || b.title || b.value)).map((b) => b.outerHTML).join("\n")`); nameless != "" {
				t.Errorf("these have no name:\n%s", nameless)
			}
			p.tabThrough()
			p.look(360, 740, "light")
			if wide := ask[string](p, tooWide); wide != "" {
				t.Errorf("wider than a phone of 360 pixels:\n%s", wide)
			}
			p.clean()
		})
	}
}

// tooWide names what makes a page, or the dialog that is open, scroll sideways.
const tooWide = `(() => {
	const dialog = document.querySelector("dialog[open]");
	const box = dialog || document.documentElement;
	if (box.scrollWidth <= box.clientWidth) return "";
	const edge = box.getBoundingClientRect().left + box.clientWidth;
	const inScroll = (e) => { for (let p = e.parentElement; p && p !== box; p = p.parentElement) if (getComputedStyle(p).overflowX !== "visible") return true; return false; };
	return [...(dialog || document.body).querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > edge + 1 && !inScroll(e)).slice(0, 5).map((e) => e.outerHTML.slice(0, 160)).join("\n") || box.outerHTML.slice(0, 80);
})()`

// tabThrough presses Tab until it comes round: everything that can be used must have had the focus, and shown it.
func (p *page) tabThrough() {
	p.t.Helper()
	p.js(`(() => {
		window.reached = new Set();
		window.unseen = [];
		addEventListener("focusin", (e) => {
			reached.add(e.target);
			const s = getComputedStyle(e.target);
			if ((s.outlineStyle === "none" || parseFloat(s.outlineWidth) < 1) && s.boxShadow === "none") unseen.push(e.target.outerHTML.slice(0, 160));
		});
		if (!document.querySelector("dialog[open]")) { document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute("tabindex"); }
	})()`)
	const usable = `[...(document.querySelector("dialog[open]") || document).querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")].filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0)`
	const missed = usable + `.filter((e) => !reached.has(e) && !(e.type === "radio" && [...reached].some((r) => r.name === e.name)))`
	for range ask[int](p, usable+".length")*2 + 20 {
		p.do(chromedp.KeyEvent(kb.Tab))
		if ask[bool](p, missed+".length === 0") {
			break
		}
	}
	if left := ask[string](p, missed+`.map((e) => e.outerHTML.slice(0, 160)).join("\n")`); left != "" {
		p.t.Errorf("the Tab key does not come to:\n%s", left)
	}
	if unseen := ask[string](p, `unseen.join("\n")`); unseen != "" {
		p.t.Errorf("the focus cannot be seen on:\n%s", unseen)
	}
}

// changes are what would change something: every button that is not marked as one that only asks, and ways to forms that do.
const changes = `[...document.querySelectorAll("main button:not(.asks):not([aria-label=Close]), main [href^='#/new'], main [type=submit]:not(.asks)")].filter((b) => b.checkVisibility()).map((b) => b.innerText || b.outerHTML).join("\n")`

// TestInABrowserNoPageOffersAViewerWhatChangesSomething is the promise that what a caller may not do is not offered.
func TestInABrowserNoPageOffersAViewerWhatChangesSomething(t *testing.T) {
	t.Parallel()
	for _, pg := range portalPages {
		if pg.stranger || strings.HasPrefix(pg.at, "/docs") { // the API page sends what one writes, as oneself
			continue
		}
		t.Run(pg.name, func(t *testing.T) {
			t.Parallel()
			p := turnTo(t, pg, viewerToken, false)
			p.wait("all is read", `!document.getElementById("main").innerText.includes("Reading")`)
			if offered := ask[string](p, changes); offered != "" {
				t.Errorf("a viewer is offered:\n%s", offered)
			}
			p.clean()
		})
	}
}
