package portal_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
)

// line is the way between browser and server: it counts what goes over it, and can be slow or cut.
type line struct {
	late time.Duration
	cut  atomic.Bool

	mu   sync.Mutex
	sent map[string]int // by method and the address up to its question mark
}

func (l *line) front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/") {
			next.ServeHTTP(w, r)
			return
		}
		l.mu.Lock()
		if l.sent == nil {
			l.sent = map[string]int{}
		}
		l.sent[r.Method+" "+r.URL.Path]++
		l.mu.Unlock()
		if l.cut.Load() {
			panic(http.ErrAbortHandler) // the browser sees a connection that ends
		}
		select {
		case <-time.After(l.late):
		case <-r.Context().Done():
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (l *line) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent[what]
}

func TestInABrowserASlowServerIsWaitedForAndNothingIsDoneTwice(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	slow := &line{late: 1500 * time.Millisecond}
	s.front = slow.front
	p := open(t, serve(t, s).URL+"/#/shop/dev")
	p.fill("input[name=token]", adminToken)
	p.js(`new MutationObserver(() => {
		const main = document.getElementById("main");
		window.told ||= main.innerText.includes("Reading") || getComputedStyle(main, "::before").content.includes("Reading");
	}).observe(document.getElementById("main"), {childList: true, subtree: true})`)
	p.js(`document.querySelector("form").requestSubmit()`)
	p.see("LOG_LEVEL")
	if !ask[bool](p, "!!window.told") {
		t.Error("the page does not say that it reads")
	}
	p.press("Edit LOG_LEVEL")
	p.fill("input[name=value]", "debug"+kb.Enter+kb.Enter+kb.Enter)
	p.wait("the button says that it works", `document.querySelector("main form [type=submit][aria-busy=true]")`)
	p.wait("the plan", `document.querySelector("dialog[open] [type=submit]")`)
	p.see("api: LOG_LEVEL info -> debug")
	if n := ask[int](p, `document.querySelectorAll("dialog").length`); n != 1 {
		t.Errorf("%d dialogs are open", n)
	}
	if n := slow.count("POST /v1/" + shopDev + ":plan"); n != 1 {
		t.Errorf("planned %d times", n)
	}
	p.js(`{ const b = document.querySelector("dialog [type=submit]"); b.click(); b.click(); b.click(); }`)
	p.see("Deployment #4")
	p.wait("it becomes healthy", `document.querySelector(".facts")?.innerText.includes("#4")`)
	if n := slow.count("POST /v1/" + shopDev + "/deployments"); n != 1 {
		t.Errorf("deployed %d times", n)
	}
	p.clean()
}

func TestInABrowserALostServerTakesNothingThatWasTyped(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	way := &line{}
	s.front = way.front
	p := open(t, serve(t, s).URL+"/#/shop/dev")
	p.signIn(adminToken)
	p.see("LOG_LEVEL")
	p.press("Edit LOG_LEVEL")
	p.fill("tr input[name=value]", "warn")
	way.cut.Store(true)
	p.see("The server has not answered for")
	p.fill("tr input[name=value]", "warning")
	t.Log("what is asked for meanwhile is refused in words")
	p.js(`document.querySelector("tr form").requestSubmit()`)
	p.see("The server does not answer")
	way.cut.Store(false)
	p.gone("The server has not answered for")
	if typed := ask[string](p, `document.querySelector("tr input[name=value]")?.value`); typed != "warning" {
		t.Errorf("the field holds %q", typed)
	}
	p.js(`document.querySelector("tr form").requestSubmit()`)
	p.see("info -> warning")
	way.cut.Store(true)
	p.fill("dialog input[name=message]", "less noise")
	p.press("Deploy")
	p.see("no connection")
	way.cut.Store(false)
	p.press("Deploy")
	p.see("Deployment #4")
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.deployments[shopDev]); n != 4 || s.lastChange.GetMessage() != "less noise" {
		t.Errorf("%d deployments, the last one says %q", n, s.lastChange.GetMessage())
	}
}

func TestInABrowserTwoPeopleWhoEditTheSameVariableSeeEachOther(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	web := serve(t, s)
	ada, bo := open(t, web.URL+"/#/shop/dev"), open(t, web.URL+"/#/shop/dev")
	for p, token := range map[*page]string{ada: developerToken, bo: adminToken} {
		p.signIn(token)
		p.press("Edit LOG_LEVEL")
	}
	ada.fill("tr input[name=value]", "debug"+kb.Enter)
	ada.see("info -> debug")
	bo.fill("tr input[name=value]", "warn"+kb.Enter)
	bo.see("info -> warn")

	ada.press("Deploy")
	ada.wait("hers is deployed", `document.querySelector(".facts")?.innerText.includes("#4")`)
	bo.press("Deploy")
	bo.see("The plan no longer holds")
	if ask[bool](bo, `!document.querySelector("dialog [type=submit]").disabled`) {
		t.Error("the old plan can still be deployed")
	}
	s.mu.Lock()
	if n := len(s.deployments[shopDev]); n != 4 {
		t.Errorf("%d deployments", n)
	}
	s.mu.Unlock()
	bo.press("Plan again")
	bo.press("Deploy")
	bo.wait("his is deployed after hers", `document.querySelector(".facts")?.innerText.includes("#5")`)
	ada.wait("and she sees it", `document.querySelector(".vars")?.innerText.includes("warn")`)
	ada.clean()
	bo.clean()
}

func TestInABrowserASessionThatEndsInTheMiddleGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	var revoked atomic.Bool
	s.people = func(_ context.Context, token string) (auth.Caller, error) {
		if token == "tow_temp" && !revoked.Load() {
			return auth.Caller{Subject: "tokens/temp", Role: auth.Developer}, nil
		}
		return auth.Caller{}, errs.New(errs.Unauthenticated, errorsv1.Reason_REASON_UNAUTHENTICATED, "the token is not valid")
	}
	p := open(t, serve(t, s).URL+"/#/shop/dev")
	p.signIn("tow_temp")
	p.press("Edit LOG_LEVEL")
	p.fill("tr input[name=value]", "debug"+kb.Enter)
	p.see("info -> debug")
	revoked.Store(true)
	p.see("Your session has ended. Sign in to go on where you were.")
	if ask[bool](p, `document.querySelector("dialog") !== null || document.body.innerText.includes("LOG_LEVEL")`) {
		t.Error("what the session showed is still there")
	}
	p.signIn(developerToken)
	p.see("LOG_LEVEL")
	if at := ask[string](p, "location.hash"); at != "#/shop/dev" {
		t.Errorf("it goes on at %s", at)
	}
	p.clean()
}
