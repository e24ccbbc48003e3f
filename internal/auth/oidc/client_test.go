package oidc_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/auth/oidc/oidctest"
	"github.com/towpath-dev/towpath/internal/errs"
)

func TestWhatIsWrongWithAClientIsNamed(t *testing.T) {
	good := oidc.Issuer{URL: "https://a.example.com", Audiences: []string{"towpath"}, ClientID: "towpath"}
	for name, c := range map[string]struct {
		change func(*oidc.Issuer)
		want   string
	}{
		"a secret without a client":              {func(i *oidc.Issuer) { i.ClientID, i.ClientSecretFile = "", "x" }, "issuers[0].clientID"},
		"scopes without a client":                {func(i *oidc.Issuer) { i.ClientID, i.Scopes = "", []string{"email"} }, "issuers[0].clientID"},
		"a name without a client":                {func(i *oidc.Issuer) { i.ClientID, i.DisplayName = "", "A" }, "issuers[0].clientID"},
		"a client whose tokens would be refused": {func(i *oidc.Issuer) { i.Audiences = []string{"other"} }, "issuers[0].audiences"},
		"a client at a cluster":                  {func(i *oidc.Issuer) { i.Kubernetes = true }, "issuers[0].clientID"},
		"two scopes in one":                      {func(i *oidc.Issuer) { i.Scopes = []string{"email groups"} }, "issuers[0].scopes"},
		"a name too long for a button":           {func(i *oidc.Issuer) { i.DisplayName = strings.Repeat("x", 61) }, "issuers[0].displayName"},
	} {
		t.Run(name, func(t *testing.T) {
			i := good
			c.change(&i)
			e, ok := oidc.Check([]oidc.Issuer{i}).(*errs.Error)
			if !ok || !slices.ContainsFunc(e.Fields, func(f errs.Field) bool { return f.Path == c.want }) {
				t.Errorf("got %v, want it at %s", e, c.want)
			}
		})
	}
	if err := oidc.Check([]oidc.Issuer{good}); err != nil {
		t.Error(err)
	}
	all, err := oidc.Parse([]byte("issuers:\n- {issuer: https://a.example.com, audiences: [t], clientID: t, clientSecretFile: /s, scopes: [email], displayName: A}\n"))
	if err != nil || all[0].ClientID != "t" || all[0].ClientSecretFile != "/s" || all[0].Scopes[0] != "email" || all[0].DisplayName != "A" {
		t.Errorf("%+v %v", all, err)
	}
}

func clientOf(t *testing.T, i oidc.Issuer, now func() time.Time) *oidc.Client {
	t.Helper()
	i.Audiences, i.ClientID = []string{oidctest.ClientID}, oidctest.ClientID
	v, err := oidc.New([]oidc.Issuer{i}, oidc.Options{Clock: now})
	if err != nil {
		t.Fatal(err)
	}
	return v.Clients()[0]
}

func TestAClientAsksForTheScopesThatTheIssuerOffers(t *testing.T) {
	issuer := oidctest.Start(t)
	for name, c := range map[string]struct {
		scopes []string
		want   string
	}{
		"by default":    {nil, "openid profile groups offline_access"},
		"as configured": {[]string{"openid", "email", "team"}, "openid email team"},
	} {
		to, err := clientOf(t, oidc.Issuer{URL: issuer.URL, Scopes: c.scopes}, nil).Begin(t.Context(), "https://towpath.test/callback", "state", "nonce", "verifier")
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		if got := u.Query().Get("scope"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if u.Query().Get("code_challenge") == "verifier" || u.Query().Get("code_challenge_method") != "S256" {
			t.Errorf("%s: %s", name, to)
		}
	}
}

func TestAnIssuerThatWasThereIsStillKnownWhenItIsDown(t *testing.T) {
	issuer := oidctest.Start(t)
	now := time.Now()
	client := clientOf(t, oidc.Issuer{URL: issuer.URL, DisplayName: "A"}, func() time.Time { return now })
	begin := func() error {
		_, err := client.Begin(t.Context(), "https://towpath.test/callback", "state", "nonce", "verifier")
		return err
	}
	issuer.Down(true)
	if err := begin(); !errs.Is(err, errs.Unavailable) {
		t.Errorf("never seen: %v", err)
	}
	issuer.Down(false)
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	reads := issuer.Reads()
	if err := begin(); err != nil || issuer.Reads() != reads {
		t.Errorf("read again: %v", err)
	}
	issuer.Down(true)
	now = now.Add(time.Hour)
	if err := begin(); err != nil {
		t.Errorf("down after it was there: %v", err)
	}
}

func TestAnIssuerThatSendsPeopleElsewhereIsNotFollowed(t *testing.T) {
	for name, doc := range map[string]string{
		"it is another one":       `{"issuer":"https://evil.example.com","authorization_endpoint":"URL/a","token_endpoint":"URL/t"}`,
		"plain http, elsewhere":   `{"issuer":"URL","authorization_endpoint":"http://evil.example.com/a","token_endpoint":"URL/t"}`,
		"a code goes over http":   `{"issuer":"URL","authorization_endpoint":"URL/a","token_endpoint":"http://evil.example.com/t"}`,
		"a script as the address": `{"issuer":"URL","authorization_endpoint":"javascript:alert(1)","token_endpoint":"URL/t"}`,
		"no endpoints":            `{"issuer":"URL"}`,
		"no document":             `<html>`,
	} {
		t.Run(name, func(t *testing.T) {
			var s *httptest.Server
			s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(strings.ReplaceAll(doc, "URL", s.URL)))
			}))
			t.Cleanup(s.Close)
			_, err := clientOf(t, oidc.Issuer{URL: s.URL}, nil).Begin(t.Context(), "https://towpath.test/callback", "state", "nonce", "verifier")
			if !errs.Is(err, errs.Unavailable) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAPublicClientSignsInWithoutASecret(t *testing.T) {
	issuer := oidctest.Start(t)
	issuer.Set(oidctest.SignIn{Public: true})
	client := clientOf(t, oidc.Issuer{URL: issuer.URL}, nil)
	const redirect = "https://towpath.test/callback"
	to, err := client.Begin(t.Context(), redirect, "state", "nonce", "a verifier that is long enough to be one, as the specification has it")
	if err != nil {
		t.Fatal(err)
	}
	code := func() string {
		t.Helper()
		resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Get(to)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		back, err := resp.Location()
		if err != nil {
			t.Fatal(err)
		}
		return back.Query().Get("code")
	}
	if _, err := client.Finish(t.Context(), redirect, code(), "nonce", "another verifier"); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("with another verifier: %v", err)
	}
	got, err := client.Finish(t.Context(), redirect, code(), "nonce", "a verifier that is long enough to be one, as the specification has it")
	if err != nil || got.Subject != "ada" || got.Refresh == "" {
		t.Fatalf("%+v %v", got, err)
	}
	if err := client.Revoke(t.Context(), got.Refresh); err != nil || issuer.Sessions() != 0 {
		t.Errorf("%v, %d sessions", err, issuer.Sessions())
	}
	if client.Name() != strings.TrimPrefix(issuer.URL, "http://") {
		t.Errorf("it is called %s", client.Name())
	}
	lost := clientOf(t, oidc.Issuer{URL: issuer.URL, ClientSecretFile: filepath.Join(t.TempDir(), "none")}, nil)
	if _, err := lost.Refresh(t.Context(), got); !errs.Is(err, errs.Unavailable) {
		t.Errorf("without the file of the secret: %v", err)
	}
}
