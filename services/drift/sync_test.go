package drift_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

const config = `
apiVersion: v1
kind: ConfigMap
metadata: {name: web-config}
data: {LOG_LEVEL: info}
`

// configMap is another ConfigMap, to be appended.
func configMap(name, value string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {LOG_LEVEL: %s}\n", name, value)
}

func TestWhatTheClusterRefusesFailsTheDeploymentWithReasonAndMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, c := range []struct{ name, before, manifests, reason, message string }{
		{"an immutable field", web, strings.ReplaceAll(web, "matchLabels: {app: web}", "matchLabels: {app: web, tier: a}"), "APPLY_REFUSED", "Deployment"},
		{"an unknown kind", "", config + "---\napiVersion: example.com/v1\nkind: Gizmo\nmetadata: {name: g}\n", "APPLY_REFUSED", "does not know this kind"},
		{"a cluster-scoped object", "", "apiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n", "OBJECT_NOT_ALLOWED", "outside of the environment's namespace"},
		{"a foreign namespace", "", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n", "OBJECT_NOT_ALLOWED", "sync_policy.namespaces"},
		{"the same object twice", "", config + "---" + config, "APPLY_REFUSED", "declared twice"},
		{"the inventory's name", "", configMap("towpath-inventory", "x"), "OBJECT_NOT_ALLOWED", "towpath-inventory"},
		{"a Secret whose value is no text, which is not told", "", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {pin: 73517351}\n", "APPLY_REFUSED", "must be text"},
		{"a document that is no YAML", "", "a: [", "APPLY_REFUSED", "is not YAML"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := w.newEnv(t)
			if c.before != "" {
				e.deploy(c.before)
			}
			e.want(c.manifests)
			f := await(e, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
			if f.GetDeployment() != e.deployment() || f.GetStage() != "sync" || f.GetReason() != c.reason || !strings.Contains(f.GetMessage(), c.message) {
				t.Errorf("told %v, want %s with %q", f, c.reason, c.message)
			}
			if strings.Contains(f.GetMessage(), "73517351") {
				t.Errorf("the message shows a secret: %s", f.GetMessage())
			}
			eventually(t, func() string {
				if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_FAILED || !strings.Contains(st.GetMessage(), c.message) {
					return fmt.Sprintf("status is %v, want FAILED", st)
				}
				return ""
			})
		})
	}
}

func TestAPartlyRefusedDeploymentIsNoDriftAndTheNextOneMendsIt(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web)
	// The ConfigMap's stage goes through, the Deployment's is refused.
	e.want(strings.NewReplacer("matchLabels: {app: web}", "matchLabels: {app: other}", "LOG_LEVEL: info", "LOG_LEVEL: debug").Replace(web))
	await(e, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
	e.staysClean("configmap/web-config", "deployment/web")
	e.deploy(web + configMap("later", "x"))
	if got := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "web-config", "-o", "jsonpath={.data.LOG_LEVEL}"); got != "info" {
		t.Errorf("LOG_LEVEL is %s", got)
	}
	e.staysClean("configmap/later")
}

func TestPruneRemovesWhatWeAppliedAndNothingElse(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	claim := "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n"
	e.deploy(config + configMap("old", "x") + configMap("taken", "x") + claim)
	// Somebody replaces one of ours by their own, and edits the other.
	devclustertest.Kubectl(t, "-n", e.ns, "delete", "configmap", "taken")
	e.awaitCount(1)
	devclustertest.Kubectl(t, "-n", e.ns, "create", "configmap", "taken", "--from-literal=mine=yes")
	devclustertest.Kubectl(t, "-n", e.ns, "label", "configmap", "old", "team=blue")
	eventually(t, func() string {
		for _, f := range e.findings() {
			if f.GetField() == "metadata.labels[team]" {
				return ""
			}
		}
		return "the label is not found"
	})
	s := e.deploy(config)
	if s.GetPruned() != 1 {
		t.Errorf("pruned %d objects, want 1 (the claim is kept, the other ConfigMap is not ours)", s.GetPruned())
	}
	await(e, "drift.resolved", func(r *eventsv1.DriftResolved) bool {
		return r.GetFinding().GetField() == "metadata.labels[team]" && r.GetFinding().GetResolution() == "deployed"
	})
	if got := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap,pvc", "-o", "name"); strings.Contains(got, "/old\n") || !strings.Contains(got, "/taken\n") || !strings.Contains(got, "/data\n") {
		t.Errorf("there is %s; want old gone, taken and data kept", got)
	}
	e.staysClean("configmap/web-config") // the claim is kept on purpose and no orphan
}

func TestAManualEnvironmentWaitsForAPersonAndStillTellsDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	e.manual = true
	e.want(config)
	pending := func() {
		t.Helper()
		eventually(t, func() string {
			if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_PENDING {
				return fmt.Sprintf("status is %v, want PENDING", st)
			}
			return ""
		})
	}
	pending()
	e.sync()
	e.awaitSynced()
	e.want(config + configMap("second", "x"))
	pending()
	devclustertest.Kubectl(t, "-n", e.ns, "label", "configmap", "web-config", "team=blue")
	first := e.awaitOne()
	// After a restart drift is still told against what was applied, although Git is ahead.
	w.stop()
	w.start()
	eventually(t, func() string {
		if e.status() == nil {
			return "the environment is not known after a restart"
		}
		return ""
	})
	if f := e.awaitOne(); f.GetName() != first.GetName() || f.GetManager() != "kubectl-label" {
		t.Errorf("after a restart: %v", f)
	}
	pending()
	e.sync()
	if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_SYNCED || len(st.GetObjects()) != 2 {
		t.Errorf("after SyncEnvironment: %v", st)
	}
}

func TestAnEditMadeWhileDriftWasStoppedIsFoundAndASyncKeepsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	e.deploy(web)
	w.stop()
	before := devclustertest.Kubectl(t, "-n", e.ns, "get", "deployment,configmap,service", "-o", "jsonpath={.items[*].metadata.resourceVersion}")
	w.start()
	eventually(t, func() string {
		if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_SYNCED {
			return fmt.Sprintf("after a restart: %v", st)
		}
		return ""
	})
	if after := devclustertest.Kubectl(t, "-n", e.ns, "get", "deployment,configmap,service", "-o", "jsonpath={.items[*].metadata.resourceVersion}"); after != before {
		t.Errorf("a restart wrote: %s, before %s", after, before)
	}
	e.staysClean("service/web", "configmap/web-config")
	w.stop()
	devclustertest.Kubectl(t, "-n", e.ns, "patch", "service", "web", "-p", portPatch)
	w.start()
	eventually(t, func() string {
		if e.status() == nil {
			return "the environment is not known after a restart"
		}
		return ""
	})
	for range 2 {
		f := e.awaitOne()
		if f.GetField() != "spec.ports[port=80]" || f.GetManager() != "kubectl-patch" || time.Since(f.GetEditTime().AsTime()) > time.Minute {
			t.Fatalf("found %v", f)
		}
		e.sync() // must not launder the port into what is expected
	}
	e.revert()
	e.awaitCount(0)
}

func TestWithoutTheCommitterADeploymentWaitsAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	e.deploy(config)
	w.git.away.Store(true)
	e.want(config + configMap("second", "x"))
	wait := await(e, "deployment.waiting", func(*eventsv1.DeploymentWaiting) bool { return true })
	if wait.GetDeployment() != e.deployment() || wait.GetStage() != "sync" || !strings.Contains(wait.GetReason(), "committer") {
		t.Errorf("told %v", wait)
	}
	if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_PENDING || st.GetGeneration() != 1 {
		t.Errorf("status %v, want PENDING at generation 1", st)
	}
	w.git.away.Store(false)
	e.awaitSynced()
	if len(told[eventsv1.DeploymentFailed](e, "deployment.failed")) > 0 {
		t.Error("a deployment.failed was told")
	}
}

func TestRemovalWaitsForFinalizersAndKeepsNamespacesThatAreNotOursOrHoldClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := client(t)
	ours := w.envIn(t, "ours-"+fmt.Sprint(time.Now().UnixNano()))
	ours.deploy(web)
	devclustertest.Kubectl(t, "-n", ours.ns, "patch", "configmap", "web-config", "-p", `{"metadata":{"finalizers":["example.com/hold"]}}`)
	foreign := w.newEnv(t) // in a namespace that the test made
	foreign.deploy(config)
	devclustertest.Kubectl(t, "-n", foreign.ns, "create", "configmap", "mine", "--from-literal=a=b")
	ours.remove()
	foreign.remove()
	await(foreign, "environment.removed", func(r *eventsv1.EnvironmentRemoved) bool { return r.GetGeneration() == foreign.generation })
	if got := devclustertest.Kubectl(t, "-n", foreign.ns, "get", "configmap", "-o", "name"); strings.Contains(got, "web-config") || strings.Contains(got, "inventory") || !strings.Contains(got, "/mine") {
		t.Errorf("left in the foreign namespace: %s", got)
	}
	eventually(t, func() string {
		if got := devclustertest.Kubectl(t, "-n", ours.ns, "get", "configmap", "web-config", "-o", "jsonpath={.metadata.deletionTimestamp}"); got == "" {
			return "the ConfigMap is not being removed"
		}
		return ""
	})
	// What holds it is told.
	held := await(ours, "deployment.waiting", func(w *eventsv1.DeploymentWaiting) bool { return strings.Contains(w.GetReason(), "example.com/hold") })
	if held.GetDeployment() != ours.deployment() || held.GetStage() != "sync" || !strings.Contains(held.GetReason(), "ConfigMap web-config") {
		t.Errorf("told %v", held)
	}
	if st := ours.status(); !strings.Contains(st.GetMessage(), "example.com/hold") {
		t.Errorf("status is %v, want that it says what holds the removal", st)
	}
	// A crash in the middle; the desired state comes again.
	w.stop()
	w.start()
	if n := len(told[eventsv1.EnvironmentRemoved](ours, "environment.removed")); n != 0 {
		t.Error("the removal was told while a finalizer holds an object")
	}
	devclustertest.Kubectl(t, "-n", ours.ns, "patch", "configmap", "web-config", "--type=json", "-p", `[{"op":"remove","path":"/metadata/finalizers"}]`)
	await(ours, "environment.removed", func(r *eventsv1.EnvironmentRemoved) bool { return r.GetDeployment() == ours.deployment() })
	if _, err := c.CoreV1().Namespaces().Get(t.Context(), ours.ns, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace that we made: %v, want that it is gone", err)
	}
	ours.deploy(config) // it can come back, under the same name
	if err := c.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), ours.ns, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func TestTwoEnvironmentsDoNotDisturbEachOtherAndANamespaceHasOneOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a, b := w.newEnv(t), w.newEnv(t)
	a.deploy(config)
	b.deploy(config)
	devclustertest.Kubectl(t, "-n", a.ns, "label", "configmap", "web-config", "team=blue")
	a.awaitOne()
	b.staysClean("configmap/web-config")
	if fs := a.findings(); len(fs) != 1 || fs[0].GetNamespace() != a.ns {
		t.Errorf("findings of a are %v", fs)
	}
	thief := w.envIn(t, a.ns)
	thief.name = "applications/thief/environments/dev"
	thief.want(config)
	f := await(thief, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
	if f.GetReason() != "OBJECT_NOT_ALLOWED" || !strings.Contains(f.GetMessage(), a.name) {
		t.Errorf("told %v, want that the namespace is %s's", f, a.name)
	}
	a.revert()
	a.awaitCount(0)
}
