package portal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/towpath-dev/towpath/internal/auth/oidc/oidctest"
)

func init() {
	portalPages = append(portalPages,
		portalPage{name: "sign-in with a provider", at: "/", sees: "Sign in with Example", stranger: true, shop: func(t *testing.T) *stub { return newHouse(t).shop }},
		portalPage{name: "who is signed in", at: "/#/", sees: "quieter logs", before: func(p *page) {
			p.js(`document.querySelector("#who summary").click()`)
			p.see("Signed in as")
		}},
	)
}

// inReach is everything where scripts could find a token.
const inReach = `[document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage), location.href, document.documentElement.outerHTML, document.referrer,
	...performance.getEntries().map((e) => e.name), JSON.stringify(history.state)].join("\n")`

func TestInABrowserAPersonSignsInWithAnIdentityProviderAndSeesThePageTheyCameFor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.provider.Set(oidctest.SignIn{Ask: true, Life: 20 * time.Second})
	p := open(t, h.url+"/#/shop/dev")
	p.press("Sign in with Example")
	p.press("Go on as ada")
	p.see("LOG_LEVEL")
	if at := ask[string](p, "location.href"); at != h.url+"/#/shop/dev" {
		t.Errorf("ended at %s", at)
	}
	p.wait("the name is shown", `document.querySelector("#who summary").innerText.includes("Ada Lovelace")`)
	if found := ask[string](p, inReach); strings.Contains(found, "eyJ") || strings.Contains(found, "code=") || strings.Contains(found, "towpath_") {
		t.Errorf("scripts can reach a token, a code or a cookie in:\n%s", found)
	}

	t.Log("a page that stays open renews the session by itself")
	p.wait("it is renewed", `performance.getEntriesByType("resource").filter((r) => r.name.endsWith("/status")).length >= 3`)
	if renewed, reused := h.provider.Refreshes(); renewed == 0 || reused != 0 {
		t.Errorf("renewed %d times, a used token came %d times", renewed, reused)
	}
	t.Log("thrown out at the provider, the person comes back to the same page")
	h.provider.EndSessions()
	p.see("Your session has ended")
	p.press("Sign in with Example")
	p.press("Go on as ada")
	p.see("LOG_LEVEL")

	p.signOut()
	p.see("Sign in with Example")
	if n := h.provider.Sessions(); n != 0 {
		t.Errorf("%d sessions are left at the provider", n)
	}
	p.clean()
}

func TestInABrowserASignInThatFailsIsExplainedOnThePage(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.provider.Set(oidctest.SignIn{Refuse: "access_denied", Says: "<img src=x onerror=alert(1)>"})
	p := open(t, h.url+"/#/shop/dev")
	p.press("Sign in with Example")
	p.see("Example did not let you in, or you have cancelled.")
	p.see("<img src=x") // as text
	if at := ask[string](p, "location.href"); at != h.url+"/#/shop/dev" {
		t.Errorf("ended at %s", at)
	}
	h.provider.Set(oidctest.SignIn{})
	p.press("Sign in with Example")
	p.see("LOG_LEVEL")
	p.clean()
}

func TestInABrowserATokenIsOutOfReachOfScripts(t *testing.T) {
	t.Parallel()
	p := open(t, serve(t, newShop(t)).URL)
	p.signIn(adminToken)
	p.see("quieter logs")
	if found := ask[string](p, inReach); strings.Contains(found, adminToken) || strings.Contains(found, "towpath_token") {
		t.Errorf("scripts can reach the token in:\n%s", found)
	}
	p.do(chromedp.Navigate(p.base + "/docs"))
	p.see("tokens/admin")
	p.clean()
}
