package oidc_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/auth/oidc/oidctest"
	"github.com/towpath-dev/towpath/internal/errs"
)

func verifier(t *testing.T, o oidc.Options, issuers ...oidc.Issuer) *oidc.Verifier {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	if o.MinRefresh == 0 {
		o.MinRefresh = time.Nanosecond
	}
	v, err := oidc.New(issuers, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestATokenBecomesItsOwner(t *testing.T) {
	people, cluster := oidctest.Start(t), oidctest.Start(t)
	v := verifier(t, oidc.Options{},
		oidc.Issuer{URL: people.URL, Audiences: []string{"other", "towpath"}, UsernameClaim: "email", GroupsPrefix: "corp:"},
		oidc.Issuer{URL: cluster.URL, Audiences: []string{"towpath"}, Kubernetes: true})
	for name, c := range map[string]struct {
		token string
		want  auth.Caller
	}{
		"a person": {
			people.Token(map[string]any{"email": "ada@example.com", "name": "Ada", "groups": []string{"b", "a", "b"}, "email_verified": true}),
			auth.Caller{Subject: "users/ada@example.com", Method: "oidc", DisplayName: "Ada", Email: "ada@example.com", Groups: []string{"corp:a", "corp:b"}},
		},
		"a person for several audiences, in one group": {
			people.Token(map[string]any{"email": "bob@example.com", "aud": []string{"x", "towpath"}, "groups": "dev"}),
			auth.Caller{Subject: "users/bob@example.com", Method: "oidc", Email: "bob@example.com", Groups: []string{"corp:dev"}},
		},
		"a service account": {
			cluster.Token(map[string]any{"sub": "system:serviceaccount:ci:deployer", "groups": []string{"admins"}}),
			auth.Caller{Subject: "serviceAccounts/ci/deployer", Method: "serviceaccount", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:ci"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // verified, then remembered
				got, err := v.Identify(t.Context(), c.token)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(c.want, got, cmpopts.IgnoreUnexported(auth.Caller{})); d != "" {
					t.Errorf("(-want +got)\n%s", d)
				}
			}
		})
	}
}

func TestWhatIsNoGoodTokenIsRefused(t *testing.T) {
	i, other := oidctest.Start(t), oidctest.Start(t)
	cluster := oidctest.Start(t)
	v := verifier(t, oidc.Options{}, oidc.Issuer{URL: i.URL, Audiences: []string{"towpath"}},
		oidc.Issuer{URL: cluster.URL, Audiences: []string{"towpath"}, Kubernetes: true},
		oidc.Issuer{URL: "https://mail.example.com", Audiences: []string{"towpath"}, UsernameClaim: "email"})
	i.Rotate(jose.RS256)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public := i.PublicKey()
	publicJSON, err := json.Marshal(public)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tampered := strings.Split(i.Token(nil), ".")
	tampered[1] = strings.Split(i.Token(map[string]any{"sub": "root"}), ".")[1]
	for name, c := range map[string]struct{ token, says string }{
		"another audience":                 {i.Token(map[string]any{"aud": "grafana"}), "another audience"},
		"no audience":                      {i.Token(map[string]any{"aud": nil}), "another audience"},
		"expired":                          {i.Token(map[string]any{"exp": now.Add(-time.Minute).Unix()}), "has expired"},
		"without an end":                   {i.Token(map[string]any{"exp": nil}), "has expired"},
		"not yet valid":                    {i.Token(map[string]any{"nbf": now.Add(time.Hour).Unix()}), "not valid yet"},
		"an issuer that is not trusted":    {other.Token(nil), "does not trust"},
		"the name of another issuer":       {other.Token(map[string]any{"iss": i.URL}), "not signed by a key"},
		"algorithm none":                   {oidctest.Unsigned(t, i.Claims(nil)), "not signed by a key"},
		"HS256 with the public key":        {oidctest.Sign(t, jose.JSONWebKey{Key: publicJSON, KeyID: public.KeyID, Algorithm: "HS256"}, i.Claims(nil)), "not signed by a key"},
		"HS256 with the modulus":           {oidctest.Sign(t, jose.JSONWebKey{Key: public.Key.(*rsa.PublicKey).N.Bytes(), KeyID: public.KeyID, Algorithm: "HS256"}, i.Claims(nil)), "not signed by a key"},
		"a stranger's key of that id":      {oidctest.Sign(t, jose.JSONWebKey{Key: stranger, KeyID: public.KeyID, Algorithm: "RS256"}, i.Claims(nil)), "not signed by a key"},
		"a key that is in the token":       {signEmbedded(t, stranger, i.Claims(nil)), "not signed by a key"},
		"changed after it was signed":      {strings.Join(tampered, "."), "not signed by a key"},
		"without a name":                   {i.Token(map[string]any{"sub": nil}), "no usable name"},
		"a name that is a path":            {i.Token(map[string]any{"sub": "ada/../admin"}), "no usable name"},
		"a name with a line break":         {i.Token(map[string]any{"sub": "ada\nadmin"}), "no usable name"},
		"a person of a cluster":            {cluster.Token(map[string]any{"sub": "system:admin"}), "of no service account"},
		"a service account that is a path": {cluster.Token(map[string]any{"sub": "system:serviceaccount:a/b:c"}), "of no service account"},
		"three words":                      {"a.b.c", "neither one of Towpath's"},
		"nothing":                          {"..", "neither one of Towpath's"},
		"very long":                        {strings.Repeat("a", 40<<10), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			c1, err := v.Identify(t.Context(), c.token)
			if !errs.Is(err, errs.Unauthenticated) || !strings.Contains(errs.Message(err), c.says) {
				t.Errorf("got %+v, %v", c1, err)
			}
		})
	}
}

// signEmbedded signs with a key that the token brings along in its header.
func signEmbedded(t *testing.T, key *rsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnUnverifiedAddressIsNobody(t *testing.T) {
	i := oidctest.Start(t)
	v := verifier(t, oidc.Options{}, oidc.Issuer{URL: i.URL, Audiences: []string{"towpath"}, UsernameClaim: "email"})
	_, err := v.Identify(t.Context(), i.Token(map[string]any{"email": "boss@example.com", "email_verified": false}))
	if !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("got %v", err)
	}
}

func TestKeysRotate(t *testing.T) {
	i := oidctest.Start(t)
	clock := time.Now()
	v := verifier(t, oidc.Options{Clock: func() time.Time { return clock }}, oidc.Issuer{URL: i.URL, Audiences: []string{"towpath"}})
	old := i.Token(nil)
	identify := func(token string) error {
		_, err := v.Identify(t.Context(), token)
		return err
	}
	if err := identify(old); err != nil {
		t.Fatal(err)
	}
	i.Rotate(jose.RS256)
	clock = clock.Add(time.Second)
	if err := identify(i.Token(nil)); err != nil {
		t.Fatalf("the new key is not taken: %v", err)
	}
	if err := identify(i.Token(map[string]any{"sub": "bob"})); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(2 * time.Minute) // what was verified before is forgotten
	if err := identify(old); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("the withdrawn key is still taken: %v", err)
	}
}

func TestAnIssuerThatIsDownIsUnavailableAndKnownKeysGoOn(t *testing.T) {
	i := oidctest.Start(t)
	v := verifier(t, oidc.Options{}, oidc.Issuer{URL: i.URL, Audiences: []string{"towpath"}},
		oidc.Issuer{URL: "http://127.0.0.1:1", Audiences: []string{"towpath"}})
	first := i.Token(nil)
	i.Down(true)
	if _, err := v.Identify(t.Context(), first); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("before its keys were ever read: %v", err)
	}
	if _, err := v.Identify(t.Context(), i.Token(map[string]any{"iss": "http://127.0.0.1:1"})); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("where nobody listens: %v", err)
	}
	i.Down(false)
	if _, err := v.Identify(t.Context(), first); err != nil {
		t.Fatalf("after the outage: %v", err)
	}
	i.Down(true)
	if _, err := v.Identify(t.Context(), i.Token(map[string]any{"sub": "bob"})); err != nil {
		t.Errorf("a known key does not go on in an outage: %v", err)
	}
	forged := strings.Split(i.Token(map[string]any{"sub": "eve"}), ".")
	forged[2] = strings.Split(first, ".")[2]
	if _, err := v.Identify(t.Context(), strings.Join(forged, ".")); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("a wrong signature of a known key in an outage: %v", err)
	}
	i.Rotate(jose.ES256)
	if _, err := v.Identify(t.Context(), i.Token(nil)); !errs.Is(err, errs.Unavailable) {
		t.Errorf("an unknown key in an outage: %v", err)
	}
}

func TestMadeUpKeyIDsDoNotBecomeRequestsToTheIssuer(t *testing.T) {
	i := oidctest.Start(t)
	v := verifier(t, oidc.Options{MinRefresh: time.Hour}, oidc.Issuer{URL: i.URL, Audiences: []string{"towpath"}})
	if _, err := v.Identify(t.Context(), i.Token(nil)); err != nil {
		t.Fatal(err)
	}
	before := i.Reads()
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		token := oidctest.Sign(t, jose.JSONWebKey{Key: stranger, KeyID: "made-up-" + string(rune('a'+n)), Algorithm: "RS256"}, i.Claims(nil))
		if _, err := v.Identify(t.Context(), token); !errs.Is(err, errs.Unauthenticated) {
			t.Fatal(err)
		}
	}
	if n := i.Reads() - before; n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestAnExpiredTokenIsNotRememberedBeyondItsEnd(t *testing.T) {
	i := oidctest.Start(t)
	clock := time.Now()
	v := verifier(t, oidc.Options{Clock: func() time.Time { return clock }}, oidc.Issuer{URL: i.URL, Audiences: []string{"towpath"}})
	token := i.Token(map[string]any{"exp": clock.Add(20 * time.Second).Unix()})
	if _, err := v.Identify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(21 * time.Second)
	if _, err := v.Identify(t.Context(), token); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("got %v", err)
	}
}

func TestConfigurationNamesEachWrongPlace(t *testing.T) {
	good := "issuers:\n- issuer: https://login.example.com\n  audiences: [towpath]\n- issuer: https://kubernetes.default.svc\n  audiences: [towpath]\n  kubernetes: true\n"
	if got, err := oidc.Parse([]byte(good)); err != nil || len(got) != 2 || !got[1].Kubernetes {
		t.Fatalf("got %v, %v", got, err)
	}
	for name, c := range map[string]struct{ text, field string }{
		"no issuers":                {"issuers: []", "issuers"},
		"no YAML":                   {"{", "issuers"},
		"a typing mistake":          {"issuers:\n- issuer: https://a.example.com\n  audience: [b]", "issuers"},
		"no audience":               {"issuers:\n- issuer: https://a.example.com", "issuers[0].audiences"},
		"plain http":                {"issuers:\n- issuer: http://a.example.com\n  audiences: [b]", "issuers[0].issuer"},
		"a loopback that is none":   {"issuers:\n- issuer: http://127.evil.example.com\n  audiences: [b]", "issuers[0].issuer"},
		"no URL":                    {"issuers:\n- issuer: towpath\n  audiences: [b]", "issuers[0].issuer"},
		"the same twice":            {"issuers:\n- issuer: https://a.example.com\n  audiences: [b]\n- issuer: https://a.example.com\n  audiences: [c]", "issuers[1].issuer"},
		"claims of a cluster":       {"issuers:\n- issuer: https://a.example.com\n  audiences: [b]\n  kubernetes: true\n  groupsClaim: x", "issuers[0].kubernetes"},
		"a prefix that is a path":   {"issuers:\n- issuer: https://a.example.com\n  audiences: [b]\n  usernamePrefix: x/", "issuers[0].usernamePrefix"},
		"keys at a strange address": {"issuers:\n- issuer: https://a.example.com\n  audiences: [b]\n  keysURL: ftp://x", "issuers[0].keysURL"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := oidc.Parse([]byte(c.text))
			e, ok := err.(*errs.Error)
			if !ok || e.Kind != errs.Invalid || e.Fields[0].Path != c.field {
				t.Errorf("got %v, want it at %s", err, c.field)
			}
		})
	}
}

func FuzzIdentify(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2EuZXhhbXBsZS5jb20ifQ.")
	v, err := oidc.New([]oidc.Issuer{{URL: "http://127.0.0.1:1", Audiences: []string{"towpath"}}}, oidc.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), MinRefresh: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if c, err := v.Identify(t.Context(), token); err == nil {
			t.Errorf("%q is %+v", token, c)
		}
	})
}
