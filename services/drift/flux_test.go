package drift_test

import (
	"strings"
	"testing"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/errs"
)

func TestFluxBringsAnEnvironmentThroughItsWholeLife(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "flux")
	newFakeFlux(t, e).start()
	journey(t, e, "kustomize-controller")
	if got := devclustertest.Kubectl(t, "-n", e.engineNS, "get", "kustomizations,gitrepositories", "-o", "name"); strings.TrimSpace(got) != "" {
		t.Errorf("left in Flux's namespace: %s", got)
	}
}

func TestWhatFluxSaysBecomesTheDeploymentsReason(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "flux")
	flux := newFakeFlux(t, e)
	flux.unreadable = "failed to checkout: authentication required"
	stop := flux.start()
	e.ship(web)
	await(e.env, "deployment.waiting", func(w *eventsv1.DeploymentWaiting) bool {
		return strings.Contains(w.GetReason(), "authentication required") && w.GetStage() == "sync"
	})
	stop()
	flux.unreadable = ""
	flux.start()
	e.awaitSynced()
	e.ship(strings.NewReplacer("matchLabels: {app: web}", "matchLabels: {app: web, tier: a}", "LOG_LEVEL: info", "LOG_LEVEL: debug").Replace(web))
	f := await(e.env, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
	if f.GetReason() != "ENGINE_FAILED" || !strings.Contains(f.GetMessage(), "Deployment/web") || !strings.Contains(f.GetMessage(), "immutable") {
		t.Errorf("told %v", f)
	}
	e.awaitSync(driftv1.SyncState_SYNC_STATE_FAILED)
	e.bring(web)
	e.awaitSync(driftv1.SyncState_SYNC_STATE_SYNCED)
	e.awaitCount(0)
}

func TestAnEditedKustomizationIsPutRightAndOneSyncedByHandIsSuspended(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "flux")
	e.policy = &driftv1.SyncPolicy{ServiceAccount: "{application}-deployer"}
	newFakeFlux(t, e).start()
	e.bring(config)
	flux := func(args ...string) string {
		return devclustertest.Kubectl(t, append([]string{"-n", e.engineNS}, args...)...)
	}
	const fields = "jsonpath={.spec.prune} {.spec.wait} {.spec.suspend} {.spec.serviceAccountName} {.spec.targetNamespace} {.spec.path}"
	want := "true true false " + e.ns + "-deployer  ./" + e.folder
	if got := flux("get", "kustomization", e.app(), "-o", fields); got != want {
		t.Errorf("the Kustomization has %q, want %q", got, want)
	}
	flux("patch", "kustomization", e.app(), "--type=merge", "-p", `{"spec":{"prune":false,"targetNamespace":"elsewhere","suspend":true}}`)
	eventually(t, func() string {
		if got := flux("get", "kustomization", e.app(), "-o", fields); got != want {
			return "after an edit it has " + got
		}
		return ""
	})
	e.manual = true
	e.ship(config) // Flux follows Git until it is suspended
	eventually(t, func() string {
		if got := flux("get", "kustomization", e.app(), "-o", "jsonpath={.spec.suspend}"); got != "true" {
			return "suspended: " + got
		}
		return ""
	})
	e.ship(config + configMap("second", "x"))
	e.awaitSync(driftv1.SyncState_SYNC_STATE_PENDING)
	if got := e.kubectl("get", "configmap", "second", "--ignore-not-found", "-o", "name"); got != "" {
		t.Error("it was synced by itself")
	}
	e.sync()
	e.awaitSynced()
	eventually(t, func() string {
		if got := flux("get", "kustomization", e.app(), "-o", "jsonpath={.spec.suspend}"); got != "true" {
			return "after the sync, suspended: " + got
		}
		return ""
	})
}

func TestDataOutlivesPruneAndRemovalByFlux(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "flux")
	newFakeFlux(t, e).start()
	claim := "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n"
	other := strings.ReplaceAll(claim, "name: data", "name: more")
	e.bring(config + claim + other)
	_, err := e.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name, ValidateOnly: true})
	if errs.KindOf(err) != errs.Precondition || !strings.Contains(errs.Message(err), "Flux") {
		t.Errorf("a dry run, which Flux has none of: %v", err)
	}
	e.bring(config + other)
	e.ship("")
	await(e.env, "environment.removed", func(r *eventsv1.EnvironmentRemoved) bool { return r.GetGeneration() == e.generation })
	if got := e.kubectl("get", "pvc", "-o", "name"); !strings.Contains(got, "/data") || !strings.Contains(got, "/more") {
		t.Errorf("the removal left %s", got)
	}
	if got := e.kubectl("get", "configmap", "web-config", "--ignore-not-found", "-o", "name"); got != "" {
		t.Error("what holds no data is still there")
	}
}

func TestAnEngineThatIsNotInTheClusterIsSaid(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "flux")
	e.engineNS = "no-such-namespace"
	e.ship(config)
	f := await(e.env, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
	if f.GetReason() != "ENGINE_FAILED" || !strings.Contains(f.GetMessage(), "--engine-namespace") {
		t.Errorf("told %v", f)
	}
}
