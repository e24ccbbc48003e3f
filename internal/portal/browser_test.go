package portal_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var screenshots = flag.String("screenshots", "", "folder for screenshots of the pages; none when empty")

// page is a tab of a headless Chromium.
type page struct {
	t      *testing.T
	ctx    context.Context
	base   string
	errors chan string
}

// TestMain ends the browser that the tests share.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	stopBrowser()
	os.Exit(code)
}

var stopBrowser = func() {}

// browser starts the one browser when the first test asks for it.
var browser = sync.OnceValues(func() (context.Context, error) {
	binary, err := exec.LookPath("chromium")
	if err != nil {
		if binary, err = exec.LookPath("google-chrome"); err != nil {
			return nil, errors.New("there is no chromium or google-chrome in PATH; install one (Debian: apt-get install chromium)")
		}
	}
	alloc, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(binary), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)...)
	ctx, cancel := chromedp.NewContext(alloc)
	stopBrowser = func() { cancel(); stop() }
	return ctx, chromedp.Do(ctx)
})

// open opens a tab on the portal's address, with cookies of its own. It fails without Chromium: a portal that no browser has
// seen is not tested.
func open(t *testing.T, base string) *page {
	t.Helper()
	shared, err := browser()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(shared, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	ctx, timeout := context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(timeout)
	p := &page{t: t, ctx: ctx, base: base, errors: make(chan string, 100)}
	if err := chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			text := ev.ExceptionDetails.Text
			if ev.ExceptionDetails.Exception != nil {
				text += " " + ev.ExceptionDetails.Exception.Description
			}
			p.note("exception: " + text)
		case *log.EventEntryAdded:
			// Answers that say no are part of the tests; everything else, such as a breach of the content policy, is not.
			if ev.Entry.Level == log.EntryLevelError && ev.Entry.Source != log.EntrySourceNetwork {
				p.note(string(ev.Entry.Source) + ": " + ev.Entry.Text)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	p.do(chromedp.Navigate(base))
	return p
}

func (p *page) note(text string) {
	select {
	case p.errors <- text:
	default:
	}
}

// clean fails the test when a page has thrown an error or broken the content policy.
func (p *page) clean() {
	p.t.Helper()
	for {
		select {
		case text := <-p.errors:
			p.t.Error("the browser complains: " + text)
		default:
			return
		}
	}
}

func (p *page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// js runs JavaScript for what it does.
func (p *page) js(code string) { p.t.Helper(); p.do(chromedp.Evaluate[chromedp.Void](code)) }

// ask runs JavaScript for what it gives.
func ask[T any](p *page, code string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](code))
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

// wait polls an expression of JavaScript until it is true.
func (p *page) wait(what, js string) {
	p.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		if ask[bool](p, "!!("+js+")") {
			return
		}
		if time.Now().After(deadline) {
			p.clean()
			p.t.Fatalf("%s: not within 15 s; the page says:\n%s", what, ask[string](p, "location.href + '\\n' + document.body.innerText"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// see waits until the page shows the text.
func (p *page) see(text string) {
	p.t.Helper()
	p.wait("see "+text, "document.body?.innerText.includes("+quote(text)+")")
}

// gone waits until neither the page nor its banner shows the text; a toast may still tell of it.
func (p *page) gone(text string) {
	p.t.Helper()
	p.wait("no longer see "+text, `!["main", "banner"].some((id) => document.getElementById(id).innerText.includes(`+quote(text)+`))`)
}

// press clicks the first visible button or link with that text or label, in the open dialog if there is one.
func (p *page) press(name string) {
	p.t.Helper()
	find := `[...(document.querySelector("dialog[open]") || document).querySelectorAll("button,a,summary")].find((b) => ((b.getAttribute("aria-label") || b.innerText).trim() === ` + quote(name) + `) && b.checkVisibility() && !b.disabled)`
	p.wait("press "+name, find)
	p.js(find + ".click()")
}

func (p *page) fill(selector, text string) {
	p.t.Helper()
	p.wait("fill "+selector, "document.querySelector("+quote(selector)+")")
	p.js("document.querySelector(" + quote(selector) + ").select?.()")
	p.do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

func (p *page) visit(hash string) {
	p.t.Helper()
	p.js("location.hash=" + quote(hash))
}

func (p *page) signIn(token string) {
	p.t.Helper()
	p.fill("input[name=token]", token+kb.Enter)
	p.wait("signed in", `document.querySelector("#who .me")`)
}

func (p *page) signOut() {
	p.t.Helper()
	p.js(`document.querySelector("#who summary").click()`)
	p.press("Sign out")
	p.see("Sign in")
}

func (p *page) shot(name string) {
	p.t.Helper()
	if *screenshots == "" {
		return
	}
	for _, look := range []struct {
		name, scheme string
		width        int64
	}{{"light", "light", 1280}, {"dark", "dark", 1280}, {"phone", "light", 390}} {
		p.look(look.width, 844, look.scheme)
		png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
		if err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(*screenshots, name+"-"+look.name+".png"), png, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	p.look(1280, 900, "light")
}

// look changes the window and the colours that the person prefers.
func (p *page) look(width, height int64, scheme string) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, height))
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}); err != nil {
		p.t.Fatal(err)
	}
	p.do(chromedp.Sleep(150 * time.Millisecond)) // for the picture only: transitions end
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func TestInABrowserAPersonWalksThroughThePortal(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	web := serve(t, s)
	p := open(t, web.URL)

	p.see("make run")
	p.shot("signin")
	p.fill("input[name=token]", "tow_wrong"+kb.Enter)
	p.see("This token is not valid")
	p.signIn(adminToken)
	p.see("shop/dev")
	p.see("quieter logs")
	p.see("2 differences")
	p.shot("applications")

	p.visit("#/shop/dev")
	p.see("spec.ports[port=80,protocol=TCP]")
	p.see("Objects in the cluster")
	p.shot("environment")

	t.Log("a difference tells where what Git says comes from")
	p.press("Where from?")
	p.see("spec.replicas = 1: environment type development, replicas")

	t.Log("one variable is changed, with a plan first")
	p.press("Edit LOG_LEVEL")
	p.fill("input[name=value]", "debug"+kb.Enter)
	p.see("api: LOG_LEVEL info -> debug")
	p.see("env[name=LOG_LEVEL].value")
	p.press("1 file in Git")
	p.see("+          value: debug")
	p.shot("plan")
	p.fill("dialog input[name=message]", "find the slow query")
	p.press("Deploy")
	p.see("Deployment #4")
	p.wait("the phases show", `document.querySelector(".steps")`)
	p.shot("progress")
	p.wait("it becomes healthy and the value is shown", `document.querySelector(".facts")?.innerText.includes("#4") && document.querySelector(".vars")?.innerText.includes("debug")`)
	s.mu.Lock()
	got := s.lastChange
	s.mu.Unlock()
	if op := got.GetChange().GetOverlayOperations()[0]; op.GetPath() != "/workloads/api/containers/main/variables/LOG_LEVEL" || got.GetPlanHash() == "" || got.GetRequestId() == "" || got.GetMessage() != "find the slow query" {
		t.Errorf("deployed %v", got)
	}

	t.Log("drift is reverted, one and then the rest")
	p.press("Revert all…")
	p.see("The cluster is put back")
	p.shot("revert")
	p.press("Cancel")
	p.press("Revert…")
	p.press("Revert")
	p.gone("spec.ports[port=80,protocol=TCP]")
	p.press("Revert…")
	p.press("Revert")
	p.gone("spec.replicas")

	t.Log("history, and back to the first deployment")
	p.press("History")
	p.see("find the slow query")
	p.shot("history")
	p.wait("the first has its button", `[...document.querySelectorAll(".history > li")].at(-1)?.innerText.includes("Roll back to this…")`)
	p.js(`[...document.querySelectorAll(".history > li")].at(-1).querySelector(".tools button:last-child").click()`)
	p.see("back to " + shopDev + "/deployments/1")
	p.press("Roll back")
	p.see("rollback to #1")
	p.wait("it runs", `document.querySelector(".history > li")?.innerText.includes("running")`)

	t.Log("a new environment, and gone again")
	p.visit("#/new?application=shop")
	p.fill("input[name=environment]", "feature-x")
	p.shot("new")
	p.js(`document.querySelector("input[value=nothing]").click()`)
	p.press("Deploy")
	p.see("tow deploy -f score.yaml -e shop/feature-x --wait")
	p.shot("empty-environment")
	p.press("Delete…")
	p.see("Type shop/feature-x to confirm")
	p.fill("dialog input", "shop/feature-x")
	p.shot("delete")
	p.press("Delete shop/feature-x")
	p.see("The environment does not exist any more.")

	t.Log("events")
	p.visit("#/events")
	p.see("drift.detected")
	p.see("deployment.state")
	p.shot("events")

	p.signOut()
	p.clean()
}

func TestInABrowserAViewerIsOfferedNothingThatChangesSomething(t *testing.T) {
	t.Parallel()
	web := serve(t, newShop(t))
	p := open(t, web.URL)
	p.signIn(viewerToken)
	p.see("shop/dev")
	p.visit("#/shop/dev")
	p.see("2 differences to Git")
	p.see("LOG_LEVEL")
	if offered := ask[string](p, `[...document.querySelectorAll("main button:not(.asks), main summary")].map((b) => b.innerText).join()`); offered != "" {
		t.Errorf("a viewer is offered %q", offered)
	}
	p.press("Where from?") // it only asks
	p.see("environment type development, replicas")
	p.clean()
}

func TestInABrowserALostServerIsToldAndThePageRecovers(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	web := serve(t, s)
	p := open(t, web.URL)
	p.signIn(adminToken)
	p.see("quieter logs")
	p.js(`window.realFetch = window.fetch; window.fetch = () => Promise.reject(new TypeError("no network"));`)
	p.see("The server has not answered for")
	s.mu.Lock()
	s.envs[0].Type = "environmentTypes/other"
	s.mu.Unlock()
	p.js(`window.fetch = window.realFetch`)
	p.gone("The server has not answered for")
	p.see("other")
	p.clean()
}

func TestInABrowserAnEmptyInstallationSaysWhatToDo(t *testing.T) {
	t.Parallel()
	web := serve(t, newStub())
	p := open(t, web.URL)
	p.signIn(adminToken)
	p.see("tow deploy -f score.yaml -e shop/dev --wait")
	p.shot("empty")
	p.visit("#/new")
	p.fill("input[name=application]", "shop")
	p.wait("it begins with an environment", `document.querySelector("input[name=environment]").value === "dev"`)
	p.clean()
}

func TestInABrowserErrorsNameTheFieldAndAMovedPlanIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	web := serve(t, s)
	p := open(t, web.URL+"/#/shop/dev")
	p.signIn(adminToken)
	p.see("LOG_LEVEL")
	p.js(`document.querySelector(".adder").open = true`)
	p.fill(".adder input[name=name]", "PASSWORD")
	p.fill(".adder input[name=value]", "hunter2"+kb.Enter)
	p.see("change.overlay_operations[0].value")
	p.wait("the page is read again", `performance.getEntriesByType("resource").filter((r) => r.name.endsWith("/status")).length >= 4`)
	p.see("change.overlay_operations[0].value") // and the error is still there
	p.shot("error")

	p.press("Edit LOG_LEVEL")
	p.fill("tr input[name=value]", "warn"+kb.Enter)
	p.see("info -> warn")
	s.mu.Lock()
	s.add(s.envs[0], &catalogDeployment{State: stateHealthy, Actor: "users/bo"})
	s.mu.Unlock()
	p.press("Deploy")
	p.see("The plan no longer holds")
	p.press("Plan again")
	p.press("Deploy")
	p.wait("it runs", `document.querySelector(".facts")?.innerText.includes("#5")`)
	p.clean()
}

func TestInABrowserTheAPIPageListsEveryOperationAndSends(t *testing.T) {
	t.Parallel()
	web := serve(t, newShop(t))
	p := open(t, web.URL)
	p.signIn(adminToken)
	p.do(chromedp.Navigate(web.URL + "/docs#GetEnvironment"))
	p.see("/v1/applications/{application}/environments/{environment}:plan")
	p.wait("the address opens the operation", `document.querySelector("#GetEnvironment[open] form")`)
	p.js(`document.querySelector("#PlanDeployment summary").click()`)
	p.shot("docs")
	p.js(`document.querySelector("#WhoAmI summary").click()`)
	p.wait("its form", `document.querySelector("#WhoAmI form")`)
	p.js(`document.querySelector("#WhoAmI form").requestSubmit()`)
	p.see(`"subject": "tokens/admin"`)
	p.clean()
}
