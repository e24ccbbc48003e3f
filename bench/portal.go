package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/towpath-dev/towpath/gen/openapi"
	"github.com/towpath-dev/towpath/internal/portal"
)

const (
	// firstPages is how often the first page is loaded, each time with an empty cache.
	firstPages = 15
	fewEnvironments,
	manyEnvironments = 1000, 10_000
)

// benchPortal loads the portal's first page in a real Chromium from a real towpathd with 1,000 environments, and uses the list
// of one with 10,000.
func benchPortal(ctx context.Context, r *report) error {
	size, err := portalBytes(ctx)
	if err != nil {
		return err
	}
	r.add("portal.bytes", float64(size), "", 0)
	tab, stop, err := startChromium(ctx)
	defer stop()
	if err != nil {
		return err
	}
	return errors.Join(benchFirstPage(ctx, tab, r), benchLongList(ctx, tab, r))
}

// startChromium starts a browser with one tab.
func startChromium(ctx context.Context) (tab context.Context, stop func(), err error) {
	binary, err := exec.LookPath("chromium")
	if err != nil {
		if binary, err = exec.LookPath("google-chrome"); err != nil {
			return nil, func() {}, errors.New("there is no chromium or google-chrome in PATH; install one (Debian: apt-get install chromium)")
		}
	}
	alloc, end := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(binary), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 900), chromedp.Flag("disable-component-update", true))...)
	tab, cancel := chromedp.NewContext(alloc)
	return tab, func() { cancel(); end() }, chromedp.Do(tab)
}

// usable notes in a page, before anything of it runs, when the whole list is there: its filter, its first rows, and as many rows as
// it must have, painted.
const usable = `(() => {
	const look = () => {
		const list = document.querySelector("main [role=table]");
		if (Number(list?.getAttribute("aria-rowcount")) > %d && list.querySelector(".list-row a") && document.querySelector("main input[type=search]")?.checkVisibility())
			requestAnimationFrame(() => setTimeout(() => { window.usableAt = performance.now(); }));
		else requestAnimationFrame(look);
	};
	requestAnimationFrame(look);
})()`

// visit opens the portal in a tab whose browser has nothing of it in its cache, and gives the time from the navigation until the
// list of n environments can be used.
func visit(tab context.Context, at string, n int) (time.Duration, error) {
	added, err := chromedp.Call(tab, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: fmt.Sprintf(usable, n)})
	if err != nil {
		return 0, err
	}
	script := added.Identifier
	_, err = chromedp.Call(tab, network.ClearBrowserCache, cdp.Empty{})
	if err == nil {
		err = chromedp.Do(tab, chromedp.Navigate("about:blank"), chromedp.Navigate(at))
	}
	if err != nil {
		return 0, err
	}
	ms, err := waitFor(tab, "window.usableAt || 0")
	_, gone := chromedp.Call(tab, cdppage.RemoveScriptToEvaluateOnNewDocument, cdppage.RemoveScriptToEvaluateOnNewDocumentParams{Identifier: script})
	return time.Duration(ms * float64(time.Millisecond)), errors.Join(err, gone)
}

// waitFor polls an expression of JavaScript until it gives a number other than 0.
func waitFor(tab context.Context, js string) (float64, error) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		v, err := chromedp.Run(tab, chromedp.Evaluate[float64](js))
		if err != nil || v != 0 {
			return v, err
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("%s does not come true within a minute", js)
		}
	}
}

// signIn makes the browser one of the admin.
func (s *stack) signIn(tab context.Context) (at string, err error) {
	at = "http://" + strings.TrimPrefix(s.ready["TOWPATH_HTTP"], "http://")
	token := strings.TrimPrefix(s.bearer, "Bearer ")
	if err := chromedp.Do(tab, chromedp.Navigate(at+"/")); err != nil {
		return at, err
	}
	status, err := chromedp.Run(tab, chromedp.Evaluate[int](fmt.Sprintf(`fetch("/session", {method: "POST", body: JSON.stringify({token: %q})}).then((r) => r.status)`, token), chromedp.EvalAwaitPromise))
	if err == nil && status >= 300 {
		err = fmt.Errorf("signing in answers %d", status)
	}
	return at, err
}

func benchFirstPage(ctx context.Context, tab context.Context, r *report) error {
	s, stop, err := startPortal(ctx, fewEnvironments)
	defer stop()
	if err != nil {
		return err
	}
	at, err := s.signIn(tab)
	if err != nil {
		return err
	}
	var took sample
	for range firstPages + 1 {
		one, err := visit(tab, at+"/#/", fewEnvironments)
		if err != nil {
			return err
		}
		took = append(took, one)
	}
	took = took[1:] // the first also compiles what the server and the browser have not done before
	r.add("portal.first_page.ms", took.percentile(50), "", 0)
	r.add("portal.first_page.p99_ms", took.percentile(99), "", 0)
	return nil
}

// typing fills the filter as a person would, one after the other, and gives the longest time from the change of the text until the
// list that answers it is painted.
const typing = `(async () => {
	const input = document.querySelector("main input[type=search]"), times = [];
	const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))));
	for (const word of ["a", "ap", "app-0", "app-00", "app-001", "", "env-3", "env-3 ada", "quieter", "quieter logs ci", "1.17.3", "failed", "drifting", "nothing is so", "", "production", "app-1249 env-7", ""]) {
		await painted();
		const began = performance.now();
		input.value = word;
		input.dispatchEvent(new InputEvent("input", {bubbles: true}));
		times.push(await painted() - began);
	}
	return times.sort((a, b) => a - b);
})()`

// scrolling goes through the list in steps of more than a window, one each frame, and gives how long frames took.
const scrolling = `(async () => {
	const frame = () => new Promise((done) => requestAnimationFrame(done)), times = [];
	scrollTo(0, 0);
	await frame();
	let last = await frame();
	for (let i = 0; i < 300; i++) {
		scrollBy(0, i % 2 ? 1700 : 700);
		const now = await frame();
		times.push(now - last);
		last = now;
		if (!document.elementFromPoint(innerWidth / 2, innerHeight / 2)?.closest(".list-row")) throw new Error("the list shows no row after step " + i);
	}
	return times.sort((a, b) => a - b);
})()`

func benchLongList(ctx context.Context, tab context.Context, r *report) error {
	s, stop, err := startPortal(ctx, manyEnvironments)
	defer stop()
	if err != nil {
		return err
	}
	at, err := s.signIn(tab)
	if err != nil {
		return err
	}
	whole, err := visit(tab, at+"/#/", manyEnvironments)
	if err != nil {
		return err
	}
	r.add("portal.list_10k.whole_ms", float64(whole.Microseconds())/1000, "", 0)
	filter, err := chromedp.Run(tab, chromedp.Evaluate[[]float64](typing, chromedp.EvalAwaitPromise))
	if err != nil {
		return err
	}
	r.add("portal.list_10k.filter_ms", filter[len(filter)-1], "", 0)
	frames, err := chromedp.Run(tab, chromedp.Evaluate[[]float64](scrolling, chromedp.EvalAwaitPromise))
	if err != nil {
		return err
	}
	r.add("portal.list_10k.longest_frame_ms", frames[len(frames)-1], "", 0)
	r.add("portal.list_10k.frame.p50_ms", frames[len(frames)/2], "", 0)
	rows, err := chromedp.Run(tab, chromedp.Evaluate[float64](`document.querySelectorAll("main [role=row]").length`))
	if err != nil {
		return err
	}
	r.add("portal.list_10k.rows", rows, "", 0)
	return nil
}

// references finds what a page, a script or a style sheet of the portal loads, now or later.
var references = regexp.MustCompile(`(?:src|href)="(/[^"#]+)"|(?:from ?|import ?|import\()"(\.[^"]+)"|url\("?([^")]+)"?\)`)

// portalBytes adds up all files that the portal serves as its own: its two pages and everything that they refer to.
func portalBytes(ctx context.Context) (int, error) {
	s := httptest.NewServer(portal.Handler(openapi.JSON))
	defer s.Close()
	todo, seen, total := []string{s.URL + "/", s.URL + "/docs"}, map[string]bool{}, 0
	for ; len(todo) > 0; todo = todo[1:] {
		at := todo[0]
		if seen[at] {
			continue
		}
		seen[at] = true
		body, err := fetch(ctx, at)
		if err != nil {
			return 0, err
		}
		total += len(body)
		base, err := url.Parse(at)
		if err != nil {
			return 0, err
		}
		for _, m := range references.FindAllStringSubmatch(string(body), -1) {
			next, err := base.Parse(m[slices.IndexFunc(m[1:], func(s string) bool { return s != "" })+1])
			if err == nil && next.Host == base.Host && next.Path != "/openapi.json" {
				next.Fragment = ""
				todo = append(todo, next.String())
			}
		}
	}
	files, err := os.ReadDir("internal/portal/assets")
	if err != nil {
		return 0, err
	}
	if len(seen) != len(files) {
		return 0, fmt.Errorf("the portal's pages lead to %d files, and it has %d; its references are not understood", len(seen), len(files))
	}
	return total, nil
}
func fetch(ctx context.Context, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", at, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
