package portal

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// The cookies, without the prefix __Host- that they have over TLS.
const (
	// tokenCookie carries the token that somebody pasted.
	tokenCookie = "towpath_token"
	// sessionCookie carries a sealed session of an identity provider, in as many cookies as it needs.
	sessionCookie = "towpath_session"
	// signInCookie carries a sealed sign-in that is under way; the beginning of its state is appended.
	signInCookie = "towpath_signin_"
	// problemCookie carries why a sign-in came to nothing, to the page that says so.
	problemCookie = "towpath_problem"
)

const (
	// maxCookie keeps a cookie below what browsers store (4096 bytes with its name and attributes).
	maxCookie = 3800
	// maxChunks bounds the cookies of one session. More would come near to what proxies take as the header of a request.
	maxChunks = 3
)

// prefix makes browsers refuse the cookie unless this very host has set it over TLS, so that no neighbour domain can plant one.
const prefix = "__Host-"

// jar reads and writes the cookies of one request.
type jar struct {
	w      http.ResponseWriter
	r      *http.Request
	secure bool
}

func (g *Gate) jar(w http.ResponseWriter, r *http.Request) jar { return jar{w, r, g.overTLS(r)} }

// overTLS also believes a proxy in front, and who says where people find the portal. A caller that lies about it only keeps its own
// cookies from being sent.
func (g *Gate) overTLS(r *http.Request) bool {
	if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		return true
	}
	u, err := url.Parse(g.publicURL)
	return err == nil && u.Scheme == "https" && strings.EqualFold(u.Host, r.Host)
}

func (j jar) name(n string) string {
	if j.secure {
		return prefix + n
	}
	return n
}

func (j jar) get(n string) string {
	c, err := j.r.Cookie(j.name(n))
	if err != nil {
		return ""
	}
	return c.Value
}

// set writes a cookie that scripts cannot read; an empty value removes it. Those of a sign-in under way are lax, as people come
// back with them from another site.
func (j jar) set(n, value string, seconds int) {
	c := &http.Cookie{Name: j.name(n), Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: j.secure, SameSite: http.SameSiteStrictMode}
	if strings.HasPrefix(n, signInCookie) {
		c.SameSite = http.SameSiteLaxMode
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(j.w, c)
}

func chunk(i int) string {
	if i == 0 {
		return sessionCookie
	}
	return sessionCookie + "_" + strconv.Itoa(i)
}

// setChunks writes a sealed session, and removes what is left of a longer one. It reports false, and writes nothing, where the session
// is too large.
func (j jar) setChunks(sealed string) bool {
	if len(sealed) > maxChunks*(maxCookie-2) {
		return false
	}
	sealed = strconv.Itoa((len(sealed)+2+maxCookie-1)/maxCookie) + "." + sealed // how many there are, so that a part is not taken for all
	for i := range maxChunks {
		part := sealed[:min(maxCookie, len(sealed))]
		sealed = sealed[len(part):]
		if part != "" || j.get(chunk(i)) != "" {
			j.set(chunk(i), part, 0)
		}
	}
	return true
}

// chunks puts a sealed session together again; "" where there is none.
func (j jar) chunks() string {
	first := j.get(sessionCookie)
	count, out, _ := strings.Cut(first, ".")
	n, err := strconv.Atoi(count)
	if err != nil || n > maxChunks {
		return first // what was never one cannot be opened either
	}
	for i := 1; i < n; i++ {
		out += j.get(chunk(i))
	}
	return out
}

// clear removes everything that lets somebody in.
func (j jar) clear() {
	for _, n := range append([]string{tokenCookie}, chunk(0), chunk(1), chunk(2)) {
		if j.get(n) != "" || n == tokenCookie {
			j.set(n, "", 0)
		}
	}
}

// ours reports whether a cookie is one of the portal's: those go no further than here.
func ours(name string) bool {
	name = strings.TrimPrefix(name, prefix)
	return name == tokenCookie || name == problemCookie || strings.HasPrefix(name, sessionCookie) || strings.HasPrefix(name, signInCookie)
}

// without gives the request without our cookies.
func without(r *http.Request) *http.Request {
	out := r.Clone(r.Context())
	out.Header.Del("Cookie")
	for _, c := range r.Cookies() {
		if !ours(c.Name) {
			out.AddCookie(c)
		}
	}
	return out
}
