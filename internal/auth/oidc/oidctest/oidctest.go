// Package oidctest is a real OIDC issuer in the process of a test: discovery document, keys that rotate, signed tokens, people who
// sign in by the authorization code flow, outages.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is an identity provider on loopback.
type Issuer struct {
	// URL is what its tokens name.
	URL string

	t      testing.TB
	mu     sync.Mutex
	keys   []jose.JSONWebKey // public, as published
	signer jose.JSONWebKey
	count  int
	down   bool
	reads  int

	signIn            SignIn
	codes, refresh    map[string]*grant
	refreshes, reused int
}

// Start starts an issuer with one key.
func Start(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t, codes: map[string]*grant{}, refresh: map[string]*grant{}}
	s := httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(s.Close)
	i.URL = s.URL
	i.Rotate(jose.ES256) // RSA keys take long to make
	return i
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reads++
	if i.down {
		http.Error(w, "out of order", http.StatusServiceUnavailable)
		return
	}
	var doc any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		doc = i.discovery()
	case "/keys":
		doc = jose.JSONWebKeySet{Keys: i.keys}
	case "/authorize":
		i.authorize(w, r)
		return
	case "/token":
		i.token(w, r)
		return
	case "/revoke":
		i.revoke(r)
		return
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(doc)
}

// Rotate replaces all keys by a new one.
func (i *Issuer) Rotate(alg jose.SignatureAlgorithm) {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.count++
	var private crypto.Signer
	var err error
	if alg == jose.ES256 {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		i.t.Fatal(err)
	}
	id := fmt.Sprintf("key-%d", i.count)
	i.signer = jose.JSONWebKey{Key: private, KeyID: id, Algorithm: string(alg), Use: "sig"}
	i.keys = []jose.JSONWebKey{{Key: private.Public(), KeyID: id, Algorithm: string(alg), Use: "sig"}}
}

// Down makes the issuer answer nothing but errors, or work again.
func (i *Issuer) Down(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Reads tells how many requests came.
func (i *Issuer) Reads() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reads
}

// PublicKey gives the published key.
func (i *Issuer) PublicKey() jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[0]
}

// Claims are those of a token for the audience towpath that is valid for an hour, changed by more; nil takes one away.
func (i *Issuer) Claims(more map[string]any) map[string]any {
	c := map[string]any{
		"iss": i.URL, "aud": "towpath", "sub": "ada", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(c, more)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// Token signs a token with the newest key.
func (i *Issuer) Token(more map[string]any) string {
	i.t.Helper()
	i.mu.Lock()
	signer := i.signer
	i.mu.Unlock()
	return Sign(i.t, signer, i.Claims(more))
}

// Sign signs claims with any key, also a wrong one.
func Sign(t testing.TB, key jose.JSONWebKey, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, nil)
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

// Unsigned makes a token of the algorithm none.
func Unsigned(t testing.TB, claims map[string]any) string {
	t.Helper()
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(b) + "."
}
