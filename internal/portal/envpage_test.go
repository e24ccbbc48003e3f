package portal_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
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

func TestInABrowserTypedTextSurvivesALostServer(t *testing.T) {
	t.Parallel()
	p := onShopDev(t, newShop(t), developerToken)
	p.press("Edit LOG_LEVEL")
	p.fill("tr input[name=value]", "debug")
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

func TestInABrowserDriftIsAcceptedIntoADraftOrIgnoredWithAReason(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := onShopDev(t, s, developerToken)
	p.press("Accept all…")
	p.see("/workloads/api/service/ports/extra")
	p.see("cannot be accepted: an autoscaler owns it")
	p.press("Make the draft")
	p.see("The draft accepted has it.")
	p.shot("drift-accepted")
	p.press("Later")

	t.Log("ignored, with the rule that does it, and back")
	p.press("Ignore…")
	p.fill("dialog input[name=reason]", "the load test"+kb.Enter)
	p.see("1 difference to Git")
	p.press("What is ignored")
	p.see("the load test")
	p.press("Remove the rule")
	p.see("Nothing is ignored here.")
	p.press("Past differences")
	p.see("bo@example.com")
	p.see("reverted by ada")
	p.clean()
}

func TestInABrowserDriftIsRevertedInTwoActionsAndComesByItself(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.findings = nil
	s.envs[0].Live.Findings = 0
	p := onShopDev(t, s, developerToken)
	p.see("No differences to Git")
	before := ask[int](p, `document.querySelector("#workloads").offsetTop`)
	s.mu.Lock()
	s.drifts()
	s.findings[0].Contested = true
	s.findings[1].Kind, s.findings[1].Actor = driftv1.Finding_KIND_UNVERIFIED, "jane@example.com"
	s.mu.Unlock()
	p.see("2 differences to Git")
	p.see("Contested: it came back")
	p.see("Unverified: whether it is what Git says cannot be told")
	p.see("jane@example.com")
	p.press("Revert all…") // one
	p.press("Revert 2")    // two
	p.see("No differences to Git")
	if after := ask[int](p, `document.querySelector("#workloads").offsetTop`); after != before {
		t.Errorf("the workloads stand at %d, and stood at %d", after, before)
	}
	p.clean()
}

func TestInABrowserSyncIsTriedFirstAndARemovalThatWaitsIsConfirmed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	l := &syncs{}
	s.synced = l
	p := onShopDev(t, s, developerToken)
	p.see("1 object would be removed from the cluster and waits for somebody to confirm it")
	p.press("Sync now…")
	p.js(`{ const s = document.querySelector("dialog select"); s.value = "api"; s.dispatchEvent(new Event("change")) }`)
	p.press("What would happen?")
	p.see("would: changes Deployment/api: spec.replicas")
	p.shot("sync")
	if got := l.get(); !got.GetValidateOnly() || len(got.GetWorkloads()) != 1 || got.GetConfirmPrune() {
		t.Errorf("asked for %v", got)
	}
	p.press("Close")
	p.press("Confirm the removal…")
	p.press("Sync now")
	p.see("removes Service/old")
	if got := l.get(); got.GetValidateOnly() || !got.GetConfirmPrune() {
		t.Errorf("asked for %v", got)
	}
	p.clean()
}

func TestInABrowserTheLiveViewShowsBothSidesEventsAndLogsWhenAskedFor(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := onShopDev(t, s, developerToken)
	l := liveOf(t, s)
	if ask[bool](p, `performance.getEntriesByType("resource").some((r) => r.name.includes("/objects:"))`) {
		t.Error("the live view is read though nobody has asked for it")
	}
	p.press("Pods and all")
	p.see("ReplicaSet/api-7d9c8b6f5")
	p.see("main: running, restarted 2 times")
	p.shot("live")
	p.press("Deployment/api")
	p.see("2 lines differ")
	p.see("Back-off restarting failed container main")
	p.wait("the lines that differ are marked, with a sign", `[...document.querySelectorAll(".compare .differs")].some((c) => c.innerText.trim() === "+   replicas: 3")`)
	p.shot("live-object")
	p.press("Close")

	t.Log("the log is followed")
	l.write("one", "two")
	p.press("Logs of api-7d9c8b6f5-x2v7k")
	p.see("main two")
	l.write("three")
	p.see("main three")
	p.shot("logs")
	p.js(`{ const s = document.querySelector("dialog select"); s.value = "proxy"; s.dispatchEvent(new Event("change")) }`)
	p.see("proxy three")
	p.press("Stop")
	l.write("four")
	p.press("Go on")
	p.see("proxy four")
	for range 30 {
		l.write(strings.Repeat("x\n", 99) + "x")
	}
	p.wait("only so much is kept", `document.querySelector(".log").innerText.split("\n").length < 2300`)
	p.press("Close")

	t.Log("a cluster without logs")
	l.mu.Lock()
	l.noLog = true
	l.mu.Unlock()
	p.press("Logs of api-7d9c8b6f5-x2v7k")
	p.see("The cluster keeps no log of this container")
	p.clean()
}

func TestInABrowserSectionsAreReachedByLinks(t *testing.T) {
	t.Parallel()
	web := serve(t, newShop(t))
	p := open(t, web.URL+"/#/shop/dev?at=objects")
	p.signIn(viewerToken)
	p.wait("it is scrolled to", `scrollY > 300`)
	p.js(`[...document.querySelectorAll(".jump a")].find((a) => a.innerText === "Variables").click()`)
	p.wait("the address can be sent to somebody, and the focus is there", `location.hash === "#/shop/dev?at=variables" && document.activeElement.id === "variables"`)
	p.look(390, 844, "light")
	p.wait("nothing is wider than a phone", `document.documentElement.scrollWidth <= innerWidth`)
	p.clean()
}

func TestInABrowserWhatIsNotAsUsualIsToldInWords(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.mu.Lock()
	s.envs[0].Live = &catalogv1.Live{}
	s.envs[0].HeldByRollback = shopDev + "/deployments/3"
	s.envs[0].ExpireTime = ago(-30 * time.Minute)
	s.envs[0].PruneHeld = true
	s.findings = nil
	s.mu.Unlock()
	p := onShopDev(t, s, viewerToken)
	p.see("Whether the cluster has what Git says is not known")
	p.see("Differences are not known")
	p.see("Held by rollback #3")
	p.see("less than an hour")
	p.see("It was taken over from the cluster.")
	p.see("Synced by itself only Mon 08:00 - Fri 16:00 Europe/Berlin (office).")
	p.clean()
}

func (l *live) write(lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log, lines...)
}

// get is what was asked for last.
func (l *syncs) get() *driftv1.SyncEnvironmentRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked == nil {
		return nil
	}
	return proto.CloneOf(l.asked)
}

func TestInABrowserAChangeOfOthersInGitIsShownByFieldAndDecided(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.envs[0].ForeignChanges = []*catalogv1.ForeignChange{{
		Path: "environments/dev/shop", FoundTree: hash("seen"), Author: "Grace Hopper", Subject: "more of web", ForeignCommit: hash("by hand"), State: catalogv1.ForeignChange_STATE_HELD, Time: ago(time.Hour),
	}}
	p := onShopDev(t, s, developerToken)
	p.see("Deployments wait until somebody decides.")
	p.press("What?")
	p.see("Towpath wrote")
	p.wait("the field is told from both sides", `[...document.querySelectorAll(".fields tr")].some((r) => r.innerText.includes("spec.replicas") && r.innerText.includes("- 1") && r.innerText.includes("+ 5"))`)
	p.press("Adopt…")
	p.press("Adopt")
	p.see("The draft adopted keeps it.")

	t.Log("what was not seen is not decided about")
	s.mu.Lock()
	s.envs[0].ForeignChanges[0].FoundTree = hash("moved")
	s.mu.Unlock()
	p.wait("the new one is shown", `document.querySelector("article[data-key$='`+hash("moved")+`']")`)
	p.press("Overwrite…")
	p.press("Overwrite")
	p.see("another tree stands there by now")
	p.clean()
}

func TestInABrowserEachSectionSaysWhatIsWrongWithItAlone(t *testing.T) {
	t.Parallel()
	p := onShopDev(t, newShop(t), developerToken)
	p.js(`window.realFetch = window.fetch; window.fetch = (u, ...rest) => /objects:|findingRecords|ignoreRules|:sync|:explain/.test(u) ? Promise.resolve(new Response(JSON.stringify({ code: 9, message: "the cluster is away", details: [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "CLUSTER_UNAVAILABLE" }] }), { status: 400, headers: { "Content-Type": "application/json" } })) : window.realFetch(u, ...rest);`)
	for _, button := range []string{"Pods and all", "What is ignored", "Past differences", "Where from: LOG_LEVEL"} {
		before := ask[int](p, `document.querySelectorAll(".problem").length`)
		p.press(button)
		p.wait(button+" says so", `document.querySelectorAll(".problem").length > `+strconv.Itoa(before))
	}
	p.press("Sync now…")
	p.press("What would happen?")
	p.wait("the dialog says so", `document.querySelector("dialog .problem")?.innerText.includes("the cluster is away")`)
	p.press("Close")
	p.js(`window.fetch = window.realFetch`)
	p.press("Pods and all")
	p.see("ReplicaSet/api-7d9c8b6f5")
	p.clean()
}

func TestInABrowserAnEnvironmentWithNothingBeginsWithAScoreFile(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.envs = append(s.envs, &catalogv1.Environment{Name: "applications/shop/environments/empty", Type: "environmentTypes/development", Namespace: "shop-empty", State: catalogv1.Environment_STATE_ACTIVE, Etag: "1"})
	web := serve(t, s)
	p := open(t, web.URL+"/#/shop/empty")
	p.signIn(developerToken)
	p.see("Nothing was deployed here yet")
	p.press("Add a workload…")
	p.press("Plan")
	p.see("adds the workload hello")
	p.js(`[...document.querySelectorAll("dialog")].at(-1).querySelector("[type=submit]").click()`)
	p.see("Deployment #1 of shop/empty is on its way.")
	p.visit("#/shop/gone")
	p.see("shop/gone does not exist")
	p.clean()
}
