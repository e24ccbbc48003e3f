package portal

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"golang.org/x/oauth2"

	"github.com/towpath-dev/towpath/internal/auth/oidc"
	"github.com/towpath-dev/towpath/internal/errs"
)

// The addresses of a sign-in with an identity provider.
const (
	startPath    = "/session/oidc/start"
	callbackPath = "/session/oidc/callback"
)

// signInTime is how long a person may take at the identity provider.
const signInTime = 10 * time.Minute

// pending is a sign-in that is under way. It stays in the browser that began it, sealed, so it ends in no other one, and any process
// can end it.
type pending struct {
	Issuer   string    `json:"i"`
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Redirect string    `json:"r"`
	Back     string    `json:"b"`
	Until    time.Time `json:"u"`
}

// start sends a person to an identity provider.
func (g *Gate) start(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet {
		notAllowed(w, "GET")
		return
	}
	back := backTo(r.URL.Query().Get("back"))
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		home(w, back) // whoever links here from elsewhere gets the page with the buttons
		return
	}
	// A sign-in must end at the address where it began, or its cookie is not there.
	if u, err := url.Parse(g.publicURL); err == nil && u.Host != "" && !strings.EqualFold(u.Host, r.Host) {
		http.Redirect(w, r, g.publicURL+"/"+back, http.StatusSeeOther)
		return
	}
	j := g.jar(w, r)
	client := g.client(r.URL.Query().Get("issuer"))
	if client == nil {
		g.fail(j, back, "There is no such identity provider here any more. Choose one of those below.", nil)
		return
	}
	p := pending{
		Issuer: client.Issuer(), State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		Redirect: g.origin(r) + callbackPath, Back: back, Until: g.now().Add(signInTime),
	}
	to, err := client.Begin(r.Context(), p.Redirect, p.State, p.Nonce, p.Verifier)
	if err != nil {
		g.fail(j, back, sentence(err), err)
		return
	}
	sealed, err := g.sealer.seal(signInCookie, p)
	if err != nil || len(sealed) > maxCookie {
		g.fail(j, "", "The address of the page that you want to see is too long to come back to. Sign in, then open it again.", err)
		return
	}
	j.set(signInCookie+p.State[:8], sealed, int(signInTime/time.Second))
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// callback takes a person back who comes from the identity provider.
func (g *Gate) callback(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet {
		notAllowed(w, "GET")
		return
	}
	j, q := g.jar(w, r), r.URL.Query()
	p, ok := g.pending(j, q.Get("state"))
	if !ok {
		g.fail(j, "", "This sign-in was begun in another browser, was used already, or was begun more than 10 minutes ago. Sign in again.", nil)
		return
	}
	client := g.client(p.Issuer)
	if client == nil || q.Get("iss") != "" && q.Get("iss") != p.Issuer {
		g.fail(j, p.Back, "The answer comes from another identity provider than the one that you chose. Sign in again.", nil)
		return
	}
	if q.Get("error") != "" {
		g.fail(j, p.Back, refused(client, p.Redirect, q), nil)
		return
	}
	t, err := client.Finish(r.Context(), p.Redirect, q.Get("code"), p.Nonce, p.Verifier)
	if err != nil {
		g.fail(j, p.Back, sentence(err), err)
		return
	}
	if !g.keep(j, client, t) {
		g.fail(j, p.Back, sentenceOf(tooLarge(client)), nil)
		return
	}
	home(w, p.Back)
}

// keep makes a session of tokens. One that cannot be renewed is better than none where only that makes it too large.
func (g *Gate) keep(j jar, client *oidc.Client, t oidc.Tokens) bool {
	s := session{Issuer: client.Issuer(), ID: t.ID, Refresh: t.Refresh, Subject: t.Subject, Expiry: t.Expiry, Ends: g.now().Add(sessionLength)}
	for _, refresh := range []string{t.Refresh, ""} {
		s.Refresh = refresh
		if sealed, err := g.sealer.seal(sessionCookie, s); err == nil && j.setChunks(sealed) {
			if j.get(tokenCookie) != "" {
				j.set(tokenCookie, "", 0)
			}
			return true
		}
	}
	return false
}

// pending takes the sign-in of a state out of its cookie, which then is gone: it ends once.
func (g *Gate) pending(j jar, state string) (pending, bool) {
	var p pending
	if len(state) < 8 || strings.ContainsFunc(state, func(c rune) bool { return c > unicode.MaxASCII || !unicode.IsLetter(c) && !unicode.IsDigit(c) }) {
		return p, false
	}
	name := signInCookie + state[:8]
	ok := g.sealer.open(signInCookie, j.get(name), &p) && subtle.ConstantTimeCompare([]byte(p.State), []byte(state)) == 1 && g.now().Before(p.Until)
	if ok {
		j.set(name, "", 0)
	}
	return p, ok
}

// fail goes back to the page, which says what is wrong. The text travels in a sealed cookie: from an address, anybody could put
// words into the portal's mouth.
func (g *Gate) fail(j jar, back, text string, cause error) {
	g.log.Warn("a sign-in came to nothing", "said", text, "error", cause)
	if sealed, err := g.sealer.seal(problemCookie, text); err == nil {
		j.set(problemCookie, sealed, 60)
	}
	home(j.w, back)
}

// backTo gives the fragment of the page that somebody wanted to see; "" for anything that is not one. Only a fragment is ever
// added to our own address, so there is no way to another site.
func backTo(s string) string {
	if !strings.HasPrefix(s, "#/") || len(s) > 1500 || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > unicode.MaxASCII || c == 0x7f }) {
		return ""
	}
	return s
}

// home goes to a page of ours. http.Redirect would tidy up the fragment.
func home(w http.ResponseWriter, back string) {
	w.Header().Set("Location", "/"+back)
	w.WriteHeader(http.StatusSeeOther)
}

func (g *Gate) origin(r *http.Request) string {
	if g.publicURL != "" {
		return g.publicURL
	}
	if g.overTLS(r) {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// refused says what an error of the authorization endpoint means (RFC 6749 4.1.2.1, OpenID Connect Core 3.1.2.6).
func refused(client *oidc.Client, redirect string, q url.Values) string {
	name, code := client.Name(), q.Get("error")
	said := ""
	if d := strings.Map(printable, q.Get("error_description")); d != "" {
		said = fmt.Sprintf(" It says: %.200s", d)
	}
	switch code {
	case "access_denied":
		return name + " did not let you in, or you have cancelled. Try again, or ask an administrator of " + name + " to give you access to Towpath." + said
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		return name + " needs you to sign in there first. Try again." + said
	case "server_error", "temporarily_unavailable":
		return name + " cannot sign you in at the moment. Try again in a minute, or use a Towpath token." + said
	}
	return fmt.Sprintf("%s refuses Towpath's request (%.40q). An administrator must look at the client there: its redirect address must be %s, and the scopes must be allowed.%s", name, strings.Map(printable, code), redirect, said)
}

// printable leaves out what could not be seen, or would change how the rest is.
func printable(c rune) rune {
	if !unicode.IsPrint(c) {
		return -1
	}
	return c
}

func tooLarge(client *oidc.Client) string {
	return fmt.Sprintf("the token of %s is too large for a browser's cookies, mostly because of many groups; an administrator can have it name fewer groups, or sign in with a token made by `tow token create`", client.Name())
}

// sentence makes the words of an error a sentence for the page.
func sentence(err error) string { return sentenceOf(errs.Message(err)) }

func sentenceOf(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
