package portal_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
)

// pagesOfPages are the pages besides the applications and the environment, for the tests of all pages.
var pagesOfPages = []portalPage{
	{name: "application", at: "/#/shop", sees: "what prices are in", picture: "application"},
	{name: "application without anything", at: "/#/billing", sees: "No environment yet"},
	{name: "application, versions of a variable", at: "/#/shop", sees: "what prices are in", before: func(p *page) { p.press("Versions and uses"); p.see("Restore") }},
	{name: "new application", at: "/#/new", sees: "What runs first", viewer: "You may look, not make one", picture: "new-application"},
	{name: "environment from another", at: "/#/new?from=shop/dev", sees: "It begins with the same workloads", viewer: "You may look, not make one", picture: "clone"},
	{name: "promotion", at: "/#/shop/dev/promote", sees: "api: image 1.4.2 -> 1.5.0", viewer: "You may not promote to shop/production", picture: "promote"},
	{name: "graph", at: "/#/shop/dev/graph", sees: "what they need to the right", before: func(p *page) { chooseNode(p); p.see("from Secret shop-db, key password") }, picture: "graph"},
	{name: "definitions", at: "/#/definitions", sees: "databases of the cloud", picture: "definitions"},
	{name: "definition", at: "/#/definitions/postgres-rds", sees: "larger disks", before: func(p *page) { p.press("Activate: what would change?"); p.see("1 of 40 environments would change") }},
	{name: "drafts", at: "/#/shop/drafts", sees: "Next release"},
	{name: "draft", at: "/#/shop/drafts/next", sees: "removed workload web", picture: "draft"},
	{name: "platform", at: "/#/platform", sees: "connection refused", picture: "platform"},
	{name: "findings", at: "/#/findings", sees: "spec.ports[port=80,protocol=TCP]", picture: "findings"},
	{name: "audit", at: "/#/audit", sees: "rollback", viewer: "You may not read the audit trail", picture: "audit"},
	{name: "definitions, none yet", at: "/#/definitions", sees: "No definitions of your own", shop: nobody},
	{name: "platform, nothing yet", at: "/#/platform", sees: "None yet", shop: nobody},
	{name: "findings, none", at: "/#/findings", sees: "Nothing drifts", shop: nobody},
	{name: "audit, nothing yet", at: "/#/audit", sees: "Nobody has changed anything yet", viewer: "You may not read the audit trail", shop: nobody},
	{name: "drafts, none yet", at: "/#/billing/drafts", sees: "No drafts"},
	{name: "graph of nothing", at: "/#/shop/bare/graph", sees: "Nothing was deployed here yet", shop: bareShop},
	{name: "promotion of nothing", at: "/#/shop/bare/promote", sees: "Nothing runs here yet", shop: bareShop},
	{name: "history of nothing", at: "/#/shop/bare/history", sees: "Nothing was deployed here yet", shop: bareShop},
}

func nobody(*testing.T) *stub { return newStub() }

// bareShop has an environment to which nothing was deployed.
func bareShop(t *testing.T) *stub {
	t.Helper()
	s := newShop(t)
	s.envs = append(s.envs, &catalogv1.Environment{Name: "applications/shop/environments/bare", Type: "environmentTypes/development", State: catalogv1.Environment_STATE_ACTIVE})
	return s
}

// chooseNode chooses the database in the drawing.
func chooseNode(p *page) {
	p.t.Helper()
	const node = `[...document.querySelectorAll(".graph g[role=button]")].find((g) => g.textContent.startsWith("postgres"))`
	p.wait("the drawing", node)
	p.js(node + `.focus(); document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}))`)
}

func as(t *testing.T, s *stub, token, at string) *page {
	t.Helper()
	p := open(t, serve(t, s).URL+"/"+at)
	p.signIn(token)
	return p
}

func TestInABrowserANewcomerSeesTheFirstDeploymentAfterFourActions(t *testing.T) {
	t.Parallel()
	s := newStub()
	p := as(t, s, adminToken, "#/new")
	p.see("What runs first")
	p.fill("input[name=application]", "shop")
	p.fill("input[name=image]", "registry.example.com/shop/api:1.0")
	p.press("Deploy")
	p.wait("the environment's page", `location.hash === "#/shop/dev"`)
	p.wait("it becomes healthy", `document.querySelector(".steps .end")?.innerText.includes("healthy")`)
	s.mu.Lock()
	defer s.mu.Unlock()
	scores := s.lastChange.GetChange().GetScores()
	if len(scores) != 1 || string(scores[0].GetContent()) == "" || s.lastChange.GetParent() != shopDev {
		t.Fatalf("deployed %v", s.lastChange)
	}
	for _, want := range []string{`"apiVersion": "score.dev/v1b1"`, `"name": "shop"`, `"image": "registry.example.com/shop/api:1.0"`} {
		if !strings.Contains(string(scores[0].GetContent()), want) {
			t.Errorf("the Score file lacks %s:\n%s", want, scores[0].GetContent())
		}
	}
	p.clean()
}

func TestInABrowserAFirstDeploymentThatFailsHalfwayGoesOnFromThere(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := as(t, s, adminToken, "#/new")
	p.fill("input[name=application]", "tills")
	p.fill("input[name=environment]", "dev")
	p.fill("input[name=image]", "till:1")
	p.fill("textarea[name=variables]", "LOG_LEVEL")
	p.press("Deploy")
	p.see("“LOG_LEVEL” is not NAME=value.")
	p.wait("the focus is where the error is", `document.activeElement.name === "variables"`)
	p.fill("textarea[name=variables]", "LOG_LEVEL=debug")
	// The deployment is refused once the application and the environment are made.
	p.js(`window.realFetch = fetch; window.fetch = (path, o) => String(path).endsWith("/deployments") && o.method === "POST" ? Promise.resolve(new Response(JSON.stringify({code: 3, message: "no such image", details: [{"@type": "google.rpc.BadRequest", fieldViolations: [{field: "change.scores[0].containers.main.image", description: "no such image"}]}]}), {status: 400, headers: {"Content-Type": "application/json"}})) : realFetch(path, o)`)
	p.press("Deploy")
	p.see("no such image")
	p.wait("it is at the image", `document.querySelector("input[name=image]").getAttribute("aria-invalid") === "true"`)
	p.see("The environment tills/dev is made; nothing runs in it yet.")
	p.js(`window.fetch = window.realFetch`)
	p.press("Deploy")
	p.wait("the environment's page", `location.hash === "#/tills/dev"`)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.deployments["applications/tills/environments/dev"]); n != 1 {
		t.Errorf("%d deployments", n)
	}
	p.clean()
}

func TestInABrowserAScoreFileIsPastedAndPlannedFirst(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := as(t, s, adminToken, "#/new?application=shop")
	p.fill("input[name=environment]", "qa")
	p.wait("the choice", `document.querySelector("input[value=score]")`)
	p.js(`document.querySelector("input[value=score]").click()`)
	p.press("Deploy")
	p.see("Choose a file or paste one.")
	p.fill("textarea[name=score]", "apiVersion: score.dev/v1b1")
	p.press("Plan first…")
	p.see("made applications/shop/environments/qa of type environmentTypes/development")
	p.press("Deploy")
	p.wait("the environment's page", `location.hash === "#/shop/qa"`)
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := string(s.lastChange.GetChange().GetScores()[0].GetContent()); got != "apiVersion: score.dev/v1b1" {
		t.Errorf("deployed %q", got)
	}
	p.clean()
}

func TestInABrowserAnEnvironmentIsClonedInThreeActions(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := as(t, s, adminToken, "#/shop/dev")
	p.press("Clone")
	p.see("New environment from shop/dev")
	p.wait("how long it lives", `document.querySelector("select[name=ttl]")`)
	p.js(`document.querySelector("select[name=ttl]").value = "14400s"`)
	p.fill("input[name=environment]", "feature-x")
	p.press("Make it")
	p.wait("its page", `location.hash === "#/shop/feature-x"`)
	p.see("from applications/shop/environments/dev for 4h0m0s")

	t.Log("with a plan first, and a name that is taken")
	p.visit("#/new?from=shop/dev")
	p.fill("input[name=environment]", "feature-y")
	p.press("Show the plan…")
	p.see("made applications/shop/environments/feature-y")
	p.press("Make it")
	p.wait("its page", `location.hash === "#/shop/feature-y"`)
	p.clean()
}

func TestInABrowserHistoryIsFilteredComparedAndSpokenAbout(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.deployments["applications/shop/environments/production"][3].Error.Remedy = "tow deploy -f score.yaml"
	p := as(t, s, adminToken, "#/shop/production/history")
	p.see("quieter logs")
	p.see("tow deploy -f score.yaml")
	p.wait("a commit leads to the Git view", `document.querySelector(".history a[href*='/git?commit=']")`)

	t.Log("only those that failed, then only those of one person")
	p.js(`(() => { const s = document.querySelector("select[aria-label='How it ended']"); s.value = "FAILED"; s.dispatchEvent(new Event("change")); })()`)
	p.gone("quieter logs")
	p.see("new tax rules")
	p.js(`(() => { const s = document.querySelector("select[aria-label='How it ended']"); s.value = ""; s.dispatchEvent(new Event("change")); })()`)
	p.see("quieter logs")
	p.fill("input[aria-label='Only those by']", "ada"+kb.Enter)
	p.gone("new tax rules")

	t.Log("two are compared field by field")
	p.press("Compare #1")
	p.press("Compare #3")
	p.press("Compare")
	p.see("#1 compared with #3")
	p.see("spec.replicas")
	p.shot("compare")
	p.press("Close")

	t.Log("somebody says something")
	p.js(`document.querySelector(".history > li button:not(.asks)").click()`)
	p.fill("dialog input[name=comment]", "looks good to me")
	p.press("Comment")
	p.see("looks good to me")

	t.Log("it stays when the environment is gone")
	s.mu.Lock()
	s.envs = s.envs[:1]
	s.mu.Unlock()
	p.see("The environment does not exist any more. Its history stays.")
	p.see("quieter logs")
	p.clean()
}

func TestInABrowserAWaitingDeploymentIsApprovedByWhoMay(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	d := s.add(s.envs[1], &catalogv1.Deployment{Actor: "users/ada", Message: "to be approved", State: catalogv1.Deployment_STATE_AWAITING_APPROVAL})
	d.ApprovalsRequired = 2
	web := serve(t, s)
	p := open(t, web.URL+"/#/shop/production/history")
	p.signIn(approverToken)
	p.see("0 of 2 approvals; not its author's own.")
	p.press("Approve…")
	p.fill("dialog input[name=comment]", "fine")
	p.press("Approve")
	p.see("approved it: fine")
	p.clean()
}

func TestInABrowserAPromotionIsPlannedDoneAndFollowed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := as(t, s, adminToken, "#/shop/dev")
	p.press("Promote")
	p.see("What would change in shop/production")
	p.see("api: image 1.4.2 -> 1.5.0 from " + shopDev)
	p.see("1 person must approve it")
	p.js(`document.querySelector("input[value=web]").click()`)
	p.see("only workload api")
	p.fill("input[name=message]", "the new checkout")
	p.press("Promote to shop/production")
	p.see("Promotion #5 of shop/production")
	p.wait("it is followed to its end", `document.querySelector(".steps .end")?.innerText.includes("healthy")`)
	p.clean()
}

func TestInABrowserTheGraphIsDrawnAndTold(t *testing.T) {
	t.Parallel()
	p := as(t, newShop(t), viewerToken, "#/shop/dev/graph")
	p.wait("all are drawn", `document.querySelectorAll(".graph g[role=button]").length === 7`)
	p.wait("no two stand on each other", `(() => { const r = [...document.querySelectorAll(".graph g rect")].map((e) => e.getBoundingClientRect()); return r.every((a, i) => r.every((b, j) => i === j || a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top)); })()`)
	p.js(crossed)
	p.wait("lines that need not cross do not", `window.crossings === 0`)
	chooseNode(p)
	p.see("from Secret shop-db, key password")
	p.press("Why this definition?")
	p.see("is for environment type production, and this is development")
	p.wait("the table tells the same", `document.querySelector("table caption").innerText === "Workloads and resources" && document.querySelectorAll("table tbody tr").length === 7`)
	p.clean()
}

// crossed counts pairs of lines of the graph that cross between their columns.
const crossed = `void import("/assets/graph.js").then(({layers}) => {
	const nodes = ["a", "b", "c", "x", "y", "z"].map((id) => ({id})), edges = [["a", "z"], ["b", "y"], ["c", "x"]].map(([from, to]) => ({from, to}));
	const [left, right] = layers(nodes, edges).map((c) => c.map((n) => n.id));
	window.crossings = edges.flatMap((e, i) => edges.slice(i + 1).filter((f) => (left.indexOf(e.from) - left.indexOf(f.from)) * (right.indexOf(e.to) - right.indexOf(f.to)) < 0)).length;
})`

func TestInABrowserADefinitionIsActivatedAfterALookAtWhatChanges(t *testing.T) {
	t.Parallel()
	p := as(t, newShop(t), adminToken, "#/definitions")
	p.fill("input[name=type]", "postgres"+kb.Enter)
	p.see("has no criteria, so it answers every request")
	p.press("postgres-rds")
	p.see("larger disks")
	p.see("environment type production")
	p.press("Activate: what would change?")
	p.see("1 of 40 environments would change")
	p.see("output host is not given")
	p.shot("blast")
	p.press("Activate")
	p.see("Version 3 of postgres-rds is active.")
	p.wait("it is", `document.querySelector("main section h2").innerText.includes("active")`)
	p.clean()
}

func TestInABrowserApplicationVariablesAreSetRestoredAndDeleted(t *testing.T) {
	t.Parallel()
	p := as(t, newShop(t), adminToken, "#/shop")
	p.see("what prices are in")
	p.see("48 deployments, 1.7 a day")
	p.press("Set CURRENCY")
	p.fill("dialog input[name=value]", "a secret")
	p.press("Set")
	p.see("looks like a secret")
	p.fill("dialog input[name=value]", "CHF")
	p.js(`document.querySelector("dialog select[name=rollout]").value = "ROLLOUT_ALL"`)
	p.press("Set")
	p.see("CURRENCY is set: 1 deployment on the way; production left out, held by a rollback.")
	p.wait("the new value", `document.querySelector("main").innerText.includes("CHF")`)
	p.press("Versions and uses")
	p.see("Read by")
	p.press("Restore version 1")
	p.wait("the old value", `document.querySelector("main").innerText.includes("USD")`)
	p.press("Delete CURRENCY")
	p.press("Delete")
	p.gone("USD")
	p.clean()
}

func TestInABrowserADraftIsLookedAtRebasedAndDeployed(t *testing.T) {
	t.Parallel()
	p := as(t, newShop(t), adminToken, "#/shop/drafts")
	p.press("Next release")
	p.see("removed workload web")
	p.see("workloads / api / containers / main / image")
	p.press("Rebase")
	p.see("both changed /workloads/api/containers/main/image")
	p.see("Change the draft there")
	p.press("Plan and deploy…")
	p.press("Close") // the stub's plan of it changes nothing, so it is not offered
	p.press("Delete…")
	p.press("Delete")
	p.see("No drafts")
	p.clean()
}

func TestInABrowserOperatorsSeeWhatIsAwayAndWhatTheDoctorSays(t *testing.T) {
	t.Parallel()
	p := as(t, newShop(t), adminToken, "#/platform")
	p.see("connection refused; look whether the cluster runs")
	p.see("9800")
	p.press("Check everything")
	p.see("give the token the right to write")
	p.clean()
}

func TestInABrowserTheAuditTrailIsFilteredAndGoesBack(t *testing.T) {
	t.Parallel()
	p := as(t, newShop(t), adminToken, "#/audit")
	p.see("PERMISSION_DENIED")
	p.gone("shop/environments/dev")
	p.press("Older")
	p.see("applications/shop/environments/dev")
	p.press("Details")
	p.see("bo is a viewer there")
	p.js(`(() => { const s = document.querySelector("select[aria-label=Outcome]"); s.value = "OK"; s.dispatchEvent(new Event("change")); })()`)
	p.gone("PERMISSION_DENIED")
	p.fill("input[aria-label=Who]", "users/nobody"+kb.Enter)
	p.clean()
}

func TestInABrowserFindingsOfAllEnvironmentsAreFiltered(t *testing.T) {
	t.Parallel()
	p := as(t, newShop(t), adminToken, "#/findings")
	p.see("spec.replicas")
	p.see("2 open differences")
	p.js(`(() => { const s = document.querySelector("select[aria-label='Open or over']"); s.value = "false"; s.dispatchEvent(new Event("change")); })()`)
	p.see("reverted by ada")
	p.see("not ours")
	p.gone("spec.replicas")
	p.clean()
}

func TestInABrowserEventsAreOfOneApplicationAndGoOnAfterALoss(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := as(t, s, adminToken, "#/events?application=shop")
	p.see("drift.detected")
	p.fill("input[aria-label=Person]", "nobody-of-that-name")
	p.see("No event is like that")
	p.fill("input[aria-label=Person]", "kubectl-patch")
	p.see("drift.detected")
	p.clean()
}

func TestInABrowserEachPageShowsItsErrorAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"#/shop", "#/shop/drafts", "#/shop/drafts/next", "#/shop/dev/graph", "#/definitions", "#/definitions/postgres-rds", "#/platform", "#/findings", "#/audit", "#/shop/dev/history"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			p := as(t, newShop(t), adminToken, "#/nothing/at/all/here")
			p.see("There is no such page")
			p.js(`window.realFetch = fetch; window.fetch = (path, o) => /whoami|access/.test(path) ? realFetch(path, o) : Promise.resolve(new Response(JSON.stringify({code: 13, message: "the store is full"}), {status: 500, headers: {"Content-Type": "application/json"}}))`)
			p.visit(at)
			p.see("the store is full")
			p.see("The server's log has it under the request id.")
			p.js(`window.fetch = window.realFetch; document.dispatchEvent(new Event("visibilitychange"))`)
			p.gone("the store is full")
			p.clean()
		})
	}
}
