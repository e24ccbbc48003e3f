package app_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// What the newcomer sees and uses: words of buttons and links, and fields by their names. The pages may change; this is all that the
// journey knows of them.
const (
	wordNew      = "New application" // on the applications page
	fieldApp     = "input[name=application]"
	fieldImage   = "input[name=image]"
	fieldVars    = "textarea[name=variables]"
	wordBegin    = "Deploy" // below the form of a new application
	wordEdit     = "Edit LOG_LEVEL"
	fieldValue   = "input[name=value]"
	wordDeploy   = "Deploy" // below a plan
	wordClone    = "Clone"
	fieldClone   = "input[name=environment]"
	wordRevert   = "Revert…"
	wordConfirm  = "Revert" // in the dialog that asks
	seesDrift    = "1 difference to Git"
	seesNoDrift  = "No differences to Git"
	factsOfEnv   = ".facts"
	stateHealthy = "healthy"
)

// newcomer is a person at the portal, who has never seen it. Every click and every field that is filled goes through act, which
// counts it: nothing else of this file touches the page but to look at it.
type newcomer struct {
	t       *testing.T
	ctx     context.Context
	actions int
	began   time.Time
	done    []string
}

// newNewcomer opens the portal in a browser of its own, signed in.
func newNewcomer(t *testing.T, address, token string) *newcomer {
	t.Helper()
	binary, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("there is no chromium in PATH; install one (Debian: apt-get install chromium): ", err)
	}
	alloc, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(binary), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 900))...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	p := &newcomer{t: t, ctx: ctx}
	p.run(chromedp.Navigate(address + "/"))
	p.see("the form for signing in", `document.querySelector("input[name=token]")`)
	p.run(chromedp.SendKeys(chromedp.CSS("input[name=token]"), token+kb.Enter))
	return p
}

func (p *newcomer) run(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// see looks at the page until what JavaScript says is true. It is no action.
func (p *newcomer) see(what, js string) {
	p.t.Helper()
	for end := time.Now().Add(2 * apptest.Patience); ; time.Sleep(20 * time.Millisecond) {
		ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("!!("+js+")"))
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			page, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
			p.t.Fatalf("%s: not seen (%v) after %v; the page says:\n%s", what, err, p.done, page)
		}
	}
}

func (p *newcomer) sees(text string) {
	p.t.Helper()
	p.see(text, fmt.Sprintf(`document.getElementById("main").innerText.includes(%q)`, text))
}

// act is one action of the person. It is counted and told with the time since the step began.
func (p *newcomer) act(what string, do ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	p.run(do...)
	p.actions++
	p.done = append(p.done, fmt.Sprintf("%s (%v)", what, time.Since(p.began).Round(time.Millisecond)))
}

// click is an action: a button or link that can be seen, by its words or label, in the dialog that is open if one is.
func (p *newcomer) click(word string) {
	p.t.Helper()
	find := fmt.Sprintf(`[...([...document.querySelectorAll("dialog[open]")].at(-1) || document).querySelectorAll("button, a, summary")].find((b) =>
		(b.getAttribute("aria-label") || b.innerText).trim() === %q && b.checkVisibility() && !b.disabled && !b.ariaBusy)`, word)
	p.see("something to click that says "+word, find)
	p.act("click "+word, chromedp.Evaluate[chromedp.Void](find+".click()"))
}

// fill is an action: text into one field, which may end with Enter.
func (p *newcomer) fill(field, text string) {
	p.t.Helper()
	find := fmt.Sprintf(`document.querySelector(%q)`, field)
	p.see("the field "+field, find+"?.checkVisibility()")
	p.act("fill "+field, chromedp.Evaluate[chromedp.Void](find+".select()"), chromedp.SendKeys(chromedp.CSS(field), text))
}

// begin starts the count of a step; ended tells it, and that it took no more than so many actions.
func (p *newcomer) begin() { p.actions, p.began, p.done = 0, time.Now(), nil }

func (p *newcomer) ended(step string, most int) {
	p.t.Helper()
	p.t.Logf("%s: %d actions, %v: %s", step, p.actions, time.Since(p.began).Round(time.Millisecond), strings.Join(p.done, ", "))
	if p.actions > most {
		p.t.Errorf("%s took %d actions, and must take no more than %d", step, p.actions, most)
	}
}

// runs waits until the page says that a deployment of that number runs and is healthy.
func (p *newcomer) runs(number int) {
	p.t.Helper()
	p.see(fmt.Sprintf("#%d healthy", number), fmt.Sprintf(`(() => { const facts = document.querySelector(%q)?.innerText || ""; return facts.includes("#%d") && facts.toLowerCase().includes(%q); })()`, factsOfEnv, number, stateHealthy))
}

func TestInABrowserANewcomersWayIsShort(t *testing.T) {
	t.Parallel()
	c := devclustertest.Shared(t)
	s := apptest.StartProcess(t, apptest.WithCluster(c))
	p := newNewcomer(t, "http://"+s.HTTP, s.Token)
	inCluster := func(namespace, path string) string {
		return c.Kubectl(t, "-n", namespace, "get", "deployment", "newcomer", "-o", "jsonpath="+path)
	}
	const level = `{..env[?(@.name=="LOG_LEVEL")].value}`
	p.sees("Nothing runs here yet")

	p.begin()
	p.click(wordNew)
	p.fill(fieldApp, "newcomer")
	p.fill(fieldImage, "registry.example.com/newcomer:1.0")
	p.fill(fieldVars, "LOG_LEVEL=info")
	p.click(wordBegin)
	p.runs(1)
	p.ended("an application is made and its first deployment is available", 5)
	if got := inCluster("newcomer-dev", "{.status.availableReplicas} "+level); got != "1 info" {
		t.Errorf("the cluster has %q", got)
	}

	p.begin()
	p.click(wordEdit)
	p.fill(fieldValue, "debug"+kb.Enter)
	p.click(wordDeploy)
	p.runs(2)
	p.ended("a variable is changed", 3)
	if got := inCluster("newcomer-dev", level); got != "debug" {
		t.Errorf("the cluster has LOG_LEVEL %q", got)
	}

	c.Kubectl(t, "-n", "newcomer-dev", "set", "env", "deployment/newcomer", "BY_HAND=1")
	p.sees(seesDrift)
	p.begin()
	p.click(wordRevert)
	p.click(wordConfirm)
	p.sees(seesNoDrift)
	p.ended("a difference is put back", 2)
	if got := inCluster("newcomer-dev", `{..env[?(@.name=="BY_HAND")].value}`); got != "" {
		t.Errorf("the cluster still has BY_HAND=%s", got)
	}

	p.begin()
	p.click(wordClone)
	p.fill(fieldClone, "copy"+kb.Enter)
	p.see("the copy's page", `location.hash === "#/newcomer/copy"`)
	p.runs(1)
	p.ended("an environment is cloned", 3)
	if got := inCluster("newcomer-copy", "{.status.availableReplicas} "+level); got != "1 debug" {
		t.Errorf("the copy's cluster has %q", got)
	}
}
