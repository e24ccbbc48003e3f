package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/errs"
)

// DefaultScopes are asked for, beside openid, as far as the issuer says that it offers them: who somebody is, the groups, and a token
// that renews the session.
var DefaultScopes = []string{"profile", "email", "groups", "offline_access"}

// Client signs people in with an issuer: the authorization code flow with PKCE.
type Client struct {
	issuer   *issuer
	audience []*gooidc.IDTokenVerifier // of the client alone: a token for another program is no sign-in here
	now      func() time.Time

	mu    sync.Mutex
	known *endpoints
	until time.Time
}

// Tokens are what a sign-in gives.
type Tokens struct {
	// ID is the verified identity token, which every API call takes.
	ID string
	// Refresh gets new tokens; empty where the issuer gives none.
	Refresh string
	// Subject is whom they belong to, as the issuer calls them.
	Subject string
	// Expiry is when ID ends.
	Expiry time.Time
}

// endpoints is what the discovery document says about signing in.
type endpoints struct {
	Issuer      string   `json:"issuer"`
	Authorize   string   `json:"authorization_endpoint"`
	Token       string   `json:"token_endpoint"`
	Revocation  string   `json:"revocation_endpoint"`
	Scopes      []string `json:"scopes_supported"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
}

// keepEndpoints is how long a discovery document holds.
const keepEndpoints = 10 * time.Minute

func newClient(i *issuer, o Options) *Client {
	cfg := &gooidc.Config{ClientID: i.cfg.ClientID, SupportedSigningAlgs: algorithms, Now: o.Clock}
	return &Client{issuer: i, now: o.Clock, audience: []*gooidc.IDTokenVerifier{gooidc.NewVerifier(i.cfg.URL, i.keys, cfg)}}
}

// Clients are the issuers that people can sign in with, in the order of the configuration.
func (v *Verifier) Clients() []*Client { return v.clients }

// Issuer is the issuer's URL.
func (c *Client) Issuer() string { return c.issuer.cfg.URL }

// Name is what people call the issuer.
func (c *Client) Name() string {
	if n := c.issuer.cfg.DisplayName; n != "" {
		return n
	}
	if u, err := url.Parse(c.Issuer()); err == nil {
		return u.Host
	}
	return c.Issuer()
}

// Begin gives the address where a person signs in. The issuer sends them back to redirect, with state; nonce will be in their token,
// and only who has verifier can use their code.
func (c *Client) Begin(ctx context.Context, redirect, state, nonce, verifier string) (string, error) {
	cfg, err := c.config(ctx, redirect)
	if err != nil {
		return "", err
	}
	return cfg.AuthCodeURL(state, gooidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), nil
}

// Finish turns the code that a person came back with into verified tokens.
func (c *Client) Finish(ctx context.Context, redirect, code, nonce, verifier string) (Tokens, error) {
	cfg, err := c.config(ctx, redirect)
	if err != nil {
		return Tokens{}, err
	}
	ctx, cancel := c.context(ctx)
	defer cancel()
	got, err := cfg.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return Tokens{}, c.refusal(err)
	}
	t, token, err := c.tokens(ctx, got)
	var expired *gooidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return Tokens{}, auth.Unauthenticated("the token that %s gave had ended when it came: the clocks of that server and of this one differ; an administrator must set them right", c.Name()).Because(err)
	case err != nil:
		return Tokens{}, err
	case subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1:
		return Tokens{}, auth.Unauthenticated("the token that %s gave belongs to another sign-in; sign in again", c.Name())
	}
	// Who signs in must be somebody here too, and that is told while they look.
	if _, _, err := c.issuer.identify(ctx, t.ID); err != nil {
		return Tokens{}, err
	}
	return t, nil
}

// Refresh gets new tokens of the same person. errs.Unauthenticated means that the session has ended at the issuer.
func (c *Client) Refresh(ctx context.Context, old Tokens) (Tokens, error) {
	cfg, err := c.config(ctx, "")
	if err != nil {
		return Tokens{}, err
	}
	ctx, cancel := c.context(ctx)
	defer cancel()
	got, err := cfg.TokenSource(ctx, &oauth2.Token{RefreshToken: old.Refresh}).Token()
	if err != nil {
		return Tokens{}, c.refusal(err)
	}
	t, _, err := c.tokens(ctx, got)
	if err != nil {
		return Tokens{}, err
	}
	if t.Subject != old.Subject {
		return Tokens{}, auth.Unauthenticated("%s has renewed the session with the token of somebody else; sign in again", c.Name())
	}
	return t, nil
}

// Revoke ends a refresh token at the issuer, where it can.
func (c *Client) Revoke(ctx context.Context, refresh string) error {
	found, err := c.discover(ctx)
	if err != nil || found.Revocation == "" {
		return err
	}
	cfg, err := c.config(ctx, "")
	if err != nil {
		return err
	}
	ctx, cancel := c.context(ctx)
	defer cancel()
	form := url.Values{"token": {refresh}, "token_type_hint": {"refresh_token"}}
	if cfg.Endpoint.AuthStyle == oauth2.AuthStyleInParams {
		form.Set("client_id", cfg.ClientID)
		if cfg.ClientSecret != "" {
			form.Set("client_secret", cfg.ClientSecret)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, found.Revocation, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if cfg.Endpoint.AuthStyle == oauth2.AuthStyleInHeader {
		req.SetBasicAuth(url.QueryEscape(cfg.ClientID), url.QueryEscape(cfg.ClientSecret))
	}
	resp, err := c.issuer.keys.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", found.Revocation, resp.Status)
	}
	return nil
}

// context bounds a call, and has it sent as the issuer's keys are read: with its authority, and past no redirect.
func (c *Client) context(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, c.issuer.keys.http), 2*fetchTimeout)
}

// tokens verifies what the issuer gave.
func (c *Client) tokens(ctx context.Context, got *oauth2.Token) (Tokens, *gooidc.IDToken, error) {
	raw, _ := got.Extra("id_token").(string)
	if raw == "" {
		return Tokens{}, nil, auth.Unauthenticated("%s gave no identity token; an administrator must allow the scope openid to the client %s there", c.Name(), c.issuer.cfg.ClientID)
	}
	token, err := c.issuer.verify(ctx, raw, c.audience)
	if err != nil {
		return Tokens{}, nil, err
	}
	var claims struct {
		AuthorizedParty string `json:"azp"`
	}
	if err := token.Claims(&claims); err != nil || claims.AuthorizedParty != "" && claims.AuthorizedParty != c.issuer.cfg.ClientID {
		return Tokens{}, nil, auth.Unauthenticated("the token that %s gave is for another program", c.Name()).Because(err)
	}
	return Tokens{ID: raw, Refresh: got.RefreshToken, Subject: token.Subject, Expiry: token.Expiry}, token, nil
}

// config is the client with the issuer's endpoints. The secret is read each time, so that it can be changed without a restart.
func (c *Client) config(ctx context.Context, redirect string) (*oauth2.Config, error) {
	found, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	cfg := &oauth2.Config{
		ClientID: c.issuer.cfg.ClientID, RedirectURL: redirect, Scopes: append([]string{gooidc.ScopeOpenID}, c.scopes(found)...),
		// A style that is tried out would use up the code.
		Endpoint: oauth2.Endpoint{AuthURL: found.Authorize, TokenURL: found.Token, AuthStyle: oauth2.AuthStyleInParams},
	}
	if file := c.issuer.cfg.ClientSecretFile; file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, c.unavailable("the secret of Towpath's client at %s cannot be read; an administrator must look at clientSecretFile", err)
		}
		cfg.ClientSecret = strings.TrimSpace(string(b))
		if len(found.AuthMethods) == 0 || slices.Contains(found.AuthMethods, "client_secret_basic") {
			cfg.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
		}
	}
	return cfg, nil
}

func (c *Client) scopes(found *endpoints) []string {
	if len(c.issuer.cfg.Scopes) > 0 {
		return slices.DeleteFunc(slices.Clone(c.issuer.cfg.Scopes), func(s string) bool { return s == gooidc.ScopeOpenID })
	}
	if len(found.Scopes) == 0 {
		return DefaultScopes[:2]
	}
	return slices.DeleteFunc(slices.Clone(DefaultScopes), func(s string) bool { return !slices.Contains(found.Scopes, s) })
}

// discover reads the discovery document, when it is not known or long ago.
func (c *Client) discover(ctx context.Context) (*endpoints, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known != nil && c.now().Before(c.until) {
		return c.known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	found := &endpoints{}
	err := c.issuer.keys.get(ctx, strings.TrimSuffix(c.Issuer(), "/")+"/.well-known/openid-configuration", found)
	if err == nil && found.Issuer != c.Issuer() {
		err = fmt.Errorf("the provider calls itself %q", found.Issuer)
	}
	for name, value := range map[string]string{"authorization_endpoint": found.Authorize, "token_endpoint": found.Token} {
		if p := endpointProblem(value); err == nil && p != "" {
			err = fmt.Errorf("%s %q %s", name, value, p)
		}
	}
	if err != nil {
		if c.known != nil { // of before: better than nobody
			return c.known, nil
		}
		return nil, c.unavailable("%s cannot be reached, or does not say how to sign in; try again in a moment, or sign in with a Towpath token", err)
	}
	if endpointProblem(found.Revocation) != "" {
		found.Revocation = ""
	}
	c.known, c.until = found, c.now().Add(keepEndpoints)
	return found, nil
}

// endpointProblem says what is wrong with an endpoint; codes and secrets go there.
func endpointProblem(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return "is no https URL"
	}
	return ""
}

func (c *Client) unavailable(format string, err error) error {
	return errs.New(errs.Unavailable, errorsv1.Reason_REASON_SERVICE_UNAVAILABLE, format, c.Name()).Because(err)
}

// refusal says why the issuer's token endpoint gave nothing. What it answered may hold anything, so only its code is told.
func (c *Client) refusal(err error) error {
	var said *oauth2.RetrieveError
	if !errors.As(err, &said) || said.Response == nil || said.Response.StatusCode >= http.StatusInternalServerError {
		return c.unavailable("%s does not answer now; try again in a moment, or sign in with a Towpath token", stripped(err))
	}
	switch said.ErrorCode {
	case "invalid_grant":
		return auth.Unauthenticated("%s says that the sign-in was used already or has ended; sign in again", c.Name())
	case "invalid_client", "unauthorized_client":
		return auth.Unauthenticated("%s does not know Towpath's client %s, or its secret is another one; an administrator must look at clientID and clientSecretFile", c.Name(), c.issuer.cfg.ClientID)
	}
	return auth.Unauthenticated("%s refuses the sign-in (%.60q, %s); an administrator must look at the client %s there", c.Name(), said.ErrorCode, said.Response.Status, c.issuer.cfg.ClientID)
}

// stripped leaves out the body of an answer: it could hold a token.
func stripped(err error) error {
	var said *oauth2.RetrieveError
	if errors.As(err, &said) && said.Response != nil {
		return errors.New(said.Response.Status)
	}
	return err
}
