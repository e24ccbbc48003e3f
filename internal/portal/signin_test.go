package portal_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/auth/oidc/oidctest"
	"github.com/towpath-dev/towpath/internal/portal"
)

// house is a portal with an identity provider.
type house struct {
	provider *oidctest.Issuer
	url      string
	log      *lockedBuffer
	secret   string // the file of the client's secret
	ahead    func(time.Duration)
	gate     func() *portal.Gate // one more process of the same portal
	shop     *stub
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// newHouse starts both. Everybody whom the provider knows is a developer.
func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{provider: oidctest.Start(t), log: &lockedBuffer{}, secret: filepath.Join(t.TempDir(), "secret")}
	h.setSecret(t, oidctest.ClientSecret)
	var mu sync.Mutex
	var offset time.Duration
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(offset) }
	h.ahead = func(d time.Duration) { mu.Lock(); defer mu.Unlock(); offset += d }
	log := slog.New(slog.NewTextHandler(h.log, nil))
	verifier, err := oidc.New([]oidc.Issuer{{
		URL: h.provider.URL, Audiences: []string{oidctest.ClientID}, ClientID: oidctest.ClientID, ClientSecretFile: h.secret, DisplayName: "Example",
	}}, oidc.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	h.gate = func() *portal.Gate {
		return portal.New(portal.Config{Clients: verifier.Clients(), Key: []byte("the key that all processes share"), Log: log, Clock: now})
	}
	h.shop = newShop(t)
	h.shop.gate = h.gate()
	h.shop.people = func(ctx context.Context, token string) (auth.Caller, error) {
		c, err := verifier.Identify(ctx, token)
		c.Role = auth.Developer
		return c, err
	}
	h.url = serve(t, h.shop).URL
	return h
}

func (h *house) setSecret(t *testing.T, secret string) {
	t.Helper()
	if err := os.WriteFile(h.secret, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// visitor is a browser without a window: it keeps cookies and follows redirects, and remembers where it was.
type visitor struct {
	t    *testing.T
	base string
	http *http.Client
	seen []string
	sets []string
}

func (h *house) visitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, base: h.url}
	v.http = &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		v.note(r.URL.String(), r.Response)
		if len(via) > 10 {
			return fmt.Errorf("it goes round: %s", r.URL)
		}
		return nil
	}}
	return v
}

func (v *visitor) note(at string, r *http.Response) {
	v.seen = append(v.seen, at)
	if r != nil {
		v.sets = append(v.sets, r.Header.Values("Set-Cookie")...)
	}
}

// get gives the status, the body and where it ended.
func (v *visitor) get(target string) (int, string, string) {
	v.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = v.base + target
	}
	v.note(target, nil)
	resp, err := v.http.Get(target)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	v.sets = append(v.sets, resp.Header.Values("Set-Cookie")...)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Request.URL.String()
}

func (h *house) start(back string) string {
	return "/session/oidc/start?" + url.Values{"issuer": {h.provider.URL}, "back": {back}}.Encode()
}

// problem is what the sign-in page says.
func (v *visitor) problem() string {
	v.t.Helper()
	_, body, _ := v.get("/session")
	var out struct{ Problem string }
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		v.t.Fatalf("%v: %s", err, body)
	}
	return out.Problem
}

func (v *visitor) whoami() (int, string) {
	v.t.Helper()
	code, body, _ := v.get("/v1/whoami")
	return code, body
}

func TestAPersonSignsInWithAnIdentityProvider(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	v := h.visitor(t)
	if code, body, _ := v.get("/session"); code != 200 || !strings.Contains(body, `"name":"Example"`) {
		t.Fatalf("the sign-in page gets %d %s", code, body)
	}
	code, _, at := v.get(h.start("#/shop/dev?x=1"))
	if code != 200 || at != h.url+"/#/shop/dev?x=1" {
		t.Fatalf("ended at %s with %d: %s", at, code, v.problem())
	}
	if code, body := v.whoami(); code != 200 || !strings.Contains(body, `"users/ada"`) {
		t.Fatalf("whoami: %d %s", code, body)
	}
	for _, at := range v.seen[1:] {
		if strings.Contains(at, "eyJ") {
			t.Errorf("a token is in an address: %s", at)
		}
	}
	asked, err := url.Parse(v.seen[2])
	if err != nil {
		t.Fatal(err)
	}
	q := asked.Query()
	if q.Get("scope") != "openid profile groups offline_access" || q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" || q.Get("redirect_uri") != h.url+"/session/oidc/callback" {
		t.Errorf("the provider was asked %v", q)
	}
	for _, set := range v.sets {
		if !strings.Contains(set, "; HttpOnly; SameSite=") || strings.Contains(set, "eyJ") {
			t.Errorf("cookie %q", set)
		}
		if strings.HasPrefix(set, "towpath_session") != strings.HasSuffix(set, "SameSite=Strict") {
			t.Errorf("cookie %q", set)
		}
	}
	if log := h.log.String(); strings.Contains(log, "eyJ") || strings.Contains(log, oidctest.ClientSecret) {
		t.Errorf("the log has a secret: %s", log)
	}
}

func TestASignInThatComesToNothingSaysWhatToDo(t *testing.T) {
	t.Parallel()
	groups := make([]any, 1500)
	for i := range groups {
		groups[i] = rand.Text()
	}
	for name, c := range map[string]struct {
		how    oidctest.SignIn
		before func(t *testing.T, h *house)
		want   string
	}{
		"the person cancels":            {oidctest.SignIn{Refuse: "access_denied", Says: "not you\x1b"}, nil, "Example did not let you in, or you have cancelled. Try again, or ask an administrator of Example to give you access to Towpath. It says: not you"},
		"the provider is in trouble":    {oidctest.SignIn{Refuse: "temporarily_unavailable"}, nil, "Try again in a minute, or use a Towpath token"},
		"the provider wants something":  {oidctest.SignIn{Refuse: "interaction_required"}, nil, "needs you to sign in there first"},
		"the client is set up wrongly":  {oidctest.SignIn{Refuse: "invalid_scope"}, nil, "An administrator must look at the client there: its redirect address must be http"},
		"the secret is another one":     {oidctest.SignIn{}, func(t *testing.T, h *house) { h.setSecret(t, "old") }, "must look at clientID and clientSecretFile"},
		"the secret cannot be read":     {oidctest.SignIn{}, func(_ *testing.T, h *house) { os.Remove(h.secret) }, "must look at clientSecretFile"},
		"the provider is down":          {oidctest.SignIn{}, func(_ *testing.T, h *house) { h.provider.Down(true) }, "cannot be reached, or does not say how to sign in; try again in a moment, or sign in with a Towpath token."},
		"its token endpoint is down":    {oidctest.SignIn{Code: 502}, nil, "does not answer now; try again in a moment"},
		"its token endpoint says no":    {oidctest.SignIn{Code: 418}, nil, "an administrator must look at the client"},
		"no identity token":             {oidctest.SignIn{NoID: true}, nil, "an administrator must allow the scope openid"},
		"a token of another sign-in":    {oidctest.SignIn{Nonce: "other"}, nil, "belongs to another sign-in; sign in again"},
		"a token for another program":   {oidctest.SignIn{Claims: map[string]any{"aud": "other"}}, nil, "for another audience"},
		"a token given to another":      {oidctest.SignIn{Claims: map[string]any{"azp": "other"}}, nil, "is for another program"},
		"clocks that differ, behind":    {oidctest.SignIn{Life: -time.Minute}, nil, "the clocks of that server and of this one differ; an administrator must set them right"},
		"clocks that differ, ahead":     {oidctest.SignIn{Claims: map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}}, nil, "compare the clocks"},
		"somebody without a name":       {oidctest.SignIn{Claims: map[string]any{"sub": "a/b"}}, nil, "has no usable name"},
		"too many groups for a browser": {oidctest.SignIn{Claims: map[string]any{"groups": groups}}, nil, "too large for a browser's cookies, mostly because of many groups; an administrator can have it name fewer groups, or sign in with a token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.provider.Set(c.how)
			if c.before != nil {
				c.before(t, h)
			}
			v := h.visitor(t)
			if _, _, at := v.get(h.start("#/shop/dev")); at != h.url+"/#/shop/dev" {
				t.Errorf("ended at %s", at)
			}
			if got := v.problem(); !strings.Contains(got, c.want) || strings.Contains(got, "s3cret") || strings.Contains(got, "\x1b") {
				t.Errorf("the page says %q, want it to have %q", got, c.want)
			}
			if got := v.problem(); got != "" {
				t.Errorf("it says it twice: %q", got)
			}
			if code, _ := v.whoami(); code != http.StatusUnauthorized {
				t.Errorf("whoami: %d", code)
			}
			if log := h.log.String(); strings.Contains(log, "s3cret") || strings.Contains(log, "eyJ") || !strings.Contains(log, "a sign-in came to nothing") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func TestASignInEndsOnceAndOnlyWhereItBegan(t *testing.T) {
	t.Parallel()
	const again = "begun in another browser, was used already, or was begun more than 10 minutes ago"
	h := newHouse(t)
	v := h.visitor(t)
	v.get(h.start(""))
	callback := v.seen[2]
	if !strings.Contains(callback, "code=") {
		t.Fatalf("went %v", v.seen)
	}
	v.get(callback)
	if got := v.problem(); !strings.Contains(got, again) {
		t.Errorf("the same answer again: %q", got)
	}

	thief := h.visitor(t)
	h.provider.Set(oidctest.SignIn{Ask: true})
	_, page, _ := v.get(h.start(""))
	thief.get(linkIn(t, page))
	if got := thief.problem(); !strings.Contains(got, again) {
		t.Errorf("in another browser: %q", got)
	}
	if code, _ := thief.whoami(); code != http.StatusUnauthorized {
		t.Errorf("the other browser is let in: %d", code)
	}

	for name, change := range map[string]func(url.Values){
		"no state":           func(q url.Values) { q.Del("state") },
		"another state":      func(q url.Values) { q.Set("state", q.Get("state")+"X") },
		"a strange state":    func(q url.Values) { q.Set("state", "a=b; c\r\n\r\nxx") },
		"another provider":   func(q url.Values) { q.Set("iss", "https://evil.example.com") },
		"a made-up code":     func(q url.Values) { q.Set("code", "made up") },
		"no code":            func(q url.Values) { q.Del("code") },
		"an error as well":   func(q url.Values) { q.Set("error", "<script>") },
		"somebody too late":  func(url.Values) { h.ahead(11 * time.Minute) },
		"the cookie altered": func(url.Values) {},
	} {
		w := h.visitor(t)
		_, page, _ := w.get(h.start(""))
		u, err := url.Parse(linkIn(t, page))
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		change(q)
		u.RawQuery = q.Encode()
		if name == "the cookie altered" {
			at, _ := url.Parse(h.url)
			for _, c := range w.http.Jar.Cookies(at) {
				w.http.Jar.SetCookies(at, []*http.Cookie{{Name: c.Name, Value: c.Value[:len(c.Value)-4] + "AAAA", Path: "/"}})
			}
		}
		w.get(u.String())
		code, _ := w.whoami()
		if got := w.problem(); code != http.StatusUnauthorized || got == "" || strings.Contains(got, "evil") {
			t.Errorf("%s: whoami %d, the page says %q", name, code, got)
		}
	}
}

// linkIn finds where the provider's page leads.
func linkIn(t *testing.T, page string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, `href="`)
	link, _, _ := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("no link in %s", page)
	}
	return strings.ReplaceAll(link, "&amp;", "&")
}

func TestNobodyIsSentToAnotherSite(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, back := range []string{
		"https://evil.example.com", "//evil.example.com", `/\evil.example.com`, "#", "#x", "/docs", "javascript:alert(1)", "#/a b", "#/a\r\nSet-Cookie: x=1",
		"#/" + strings.Repeat("x", 3000), "#/\u202eabc",
	} {
		v := h.visitor(t)
		if _, _, at := v.get(h.start(back)); at != h.url+"/" {
			t.Errorf("back to %q ends at %s", back, at)
		}
	}
	for _, back := range []string{"#//evil.example.com", "#/https://evil.example.com"} {
		v := h.visitor(t)
		if _, _, at := v.get(h.start(back)); at != h.url+"/"+back {
			t.Errorf("back to %q ends at %s", back, at)
		}
	}
	v := h.visitor(t)
	v.get("/session/oidc/start?issuer=" + url.QueryEscape("https://evil.example.com"))
	if got := v.problem(); !strings.Contains(got, "no such identity provider") {
		t.Errorf("a provider that is none: %q", got)
	}
	gate := h.gate().Handler(openAPI)
	for _, site := range []string{"cross-site", "same-site"} {
		w := answer(gate, http.MethodGet, h.start("#/shop/dev"), "", "Sec-Fetch-Site", site)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/#/shop/dev" || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("begun from another site: %d to %s", w.Code, w.Header().Get("Location"))
		}
	}
	for _, target := range []string{"/session/oidc/start", "/session/oidc/callback"} {
		if w := answer(gate, http.MethodPost, target, ""); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("POST %s: %d", target, w.Code)
		}
	}
}
