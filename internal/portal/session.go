package portal

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/rpc"
)

// CookieName is the cookie that carries the signed-in caller's token.
const CookieName = "towpath_token"

// maxSessionBody is the most that POST /session reads, in bytes.
const maxSessionBody = 8 << 10

// maxToken keeps the cookie below what browsers store (4096 bytes with its name and attributes).
const maxToken = 3800

// WithSession lets a signed-in browser call next: for /v1/ it turns the session's cookie into an Authorization header. A request
// with an Authorization header of its own is left as it is, because no foreign page can make a browser send one. A request that
// is let in by the cookie and is not GET or HEAD must come from the portal's own pages, else any page that the person visits
// could deploy in their name: it is refused with 403 PERMISSION_DENIED. The cookie itself goes no further than here.
func WithSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/") {
			next.ServeHTTP(w, r)
			return
		}
		r, token := takeCookie(r)
		if token == "" || r.Header.Get("Authorization") != "" {
			next.ServeHTTP(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !sameOrigin(r) {
			writeError(w, foreignOrigin())
			return
		}
		r.Header.Set("Authorization", "Bearer "+token)
		next.ServeHTTP(w, r)
	})
}

// takeCookie gives the request without the session's cookie, and the cookie's value.
func takeCookie(r *http.Request) (*http.Request, string) {
	c, err := r.Cookie(CookieName)
	if err != nil {
		return r, ""
	}
	out := r.Clone(r.Context())
	out.Header.Del("Cookie")
	for _, other := range r.Cookies() {
		if other.Name != CookieName {
			out.AddCookie(other)
		}
	}
	return out, c.Value
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

// serveSession signs in and out. It does not judge the token: /v1 does with each call, so a revoked one ends at once.
func serveSession(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost && r.Method != http.MethodDelete {
		notAllowed(w, "POST, DELETE")
		return
	}
	// Signing somebody in or out from another site is as bad as deploying in their name.
	if !sameOrigin(r) {
		writeError(w, foreignOrigin())
		return
	}
	cookie := &http.Cookie{
		Name: CookieName, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: overTLS(r),
	}
	if r.Method == http.MethodDelete {
		cookie.MaxAge = -1
	} else {
		token, err := readToken(w, r)
		if err != nil {
			writeError(w, err)
			return
		}
		cookie.Value = token
	}
	http.SetCookie(w, cookie)
	w.WriteHeader(http.StatusNoContent)
}

// overTLS also believes a proxy in front. A caller that lies about it only keeps its own cookie from being sent.
func overTLS(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
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
	case len(token) > maxToken:
		return "", errs.InvalidField("token", "is longer than %d characters, so it is not one", maxToken)
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
