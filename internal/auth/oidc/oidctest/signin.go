package oidctest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"maps"
	"net/http"
	"net/url"
	"time"
)

// ClientID and ClientSecret are those of the one client that the issuer knows.
const (
	ClientID     = "towpath"
	ClientSecret = "the secret of the client"
)

// SignIn is how the issuer signs people in. Change it by Set; the zero value signs ada in at once, for an hour, with refresh
// tokens that can be used once.
type SignIn struct {
	// Refuse is the error of every authorization, such as access_denied; with Says as its description.
	Refuse, Says string
	// Ask shows a page with a button, as providers do, instead of going back at once.
	Ask bool
	// Claims are put into every identity token.
	Claims map[string]any
	// Life is how long identity tokens live; an hour when 0.
	Life time.Duration
	// NoRefresh leaves refresh tokens out, NoID identity tokens.
	NoRefresh, NoID bool
	// Public takes the client without its secret.
	Public bool
	// Nonce is put into tokens instead of the one that was asked for.
	Nonce string
	// Code is the status with which the token endpoint answers everything, when it is not 0.
	Code int
}

// grant is what a code or a refresh token stands for.
type grant struct {
	redirect, challenge, nonce, scope string
	used                              bool
}

// Set changes how the issuer signs people in, from now on.
func (i *Issuer) Set(s SignIn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signIn = s
}

// Refreshes tells how many sessions were renewed, Reused how often a refresh token came a second time.
func (i *Issuer) Refreshes() (renewed, reused int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.refreshes, i.reused
}

// EndSessions makes all refresh tokens void, as an administrator does who throws somebody out.
func (i *Issuer) EndSessions() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.refresh)
}

// Sessions is how many sessions can still be renewed.
func (i *Issuer) Sessions() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := 0
	for _, g := range i.refresh {
		if !g.used {
			n++
		}
	}
	return n
}

// authorize is the authorization endpoint. The caller holds the lock.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != ClientID || q.Get("redirect_uri") == "" {
		http.Error(w, "unknown client or redirect address", http.StatusBadRequest)
		return
	}
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := url.Values{"state": {q.Get("state")}, "iss": {i.URL}}
	switch {
	case i.signIn.Refuse != "":
		answer.Set("error", i.signIn.Refuse)
		answer.Set("error_description", i.signIn.Says)
	case q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "":
		answer.Set("error", "invalid_request")
	default:
		code := rand.Text()
		i.codes[code] = &grant{redirect: q.Get("redirect_uri"), challenge: q.Get("code_challenge"), nonce: q.Get("nonce"), scope: q.Get("scope")}
		answer.Set("code", code)
	}
	back.RawQuery = answer.Encode()
	if i.signIn.Ask {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>Provider</title><a href="` + html.EscapeString(back.String()) + `">Go on as ada</a>`))
		return
	}
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// token is the token endpoint. The caller holds the lock.
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	id, secret, basic := r.BasicAuth()
	if basic {
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
	} else {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	var g *grant
	switch {
	case i.signIn.Code != 0:
		http.Error(w, "out of order", i.signIn.Code)
		return
	case id != ClientID || !i.signIn.Public && secret != ClientSecret:
		refuse(w, "invalid_client")
		return
	case r.PostFormValue("grant_type") == "authorization_code":
		g = i.codes[r.PostFormValue("code")]
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if g == nil || g.used || g.redirect != r.PostFormValue("redirect_uri") || g.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
			refuse(w, "invalid_grant")
			return
		}
	default:
		if g = i.refresh[r.PostFormValue("refresh_token")]; g == nil || g.used {
			i.reused++
			refuse(w, "invalid_grant")
			return
		}
		i.refreshes++
	}
	g.used = true
	i.give(w, g)
}

func (i *Issuer) give(w http.ResponseWriter, g *grant) {
	life := i.signIn.Life
	if life == 0 {
		life = time.Hour
	}
	nonce := g.nonce
	if i.signIn.Nonce != "" {
		nonce = i.signIn.Nonce
	}
	claims := map[string]any{"aud": ClientID, "azp": ClientID, "nonce": nonce, "name": "Ada Lovelace", "exp": time.Now().Add(life).Unix(), "jti": rand.Text()}
	maps.Copy(claims, i.signIn.Claims)
	out := map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": int(life.Seconds())}
	if !i.signIn.NoID {
		out["id_token"] = Sign(i.t, i.signer, i.Claims(claims))
	}
	if !i.signIn.NoRefresh {
		token := rand.Text()
		i.refresh[token] = &grant{nonce: g.nonce, scope: g.scope}
		out["refresh_token"] = token
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

// revoke ends a refresh token. The caller holds the lock.
func (i *Issuer) revoke(r *http.Request) { delete(i.refresh, r.PostFormValue("token")) }

func refuse(w http.ResponseWriter, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": "a description with tok_s3cret in it"})
}

// discovery is the discovery document.
func (i *Issuer) discovery() map[string]any {
	methods := []string{"client_secret_basic", "client_secret_post"}
	return map[string]any{
		"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
		"revocation_endpoint": i.URL + "/revoke", "scopes_supported": []string{"openid", "profile", "groups", "offline_access"}, "token_endpoint_auth_methods_supported": methods,
	}
}
