package drift_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/errs"
)

func TestNativeSyncActsAsTheServiceAccountAndNamesTheRightItLacks(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.typ, e.policy = "environmentTypes/development", &driftv1.SyncPolicy{ServiceAccount: "deployer-{environment_type}", Retry: &driftv1.SyncRetry{Backoff: durationpb.New(time.Second)}}
	c := client(t)
	account := "system:serviceaccount:" + e.ns + ":deployer-development"
	role := &rbac.Role{ObjectMeta: metav1.ObjectMeta{Name: "deployer"}, Rules: []rbac.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "create", "patch", "delete"}},
	}}
	if _, err := c.RbacV1().Roles(e.ns).Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bind := &rbac.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "deployer"}, RoleRef: rbac.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "deployer"},
		Subjects: []rbac.Subject{{Kind: "ServiceAccount", Name: "deployer-development", Namespace: e.ns}}}
	if _, err := c.RbacV1().RoleBindings(e.ns).Create(t.Context(), bind, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.deploy(config)
	e.want(web)
	f := await(e, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
	if f.GetReason() != "RIGHT_MISSING" {
		t.Errorf("told %v", f)
	}
	for _, want := range []string{"ServiceAccount " + e.ns + "/deployer-development may not patch services", "in namespace " + e.ns, "kubectl create role", "--resource=services", "--serviceaccount=" + e.ns + ":deployer-development"} {
		if !strings.Contains(f.GetMessage(), want) {
			t.Errorf("the message lacks %q: %s", want, f.GetMessage())
		}
	}
	// With the rights that messages ask for it goes on by itself.
	role.Rules = append(role.Rules, rbac.PolicyRule{APIGroups: []string{"", "apps"}, Resources: []string{"services", "deployments"}, Verbs: []string{"get", "create", "patch", "delete"}})
	if _, err := c.RbacV1().Roles(e.ns).Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.awaitSynced()
	// The account did it, by the cluster's own word; a line is written a moment after its answer.
	eventually(t, func() string {
		log, err := os.ReadFile(devclustertest.AuditLog(t))
		if err != nil {
			return err.Error()
		}
		applied := 0
		for line := range strings.Lines(string(log)) {
			if !strings.Contains(line, `"namespace":"`+e.ns+`"`) || !strings.Contains(line, `"resource":"deployments"`) || !strings.Contains(strings.ReplaceAll(line, `\u0026`, "&"), "fieldManager=towpath&") {
				continue
			}
			if applied++; !strings.Contains(line, `"impersonatedUser":{"username":"`+account+`"`) {
				return "a Deployment was applied, and not as " + account + ": " + line
			}
		}
		if applied == 0 {
			return "the audit log has no apply of the Deployment"
		}
		return ""
	})
	// The right to remove is asked for as well.
	role.Rules = role.Rules[:1]
	if _, err := c.RbacV1().Roles(e.ns).Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.policy.MaxPrunePercent = 100
	e.want(config)
	await(e, "deployment.failed", func(f *eventsv1.DeploymentFailed) bool {
		return f.GetDeployment() == e.deployment() && f.GetReason() == "RIGHT_MISSING" && strings.Contains(f.GetMessage(), "may not delete ")
	})
}

func TestASyncThatWouldRemoveTooMuchAppliesTheRestAndWaitsForAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	e.deploy(config + configMap("a", "x") + configMap("b", "x") + configMap("c", "x"))
	e.want(config + configMap("new", "x"))
	wait := await(e, "deployment.waiting", func(x *eventsv1.DeploymentWaiting) bool { return x.GetDeployment() == e.deployment() })
	if !strings.Contains(wait.GetReason(), "3 of 4 objects would be removed") || !strings.Contains(wait.GetReason(), "--confirm-prune") {
		t.Errorf("told %v", wait)
	}
	names := func() string {
		return devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "-o", "jsonpath={.items[*].metadata.name}")
	}
	if got := names(); !strings.Contains(got, "new") || !strings.Contains(got, "a b c") {
		t.Errorf("there is %s; want the new one applied and nothing removed", got)
	}
	held := func() {
		t.Helper()
		eventually(t, func() string {
			if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_PENDING || len(st.GetPruneHeld()) != 3 {
				return fmt.Sprintf("status is %v", st)
			}
			return ""
		})
		if fs := e.findings(); len(fs) > 0 {
			t.Errorf("what is held back is told as drift: %v", fs)
		}
	}
	held()
	// It is remembered, and a restart neither removes nor forgets it.
	w.stop()
	w.start()
	eventually(t, func() string {
		if e.status() == nil {
			return "the environment is not known after a restart"
		}
		return ""
	})
	held()
	if got := names(); !strings.Contains(got, "a b c") {
		t.Errorf("there is %s after a restart", got)
	}
	resp, err := w.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name, ValidateOnly: true, ConfirmPrune: true})
	if err != nil || len(resp.GetChanges()) != 3 || resp.GetChanges()[0].GetAction() != driftv1.SyncChange_ACTION_PRUNE {
		t.Errorf("a dry run of the confirmation: %v, %v", resp.GetChanges(), err)
	}
	if _, err := w.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name}); errs.ReasonOf(err) != errorsv1.Reason_REASON_PRUNE_HELD {
		t.Errorf("a sync without the confirmation: %v", err)
	}
	resp, err = w.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name, ConfirmPrune: true})
	if err != nil || len(resp.GetStatus().GetPruneHeld()) > 0 || resp.GetStatus().GetSync() != driftv1.SyncState_SYNC_STATE_SYNCED {
		t.Errorf("the confirmed sync: %v, %v", resp, err)
	}
	if got := names(); strings.Contains(got, "a b c") {
		t.Errorf("there is %s after the confirmation", got)
	}
}

func TestAnAdoptedEnvironmentRemovesNothingBeforeItIsConfirmed(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.held = true
	e.deploy(config + configMap("a", "x") + configMap("b", "x"))
	e.want(config + configMap("b", "x"))
	await(e, "deployment.waiting", func(x *eventsv1.DeploymentWaiting) bool { return strings.Contains(x.GetReason(), "adopted") })
	stays := func(after string) {
		t.Helper()
		if got := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "a", "--ignore-not-found", "-o", "jsonpath={.metadata.name}{.metadata.deletionTimestamp}"); got != "a" {
			t.Fatalf("after %s, before the environment was confirmed, there is %q of a", after, got)
		}
	}
	stays("a deployment without it")
	asked := func() {
		t.Helper()
		_, err := e.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name})
		if errs.ReasonOf(err) != errorsv1.Reason_REASON_PRUNE_HELD {
			t.Errorf("a sync that would remove it: %v", err)
		}
	}
	asked()
	stays("a sync that a person asked for")
	e.stop()
	e.start()
	eventually(t, func() string {
		if len(e.status().GetPruneHeld()) == 0 {
			return "nothing is held"
		}
		return ""
	})
	asked()
	stays("a restart")
	e.held = false
	e.deploy(config + configMap("b", "x"))
	if got := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "-o", "name"); strings.Contains(got, "/a\n") {
		t.Errorf("there is %s after the environment was confirmed", got)
	}
}

func TestProtectedObjectsStayAndDisabledPruningTellsOrphans(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(config + waved(configMap("argo", "x"), "argocd.argoproj.io/sync-options: Prune=false") +
		waved(configMap("flux", "x"), "kustomize.toolkit.fluxcd.io/prune: disabled") + configMap("left", "x"))
	e.policy = &driftv1.SyncPolicy{PruneDisabled: true}
	if s := e.deploy(config); s.GetPruned() != 0 {
		t.Errorf("pruned %d", s.GetPruned())
	}
	eventually(t, func() string {
		for _, f := range e.findings() {
			if f.GetKind() == driftv1.Finding_KIND_ORPHANED && f.GetObjectName() == "left" {
				return ""
			}
		}
		return fmt.Sprintf("found %v, want that left is orphaned", e.findings())
	})
	e.policy = nil
	e.deploy(config + configMap("more", "x"))
	got := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "-o", "name")
	if !strings.Contains(got, "/argo\n") || !strings.Contains(got, "/flux\n") || strings.Contains(got, "/left\n") {
		t.Errorf("there is %s; want the protected ones, and left gone", got)
	}
}

// awaitPending waits until drift knows of a desired state that waits for a person.
func (e *env) awaitPending() {
	e.t.Helper()
	eventually(e.t, func() string {
		if st := e.status(); st == nil || st.GetSync() != driftv1.SyncState_SYNC_STATE_PENDING {
			return fmt.Sprintf("status is %v, want PENDING", st)
		}
		return ""
	})
}

func TestADryRunSaysWhatWouldBeDoneAndDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	e.manual = true
	e.want(config + configMap("old", "x"))
	e.awaitPending()
	e.sync()
	e.want(strings.Replace(config, "LOG_LEVEL: info", "LOG_LEVEL: debug", 1) + configMap("new", "x") + jobOf("hook", "x", "towpath.dev/hook: PostSync") +
		"---\napiVersion: v1\nkind: Service\nmetadata: {name: Wrong}\nspec: {ports: [{port: 80}]}\n")
	e.awaitPending()
	before := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "-o", "jsonpath={.items[*].metadata.resourceVersion}")
	resp, err := w.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name, ValidateOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range resp.GetChanges() {
		got = append(got, fmt.Sprintf("%s %s/%s %v", strings.TrimPrefix(c.GetAction().String(), "ACTION_"), c.GetObject().GetKind(), c.GetObject().GetName(), c.GetFields()))
	}
	for _, want := range []string{"CHANGE ConfigMap/web-config [data[LOG_LEVEL]]", "CREATE ConfigMap/new []", "PRUNE ConfigMap/old []", "HOOK Job/hook []", "REFUSE Service/Wrong []"} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if after := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "-o", "jsonpath={.items[*].metadata.resourceVersion}"); after != before {
		t.Errorf("a dry run changed something: %s, was %s", after, before)
	}
}

func TestADryRunKnowsTheListsOfACustomResource(t *testing.T) {
	t.Parallel()
	install(t, definition("dryrun.example.com", "v1", "gears", "Gear", "{type: object, properties: {size: {x-kubernetes-int-or-string: true}, parts: {type: array, "+
		"x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], items: {type: object, required: [name], properties: {name: {type: string}, count: {type: integer}}}}}}"),
		"gears.dryrun.example.com")
	w := newWorld(t, nil)
	e := w.newEnv(t)
	e.manual = true
	const gear = "apiVersion: dryrun.example.com/v1\nkind: Gear\nmetadata: {name: web}\nspec: {size: 1000m, parts: [{name: a, count: 1}, {name: b, count: 2}]}\n"
	e.want(gear)
	e.awaitPending()
	e.sync()
	e.want(strings.Replace(gear, "count: 2", "count: 3", 1))
	e.awaitPending()
	resp, err := w.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name, ValidateOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if c := resp.GetChanges(); len(c) != 1 || !slices.Equal(c[0].GetFields(), []string{"spec.parts[name=b].count"}) {
		t.Errorf("%v, want the count of b alone", c)
	}
}

func TestASyncOfAPartLeavesTheRestAndARestartKnowsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	e.manual = true
	one := strings.Replace(configMap("one", "v1"), "name: one", "name: one, labels: {towpath.dev/workload: api}", 1)
	e.want(one + configMap("two", "v1") + configMap("three", "v1"))
	e.awaitPending()
	e.sync()
	e.want(strings.Replace(one, "LOG_LEVEL: v1", "LOG_LEVEL: v2", 1) + configMap("two", "v2") + configMap("four", "v2"))
	e.awaitPending()
	_, err := w.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name, Workloads: []string{"nobody"}})
	if errs.KindOf(err) != errs.Invalid || !strings.Contains(errs.Message(err), "there are api") {
		t.Errorf("an unknown workload: %v", err)
	}
	_, err = w.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name, Objects: []*driftv1.ObjectRef{{Kind: "ConfigMap", Name: "nothing"}}})
	if errs.KindOf(err) != errs.Invalid {
		t.Errorf("an unknown object: %v", err)
	}
	resp, err := w.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name, Workloads: []string{"api"}, Objects: []*driftv1.ObjectRef{{Kind: "ConfigMap", Name: "four"}}})
	if err != nil || len(resp.GetChanges()) != 2 || resp.GetStatus().GetSync() != driftv1.SyncState_SYNC_STATE_PENDING {
		t.Fatalf("a sync of a part: %v, %v", resp, err)
	}
	check := func() {
		t.Helper()
		got := devclustertest.Kubectl(t, "-n", e.ns, "get", "configmap", "one", "two", "three", "four", "-o", "jsonpath={.items[*].data.LOG_LEVEL}")
		if got != "v2 v1 v1 v2" {
			t.Errorf("LOG_LEVELs of one, two, three, four are %s, want v2 v1 v1 v2", got)
		}
	}
	check()
	e.staysClean("configmap/one", "configmap/two", "configmap/four")
	w.stop()
	w.start()
	eventually(t, func() string {
		if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_PENDING || len(st.GetObjects()) != 4 {
			return fmt.Sprintf("status is %v", st)
		}
		return ""
	})
	check()
	e.staysClean("configmap/one", "configmap/two", "configmap/four")
	e.sync()
	if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_SYNCED || len(st.GetObjects()) != 3 {
		t.Errorf("after a whole sync: %v", st)
	}
}

func TestAClosedWindowKeepsASyncWaitingAndAPersonMay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	now := time.Now().UTC()
	from, to := now.Add(-time.Hour), now.Add(time.Hour)
	e.policy = &driftv1.SyncPolicy{Windows: []*driftv1.SyncWindow{{Id: "night", Deny: true, Weekly: from.Format("Mon 15:04") + " - " + to.Format("Mon 15:04")}}}
	e.want(config)
	x := await(e, "deployment.waiting", func(x *eventsv1.DeploymentWaiting) bool { return true })
	if !strings.Contains(x.GetReason(), `sync window "night"; it goes on by itself at `+to.Format("2006-01-02 15:04 UTC")) {
		t.Errorf("told %v", x)
	}
	eventually(t, func() string {
		if st := e.status(); st.GetSync() != driftv1.SyncState_SYNC_STATE_PENDING || st.GetNextWindowTime().AsTime().Format("15:04") != to.Format("15:04") {
			return fmt.Sprintf("status is %v", st)
		}
		return ""
	})
	e.sync()
	e.awaitSynced()
	e.policy.Windows[0].ManualDenied = true
	e.want(config + configMap("second", "x"))
	await(e, "deployment.waiting", func(x *eventsv1.DeploymentWaiting) bool { return x.GetDeployment() == e.deployment() })
	if _, err := w.svc.SyncEnvironment(t.Context(), &driftv1.SyncEnvironmentRequest{Name: e.name}); errs.ReasonOf(err) != errorsv1.Reason_REASON_SYNC_WINDOW || errs.KindOf(err) != errs.Precondition {
		t.Errorf("a person's sync: %v", err)
	}
	// Drift is told all the same.
	devclustertest.Kubectl(t, "-n", e.ns, "label", "configmap", "web-config", "team=blue")
	e.awaitOne()
}

func TestRefusedAttemptsEndWhenThePolicySaysSo(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.policy = &driftv1.SyncPolicy{Retry: &driftv1.SyncRetry{Limit: 2, Backoff: durationpb.New(time.Second)}}
	e.want("apiVersion: example.com/v1\nkind: Gizmo\nmetadata: {name: g}\n")
	await(e, "deployment.failed", func(*eventsv1.DeploymentFailed) bool { return true })
	first := e.git.asked.Load()
	// After 1 s and 2 s there is a further attempt each, and then none.
	eventually(t, func() string {
		if n := e.git.asked.Load(); n != first+2 {
			return fmt.Sprintf("%d attempts", n)
		}
		return ""
	})
	time.Sleep(5 * time.Second) // a third pause would be 4 s
	if n := e.git.asked.Load(); n != first+2 {
		t.Errorf("%d attempts, want %d and no more", n, first+2)
	}
}

func TestKindsOutsideOfNamespacesNeedThePolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.newEnv(t)
	other := devclustertest.Namespace(t)
	e.policy = &driftv1.SyncPolicy{ClusterKinds: []string{"ClusterRole.rbac.authorization.k8s.io", "CustomResourceDefinition.apiextensions.k8s.io"}, Namespaces: []string{other}}
	name := "towpath-test-" + e.ns
	plural := "gadgets" + strings.ReplaceAll(e.ns, "-", "")
	t.Cleanup(func() {
		devclustertest.Kubectl(t, "delete", "crd", plural+".example.com", "--ignore-not-found")
	})
	role := "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: " + name + "}\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n"
	crd := fmt.Sprintf(`---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: %[1]s, singular: %[1]s, kind: G%[1]s}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
---
apiVersion: example.com/v1
kind: G%[1]s
metadata: {name: one}
spec: {size: 3}
`, plural)
	far := "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: far, namespace: " + other + "}\ndata: {a: b}\n"
	// A kind and an object of it come in one deployment.
	e.deploy(config + role + crd + far)
	// They are watched over like others.
	devclustertest.Kubectl(t, "label", "clusterrole", name, "team=blue")
	if f := e.awaitOne(); f.GetObjectKind() != "ClusterRole" || f.GetNamespace() != "" {
		t.Errorf("found %v", f)
	}
	devclustertest.Kubectl(t, "label", "clusterrole", name, "team-")
	e.awaitCount(0)
	devclustertest.Kubectl(t, "-n", other, "label", "configmap", "far", "team=blue")
	if f := e.awaitOne(); f.GetNamespace() != other {
		t.Errorf("found %v", f)
	}
	e.revert()
	// Somebody else's environment may not have the same one.
	thief := w.newEnv(t)
	thief.policy = e.policy
	thief.want(role)
	await(thief, "deployment.failed", func(f *eventsv1.DeploymentFailed) bool {
		return f.GetReason() == "OBJECT_NOT_ALLOWED" && strings.Contains(f.GetMessage(), "declared by "+e.name)
	})
	e.deploy(config + crd + far)
	if got := devclustertest.Kubectl(t, "get", "clusterrole", "-o", "name"); strings.Contains(got, name) {
		t.Error("the ClusterRole that is no longer declared is still there")
	}
	e.want("apiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n")
	await(e, "deployment.failed", func(f *eventsv1.DeploymentFailed) bool {
		return strings.Contains(f.GetMessage(), "sync_policy.cluster_kinds of the environment type does not have Namespace")
	})
}
