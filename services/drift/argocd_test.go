package drift_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

func plainJSON(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		panic(err)
	}
	return out
}

func sameJSON(a, b any) bool { return reflect.DeepEqual(plainJSON(a), plainJSON(b)) }

func (e *engineEnv) app() string { return e.ns + ".dev" }

func (e *engineEnv) kubectl(args ...string) string {
	e.t.Helper()
	return devclustertest.Kubectl(e.t, append([]string{"-n", e.ns}, args...)...)
}

// journey is what both engines do alike: deploy, drift, revert, sync, a restart, rollback with automatic sync on, delete.
func journey(t *testing.T, e *engineEnv, manager string) {
	e.bring(web)
	st := e.status()
	if st.GetEngine() != e.engine || !strings.Contains(st.GetEngineObject(), e.engineNS+"/"+e.app()) || len(st.GetObjects()) != 3 {
		t.Errorf("status %v", st)
	}
	if got := e.kubectl("get", "configmap", "web-config", "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}"); strings.TrimSpace(got) != manager {
		t.Errorf("the ConfigMap was written by %q, want %s alone", got, manager)
	}
	e.awaitCount(0)
	e.staysClean("configmap/web-config", "service/web")
	// What nobody declared is taken away by a patch; what was declared comes back by a sync of the engine.
	e.kubectl("patch", "service", "web", "-p", portPatch)
	extra := e.awaitOne()
	if extra.GetField() != "spec.ports[port=80]" || extra.GetManager() != "kubectl-patch" {
		t.Fatalf("found %v", extra)
	}
	e.kubectl("patch", "configmap", "web-config", "-p", `{"data":{"LOG_LEVEL":"trace"}}`)
	e.awaitCount(2)
	e.kubectl("delete", "deployment", "web")
	e.awaitCount(3)
	w := e.world
	w.stop() // the process ends in between
	w.start()
	eventually(t, func() string {
		if e.status() == nil {
			return "the environment is not known after a restart"
		}
		return ""
	})
	e.awaitCount(3)
	if got := e.revert(); len(got.GetReverted()) != 3 {
		t.Errorf("reverted %v", got.GetReverted())
	}
	e.awaitCount(0)
	if got := e.kubectl("get", "configmap", "web-config", "--show-managed-fields", "-o", "jsonpath={.data.LOG_LEVEL} {.metadata.managedFields[*].manager}"); !strings.HasPrefix(got, "info ") || strings.Contains(got, "towpath") {
		t.Errorf("after the revert: %s; want info, and nothing applied by Towpath", got)
	}
	// A second deployment takes away what it no longer declares, and a rollback is a commit like others.
	e.bring(config + configMap("later", "x"))
	if got := e.kubectl("get", "configmap,service,deployment", "-o", "name"); strings.Contains(got, "/web\n") || !strings.Contains(got, "/later") {
		t.Errorf("after the second deployment there is %s", got)
	}
	e.awaitCount(0)
	e.bring(web)
	if got := e.kubectl("get", "configmap,service,deployment", "-o", "name"); !strings.Contains(got, "deployment.apps/web") || strings.Contains(got, "/later") {
		t.Errorf("after the rollback there is %s", got)
	}
	e.awaitCount(0)
	e.staysClean("deployment/web")
	e.ship("")
	await(e.env, "environment.removed", func(r *eventsv1.EnvironmentRemoved) bool { return r.GetGeneration() == e.generation })
	if got := devclustertest.Kubectl(t, "get", "namespace", e.ns, "--ignore-not-found", "-o", "name"); got != "" {
		t.Errorf("the namespace is still there: %s", got)
	}
}

func TestArgoCDBringsAnEnvironmentThroughItsWholeLife(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "argocd")
	newFakeArgo(t, e).start()
	journey(t, e, "argocd-controller")
	if got := devclustertest.Kubectl(t, "-n", e.engineNS, "get", "applications,appprojects", "-o", "name"); strings.TrimSpace(got) != "" {
		t.Errorf("left in Argo CD's namespace: %s", got)
	}
}

func TestAnEditedApplicationIsPutRight(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "argocd")
	newFakeArgo(t, e).start()
	e.bring(config)
	argo := func(args ...string) string {
		return devclustertest.Kubectl(t, append([]string{"-n", e.engineNS}, args...)...)
	}
	app, err := e.objects.Resource(argoApps).Namespace(e.engineNS).Get(t.Context(), e.app(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	options, _, _ := unstructured.NestedStringSlice(app.Object, "spec", "syncPolicy", "syncOptions")
	if len(app.GetFinalizers()) != 0 || !strings.Contains(fmt.Sprint(options), "ServerSideApply=true") {
		t.Errorf("the Application has finalizers %v and options %v", app.GetFinalizers(), options)
	}
	for _, edit := range []string{
		`{"spec":{"syncPolicy":{"automated":{"prune":true,"selfHeal":true}}}}`, `{"spec":{"source":{"targetRevision":"other"}}}`,
		`{"spec":{"syncPolicy":null}}`, `{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}`, `{"metadata":{"annotations":{"towpath.dev/environment":null}}}`,
	} {
		argo("patch", "application", e.app(), "--type=merge", "-p", edit)
		eventually(t, func() string {
			now, err := e.objects.Resource(argoApps).Namespace(e.engineNS).Get(t.Context(), e.app(), metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			if !sameJSON(now.Object["spec"], app.Object["spec"]) || !sameJSON(now.GetLabels(), app.GetLabels()) || !sameJSON(now.GetAnnotations(), app.GetAnnotations()) {
				return fmt.Sprintf("after %s: %v", edit, now.Object["spec"])
			}
			return ""
		})
	}
	argo("delete", "application", e.app())
	eventually(t, func() string {
		if argo("get", "applications", "-o", "name") == "" {
			return "the Application does not come back"
		}
		return ""
	})
	if e.kubectl("get", "configmap", "web-config", "-o", "name") == "" {
		t.Error("deleting the Application by hand took its objects along")
	}
	argo("patch", "appproject", "towpath-"+e.ns, "--type=merge", "-p", `{"spec":{"sourceRepos":["*"]}}`)
	eventually(t, func() string {
		if got := argo("get", "appproject", "towpath-"+e.ns, "-o", "jsonpath={.spec.sourceRepos}"); got != `["https://git.example.com/main.git"]` {
			return "the project allows " + got
		}
		return ""
	})
}

func TestWhatArgoCDSaysBecomesTheDeploymentsReason(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "argocd")
	argo := newFakeArgo(t, e)
	argo.broken = "repository not accessible: authentication required"
	stop := argo.start()
	e.ship(web)
	await(e.env, "deployment.waiting", func(w *eventsv1.DeploymentWaiting) bool {
		return strings.Contains(w.GetReason(), "authentication required") && w.GetStage() == "sync"
	})
	stop()
	argo.broken = ""
	argo.start()
	e.awaitSynced()
	// A field that cannot be changed.
	e.ship(strings.NewReplacer("matchLabels: {app: web}", "matchLabels: {app: web, tier: a}", "LOG_LEVEL: info", "LOG_LEVEL: debug").Replace(web))
	f := await(e.env, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
	if f.GetReason() != "ENGINE_FAILED" || !strings.Contains(f.GetMessage(), "Deployment/web") || !strings.Contains(f.GetMessage(), "immutable") {
		t.Errorf("told %v", f)
	}
	e.awaitSync(driftv1.SyncState_SYNC_STATE_FAILED)
	e.awaitCount(0) // the ConfigMap was applied, the Deployment was not: neither is drift
	e.bring(web)
	e.awaitSync(driftv1.SyncState_SYNC_STATE_SYNCED)
}

func TestAnEnvironmentThatIsSyncedByHandWaitsInArgoCDToo(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "argocd")
	e.manual = true
	newFakeArgo(t, e).start()
	e.ship(config)
	e.awaitSync(driftv1.SyncState_SYNC_STATE_PENDING)
	eventually(t, func() string {
		if got := devclustertest.Kubectl(t, "-n", e.engineNS, "get", "application", e.app(), "--ignore-not-found", "-o", "jsonpath={.status.sync.status}"); got != "OutOfSync" {
			return "Argo CD says " + got
		}
		return ""
	})
	if got := e.kubectl("get", "configmap", "web-config", "--ignore-not-found", "-o", "name"); got != "" {
		t.Error("it was synced by itself")
	}
	e.sync()
	e.awaitSynced()
	// Somebody syncs the next one in Argo CD.
	e.ship(config + configMap("second", "x"))
	e.awaitSync(driftv1.SyncState_SYNC_STATE_PENDING)
	_, err := e.objects.Resource(argoApps).Namespace(e.engineNS).Patch(t.Context(), e.app(), types.MergePatchType,
		[]byte(`{"operation":{"initiatedBy":{"username":"anna"},"sync":{}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e.awaitSynced()
	e.staysClean("configmap/second")
}

func TestDataOutlivesPruneAndRemovalByArgoCD(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "argocd")
	newFakeArgo(t, e).start()
	claim := "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n"
	other := strings.ReplaceAll(claim, "name: data", "name: more")
	e.bring(config + claim + other)
	e.bring(config + other)
	if got := e.kubectl("get", "pvc", "-o", "name"); !strings.Contains(got, "/data") {
		t.Fatalf("a claim that Git no longer has was removed; left is %s", got)
	}
	e.staysClean("configmap/web-config") // it is kept on purpose and no orphan
	e.ship("")
	removed := await(e.env, "environment.removed", func(r *eventsv1.EnvironmentRemoved) bool { return r.GetGeneration() == e.generation })
	if got := e.kubectl("get", "pvc", "-o", "name"); !strings.Contains(got, "/data") || !strings.Contains(got, "/more") {
		t.Errorf("the removal left %s, and told %v", got, removed.GetRetained())
	}
	if got := e.kubectl("get", "configmap", "web-config", "--ignore-not-found", "-o", "name"); got != "" {
		t.Error("what holds no data is still there")
	}
}

func TestALaterCommitOfTheSameFolderClosesTheEarlierDeployment(t *testing.T) {
	t.Parallel()
	e := newEngineEnv(t, "argocd")
	// The engine is away while two deployments are committed; only the first is known to drift when it comes back.
	e.ship(config)
	e.awaitSync(driftv1.SyncState_SYNC_STATE_SYNCING)
	commit, tree := e.repo.commit(e.folder, config+configMap("second", "x"), e.generation+1)
	newFakeArgo(t, e).start()
	e.awaitSynced()
	e.generation++
	e.announce(commit, tree, false)
	e.awaitSynced()
	e.staysClean("configmap/second")
}
