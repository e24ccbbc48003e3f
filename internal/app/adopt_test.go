package app_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
	"github.com/towpath-dev/towpath/internal/app/apptest"
	"github.com/towpath-dev/towpath/internal/devclustertest"
	"github.com/towpath-dev/towpath/internal/failpoint"
	"github.com/towpath-dev/towpath/internal/git/gittest"
)

// adopter is a namespace with a shop in it that somebody else applied.
type adopter struct {
	*apptest.Client
	t       *testing.T
	cluster *devclustertest.Cluster
	ns, env string
	before  string
}

// newAdopter applies the shop with kubectl, with these flags.
func newAdopter(t *testing.T, c *apptest.Client, cluster *devclustertest.Cluster, flags ...string) *adopter {
	t.Helper()
	a := &adopter{Client: c, t: t, cluster: cluster, ns: devclustertest.Namespace(t)}
	a.env = "applications/shop-" + a.ns[len(a.ns)-8:] + "/environments/prod"
	a.kubectl(append([]string{"apply", "-f", "testdata/adopt/shop.yaml"}, flags...)...)
	a.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	a.before = a.identity()
	return a
}

func (a *adopter) kubectl(args ...string) string {
	a.t.Helper()
	return a.cluster.Kubectl(a.t, append([]string{"-n", a.ns}, args...)...)
}

// identity is what shows that nothing was made anew: uids, generations, and the pods.
func (a *adopter) identity() string {
	a.t.Helper()
	return a.kubectl("get", "deployments,services,configmaps,secrets,pods", "--field-selector=metadata.name!=towpath-inventory",
		"-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid} {.metadata.generation}{"\n"}{end}`)
}

func (a *adopter) plan(src *catalogv1.AdoptionSource) *catalogv1.AdoptionPlan {
	a.t.Helper()
	return apptest.Call(a.t, a.Adoption.PlanAdoption, &catalogv1.PlanAdoptionRequest{
		Environment: a.env, Source: src, Type: "environmentTypes/development", Namespace: a.ns,
	})
}

// adopt adopts by a plan without problems and waits until the environment is healthy.
func (a *adopter) adopt(src *catalogv1.AdoptionSource) *catalogv1.Deployment {
	a.t.Helper()
	p := a.plan(src)
	if len(p.GetProblems()) > 0 {
		a.t.Fatalf("problems: %v", p.GetProblems())
	}
	d := apptest.Call(a.t, a.Adoption.Adopt, &catalogv1.AdoptRequest{
		Environment: a.env, Source: src, Type: "environmentTypes/development", Namespace: a.ns, Plan: p.GetPlan(),
	})
	return a.WaitState(a.t, d.GetName(), apptest.Healthy)
}

// managers gives who owns fields of an object, without what controllers write.
func (a *adopter) managers(object string) []string {
	a.t.Helper()
	var o struct {
		Metadata struct {
			ManagedFields []struct {
				Manager, Operation, Subresource string
				FieldsV1                        json.RawMessage
			}
		}
	}
	if err := json.Unmarshal([]byte(a.kubectl("get", object, "--show-managed-fields", "-o", "json")), &o); err != nil {
		a.t.Fatal(err)
	}
	var out []string
	for _, m := range o.Metadata.ManagedFields {
		// kubectl's own copy of what it applied stays its own: nothing reads it but kubectl.
		own := strings.Contains(string(m.FieldsV1), "f:kubectl.kubernetes.io/last-applied-configuration") && !strings.Contains(string(m.FieldsV1), "f:spec")
		if m.Manager != "kube-controller-manager" && m.Subresource == "" && !own {
			out = append(out, m.Manager+" "+m.Operation)
		}
	}
	slices.Sort(out)
	return out
}

// settled checks what holds after every adoption.
func (a *adopter) settled() { a.t.Helper(); a.settledBut(0) }

// settledBut allows so many objects another generation, none another uid.
func (a *adopter) settledBut(generations int) {
	a.t.Helper()
	before, after := strings.Split(a.before, "\n"), strings.Split(a.identity(), "\n")
	uid := func(line string) string { return line[:max(0, strings.LastIndexByte(line, ' '))] }
	same := len(before) == len(after)
	for i := 0; same && i < len(before); i++ {
		if before[i] != after[i] && generations > 0 && strings.HasPrefix(before[i], "Deployment/") {
			generations--
			same = uid(before[i]) == uid(after[i])
			continue
		}
		same = before[i] == after[i]
	}
	if !same {
		a.t.Errorf("was\n%s\nis\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	findings := apptest.Call(a.t, a.Drift.ListFindings, &driftv1.ListFindingsRequest{Parent: a.env}).GetFindings()
	if len(findings) > 0 {
		a.t.Errorf("findings: %v", findings)
	}
	e := apptest.Call(a.t, a.Catalog.GetEnvironment, &catalogv1.GetEnvironmentRequest{Name: a.env})
	if !e.GetPruneHeld() || e.GetOrigin().GetKind() != catalogv1.Origin_KIND_ADOPTION {
		a.t.Errorf("environment is %v", e)
	}
	if found := gittest.Git(a.t, a.Clone(a.t), "log", "--format=%H", "-S", "hunter2"); found != "" {
		a.t.Errorf("the secret is in Git: %s", found)
	}
}

func plannedObject(t *testing.T, p *catalogv1.AdoptionPlan, kind, name string) *catalogv1.AdoptedObject {
	t.Helper()
	for _, o := range p.GetObjects() {
		if o.GetObject().GetKind() == kind && o.GetObject().GetName() == name {
			return o
		}
	}
	t.Fatalf("no %s %s in %v", kind, name, p.GetObjects())
	return nil
}

var namespaceSource = &catalogv1.AdoptionSource{Source: &catalogv1.AdoptionSource_Namespace{Namespace: &catalogv1.NamespaceSource{}}}

func TestAdoptingANamespaceChangesNothingButWhoOwnsItsObjects(t *testing.T) {
	t.Parallel()
	cluster := devclustertest.Shared(t)
	s := apptest.Start(t, apptest.WithCluster(cluster))
	a := newAdopter(t, s.Client, cluster)
	p := a.plan(namespaceSource)
	for _, o := range p.GetObjects() {
		if len(o.GetDifferences()) > 0 {
			t.Errorf("%s would change: %v", o.GetObject(), o.GetDifferences())
		}
	}
	if o := plannedObject(t, p, "Secret", "web-secret"); !strings.Contains(o.GetLeftOut(), "secret strategy") {
		t.Errorf("the Secret is %v", o)
	}
	a.adopt(namespaceSource)
	a.settled()
	if got := a.managers("deployment/web"); !slices.Equal(got, []string{"towpath Apply"}) {
		t.Errorf("managers are %v", got)
	}
	// What is taken out of Git from now on goes from the cluster, too; and not before that is confirmed.
	_, err := a.Adoption.Adopt(t.Context(), &catalogv1.AdoptRequest{Environment: a.env, Source: namespaceSource})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "already") {
		t.Errorf("adopting twice: %v", err)
	}
	if _, err := a.Catalog.DeleteEnvironment(t.Context(), &catalogv1.DeleteEnvironmentRequest{Name: a.env}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("deleting before it is confirmed: %v", err)
	}
	other := strings.Replace(a.env, "/prod", "/other", 1)
	taken := apptest.Call(t, a.Adoption.PlanAdoption, &catalogv1.PlanAdoptionRequest{
		Environment: other, Source: namespaceSource, Type: "environmentTypes/development", Namespace: a.ns,
	})
	if !strings.Contains(strings.Join(taken.GetProblems(), " "), "belongs to "+a.env) {
		t.Errorf("a namespace that another environment has: %v", taken.GetProblems())
	}
	for range 2 {
		apptest.Call(t, a.Adoption.ConfirmAdoption, &catalogv1.ConfirmAdoptionRequest{Environment: a.env})
	}
	if e := apptest.Call(t, a.Catalog.GetEnvironment, &catalogv1.GetEnvironmentRequest{Name: a.env}); e.GetPruneHeld() {
		t.Error("removals are still held")
	}
	a.shrink()
}

// shrink takes a variable and a whole object out of what was adopted; both go from the cluster, because Towpath owns them alone.
func (a *adopter) shrink() {
	a.t.Helper()
	d := a.Deploy(a.t, a.env, "shrink", &catalogv1.Change{
		OverlayOperations: []*rendererv1.Operation{{
			Action: rendererv1.Operation_ACTION_REMOVE, Path: "/objects/apps~1v1/Deployment/web/spec/template/spec/containers/name=main/env/name=MODE",
		}},
		OverlayDrops: []string{"/objects/v1/ConfigMap/web-config"},
	})
	a.WaitState(a.t, d.GetName(), apptest.Healthy)
	if got := a.kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}"); got != "" {
		a.t.Errorf("variables are %s", got)
	}
	apptest.Await(a.t, "the ConfigMap goes", func() bool {
		return a.kubectl("get", "configmap", "web-config", "--ignore-not-found", "-o", "name") == ""
	})
	if got := a.kubectl("get", "secret", "web-secret", "-o", "name"); got == "" {
		a.t.Error("what was left out is gone")
	}
}

// Wherever the process ends, adopting comes to the same end, and nothing is made anew.
func TestAnAdoptionSurvivesACrashAtAnyBoundary(t *testing.T) {
	t.Parallel()
	cluster := devclustertest.Shared(t)
	p := apptest.NewProcess(t, apptest.WithCluster(cluster))
	for _, boundary := range failpoint.Names() {
		p.StartOrDie(t, boundary+"@1")
		a := newAdopter(t, p.Client, cluster)
		for p.Alive() {
			_, err := p.Adoption.Adopt(t.Context(), &catalogv1.AdoptRequest{Environment: a.env, Source: namespaceSource, Type: "environmentTypes/development", Namespace: a.ns})
			if p.Alive() && status.Code(err) == codes.FailedPrecondition { // it is adopted; the boundary comes with another deployment
				_, _ = p.Catalog.CreateDeployment(t.Context(), &catalogv1.CreateDeploymentRequest{Parent: a.env, Change: &catalogv1.Change{Variables: map[string]string{"A": fmt.Sprint(time.Now().UnixNano())}}})
			}
			time.Sleep(20 * time.Millisecond)
		}
		p.Kill(t)
		p.Start(t)
		a.Client = p.Client
		d := apptest.Call(t, p.Catalog.GetEnvironment, &catalogv1.GetEnvironmentRequest{Name: a.env}).GetLatestDeployment()
		p.WaitState(t, d, apptest.Healthy)
		t.Log(boundary)
		a.settled()
		p.Kill(t)
	}
}

func TestAPlanOfAnAdoptionNamesWhatItWasMadeOf(t *testing.T) {
	t.Parallel()
	cluster := devclustertest.Shared(t)
	s := apptest.Start(t, apptest.WithCluster(cluster))
	a := newAdopter(t, s.Client, cluster)
	p := a.plan(namespaceSource)
	if again := a.plan(namespaceSource); again.GetPlan() != p.GetPlan() {
		t.Error("the same plan has another name")
	}
	a.kubectl("set", "env", "deployment/web", "MODE=other")
	_, err := a.Adoption.Adopt(t.Context(), &catalogv1.AdoptRequest{
		Environment: a.env, Source: namespaceSource, Type: "environmentTypes/development", Namespace: a.ns, Plan: p.GetPlan(),
	})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "plan again") {
		t.Errorf("adopting by an old plan: %v", err)
	}
}

func TestAdoptingAnApplicationPausesArgoCDFirst(t *testing.T) {
	t.Parallel()
	cluster := devclustertest.Shared(t)
	installEngines(t, cluster)
	s := apptest.Start(t, apptest.WithCluster(cluster))
	a := newAdopter(t, s.Client, cluster, "--server-side", "--field-manager=argocd-controller")
	for _, o := range []string{"deployment/web", "service/web", "configmap/web-config"} {
		a.kubectl("annotate", o, "argocd.argoproj.io/tracking-id=shop:"+o, "--field-manager=argocd-controller")
	}
	a.before = a.identity()
	a.apply(fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop, namespace: %[1]s, finalizers: [resources-finalizer.argocd.argoproj.io, example.com/other]}
spec:
  source: {repoURL: "https://example.com/deployments.git", targetRevision: main, path: shop}
  syncPolicy: {automated: {prune: true}, syncOptions: [CreateNamespace=true]}
status:
  sync: {revision: abc}
  resources:
  - {version: v1, kind: ConfigMap, namespace: %[1]s, name: web-config}
  - {version: v1, kind: Service, namespace: %[1]s, name: web}
  - {group: apps, version: v1, kind: Deployment, namespace: %[1]s, name: web}
  - {version: v1, kind: Namespace, name: %[1]s}
`, a.ns))
	src := &catalogv1.AdoptionSource{Source: &catalogv1.AdoptionSource_ArgocdApplication{ArgocdApplication: a.ns + "/shop"}}
	p := a.plan(src)
	if p.GetOwner() != "Application "+a.ns+"/shop" || !strings.Contains(p.GetHandover(), "automatic sync") {
		t.Errorf("owner %q, handover %q", p.GetOwner(), p.GetHandover())
	}
	if o := plannedObject(t, p, "Deployment", "web"); len(o.GetDifferences()) != 1 || !strings.Contains(o.GetDifferences()[0], "tracking-id") || o.GetExplanation() == "" || o.GetRestarts() {
		t.Errorf("planned %v", o)
	}
	if o := plannedObject(t, p, "Namespace", a.ns); !strings.Contains(o.GetLeftOut(), "whole cluster") {
		t.Errorf("planned %v", o)
	}
	a.adopt(src)
	// The API server counts annotations of a Deployment as a change of it; its pods are the same.
	a.settledBut(1)
	var app struct {
		Metadata struct{ Finalizers []string }
		Spec     struct{ SyncPolicy map[string]any }
	}
	if err := json.Unmarshal([]byte(a.kubectl("get", "applications.argoproj.io", "shop", "-o", "json")), &app); err != nil {
		t.Fatal(err)
	}
	if app.Spec.SyncPolicy["automated"] != nil || app.Spec.SyncPolicy["syncOptions"] == nil || !slices.Equal(app.Metadata.Finalizers, []string{"example.com/other"}) {
		t.Errorf("the Application is %+v", app)
	}
	if got := a.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.annotations}"); strings.Contains(got, "tracking-id") || !strings.Contains(got, "blue") {
		t.Errorf("annotations are %s", got)
	}
	if got := a.managers("deployment/web"); !slices.Equal(got, []string{"towpath Apply"}) {
		t.Errorf("managers are %v", got)
	}
	// The finalizer of others would keep the test's namespace.
	a.kubectl("patch", "applications.argoproj.io", "shop", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
}

func TestAdoptingAKustomizationSuspendsItFirst(t *testing.T) {
	t.Parallel()
	cluster := devclustertest.Shared(t)
	installEngines(t, cluster)
	s := apptest.Start(t, apptest.WithCluster(cluster))
	a := newAdopter(t, s.Client, cluster, "--server-side", "--field-manager=kustomize-controller")
	for _, o := range []string{"deployment/web", "service/web", "configmap/web-config"} {
		a.kubectl("label", o, "kustomize.toolkit.fluxcd.io/name=shop", "kustomize.toolkit.fluxcd.io/namespace="+a.ns, "--field-manager=kustomize-controller")
	}
	a.before = a.identity()
	a.apply(fmt.Sprintf(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: deployments, namespace: %[1]s}
spec: {url: "https://example.com/deployments.git", ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: %[1]s}
spec: {path: ./shop, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: deployments}}
status:
  lastAppliedRevision: main@sha1:abc
  inventory:
    entries:
    - {id: %[1]s_web-config__ConfigMap, v: v1}
    - {id: %[1]s_web__Service, v: v1}
    - {id: %[1]s_web_apps_Deployment, v: v1}
`, a.ns))
	src := &catalogv1.AdoptionSource{Source: &catalogv1.AdoptionSource_FluxKustomization{FluxKustomization: a.ns + "/shop"}}
	if o := plannedObject(t, a.plan(src), "Deployment", "web"); len(o.GetDifferences()) != 2 || o.GetExplanation() == "" {
		t.Errorf("planned %v", o)
	}
	a.adopt(src)
	a.settled()
	if got := a.kubectl("get", "kustomizations.kustomize.toolkit.fluxcd.io", "shop", "-o", "jsonpath={.spec.suspend} {.spec.prune}"); got != "true false" {
		t.Errorf("suspend and prune are %s", got)
	}
	if got := a.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.labels}"); strings.Contains(got, "fluxcd") {
		t.Errorf("labels are %s", got)
	}
}

func TestAdoptingAFolderStandsInItAndRefusesWhatWouldRestartPods(t *testing.T) {
	t.Parallel()
	cluster := devclustertest.Shared(t)
	s := apptest.Start(t, apptest.WithCluster(cluster))
	a := newAdopter(t, s.Client, cluster)
	shop, err := os.ReadFile("testdata/adopt/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// The repository is made by the first deployment to it.
	s.WaitState(t, s.DeployScore(t, s.NewEnvironment(t, "first/dev"), apptest.Score("web", nil)).GetName(), apptest.Healthy)
	folder := "apps/" + a.ns
	push := func(content string) {
		t.Helper()
		git := a.Clone(t)
		if err := os.MkdirAll(filepath.Join(git, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(git, folder, "shop.yaml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		gittest.Git(t, git, "add", "-A")
		gittest.Git(t, git, "commit", "-q", "-m", "by hand")
		gittest.Git(t, git, "push", "-q")
	}
	withoutSecret := strings.Replace(string(shop), "stringData: {password: hunter2-planted-value}", "type: Opaque", 1)
	push(strings.Replace(withoutSecret, "example.com/web:1", "example.com/web:2", 1))
	src := &catalogv1.AdoptionSource{Source: &catalogv1.AdoptionSource_Folder{Folder: &catalogv1.FolderSource{Repository: "repositories/default", Path: folder}}}
	p := a.plan(src)
	o := plannedObject(t, p, "Deployment", "web")
	if !o.GetRestarts() || len(o.GetDifferences()) != 1 || !strings.Contains(o.GetDifferences()[0], "image") || len(p.GetProblems()) != 1 {
		t.Errorf("planned %v, problems %v", o, p.GetProblems())
	}
	if _, err := a.Adoption.Adopt(t.Context(), &catalogv1.AdoptRequest{Environment: a.env, Source: src, Type: "environmentTypes/development", Namespace: a.ns}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("adopting what restarts pods: %v", err)
	}
	push(withoutSecret)
	for _, o := range a.plan(src).GetObjects() {
		if len(o.GetDifferences()) > 0 {
			t.Errorf("%s would change: %v", o.GetObject(), o.GetDifferences())
		}
	}
	d := a.adopt(src)
	a.settled()
	if d.GetPath() != folder {
		t.Errorf("it stands in %s, want %s", d.GetPath(), folder)
	}
}

// apply applies manifests as somebody who is nobody's engine.
func (a *adopter) apply(manifests string) {
	a.t.Helper()
	file := filepath.Join(a.t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		a.t.Fatal(err)
	}
	a.kubectl("apply", "--server-side", "-f", file)
}

func installEngines(t *testing.T, cluster *devclustertest.Cluster) {
	t.Helper()
	cluster.Kubectl(t, "apply", "--server-side", "-f", "testdata/adopt/crds.yaml")
	for _, crd := range []string{"applications.argoproj.io", "kustomizations.kustomize.toolkit.fluxcd.io", "gitrepositories.source.toolkit.fluxcd.io"} {
		cluster.Kubectl(t, "wait", "--for=condition=Established", "--timeout=30s", "crd/"+crd)
	}
}
