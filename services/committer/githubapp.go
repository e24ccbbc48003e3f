package committer

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/committer/internal/rules"
)

const (
	githubAPI = "https://api.github.com"
	// tokenMargin is how long before its end an installation token is renewed: longer than any push.
	tokenMargin = 5 * time.Minute
	// tokenLastUse is until when an old token is still used while no new one can be had.
	tokenLastUse = 30 * time.Second
	tokenTimeout = 20 * time.Second
	// tokenYoung is the age below which a refused token is not thrown away: another one would be refused as well.
	tokenYoung = time.Minute
)

// installationToken is what a GitHub App gets in with for an hour.
type installationToken struct {
	value       string
	had, expiry time.Time
}

func appDigest(m *material) digest { return m.of(keyAppID, keyInstallation, keyAppKey, keyAppURL) }

// installationToken gives the app's token, from memory until shortly before it ends. Callers that come while it is renewed
// wait for that one renewal.
func (c *credentials) installationToken(ctx context.Context, m *material) (string, error) {
	key := appDigest(m)
	c.mu.Lock()
	have := c.tokens[key]
	c.mu.Unlock()
	if c.now().Before(have.expiry.Add(-margin(have))) {
		return have.value, nil
	}
	done := c.refreshes.DoChan(key.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tokenTimeout)
		defer cancel()
		fresh, err := c.askForToken(ctx, m)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		if len(c.tokens) >= maxParsed {
			clear(c.tokens)
		}
		c.tokens[key] = fresh
		c.mu.Unlock()
		c.remember(m, fresh.value)
		return fresh.value, nil
	})
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case r := <-done:
		if errs.Is(r.Err, errs.Unavailable) && c.now().Before(have.expiry.Add(-tokenLastUse)) {
			return have.value, nil
		}
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(string), nil
	}
}

// margin is how long before its end a token is renewed; of one that lives shortly, a tenth of its life.
func margin(t installationToken) time.Duration {
	return min(tokenMargin, t.expiry.Sub(t.had)/10)
}

// dropToken forgets a token that a host refused; false when it is too young for another to be any better.
func (c *credentials) dropToken(m *material) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := appDigest(m)
	t, ok := c.tokens[key]
	if !ok || c.now().Sub(t.had) < tokenYoung {
		return false
	}
	delete(c.tokens, key)
	return true
}

// askForToken exchanges a JSON Web Token of the app for a token of its installation.
func (c *credentials) askForToken(ctx context.Context, m *material) (installationToken, error) {
	address, assertion, err := c.tokenRequest(m)
	if err != nil {
		return installationToken{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(nil))
	if err != nil {
		return installationToken{}, m.wrong("have a %q that is no address", keyAppURL)
	}
	req.Header.Set("Authorization", "Bearer "+assertion)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	had := c.now()
	res, err := c.client(m.name, c.http).Do(req)
	if err != nil {
		return installationToken{}, errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE,
			"the GitHub App of the credentials %q gets no answer from %s", m.name, req.URL.Host).Because(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxPart))
	if err != nil {
		return installationToken{}, errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE,
			"the answer of %s to the GitHub App of the credentials %q ends early", req.URL.Host, m.name).Because(err)
	}
	if res.StatusCode != http.StatusCreated {
		return installationToken{}, m.refusedApp(res, data, assertion)
	}
	var answer struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal(data, &answer); err != nil || answer.Token == "" || !answer.ExpiresAt.After(had) {
		return installationToken{}, m.wrong("name a GitHub App at %s, which does not answer like GitHub; check %q", req.URL.Host, keyAppURL)
	}
	return installationToken{value: answer.Token, had: had, expiry: answer.ExpiresAt}, nil
}

// tokenRequest gives where to ask and the app's word for itself.
func (c *credentials) tokenRequest(m *material) (address, assertion string, err error) {
	for _, id := range []string{keyAppID, keyInstallation} {
		if n, err := strconv.ParseInt(m.get(id), 10, 64); err != nil || n <= 0 {
			return "", "", m.wrong("need a number as %q; the app's settings on GitHub show it", id)
		}
	}
	key, err := c.appKey(m)
	if err != nil {
		return "", "", err
	}
	base, err := url.Parse(orDefault(m.get(keyAppURL), githubAPI))
	if err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.User != nil {
		return "", "", m.wrong("have a %q that is no address; give one such as %s", keyAppURL, githubAPI)
	}
	now := c.now()
	// A minute back, because clocks differ; GitHub takes ten minutes at the most.
	assertion, err = jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer: m.get(keyAppID), IssuedAt: jwt.NewNumericDate(now.Add(-time.Minute)), ExpiresAt: jwt.NewNumericDate(now.Add(8 * time.Minute)),
	}).SignedString(key)
	if err != nil {
		return "", "", m.wrong("have a %q that cannot sign; make a new one in the app's settings on GitHub", keyAppKey)
	}
	return strings.TrimRight(base.String(), "/") + "/app/installations/" + m.get(keyInstallation) + "/access_tokens", assertion, nil
}

func (c *credentials) appKey(m *material) (*rsa.PrivateKey, error) {
	if !m.has(keyAppKey) {
		return nil, m.wrong("name a GitHub App and have no %q", keyAppKey)
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(m.get(keyAppKey)))
	if err != nil {
		return nil, m.wrong("have a %q that is no RSA key in PEM form; take the file that GitHub gave for the app", keyAppKey)
	}
	return key, nil
}

// refusedApp tells what GitHub has against the app, in its words.
func (m *material) refusedApp(res *http.Response, body []byte, assertion string) error {
	var answer struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &answer)
	words := rules.Redact(rules.Line(answer.Message), append(m.secrets(), assertion)...)
	if words == "" {
		words = http.StatusText(res.StatusCode)
	}
	limited := res.StatusCode == http.StatusTooManyRequests ||
		res.StatusCode == http.StatusForbidden && (res.Header.Get("Retry-After") != "" || res.Header.Get("X-Ratelimit-Remaining") == "0")
	if res.StatusCode >= 500 || limited {
		return errs.New(errs.Unavailable, errorsv1.Reason_REASON_GIT_UNAVAILABLE,
			"the GitHub App of the credentials %q gets no token now: %s answers %d: %s", m.name, res.Request.URL.Host, res.StatusCode, words)
	}
	remedy := "check the app's permissions and that it is not suspended"
	switch res.StatusCode {
	case http.StatusUnauthorized:
		remedy = fmt.Sprintf("check %s and %s, and this machine's clock", keyAppID, keyAppKey)
	case http.StatusNotFound:
		remedy = fmt.Sprintf("check %s: the app must be installed for the repository's owner", keyInstallation)
	}
	return m.wrong("name a GitHub App that gets no token: %s answers %d: %s; %s", res.Request.URL.Host, res.StatusCode, words, remedy)
}
