package portal

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"golang.org/x/sync/singleflight"
	"google.golang.org/protobuf/encoding/protojson"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/auth"
	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// maxSessionBody is the most that POST /session reads, in bytes.
const maxSessionBody = 8 << 10

// sessionLength is how long a session of an identity provider may be renewed. Then its owner signs in again, so that a stolen
// browser profile does not stay a way in for ever.
const sessionLength = 12 * time.Hour

// Config is what a Gate needs. The zero value is fine: people then sign in with a token.
type Config struct {
	// Clients are the identity providers that people can sign in with.
	Clients []*oidc.Client
	// Key is the secret that sessions are sealed with, the same for all processes that serve the portal. Made up when empty: then
	// sessions end with the process.
	Key []byte
	// PublicURL is where people find the portal; taken from each request when empty.
	PublicURL string
	// Log gets sign-ins that come to nothing. Default: slog.Default.
	Log *slog.Logger
	// Clock gives the time. Default: time.Now.
	Clock func() time.Time
}

// Gate lets people in by a browser: it signs them in, keeps their tokens in cookies that no script can read, and renews them.
type Gate struct {
	clients   []*oidc.Client
	sealer    sealer
	publicURL string
	log       *slog.Logger
	now       func() time.Time

	renewing singleflight.Group
	mu       sync.Mutex
	renewed  map[[sha256.Size]byte]renewed
}

// New makes a Gate.
func New(c Config) *Gate {
	if len(c.Key) == 0 {
		c.Key = randomKey()
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &Gate{
		clients: c.Clients, sealer: newSealer(c.Key), publicURL: strings.TrimRight(c.PublicURL, "/"), log: c.Log, now: c.Clock,
		renewed: map[[sha256.Size]byte]renewed{},
	}
}

// WithSession is Gate.WithSession of a Gate without identity providers.
func WithSession(next http.Handler) http.Handler { return New(Config{}).WithSession(next) }

// WithSession lets a signed-in browser call next: for /v1/ it turns the session's cookies into an Authorization header, and renews
// what has ended. A request with an Authorization header of its own is left as it is, because no foreign page can make a browser
// send one. A request that is let in by a cookie and is not GET or HEAD must come from the portal's own pages, else any page that
// the person visits could deploy in their name: it is refused with 403 PERMISSION_DENIED. The cookies themselves go no further.
func (g *Gate) WithSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/") {
			next.ServeHTTP(w, r)
			return
		}
		j := g.jar(w, r)
		r = without(r)
		if r.Header.Get("Authorization") != "" || j.get(tokenCookie) == "" && j.chunks() == "" {
			next.ServeHTTP(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !sameOrigin(r) {
			writeError(w, foreignOrigin())
			return
		}
		token, err := g.token(j)
		if err != nil {
			if errs.Is(err, errs.Unauthenticated) {
				j.clear()
			}
			writeError(w, err)
			return
		}
		r.Header.Set("Authorization", "Bearer "+token)
		next.ServeHTTP(w, r)
	})
}

// session is a sign-in with an identity provider, as it travels in cookies.
type session struct {
	Issuer  string    `json:"i"`
	ID      string    `json:"t"`
	Refresh string    `json:"r,omitempty"`
	Subject string    `json:"s"`
	Expiry  time.Time `json:"e"`
	Ends    time.Time `json:"n"`
}

// renewed is a session that took the place of another one. It is kept for those requests that the browser has sent before it knew:
// many providers take a refresh token once.
type renewed struct {
	session session
	until   time.Time
}

// Tokens that end this soon are renewed, so that none ends on the way. What was renewed is kept that long.
const (
	renewBefore = 30 * time.Second
	keepRenewed = 2 * time.Minute
)

// token gives the token of the caller, renewed where it must be.
func (g *Gate) token(j jar) (string, error) {
	if t := j.get(tokenCookie); t != "" {
		return t, nil
	}
	var s session
	if !g.sealer.open(sessionCookie, j.chunks(), &s) {
		return "", auth.Unauthenticated("the session cannot be read any more; sign in again")
	}
	now := g.now()
	if now.After(s.Ends) {
		return "", auth.Unauthenticated("the session has lasted %s; sign in again", sessionLength)
	}
	client := g.client(s.Issuer)
	if now.Before(s.Expiry.Add(-renewBefore)) || client == nil {
		return s.ID, nil // of an issuer that is no longer one: the API says so
	}
	if s.Refresh == "" {
		if now.Before(s.Expiry) {
			return s.ID, nil
		}
		return "", auth.Unauthenticated("the session has ended, as %s gives none that can be renewed; sign in again", client.Name())
	}
	next, err := g.renew(j.r.Context(), client, s)
	switch {
	case errs.Is(err, errs.Unavailable) && now.Before(s.Expiry):
		return s.ID, nil
	case err != nil:
		return "", err
	}
	if sealed, err := g.sealer.seal(sessionCookie, next); err != nil || !j.setChunks(sealed) {
		return "", auth.Unauthenticated("%s", tooLarge(client))
	}
	return next.ID, nil
}

// renew gets new tokens, once for all requests that ask for the same.
func (g *Gate) renew(ctx context.Context, client *oidc.Client, s session) (session, error) {
	key := s.key()
	v, err, _ := g.renewing.Do(string(key[:]), func() (any, error) {
		if got, ok := g.remembered(key); ok {
			return got, nil
		}
		// The others wait for it too, so the end of the first request must not end it.
		t, err := client.Refresh(context.WithoutCancel(ctx), oidc.Tokens{Refresh: s.Refresh, Subject: s.Subject})
		if err != nil {
			return session{}, err
		}
		next := session{Issuer: s.Issuer, ID: t.ID, Refresh: t.Refresh, Subject: t.Subject, Expiry: t.Expiry, Ends: s.Ends}
		g.remember(key, next)
		return next, nil
	})
	if err != nil {
		return session{}, err
	}
	return v.(session), nil
}

// key is what renewals of a session are known by.
func (s session) key() [sha256.Size]byte { return sha256.Sum256([]byte(s.Issuer + " " + s.Refresh)) }

// newest follows a session to what took its place, and waits for a renewal that is under way. All of it is forgotten, so that a request
// from before, still on its way, does not bring it back.
func (g *Gate) newest(s session) session {
	for s.Refresh != "" {
		key := s.key()
		v, err, _ := g.renewing.Do(string(key[:]), func() (any, error) {
			got, ok := g.remembered(key)
			if !ok {
				got = s
			}
			return got, nil
		})
		g.mu.Lock()
		maps.DeleteFunc(g.renewed, func(k [sha256.Size]byte, r renewed) bool { return k == key || r.session.Refresh == s.Refresh })
		g.mu.Unlock()
		next, _ := v.(session)
		if err != nil || next.Refresh == s.Refresh {
			break
		}
		s = next
	}
	return s
}

func (g *Gate) remembered(key [sha256.Size]byte) (session, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, ok := g.renewed[key]
	return r.session, ok && g.now().Before(r.until)
}

func (g *Gate) remember(key [sha256.Size]byte, s session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	for k, r := range g.renewed {
		if now.After(r.until) {
			delete(g.renewed, k)
		}
	}
	g.renewed[key] = renewed{s, now.Add(keepRenewed)}
}

func (g *Gate) client(issuer string) *oidc.Client {
	for _, c := range g.clients {
		if c.Issuer() == issuer {
			return c
		}
	}
	return nil
}

// sameOrigin reports whether the request comes from a page of this server or from the person directly. A browser that does not
// send Sec-Fetch-Site sends Origin with everything that is not GET or HEAD; a request with neither is refused.
func sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin" || site == "none"
	}
	u, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func foreignOrigin() error {
	return errs.New(errs.Denied, errorsv1.Reason_REASON_PERMISSION_DENIED,
		"the request comes from another site than the portal; open the portal at this server's own address, or send an Authorization header").
		With("action", "cross-site request")
}

// serveSession tells how one can sign in, signs in by a token, and out. It does not judge the token: /v1 does with each call, so a
// revoked one ends at once.
func (g *Gate) serveSession(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	j := g.jar(w, r)
	if r.Method == http.MethodGet {
		g.tell(j)
		return
	}
	if r.Method != http.MethodPost && r.Method != http.MethodDelete {
		notAllowed(w, "GET, POST, DELETE")
		return
	}
	// Signing somebody in or out from another site is as bad as deploying in their name.
	if !sameOrigin(r) {
		writeError(w, foreignOrigin())
		return
	}
	if r.Method == http.MethodDelete {
		g.signOut(j)
	} else {
		token, err := readToken(w, r)
		if err != nil {
			writeError(w, err)
			return
		}
		g.endSession(j)
		j.set(tokenCookie, token, 0)
	}
	w.WriteHeader(http.StatusNoContent)
}

// tell answers what the sign-in page shows: the providers, and why the last attempt came to nothing, once.
func (g *Gate) tell(j jar) {
	type provider struct {
		Issuer string `json:"issuer"`
		Name   string `json:"name"`
	}
	out := struct {
		Providers []provider `json:"providers"`
		Problem   string     `json:"problem,omitempty"`
	}{Providers: []provider{}}
	for _, c := range g.clients {
		out.Providers = append(out.Providers, provider{c.Issuer(), c.Name()})
	}
	if sealed := j.get(problemCookie); sealed != "" {
		g.sealer.open(problemCookie, sealed, &out.Problem)
		j.set(problemCookie, "", 0)
	}
	j.w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(j.w).Encode(out) // who asked has gone
}

// signOut ends the session here, and at the provider where it lets us.
func (g *Gate) signOut(j jar) {
	var s session
	if sealed := j.chunks(); sealed != "" && g.sealer.open(sessionCookie, sealed, &s) && s.Refresh != "" {
		s = g.newest(s)
		if c := g.client(s.Issuer); c != nil {
			if err := c.Revoke(j.r.Context(), s.Refresh); err != nil {
				g.log.Warn("a session could not be ended at its identity provider; it is ended here", "issuer", s.Issuer, "error", err)
			}
		}
	}
	j.clear()
}

// endSession removes the session of an identity provider, where there is one.
func (g *Gate) endSession(j jar) {
	for i := range maxChunks {
		if j.get(chunk(i)) != "" {
			j.set(chunk(i), "", 0)
		}
	}
}

func readToken(w http.ResponseWriter, r *http.Request) (string, error) {
	var in struct {
		Token string `json:"token"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSessionBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return "", errs.New(errs.Invalid, errorsv1.Reason_REASON_TOO_LARGE, "the body is larger than %d bytes; send the token alone", tooLarge.Limit).With("limit", "session body")
		}
		// The cause is left out: a decoder quotes what it read, and that is the token.
		return "", errs.InvalidField("body", `is not the JSON object {"token": "..."}`)
	}
	token := strings.TrimSpace(in.Token)
	switch {
	case token == "":
		return "", errs.InvalidField("token", "is empty; paste the token that `make run` prints, or one made by `tow token create`")
	case len(token) > maxCookie:
		return "", errs.InvalidField("token", "is longer than %d characters, so no browser keeps it; sign in with the identity provider itself, or with a token made by `tow token create`", maxCookie)
	case strings.ContainsFunc(token, notInCookie):
		return "", errs.InvalidField("token", "has a space or another character that no token has; paste the token alone")
	}
	return token, nil
}

// notInCookie reports characters that a cookie's value cannot hold as they are (RFC 6265).
func notInCookie(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune(`",;\`, c)
}

// writeError answers as the REST API does: google.rpc.Status as JSON.
func writeError(w http.ResponseWriter, err error) {
	s := rpc.ToStatus(err, "")
	body, merr := protojson.Marshal(s.Proto())
	if merr != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(runtime.HTTPStatusFromCode(s.Code()))
	w.Write(body)
}
