package portal_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
)

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
