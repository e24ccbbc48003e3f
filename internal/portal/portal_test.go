package portal_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/towpath-dev/towpath/internal/portal"
)

var openAPI = []byte(`{"swagger":"2.0"}`)

// answer is what a handler says to one request.
func answer(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestEveryFileIsServedWithItsTypeAndTheSecurityHeaders(t *testing.T) {
	h := portal.Handler(openAPI)
	for target, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/docs": "text/html; charset=utf-8", "/openapi.json": "application/json",
		"/assets/app.js": "text/javascript; charset=utf-8", "/assets/app.css": "text/css; charset=utf-8", "/assets/icon.svg": "image/svg+xml",
	} {
		w := answer(h, http.MethodGet, target, "")
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("GET %s: %d with %d bytes", target, w.Code, w.Body.Len())
		}
		got := map[string]string{}
		for _, name := range []string{"Content-Type", "Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control"} {
			got[name] = w.Header().Get(name)
		}
		want := map[string]string{
			"Content-Type": kind, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("GET %s headers (-want +got):\n%s", target, diff)
		}
	}
	if got := answer(h, http.MethodGet, "/openapi.json", "").Body.String(); got != string(openAPI) {
		t.Errorf("openapi.json is %q", got)
	}
}

func TestABrowserThatHasTheFileGetsNotModified(t *testing.T) {
	h := portal.Handler(openAPI)
	etag := answer(h, http.MethodGet, "/assets/app.js", "").Header().Get("ETag")
	if etag == "" || etag == answer(h, http.MethodGet, "/assets/app.css", "").Header().Get("ETag") {
		t.Fatalf("ETag %q does not tell files apart", etag)
	}
	if w := answer(h, http.MethodGet, "/assets/app.js", "", "If-None-Match", etag); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("with the current ETag: %d, %d bytes", w.Code, w.Body.Len())
	}
	if w := answer(h, http.MethodGet, "/assets/app.js", "", "If-None-Match", `"old"`); w.Code != http.StatusOK {
		t.Errorf("with an old ETag: %d", w.Code)
	}
}

func TestFilesAreForGetAndHeadOnly(t *testing.T) {
	h := portal.Handler(openAPI)
	for _, target := range []string{"/", "/docs", "/openapi.json", "/assets/app.js"} {
		if w := answer(h, http.MethodHead, target, ""); w.Code != http.StatusOK || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "0" {
			t.Errorf("HEAD %s: %d, %d bytes", target, w.Code, w.Body.Len())
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
			if w := answer(h, method, target, ""); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow %q", method, target, w.Code, w.Header().Get("Allow"))
			}
		}
	}
}

func TestAnAddressThatIsNotThereIsNotFound(t *testing.T) {
	h := portal.Handler(openAPI)
	for _, target := range []string{"/nothing", "/assets/", "/assets/nothing.js", "/assets/index.html", "/assets/..%2fportal.go"} {
		if w := answer(h, http.MethodGet, target, ""); w.Code != http.StatusNotFound {
			t.Errorf("GET %s: %d", target, w.Code)
		}
	}
}

func TestAllThatIsServedStaysWithinTheBudget(t *testing.T) {
	const budget = 200_000
	h := portal.Handler(openAPI)
	total := 0
	for name, body := range assetFiles(t) {
		target := map[string]string{"assets/index.html": "/", "assets/docs.html": "/docs"}[name]
		if target == "" {
			target = "/" + name
		}
		w := answer(h, http.MethodGet, target, "")
		served := w.Body.Bytes()
		total += len(served)
		if w.Code != http.StatusOK || len(served) == 0 || len(served) > len(body) {
			t.Errorf("%s: %d, %d bytes of %d", name, w.Code, len(served), len(body))
		}
		if bytes.Contains(served, []byte("\n// ")) {
			t.Errorf("%s is served with its comments", name)
		}
	}
	t.Logf("%d bytes in total", total)
	if total == 0 || total > budget {
		t.Errorf("the portal has %d bytes in total, the budget is %d", total, budget)
	}
}

func TestFilesTravelPackedToWhoeverCanUnpackThem(t *testing.T) {
	h := portal.Handler(openAPI)
	packed := 0
	for name := range assetFiles(t) {
		target := "/" + strings.NewReplacer("assets/index.html", "", "assets/docs.html", "docs").Replace(name)
		plain := answer(h, http.MethodGet, target, "", "Accept-Encoding", "gzip;q=0, identity")
		w := answer(h, http.MethodGet, target, "", "Accept-Encoding", "br, gzip;q=0.8")
		if plain.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s: packed for who cannot unpack it", name)
		}
		if w.Header().Get("Content-Encoding") == "" {
			if w.Body.Len() > 1000 {
				t.Errorf("%s has %d bytes and is not packed", name, w.Body.Len())
			}
			continue
		}
		packed++
		r, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, plain.Body.Bytes()) || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v, %d bytes of %d", name, err, len(got), plain.Body.Len())
		}
		if plain.Header().Get("ETag") == w.Header().Get("ETag") {
			t.Errorf("%s: packed or not, it has the same ETag", name)
		}
		if w := answer(h, http.MethodGet, target, "", "Accept-Encoding", "gzip", "If-None-Match", w.Header().Get("ETag")); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
			t.Errorf("%s with its ETag: %d", name, w.Code)
		}
	}
	if packed < 10 {
		t.Errorf("%d files are packed", packed)
	}
}

// reference matches what a page, a style sheet or a module asks the browser to load.
var reference = regexp.MustCompile(`(?:src|href)="(/[^"#]*)"|(?:from |import\()"(\./[^"]+)"|url\(([^)]+)\)`)

func TestEveryAssetThatIsReferencedExistsAndNoneIsForeign(t *testing.T) {
	h := portal.Handler(openAPI)
	used := map[string]bool{"assets/index.html": true, "assets/docs.html": true}
	for name, body := range assetFiles(t) {
		for _, m := range reference.FindAllSubmatch(body, -1) {
			target := string(slices.Concat(m[1], m[3]))
			if len(m[2]) > 0 {
				target = "/" + path.Join("assets", string(m[2]))
			}
			used[strings.TrimPrefix(target, "/")] = true
			if w := answer(h, http.MethodGet, target, ""); w.Code != http.StatusOK {
				t.Errorf("%s refers to %s: %d", name, target, w.Code)
			}
		}
		if i := bytes.Index(body, []byte("://")); i >= 0 && !bytes.HasSuffix(body[:i], []byte("http")) ||
			bytes.Contains(body, []byte("https://")) || bytes.Contains(bytes.ReplaceAll(body, []byte("http://www.w3.org/2000/svg"), nil), []byte("http://")) {
			t.Errorf("%s names another host", name)
		}
		for _, unsafe := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=\"", " onclick=\""} {
			if bytes.Contains(body, []byte(unsafe)) {
				t.Errorf("%s has %s, which the pages must not use: data would become markup, or the content policy would block it", name, unsafe)
			}
		}
	}
	for name := range assetFiles(t) {
		if !used[name] {
			t.Errorf("%s is not referenced by anything", name)
		}
	}
}

func assetFiles(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := fs.WalkDir(os.DirFS("."), "assets", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(p)
		out[p] = body
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSigningInSetsACookieThatScriptsCannotRead(t *testing.T) {
	h := portal.Handler(openAPI)
	w := answer(h, http.MethodPost, "/session", `{"token":" tow_abc \n"}`, "Sec-Fetch-Site", "same-origin")
	if w.Code != http.StatusNoContent {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got, want := w.Header().Get("Set-Cookie"), "towpath_token=tow_abc; Path=/; HttpOnly; SameSite=Strict"; got != want {
		t.Errorf("Set-Cookie %q, want %q", got, want)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", w.Header().Get("Cache-Control"))
	}

	r := httptest.NewRequest(http.MethodPost, "/session", strings.NewReader(`{"token":"tow_abc"}`))
	r.TLS = &tls.ConnectionState{}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	over := httptest.NewRecorder()
	h.ServeHTTP(over, r)
	if got := over.Header().Get("Set-Cookie"); !strings.Contains(got, "; Secure") {
		t.Errorf("over TLS: %q", got)
	}
	if got := answer(h, http.MethodPost, "/session", `{"token":"tow_abc"}`, "Sec-Fetch-Site", "same-origin", "X-Forwarded-Proto", "https").Header().Get("Set-Cookie"); !strings.HasPrefix(got, "__Host-towpath_token=tow_abc; Path=/; HttpOnly; Secure") {
		t.Errorf("behind a proxy with TLS: %q", got)
	}

	out := answer(h, http.MethodDelete, "/session", "", "Sec-Fetch-Site", "same-origin").Header().Get("Set-Cookie")
	if out != "towpath_token=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict" {
		t.Errorf("signing out: %q", out)
	}
}

func TestWhatIsNoTokenIsRefusedWithoutRepeatingIt(t *testing.T) {
	h := portal.Handler(openAPI)
	for name, c := range map[string]struct{ body, reason, field string }{
		"no body":                      {"", "INVALID_FIELD", "body"},
		"no JSON":                      {"tow_s3cret", "INVALID_FIELD", "body"},
		"another field":                {`{"tow_s3cret":1}`, "INVALID_FIELD", "body"},
		"an empty token":               {`{"token":"  "}`, "INVALID_FIELD", "token"},
		"a token with a space":         {`{"token":"tow_s3cret and more"}`, "INVALID_FIELD", "token"},
		"a token that ends the cookie": {`{"token":"tow_s3cret; Domain=x"}`, "INVALID_FIELD", "token"},
		"a token too long":             {`{"token":"` + strings.Repeat("tow_s3cret", 400) + `"}`, "INVALID_FIELD", "token"},
		"a body too large":             {`{"token":"` + strings.Repeat("tow_s3cret", 4000) + `"}`, "TOO_LARGE", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := answer(h, http.MethodPost, "/session", c.body, "Sec-Fetch-Site", "same-origin")
			if w.Code != http.StatusBadRequest || w.Header().Get("Set-Cookie") != "" {
				t.Errorf("%d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
			}
			reason, field := reasonOf(t, w.Body.Bytes())
			if reason != c.reason || field != c.field {
				t.Errorf("reason %s, field %s", reason, field)
			}
			if strings.Contains(w.Body.String(), "s3cret") {
				t.Errorf("the answer repeats the token: %s", w.Body)
			}
		})
	}
	if w := answer(h, http.MethodPut, "/session", "", "Sec-Fetch-Site", "same-origin"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, POST, DELETE" {
		t.Errorf("PUT /session: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

// reasonOf takes the reason and the first field apart from google.rpc.Status as JSON.
func reasonOf(t *testing.T, body []byte) (reason, field string) {
	t.Helper()
	var s struct {
		Details []struct {
			Reason          string
			FieldViolations []struct{ Field string }
		}
	}
	if err := json.Unmarshal(body, &s); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for _, d := range s.Details {
		reason += d.Reason
		for _, f := range d.FieldViolations {
			field += f.Field
		}
	}
	return reason, field
}

func TestSigningInFromAnotherSiteIsRefused(t *testing.T) {
	h := portal.Handler(openAPI)
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		w := answer(h, method, "http://towpath.test/session", `{"token":"tow_abc"}`, "Sec-Fetch-Site", "cross-site")
		if w.Code != http.StatusForbidden || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s: %d, Set-Cookie %q", method, w.Code, w.Header().Get("Set-Cookie"))
		}
	}
}

// seen is what arrives behind WithSession.
func seen(method, target string, header ...string) (code int, got http.Header) {
	w := answer(portal.WithSession(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		io.WriteString(w, "ok")
	})), method, target, "", header...)
	return w.Code, got
}

func TestTheCookieBecomesAnAuthorizationHeaderForTheAPIOnly(t *testing.T) {
	const cookie = "a=1; towpath_token=tow_abc; b=2"
	for name, c := range map[string]struct {
		target, authorization    string
		wantAuth, wantCookieLeft string
	}{
		"the API":                          {"/v1/whoami", "", "Bearer tow_abc", "a=1; b=2"},
		"the API with a header of its own": {"/v1/whoami", "Bearer other", "Bearer other", "a=1; b=2"},
		"not the API":                      {"/git/deployments.git", "", "", cookie},
	} {
		t.Run(name, func(t *testing.T) {
			header := []string{"Cookie", cookie}
			if c.authorization != "" {
				header = append(header, "Authorization", c.authorization)
			}
			code, got := seen(http.MethodGet, c.target, header...)
			if code != http.StatusOK || got.Get("Authorization") != c.wantAuth || got.Get("Cookie") != c.wantCookieLeft {
				t.Errorf("%d, Authorization %q, Cookie %q", code, got.Get("Authorization"), got.Get("Cookie"))
			}
		})
	}
	if _, got := seen(http.MethodPost, "/v1/applications"); got == nil || got.Get("Authorization") != "" {
		t.Errorf("without a session: %v", got)
	}
}

func TestAChangeByCookieMustComeFromThePortalItself(t *testing.T) {
	const target = "http://towpath.test:7080/v1/applications"
	for name, c := range map[string]struct {
		method string
		header []string
		want   int
	}{
		"its own page":                              {http.MethodPost, []string{"Sec-Fetch-Site", "same-origin"}, 200},
		"the person":                                {http.MethodPost, []string{"Sec-Fetch-Site", "none"}, 200},
		"another site":                              {http.MethodPost, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"another port of the same host":             {http.MethodDelete, []string{"Sec-Fetch-Site", "same-site"}, 403},
		"another site that claims our origin":       {http.MethodPost, []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://towpath.test:7080"}, 403},
		"an old browser, its own page":              {http.MethodPatch, []string{"Origin", "http://towpath.test:7080"}, 200},
		"an old browser, another port":              {http.MethodPost, []string{"Origin", "http://towpath.test:8080"}, 403},
		"an old browser, a sandboxed frame":         {http.MethodPost, []string{"Origin", "null"}, 403},
		"neither header":                            {http.MethodPost, nil, 403},
		"reading from anywhere":                     {http.MethodGet, []string{"Sec-Fetch-Site", "cross-site"}, 200},
		"another site with an authorization header": {http.MethodPost, []string{"Sec-Fetch-Site", "cross-site", "Authorization", "Bearer x"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			code, got := seen(c.method, target, append([]string{"Cookie", "towpath_token=tow_abc"}, c.header...)...)
			if code != c.want || (got != nil) != (c.want == http.StatusOK) {
				t.Errorf("%d, passed on: %v", code, got != nil)
			}
		})
	}
}
