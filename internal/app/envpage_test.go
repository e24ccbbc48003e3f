package app_test

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// tab is a tab of a headless Chromium on the portal of a running towpathd. actions counts what a person does.
type tab struct {
	t       *testing.T
	ctx     context.Context
	actions int
}

func newTab(t *testing.T, address string) *tab {
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
	if err := chromedp.Do(ctx); err != nil { // the browser lives as long as the context of the first call
		t.Fatal(err)
	}
	b := &tab{t: t, ctx: ctx}
	b.do(chromedp.Navigate(address))
	return b
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) text() string {
	b.t.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// until polls JavaScript until it is true.
func (b *tab) until(what, js string) {
	b.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+js+")"))
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: not within 2 minutes (%v); the page says:\n%s", what, err, b.text())
		}
	}
}

func (b *tab) see(text string) {
	b.t.Helper()
	b.until("see "+text, "document.body.innerText.includes("+strconv.Quote(text)+")")
}

// press is one action: a click on a button by its words or label, in the dialog that is open if one is.
func (b *tab) press(name string) {
	b.t.Helper()
	find := `[...([...document.querySelectorAll("dialog[open]")].at(-1) || document).querySelectorAll("button,a,summary")].find((x) => (x.getAttribute("aria-label") || x.innerText).trim() === ` + strconv.Quote(name) + ` && x.checkVisibility() && !x.disabled)`
	b.until("press "+name, find)
	b.do(chromedp.Evaluate[chromedp.Void](find + ".click()"))
	b.actions++
}

// enter is one action: text into a field, ended by the Enter key.
func (b *tab) enter(selector, text string) {
	b.t.Helper()
	b.until("the field "+selector, "document.querySelector("+strconv.Quote(selector)+")")
	b.do(chromedp.Evaluate[chromedp.Void]("document.querySelector("+strconv.Quote(selector)+").select()"), chromedp.SendKeys(chromedp.CSS(selector), text+kb.Enter))
	b.actions++
}

// count says how many actions it took since the last count, and fails when there were more.
func (b *tab) count(what string, most int) {
	b.t.Helper()
	b.t.Logf("%s: %d actions", what, b.actions)
	if b.actions > most {
		b.t.Errorf("%s took %d actions, %d are allowed", what, b.actions, most)
	}
	b.actions = 0
}

func TestInABrowserADeveloperNeedsNothingButTheEnvironmentsPage(t *testing.T) {
	t.Parallel()
	c := devclustertest.Shared(t)
	s := apptest.StartProcess(t, apptest.WithCluster(c))
	env := s.NewEnvironment(t, "envpage/dev")
	s.WaitState(t, s.DeployScore(t, env, apptest.Score("api", map[string]string{"LOG_LEVEL": "info"})).GetName(), apptest.Healthy)
	b := newTab(t, "http://"+s.HTTP+"/#/envpage/dev")
	b.enter("input[name=token]", s.Token)
	b.see("No differences to Git")
	b.actions = 0

	t.Log("a variable")
	b.press("Edit LOG_LEVEL")
	b.enter("input[name=value]", "debug")
	b.press("Deploy")
	b.count("a variable", 3)
	b.until("it runs", `document.querySelector(".facts").innerText.includes("#2")`)
	if got := c.Kubectl(t, "-n", "envpage-dev", "get", "deployment", "api", "-o", "jsonpath={..env[?(@.name=='LOG_LEVEL')].value}"); got != "debug" {
		t.Errorf("the cluster has LOG_LEVEL=%q", got)
	}
	b.press("Where from: LOG_LEVEL")
	b.until("it tells where the value comes from", `document.querySelector(".origin")?.innerText.includes("overlay")`)

	ports := func() string {
		return c.Kubectl(t, "-n", "envpage-dev", "get", "service", "api", "-o", "jsonpath={.spec.ports[*].port}")
	}
	byHand := func() {
		c.Kubectl(t, "-n", "envpage-dev", "patch", "service", "api", "--type=json", "-p", `[{"op":"add","path":"/spec/ports/-","value":{"name":"extra","port":80}}]`)
		b.see("1 difference to Git")
		b.see("kubectl-patch")
	}
	t.Log("drift is put back")
	byHand()
	b.actions = 0
	b.press("Revert…")
	b.press("Revert")
	b.count("a revert", 2)
	b.see("No differences to Git")
	if got := ports(); got != "8080" {
		t.Errorf("after the revert the service has the ports %s", got)
	}

	t.Log("drift is accepted into a draft, and the draft deployed")
	byHand()
	b.press("Accept…")
	b.press("Make the draft")
	b.press("Deploy the draft…")
	b.press("Deploy")
	b.until("it runs", `document.querySelector(".facts").innerText.includes("#3")`)
	b.see("No differences to Git")
	if got := strings.Fields(ports()); len(got) != 2 {
		t.Errorf("after it was accepted the service has the ports %v", got)
	}
	s.WaitState(t, env+"/deployments/3", catalogv1.Deployment_STATE_HEALTHY)

	t.Log("drift is ignored")
	c.Kubectl(t, "-n", "envpage-dev", "patch", "deployment", "api", "--type=merge", "-p", `{"spec":{"minReadySeconds":1}}`)
	b.see("spec.minReadySeconds")
	b.press("Ignore…")
	b.enter("dialog input[name=reason]", "the load test")
	b.see("No differences to Git")
	b.press("What is ignored")
	b.see("the load test")
	b.press("What counts as right")
	b.see("ignored by the rule")
	b.press("Past differences")
	b.see("reverted by")

	t.Log("a sync is tried, and the pods are looked at; this cluster keeps no logs, which is told")
	b.press("Sync now…")
	b.press("What would happen?")
	b.see("Nothing was done.")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.press("Pods and all")
	b.see("ReplicaSet/api-")
	pod := strings.TrimSpace(c.Kubectl(t, "-n", "envpage-dev", "get", "pods", "-o", "jsonpath={.items[0].metadata.name}"))
	b.press("Logs of " + pod)
	b.see("The cluster keeps no log of this container")
}
