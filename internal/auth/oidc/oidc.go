// Package oidc finds out who a token of an identity provider belongs to: people who sign in there, and the service accounts of
// Kubernetes clusters, which are OIDC issuers too.
//
// What belongs here: verification of tokens. What does not: what their owners may do.
package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
)

// algorithms are the signatures that are taken. All are by a key pair: with a shared secret, whoever can verify could sign too, and
// an issuer's public key would do as the secret.
var algorithms = []string{
	gooidc.RS256, gooidc.RS384, gooidc.RS512, gooidc.ES256, gooidc.ES384, gooidc.ES512, gooidc.PS256, gooidc.PS384, gooidc.PS512, gooidc.EdDSA,
}

// Options are what a Verifier needs beside its issuers. The zero value is fine.
type Options struct {
	// Log gets outages of issuers. Default: slog.Default.
	Log *slog.Logger
	// Clock gives the time. Default: time.Now.
	Clock func() time.Time
	// Transport reaches issuers without a CA file of their own. Default: http.DefaultTransport.
	Transport http.RoundTripper
	// MinRefresh is the least time between two readings of an issuer's keys; 2 s when 0. A stream of tokens with made-up
	// key ids must not become a stream of requests to the issuer.
	MinRefresh time.Duration
}

// Verifier verifies tokens of several issuers. It reaches an issuer when its first token comes, so that one that is down when
// the server starts costs nobody else anything.
type Verifier struct {
	issuers map[string]*issuer
	clients []*Client
	cache   *identityCache
	now     func() time.Time
}

// New makes a Verifier of checked issuers. It does no network I/O.
func New(cfg []Issuer, o Options) (*Verifier, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.MinRefresh == 0 {
		o.MinRefresh = 2 * time.Second
	}
	if err := Check(cfg); err != nil {
		return nil, err
	}
	v := &Verifier{issuers: map[string]*issuer{}, cache: newIdentityCache(), now: o.Clock}
	for _, c := range cfg {
		i, err := newIssuer(c, o)
		if err != nil {
			return nil, err
		}
		v.issuers[c.URL] = i
		if c.ClientID != "" {
			v.clients = append(v.clients, newClient(i, o))
		}
	}
	return v, nil
}

// maxToken is the longest token that is looked at.
const maxToken = 32 << 10

// Identify finds who a token belongs to. A token that is not valid is errs.Unauthenticated; errs.Unavailable means that its
// issuer cannot be reached, so that it cannot be told now.
func (v *Verifier) Identify(ctx context.Context, token string) (auth.Caller, error) {
	if len(token) > maxToken {
		return auth.Caller{}, auth.Unauthenticated("the token is longer than %d bytes", maxToken)
	}
	if c, ok := v.cache.get(token, v.now()); ok {
		return c, nil
	}
	url, err := unverifiedIssuer(token)
	if err != nil {
		return auth.Caller{}, err
	}
	i, ok := v.issuers[url]
	if !ok {
		return auth.Caller{}, auth.Unauthenticated("the token is of the issuer %s, which this server does not trust; sign in with another one", quote(url))
	}
	c, until, err := i.identify(ctx, token)
	if err != nil {
		return auth.Caller{}, err
	}
	v.cache.put(token, c, v.now(), until)
	return c, nil
}

// unverifiedIssuer reads who a token says to be from, only to choose who verifies that.
func unverifiedIssuer(token string) (string, error) {
	parts := strings.Split(token, ".")
	var claims struct {
		Issuer string `json:"iss"`
	}
	if len(parts) == 3 {
		if b, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil && json.Unmarshal(b, &claims) == nil && claims.Issuer != "" {
			return claims.Issuer, nil
		}
	}
	return "", auth.Unauthenticated("the token is neither one of Towpath's nor a signed one of an identity provider")
}

// issuer is one identity provider.
type issuer struct {
	cfg       Issuer
	keys      *keySet
	verifiers []*gooidc.IDTokenVerifier // one for each audience
}

func newIssuer(c Issuer, o Options) (*issuer, error) {
	keys, err := newKeySet(c, o)
	if err != nil {
		return nil, err
	}
	i := &issuer{cfg: c, keys: keys}
	for _, a := range c.Audiences {
		i.verifiers = append(i.verifiers, gooidc.NewVerifier(c.URL, keys, &gooidc.Config{ClientID: a, SupportedSigningAlgs: algorithms, Now: o.Clock}))
	}
	return i, nil
}

// identify verifies the token and finds whom it belongs to.
func (i *issuer) identify(ctx context.Context, raw string) (auth.Caller, time.Time, error) {
	token, err := i.verify(ctx, raw, i.verifiers)
	if err != nil {
		return auth.Caller{}, time.Time{}, err
	}
	claims := map[string]any{}
	if err := token.Claims(&claims); err != nil {
		return auth.Caller{}, time.Time{}, auth.Unauthenticated("the token's claims cannot be read").Because(err)
	}
	c, err := i.caller(token.Subject, claims)
	return c, token.Expiry, err
}

// verify verifies the token for one of the audiences. Its signature is verified first, then issuer, audience and times.
func (i *issuer) verify(ctx context.Context, raw string, audiences []*gooidc.IDTokenVerifier) (*gooidc.IDToken, error) {
	ctx, outage := withOutage(ctx)
	var token *gooidc.IDToken
	var err error
	for _, v := range audiences {
		if token, err = v.Verify(ctx, raw); err == nil || !strings.Contains(err.Error(), "expected audience") {
			break
		}
	}
	if *outage != nil {
		return nil, errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE,
			"the identity provider %s cannot be reached to verify the token; try again, or use a Towpath token", i.cfg.URL).Because(*outage)
	}
	if err != nil {
		return nil, i.refusal(err)
	}
	return token, nil
}

// refusal says why a token is not taken, as far as its owner needs to know to get another one.
func (i *issuer) refusal(err error) error {
	var expired *gooidc.TokenExpiredError
	said := err.Error()
	switch {
	case errors.As(err, &expired):
		return auth.Unauthenticated("the token of %s has expired; sign in again", i.cfg.URL).Because(err)
	case strings.Contains(said, "nbf (not before)"):
		return auth.Unauthenticated("the token of %s is not valid yet; compare the clocks", i.cfg.URL).Because(err)
	case strings.Contains(said, "expected audience"):
		return auth.Unauthenticated("the token of %s is for another audience; ask for one for %s", i.cfg.URL, strings.Join(i.cfg.Audiences, " or ")).Because(err)
	}
	return auth.Unauthenticated("the token is not signed by a key of %s; sign in again", i.cfg.URL).Because(err)
}

func (i *issuer) caller(subject string, claims map[string]any) (auth.Caller, error) {
	if i.cfg.Kubernetes {
		return serviceAccount(i.cfg, subject)
	}
	name, _ := claims[i.cfg.usernameClaim()].(string)
	if i.cfg.usernameClaim() == "email" && claims["email_verified"] == false {
		return auth.Caller{}, auth.Unauthenticated("the address of the token of %s is not verified there", i.cfg.URL)
	}
	name = i.cfg.UsernamePrefix + name
	if !validName(name) || strings.Contains(name, "/") || name == i.cfg.UsernamePrefix {
		return auth.Caller{}, auth.Unauthenticated("the token of %s has no usable name in its claim %s", i.cfg.URL, i.cfg.usernameClaim())
	}
	c := auth.Caller{Subject: "users/" + name, Method: auth.MethodOIDC, Groups: i.groups(claims)}
	c.DisplayName, _ = claims["name"].(string)
	c.Email, _ = claims["email"].(string)
	return c, nil
}

// maxGroups bounds what is kept of a caller. More of them are a mistake in the provider's settings.
const maxGroups = 1000

func (i *issuer) groups(claims map[string]any) []string {
	var out []string
	add := func(v any) {
		if g, ok := v.(string); ok && validName(g) && len(out) < maxGroups {
			out = append(out, i.cfg.GroupsPrefix+g)
		}
	}
	switch v := claims[i.cfg.groupsClaim()].(type) {
	case []any:
		for _, g := range v {
			add(g)
		}
	default:
		add(v)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// serviceAccount reads system:serviceaccount:{namespace}:{name}.
func serviceAccount(cfg Issuer, subject string) (auth.Caller, error) {
	parts := strings.Split(subject, ":")
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" || !validName(parts[2]) || !validName(parts[3]) ||
		strings.Contains(parts[2]+parts[3], "/") {
		return auth.Caller{}, auth.Unauthenticated("the token of %s is of no service account", cfg.URL)
	}
	namespace := cfg.UsernamePrefix + parts[2]
	return auth.Caller{
		Subject: "serviceAccounts/" + namespace + "/" + parts[3], Method: auth.MethodServiceAccount,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace},
	}, nil
}

// validName reports whether a name from outside can be part of a subject.
func validName(s string) bool {
	return s != "" && len(s) <= 253 && strings.TrimSpace(s) == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar })
}

// quote shortens what a caller sent before it is shown again.
func quote(s string) string { return fmt.Sprintf("%.200q", s) }
