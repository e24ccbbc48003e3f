package drift_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	driftv1 "github.com/towpath-dev/towpath/gen/towpath/drift/v1"
	"github.com/towpath-dev/towpath/internal/devclustertest"
)

// definition is a custom resource definition whose spec has the given schema.
func definition(group, version, plural, kind, spec string) string {
	return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: %[3]s.%[1]s
  annotations: {api-approved.kubernetes.io: "unapproved, for tests only"}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: %[3]s, singular: %[4]s, kind: %[5]s}
  versions:
  - name: %[2]s
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: %[6]s}}}
`, group, version, plural, strings.ToLower(kind), kind, spec)
}

const anySpec = "{type: object, x-kubernetes-preserve-unknown-fields: true}"

// install applies a definition and waits until the API server serves it.
func install(t *testing.T, crd, name string) {
	t.Helper()
	applyFile(t, "default", crd)
	devclustertest.Kubectl(t, "wait", "--for=condition=Established", "--timeout=30s", "crd/"+name)
}

func (e *env) scale(manager string, n int32) {
	e.t.Helper()
	c := client(e.t)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error { // its controller writes the status meanwhile
		s, err := c.AppsV1().Deployments(e.ns).GetScale(e.t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		s.Spec.Replicas = n
		_, err = c.AppsV1().Deployments(e.ns).UpdateScale(e.t.Context(), "web", s, metav1.UpdateOptions{FieldManager: manager})
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

func TestAScaledObjectEntitlesToItsRangeAndItsRemovalIsFound(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web) // KEDA may be installed afterwards
	install(t, definition("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject", anySpec), "scaledobjects.keda.sh")
	object := "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: web}\nspec: {scaleTargetRef: {name: web}, maxReplicaCount: 3}\n"
	applyFile(t, e.ns, object)
	e.scale("keda", 2)
	e.awaitCount(0)
	e.staysClean("deployment/web")
	eventually(t, func() string { // what others do by right is not told, but it is not hidden either
		resp, err := e.svc.ListFindings(t.Context(), &driftv1.ListFindingsRequest{Parent: e.name, Standings: []driftv1.Finding_Standing{driftv1.Finding_STANDING_DELEGATED}})
		if err != nil {
			return err.Error()
		}
		for _, f := range resp.GetFindings() {
			if f.GetField() == "spec.replicas" && f.GetManager() == "keda" && f.GetRule() != "" && f.GetStanding() == driftv1.Finding_STANDING_DELEGATED {
				return ""
			}
		}
		return fmt.Sprintf("delegated are %v", resp.GetFindings())
	})
	e.scale("keda", 4) // beyond its range
	if f := e.awaitOne(); f.GetField() != "spec.replicas" || f.GetManager() != "keda" {
		t.Errorf("found %v", f)
	}
	e.scale("keda", 0) // after which the API server forgets who scales
	e.awaitCount(0)
	e.scale("keda", 2)
	e.staysClean("deployment/web")
	devclustertest.Kubectl(t, "-n", e.ns, "delete", "scaledobject", "web")
	if f := e.awaitOne(); f.GetField() != "spec.replicas" {
		t.Errorf("without the ScaledObject: found %v", f)
	}
	applyFile(t, e.ns, object)
	e.awaitCount(0)
}

func TestAVerticalAutoscalerEntitlesItsOwnProgramsWithinItsRange(t *testing.T) {
	t.Parallel()
	install(t, definition("autoscaling.k8s.io", "v1", "verticalpodautoscalers", "VerticalPodAutoscaler", anySpec), "verticalpodautoscalers.autoscaling.k8s.io")
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web)
	vpa := func(mode string) {
		applyFile(t, e.ns, "apiVersion: autoscaling.k8s.io/v1\nkind: VerticalPodAutoscaler\nmetadata: {name: web}\nspec: {targetRef: {kind: Deployment, name: web}, "+
			"updatePolicy: {updateMode: "+mode+"}, resourcePolicy: {containerPolicies: [{containerName: main, maxAllowed: {cpu: 500m}}]}}\n")
	}
	ask := func(manager, cpu string) {
		t.Helper()
		patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":%q}}}]}}}}`, cpu)
		if _, err := client(t).AppsV1().Deployments(e.ns).Patch(t.Context(), "web", types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: manager}); err != nil {
			t.Fatal(err)
		}
	}
	const field = "spec.template.spec.containers[name=main].resources"
	ask("vpa-updater", "300m")
	if f := e.awaitOne(); f.GetField() != field || f.GetManager() != "vpa-updater" {
		t.Errorf("without evidence: found %v", f)
	}
	vpa("Auto")
	e.awaitCount(0)
	ask("vpa-updater", "600m")
	e.awaitCount(1)
	ask("vpa-updater", "0.4")
	e.awaitCount(0)
	ask("rogue-operator", "450m")
	if f := e.awaitOne(); f.GetManager() != "rogue-operator" {
		t.Errorf("by somebody else: found %v", f)
	}
	ask("vpa-updater", "200m")
	e.awaitCount(0)
	vpa("\"Off\"")
	e.awaitCount(1)
}

func TestACustomResourceIsComparedByTheSchemaThatItsDefinitionHasNow(t *testing.T) {
	t.Parallel()
	const spec = "{type: object, properties: {size: {x-kubernetes-int-or-string: true}, %s parts: {type: array, %s items: {type: object, required: [name], properties: {name: {type: string}, count: {type: integer}}}}}}"
	crd := func(extra, list string) string {
		return definition("compare.example.com", "v1", "widgets", "Widget", fmt.Sprintf(spec, extra, list))
	}
	install(t, crd("", ""), "widgets.compare.example.com")
	w := newWorld(t, nil)
	e := w.newEnv(t)
	e.deploy("apiVersion: compare.example.com/v1\nkind: Widget\nmetadata: {name: web}\nspec: {size: 1000m, parts: [{name: a, count: 1}, {name: b, count: 2}]}\n")
	patch := func(p string) {
		t.Helper()
		devclustertest.Kubectl(t, "-n", e.ns, "patch", "widget", "web", "--type=json", "-p", p)
	}
	patch(`[{"op":"replace","path":"/spec/size","value":1}]`) // the same quantity
	e.staysClean("widget/web")
	const more = `[{"op":"add","path":"/spec/parts/0","value":{"name":"c","count":3}}]`
	patch(more)
	if f := e.awaitOne(); f.GetField() != "spec.parts" || f.GetKind() != changed {
		t.Errorf("a list without keys: found %v", f)
	}
	e.revert()
	e.awaitCount(0)

	// The list gets keys, and a field with a default comes: the default is the server's, and items align by their keys.
	install(t, crd("color: {type: string, default: red},", "x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name],"), "widgets.compare.example.com")
	edits := 0
	eventually(t, func() string { // the API server and we need a moment to see the new schema
		edits++
		patch(fmt.Sprintf(`[{"op":"add","path":"/metadata/labels","value":{"edit":"n%d"}}]`, edits))
		live := devclustertest.Kubectl(t, "-n", e.ns, "get", "widget", "web", "-o", "jsonpath={.spec.color}")
		if live != "red" {
			return "no default yet"
		}
		return ""
	})
	if f := e.awaitOne(); f.GetField() != "metadata.labels[edit]" {
		t.Errorf("found %v, want only the label", f)
	}
	e.revert()
	patch(`[{"op":"add","path":"/spec/parts/0","value":{"name":"c","count":3}},{"op":"replace","path":"/spec/parts/2/count","value":7}]`)
	eventually(t, func() string {
		got := map[string]string{}
		for _, f := range e.findings() {
			got[f.GetField()] = f.GetManager()
		}
		if len(got) != 2 || got["spec.parts[name=c]"] != "kubectl-patch" || got["spec.parts[name=b].count"] != "kubectl-patch" {
			return fmt.Sprintf("found %v", got)
		}
		return ""
	})
	e.revert()
	e.awaitCount(0)
	w.stop()
	w.start()
	e.awaitSyncedStatus()
	e.staysClean("widget/web")
}

func TestAnObjectBeingDeletedIsOneFindingThatEndsAsMissing(t *testing.T) {
	t.Parallel()
	e := newWorld(t, nil).newEnv(t)
	e.deploy(web + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.com/hold]}\ndata: {a: b}\n")
	asAlice(t, "-n", e.ns, "delete", "configmap", "held", "--wait=false")
	f := e.awaitOne()
	if f.GetKind().String() != "KIND_TERMINATING" || f.GetObjectName() != "held" || f.GetField() != "" || !strings.Contains(f.GetAttribution(), "example.com/hold") {
		t.Errorf("found %v", f)
	}
	devclustertest.Kubectl(t, "-n", e.ns, "patch", "configmap", "held", "--type=json", "-p", `[{"op":"remove","path":"/metadata/finalizers"}]`)
	eventually(t, func() string {
		if fs := e.findings(); len(fs) != 1 || fs[0].GetKind() != missing || fs[0].GetName() != f.GetName() {
			return fmt.Sprint(fs)
		}
		return ""
	})
	e.revert()
	e.awaitCount(0)
}
