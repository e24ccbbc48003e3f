package portal_test

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// onShopDev opens the page of the shop's development environment.
func onShopDev(t *testing.T, s *stub, token string) *page {
	t.Helper()
	p := open(t, serve(t, s).URL+"/#/shop/dev")
	p.signIn(token)
	p.see("Objects in the cluster")
	p.see("LOG_LEVEL")
	return p
}

func (s *stub) last() *catalogv1.CreateDeploymentRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastChange
}

func TestInABrowserAVariableIsChangedInThreeActionsByKeyboardAlone(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := onShopDev(t, s, developerToken)
	p.js(`document.querySelector("button[aria-label='Edit LOG_LEVEL']").focus()`)
	p.do(chromedp.KeyEvent(kb.Enter)) // one
	p.wait("the field has the focus", `document.activeElement.name === "value"`)
	p.do(chromedp.KeyEvent("debug" + kb.Enter)) // two
	p.see("api: LOG_LEVEL info -> debug")
	p.wait("the focus is in the dialog", `document.activeElement.closest("dialog")`)
	p.do(chromedp.KeyEvent(kb.Enter)) // three
	p.see("Deployment #4 of shop/dev is on its way.")
	p.wait("the new value is shown", `document.querySelector(".facts").innerText.includes("#4") && document.querySelector(".vars").innerText.includes("debug")`)
	p.clean()
}

func TestInABrowserTheValueItselfIsClickedAndEscLeavesItAsItWas(t *testing.T) {
	t.Parallel()
	p := onShopDev(t, newShop(t), developerToken)
	p.js(`[...document.querySelectorAll("code.edit")].find((c) => c.innerText === "info").click()`)
	p.fill("input[name=value]", "x")
	p.do(chromedp.KeyEvent(kb.Escape))
	p.wait("the form is gone", `!document.querySelector("input[name=value][aria-label]")`)
	p.wait("the focus is where it was", `document.activeElement.getAttribute("aria-label") === "Edit LOG_LEVEL"`)
	p.see("info")
	p.clean()
}

func TestInABrowserSeveralEditsBecomeOneChangeWithOnePlan(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := onShopDev(t, s, developerToken)
	p.press("Edit LOG_LEVEL")
	p.fill("tr input[name=value]", "debug")
	p.press("Keep for later")
	p.see("1 change not deployed yet")
	p.press("Edit replicas")
	p.fill("tr input[name=value]", "3")
	p.press("Keep for later")
	p.press("Edit CURRENCY")
	p.fill("tr input[name=value]", "CHF")
	p.press("Keep for later")
	p.see("3 changes not deployed yet")
	p.shot("environment-changes")

	t.Log("another page and back: they are still there")
	p.press("History")
	p.see("quieter logs")
	p.visit("#/shop/dev")
	p.press("3 changes: review")
	p.see("3 changes in shop/dev")
	p.press("Change more first")
	p.see("3 changes not deployed yet")
	p.press("3 changes: review")
	p.press("Deploy")
	p.see("Deployment #4 of shop/dev is on its way.")
	p.gone("not deployed yet")
	c := s.last().GetChange()
	if ops := c.GetOverlayOperations(); len(ops) != 3 || ops[1].GetPath() != "/workloads/api/metadata/annotations/towpath.dev~1replicas" || ops[1].GetValue().GetStringValue() != "3" {
		t.Errorf("the change is %v", c)
	}
	p.clean()
}

func TestInABrowserAValueThatLooksLikeASecretIsToldAtItsField(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := onShopDev(t, s, developerToken)
	p.press("Edit LOG_LEVEL")
	p.fill("tr input[name=value]", "debug")
	p.press("Keep for later")
	p.js(`document.querySelector("#variables .adder").open = true`)
	p.fill("#variables .adder input[name=name]", "TOKEN")
	p.fill("#variables .adder input[name=value]", "tok_12345")
	p.js(`[...document.querySelectorAll("#variables .adder button")].find((b) => b.innerText === "Keep for later").click()`)
	p.press("2 changes: review")
	p.wait("the bar names it at its line", `[...document.querySelectorAll(".changes li")].find((l) => l.innerText.includes("TOKEN"))?.innerText.includes("refer to a secret instead")`)
	p.press("Drop TOKEN tok_12345")
	p.press("1 change: review")
	p.see("api: LOG_LEVEL info -> debug")
	p.press("Cancel")

	t.Log("it is referred to instead")
	p.press("Drop all")
	p.press("Refer to a secret")
	p.fill("#sname", "TOKEN")
	p.fill("#ssecret", "payment")
	p.fill("#skey", "token"+kb.Enter)
	p.see("TOKEN refers to the secret payment")
	p.press("Deploy")
	p.wait("it is shown by name and key", `document.querySelector("#variables").innerText.includes("secret payment, key token")`)
	p.clean()
}

func TestInABrowserTwoPeopleEditTheSameValueAndNeitherLosesWhatTheyTyped(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	web := serve(t, s)
	ada, bo := open(t, web.URL+"/#/shop/dev"), open(t, web.URL+"/#/shop/dev")
	ada.signIn(developerToken)
	bo.signIn(deployerToken)
	for _, p := range []*page{ada, bo} {
		p.press("Edit LOG_LEVEL")
	}
	bo.fill("tr input[name=value]", "warn")
	ada.fill("tr input[name=value]", "debug"+kb.Enter)
	ada.see("info -> debug")
	ada.fill("dialog input[name=message]", "slow queries")

	t.Log("the other one is faster")
	bo.do(chromedp.KeyEvent(kb.Enter))
	bo.see("info -> warn")
	bo.press("Deploy")
	bo.wait("it runs", `document.querySelector(".facts").innerText.includes("#4")`)
	ada.press("Deploy")
	ada.see("The plan no longer holds")
	ada.press("Plan again")
	ada.wait("the reason is kept", `document.querySelector("dialog input[name=message]").value === "slow queries"`)
	ada.press("Deploy")
	ada.wait("both ran", `document.querySelector(".facts").innerText.includes("#5")`)
	if got := s.last(); got.GetMessage() != "slow queries" || got.GetChange().GetOverlayOperations()[0].GetValue().GetStringValue() != "debug" {
		t.Errorf("the second deployment is %v", got)
	}

	t.Log("who types meanwhile is told")
	bo.press("Edit LOG_LEVEL")
	bo.fill("tr input[name=value]", "trace")
	ada.press("Edit LOG_LEVEL")
	ada.fill("tr input[name=value]", "error"+kb.Enter)
	ada.press("Deploy")
	bo.see("Meanwhile somebody made it error.")
	bo.wait("what was typed is still there", `document.querySelector("tr input[name=value]").value === "trace"`)
	ada.clean()
	bo.clean()
}

func TestInABrowserTypedTextSurvivesALostServerAndADeploymentOfSomethingElse(t *testing.T) {
	t.Parallel()
	p := onShopDev(t, newShop(t), developerToken)
	p.press("Edit LOG_LEVEL")
	p.fill("tr input[name=value]", "debug")
	p.press("Remove INTERVAL of worker")
	p.press("Deploy")
	p.wait("it runs", `document.querySelector(".facts").innerText.includes("#4")`)
	p.wait("what was typed is still there", `document.querySelector("tr input[name=value]").value === "debug"`)
	p.js(`document.querySelector("tr input[name=value]").focus()`)
	p.js(`window.realFetch = window.fetch; window.fetch = () => Promise.reject(new TypeError("no network"));`)
	p.see("The server has not answered for")
	p.do(chromedp.KeyEvent(kb.Enter))
	p.see("The server does not answer")
	p.js(`window.fetch = window.realFetch`)
	p.gone("The server has not answered for")
	p.do(chromedp.KeyEvent(kb.Enter))
	p.see("api: LOG_LEVEL info -> debug")
	p.clean()
}

func TestInABrowserAWorkloadComesFromAScoreFileWithItsProblemsByLine(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := onShopDev(t, s, developerToken)
	p.press("Add a workload…")
	p.js(`{ const t = document.querySelector("dialog textarea"); t.value = "apiVersion: score.dev/v1b1\nvariabels: {}\n"; t.dispatchEvent(new Event("input")) }`)
	p.press("Plan")
	p.see("score.yaml:7:5 containers.main.variabels")
	p.see(`did you mean "variables"?`)
	p.shot("environment-score")
	p.press("Cancel")
	p.press("Add a workload…")
	p.wait("what was typed is kept", `document.querySelector("dialog textarea").value.includes("variabels")`)
	p.js(`{ const t = document.querySelector("dialog textarea"); t.value = "apiVersion: score.dev/v1b1\n"; t.dispatchEvent(new Event("input")) }`)
	p.press("Plan")
	p.see("adds the workload hello")
	p.js(`[...document.querySelectorAll("dialog")].at(-1).querySelector("[type=submit]").click()`)
	p.see("Deployment #4 of shop/dev is on its way.")
	p.wait("both dialogs are closed", `!document.querySelector("dialog")`)
	if got := string(s.last().GetChange().GetScores()[0].GetContent()); got != "apiVersion: score.dev/v1b1\n" {
		t.Errorf("sent %q", got)
	}
	p.press("Remove the workload worker")
	p.see("removes the workload worker")
	p.press("Deploy")
	p.see("Deployment #5 of shop/dev is on its way.")
	p.clean()
}

func TestInABrowserAGuardrailRefusesBeforeAnythingIsDeployed(t *testing.T) {
	t.Parallel()
	p := onShopDev(t, newShop(t), developerToken)
	p.press("Edit image")
	p.fill("tr input[name=value]", "ghcr.io/example/api:latest"+kb.Enter)
	p.see("Not allowed here: the image has the tag latest; name a version")
	if ask[bool](p, `!!document.querySelector("dialog [type=submit]")`) {
		t.Error("a refused plan can be deployed")
	}
	p.clean()
}

func TestInABrowserAnEnvironmentIsLockedAndUnlockedWithItsReason(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := onShopDev(t, s, adminToken)
	p.press("Lock…")
	p.fill("dialog input[name=why]", "the fair")
	p.press("Lock")
	p.see("Locked by admin: the fair")
	p.shot("environment-locked")
	p.press("Unlock…")
	p.see("Deployments that wait go on at once.")
	p.press("Unlock")
	p.gone("Locked by admin")

	t.Log("somebody else was faster")
	p.press("Lock…")
	s.mu.Lock()
	s.envs[0].Lock = &catalogv1.Lock{Actor: "users/bo", CreateTime: ago(0)}
	s.mu.Unlock()
	p.press("Lock")
	p.see("users/bo has locked it; unlock it first")
	p.press("Cancel")

	t.Log("how long it lives")
	p.press("Change…")
	p.js(`document.querySelector("dialog select").value = "3600"`)
	p.press("Change")
	p.wait("its end is told", `document.querySelector(".facts").innerText.includes("until")`)
	p.clean()
}

// waits makes a deployment of shop/dev that waits for approval.
func (s *stub) waits(actor string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.add(s.envs[0], &catalogv1.Deployment{Actor: actor, Message: "new prices", Summary: []string{"api: PRICES 1 -> 2"}, ApprovalsRequired: 1, PlanHash: "abc"})
	d.State = catalogv1.Deployment_STATE_AWAITING_APPROVAL
	d.Phases = []*catalogv1.Phase{{State: d.State, StartTime: ago(0)}}
}

func TestInABrowserADeploymentThatWaitsIsApprovedByTheOneWhoMay(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.waits("users/ada")
	web := serve(t, s)
	ada, bo := open(t, web.URL+"/#/shop/dev"), open(t, web.URL+"/#/shop/dev")
	ada.signIn(developerToken)
	ada.see("Waits for approval: 0 of 1 approval given")
	if ask[bool](ada, `document.body.innerText.includes("Approve…")`) {
		t.Error("a developer is offered to approve")
	}
	bo.signIn(approverToken)
	bo.shot("environment-approval")
	bo.press("Approve…")
	bo.fill("dialog input[name=words]", "checked"+kb.Enter)
	bo.see("bo approved: checked")
	ada.wait("it goes on by itself", `document.querySelector(".facts").innerText.includes("#4")`)

	t.Log("its author may not, and another one is withdrawn, commented and tried again")
	s.waits("tokens/admin")
	root := open(t, web.URL+"/#/shop/dev")
	root.signIn(adminToken)
	root.press("Approve…")
	root.press("Approve")
	root.see("you are its author; somebody else has to approve it")
	root.press("Cancel")
	root.press("Reject…")
	root.press("Reject")
	root.see("rejected")
	root.press("Comment…")
	root.fill("dialog input[name=words]", "after the fair"+kb.Enter)
	root.see("after the fair")
	root.press("Try again…")
	root.press("Try again")
	root.wait("a new one runs", `document.querySelector(".facts").innerText.includes("#6")`)
	for _, p := range []*page{ada, bo, root} {
		p.clean()
	}
}

func TestInABrowserADeploymentThatFailedSaysWhereWhyAndWhatToDo(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.mu.Lock()
	d := s.add(s.envs[0], &catalogv1.Deployment{Actor: "users/ada", State: catalogv1.Deployment_STATE_FAILED, EndTime: ago(0)})
	d.Error = &catalogv1.Failure{Stage: "sync", Reason: "RIGHT_MISSING", Message: "deployer may not create services", Remedy: "kubectl create role deployer"}
	s.mu.Unlock()
	p := onShopDev(t, s, viewerToken)
	p.see("Failed at sync: deployer may not create services")
	p.see("What to do: kubectl create role deployer")
	p.js(`[...document.querySelectorAll("#way button")].find((b) => b.innerText === "What the cluster says").click()`)
	p.see("Back-off restarting failed container main")
	p.shot("environment-failed")
	p.clean()
}
