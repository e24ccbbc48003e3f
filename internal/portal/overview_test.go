package portal_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// newCity has many applications of four environments each: every tenth environment drifts, every fiftieth is locked.
func newCity(n int) *stub {
	s := newStub()
	for i := range n {
		app := fmt.Sprintf("applications/app-%04d", i/4)
		if i%4 == 0 {
			s.apps = append(s.apps, &catalogv1.Application{Name: app})
		}
		e := &catalogv1.Environment{
			Name: app + "/environments/" + []string{"dev", "preview", "production", "staging"}[i%4], Type: "environmentTypes/" + []string{"development", "production"}[i%2],
			Live: &catalogv1.Live{Sync: driftv1.SyncState_SYNC_STATE_SYNCED, Health: driftv1.Health_HEALTH_HEALTHY}, CreateActor: "users/bo",
		}
		if i%10 == 0 {
			e.Live.Findings = 2
		}
		if i%50 == 0 {
			e.Lock = &catalogv1.Lock{Actor: "users/bo", Message: "an audit"}
		}
		s.envs = append(s.envs, e)
	}
	return s
}

// touch changes an environment of the stub by its short name.
func (s *stub) touch(short string, f func(*catalogv1.Environment)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, env, _ := strings.Cut(short, "/")
	for _, e := range s.envs {
		if e.Name == "applications/"+app+"/environments/"+env {
			f(e)
		}
	}
}

// lists counts how often the page has read the list's beginning.
const lists = `performance.getEntriesByType("resource").filter((r) => /environments\?/.test(r.name) && !/pageToken/.test(r.name)).length`

// first is the text of the row at the top of the window.
const first = `(() => { for (let y = 60; y < innerHeight; y += 10) { const r = document.elementFromPoint(300, y)?.closest(".list-row:not(.heading)"); if (r) return r.dataset.key + " " + Math.round(r.getBoundingClientRect().top); } return ""; })()`

func TestInABrowserALongListIsInTheDocumentAsFarAsItCanBeSeen(t *testing.T) {
	t.Parallel()
	const n = 2000
	s := newCity(n)
	p := open(t, serve(t, s).URL)
	p.signIn(adminToken)
	rows := fmt.Sprint(n + n/4 + 1)
	p.wait("all are there", `document.querySelector("[role=table]")?.getAttribute("aria-rowcount") === "`+rows+`"`)
	if drawn := ask[int](p, `document.querySelectorAll("[role=row]").length`); drawn < 10 || drawn > 80 {
		t.Errorf("%d rows are in the document", drawn)
	}
	p.js(`scrollTo(0, document.body.scrollHeight)`)
	p.see("app-0499/staging")
	if index := ask[string](p, `[...document.querySelectorAll(".list-row")].at(-1).getAttribute("aria-rowindex")`); index != rows {
		t.Errorf("the last row has the index %s of %s", index, rows)
	}
	if order := ask[bool](p, `[...document.querySelectorAll(".list-row")].every((r, i, all) => !i || Number(r.getAttribute("aria-rowindex")) > Number(all[i - 1].getAttribute("aria-rowindex")))`); !order {
		t.Error("rows are not read in their order")
	}
	p.fill("input[type=search]", "app-0250/prod")
	p.see("app-0250/production")
	p.wait("how many is told", `document.querySelector(".sr[role=status]").innerText === "1 of 2000 environments"`)
	p.wait("the list is at its top", `document.querySelector(".list-row").getBoundingClientRect().top > 0`)
	p.js(`document.querySelector("input[type=search]").value = ""; document.querySelector("input[type=search]").dispatchEvent(new InputEvent("input"))`)
	p.press("Locked 40")
	p.wait("the address has it", `location.hash === "#/?state=locked"`)
	p.press("Drifting 200")
	p.wait("both hold", `document.querySelector(".sr[role=status]").innerText === "40 of 2000 environments" && location.hash === "#/?state=locked%2Cdrifting"`)

	t.Log("whoever gets the address sees the same")
	p.visit("#/events")
	p.see("Events")
	p.visit("#/?q=app-02&state=drifting&type=development&sort=changed")
	p.wait("it is looked for", `document.querySelector(".sr[role=status]")?.innerText === "40 of 2000 environments" && document.querySelector("input[type=search]").value === "app-02"`)
	p.visit("#/?q=nobody")
	p.see("No environment is so")
	p.press("Show all")
	p.see("app-0000/dev")
	p.clean()
}

func TestInABrowserTheListFollowsWhatChangesAndStaysWhereItIs(t *testing.T) {
	t.Parallel()
	s := newCity(400)
	p := open(t, serve(t, s).URL)
	p.signIn(adminToken)
	p.wait("all are there", `document.querySelector("[role=table]")?.getAttribute("aria-rowcount") === "501"`)
	read := ask[int](p, lists)
	p.js(`scrollTo(0, 9000)`)
	p.wait("it is drawn there", first+` !== ""`)
	before := ask[string](p, first)
	key, _, _ := strings.Cut(before, " ")
	p.js(`document.querySelector(".list-row[data-key='` + key + `'] a").focus({preventScroll: true})`)

	s.mu.Lock()
	extra := proto.CloneOf(s.envs[0])
	extra.Name = "applications/app-0000/environments/another"
	s.envs = append(s.envs, extra)
	s.mu.Unlock()
	p.wait("the new one is counted", `document.querySelector("[role=table]").getAttribute("aria-rowcount") === "502"`)
	if after := ask[string](p, first); after != before {
		t.Errorf("a row came above: what is at the top was %q and is %q", before, after)
	}
	s.touch(key, func(e *catalogv1.Environment) {
		e.Live.Health = driftv1.Health_HEALTH_DEGRADED
		e.ExpireTime = timestamppb.New(time.Now().Add(3 * time.Hour))
		s.add(e, &catalogv1.Deployment{Actor: "users/ada", Message: "for the approvers", State: catalogv1.Deployment_STATE_AWAITING_APPROVAL})
	})
	row := `document.querySelector(".list-row[data-key='` + key + `']").innerText`
	p.wait("its row tells", `["degraded", "awaiting approval", "for the approvers", "in 3 h"].every((text) => `+row+`.includes(text))`)
	if focused := ask[string](p, `document.activeElement.closest(".list-row")?.dataset.key || ""`); focused != key {
		t.Errorf("the focus was on %s and is on %q", key, focused)
	}
	p.press("To approve 1")
	p.wait("it is found", `document.querySelector(".sr[role=status]").innerText === "1 of 401 environments"`)
	s.mu.Lock()
	s.envs = s.envs[:400]
	s.mu.Unlock()
	p.wait("one that is gone is taken out", `document.querySelector(".sr[role=status]").innerText === "1 of 400 environments"`)
	if now := ask[int](p, lists); now != read {
		t.Errorf("the list was read %d times more instead of followed", now-read)
	}

	t.Log("coming back shows what is known at once")
	p.visit("#/events")
	p.see("Events")
	s.touch("app-0001/dev", func(e *catalogv1.Environment) { e.Lock = &catalogv1.Lock{Actor: "users/bo"} })
	p.visit("#/?q=app-0001")
	p.see("locked")
	if now := ask[int](p, lists); now != read {
		t.Errorf("coming back read the list %d times more", now-read)
	}
	p.clean()
}

func TestInABrowserTheListIsPolledWhereStreamsDoNotHold(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.noStreams = true
	p := open(t, serve(t, s).URL)
	p.signIn(adminToken)
	p.see("quieter logs")
	s.touch("shop/dev", func(e *catalogv1.Environment) { e.Lock = &catalogv1.Lock{Actor: "users/bo"} })
	p.wait("it is seen all the same", `document.querySelector(".list").innerText.includes("locked")`)
	p.clean()
}

func TestInABrowserAListThatCannotBeReadSaysWhyAndGoesOn(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.listError = errs.New(errs.Unavailable, errorsv1.Reason_REASON_STORE_UNAVAILABLE, "the store does not answer")
	p := open(t, serve(t, s).URL)
	p.signIn(adminToken)
	p.see("the store does not answer")
	p.see("STORE_UNAVAILABLE")
	s.mu.Lock()
	s.listError = nil
	s.mu.Unlock()
	p.see("quieter logs")
	p.gone("the store does not answer")
	p.clean()
}

func TestInABrowserTheKeyboardFindsMovesAndHelps(t *testing.T) {
	t.Parallel()
	s := newCity(400)
	p := open(t, serve(t, s).URL)
	p.signIn(adminToken)
	p.wait("all are there", `document.querySelector("[role=table]")?.getAttribute("aria-rowcount") === "501"`)
	press := func(keys ...string) {
		t.Helper()
		for _, k := range keys {
			p.do(chromedp.KeyEvent(k))
		}
	}
	focus := func(want string) {
		t.Helper()
		p.wait("the focus is on "+want, `document.activeElement.closest(".list-row")?.dataset.key === `+quote(want)+` && document.activeElement.getBoundingClientRect().bottom <= innerHeight && document.activeElement.getBoundingClientRect().top >= 0`)
	}
	press("/")
	p.wait("the filter has the focus", `document.activeElement.type === "search"`)
	p.js(`document.activeElement.value = ""`) // a key of the DevTools protocol also types what the page has prevented
	press("/", "x")
	p.wait("in a field, keys are text", `document.querySelector("input[type=search]").value === "/x"`)
	p.js(`document.activeElement.value = ""; document.activeElement.dispatchEvent(new InputEvent("input")); document.querySelector(".list-row:not(.heading) a").focus()`)
	focus("app-0000/dev")
	for range 30 { // further than the window
		press(kb.ArrowDown)
	}
	focus("app-0007/production")
	press(kb.End)
	focus("app-0099/staging")
	press(kb.ArrowUp)
	focus("app-0099/production")
	press(kb.Home)
	focus("app-0000/dev")
	p.js(`scrollTo(0, document.body.scrollHeight)`)
	p.see("app-0099/staging")
	if ask[string](p, `document.activeElement.closest(".list-row")?.dataset.key || ""`) != "app-0000/dev" {
		t.Error("scrolling away took the focus")
	}
	press("?")
	p.see("Find: to the filter")
	press(kb.Escape)
	p.wait("the help is closed", `!document.querySelector("dialog")`)
	press("g", "e")
	p.wait("the events are shown", `location.hash === "#/events"`)
	press("g", "a")
	p.wait("and the list again", `location.hash === "#/" && document.querySelector(".list-row")`)
	p.clean()
}

func TestInABrowserTheNavigationFoldsOnAPhone(t *testing.T) {
	t.Parallel()
	p := open(t, serve(t, newShop(t)).URL)
	p.signIn(viewerToken)
	p.see("quieter logs")
	const visible = `document.querySelector("#nav a").checkVisibility()`
	if !ask[bool](p, visible+` && !document.getElementById("menu").checkVisibility()`) {
		t.Error("in a wide window the navigation is folded")
	}
	p.look(390, 844, "light")
	p.wait("it is folded", "!"+visible)
	p.press("Menu")
	p.wait("it is open, and says so", visible+` && document.getElementById("menu").getAttribute("aria-expanded") === "true"`)
	p.press("Events")
	p.wait("it folds by itself", `location.hash === "#/events" && !`+visible)
	p.clean()
}

func TestInABrowserAPageThatCannotBeLoadedIsLoadedWhenTheServerIsBack(t *testing.T) {
	t.Parallel()
	p := open(t, serve(t, newShop(t)).URL)
	block := func(patterns ...*network.BlockPattern) {
		t.Helper()
		if _, err := chromedp.Call(p.ctx, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: patterns}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := chromedp.Call(p.ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	block(&network.BlockPattern{URLPattern: "*://*:*/assets/events.js", Block: true})
	p.signIn(adminToken)
	p.visit("#/events")
	p.see("The page could not be loaded")
	block()
	p.see("drift.detected")
}
