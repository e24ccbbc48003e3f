package render_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/services/renderer/render"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// escape is an input with one resource whose definition does what a case says.
func escape(t *testing.T, driver rendererv1.ResourceDefinition_Driver, inputs map[string]any) *rendererv1.RenderInput {
	t.Helper()
	given, err := structpb.NewStruct(inputs)
	if err != nil {
		t.Fatal(err)
	}
	workload, err := structpb.NewStruct(map[string]any{
		"apiVersion": "score.dev/v1b1", "metadata": map[string]any{"name": "api"},
		"containers": map[string]any{"main": map[string]any{"image": "nginx:1"}},
		"resources":  map[string]any{"it": map[string]any{"type": "thing"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &rendererv1.RenderInput{
		Application: "shop", Environment: "dev", Namespace: "shop-dev", Workloads: map[string]*structpb.Struct{"api": workload},
		Definitions: []*rendererv1.ResourceDefinition{{Name: "resourceDefinitions/thing/versions/1", Type: "thing", Driver: driver, Inputs: given}},
	}
}

func template(t *testing.T, manifest string, allowed ...string) *rendererv1.RenderInput {
	t.Helper()
	in := escape(t, rendererv1.ResourceDefinition_DRIVER_TEMPLATE, map[string]any{"manifests": "- " + strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(manifest), "\n", "\n  "), "\n  - ", "\n- ") + "\n"})
	in.Defaults = &rendererv1.EnvironmentDefaults{AllowedKinds: allowed}
	return in
}

func claim(t *testing.T, manifest string) *rendererv1.RenderInput {
	t.Helper()
	in := escape(t, rendererv1.ResourceDefinition_DRIVER_CLAIM, map[string]any{"manifest": manifest, "outputs": map[string]any{"host": "status.host"}})
	return in
}

func overlay(t *testing.T, path string, value any) *rendererv1.RenderInput {
	t.Helper()
	in := template(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: fine}}`)
	v, err := structpb.NewValue(value)
	if err != nil {
		t.Fatal(err)
	}
	in.Overlay = []*rendererv1.Operation{{Action: rendererv1.Operation_ACTION_SET, Path: path, Value: v}}
	return in
}

// Whoever makes an object, it stays in the environment's namespace, is of an allowed kind, and cannot take hold of others.
func TestNoDriverLeavesTheNamespace(t *testing.T) {
	const config = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c"
	for name, c := range map[string]struct {
		input *rendererv1.RenderInput
		want  string
	}{
		"template: a foreign namespace":     {template(t, config+", namespace: kube-system}}"), "outside of the namespace shop-dev"},
		"template: an empty namespace":      {template(t, config+`, namespace: ""}}`), "outside of the namespace shop-dev"},
		"template: a namespace":             {template(t, "{apiVersion: v1, kind: Namespace, metadata: {name: nn}}"), "outside of the namespace"},
		"template: a cluster role":          {template(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: nn}, rules: []}"), "belongs to the whole cluster"},
		"template: an allowed cluster kind": {template(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: nn}}", "*"), "belongs to the whole cluster"},
		"template: an old cluster role":     {template(t, "{apiVersion: rbac.authorization.k8s.io/v1beta1, kind: ClusterRole, metadata: {name: nn}}"), "belongs to the whole cluster"},
		"template: a definition of kinds":   {template(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: nn}}"), "belongs to the whole cluster"},
		"template: a webhook":               {template(t, "{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: nn}}"), "belongs to the whole cluster"},
		"template: a volume of the cluster": {template(t, "{apiVersion: v1, kind: PersistentVolume, metadata: {name: nn}}"), "belongs to the whole cluster"},
		"template: a role":                  {template(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: nn}, rules: []}"), "the environment type does not allow"},
		"template: a quota":                 {template(t, "{apiVersion: v1, kind: ResourceQuota, metadata: {name: nn}}"), "the environment type does not allow"},
		"template: a kind not named":        {template(t, config+"}}", "Deployment.apps", "Service"), "it allows Deployment.apps, Service"},
		"template: the workload's own kind": {template(t, config+"}}", "ConfigMap"), `workload api makes the Deployment "api", which the environment type does not allow`},
		"template: inside a List":           {template(t, "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Namespace, metadata: {name: nn}}]}"), "outside of the namespace"},
		"template: a List in a List":        {template(t, "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List, items: []}]}"), "items[0] is no object"},
		"template: an empty List":           {template(t, "{apiVersion: v1, kind: List, items: []}"), "with 0 items"},
		"template: a ConfigMapList":         {template(t, "{apiVersion: v1, kind: ConfigMapList, items: [{}]}"), "give its objects one by one"},
		"template: owners":                  {template(t, config+", ownerReferences: [{apiVersion: v1, kind: Pod, name: x, uid: y}]}}"), "metadata.ownerReferences: its owner would remove it"},
		"template: finalizers":              {template(t, config+", finalizers: [a.example.com/b]}}"), "metadata.finalizers: it could not be removed"},
		"template: a generated name":        {template(t, "{apiVersion: v1, kind: ConfigMap, metadata: {generateName: c-}}"), "metadata.generateName: give it a name"},
		"template: a uid":                   {template(t, config+", uid: x}}"), "metadata.uid: the API server writes it"},
		"template: a path for a name":       {template(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: ../../x}}"), "without apiVersion, kind or a valid name"},
		"template: a path for a kind":       {template(t, "{apiVersion: example.com/v1, kind: ../X, metadata: {name: x}}"), "is not valid"},
		"template: a path for a version":    {template(t, "{apiVersion: ../v1, kind: X, metadata: {name: x}}"), "is not valid"},
		"claim: a foreign namespace":        {claim(t, "{apiVersion: example.com/v1, kind: Thing, metadata: {name: x, namespace: kube-system}}"), "outside of the namespace shop-dev"},
		"claim: a cluster role":             {claim(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: x}}"), "belongs to the whole cluster"},
		"claim: owners":                     {claim(t, "{apiVersion: example.com/v1, kind: Thing, metadata: {name: x, ownerReferences: [{}]}}"), "metadata.ownerReferences"},
		"claim: a List":                     {claim(t, "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Node, metadata: {name: x}}]}"), "wrote no object with a name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render.Render(c.input)
			if !errs.Is(err, errs.Precondition) && !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want …%s…, got %v", c.want, err)
			}
		})
	}
}

// A static definition makes nothing, and an overlay changes the set's document, never an object: both can only try to be taken for
// more than they are.
func TestWhatMakesNoObjectsCannotEscape(t *testing.T) {
	static := escape(t, rendererv1.ResourceDefinition_DRIVER_STATIC, map[string]any{"outputs": "host: x\n", "manifests": "- {apiVersion: v1, kind: Namespace, metadata: {name: x}}"})
	if _, err := render.Render(static); err == nil || !strings.Contains(err.Error(), "manifests") {
		t.Errorf("a static definition with manifests: %v", err)
	}
	for name, in := range map[string]*rendererv1.RenderInput{
		"objects of its own":    overlay(t, "/objects/x", map[string]any{"apiVersion": "v1", "kind": "Namespace"}),
		"a workload's own kind": overlay(t, "/workloads/api/kind", "ClusterRole"),
		"a workload elsewhere":  overlay(t, "/workloads/api/metadata/namespace", map[string]any{"a": "b"}),
		"a name that is a path": overlay(t, "/workloads/..~1x", map[string]any{"apiVersion": "score.dev/v1b1", "metadata": map[string]any{"name": "../x"}, "containers": map[string]any{"m": map[string]any{"image": "x"}}}),
	} {
		resp, err := render.Render(in)
		if err == nil {
			for file, content := range resp.GetBundle().GetFiles() {
				if strings.Contains(file, "/") || !strings.Contains(string(content), "namespace: shop-dev\n") {
					t.Errorf("%s: %s\n%s", name, file, content)
				}
			}
			continue
		}
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKindsThatATypeNamesAreAllowed(t *testing.T) {
	role := "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: nn}, rules: []}"
	for name, in := range map[string]*rendererv1.RenderInput{
		"a named kind":      template(t, role, "Role.rbac.authorization.k8s.io", "Deployment.apps"),
		"a named group":     template(t, "{apiVersion: example.com/v1, kind: Thing, metadata: {name: nn}}", "*.example.com", "*.apps"),
		"everything":        template(t, role, "*"),
		"a custom kind":     template(t, "{apiVersion: example.com/v1, kind: Thing, metadata: {name: nn}}"),
		"objects of a List": template(t, "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}, {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}]}"),
		"empty metadata":    template(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, creationTimestamp: null, finalizers: []}}"),
	} {
		if _, err := render.Render(in); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for entry, want := range map[string]string{
		"Deployment": `"Deployment" is not a kind of Kubernetes' core group; did you mean Deployment.apps?`, "Nope": "write kinds of others with their group",
		"ClusterRole.rbac.authorization.k8s.io": "belongs to the whole cluster", "a b": "is not a kind: expected Deployment.apps",
	} {
		if _, err := render.Render(template(t, role, entry)); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "input.defaults.allowed_kinds[0]: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want …%s…, got %v", entry, want, err)
		}
	}
}

// All that Kubernetes would not take is told at once, with file, place and who made it.
func TestWhatKubernetesWouldNotTakeIsToldAtOnce(t *testing.T) {
	in := template(t, `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replica: 1
  serviceName: [db]
  template: {spec: {containers: [{name: db, image: x, ports: [{containerPort: "80"}]}, {name: db}]}}
- {apiVersion: extensions/v1beta1, kind: Ingress, metadata: {name: web}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: s}, binaryData: {a: "?"}}`)
	_, err := render.Render(in)
	var e *errs.Error
	if !errors.As(err, &e) || e.Kind != errs.Precondition || e.Reason != errorsv1.Reason_REASON_INVALID_OBJECT {
		t.Fatal(err)
	}
	for _, want := range []string{
		`statefulset-db.yaml spec.replica: is not a field that Kubernetes 1.36.3 has here; did you mean "replicas"? (made by the resource thing.default#api.it (resourceDefinitions/thing/versions/1))`,
		"statefulset-db.yaml spec.serviceName: is a list: expected text",
		"statefulset-db.yaml spec.selector: is missing: expected a map",
		"statefulset-db.yaml spec.template.spec.containers[name=db].ports[0].containerPort: is text: expected a whole number of 32 bits",
		"statefulset-db.yaml spec.template.spec.containers[1]: has the same name as [0]",
		"ingress-web.yaml apiVersion: Kubernetes 1.36.3 has no Ingress in extensions/v1beta1; use networking.k8s.io/v1",
		"configmap-s.yaml binaryData.a: is not bytes in base64",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want …%s…, got %v", want, err)
		}
	}
}
