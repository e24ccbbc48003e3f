package portal_test

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/auth/oidc/oidctest"
	"github.com/towpath-dev/towpath/internal/portal"
)

func TestASessionOutlivesItsTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.provider.Set(oidctest.SignIn{Life: 20 * time.Second}) // so short that each use renews it
	v := h.visitor(t)
	v.get(h.start(""))
	at, err := url.Parse(h.url)
	if err != nil {
		t.Fatal(err)
	}
	old := v.http.Jar.Cookies(at)

	t.Log("requests that are sent together renew it once, as its token can be used once")
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			req, err := http.NewRequest(http.MethodGet, h.url+"/v1/whoami", nil)
			if err != nil {
				t.Error(err)
				return
			}
			for _, c := range old {
				req.AddCookie(c)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK || len(resp.Cookies()) == 0 {
				t.Errorf("%d, %d cookies", resp.StatusCode, len(resp.Cookies()))
			}
		})
	}
	wg.Wait()
	if renewed, reused := h.provider.Refreshes(); renewed != 1 || reused != 0 {
		t.Errorf("renewed %d times, a used token came %d times", renewed, reused)
	}

	t.Log("one who comes with the new cookies renews again")
	for range 3 {
		if code, body := v.whoami(); code != 200 {
			t.Fatalf("%d %s", code, body)
		}
	}
	if renewed, reused := h.provider.Refreshes(); renewed != 3 || reused != 0 {
		t.Errorf("renewed %d times, a used token came %d times", renewed, reused)
	}

	t.Log("while the provider is down, what is still valid goes on")
	h.provider.Down(true)
	if code, body := v.whoami(); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	t.Log("and what has ended waits for it, and is not signed out")
	h.ahead(time.Minute)
	if code, body := v.whoami(); code != http.StatusServiceUnavailable || !strings.Contains(body, "try again in a moment") {
		t.Errorf("%d %s", code, body)
	}
	h.provider.Down(false)
	h.provider.Set(oidctest.SignIn{})
	if code, body := v.whoami(); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	if log := h.log.String(); strings.Contains(log, "eyJ") {
		t.Errorf("the log has a token: %s", log)
	}
}

func TestASessionEndsAndIsNotLeftInTheBrowser(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		how   oidctest.SignIn
		then  func(h *house)
		words string
	}{
		"thrown out at the provider":    {oidctest.SignIn{Life: 20 * time.Second}, func(h *house) { h.provider.EndSessions() }, "has ended; sign in again"},
		"nothing to renew it with":      {oidctest.SignIn{NoRefresh: true, Life: time.Minute}, func(h *house) { h.ahead(2 * time.Minute) }, "gives none that can be renewed"},
		"renewed as somebody else":      {oidctest.SignIn{Life: 20 * time.Second}, func(h *house) { h.provider.Set(oidctest.SignIn{Claims: map[string]any{"sub": "eve"}}) }, "somebody else"},
		"renewed without its token":     {oidctest.SignIn{Life: 20 * time.Second}, func(h *house) { h.provider.Set(oidctest.SignIn{NoID: true}) }, "gave no identity token"},
		"after half a day":              {oidctest.SignIn{Life: 24 * time.Hour}, func(h *house) { h.ahead(13 * time.Hour) }, "has lasted 12h"},
		"renewed with too many groups":  {oidctest.SignIn{Life: 20 * time.Second}, func(h *house) { h.provider.Set(oidctest.SignIn{Claims: map[string]any{"groups": many(2000)}}) }, "too large"},
		"renewed with a wrong audience": {oidctest.SignIn{Life: 20 * time.Second}, func(h *house) { h.provider.Set(oidctest.SignIn{Claims: map[string]any{"aud": "x"}}) }, "another audience"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.provider.Set(c.how)
			v := h.visitor(t)
			v.get(h.start(""))
			c.then(h)
			if code, body := v.whoami(); code != http.StatusUnauthorized || !strings.Contains(body, c.words) {
				t.Errorf("%d %s", code, body)
			}
			at, _ := url.Parse(h.url)
			if left := v.http.Jar.Cookies(at); len(left) != 0 {
				t.Errorf("cookies are left: %v", left)
			}
		})
	}
}

func many(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = rand.Text()
	}
	return out
}

func TestALargeSessionTravelsInSeveralCookies(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.provider.Set(oidctest.SignIn{Life: 20 * time.Second, Claims: map[string]any{"groups": many(200)}})
	v := h.visitor(t)
	v.get(h.start(""))
	at, _ := url.Parse(h.url)
	if n := len(v.http.Jar.Cookies(at)); n != 2 && n != 3 {
		t.Fatalf("%d cookies: %s", n, v.problem())
	}
	for _, c := range v.http.Jar.Cookies(at) {
		if len(c.Name)+len(c.Value) > 4000 {
			t.Errorf("%s has %d bytes", c.Name, len(c.Value))
		}
	}
	if code, body := v.whoami(); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	t.Log("a smaller one leaves nothing of it behind")
	h.provider.Set(oidctest.SignIn{})
	v.whoami()
	if code, _ := v.whoami(); code != 200 || len(v.http.Jar.Cookies(at)) != 1 {
		t.Errorf("%d, cookies %v", code, v.http.Jar.Cookies(at))
	}
}

func TestAnyProcessWithTheSameKeyEndsASignInAndKnowsTheSession(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, other := h.gate().Handler(openAPI), h.gate()
	w := answer(one, http.MethodGet, "http://towpath.test/session/oidc/start?back=%23%2Fshop%2Fdev&issuer="+url.QueryEscape(h.provider.URL), "", "X-Forwarded-Proto", "https")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Set-Cookie"), "__Host-towpath_signin_") || !strings.Contains(w.Header().Get("Set-Cookie"), "; Secure; SameSite=Lax") {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(w.Header().Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	callback := resp.Header.Get("Location")
	if !strings.HasPrefix(callback, "https://towpath.test/session/oidc/callback?") {
		t.Fatalf("the provider sends people to %s", callback)
	}
	cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	w = answer(other.Handler(openAPI), http.MethodGet, callback, "", "X-Forwarded-Proto", "https", "Cookie", cookie)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/#/shop/dev" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	session := ""
	for _, c := range w.Result().Cookies() {
		if c.Name == "__Host-towpath_session" && c.Secure && c.HttpOnly && c.Path == "/" && c.Domain == "" {
			session = c.Name + "=" + c.Value
		}
	}
	for name, c := range map[string]struct {
		gate   *portal.Gate
		cookie string
		want   int
	}{
		"another process with the key":        {h.gate(), session, 200},
		"a process with another key":          {portal.New(portal.Config{}), session, 401},
		"the cookie without its prefix":       {h.gate(), strings.TrimPrefix(session, "__Host-"), 200}, // it is not looked at: no session, so the API decides
		"the cookie of the sign-in":           {h.gate(), "__Host-towpath_session=1." + strings.SplitN(cookie, "=", 2)[1], 401},
		"a cookie that was cut":               {h.gate(), session[:len(session)-10], 401},
		"a cookie that says to be of more":    {h.gate(), strings.Replace(session, "=1.", "=3.", 1), 200}, // what is not there adds nothing
		"a cookie that counts to the moon":    {h.gate(), strings.Replace(session, "=1.", "=999999.", 1), 401},
		"something else of that name":         {h.gate(), "__Host-towpath_session=hello", 401},
		"the session in the place of a token": {h.gate(), strings.Replace(session, "_session=", "_token=", 1), 200}, // the API refuses it
	} {
		var bearer string
		w := answer(c.gate.WithSession(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			bearer = r.Header.Get("Authorization")
			if r.Header.Get("Cookie") != "" {
				t.Errorf("%s: a cookie goes on to the API", name)
			}
		})), http.MethodGet, "http://towpath.test/v1/whoami", "", "X-Forwarded-Proto", "https", "Cookie", c.cookie)
		if w.Code != c.want {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if known := strings.HasPrefix(bearer, "Bearer eyJ"); known != (name == "another process with the key" || strings.HasPrefix(name, "a cookie that says")) {
			t.Errorf("%s: let in as %.20q", name, bearer)
		}
		if c.want == 401 && !strings.Contains(w.Header().Get("Set-Cookie"), "Max-Age=0") {
			t.Errorf("%s: the cookie is kept", name)
		}
	}
}

func TestSigningOutEndsTheSessionAtTheProviderToo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	v := h.visitor(t)
	v.get(h.start(""))
	if h.provider.Sessions() != 1 {
		t.Fatalf("%d sessions", h.provider.Sessions())
	}
	req, err := http.NewRequest(http.MethodDelete, h.url+"/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := v.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	at, _ := url.Parse(h.url)
	if resp.StatusCode != http.StatusNoContent || h.provider.Sessions() != 0 || len(v.http.Jar.Cookies(at)) != 0 {
		t.Errorf("%d, %d sessions there, cookies %v", resp.StatusCode, h.provider.Sessions(), v.http.Jar.Cookies(at))
	}
	if code, _ := v.whoami(); code != http.StatusUnauthorized {
		t.Errorf("still let in: %d", code)
	}
}

func TestWhereThePortalIsSaidToBeIsWherePeopleSignIn(t *testing.T) {
	t.Parallel()
	g := portal.New(portal.Config{PublicURL: "https://towpath.example.com/"}).Handler(openAPI)
	w := answer(g, http.MethodGet, "http://10.0.0.7:7080/session/oidc/start?back=%23%2Fshop%2Fdev", "")
	if got := w.Header().Get("Location"); got != "https://towpath.example.com/#/shop/dev" {
		t.Errorf("from another address people go to %s", got)
	}
	w = answer(g, http.MethodPost, "http://towpath.example.com/session", `{"token":"tow_abc"}`, "Sec-Fetch-Site", "same-origin")
	if got := w.Header().Get("Set-Cookie"); !strings.HasPrefix(got, "__Host-towpath_token=tow_abc;") {
		t.Errorf("behind a proxy that does not say so: %s", got)
	}
}

func TestWhatWasOnItsWayDoesNotUndoASignOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.provider.Set(oidctest.SignIn{Life: 20 * time.Second})
	v := h.visitor(t)
	v.get(h.start(""))
	at, err := url.Parse(h.url)
	if err != nil {
		t.Fatal(err)
	}
	before := v.http.Jar.Cookies(at)
	if code, body := v.whoami(); code != http.StatusOK { // renewed: other cookies from here on
		t.Fatalf("%d %s", code, body)
	}
	req, err := http.NewRequest(http.MethodDelete, h.url+"/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := v.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := h.provider.Sessions(); n != 0 {
		t.Errorf("%d sessions are left at the provider", n)
	}
	late, err := http.NewRequest(http.MethodGet, h.url+"/v1/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range before {
		late.AddCookie(c)
	}
	resp, err = http.DefaultClient.Do(late)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a request from before the sign-out gets %d, with %d cookies", resp.StatusCode, len(resp.Cookies()))
	}
}

func TestASignOutWithCookiesFromBeforeARenewalEndsWhatWasRenewed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.provider.Set(oidctest.SignIn{Life: 20 * time.Second})
	v := h.visitor(t)
	v.get(h.start(""))
	at, err := url.Parse(h.url)
	if err != nil {
		t.Fatal(err)
	}
	before := v.http.Jar.Cookies(at)
	for range 2 { // renewed behind the back of those cookies, twice
		if code, body := v.whoami(); code != http.StatusOK {
			t.Fatalf("%d %s", code, body)
		}
	}
	req, err := http.NewRequest(http.MethodDelete, h.url+"/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, c := range before {
		req.AddCookie(c)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := h.provider.Sessions(); n != 0 {
		t.Errorf("%d sessions are left at the provider", n)
	}
	if code, _ := v.whoami(); code != http.StatusUnauthorized {
		t.Errorf("what was renewed is still let in: %d", code)
	}
}
