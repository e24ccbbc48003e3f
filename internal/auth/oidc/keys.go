package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/towpath-dev/towpath/internal/errs"
)

// keySet is the keys of an issuer. Unlike go-oidc's own it does not ask the issuer for every unknown key id, tells an outage from a
// wrong signature, and goes on with the keys that it knows while the issuer is down.
type keySet struct {
	cfg   Issuer
	http  *http.Client
	log   *slog.Logger
	now   func() time.Time
	least time.Duration

	reading sync.Mutex // one reading at a time; the others wait for its result

	mu     sync.RWMutex // never held while reading, so that known keys are there in an outage
	keys   []jose.JSONWebKey
	tried  time.Time // when they were last asked for
	failed error     // what came of it
}

// fetchTimeout bounds how long a call waits for an issuer.
const fetchTimeout = 5 * time.Second

// maxDocument is the largest answer of an issuer that is read.
const maxDocument = 1 << 20

func newKeySet(c Issuer, o Options) (*keySet, error) {
	transport := o.Transport
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, errs.InvalidField(c.field("caFile"), "%v", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, errs.InvalidField(c.field("caFile"), "%s holds no PEM certificate", c.CAFile)
		}
		transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment}
	}
	client := &http.Client{Transport: transport, Timeout: fetchTimeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // the token for the issuer is not for others
	}}
	return &keySet{cfg: c, http: client, log: o.Log, now: o.Clock, least: o.MinRefresh}, nil
}

type outageKey struct{}

// withOutage gives a place for an outage: go-oidc makes text of the errors of a key set.
func withOutage(ctx context.Context) (context.Context, *error) {
	err := new(error)
	return context.WithValue(ctx, outageKey{}, err), err
}

// VerifySignature implements gooidc.KeySet.
func (k *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	algs := make([]jose.SignatureAlgorithm, 0, len(algorithms))
	for _, a := range algorithms {
		algs = append(algs, jose.SignatureAlgorithm(a))
	}
	jws, err := jose.ParseSigned(raw, algs)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	kid := jws.Signatures[0].Header.KeyID
	keys, asked, _ := k.known()
	payload, err := verifyWith(keys, kid, jws)
	if err == nil || hasKey(keys, kid) { // a wrong signature is wrong also while the issuer is down
		return payload, err
	}
	keys, outage := k.refresh(ctx, asked)
	if payload, err = verifyWith(keys, kid, jws); err == nil {
		return payload, nil
	}
	if place, ok := ctx.Value(outageKey{}).(*error); ok && outage != nil {
		*place = outage
	}
	return nil, err
}

func verifyWith(keys []jose.JSONWebKey, kid string, jws *jose.JSONWebSignature) ([]byte, error) {
	for i := range keys {
		if kid != "" && keys[i].KeyID != kid {
			continue
		}
		if use := keys[i].Use; use != "" && use != "sig" {
			continue
		}
		if payload, err := jws.Verify(&keys[i]); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the issuer has made this signature")
}

func hasKey(keys []jose.JSONWebKey, kid string) bool {
	return kid != "" && slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool { return k.KeyID == kid })
}

func (k *keySet) known() ([]jose.JSONWebKey, time.Time, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.keys, k.tried, k.failed
}

// refresh asks the issuer for its keys, unless somebody did since seen, or a moment ago. It gives the keys that are known then, and
// the outage when the last attempt failed.
func (k *keySet) refresh(ctx context.Context, seen time.Time) ([]jose.JSONWebKey, error) {
	k.reading.Lock()
	defer k.reading.Unlock()
	keys, tried, failed := k.known()
	if tried.After(seen) || !tried.IsZero() && k.now().Sub(tried) < k.least {
		return keys, failed
	}
	// What the caller waits for is for all others too, so its own end must not end it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	read, err := k.fetch(ctx)
	if err != nil {
		k.log.Warn("the keys of an identity provider cannot be read; those known go on to be valid", "issuer", k.cfg.URL, "error", err)
		read = keys
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys, k.tried, k.failed = read, k.now(), err
	return read, err
}

func (k *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	url := k.cfg.KeysURL
	if url == "" {
		var d struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := k.get(ctx, strings.TrimSuffix(k.cfg.URL, "/")+"/.well-known/openid-configuration", &d); err != nil {
			return nil, err
		}
		if d.Issuer != k.cfg.URL {
			return nil, fmt.Errorf("the provider calls itself %q and not %q", d.Issuer, k.cfg.URL)
		}
		url = d.Keys
	}
	var set jose.JSONWebKeySet
	if err := k.get(ctx, url, &set); err != nil {
		return nil, err
	}
	var keys []jose.JSONWebKey
	for _, key := range set.Keys {
		if key.Valid() && key.IsPublic() { // a symmetric key in a public document is no secret
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no public key", url)
	}
	return keys, nil
}

func (k *keySet) get(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if k.cfg.TokenFile != "" {
		b, err := os.ReadFile(k.cfg.TokenFile) // each time: the kubelet renews it
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(b)))
	}
	resp, err := k.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}
